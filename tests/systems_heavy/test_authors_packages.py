"""Music2Latent's, CoDiCodec's and Lin-CAE's own packages as systems, against the packages' documented calls."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import authors_models
import numpy as np
import pytest
import recipes
import torch

from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems import packages
from m2l_bench.systems.base import Autoencoder, BitstreamCodec
from m2l_bench.systems.lin_cae import LinCae
from m2l_bench.systems.packages import AuthorsMusic2Latent
from m2l_bench.systems.registry import load

PACKAGES = {
    "music2latent-authors": "music2latent",
    "codicodec:continuous": "codicodec",
    "codicodec:tokens": "codicodec",
}
if sys.version_info >= (3, 11):  # of which that package asks
    PACKAGES["lin-cae:lin-cae-2"] = "linear_cae"
with_lin_cae = pytest.mark.skipif(sys.version_info < (3, 11), reason="the package linear-cae needs Python 3.11")
# The other packages take one step unless asked for more; two are enough for a second draw of noise.
OPTIONS: dict[str, dict[str, Any]] = {"codicodec:continuous": {"num_steps": 2}, "codicodec:tokens": {"num_steps": 2}}
HOP, CHUNK = 1024, 32 * 1024


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    with pytest.MonkeyPatch.context() as patch:
        for package in ("music2latent", "codicodec"):
            authors_models.shrink(package, patch)
        found = {
            "music2latent": authors_models.write("music2latent", tmp_path_factory.mktemp("music2latent")),
            "codicodec": authors_models.write("codicodec", tmp_path_factory.mktemp("codicodec")),
            "linear_cae": tmp_path_factory.mktemp("linear_cae"),
        }
        if "linear_cae" in PACKAGES.values():
            authors_models.write_lin_cae(found["linear_cae"])
        yield found


@pytest.fixture(scope="module", params=list(PACKAGES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def system(name: str, files: dict[str, Path]) -> Any:
    return load(name, checkpoint=files[PACKAGES[name]], device="cpu", **OPTIONS.get(name, {}))


def package_itself(package: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's own object, made by its own constructor from the file (which it unpickles)."""
    inference = importlib.import_module(f"{package}.inference")
    monkeypatch.setattr(inference, "download_model", lambda: None)
    for module in (inference, importlib.import_module(f"{package}.utils")):  # half precision, or a warning without CUDA
        monkeypatch.setattr(module, "mixed_precision", False)
    return inference.EncoderDecoder(load_path_inference=str(path), device=torch.device("cpu"))


def place(name: str, folder: Path) -> tuple[Path, Path]:
    """A checkpoint's path, and where its weights are to be written."""
    if PACKAGES[name] == "linear_cae":
        authors_models.write_lin_cae(folder)
        return folder, folder / "autoencoder_inference_model_last.pth"
    path = folder / f"{PACKAGES[name]}.pt"
    return path, path


@pytest.mark.parametrize(("n_samples", "channels"), [(1, 1), (5000, 3), (33001, 2)])
def test_exact_lengths(system: Any, n_samples: int, channels: int) -> None:
    audio = recipes.music(channels, n_samples)
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32
    assert np.isfinite(back).all()


def test_the_first_channels_do_not_hear_the_others(system: Any) -> None:
    audio = recipes.music(4, 9000)
    whole = system.reconstruct(audio)
    assert np.abs(whole).max() > 0
    np.testing.assert_array_equal(system.reconstruct(audio[:2]), whole[:2])
    if not isinstance(system, AuthorsMusic2Latent):  # whose noise is drawn channel after channel
        np.testing.assert_array_equal(system.reconstruct(audio[2:]), whole[2:])


def test_silence_is_survived(system: Any) -> None:
    assert np.isfinite(system.reconstruct(np.zeros((2, 5000), np.float32))).all()


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "music2latent-authors"], indirect=True)
def test_memory_does_not_grow_with_the_length(system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the input, no convolution sees more than a block or a window."""
    module = importlib.import_module(type(system).__module__)
    for setting, value in (("_CHUNKS_AT_ONCE", 2), ("_WINDOW", 32)):
        if hasattr(module, setting):
            monkeypatch.setattr(module, setting, value)
    monkeypatch.setattr(system, "num_steps", 1, raising=False)
    largest = []
    for chunks in (5, 7) if hasattr(module, "_CHUNKS_AT_ONCE") else (2, 3):
        seen = [0]
        hooks = [
            each.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].numel()))
            for each in system.model.modules()
            if isinstance(each, torch.nn.Conv2d)
        ]
        system.reconstruct(recipes.music(1, chunks * CHUNK))
        for hook in hooks:
            hook.remove()
        largest.append(max(seen))
    assert largest[0] == largest[1] > 0


def test_fingerprints_tell_variants_and_options_apart(files: dict[str, Path]) -> None:
    found = {
        load(name, checkpoint=files["codicodec"], device="cpu", **options).fingerprint
        for name in ("codicodec:continuous", "codicodec:tokens")
        for options in ({}, {"num_steps": 2}, {"seed": 1})
    }
    assert len(found) == 6


def test_codicodec_takes_whole_chunks_of_latents(files: dict[str, Path]) -> None:
    system = load("codicodec", checkpoint=files["codicodec"], device="cpu")
    with pytest.raises(ValueError, match="whole chunks of 2 frames, got 3 frames"):
        system.decode(np.zeros((1, 64, 3), np.float32), 1000)


def test_music2latent_is_the_packages_own_path(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = load("music2latent-authors", checkpoint=files["music2latent"], device="cpu", num_steps=2)
    theirs = package_itself("music2latent", files["music2latent"], monkeypatch)
    audio = recipes.music(2, 5 * 4096 + 3 * 512)
    latents = theirs.encode(audio)
    np.testing.assert_allclose(ours.encode(audio), latents, atol=1e-6 * float(latents.abs().max()))
    torch.manual_seed(0)
    expected = theirs.decode(latents, denoising_steps=2).numpy()
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(ours.reconstruct(audio), expected, atol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_codicodec_is_the_packages_own_path(
    discrete: bool, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = load("codicodec:tokens" if discrete else "codicodec", checkpoint=files["codicodec"], device="cpu")
    theirs = package_itself("codicodec", files["codicodec"], monkeypatch)
    audio = recipes.music(2, 3 * CHUNK - HOP)  # with a hop before it, and the last frame's end: three chunks
    padded = np.pad(audio, ((0, 0), (HOP, HOP)))
    latents = theirs.encode(padded, discrete=discrete)
    torch.manual_seed(0)
    expected = theirs.decode(latents).numpy()[:, HOP : HOP + audio.shape[1]]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(ours.reconstruct(audio), expected, atol=1e-5)
    if not discrete:
        np.testing.assert_allclose(ours.encode(audio)[0], latents.flatten(0, 1).T, atol=1e-5)


@with_lin_cae
def test_lin_cae_is_the_packages_own_path(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from linear_cae import inference

    def downloaded(repo_id: str, filename: str) -> str:
        assert (repo_id, filename.split("/")[0]) == (
            "BernardoTorres/linear_consistency_autoencoders",
            "2f4c6d21_weights",
        )
        return str(files["linear_cae"] / filename.split("/")[1])

    monkeypatch.setattr(inference, "hf_hub_download", downloaded)
    theirs = inference.Autoencoder.from_pretrained("lin-cae-2", diffusion_steps=2)
    ours = load("lin-cae:lin-cae-2", checkpoint=files["linear_cae"], device="cpu", num_steps=2)
    audio = recipes.music(1, 20 * 512 + 3 * 64)
    with torch.no_grad():
        latents = theirs.encode(torch.from_numpy(audio))
        torch.manual_seed(0)
        expected = theirs.decode(latents, full_length=audio.shape[1]).numpy()
    assert float(latents.abs().max()) > 1  # scaled by the package's factor for this variant
    np.testing.assert_allclose(ours.encode(audio), latents, atol=1e-5)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(ours.reconstruct(audio), expected, atol=1e-5)


@with_lin_cae
def test_lin_cae_takes_long_inputs_in_windows(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("m2l_bench.systems.lin_cae")
    system = load("lin-cae:lin-cae-2", checkpoint=files["linear_cae"], device="cpu")
    seen: list[int] = []
    encode = system.model.encode
    monkeypatch.setattr(system.model, "encode", lambda x: (seen.append(x.shape[-1]), encode(x))[1])
    monkeypatch.setattr(module, "_WINDOW", 16)
    latents = system.encode(recipes.music(1, 50 * 512 + 3 * 64))
    assert latents.shape == (1, 16, 50)
    assert len(seen) == 4 and set(seen) == {16 * 512 + 3 * 64}


@with_lin_cae
@pytest.mark.parametrize("text", ["[1, 2]", "{hop_size: [", "no_such_argument: 1"])
def test_lin_caes_arguments_are_checked(text: str, files: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(files["linear_cae"], tmp_path / "copy")
    (folder / "frontend_kwargs_last.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=str(folder)):
        load("lin-cae", checkpoint=folder)


def test_blocks_hear_what_the_whole_hears(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("m2l_bench.systems.codicodec")
    audio = recipes.music(2, 7 * CHUNK)
    whole = load("codicodec", checkpoint=files["codicodec"], device="cpu", num_steps=3)
    silence = lambda *shape, **_: torch.zeros(*shape)  # noise is drawn block by block: without it all must agree
    monkeypatch.setattr("codicodec.models.torch.randn", silence)
    monkeypatch.setattr("codicodec.models.torch.randn_like", torch.zeros_like)
    latents, expected = whole.encode(audio), whole.reconstruct(audio)
    monkeypatch.setattr(module, "_CHUNKS_AT_ONCE", 2)
    np.testing.assert_allclose(whole.encode(audio), latents, atol=1e-5)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(whole.reconstruct(audio), expected, atol=1e-5)


def test_the_bit_stream_is_what_reconstruct_hears_at_the_rate_of_the_tokens(files: dict[str, Path]) -> None:
    system = load("codicodec:tokens", checkpoint=files["codicodec"], device="cpu", num_steps=1)
    assert isinstance(system, BitstreamCodec) and isinstance(system, Autoencoder)
    assert not isinstance(load("codicodec", checkpoint=files["codicodec"], device="cpu"), BitstreamCodec)
    audio = recipes.music(3, 40_000)
    data = system.compress(audio)
    np.testing.assert_array_equal(system.decompress(data, 3, 40_000), system.reconstruct(audio))
    chunks = -(-(40_000 + HOP) // CHUNK)
    assert len(data) == 2 * chunks * authors_models.CODICODEC["num_latents"] * 14 // 8


def test_the_seed_picks_the_noise_and_leaves_torchs_own_state(system: Any, name: str, files: dict[str, Path]) -> None:
    audio = recipes.music(2, 9000)
    torch.manual_seed(12345)  # none that a system sets
    state = torch.get_rng_state()
    once, again = system.reconstruct(audio), system.reconstruct(audio)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(once, again)
    other = load(name, checkpoint=files[PACKAGES[name]], device="cpu", seed=1, **OPTIONS.get(name, {}))
    assert not np.array_equal(once, other.reconstruct(audio))


def test_claims_are_true(system: Any) -> None:
    one, two = (system.encode(recipes.music(1, n * 32 * 4096)) for n in (1, 2))
    assert one.shape[1] == system.latent_dim
    assert (two.shape[-1] - one.shape[-1]) / (32 * 4096 / 44100) == pytest.approx(system.latent_rate)


@pytest.mark.parametrize("content", [{"a": 1}, {"gen_state_dict": {"a": torch.zeros(1)}}])
def test_foreign_weights_are_refused(name: str, content: dict[str, Any], tmp_path: Path) -> None:
    checkpoint, path = place(name, tmp_path)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=str(path)):
        load(name, checkpoint=checkpoint)


def test_what_is_pickled_is_not_run(name: str, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    checkpoint, path = place(name, tmp_path)
    torch.save({"gen_state_dict": {}, "x": Runs()}, path)
    with pytest.raises(CheckpointError, match="without executing"):
        load(name, checkpoint=checkpoint)
    assert not (tmp_path / "ran").exists()


@with_lin_cae
def test_variants_are_checked() -> None:
    with pytest.raises(ValueError, match="variant must be one of lin-cae, lin-cae-2, m2l, got 'm3l'"):
        LinCae(variant="m3l")


def test_steps_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        load(name, num_steps=0)


def test_the_licence_is_printed_once(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "_announced", set())
    for _ in range(2):
        load("codicodec", checkpoint=files["codicodec"], device="cpu")
    load("identity")
    assert capsys.readouterr().err.splitlines() == ["codicodec: another author's package, licence CC BY-NC 4.0"]


def test_without_the_package_the_message_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[name]
    for module in (package, f"{package}.inference"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match="pip install 'm2l-bench"):
        load(name)
