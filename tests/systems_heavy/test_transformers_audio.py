"""Codecs of transformers against their classes' own full path, with shrunk models and random weights."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import library_models
import numpy as np
import pytest
import recipes
import scipy.signal
import torch
import transformers
from hub import Hub
from safetensors.torch import load_file, save_file

import m2l_bench
from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems import framing, pretrained, transformers_audio
from m2l_bench.systems.base import Autoencoder, BitstreamCodec
from m2l_bench.systems.registry import SYSTEMS, caveat, needs_download, system_class
from m2l_bench.systems.transformers_audio import ADAPTERS, FILES

AWKWARD = 33_001
NAMES = ("x-codec", "higgs-audio", "mimi", "vibevoice")
HOPS = {"x-codec": 320, "higgs-audio": 960, "mimi": 1920, "vibevoice": 3200}
RATES = {"x-codec": 16_000, "higgs-audio": 24_000, "mimi": 24_000, "vibevoice": 24_000}
REPOSITORIES = {
    "hf-audio/xcodec-hubert-general": "x-codec",
    "bosonai/higgs-audio-v2-tokenizer": "higgs-audio",
    "kyutai/mimi": "mimi",
    "microsoft/VibeVoice-AcousticTokenizer": "vibevoice",
}


def _resample(wave: torch.Tensor, old: int, new: int) -> torch.Tensor:
    factor = np.gcd(old, new)
    return torch.from_numpy(scipy.signal.resample_poly(wave.numpy(), new // factor, old // factor, axis=-1))


@pytest.fixture(scope="module", autouse=True)
def torchaudio() -> Iterator[None]:
    """Stand in for torchaudio, without which transformers hides Higgs Audio's class: both sides resample by it."""
    if importlib.util.find_spec("torchaudio") is not None:
        yield
        return
    stand_in: Any = types.ModuleType("torchaudio")
    stand_in.functional = types.SimpleNamespace(resample=_resample)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", stand_in)
        kind = "higgs_audio_v2_tokenizer"
        module = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")
        patch.setattr(transformers, "HiggsAudioV2TokenizerModel", module.HiggsAudioV2TokenizerModel, raising=False)
        yield


@pytest.fixture(scope="module")
def models(torchaudio: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    makers: dict[str, Callable[[Path], torch.nn.Module]] = {
        "x-codec": library_models.x_codec,
        "higgs-audio": lambda folder: library_models.higgs_audio(folder, transformers.HiggsAudioV2TokenizerModel),
        "mimi": library_models.mimi,
        "vibevoice": library_models.vibevoice,
    }
    folders = {name: tmp_path_factory.mktemp(name) for name in makers}
    return {name: (folders[name], make(folders[name])) for name, make in makers.items()}


@pytest.fixture(scope="module")
def systems(models: dict) -> dict[str, Any]:
    return {name: m2l_bench.load(name, checkpoint=folder, device="cpu") for name, (folder, _) in models.items()}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(models: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub with the true repositories and file names, and an empty cache."""
    repos = {repo: {file: models[name][0] / file for file in FILES} for repo, name in REPOSITORIES.items()}
    repos["someone/speech"] = {"config.json": b'{"model_type": "hubert"}', "model.safetensors": b"x"}
    with Hub(repos) as running:
        running.patch(monkeypatch, tmp_path)
        yield running


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(theirs).max() > 0.01  # an output of zeros would agree with anything
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


@torch.no_grad()
def full_path(model: Any, audio: np.ndarray, multiple: int, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Codes and audio of a class's own forward, each channel alone: a batch is rounded otherwise."""
    padded = torch.from_numpy(framing.pad_to_multiple(audio, multiple))[:, None]
    outputs = [model(one, **options) for one in padded.split(1)]
    codes, waves = (torch.cat([output[key] for output in outputs]) for key in ("audio_codes", "audio_values"))
    assert len(codes.unique()) > 20  # or else they would tell little
    return codes.numpy(), waves[:, 0, : audio.shape[-1]].numpy()


@pytest.mark.parametrize("bandwidth", [4.0, 1.0])
def test_x_codec_equals_its_class(bandwidth: float, models: dict) -> None:
    folder, model = models["x-codec"]
    audio = recipes.music(2, AWKWARD)
    system = m2l_bench.load("x-codec", checkpoint=folder, device="cpu", bandwidth=bandwidth)
    codes, wave = full_path(model, audio, 320, bandwidth=bandwidth)  # filled up as by its feature extractor
    np.testing.assert_array_equal(system.quantise(audio).numpy(), codes)
    close(system.reconstruct(audio), wave)
    assert system.codebooks == int(bandwidth / 0.5)


def test_higgs_audio_equals_its_class(models: dict, systems: dict) -> None:
    system, audio = systems["higgs-audio"], recipes.music(2, AWKWARD)
    codes, wave = full_path(models["higgs-audio"][1], audio, 960)
    np.testing.assert_array_equal(system.quantise(audio).numpy(), codes)
    close(system.reconstruct(audio), wave)
    assert system.codebooks == 8


@pytest.mark.parametrize("codebooks", [6, 3])
@pytest.mark.parametrize("n_samples", [AWKWARD, 1920 * 20 + 1])
def test_mimi_equals_its_class(codebooks: int, n_samples: int, models: dict) -> None:
    folder, model = models["mimi"]
    audio = recipes.music(2, n_samples)
    system = m2l_bench.load("mimi", checkpoint=folder, device="cpu", codebooks=codebooks)
    codes, wave = full_path(model, audio, 1, num_quantizers=codebooks)
    np.testing.assert_array_equal(system.quantise(audio).numpy(), codes)
    close(system.reconstruct(audio), wave)


@pytest.mark.parametrize("level", [1e-3, 0.2, 1.0])
@torch.no_grad()
def test_vibevoice_equals_its_class_after_its_feature_extractor(level: float, models: dict, systems: dict) -> None:
    """Apart from the level, which the class leaves where its feature extractor brought it."""
    _, model = models["vibevoice"]
    audio = level * recipes.music(1, AWKWARD)
    audio[0, 1000] = 50 * level  # so that one of the cases is held down by its peak
    given = transformers.VibeVoiceAcousticTokenizerFeatureExtractor()(audio[0], sampling_rate=24_000)["input_values"]
    theirs = model(given, sample=False)
    latents = systems["vibevoice"].encode(audio)
    close(latents[:, :-1], theirs.latents.transpose(1, 2).numpy())
    gain = np.exp(latents[0, -1, 0])
    np.testing.assert_allclose(gain * audio, given[0, :, :AWKWARD].numpy(), rtol=1e-5, atol=1e-7)
    close(systems["vibevoice"].reconstruct(audio) * gain, theirs.audio[0, :, :AWKWARD].numpy())


def test_sizes_are_those_of_the_configuration(name: str, systems: dict) -> None:
    system = systems[name]
    dim = {"x-codec": 32, "higgs-audio": 32, "mimi": 16, "vibevoice": 9}[name]
    full = {"x-codec": "x-codec:4k", "higgs-audio": "higgs-audio:2k", "mimi": "mimi:6", "vibevoice": "vibevoice"}
    assert (system.sample_rate, system.latent_dim, system.latent_rate) == (RATES[name], dim, RATES[name] / HOPS[name])
    assert isinstance(system, Autoencoder) and isinstance(system, BitstreamCodec) == (name != "vibevoice")
    assert system.name == full[name] and len(system.fingerprint) == 16


@pytest.mark.parametrize(("n_samples", "channels"), [(1, 1), (100, 6), (AWKWARD, 2)])
def test_lengths_and_channels_are_exact(name: str, channels: int, n_samples: int, systems: dict) -> None:
    system, audio = systems[name], recipes.music(channels, n_samples)
    latents = system.encode(audio)
    assert latents.shape == (channels, system.latent_dim, -(-n_samples // HOPS[name])) and latents.dtype == np.float32
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32 and np.isfinite(back).all()


def test_silence_is_survived(name: str, systems: dict) -> None:
    back = systems[name].reconstruct(np.zeros((2, 5000), np.float32))
    assert np.isfinite(back).all() and np.abs(back).max() < 1


@pytest.mark.parametrize("name", ["mimi", "vibevoice"])
def test_blocks_do_not_show(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    system = systems[name]
    n_samples = {"mimi": 120, "vibevoice": 60}[name] * HOPS[name] + 3  # three blocks or more, of mimi's attention too
    audio = recipes.music(2, n_samples)
    whole = system.encode(audio)
    expected = system.decode(whole, n_samples)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 24_000)
    monkeypatch.setattr(pretrained, "BLOCK_FRAMES", 50)
    monkeypatch.setattr(transformers_audio, "_ATTENDED", 50)
    close(system.encode(audio), whole)
    close(system.decode(whole, n_samples), expected)


@pytest.mark.parametrize("name", ["x-codec", "higgs-audio"])
def test_blocks_of_the_decoder_do_not_show(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    system = systems[name]
    latents = np.random.default_rng(0).standard_normal((2, system.latent_dim, 150)).astype(np.float32)
    expected = system.decode(latents, 150 * HOPS[name])
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 8_000)
    close(system.decode(latents, 150 * HOPS[name]), expected)


@pytest.mark.parametrize("name", ["x-codec", "higgs-audio"])
def test_long_files_are_encoded_in_windows(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hears more on either side: its codes are those of the middle of that much alone."""
    system, rate, hop = systems[name], RATES[name], HOPS[name]
    audio = recipes.music(1, 8 * rate + 7)
    whole = system.quantise(audio)
    monkeypatch.setattr(transformers_audio, "_WINDOW", 3)
    monkeypatch.setattr(transformers_audio, "_AROUND", 1)
    codes = system.quantise(audio)
    heard = torch.from_numpy(audio[None, :, 2 * rate // hop * hop : 3 * rate // hop * 2 * hop + rate // hop * hop])
    middle = system._codes(heard)[..., rate // hop : -(rate // hop)]
    assert torch.equal(codes[..., 3 * rate // hop : 3 * rate // hop * 2], middle)
    assert codes.shape == whole.shape and not torch.equal(codes, whole)


@pytest.mark.parametrize("name", NAMES)
def test_context_is_needed(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of it does show, so the tests above can fail."""
    system = systems[name]
    latents = np.random.default_rng(0).standard_normal((1, system.latent_dim, 150)).astype(np.float32)
    expected = system.decode(latents, 150 * HOPS[name])
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 8_000)
    if name == "mimi":
        monkeypatch.setattr(transformers_audio, "_ATTENDED", 50)
        monkeypatch.setattr(system, "_attention", 5)
    elif name == "vibevoice":
        monkeypatch.setattr(system, "_before", [1, 1])
    else:
        monkeypatch.setattr(system, "_context", 1)
    assert np.abs(system.decode(latents, 150 * HOPS[name]) - expected).max() > 1e-4 * np.abs(expected).max()


def test_memory_does_not_grow_with_the_length(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """No convolution sees more samples than a block and its context, no attention more frames."""
    system = systems[name]
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 16_384)
    monkeypatch.setattr(transformers_audio, "_ATTENDED", 50)
    monkeypatch.setattr(transformers_audio, "_WINDOW", 2)
    monkeypatch.setattr(transformers_audio, "_AROUND", 1)
    layers = [module for module in system.model.modules() if isinstance(module, (torch.nn.Conv1d, torch.nn.Linear))]
    # One step of Mimi's goes over all frames at once: a single convolution of a few values a frame.
    layers = (
        [layer for layer in layers if layer is not getattr(system.model.encoder, "downsample", None)]
        if (name == "mimi")
        else layers
    )
    longest = []
    for n_samples in (200_000, 260_000):
        seen = [0]
        hooks = [
            layer.register_forward_pre_hook(
                lambda module, inputs, seen=seen: seen.append(
                    inputs[0].shape[-1] if isinstance(module, torch.nn.Conv1d) else inputs[0].shape[-2]
                )
            )
            for layer in layers
        ]
        assert system.reconstruct(recipes.music(1, n_samples)).shape[-1] == n_samples
        for hook in hooks:
            hook.remove()
        longest.append(max(seen))
    assert longest[0] == longest[1] < 200_000


def test_nothing_is_random_and_channels_do_not_mix(name: str, models: dict, systems: dict) -> None:
    audio = recipes.music(4, 5000)
    state = torch.random.get_rng_state()
    back = systems[name].reconstruct(audio)
    assert torch.equal(torch.random.get_rng_state(), state)
    again = m2l_bench.load(name, checkpoint=models[name][0], device="cpu", seed=3)
    np.testing.assert_array_equal(again.reconstruct(audio), back)
    np.testing.assert_array_equal(systems[name].reconstruct(audio[2:]), back[2:])
    assert again.fingerprint == systems[name].fingerprint


@pytest.mark.parametrize("name", ["x-codec", "higgs-audio", "mimi"])
@pytest.mark.parametrize(("channels", "n_samples"), [(1, 1), (2, AWKWARD), (3, 5000)])
def test_bit_stream_brings_back_the_reconstruction(name: str, channels: int, n_samples: int, systems: dict) -> None:
    system, audio = systems[name], recipes.music(channels, n_samples)
    data = system.compress(audio)
    np.testing.assert_array_equal(system.decompress(data, channels, n_samples), system.reconstruct(audio))
    bits = {"x-codec": 8 * 10, "higgs-audio": 8 * 10, "mimi": 6 * 11}[name]
    assert len(data) == -(-channels * bits * -(-n_samples // HOPS[name]) // 8)


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("x-codec", "hf-audio/xcodec-hubert-general"),
        ("x-codec:1k", "hf-audio/xcodec-hubert-general"),
        ("higgs-audio", "bosonai/higgs-audio-v2-tokenizer"),
        ("mimi", "kyutai/mimi"),
        ("vibevoice", "microsoft/VibeVoice-AcousticTokenizer"),
        *((f"transformers:{repo}", repo) for repo in REPOSITORIES),
    ],
)
def test_is_downloaded_once(name: str, repo: str, server: Hub) -> None:
    system = m2l_bench.load(name)
    fetched = [re.sub("/resolve/[^/]+/", "/", path) for path in server.downloads()]
    assert fetched == [f"{repo}/{file}" for file in FILES]
    audio = recipes.music(2, 5000)
    assert system.reconstruct(audio).shape == audio.shape
    server.stop()
    assert m2l_bench.load(name).fingerprint == system.fingerprint
    assert needs_download(name) and (system.name == name or ":" not in name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x-codec", r"config\.json of hf-audio/xcodec-hubert-general .*\(about 710 MB, .*\).*give its path"),
        ("higgs-audio", r"of bosonai/higgs-audio-v2-tokenizer .*Boson Higgs Audio 2 Community License\) is neither"),
        ("mimi", r"config\.json of kyutai/mimi .*\(385 MB, CC BY 4\.0\) is neither cached nor reachable"),
        ("vibevoice", r"of microsoft/VibeVoice-AcousticTokenizer .*\(.*, MIT\) is neither cached nor reachable"),
        ("transformers:kyutai/mimi", r"config\.json of kyutai/mimi .* is neither cached nor reachable"),
    ],
)
def test_without_the_hub_one_line_says_what_to_do(name: str, message: str, server: Hub) -> None:
    server.stop()
    with pytest.raises(CheckpointError, match=message) as caught:
        m2l_bench.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["checkpoint", "name"])
def test_any_folder_of_a_known_class(name: str, form: str, models: dict, systems: dict, server: Hub) -> None:
    folder = models[name][0]
    spelling = "transformers" if form == "checkpoint" else f"transformers:{folder}"
    system = m2l_bench.load(spelling, folder) if form == "checkpoint" else m2l_bench.load(spelling)
    audio = recipes.music(2, 5000)
    np.testing.assert_array_equal(system.reconstruct(audio), systems[name].reconstruct(audio))
    assert system.name == f"transformers:{folder.name}" and not needs_download(f"transformers:{folder}")
    assert not server.requests


def test_dac_and_encodec_from_any_folder(tmp_path: Path) -> None:
    """With all their codebooks, or the highest rate where there are no 6 kbit/s."""
    audio = recipes.music(2, 5000)
    library_models.dac(tmp_path / "dac")
    dac = m2l_bench.load(f"transformers:{tmp_path / 'dac'}")
    np.testing.assert_array_equal(dac.reconstruct(audio), m2l_bench.load("dac", tmp_path / "dac").reconstruct(audio))
    assert dac.name == "transformers:dac" and dac.codebooks == 9
    library_models.encodec(tmp_path / "encodec", "24khz")
    config = json.loads((tmp_path / "encodec" / "config.json").read_text())
    (tmp_path / "encodec" / "config.json").write_text(json.dumps(config | {"target_bandwidths": [1.5, 3.0]}))
    weights = load_file(tmp_path / "encodec" / "model.safetensors")
    fewer = {key: value for key, value in weights.items() if not re.search(r"quantizer\.layers\.([4-9]|\d\d)\.", key)}
    save_file(fewer, tmp_path / "encodec" / "model.safetensors", {"format": "pt"})
    assert m2l_bench.load(f"transformers:{tmp_path / 'encodec'}").bandwidth == 3.0


def test_an_unknown_class_is_refused_before_its_weights_are_fetched(server: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"model_type 'hubert', which is not.* known are " + ", ".join(ADAPTERS)):
        m2l_bench.load("transformers:someone/speech")
    assert len(server.downloads()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("transformers", r"transformers: give a folder with config\.json and model\.safetensors as the checkpoint, or"),
        ("transformers:nobody", r"must be followed by OWNER/NAME\[/SUBFOLDER\] or a folder's path, got 'nobody'"),
        ("transformers:./none", r"checkpoint must be a folder with config\.json, model\.safetensors"),
        ("x-codec:3k", r"x-codec has the variants 4k, 2k, 1k, got '3k'"),
        ("mimi:16", r"mimi has the variants 32, 8, got '16'"),
    ],
)
def test_names_that_lead_nowhere_are_refused(name: str, message: str, server: Hub) -> None:
    with pytest.raises(ValueError, match=message):
        m2l_bench.load(name)
    assert not server.requests


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("x-codec", {"bandwidth": 3.0}, r"bandwidth must be one of \[0\.5, 1\.0, 1\.5, 2\.0, 4\.0\] kbit/s, got 3\.0"),
        ("mimi", {"codebooks": 7}, r"codebooks must be in \[1, 6\], got 7"),
        ("mimi", {"codebooks": 0}, r"codebooks must be in \[1, 6\], got 0"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict, message: str, models: dict) -> None:
    with pytest.raises(ValueError, match=message):
        m2l_bench.load(name, checkpoint=models[name][0], **options)


def test_incomplete_weights_are_refused(name: str, models: dict, tmp_path: Path) -> None:
    folder = models[name][0]
    weights = load_file(folder / FILES[1])
    del weights[sorted(weights)[0]]
    save_file(weights, tmp_path / FILES[1], {"format": "pt"})
    (tmp_path / FILES[0]).write_bytes((folder / FILES[0]).read_bytes())
    with pytest.raises(ValueError, match=r"missing keys: .* and 0 more"):
        m2l_bench.load(name, checkpoint=tmp_path)


def test_weights_of_half_precision_compute_in_float32(name: str, models: dict, tmp_path: Path) -> None:
    folder = models[name][0]
    half = {
        key: value.bfloat16() if value.is_floating_point() else value
        for key, value in load_file(folder / FILES[1]).items()
    }
    save_file(half, tmp_path / FILES[1], {"format": "pt"})
    (tmp_path / FILES[0]).write_bytes((folder / FILES[0]).read_bytes())
    system = m2l_bench.load(name, checkpoint=tmp_path, device="cpu")
    assert {value.dtype for value in system.model.parameters()} == {torch.float32}
    assert system.reconstruct(recipes.music(1, 3000)).dtype == np.float32


def test_a_missing_library_is_named_in_one_line(models: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ImportError("\nHiggsAudioV2TokenizerModel requires the torchaudio library.\nInstall it.\n")

    monkeypatch.setattr(transformers.HiggsAudioV2TokenizerModel, "from_pretrained", refuse)
    with pytest.raises(ImportError, match=r"^Higgs.* requires the torchaudio library\. Install it\.$"):
        m2l_bench.load("higgs-audio", checkpoint=models["higgs-audio"][0])


def test_they_have_their_caveats() -> None:
    assert all(caveat(name) for name in ("x-codec", "x-codec:1k", "higgs-audio", "mimi", "mimi:8", "vibevoice"))
    assert hasattr(system_class("transformers"), "reconstruct")


@pytest.mark.parametrize("name", NAMES)
def test_listed_sizes_are_those_of_the_published_classes(name: str) -> None:
    """Of their defaults, which are the published ones; Higgs Audio's has one more stride."""
    made = {"x-codec": "Xcodec", "higgs-audio": "HiggsAudioV2Tokenizer", "mimi": "Mimi"}
    kind = made.get(name, "VibeVoiceAcousticTokenizer")
    config = getattr(transformers, f"{kind}Config")()
    if name == "higgs-audio":
        strides = [8, 5, 4, 2, 3]
        config.acoustic_model_config.downsampling_ratios = config.acoustic_model_config.upsampling_ratios = strides
    with torch.device("meta"):
        model = getattr(transformers, f"{kind}Model")(config)
    listed = SYSTEMS[name].parameters
    count = sum(value.numel() for value in model.parameters()) / 1e6
    assert f"{count:.{len(listed.partition('.')[2])}f}" == listed
