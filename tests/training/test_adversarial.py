"""Discriminators: their losses, who learns from which, and that a training with them keeps the trainer's guarantees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import FAMILIES, family_recipe
from tiny_training import chord

from m2l_bench.systems.small.adversarial import SIZES, AdversarialLoss, compressed
from m2l_bench.systems.small.recipes import AdversarialRecipe, FamilyRecipe, objective_of, train
from m2l_bench.training.crops import batches
from m2l_bench.training.loop import Trainer
from m2l_bench.training.state import checkpoints

ADVERSARIAL = [family for family in FAMILIES if isinstance(family_recipe(family, Path("music")), AdversarialRecipe)]
SECTION = {"width": 4}


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    music = torch.from_numpy(np.concatenate([chord(0.5, seed) for seed in (0, 1)]))
    noise = torch.randn(music.shape, generator=torch.Generator().manual_seed(0))
    return (0.7 * music + 0.05 * noise).requires_grad_(), music


def _adversarial(weight: float = 1.0, features: float = 2.0) -> AdversarialLoss:
    torch.manual_seed(0)
    return AdversarialLoss(width=4, weight=weight, features=features)


def _recipe(family: str, music: Path, **sections: dict) -> FamilyRecipe:
    return family_recipe(family, music, adversarial=SECTION, **sections)


def _three_steps(recipe: FamilyRecipe, out: Path) -> Trainer:
    """The beginning of a training, saved."""
    trainer = Trainer(recipe, objective_of, out, score=None)
    trainer.start(resume=False)
    for examples in batches(trainer.crops, first=0, last=3, batch=2):
        trainer.step(examples)
    trainer.save()
    return trainer


def test_who_may_have_discriminators() -> None:
    assert ADVERSARIAL == ["musika-style", "dac-style"]


def test_discriminators_that_say_one_number_give_the_losses_of_the_paper() -> None:
    """(1 - s)^2 for the network; (1 - s)^2 + s^2 for each discriminator; no difference of inner maps that are 0."""
    adversarial, (estimate, music) = _adversarial(weight=3.0), _pair()
    for parameter in adversarial.parameters():
        parameter.data.zero_()
    for discriminator in adversarial.discriminators:
        discriminator.score.bias.data.fill_(0.25)
    expected = len(SIZES) * (3.0 * 0.75**2 + 0.75**2 + 0.25**2)
    torch.testing.assert_close(adversarial(estimate, music), torch.full((2,), expected))


def test_each_side_learns_from_its_own_loss() -> None:
    """Gradients of the one sum are those of two trainings that take turns."""
    adversarial, (estimate, music) = _adversarial(), _pair()
    adversarial(estimate, music).sum().backward()
    together = [parameter.grad.clone() for parameter in adversarial.parameters()]
    of_the_sum = estimate.grad.clone()
    estimate.grad = None
    adversarial.zero_grad()

    discriminators, network = torch.zeros(()), torch.zeros(())
    for size, discriminator in zip(SIZES, adversarial.discriminators, strict=True):
        of_music, of_made = discriminator(compressed(music, size)), discriminator(compressed(estimate.detach(), size))
        discriminators = discriminators + sum(
            (1 - of_music[-1][i]).square().mean() + of_made[-1][i].square().mean() for i in (0, 1)
        )
    discriminators.backward()
    for mine, expected in zip(adversarial.parameters(), together, strict=True):
        torch.testing.assert_close(mine.grad, expected, rtol=1e-4, atol=1e-7)

    for size, discriminator in zip(SIZES, adversarial.discriminators, strict=True):
        of_music, of_made = discriminator(compressed(music, size)), discriminator(compressed(estimate, size))
        for i in (0, 1):
            network = network + (1 - of_made[-1][i]).square().mean()
            for theirs, ours in zip(of_music[:-1], of_made[:-1], strict=True):
                network = network + 2 * (ours[i] - theirs[i].detach()).abs().mean()
    network.backward()
    assert estimate.grad is not None
    torch.testing.assert_close(estimate.grad, of_the_sum, rtol=1e-4, atol=1e-7)


def test_discriminators_learn_to_tell_noise_from_music() -> None:
    adversarial, (estimate, music) = _adversarial(), _pair()
    optimizer = torch.optim.Adam(adversarial.parameters(), lr=3e-3)

    def scores() -> tuple[float, float]:
        with torch.no_grad():
            made, real = (
                float(sum(discriminator(compressed(signal, size))[-1].mean() for size, discriminator in pairs))
                for signal in (estimate, music)
            )
        return made, real

    pairs = list(zip(SIZES, adversarial.discriminators, strict=True))
    before = scores()
    for _ in range(40):
        optimizer.zero_grad()
        adversarial(estimate.detach(), music).mean().backward()
        optimizer.step()
    made, real = scores()
    assert real - made > before[1] - before[0] + 0.3


def test_quiet_bins_count_with_a_finite_gradient_at_silence() -> None:
    _, music = _pair()
    one, louder = compressed(music, 512), compressed(16 * music, 512)
    loud = one.norm(dim=1) > 1
    torch.testing.assert_close(louder.norm(dim=1)[loud], 16**0.3 * one.norm(dim=1)[loud], rtol=1e-3, atol=1e-3)
    angles = [torch.atan2(seen[:, 1], seen[:, 0])[loud] for seen in (one, louder)]
    torch.testing.assert_close(angles[0], angles[1], rtol=1e-3, atol=1e-3)
    silence = torch.zeros(1, 4000, requires_grad=True)
    _adversarial()(silence, torch.zeros(1, 4000)).sum().backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.isfinite(_adversarial()(*_pair())).all()


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_validation_leaves_the_discriminators_out(family: str) -> None:
    """Held-out losses are comparable with those of a training without."""
    adversarial = objective_of(_recipe(family, Path("music")))
    plain = objective_of(family_recipe(family, Path("music")))
    plain.network.load_state_dict(adversarial.network.state_dict())
    excerpts = torch.from_numpy(np.concatenate([chord(0.5, seed) for seed in (0, 1)]))
    with torch.no_grad():
        assert adversarial.measure(excerpts) == plain.measure(excerpts)
    length = 8 * plain.network.config.samples_per_latent
    inputs = torch.from_numpy(chord(2.0, 0)[:, :length]), torch.rand(1, 2), torch.zeros(1, 0), 0.0
    assert adversarial.loss(*inputs).loss.item() > plain.loss(*inputs).loss.item() + 0.1


@pytest.mark.parametrize("family", ADVERSARIAL)
def test_stopped_and_resumed_is_bit_for_bit_the_same_discriminators_too(
    family: str, pieces: Path, tmp_path: Path
) -> None:
    recipe = _recipe(family, pieces)
    train(recipe, tmp_path / "whole", progress=False)
    half = _three_steps(recipe, tmp_path / "parts")
    torch.manual_seed(99)
    weights = train(recipe, tmp_path / "parts", resume=True, progress=False)
    whole, parts = (
        load_file(checkpoints(tmp_path / run / "checkpoints")[-1] / "state.safetensors") for run in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert any(name.startswith("adversarial.discriminators") for name in whole)
    assert any(name.startswith("optimizer.adversarial.discriminators") for name in whole)
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name
    assert load_file(weights).keys() == half.network.state_dict().keys()  # of no use after the training


def test_discriminators_are_not_added_to_a_training_that_had_none(pieces: Path, tmp_path: Path) -> None:
    train(family_recipe("dac-style", pieces, optimization={"steps": 4}), tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"adversarial must be as in the checkpoint to resume, None, got \{'width': 4"):
        train(_recipe("dac-style", pieces), tmp_path, resume=True, progress=False)
