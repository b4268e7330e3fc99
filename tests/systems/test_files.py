"""encode and decode on the command line: there and back at the file's own rate and length, nothing overwritten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from m2l_bench import audio
from m2l_bench.cli import app
from m2l_bench.systems.registry import load


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_file_comes_back_as_reconstruct_gives_it(tmp_path: Path, music) -> None:
    audio.write(tmp_path / "in.wav", music(30001), 44100)
    assert invoke("encode", tmp_path / "in.wav", tmp_path / "z.safetensors", "--system", "pca").exit_code == 0
    assert invoke("decode", tmp_path / "z.safetensors", tmp_path / "out.wav", "--system", "pca").exit_code == 0
    back, rate = audio.load(tmp_path / "out.wav")
    assert rate == 44100
    np.testing.assert_allclose(back, load("pca").reconstruct(music(30001)), atol=1e-6)


def test_a_folder_keeps_its_layout_rates_and_lengths(music_folder: Path, tmp_path: Path, music) -> None:
    audio.write(music_folder / "slow.flac", music(20001, 1, 32000), 32000)
    assert invoke("encode", music_folder, tmp_path / "latents", "--system", "pca").exit_code == 0
    assert invoke("decode", tmp_path / "latents", tmp_path / "back", "--system", "pca").exit_code == 0
    found = {
        path.relative_to(tmp_path / "back").as_posix(): audio.info(path) for path in audio.list_audio(tmp_path / "back")
    }
    assert set(found) == {"a.wav", "b.wav", "album/c.wav", "slow.wav"}
    assert (found["slow.wav"].sample_rate, found["slow.wav"].n_samples, found["slow.wav"].channels) == (32000, 20001, 1)


def test_nothing_is_overwritten_and_the_rest_goes_on(music_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "latents").mkdir()
    (tmp_path / "latents" / "a.safetensors").write_text("mine")
    result = invoke("encode", music_folder, tmp_path / "latents", "--system", "pca")
    assert result.exit_code == 2
    assert "a.safetensors: exists already" in result.stderr
    assert (tmp_path / "latents" / "a.safetensors").read_text() == "mine"
    assert (tmp_path / "latents" / "album" / "c.safetensors").is_file()


@pytest.mark.parametrize(
    ("command", "system", "message"),
    [
        ("encode", ("pca", "--checkpoint", "nowhere"), "nowhere"),
        ("encode", ("identity",), "identity: must have latents"),
        ("decode", ("musicnn",), "musicnn: must have a decoder"),
    ],
)
def test_what_is_wrong_with_the_system_is_said_once(
    music_folder: Path, tmp_path: Path, command: str, system: tuple[str, ...], message: str
) -> None:
    latents = tmp_path / "latents"
    assert invoke("encode", music_folder, latents, "--system", "pca").exit_code == 0
    source = latents if command == "decode" else music_folder
    result = invoke(command, source, tmp_path / "new", "--system", *system)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("error: ")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("command", "source", "system", "message"),
    [
        ("encode", "in.wav", "identity", "identity: must have latents"),
        ("decode", "in.wav", "pca", "must be latents that m2l-bench encode wrote"),
        ("encode", "nowhere.wav", "pca", "nowhere.wav: must exist"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, music, command: str, source: str, system: str, message: str) -> None:
    audio.write(tmp_path / "in.wav", music(5000), 44100)
    target = tmp_path / ("out.safetensors" if command == "encode" else "out.wav")
    result = invoke(command, tmp_path / source, target, "--system", system)
    assert result.exit_code == 2
    assert message in result.stderr


def test_latents_of_another_system_are_refused(tmp_path: Path, music) -> None:
    audio.write(tmp_path / "in.wav", music(30001), 44100)
    assert invoke("encode", tmp_path / "in.wav", tmp_path / "z.safetensors", "--system", "pca").exit_code == 0
    from m2l_bench.systems.files import file_decoder

    with pytest.raises(ValueError, match=r"must be decoded by the system that encoded it, pca .*got pca-4"):
        file_decoder(load("pca", dim=4))(tmp_path / "z.safetensors", tmp_path / "out.wav")


def test_encoding_a_folder_again_skips_what_the_same_system_made_from_the_same_audio(
    music_folder: Path, tmp_path: Path, music
) -> None:
    latents = tmp_path / "latents"
    assert invoke("encode", music_folder, latents, "--system", "pca").exit_code == 0
    (latents / "b.safetensors").unlink()
    before = (latents / "a.safetensors").stat().st_mtime_ns
    again = invoke("encode", music_folder, latents, "--system", "pca")
    assert again.exit_code == 0 and "2 files already done" in again.stderr
    assert (latents / "b.safetensors").is_file()
    assert (latents / "a.safetensors").stat().st_mtime_ns == before
    audio.write(music_folder / "a.wav", music(7000, seed=99), 44100)
    changed = invoke("encode", music_folder, latents, "--system", "pca")
    assert changed.exit_code == 2 and "a.safetensors: exists already" in changed.stderr


def test_decoding_a_folder_again_refuses_or_skips_existing(music_folder: Path, tmp_path: Path) -> None:
    latents, back = tmp_path / "latents", tmp_path / "back"
    assert invoke("encode", music_folder, latents, "--system", "pca").exit_code == 0
    assert invoke("decode", latents, back, "--system", "pca").exit_code == 0
    (back / "b.wav").unlink()
    refused = invoke("decode", latents, back, "--system", "pca")
    assert refused.exit_code == 2 and "a.wav: exists already" in refused.stderr
    (back / "b.wav").unlink()
    skipped = invoke("decode", latents, back, "--system", "pca", "--skip-existing")
    assert skipped.exit_code == 0 and "2 files already done" in skipped.stderr
    assert (back / "b.wav").is_file()


@pytest.mark.parametrize(("command", "name"), [("encode", "x.npy"), ("decode", "x.txt")])
def test_output_names_must_have_a_known_suffix(tmp_path: Path, music, command: str, name: str) -> None:
    audio.write(tmp_path / "in.wav", music(5000), 44100)
    result = invoke(command, tmp_path / "in.wav", tmp_path / name, "--system", "pca")
    assert result.exit_code == 2 and f"{name}: suffix must be one of " in result.stderr
    assert not (tmp_path / name).exists()


def test_one_reason_shared_by_all_files_is_printed_once(music_folder: Path, tmp_path: Path, monkeypatch) -> None:
    def offline(source: Path, target: Path) -> None:
        raise OSError("no network")

    monkeypatch.setattr("m2l_bench.systems.files.file_encoder", lambda system: offline)
    result = invoke("encode", music_folder, tmp_path / "latents", "--system", "pca")
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and lines[0].startswith("error: 3 files (") and lines[0].endswith("no network")
