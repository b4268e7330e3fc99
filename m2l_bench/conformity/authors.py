"""A system against its authors' own package with the same weights and the same noise, where that is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from m2l_bench.conformity.finding import ROUNDING, Finding, decibels, difference
from m2l_bench.conformity.subject import Subject

Pair = tuple[str, np.ndarray, np.ndarray]  # what, from this package, from the authors'
_EQUAL = -60.0  # dB: two implementations round differently, at every layer


def authors(subject: Subject) -> list[Finding]:
    """Largest differences of latents and audio for Music2Latent, SNAC and CoDiCodec; nothing for other systems."""
    compared = _comparison(subject)
    if compared is None:
        return []
    package, compare, path = compared
    if importlib.util.find_spec(package) is None:
        meaning = f"Not compared: the package {package} is not installed (pip install {package})."
        return [Finding("authors' package", "note", "-", meaning)]
    findings = []
    for what, ours, theirs in compare(subject, path):
        found = difference(theirs, ours) if ours.shape == theirs.shape else float("nan")
        equal = found < _EQUAL
        largest = float(np.abs(theirs - ours).max()) if ours.shape == theirs.shape else float("nan")
        peak = float(np.abs(theirs).max())
        figure = "bit-equal" if found == -np.inf else f"at most {largest:.2g} of {peak:.2g} ({decibels(found)})"
        meaning = (
            f"The {what} is what the package {package} makes of the same weights, to rounding."
            if equal
            else f"The {what} must be what the package {package} makes of the same weights."
        )
        values = {"largest difference": largest, "difference (dB)": max(found, ROUNDING * 3)}
        findings.append(Finding(f"authors' package, {what}", "pass" if equal else "fail", figure, meaning, values))
    return findings


def _comparison(subject: Subject) -> tuple[str, Any, Path | None] | None:
    """Package, function and weights for a system that has them."""
    from m2l_bench.music2latent.autoencoder import Music2Latent
    from m2l_bench.systems.codicodec import CoDiCodec
    from m2l_bench.systems.packages import MUSIC2LATENT, AuthorsMusic2Latent
    from m2l_bench.systems.repository import find
    from m2l_bench.systems.snac import Snac

    system, given = subject.system, subject.spec.checkpoint if subject.spec else None
    if isinstance(system, AuthorsMusic2Latent):
        return "music2latent", _music2latent, system.paths[0]
    if isinstance(system, Music2Latent):
        if given is not None and Path(given).suffix == ".pt":
            return "music2latent", _music2latent, Path(given)
        if given is None and system.name == "music2latent:published":
            return "music2latent", _music2latent, find(None, MUSIC2LATENT)[0]
    if isinstance(system, Snac):
        return "snac", _snac, None
    if isinstance(system, CoDiCodec):
        return "codicodec", _codicodec, None
    return None


def _music2latent(subject: Subject, path: Path) -> Iterator[Pair]:
    """One channel, framed as the package does it, from the noise that it draws first."""
    import torch

    from m2l_bench.music2latent.autoencoder import Music2Latent
    from m2l_bench.systems import framing
    from m2l_bench.systems.packages import AuthorsMusic2Latent

    device = subject.system.device
    ours = Music2Latent(path, compatible=True, device=device)
    theirs = AuthorsMusic2Latent(checkpoint=path, device=device)
    frames = max(1, int(subject.excerpts[0].audio.shape[-1] / theirs.sample_rate * theirs.latent_rate) - 1)
    unit = round(theirs.sample_rate / theirs.latent_rate)
    audio = subject.excerpts[0].audio[:1, : frames * unit + 3 * ours.config.hop]
    latents = theirs.encode(audio)
    yield "latents", ours.encode(audio), latents
    with framing.seeded(theirs.seed, theirs.device):
        noise = torch.randn(1, 2, 2 * ours.config.hop, latents.shape[-1] * (unit // ours.config.hop))
    yield "audio", ours.decode(latents, audio.shape[-1], noise=noise), theirs.decode(latents, audio.shape[-1])


def _snac(subject: Subject, _: None) -> Iterator[Pair]:
    """As much as goes through in one block, whose noise is drawn as the package draws it."""
    import torch

    from m2l_bench.systems import framing

    system = subject.system
    audio = subject.excerpts[0].audio[:, : system.block]
    with torch.inference_mode():
        wave = torch.from_numpy(audio[:, None]).to(system.device)
        theirs = framing.each_seeded(lambda row: system.model(row)[0], wave, system.seed, system.device)
    yield "audio", system.reconstruct(audio.copy()), theirs[:, 0].cpu().numpy()


def _codicodec(subject: Subject, _: None) -> Iterator[Pair]:
    """Whole chunks, a hop before and after them, as the documented calls take them."""
    import torch

    from m2l_bench.systems import framing
    from m2l_bench.systems.codicodec import TokenCoDiCodec

    system = subject.system
    hop, audio = system.hop, subject.excerpts[0].audio
    audio = audio[:, : max(1, audio.shape[-1] // system.chunk) * system.chunk - hop]
    system.set_precision()
    given = torch.from_numpy(np.pad(audio, [(0, 0), (hop, hop)]))
    latents = system.codec.encode(given, discrete=isinstance(system, TokenCoDiCodec))
    with framing.seeded(system.seed, system.device):
        theirs = system.codec.decode(latents, denoising_steps=system.num_steps).cpu().numpy()
    yield "audio", system.reconstruct(audio.copy()), theirs[:, hop : hop + audio.shape[-1]]
