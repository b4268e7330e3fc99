"""Every registered system that needs no download satisfies its protocols."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from m2l_bench.systems.apply import reconstruct
from m2l_bench.systems.base import Autoencoder, BitstreamCodec, Codec, Encoder
from m2l_bench.systems.registry import known_names, load, needs_download, system_class

# These need files of the user's: tests/systems/test_folder.py, tests/systems_heavy/test_{diffusers,transformers}_audio.py.
USERS_OWN = {"folder", "diffusers", "transformers"}
NAMES = [name for name in known_names() if name not in USERS_OWN and not needs_download(name)]


def _with(protocol: type) -> list[str]:
    """Names of the systems whose class has the methods of a protocol."""
    methods = [name for name in dir(protocol) if not name.startswith("_") and callable(getattr(protocol, name, None))]
    return [name for name in NAMES if all(hasattr(system_class(name), method) for method in methods)]


CODECS, ENCODERS, AUTOENCODERS, BITSTREAMS = map(_with, (Codec, Encoder, Autoencoder, BitstreamCodec))


SEED = 3  # one system for all tests, which is also the first of two of a seed: some take half a second to load


@cache
def _load(name: str) -> Any:
    return load(name, seed=SEED)


def _noise(channels: int, n_samples: int) -> np.ndarray:
    rng = np.random.default_rng(n_samples)
    return (0.1 * rng.standard_normal((channels, n_samples))).cumsum(-1).clip(-0.5, 0.5).astype(np.float32)


def test_every_system_is_tested_by_its_protocols() -> None:
    assert set(CODECS) | set(ENCODERS) == set(NAMES)
    assert set(BITSTREAMS) == {name for name in CODECS if name.startswith(("opus", "vorbis", "mp3", "dac-style"))}
    assert set(AUTOENCODERS) == set(CODECS) & set(ENCODERS)


@pytest.mark.parametrize("name", NAMES)
def test_has_the_attributes_of_every_system(name: str) -> None:
    system = _load(name)
    assert system.name and len(system.fingerprint) == 16
    assert system.sample_rate is None or system.sample_rate > 0
    for protocol, names in (
        (Codec, CODECS),
        (Encoder, ENCODERS),
        (Autoencoder, AUTOENCODERS),
        (BitstreamCodec, BITSTREAMS),
    ):
        assert isinstance(system, protocol) == (name in names)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("n_samples", [1, 2, 999, 4096, 22051])
@pytest.mark.parametrize("name", CODECS)
def test_returns_exactly_the_shape_it_was_given(name: str, channels: int, n_samples: int) -> None:
    given = _noise(channels, n_samples)
    before = given.copy()
    back = _load(name).reconstruct(given)
    assert back.shape == given.shape
    assert back.dtype == np.float32
    assert np.isfinite(back).all()
    assert np.array_equal(given, before), "the input was changed in place"


@pytest.mark.parametrize("name", ENCODERS)
def test_encode_leaves_its_input_alone(name: str) -> None:
    given = _noise(2, 4096)
    before = given.copy()
    assert _load(name).encode(given).dtype == np.float32
    assert np.array_equal(given, before), "the input was changed in place"


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("name", CODECS)
def test_takes_any_sample_rate_through_the_runner(name: str, rate: int) -> None:
    given = _noise(2, rate // 4 + 1)
    estimate, _ = reconstruct(_load(name), given, rate, "x")
    assert estimate.shape == given.shape


# Peaks of decoded silence that model cards state, where they are more than nearly silent.
RUMBLE = {"mousai-style:small": 0.08}


@pytest.mark.parametrize("name", CODECS)
def test_silence_stays_nearly_silent(name: str) -> None:
    back = _load(name).reconstruct(np.zeros((2, 20000), np.float32))
    assert np.isfinite(back).all()
    assert np.abs(back).max() < RUMBLE.get(name, 0.05)


@pytest.mark.parametrize("name", CODECS)
def test_full_scale_stays_finite(name: str) -> None:
    square = np.sign(np.sin(np.arange(20000) / 20.0)).astype(np.float32)
    assert np.isfinite(_load(name).reconstruct(np.stack([square, -square]))).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same(name: str) -> None:
    first, again = _load(name), load(name, seed=SEED)
    assert first.seed == again.seed == SEED
    assert first.fingerprint == again.fingerprint
    given = _noise(2, 4096)
    for method in [*["reconstruct"] * (name in CODECS), *["encode"] * (name in ENCODERS)]:
        once = getattr(first, method)(given)
        assert np.array_equal(once, getattr(first, method)(given))
        assert np.array_equal(once, getattr(again, method)(given))


@pytest.mark.parametrize("name", ENCODERS)
def test_channels_that_are_coded_alone_do_not_depend_on_one_another(name: str) -> None:
    system, given = _load(name), _noise(2, 9000)
    both = system.encode(given)
    if both.shape[0] == 1:  # one stream: the mean of the channels is encoded
        mean = np.repeat(given.mean(axis=0, keepdims=True), 2, axis=0)
        np.testing.assert_allclose(both, system.encode(mean), rtol=1e-3, atol=1e-3)
    else:
        np.testing.assert_allclose(both[:1], system.encode(given[:1]), atol=1e-5)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_streams_are_decoded_alone(name: str) -> None:
    system = _load(name)
    both = system.encode(_noise(2, 20000))
    assert both.shape[0] == 2
    np.testing.assert_allclose(system.decode(both, 20000)[:1], system.decode(both[:1], 20000), atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_latents_have_the_dimension_and_rate_that_are_claimed(name: str) -> None:
    system = _load(name)
    rate = system.sample_rate or 44100
    short, long = (system.encode(_noise(1, seconds * rate)) for seconds in (1, 3))
    assert short.shape[-2] == long.shape[-2] == system.latent_dim
    # The difference leaves out what is padded at the ends.
    assert (long.shape[-1] - short.shape[-1]) / 2 == pytest.approx(system.latent_rate, abs=0.5)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_decode_of_encode_is_reconstruct(name: str) -> None:
    system, given = _load(name), _noise(2, 30001)
    assert np.allclose(system.decode(system.encode(given), 30001), system.reconstruct(given), atol=1e-6)


@pytest.mark.parametrize("name", BITSTREAMS)
def test_decoded_bit_stream_is_the_reconstruction(name: str) -> None:
    system, given = _load(name), _noise(2, 30001)
    assert np.array_equal(system.decompress(system.compress(given), 2, 30001), system.reconstruct(given))
