"""Every registered system that needs no download keeps the promises of its protocol.

Families without shipped weights are loaded with random ones of a tiny network, through the same checkpoint format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from m2l_bench.systems.apply import reconstruct
from m2l_bench.systems.base import Autoencoder, BitstreamCodec, Codec, Encoder
from m2l_bench.systems.registry import known_names, load, needs_download

# The folder needs files of the user's: tests/systems/test_folder.py.
NAMES = [name for name in known_names() if name != "folder" and not needs_download(name)]


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def make(name: str) -> Callable[..., Any]:
    """Loads the system, as often as it is called."""
    return lambda **options: load(name, **options)


@pytest.fixture(scope="module")
def system(make: Callable[..., Any]):
    return make()


def _noise(channels: int, n_samples: int) -> np.ndarray:
    rng = np.random.default_rng(n_samples)
    return (0.1 * rng.standard_normal((channels, n_samples))).cumsum(-1).clip(-0.5, 0.5).astype(np.float32)


def test_has_what_every_system_has(system, request: pytest.FixtureRequest) -> None:
    assert system.name and len(system.fingerprint) == 16
    assert system.sample_rate is None or system.sample_rate > 0
    assert isinstance(system, (Codec, Encoder))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n_samples", [1, 2, 999, 4096, 44101])
def test_returns_exactly_the_shape_it_was_given(system, channels: int, n_samples: int) -> None:
    given = _noise(channels, n_samples)
    before = given.copy()
    if isinstance(system, Codec):
        back = system.reconstruct(given)
        assert back.shape == given.shape
        assert back.dtype == np.float32
        assert np.isfinite(back).all()
    assert np.array_equal(given, before), "the input was changed in place"


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_takes_any_sample_rate_through_the_runner(system, rate: int) -> None:
    if isinstance(system, Codec):
        given = _noise(2, rate // 4 + 1)
        estimate, _ = reconstruct(system, given, rate, "x")
        assert estimate.shape == given.shape


# Peaks that cards tell of, where they are more than nearly silent.
RUMBLE = {"mousai-style:small": 0.08}


def test_silence_stays_nearly_silent(system, name: str) -> None:
    if isinstance(system, Codec):
        back = system.reconstruct(np.zeros((2, 20000), np.float32))
        assert np.isfinite(back).all()
        assert np.abs(back).max() < RUMBLE.get(name, 0.05)


def test_full_scale_stays_finite(system) -> None:
    if isinstance(system, Codec):
        square = np.sign(np.sin(np.arange(20000) / 20.0)).astype(np.float32)
        assert np.isfinite(system.reconstruct(np.stack([square, -square]))).all()


def test_gives_the_same_twice(system) -> None:
    given = _noise(2, 20000)
    if isinstance(system, Codec):
        assert np.array_equal(system.reconstruct(given), system.reconstruct(given))
    if isinstance(system, Encoder):
        assert np.array_equal(system.encode(given), system.encode(given))


def test_the_same_seed_gives_the_same(make: Callable[..., Any]) -> None:
    first, again = make(seed=3), make(seed=3)
    assert first.seed == 3
    assert first.fingerprint == again.fingerprint
    given = _noise(2, 9000)
    for method in ("reconstruct", "encode"):
        if hasattr(first, method):
            assert np.array_equal(getattr(first, method)(given), getattr(again, method)(given))


def test_channels_that_are_coded_alone_do_not_hear_one_another(system) -> None:
    given = _noise(2, 20000)
    if not isinstance(system, Encoder):
        return
    both = system.encode(given)
    if both.shape[0] == 2:
        np.testing.assert_allclose(both[:1], system.encode(given[:1]), atol=1e-5)
        if isinstance(system, Autoencoder):
            np.testing.assert_allclose(system.decode(both, 20000)[:1], system.decode(both[:1], 20000), atol=1e-4)


def test_latents_have_the_dimension_and_rate_that_are_claimed(system) -> None:
    if not isinstance(system, Encoder):
        return
    rate = system.sample_rate or 44100
    short, long = (system.encode(_noise(2, seconds * rate)) for seconds in (1, 3))
    assert short.shape[-2] == long.shape[-2] == system.latent_dim
    # The difference leaves out what is padded at the ends.
    assert (long.shape[-1] - short.shape[-1]) / 2 == pytest.approx(system.latent_rate, abs=0.5)


def test_decode_of_encode_is_reconstruct(system) -> None:
    if isinstance(system, Autoencoder):
        given = _noise(2, 30001)
        assert np.allclose(system.decode(system.encode(given), 30001), system.reconstruct(given), atol=1e-6)


def test_bit_stream_is_what_reconstruct_hears(system) -> None:
    if isinstance(system, BitstreamCodec):
        given = _noise(2, 30001)
        assert np.array_equal(system.decompress(system.compress(given), 2, 30001), system.reconstruct(given))


def test_seed_is_kept() -> None:
    assert load("identity", seed=7).seed == 7
