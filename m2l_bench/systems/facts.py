"""Facts of a system that do not come from its numbers: sample rate, licence, compression ratio.

Conventions
-----------
The compression ratio is in waveform samples for each latent value, all channels together. Facts of listed systems follow from
the table (:mod:`~m2l_bench.systems.catalogue`); a user's class states its own in the optional attributes ``licence`` (text) and
``compression_ratio``. What nobody states is empty, or None.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from m2l_bench.systems.base import Autoencoder, ReadyMade, System
from m2l_bench.systems.catalogue import Entry
from m2l_bench.systems.registry import default_variant, entry_of


class Facts(NamedTuple):
    """Facts of one system.

    Attributes
    ----------
    sample_rate : int or None
        Hz; None where it takes any.
    licence : str
        Of code / weights, or empty.
    compression_ratio : float or None
        Waveform samples for each latent value; None without latents that are decoded, or where it is not known.
    """

    sample_rate: int | None
    licence: str
    compression_ratio: float | None


def facts_of(system: System, name: str, *, has_checkpoint: bool = False) -> Facts:
    """Say what is known of a loaded system.

    Parameters
    ----------
    system : System
    name : str
        How it is spelled: ``"music2latent:small"``, ``"path/to/file.py:ClassName"``.
    has_checkpoint : bool
        Whether the user gave the weights, whose licence is then not known.

    Returns
    -------
    Facts

    Raises
    ------
    ValueError
        If a user's class states a licence that is no text, or a compression ratio that is not positive.

    Examples
    --------
    >>> from m2l_bench.systems.registry import load
    >>> facts_of(load("opus:32k"), "opus:32k")
    Facts(sample_rate=48000, licence='BSD-3-Clause', compression_ratio=None)
    """
    entry = entry_of(name)
    if entry is None:
        return _own(system, name)
    if isinstance(system, ReadyMade):  # somebody's files
        return Facts(system.sample_rate, "", None)
    return Facts(system.sample_rate, _licence(entry, name, has_checkpoint), _compression(entry, system))


def _own(system: System, name: str) -> Facts:
    licence, ratio = getattr(system, "licence", ""), getattr(system, "compression_ratio", None)
    if not isinstance(licence, str):
        raise ValueError(f"{name}: licence must be text, got {licence!r}")
    if ratio is not None and not (isinstance(ratio, (int, float)) and 0 < ratio < math.inf):
        raise ValueError(f"{name}: compression_ratio must be a positive number, got {ratio!r}")
    return Facts(system.sample_rate, licence, None if ratio is None else float(ratio))


def _licence(entry: Entry, name: str, has_checkpoint: bool) -> str:
    """Of code / weights; of one variant's weights where the table has each ("small MIT, published CC BY-NC 4.0")."""
    code, _, weights = entry.licence.partition(" / ")
    variant = name.partition(":")[2] or default_variant(entry)
    own = [part.removeprefix(f"{variant} ") for part in weights.split(", ") if part.startswith(f"{variant} ")]
    if has_checkpoint:
        weights = "not stated"
    elif own:
        weights = own[0]
    return " / ".join(filter(None, (code, weights)))


def _compression(entry: Entry, system: Any) -> float | None:
    """From the rate and the dimension of the latents; a stereo model codes two channels in one stream."""
    rate = system.sample_rate
    if rate is None or not isinstance(system, Autoencoder):
        return None
    coded_together = 2 if getattr(system, "pairs", entry.audio.endswith("stereo")) else 1
    return float(coded_together * rate / (system.latent_rate * system.latent_dim))
