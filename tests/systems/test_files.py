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
    result = invoke(command, tmp_path / source, tmp_path / "out", "--system", system)
    assert result.exit_code == 2
    assert message in result.stderr


def test_latents_of_another_system_are_refused(tmp_path: Path, music, music_folder: Path) -> None:
    audio.write(tmp_path / "in.wav", music(30001), 44100)
    assert invoke("encode", tmp_path / "in.wav", tmp_path / "z.safetensors", "--system", "pca").exit_code == 0
    from m2l_bench.systems.files import file_decoder

    with pytest.raises(ValueError, match=r"must be decoded by the system that encoded it, pca .*got pca-4"):
        file_decoder(load("pca", fit_on=music_folder, dim=4))(tmp_path / "z.safetensors", tmp_path / "out.wav")
