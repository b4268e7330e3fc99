"""Musika against golden values that the original recorded under TensorFlow (see record_musika.py)."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path

import h5py
import keras_file
import numpy as np
import pytest
import recipes
import torch

from m2l_bench.systems.base import Autoencoder
from m2l_bench.systems.musika import system
from m2l_bench.systems.musika.keras_weights import read_layers
from m2l_bench.systems.musika.system import Musika

GOLDEN = Path(__file__).parent / "golden"
SMALL = GOLDEN / "musika_small"
LAYOUT = json.loads((GOLDEN / "musika_full.json").read_text())
CHUNKS = 2 * 128 + 3  # hops that fill two chunks of the original


@pytest.fixture(scope="module")
def full_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("musika")
    for net, weights in LAYOUT["weights"].items():
        keras_file.write(folder / f"{net}.h5", net, LAYOUT["layers"][net], weights)
    return folder


@pytest.fixture
def fixed_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "draw_noise", lambda key, length: recipes.wave(length))


@cache
def small(**options: object) -> Musika:
    """Loaded once for all tests: reading the files takes most of a test's time."""
    return Musika(checkpoint=SMALL, **options)


@pytest.mark.usefixtures("fixed_noise")
def test_small_equals_original() -> None:
    golden = np.load(GOLDEN / "musika_small.npz")
    musika = small(compatible=True)
    audio = recipes.music(2, CHUNKS * 16)
    latents = musika.encode(audio)
    np.testing.assert_allclose(latents, golden["latents"], atol=2e-6)
    wave = musika.decode(latents, audio.shape[-1])
    assert np.abs(wave - golden["wave"]).max() < 1e-5 * golden["wave_peak"]


@pytest.mark.usefixtures("fixed_noise")
def test_published_size_equals_original(full_checkpoint: Path) -> None:
    golden = np.load(GOLDEN / "musika_full.npz")
    musika = Musika(checkpoint=full_checkpoint, compatible=True)
    networks = (musika.encoder, musika.latent_encoder, musika.decoder, musika.latent_decoder)
    counts = [sum(p.numel() for p in net.parameters()) for net in networks]
    assert counts == [4_790_336, 3_984_960, 12_673_291, 6_639_303]
    assert (musika.latent_dim, musika.latent_rate) == (64, 44100 / 4096)
    audio = recipes.music(2, CHUNKS * 256)
    latents = musika.encode(audio)
    np.testing.assert_allclose(latents, golden["latents"], atol=1e-5)
    wave = musika.decode(latents, audio.shape[-1])
    assert np.abs(wave[:1, ::8] - golden["wave"]).max() < 1e-4 * golden["wave_peak"]


def test_layers_are_mapped_by_name_not_by_place() -> None:
    """The decoder's file is in topological order (T1 T2 T4 T3 T5) and lacks the two layers without a use."""
    stored = [name for name in LAYOUT["layers"]["dec"] if "transpose" in name and "compat" not in name]
    assert [int(name.rsplit("_", 1)[1]) for name in stored] == [1, 2, 4, 3, 5]
    layers = read_layers(SMALL / "dec.h5")
    assert [name for name, _ in layers["ups"]] == [f"conv2d_transpose_{i}" for i in range(1, 6)]
    assert [name for name, _ in layers["convs"]] == [f"conv2d_{i}" for i in (6, 7, 8, 9, 11, 12)]
    assert [name for name, _ in layers["noise_scales"]] == [
        f"add_noise{i}" for i in ("", *map("_{}".format, (1, 2, 3, *range(6, 11))))
    ]
    shapes = [weights[0].shape for _, weights in layers["ups"]]
    assert shapes[0] != shapes[1]
    assert shapes[1] == shapes[3] and shapes[2] == shapes[4]  # a wrong mapping would load silently
    decoder = small().decoder
    for module, (_, weights) in zip([*decoder.convs, *decoder.ups], [*layers["convs"], *layers["ups"]], strict=True):
        np.testing.assert_array_equal(module.bias, weights[1])


def test_layer_numbers_may_start_anywhere(tmp_path: Path) -> None:
    """Published files were saved after other networks had been built, so their numbers are offset."""

    def shifted(name: str) -> str:
        head, _, number = name.partition("/")[0].rpartition("_")
        return f"{head}_{int(number) + 40}" if number.isdigit() else f"{name}_40"

    shutil.copytree(SMALL, tmp_path, dirs_exist_ok=True)
    with h5py.File(SMALL / "dec.h5") as source, h5py.File(tmp_path / "dec.h5", "w") as target:
        names = [name for name in source.attrs["layer_names"] if len(source[name].attrs["weight_names"])]
        target.attrs["layer_names"] = [shifted(name) for name in names]
        for name in names:
            source.copy(source[name], target, shifted(name))
    audio = recipes.music(1, 3000)
    np.testing.assert_array_equal(Musika(checkpoint=tmp_path).reconstruct(audio), small().reconstruct(audio))


@pytest.mark.parametrize("n_samples", [1, 15, 16, 4144, 44101])
@pytest.mark.parametrize("compatible", [False, True])
def test_lengths_are_exact(n_samples: int, compatible: bool) -> None:
    musika = small(compatible=compatible)
    audio = recipes.music(2, n_samples)
    latents = musika.encode(audio)
    assert latents.dtype == np.float32 and latents.shape[:2] == (2, musika.latent_dim)
    if not compatible:
        assert 0 < latents.shape[-1] - n_samples / 44100 * musika.latent_rate <= 2
    back = musika.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32 and np.isfinite(back).all()


def test_default_framing_is_the_compatible_one_of_shifted_audio() -> None:
    """Three hops of silence in front, and zeros up to whole chunks behind: nothing else differs."""
    audio = recipes.music(2, CHUNKS * 16 - 500)
    padded = np.pad(audio, ((0, 0), (48, 452)))
    whole, ours = small(compatible=True), small()
    latents = ours.encode(audio)
    np.testing.assert_allclose(latents, whole.encode(padded)[..., : latents.shape[-1]], atol=1e-6)
    np.testing.assert_allclose(
        ours.reconstruct(audio), whole.reconstruct(padded)[:, 48 : 48 + audio.shape[-1]], atol=1e-5
    )


def test_compatible_leaves_the_tail_silent() -> None:
    back = small(compatible=True).reconstruct(recipes.music(1, (CHUNKS + 100) * 16))
    assert not back[:, CHUNKS * 16 :].any() and back[:, CHUNKS * 16 - 40].any()


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = recipes.music(2, 9000)
    expected = small().reconstruct(audio)
    monkeypatch.setattr(system, "_WINDOWS_AT_ONCE", 2)
    np.testing.assert_allclose(small().reconstruct(audio), expected, atol=5e-5)


def test_noise_is_seeded_and_channels_are_independent() -> None:
    audio = recipes.music(2, 5000)
    first = small().reconstruct(audio)
    np.testing.assert_array_equal(first, Musika(checkpoint=SMALL).reconstruct(audio))
    assert np.abs(first - small(seed=1).reconstruct(audio)).max() > 1e-3
    np.testing.assert_allclose(small().reconstruct(audio[1:]), first[1:], atol=5e-5)
    assert small().fingerprint != small(seed=1).fingerprint != small(compatible=True).fingerprint


def test_is_an_autoencoder_and_survives_silence() -> None:
    musika = small()
    assert isinstance(musika, Autoencoder)
    assert np.isfinite(musika.reconstruct(np.zeros((1, 1000), np.float32))).all()


def broken(tmp_path: Path, change: str) -> Path:
    shutil.copytree(SMALL, tmp_path, dirs_exist_ok=True)
    if change == "no file":
        (tmp_path / "dec.h5").unlink()
    elif change == "not HDF5":
        (tmp_path / "dec.h5").write_bytes(b"PK")
    else:
        with h5py.File(tmp_path / "dec.h5", "a") as file:
            names = list(file.attrs["layer_names"])
            if change == "no Keras":
                del file.attrs["layer_names"]
            elif change == "a layer less":
                file.attrs["layer_names"] = [name for name in names if name != "conv2d_transpose_3"]
            elif change == "other shape":
                group = file["conv2d_7"]
                del group["conv2d_7/kernel:0"]
                group["conv2d_7/kernel:0"] = np.zeros((1, 3, 48, 47), np.float32)
            else:
                file.move("conv2d_7", "dense_7")
                file.attrs["layer_names"] = ["dense_7" if name == "conv2d_7" else name for name in names]
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no file", "lacks dec.h5"),
        ("not HDF5", "dec.h5 is not HDF5"),
        ("no Keras", "has no layer_names"),
        ("a layer less", "dec.h5: ups expected 5, got 4"),
        ("other shape", r"dec.h5: conv2d_7 expected ((48, 48, 3), (48,)), got ((47, 48, 3), (48,))"),
        ("other kind", "has a layer 'dense_7'"),
    ],
)
def test_broken_checkpoints_are_named(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Musika(checkpoint=broken(tmp_path, change))


@pytest.mark.parametrize("audio", [np.zeros(5), np.zeros((0, 5)), np.zeros((1, 0)), np.full((1, 5), np.nan)])
def test_bad_audio_is_refused(audio: np.ndarray) -> None:
    with pytest.raises(ValueError, match="audio must be"):
        small().encode(audio)


def test_bad_latents_are_refused() -> None:
    with pytest.raises(ValueError, match=r"latents must be \(streams >= 1, 8, frames >= 1\)"):
        small().decode(np.zeros((1, 7, 4)), 10)


def test_no_gradients_are_kept() -> None:
    assert not any(p.requires_grad for p in small().decoder.parameters())
    assert torch.is_grad_enabled()
