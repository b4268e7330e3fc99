"""The families' networks and losses: shapes, lengths, ratio, gradients, and that each learns one clip by heart."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_families import FAMILIES, family_recipe
from tiny_training import chord

from m2l_bench.systems.mousai.network import Network
from m2l_bench.systems.registry import SYSTEMS, load
from m2l_bench.systems.small.dac import DacLoss, DacStyleConfig
from m2l_bench.systems.small.family import FamilyLoss, inside
from m2l_bench.systems.small.mousai import MousaiLoss, MousaiStyle, MousaiStyleConfig
from m2l_bench.systems.small.musika import MusikaLoss
from m2l_bench.systems.small.recipes import RECIPES, FamilyRecipe, read_recipe
from m2l_bench.systems.small.spectral import complex_distance, mel_distance

RECIPE_FILES = Path(__file__).parents[2] / "m2l_bench" / "assets" / "recipes"
BUDGET = ("steps", "batch")


def _loss(family: str) -> FamilyLoss:
    torch.manual_seed(0)
    return family_recipe(family, Path("music")).loss()


def _batch(loss: FamilyLoss, frames: int = 8, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    length = frames * loss.network.config.samples_per_latent
    audio = torch.from_numpy(np.concatenate([chord(2.0, seed)[:, :length] for seed in range(batch)]))
    generator = torch.Generator().manual_seed(0)
    return audio, torch.rand(batch, 2, generator=generator), torch.randn(audio.shape, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("frames", [1, 3, 8])
def test_lengths_are_exact(family: str, frames: int) -> None:
    network = _loss(family).network
    audio = torch.randn(2, frames * network.config.samples_per_latent)
    with torch.no_grad():
        latents = network.encode(audio)
        assert latents.shape == (2, 16, frames)
        assert network.decode(latents, torch.randn_like(audio)).shape == audio.shape


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shipped_recipe_has_the_ratio_and_size_that_are_claimed(family: str, tmp_path: Path) -> None:
    recipe = read_recipe(RECIPE_FILES / f"{family}.toml")
    reference = read_recipe(RECIPE_FILES / "music2latent.toml")
    assert isinstance(recipe, FamilyRecipe)
    assert recipe.config.samples_per_latent / recipe.config.latent_dim == 64
    assert recipe.config.sample_rate / recipe.config.samples_per_latent == pytest.approx(10.77, abs=0.005)
    count = sum(parameter.numel() for parameter in recipe.loss().network.parameters())
    assert f"{count / 1e6:.2f}" == SYSTEMS[family].parameters
    assert 4 * count < 10e6
    assert recipe.data == reference.data
    assert recipe.optimization.batch == reference.optimization.batch
    assert recipe.config == type(recipe.config)(), "the recipe spells out the configuration's defaults"


def test_dac_styles_bit_rate_is_the_one_listed() -> None:
    config = DacStyleConfig()
    bit_rate = config.n_codebooks * config.bits_per_code * config.sample_rate / config.samples_per_latent
    assert f"{bit_rate / 1000:.2f}" == SYSTEMS["dac-style"].bit_rate


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_gets_a_gradient_in_some_stage(family: str) -> None:
    loss = _loss(family)
    reached: dict[str, bool] = defaultdict(bool)
    for progress in loss.stages.values():
        loss.zero_grad()
        losses, sigma = loss(*_batch(loss), progress)
        assert losses.shape == sigma.shape == (2,)
        losses.mean().backward()
        for name, parameter in loss.named_parameters():
            reached[name] |= parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    silent = {name for name, found in reached.items() if not found}
    # Noise scales are left at 0; of the codebooks only the entries that were picked get a gradient.
    assert all("noise_scales" in name for name in silent), silent


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loss_is_each_crops_own(family: str) -> None:
    """But for the quantiser's two losses, which transformers gives as the batch's mean."""
    loss = _loss(family).eval()
    audio, uniforms, noise = _batch(loss)
    with torch.no_grad():
        both, _ = loss(audio, uniforms, noise, 0.0)
        alone = torch.cat([loss(audio[i : i + 1], uniforms[i : i + 1], noise[i : i + 1], 0.0).loss for i in (0, 1)])
    torch.testing.assert_close(both, alone, rtol=1e-2 if isinstance(loss, DacLoss) else 1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_finite_in_half_precision_and_for_silence(family: str) -> None:
    loss = _loss(family)
    audio, uniforms, noise = _batch(loss)
    for progress in loss.stages.values():
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.isfinite(loss(audio, uniforms, noise, progress).loss).all()
        losses, _ = loss(torch.zeros_like(audio), uniforms, noise, progress)
        losses.mean().backward()
        assert torch.isfinite(losses).all()
        assert all(torch.isfinite(p.grad).all() for p in loss.parameters() if p.grad is not None)


def test_musikas_second_stage_leaves_the_first_alone() -> None:
    loss = _loss("musika-style")
    assert isinstance(loss, MusikaLoss)
    for progress, trained in ((0.49, {"encoder", "decoder"}), (0.5, {"latent_encoder", "latent_decoder"})):
        loss.zero_grad()
        loss(*_batch(loss), progress).loss.mean().backward()
        found = {name.split(".")[1] for name, p in loss.named_parameters() if p.grad is not None and p.grad.any()}
        assert found == trained
    with pytest.raises(ValueError, match=r"first_stage must be in \(0, 1\), got 1"):
        MusikaLoss(loss.network, first_stage=1.0)


def test_mousais_velocity_is_its_formula() -> None:
    """A network that always says 0 is as wrong as the velocity is large."""
    loss = _loss("mousai-style")
    assert isinstance(loss, MousaiLoss)
    audio, uniforms, noise = _batch(loss)
    with torch.no_grad():
        loss.network.net.unet.synthesis.weight.zero_()
        losses, sigma = loss(audio, uniforms, noise, 1.0)
    angle = uniforms[:, :1].numpy() * np.pi / 2
    velocity = np.cos(angle) * noise.numpy() - np.sin(angle) * 5 * audio.numpy()
    np.testing.assert_allclose(losses, (velocity**2).mean(-1), rtol=1e-4)
    np.testing.assert_allclose(sigma, uniforms[:, 0])


def test_mousais_lesson_is_of_one_step_and_of_half_of_the_crops_later() -> None:
    loss = _loss("mousai-style")
    assert isinstance(loss, MousaiLoss)
    audio, uniforms, noise = _batch(loss)
    uniforms[:, 1] = torch.linspace(0.1, 0.9, len(uniforms))
    network, warmed = loss.network, uniforms[:, 1] < 0.5
    with torch.no_grad():
        latents = network.encode(audio)
        one_step = network.net.decode(latents, noise[:, None], 1)[:, 0] / 5
        expected = mel_distance(one_step, audio, network.config.sample_rate)
        warm_up, highest = loss(audio, uniforms, noise, 0.0)
        diffusion, _ = loss(audio, uniforms, noise, 1.0)
        both, sigma = loss(audio, uniforms, noise, 0.5)
    np.testing.assert_allclose(warm_up, expected, rtol=1e-4)
    assert highest.eq(1).all()
    np.testing.assert_allclose(both, torch.where(warmed, warm_up, diffusion), rtol=1e-5)
    np.testing.assert_allclose(sigma, torch.where(warmed, 1.0, uniforms[:, 0]))
    with pytest.raises(ValueError, match=r"first_stage must be in \(0, 1\), got 0"):
        MousaiLoss(network, first_stage=0.0)


def test_mousais_latents_reach_the_output_from_the_start() -> None:
    """The original's start lets hardly anything through."""
    torch.manual_seed(0)
    config = MousaiStyleConfig()
    noise, latents = torch.randn(4, 1, 16384), torch.randn(4, 64, 4) / 2
    arrives = []
    for network in (MousaiStyle(config).net, Network(config.network)):
        with torch.no_grad():
            one, other = (network.unet(noise, torch.ones(4), z) for z in (latents, latents.roll(1, 0)))
        arrives.append(float((one - other).std() / one.std()))
    assert arrives[0] > 0.1
    assert arrives[1] < 1e-4


# Steps, crops a step, learning rate, and what is reached: relative loss, and mel distance of the decoded clip, where
# silence is 7.
HEART = {
    "latmusic-style": (50, 1, 6e-3, 0.4, 3.5),
    "musika-style": (40, 1, 6e-3, 0.5, 3.0),
    "mousai-style": (110, 6, 3e-3, 0.35, 6.0),
    "dac-style": (30, 1, 6e-3, 0.45, 3.5),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_clip_is_learnt_by_heart(family: str) -> None:
    steps, batch, rate, share, reached = HEART[family]
    loss = _loss(family)
    network = loss.network
    length = 2048 // network.config.samples_per_latent * network.config.samples_per_latent
    clip = torch.from_numpy(chord(2.0, 1))[:, :length]
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=rate)
    values = []
    for step in range(steps):
        uniforms, noise = torch.rand(batch, 2, generator=generator), torch.randn(batch, length, generator=generator)
        value = loss(clip.expand(batch, -1), uniforms, noise, step / steps).loss.mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    with torch.no_grad():
        decoded = network.decode(network.encode(clip), torch.randn(1, length, generator=generator))
        distance = float(mel_distance(*inside(network, decoded, clip), network.config.sample_rate))
    assert np.mean(values[-5:]) < share * values[0]
    assert distance < reached


def test_spectral_distances_are_zero_at_home_and_hear_phase_where_they_should() -> None:
    x = torch.from_numpy(chord(0.5, 3))
    for distance in (complex_distance, lambda a, b: mel_distance(a, b, 8000)):
        assert float(distance(x, x)) < 5e-3
        assert float(distance(0.5 * x, x)) > 0.1
    assert float(mel_distance(-x, x, 8000)) < 1e-6
    assert float(complex_distance(-x, x)) == pytest.approx(2, rel=1e-3)
    assert float(complex_distance(torch.zeros_like(x), x)) == pytest.approx(1, rel=1e-2)


@pytest.mark.parametrize(
    ("family", "model", "message"),
    [
        ("latmusic-style", {"widths": [12]}, "widths must be multiples of 8"),
        ("latmusic-style", {"hops": 3}, "known keys only .*got hops"),
        ("musika-style", {"hop": 0}, "hop must hold whole numbers of at least 1, got 0"),
        ("mousai-style", {"stride": 32}, "one value per 4096 samples, got 2048"),
        ("mousai-style", {"channels": [8]}, "equally many"),
        ("mousai-style", {"encoder_blocks": [1]}, "encoder_blocks must be 4"),
        ("dac-style", {"codebook_size": 100}, "power of two"),
        ("dac-style", {"downsampling_ratios": [3, 8]}, "downsampling_ratios must be even"),
    ],
)
def test_impossible_sizes_are_refused(family: str, model: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPES[family].model_validate({"model": model, "data": {"folders": [{"path": "x"}]}})


def test_dac_style_gives_what_transformers_gives() -> None:
    transformers = pytest.importorskip("transformers")
    system = load("dac-style:small")
    own, config = system.network, system.network.config
    sizes = transformers.DacConfig(
        **{name: value for name, value in config.to_dict().items() if name not in ("sample_rate", "latent_dim")}
    )
    sizes.hidden_size = config.latent_dim
    theirs = transformers.DacModel(sizes).eval()
    theirs.load_state_dict(own.state_dict())
    audio = torch.from_numpy(np.stack([chord(2.0, seed) for seed in (0, 1)]).reshape(2, -1)[:, : 20 * 4096])
    with torch.no_grad():
        before, quantised = own.unquantised(audio), own.quantizer(own.unquantised(audio))
        expected = theirs.quantizer(theirs.encoder(audio[:, None]))
        assert torch.equal(before, theirs.encoder(audio[:, None]))
        for ours, other in zip(quantised, (expected[0], expected[1], expected[3], expected[4]), strict=True):
            assert torch.equal(ours.expand_as(other), other)
        assert torch.equal(own.from_codes(quantised.codes), theirs.quantizer.from_codes(expected[1])[0])
        assert torch.equal(own.decoder(before), theirs.decoder(before))
