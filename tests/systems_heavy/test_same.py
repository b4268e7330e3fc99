"""SAME against golden values of its original code, at small sizes with weights made from their names."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recipes
import same_weights
import torch
from hub import Hub
from safetensors.torch import load_file, save_file

import m2l_bench
from m2l_bench.files.hub import CheckpointError
from m2l_bench.systems import framing, pretrained
from m2l_bench.systems.base import Autoencoder
from m2l_bench.systems.registry import SYSTEMS, caveat, check_encoder, needs_download
from m2l_bench.systems.same import FILES, PUBLISHED, Same, renamed

GOLDEN = Path(__file__).parent / "golden"
LAYOUTS = json.loads((GOLDEN / "same.json").read_text())
KINDS = list(same_weights.CONFIGS)
HOPS = {"chunks": 1024, "windows": 1024, "others": 512}
UNITS = {"chunks": 2, "windows": 1, "others": 1}  # frames


def write(folder: Path, config: dict, weights: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILES[0]).write_text(json.dumps(config))
    save_file(weights, folder / FILES[1])
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        kind: write(tmp_path_factory.mktemp(kind), same_weights.CONFIGS[kind], same_weights.state(kind, LAYOUTS[kind]))
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def systems(folders: dict) -> dict[str, Any]:
    return {kind: Same(checkpoint=folders[kind], device="cpu") for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def server(folders: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    repos = {"stabilityai/SAME-S": folders["chunks"], "stabilityai/SAME-L": folders["windows"]}
    with Hub(repos) as running:
        running.patch(monkeypatch, tmp_path)
        yield running


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(theirs).max() > 0.01 and ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


def test_equals_the_original(kind: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every draw of noise is the same pattern, which the two shape differently."""

    def noise(start: int, length: int, *, seed: int, channels: int) -> np.ndarray:
        assert start == 0
        bottleneck = seed == systems[kind].seed
        return same_weights.pattern(channels, length) if bottleneck else same_weights.pattern(length, channels).T.copy()

    monkeypatch.setattr(framing, "noise_at", noise)
    with np.load(GOLDEN / "same.npz") as golden:
        latents, wave = golden[f"{kind}/latents"], golden[f"{kind}/wave"]
    audio = recipes.music(2, wave.shape[-1])
    close(systems[kind].encode(audio)[0], latents)
    close(systems[kind].reconstruct(audio), wave)


@torch.no_grad()
def test_windows_equal_diffusers_class(folders: dict, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from the noise, which the class does not add."""
    monkeypatch.setattr(framing, "noise_at", lambda start, length, *, seed, channels: np.zeros((channels, length)))
    model, audio = systems["windows"].model, recipes.music(2, 1024 * 9)
    z = model.encode(torch.from_numpy(audio)[None]).latents
    close(systems["windows"].encode(audio), z.numpy())
    close(systems["windows"].reconstruct(audio), model.decode(z).sample[0].numpy())


def test_noise_follows_the_seed_alone(kind: str, folders: dict, systems: dict) -> None:
    audio = recipes.music(2, 5000)
    one, two = (Same(checkpoint=folders[kind], device="cpu", seed=seed) for seed in (0, 1))
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(one.reconstruct(audio), systems[kind].reconstruct(audio))
    difference = two.reconstruct(audio) - one.reconstruct(audio)
    assert np.abs(difference).max() > 0 and (kind == "others" or np.abs(difference).max() < 0.05)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize(("n_samples", "channels"), [(1, 1), (100, 6), (44_101, 2)])
def test_lengths_and_channels_are_exact(kind: str, channels: int, n_samples: int, systems: dict) -> None:
    system, audio = systems[kind], recipes.music(channels, n_samples)
    latents = system.encode(audio)
    whole = HOPS[kind] * UNITS[kind]
    assert latents.shape == (-(-channels // 2), 12, -(-n_samples // whole) * UNITS[kind])
    back = system.reconstruct(audio)
    assert back.shape == audio.shape and back.dtype == np.float32 and np.isfinite(back).all()
    assert isinstance(system, Autoencoder) and system.latent_rate == 44_100 / HOPS[kind]


def test_any_number_of_frames_is_decoded(systems: dict) -> None:
    """A frame without a partner in its chunk is beside silence."""
    latents = np.random.default_rng(0).standard_normal((1, 12, 7)).astype(np.float32)
    assert systems["chunks"].decode(latents, 7 * 1024).shape == (2, 7 * 1024)


def test_mono_is_the_mean_of_both_outputs(kind: str, systems: dict) -> None:
    audio = recipes.music(1, 5000)
    both = systems[kind].reconstruct(np.repeat(audio, 2, 0))
    np.testing.assert_allclose(systems[kind].reconstruct(audio)[0], both.mean(0), atol=1e-6 * np.abs(both).max())


def test_blocks_do_not_show(kind: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in the noise, which is that of the place in the file."""
    system, audio = systems[kind], recipes.music(2, 70_003)
    whole = system.encode(audio)
    expected = system.decode(whole, 70_003)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 5_000)
    np.testing.assert_allclose(system.encode(audio), whole, atol=2e-5 * np.abs(whole).max())
    np.testing.assert_allclose(system.decode(whole, 70_003), expected, atol=2e-5 * np.abs(expected).max())


def test_context_is_needed(kind: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    system, audio = systems[kind], recipes.music(2, 70_003)
    expected = system.encode(audio)
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 5_000)
    monkeypatch.setattr(type(system.settings.encoder), "context", 0)
    assert np.abs(system.encode(audio) - expected).max() > 1e-3 * np.abs(expected).max()


def test_memory_does_not_grow_with_the_length(kind: str, systems: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer sees no more than a block, its context and its segments' new tokens."""
    system = systems[kind]
    monkeypatch.setattr(pretrained, "BLOCK_SAMPLES", 8_192)
    layers = [module for module in system.model.modules() if type(module).__name__ == "TransformerBlock"]
    most = []
    for n_samples in (60_000, 120_000):
        seen = [0]
        hooks = [
            layer.register_forward_pre_hook(
                lambda module, inputs, seen=seen: seen.append(inputs[0].shape[0] * inputs[0].shape[1])
            )
            for layer in layers
        ]
        assert system.reconstruct(recipes.music(1, n_samples)).shape[-1] == n_samples
        for hook in hooks:
            hook.remove()
        most.append(max(seen))
    assert 0 < most[0] == most[1] < 60_000 // HOPS[kind] * 17


@pytest.mark.parametrize(("name", "repo"), [("same-s", "stabilityai/SAME-S"), ("same-l", "stabilityai/SAME-L")])
def test_is_downloaded_once(name: str, repo: str, server: Hub) -> None:
    system = m2l_bench.load(name)
    fetched = [re.sub("/resolve/[^/]+/", "/", path) for path in server.downloads()]
    assert fetched == [f"{repo}/{file}" for file in FILES]
    audio = recipes.music(2, 5000)
    assert system.reconstruct(audio).shape == audio.shape and system.name == name
    server.stop()
    assert m2l_bench.load(name).fingerprint == system.fingerprint and needs_download(name)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_without_the_hub_one_line_says_what_to_do(name: str, server: Hub) -> None:
    server.stop()
    message = (
        rf"model_config\.json of stabilityai/{name.upper()} .* GB \(.* million parameters\), Stability .*give its path"
    )
    with pytest.raises(CheckpointError, match=message) as caught:
        m2l_bench.load(name)
    assert "\n" not in str(caught.value)


def changed(kind: str, *path: str, value: Any) -> dict:
    config = copy.deepcopy(same_weights.CONFIGS[kind])
    inner: Any = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "encoder", "config", "conformer"), True, "conformer must be False, got True"),
        (("model", "decoder", "config", "dyt"), False, "dyt must be True, got False"),
        (("model", "decoder", "config", "strides"), [8], r"strides must be the encoder's, \(16,\), got \(8,\)"),
        (("model", "encoder", "config", "sliding_window"), [1, 2], r"as wide before as after, got \(1, 2\)"),
        (("model", "encoder", "config", "chunk_size"), 40, r"got strides \(16,\) and chunk_size 40"),
        (("model", "pretransform", "config", "oversampling"), 2, "oversampling is not supported, got 2"),
        (("model", "pretransform", "config", "channels"), 4, "channels must be 1 or 2, got 4"),
        (("model", "bottleneck", "config", "noise_augment_dim"), 3, "noise_augment_dim must be 0, got 3"),
        (("model", "bottleneck", "config", "auto_scale"), False, "noise_regularize must have auto_scale"),
        (("model", "encoder"), {}, "'config'"),
        (("model",), [], "list indices must be integers"),
    ],
)
def test_other_networks_are_refused(path: tuple, value: Any, message: str, folders: dict, tmp_path: Path) -> None:
    config = changed("chunks", *path, value=value)
    write(tmp_path, config, load_file(folders["chunks"] / FILES[1]))
    with pytest.raises(CheckpointError, match=rf"model_config\.json: must describe .*{message}") as caught:
        Same(checkpoint=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder.layers.0.new_tokens"), "new_tokens"),
        (lambda w: w.update({"encoder.layers.1.weight": torch.zeros(2)}), r"encoder\.layers\.1\.weight must be one of"),
        (lambda w: w.update({"extra": torch.zeros(2)}), "extra must be one of the published names"),
        (lambda w: w.update({"decoder.layers.3.transformers.0.odd": torch.zeros(2)}), "odd"),
        (lambda w: w.update({"bottleneck.bias": torch.zeros(1, 13, 1)}), "size mismatch"),
    ],
)
def test_every_weight_is_accounted_for(change: Any, message: str, folders: dict, tmp_path: Path) -> None:
    weights = load_file(folders["chunks"] / FILES[1])
    change(weights)
    write(tmp_path, same_weights.CONFIGS["chunks"], weights)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: must fit its model_config\.json: .*{message}"):
        Same(checkpoint=tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(folders: dict, tmp_path: Path) -> None:
    (tmp_path / FILES[0]).write_bytes((folders["chunks"] / FILES[0]).read_bytes())
    (tmp_path / FILES[1]).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: must fit"):
        Same(checkpoint=tmp_path)


def test_differential_projections_are_reordered() -> None:
    fused = torch.arange(10.0)[:, None]  # q, k, v, q2, k2 of two rows each
    name = "encoder.layers.0.transformers.3.self_attn.to_qkv.weight"
    out = renamed({name: fused}, 1, differential=True)
    assert out["encoder.blocks.0.transformers.3.attn.to_qkv.weight"][:, 0].tolist() == [0, 1, 6, 7, 2, 3, 8, 9, 4, 5]
    assert torch.equal(next(iter(renamed({name: fused}, 1, differential=False).values())), fused)


def test_weights_of_half_precision_compute_in_float32(folders: dict, tmp_path: Path) -> None:
    half = {key: value.half() for key, value in load_file(folders["windows"] / FILES[1]).items()}
    system = Same(checkpoint=write(tmp_path, same_weights.CONFIGS["windows"], half), device="cpu")
    assert {value.dtype for value in system.model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("name", ["same-s", "same-l"])
def test_same_has_its_caveat(name: str) -> None:
    assert caveat(name).startswith(
        "SAME was trained with pitch, stereo-image and text objectives: its key and tag probes and FAD-CLAP are partly taught."
    )
    check_encoder(name)


@pytest.mark.parametrize(("name", "channels", "depth"), [("same-s", 128, 6), ("same-l", 256, 12)])
@pytest.mark.filterwarnings("ignore")
def test_listed_parameters_are_those_of_the_published_sizes(name: str, channels: int, depth: int) -> None:
    """SAME-S maps its output over three patches, which the class does not."""
    import diffusers

    with torch.device("meta"):
        model = diffusers.AutoencoderSAME(encoder_channels=channels, encoder_transformer_depths=(depth,))
    count = sum(value.numel() for value in model.parameters()) + (name == "same-s") * 2 * 768 * 512
    assert f"{count / 1e6:.0f}" == SYSTEMS[name].parameters
