"""Autoencoders of diffusers against their classes' own encode, mode and decode, with shrunk models and random weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import library_models
import numpy as np
import pytest
import recipes
import torch
from hub import Hub
from safetensors.torch import load_file, save_file

import m2l_bench
from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.base import Autoencoder
from m2l_bench.systems.diffusers_audio import FILES, LAYOUTS
from m2l_bench.systems.registry import caveat, needs_download

AWKWARD = 22051
MAKERS: dict[str, Callable[[Path], torch.nn.Module]] = {
    "ace-step": library_models.ace_step,
    "kvae-audio": library_models.kvae_audio,
    "same": library_models.same,
}
HOPS = {"ace-step": 1920, "kvae-audio": 960, "same": 4096}
REPOSITORIES = {
    "ACE-Step/Ace-Step1.5": ("vae/", "ace-step"),
    "kandinskylab/KVAE-Audio": ("diffusers/", "kvae-audio"),
    "someone/same": ("", "same"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    folders = {name: tmp_path_factory.mktemp(name) for name in MAKERS}
    return {name: (folders[name], make(folders[name])) for name, make in MAKERS.items()}


def loaded(name: str, folder: Path, *, seed: int = 0) -> Any:
    spelled = "diffusers" if name == "same" else name  # its own system reads another layout
    return m2l_bench.load(spelled, checkpoint=folder, device="cpu", seed=seed)


@pytest.fixture(scope="module")
def systems(models: dict) -> dict[str, Any]:
    return {name: loaded(name, folder) for name, (folder, _) in models.items()}


@pytest.fixture(params=list(MAKERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(models: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub with the true repositories and file names, and an empty cache."""
    repos = {
        repo: {prefix + file: models[name][0] / file for file in FILES} for repo, (prefix, name) in REPOSITORIES.items()
    }
    repos["someone/image"] = {"vae/config.json": b'{"_class_name": "AutoencoderKL"}', f"vae/{FILES[1]}": b"x"}
    with Hub(repos) as running:
        running.patch(monkeypatch, tmp_path)
        yield running


def own_latents(model: Any, wave: torch.Tensor) -> torch.Tensor:
    encoded = model.encode(wave)
    return encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(theirs).max() > 0.01  # an output of zeros would agree with anything
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("channels", [1, 2, 3])
@torch.no_grad()
def test_equals_its_class(name: str, channels: int, models: dict, systems: dict) -> None:
    _, model = models[name]
    system, audio = systems[name], recipes.music(channels, AWKWARD)
    streams = framing.to_pairs(audio) if system.pairs else audio[:, None]
    padded = torch.from_numpy(framing.pad_to_multiple(streams, HOPS[name]))
    z = own_latents(model, padded)
    close(system.encode(audio), z.numpy())
    wave = model.decode(z).sample[..., :AWKWARD].numpy()
    close(system.reconstruct(audio), framing.from_pairs(wave, channels) if system.pairs else wave[:, 0])


@torch.no_grad()
def test_kvae_equals_its_forward(models: dict, systems: dict) -> None:
    audio = recipes.music(2, AWKWARD)
    theirs = models["kvae-audio"][1](torch.from_numpy(audio)[:, None]).sample[:, 0]
    close(systems["kvae-audio"].reconstruct(audio), theirs.numpy())


def test_sizes_are_those_of_the_configuration(name: str, models: dict, systems: dict) -> None:
    system = systems[name]
    rate, dim, pairs = {
        "ace-step": (48000, 4, True),
        "kvae-audio": (48000, 6, False),
        "same": (44100, 12, True),
    }[name]
    assert (system.sample_rate, system.latent_dim, system.pairs) == (rate, dim, pairs)
    assert system.latent_rate == rate / HOPS[name]
    assert isinstance(system, Autoencoder) and len(system.fingerprint) == 16


@pytest.mark.parametrize(("n_samples", "channels"), [(1, 1), (100, 2), (AWKWARD, 3)])
def test_lengths_and_channels_are_exact(name: str, channels: int, n_samples: int, systems: dict) -> None:
    system, audio = systems[name], recipes.music(channels, n_samples)
    latents = system.encode(audio)
    streams = -(-channels // 2) if system.pairs else channels
    assert latents.shape == (streams, system.latent_dim, -(-n_samples // HOPS[name])) and latents.dtype == np.float32
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32 and np.isfinite(back).all()
    assert system.decode(latents, n_samples).shape[-1] == n_samples


@pytest.mark.parametrize("name", ["ace-step", "same"])
def test_mono_is_the_mean_of_both_outputs(name: str, systems: dict) -> None:
    audio = recipes.music(1, 5000)
    both = systems[name].reconstruct(np.repeat(audio, 2, 0))
    np.testing.assert_allclose(systems[name].reconstruct(audio)[0], both.mean(0), atol=1e-6 * np.abs(both).max())


def test_blocks_do_not_show(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    system = systems[name]
    n_samples = 30 * HOPS[name] + 3  # three blocks or more
    audio = recipes.music(2, n_samples)
    whole = system.encode(audio)
    expected = system.decode(whole, n_samples)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 8 * HOPS[name])
    np.testing.assert_allclose(system.encode(audio), whole, atol=2e-5 * np.abs(whole).max())
    np.testing.assert_allclose(system.decode(whole, n_samples), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: library_models.oobleck(
            folder, downsampling_ratios=[3, 5], channel_multiples=[1, 2], audio_channels=1
        ),
        lambda folder: library_models.same(
            folder,
            patch_size=64,
            encoder_c_mults=(4, 2),
            encoder_strides=(4, 2),
            encoder_transformer_depths=(3, 2),
            sliding_window=2,
        ),
    ],
    ids=["odd strides, mono", "two levels"],
)
def test_blocks_do_not_show_at_other_sizes(make: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    system, audio = m2l_bench.load("diffusers", tmp_path, device="cpu"), recipes.music(2, 20_003)
    whole = system.encode(audio)
    expected = system.decode(whole, 20_003)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 2_048)
    close(system.encode(audio), whole)
    close(system.decode(whole, 20_003), expected)


@pytest.mark.parametrize(("name", "less"), [("ace-step", 2), ("kvae-audio", 2), ("same", 0)])
def test_context_is_needed(name: str, less: int, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of it does show, so the test above can fail."""
    system, audio = systems[name], recipes.music(1, 30 * HOPS[name] + 3)
    expected = system.reconstruct(audio)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 8 * HOPS[name])
    monkeypatch.setattr(system, "_context", less)
    assert np.abs(system.reconstruct(audio) - expected).max() > 1e-4 * np.abs(expected).max()


def test_memory_does_not_grow_with_the_length(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """No convolution and no layer sees more than a block and its context; SAME's attention takes memory by the square."""
    system, hop = systems[name], HOPS[name]
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 4 * hop)
    frames, longest = [], []
    convolutions = (torch.nn.Conv1d, torch.nn.ConvTranspose1d)
    for n_samples in (36 * hop, 48 * hop):  # more than the longest block and its context
        seen = [0]
        layers = [
            module
            for part in (system.model.encoder, system.model.decoder)
            for module in part.modules()
            if isinstance(module, (*convolutions, torch.nn.Linear))
        ]
        hooks = [
            layer.register_forward_pre_hook(
                lambda module, inputs, seen=seen: seen.append(
                    inputs[0].shape[-1] if isinstance(module, convolutions) else inputs[0].shape[-2]
                )
            )
            for layer in layers
        ]
        frames.append(system.reconstruct(recipes.music(1, n_samples)).shape[-1])
        for hook in hooks:
            hook.remove()
        longest.append(max(seen))
    assert longest[0] == longest[1] < 36 * hop and frames == [36 * hop, 48 * hop]


def test_nothing_is_random(name: str, models: dict, systems: dict) -> None:
    """The same from any seed, and no number is drawn: a class that came to add noise would have to be seeded."""
    audio = recipes.music(2, 5000)
    again = loaded(name, models[name][0], seed=3)
    state = torch.random.get_rng_state()
    expected = systems[name].reconstruct(audio)
    np.testing.assert_array_equal(again.reconstruct(audio), expected)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert again.fingerprint == systems[name].fingerprint


def test_streams_do_not_mix(name: str, systems: dict) -> None:
    audio = recipes.music(4, 5000)
    back = systems[name].reconstruct(audio)
    np.testing.assert_array_equal(systems[name].reconstruct(audio[2:]), back[2:])


@pytest.mark.parametrize("name", ["ace-step", "kvae-audio"])
def test_fingerprint_is_that_of_the_content(name: str, models: dict, systems: dict, tmp_path: Path) -> None:
    folder, _ = models[name]
    weights = load_file(folder / FILES[1])
    (tmp_path / FILES[0]).write_bytes((folder / FILES[0]).read_bytes())
    (tmp_path / FILES[1]).write_bytes((folder / FILES[1]).read_bytes())
    assert loaded(name, tmp_path).fingerprint == systems[name].fingerprint
    first = next(iter(weights))
    weights[first] = weights[first] + 1
    save_file(weights, tmp_path / FILES[1], {"format": "pt"})
    assert loaded(name, tmp_path).fingerprint != systems[name].fingerprint


def test_weights_of_half_precision_compute_in_float32(name: str, models: dict, tmp_path: Path) -> None:
    folder, _ = models[name]
    half = {key: value.bfloat16() for key, value in load_file(folder / FILES[1]).items()}
    save_file(half, tmp_path / FILES[1], {"format": "pt"})
    (tmp_path / FILES[0]).write_bytes((folder / FILES[0]).read_bytes())
    system = loaded(name, tmp_path)
    assert {value.dtype for value in system.model.state_dict().values()} == {torch.float32}
    assert system.reconstruct(recipes.music(1, 3000)).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("ace-step", "ACE-Step/Ace-Step1.5"),
        ("kvae-audio", "kandinskylab/KVAE-Audio"),
        ("diffusers:ACE-Step/Ace-Step1.5/vae", "ACE-Step/Ace-Step1.5"),
        ("diffusers:kandinskylab/KVAE-Audio/diffusers", "kandinskylab/KVAE-Audio"),
        ("diffusers:someone/same", "someone/same"),
    ],
)
def test_is_downloaded_once(name: str, repo: str, server: Hub) -> None:
    system = m2l_bench.load(name)
    prefix, _ = REPOSITORIES[repo]
    fetched = [re.sub("/resolve/[^/]+/", "/", path) for path in server.downloads()]
    assert fetched == [f"{repo}/{prefix}{file}" for file in FILES]
    audio = recipes.music(2, 5000)
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and np.isfinite(back).all()
    assert system.name == name
    server.stop()
    assert m2l_bench.load(name).fingerprint == system.fingerprint
    assert needs_download(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ace-step", r"config\.json of ACE-Step/Ace-Step1\.5 .*\(337 MB, MIT\).*give its path"),
        ("kvae-audio", r"config\.json of kandinskylab/KVAE-Audio .*\(668 MB, MIT\) is neither cached nor reachable"),
        ("diffusers:someone/same", r"config\.json of someone/same .*is neither cached nor reachable"),
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
    system = m2l_bench.load("diffusers", folder) if form == "checkpoint" else m2l_bench.load(f"diffusers:{folder}")
    audio = recipes.music(2, 5000)
    np.testing.assert_array_equal(system.reconstruct(audio), systems[name].reconstruct(audio))
    assert system.name == f"diffusers:{folder.name}" and not needs_download(f"diffusers:{folder}")
    assert not server.requests


def test_an_unknown_class_is_refused_before_its_weights_are_fetched(server: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"class 'AutoencoderKL', which is not.* known are " + ", ".join(LAYOUTS)):
        m2l_bench.load("diffusers:someone/image/vae")
    assert len(server.downloads()) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "diffusers",
            r"diffusers: give a folder with config\.json and diffusion_pytorch_model\.safetensors .*got neither",
        ),
        ("diffusers:nobody", r"must be followed by OWNER/NAME\[/SUBFOLDER\] or a folder's path, got 'nobody'"),
        ("diffusers:a/b/../../c", r"must be followed by OWNER/NAME"),
        ("diffusers:./none", r"checkpoint must be a folder with config\.json, diffusion_pytorch_model\.safetensors"),
    ],
)
def test_names_that_lead_nowhere_are_refused(name: str, message: str, server: Hub) -> None:
    with pytest.raises(ValueError, match=message):
        m2l_bench.load(name)
    assert not server.requests


def test_what_does_not_fit_is_refused(models: dict, tmp_path: Path) -> None:
    same, kvae = models["same"][0], models["kvae-audio"][0]
    with pytest.raises(
        CheckpointError, match=r"ace-step: .* must be of the class AutoencoderOobleck, got AutoencoderSAME"
    ):
        m2l_bench.load("ace-step", checkpoint=same)
    with pytest.raises(ValueError, match=r"diffusers: give a folder with .* or diffusers:OWNER/NAME.*; got both"):
        m2l_bench.load("diffusers:someone/same", checkpoint=same)
    (tmp_path / FILES[1]).write_bytes((kvae / FILES[1]).read_bytes())
    (tmp_path / FILES[0]).write_text("[]")
    with pytest.raises(CheckpointError, match=r"config\.json: must be a JSON object"):
        m2l_bench.load("diffusers", checkpoint=tmp_path)
    config = json.loads((kvae / FILES[0]).read_text())
    (tmp_path / FILES[0]).write_text(json.dumps(config | {"num_channels": 1, "attn_num_heads": 4, "latent_dim": 64}))
    with pytest.raises(ValueError):
        m2l_bench.load("diffusers", checkpoint=tmp_path)


def test_incomplete_weights_are_refused(name: str, models: dict, tmp_path: Path) -> None:
    """As those in stable-audio-tools' layout are: diffusers would fill the gaps with random numbers."""
    folder = models[name][0]
    weights = load_file(folder / FILES[1])
    del weights[sorted(weights)[0]]
    save_file(weights, tmp_path / FILES[1], {"format": "pt"})
    (tmp_path / FILES[0]).write_bytes((folder / FILES[0]).read_bytes())
    with pytest.raises(ValueError, match=r"missing keys: .* and 0 more"):
        loaded(name, tmp_path)


def test_an_older_library_is_named(monkeypatch: pytest.MonkeyPatch, models: dict) -> None:
    import types

    import diffusers

    old = types.SimpleNamespace(__version__="0.35.0")
    real = pretrained.importlib.import_module
    monkeypatch.setattr(pretrained.importlib, "import_module", lambda name: old if name == "diffusers" else real(name))
    with pytest.raises(ImportError, match=r"AutoencoderSAME needs a newer diffusers: .*here is 0\.35\.0"):
        m2l_bench.load("diffusers", checkpoint=models["same"][0])
    assert diffusers.__version__ != "0.35.0"


def test_same_has_its_caveat_here_too() -> None:
    assert not caveat("ace-step") and not caveat("kvae-audio") and not caveat("stable-audio")
    assert caveat("diffusers:someone/same").startswith("diffusers, where the class is AutoencoderSAME: ")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("stable-audio", lambda d: d.AutoencoderOobleck()),
        ("kvae-audio", lambda d: d.AutoencoderKLKVAEAudio()),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_listed_parameters_are_those_of_the_classes(name: str, make: Callable[[Any], torch.nn.Module]) -> None:
    import diffusers

    from m2l_bench.systems.registry import SYSTEMS

    with torch.device("meta"):
        count = sum(value.numel() for value in make(diffusers).parameters()) / 1e6
    listed = SYSTEMS[name].parameters
    assert f"{count:.{len(listed.partition('.')[2])}f}" == listed
