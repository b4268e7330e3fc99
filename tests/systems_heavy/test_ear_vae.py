"""EAR-VAE and EAR-VAE2 against golden values recorded from their original code (see record_ear_vae.py)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ear_vae_weights
import numpy as np
import pytest
import recipes
import torch
from hub import Hub

import m2l_bench
from m2l_bench.conformity import promises, subject
from m2l_bench.conformity.subject import Subject
from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems import pretrained
from m2l_bench.systems.base import Autoencoder
from m2l_bench.systems.catalogue import SYSTEMS
from m2l_bench.systems.ear_vae import system
from m2l_bench.systems.ear_vae.waveform import Transformer
from m2l_bench.systems.registry import caveat, check_encoder, needs_download

ARRAYS = np.load(Path(__file__).parent / "golden" / "ear_vae.npz")
NAMES = list(ear_vae_weights.SMALL)
GOLDEN_SAMPLES = {"ear-vae": 6 * 1024, "ear-vae2": 6 * 1920 - 600}
PUBLISHED_CONFIGS = system.CONFIGS
PARTS = {"encoder": "encoder_context", "decoder": "decoder_context"}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        ear_vae_weights.shrink(patch)
        yield


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("ear-vae")
    return {name: ear_vae_weights.write(name, folder / system.PUBLISHED[name][0].file) for name in NAMES}


@pytest.fixture(scope="module")
def systems(checkpoints: dict[str, Path]) -> dict[str, Any]:
    return {name: m2l_bench.load(name, checkpoint=path, device="cpu") for name, path in checkpoints.items()}


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def close(ours: np.ndarray, theirs: np.ndarray, *, rtol: float = 1e-5) -> None:
    """Equal but for rounding, relative to the peak; an output of zeros would agree with anything."""
    assert ours.shape == theirs.shape and np.abs(theirs).max() > 0.01
    assert np.abs(ours - theirs).max() <= rtol * np.abs(theirs).max()


def test_equals_original(name: str, systems: dict) -> None:
    """Encode, decode, and the full path. What is decoded behind the audio's end (EAR-VAE2) has a scale of its own."""
    ours, n_samples = systems[name], GOLDEN_SAMPLES[name]
    latents, wave = ARRAYS[f"{name}/latents"], ARRAYS[f"{name}/wave"]
    audio = recipes.music(2, n_samples)
    close(ours.encode(audio)[0], latents)
    close(ours.decode(latents[None], n_samples), wave[:, :n_samples])
    close(ours.reconstruct(audio), wave[:, :n_samples])
    close(ours.decode(latents[None], wave.shape[-1]), wave)


def test_golden_values_depend_on_the_audio(name: str) -> None:
    """Neither constants nor biases alone: most of both changes from value to value."""
    for what in ("latents", "wave"):
        values = ARRAYS[f"{name}/{what}"][..., : GOLDEN_SAMPLES[name]]
        assert np.abs(np.diff(values)).mean() > np.abs(values).mean()


def test_transformer_of_the_published_size_equals_the_original() -> None:
    """The small model has one head of attention, the published one two."""
    config = PUBLISHED_CONFIGS["ear-vae"]
    with torch.device("meta"):
        names = system.NETWORKS["ear-vae"](config).published_names()
    transformer = Transformer(config.latent_dim, config.depth)
    wanted = {names[f"transformer.{key}"] for key in transformer.state_dict()}
    layout = ear_vae_weights.LAYOUT["published ear-vae"]
    weights = ear_vae_weights.state({key: layout[key] for key in wanted})
    transformer.load_state_dict({key: weights[names[f"transformer.{key}"]] for key in transformer.state_dict()})
    latents = recipes.music(config.latent_dim, 50)
    with torch.no_grad():
        ours = transformer(torch.from_numpy(latents)[None])[0].numpy()
    close(ours, ARRAYS["ear-vae/attended"])
    assert np.abs(ours - latents).max() > 0.1


@pytest.mark.parametrize(("name", "parameters"), [("ear-vae", 147_831_810), ("ear-vae2", 178_354_242)])
def test_published_size_takes_every_published_weight(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = system.NETWORKS[name](PUBLISHED_CONFIGS[name])
    layout = dict(ear_vae_weights.LAYOUT[f"published {name}"])
    layout.pop("refiner_window", None)
    names = network.published_names()
    assert set(names.values()) == set(layout) and len(set(names.values())) == len(names)
    for ours, value in network.state_dict().items():
        assert sorted(n for n in value.shape if n > 1) == sorted(n for n in layout[names[ours]] if n > 1)
    # In the original, both activations of a residual unit are one, and norms have no trained offset.
    shared = re.compile(r"layers\.\d\.layers\.\d\.layers\.2\.(alpha|beta)|norm\.beta|inv_freq|window")
    count = sum(int(np.prod(shape)) for key, shape in layout.items() if not shared.search(key))
    assert count == parameters and SYSTEMS[name].parameters == f"{parameters / 1e6:.2f}"


def test_sizes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        network = system.NETWORKS[name](PUBLISHED_CONFIGS[name])
    rate, hop, dim = {"ear-vae": (44100, 1024, 64), "ear-vae2": (48000, 1920, 128)}[name]
    assert (network.sample_rate, network.hop, network.latent_dim) == (rate, hop, dim)
    entry = SYSTEMS[name]
    assert entry.latents == f"{f'{rate / hop:.1f}'.removesuffix('.0')} Hz x {dim}, {2 * hop / dim:.0f}x"
    assert entry.audio == f"{f'{rate / 1000:.1f}'.removesuffix('.0')} kHz, stereo"


@pytest.mark.parametrize(
    ("n_samples", "channels"), [(1, 1), (100, 2), (1440, 3), (1441, 1), (1920, 2), (2048, 1), (9001, 3)]
)
def test_lengths_and_channels_are_exact(name: str, channels: int, n_samples: int, systems: dict) -> None:
    ours, audio = systems[name], recipes.music(channels, n_samples)
    latents = ours.encode(audio)
    hop, tail = {"ear-vae": (1024, 0), "ear-vae2": (1920, 480)}[name]
    assert latents.shape == (-(-channels // 2), ours.latent_dim, -(-(n_samples + tail) // hop))
    back = ours.reconstruct(audio)
    assert back.shape == audio.shape and latents.dtype == back.dtype == np.float32 and np.isfinite(back).all()
    assert ours.decode(latents, n_samples).shape == (2 * len(latents), n_samples)
    assert isinstance(ours, Autoencoder) and ours.name == name and ours.latent_rate == ours.sample_rate / hop


@pytest.fixture(scope="module")
def subjects(systems: dict[str, Any]) -> Iterator[dict[str, Subject]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "SHORT", 0.5)
        yield {name: Subject(system) for name, system in systems.items()}


@pytest.mark.parametrize("check", ["repeats", "shapes", "levels", "round_trip", "latents"])
def test_keeps_the_promises_of_every_system(name: str, check: str, subjects: dict[str, Subject]) -> None:
    """As ``m2l-bench check`` tests them."""
    findings = getattr(promises, check)(subjects[name])
    assert findings and not [finding for finding in findings if finding.verdict == "fail"]


def test_mono_is_the_mean_of_both_outputs_and_pairs_do_not_mix(name: str, systems: dict) -> None:
    audio = recipes.music(4, 5000)
    back = systems[name].reconstruct(audio)
    np.testing.assert_array_equal(systems[name].reconstruct(audio[2:]), back[2:])
    both = systems[name].reconstruct(audio[[0, 0]])
    np.testing.assert_allclose(systems[name].reconstruct(audio[:1])[0], both.mean(0), atol=1e-6 * np.abs(both).max())


def test_no_length_ends_under_a_vanishing_window(systems: dict) -> None:
    """Without the silence behind it, the end of a file would be divided by values down to 1e-5."""
    ours = systems["ear-vae2"]
    audio = recipes.music(2, 6 * 1920)
    for n_samples in (6 * 1920, 6 * 1920 - 1, 6 * 1920 - 480):
        back = ours.reconstruct(audio[:, :n_samples])
        assert np.abs(back[:, -100:]).max() < 2 * np.abs(back[:, :-480]).max()
    as_the_original = ours.decode(ours.encode(audio)[..., :6], 6 * 1920)
    assert np.abs(as_the_original[:, -100:]).max() > 100 * np.abs(as_the_original[:, :-480]).max()


def test_blocks_do_not_show(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = systems[name]
    n_samples = 55 * ours.network.hop - 17  # three blocks or more
    audio = recipes.music(2, n_samples)
    whole = ours.encode(audio)
    expected = ours.decode(whole, n_samples)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 24_000)
    close(ours.encode(audio), whole)
    close(ours.decode(whole, n_samples), expected)


@pytest.mark.parametrize("part", PARTS)
def test_context_is_needed(name: str, part: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of it does show, so the test above can fail."""
    ours = systems[name]
    audio = recipes.music(2, 30 * ours.network.hop - 17)  # two blocks or more
    expected = ours.reconstruct(audio)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 24_000)
    monkeypatch.setattr(ours.network, PARTS[part], 4)
    assert np.abs(ours.reconstruct(audio) - expected).max() > 1e-4 * np.abs(expected).max()


@torch.no_grad()
def test_context_is_the_reach_of_ear_vae2(systems: dict) -> None:
    """Exactly: what lies one frame further away changes no bit, in float64."""
    network, frame, frames = copy.deepcopy(systems["ear-vae2"].network).double(), 25, 50
    audio = torch.from_numpy(recipes.music(2, frames * network.hop)).double()[None]
    touched = audio.clone()
    touched[..., frame * network.hop : (frame + 1) * network.hop] += 0.3
    latents = network.encode(audio)
    changed = (network.encode(touched) != latents).any(1)[0].nonzero()[:, 0]
    assert max(frame - changed.min(), changed.max() - frame) == network.encoder_context
    touched = latents.clone()
    touched[..., frame] += 1
    changed = (network.decode(touched) != network.decode(latents)).any(1)[0].nonzero()[:, 0] // network.hop
    assert max(frame - changed.min(), changed.max() - frame) == network.decoder_context


def test_memory_does_not_grow_with_the_length(name: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """No convolution sees more than a block and its context."""
    ours, longest = systems[name], []
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 16_384)
    kinds = (torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    for frames in (56, 60):  # more than the longest block and its context
        n_samples = frames * ours.network.hop
        sizes: list[int] = []
        hooks = [
            module.register_forward_pre_hook(lambda module, inputs, sizes=sizes: sizes.append(inputs[0].numel()))
            for module in ours.network.modules()
            if isinstance(module, kinds)
        ]
        assert ours.reconstruct(recipes.music(1, n_samples)).shape == (1, n_samples)
        for hook in hooks:
            hook.remove()
        longest.append(max(sizes))
    assert longest[0] == longest[1]


def test_the_transformer_sees_the_whole_file(systems: dict) -> None:
    """Far beyond the reach of the convolutions, as in the original."""
    ours = systems["ear-vae"]
    latents = ours.encode(recipes.music(2, 60 * 1024))
    touched = latents.copy()
    touched[..., -1] *= 100
    before, after = (ours.decode(z, 1024) for z in (latents, touched))
    assert np.abs(before - after).max() > 1e-4 * np.abs(before).max()


def test_nothing_is_random(name: str, checkpoints: dict[str, Path], systems: dict) -> None:
    audio = recipes.music(2, 5000)
    again = m2l_bench.load(name, checkpoint=checkpoints[name], device="cpu", seed=3)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(again.reconstruct(audio), systems[name].reconstruct(audio))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert again.fingerprint == systems[name].fingerprint and len(again.fingerprint) == 16


def test_fingerprint_is_that_of_the_content(
    name: str, checkpoints: dict[str, Path], systems: dict, tmp_path: Path
) -> None:
    path = tmp_path / checkpoints[name].name  # torch.save writes the name into the file
    first = next(iter(ear_vae_weights.LAYOUT[f"small {name}"]))
    changed = ear_vae_weights.state(ear_vae_weights.LAYOUT[f"small {name}"])[first] + 1
    ear_vae_weights.write(name, path)
    assert m2l_bench.load(name, checkpoint=path).fingerprint == systems[name].fingerprint
    ear_vae_weights.write(name, path, {first: changed})
    assert m2l_bench.load(name, checkpoint=path).fingerprint != systems[name].fingerprint


def test_weights_of_half_precision_compute_in_float32(name: str, tmp_path: Path) -> None:
    state = ear_vae_weights.state(ear_vae_weights.LAYOUT[f"small {name}"])
    half = {key: value.half() for key, value in state.items() if "window" not in key and "inv_freq" not in key}
    ours = m2l_bench.load(name, checkpoint=ear_vae_weights.write(name, tmp_path / "a.pt", half), device="cpu")
    assert {value.dtype for value in ours.network.state_dict().values()} == {torch.float32}
    assert np.isfinite(ours.reconstruct(recipes.music(1, 3000))).all()


@pytest.mark.parametrize("where", ["gen_ema", "gen", "state_dict"])
def test_weights_are_found_where_the_authors_look(where: str, systems: dict, tmp_path: Path) -> None:
    """A running average is preferred, as in the authors' command line; discriminators and the like are left aside."""
    weights = ear_vae_weights.state(ear_vae_weights.LAYOUT["small ear-vae2"])
    other = {key: value + 1 for key, value in weights.items()}
    content: dict[str, Any] = {"disc": {"weight": torch.zeros(1)}, "opt_gen": {"state": {}}, "global_step": 3}
    if where == "gen_ema":
        content |= {"gen": other, "gen_ema": {f"ema_model.{key}": value for key, value in weights.items()}}
        content["gen_ema"] |= {f"online_model.{key}": value for key, value in other.items()} | {
            "initted": torch.tensor(True),
            "step": torch.tensor(3),
        }
    else:
        content[where] = weights
    torch.save(content, tmp_path / "a.pt")
    ours, audio = m2l_bench.load("ear-vae2", checkpoint=tmp_path / "a.pt"), recipes.music(2, 5000)
    np.testing.assert_array_equal(ours.reconstruct(audio), systems["ear-vae2"].reconstruct(audio))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gen": {}, "adapter": {}}, "holds an unknown entry beside the weights: 'adapter'"),
        ({"gen_ema": {"ema_model.window": torch.ones(1), "x": torch.ones(1)}}, "beside the weights: 'x'"),
        ({"gen": [1]}, "must be a dictionary of tensors"),
        ([1, 2], "must be a dictionary of tensors"),
    ],
)
def test_what_is_not_accounted_for_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        m2l_bench.load("ear-vae2", checkpoint=tmp_path / "a.pt")


KEYS = {"ear-vae": "decoder.layers.1.layers.1.weight_g", "ear-vae2": "decoder.output_conv.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda key: {key: None}, "lacks weights: '{key}' and 0 more"),
        (lambda key: {"discriminator.weight": torch.zeros(1)}, r"holds unknown weights: 'discriminator\.weight' and 0"),
        (lambda key: {key: torch.zeros(77)}, r"'{key}' must have the shape \(.*\), got \(77,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(name: str, change: Any, message: str, tmp_path: Path) -> None:
    key = KEYS[name]
    path = ear_vae_weights.write(name, tmp_path / "a.pt", change(key))
    with pytest.raises(CheckpointError, match=message.replace("{key}", re.escape(key))) as caught:
        m2l_bench.load(name, checkpoint=path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_other_systems_weights_are_refused(name: str, checkpoints: dict[str, Path]) -> None:
    (other,) = set(NAMES) - {name}
    with pytest.raises(CheckpointError, match=r"lacks weights: .* and \d+ more"):
        m2l_bench.load(name, checkpoint=checkpoints[other])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_not_run(name: str, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "a.pyt"))
    with pytest.raises(
        CheckpointError, match=r"a\.pyt: must hold weights alone, got a TorchScript archive, which is code"
    ):
        m2l_bench.load(name, checkpoint=tmp_path / "a.pyt")


def test_without_the_hub_one_line_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub({}) as server:
        server.patch(monkeypatch, tmp_path)
    expected = {
        "ear-vae": r"pretrained_weight/ear_vae_44k\.pyt of earlab/EAR_VAE .*\(about 590 MB, Apache-2\.0\).*give its path",
        "ear-vae2": r"weights/ear_vae2\.pt of earlab/EAR_VAE2 .*\(about 710 MB, Apache-2\.0\).*give its path",
    }
    with pytest.raises(CheckpointError, match=expected[name]) as caught:
        m2l_bench.load(name)
    assert "\n" not in str(caught.value)


def test_registry_rows(name: str) -> None:
    check_encoder(name)
    assert needs_download(name)
    assert caveat("ear-vae2").startswith("ear-vae2: the public weights were retrained") and not caveat("ear-vae")
