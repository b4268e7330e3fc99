"""Audio files and arrays: decode, resample, excerpt, write, list.

Conventions
-----------
Audio is a float32 array ``(channels, samples)`` with values nominally in [-1, 1]. Files are decoded with libsndfile
(WAV, FLAC, AIFF, MP3, Ogg Vorbis, Ogg Opus); lossy files may decode to values slightly outside [-1, 1], which are kept.
Sample rates are in Hz, positions and lengths in samples per channel ("frames" of libsndfile).
Every error in a file raises :class:`AudioError`, whose message names the file, the constraint and the value found.

A signal is held in memory as a whole. Decoded or resampled, it may have at most ``MAX_SAMPLES`` samples over all channels
(1 GiB; 50 minutes of 44.1 kHz stereo); ``M2L_BENCH_MAX_SAMPLES`` sets another limit. Excerpts of longer files can be read.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from m2l_bench.files.disk import write_atomic

_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".mp3": "MP3"}  # suffix -> libsndfile's name of the container
_FORMATS |= dict.fromkeys((".ogg", ".oga", ".opus"), "OGG") | dict.fromkeys((".aif", ".aiff"), "AIFF")
AUDIO_SUFFIXES = tuple(_FORMATS)
# A header with other values is damaged or hostile.
MAX_CHANNELS = 64
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 100, 1_000_000
# A few kilobytes of FLAC can claim days of silence: checked before memory is allocated.
MAX_SAMPLES = 1 << 28
_LIMIT_VARIABLE = "M2L_BENCH_MAX_SAMPLES"


class AudioError(ValueError):
    """An audio file or array that cannot be used."""


@dataclass(frozen=True)
class AudioInfo:
    """The header of an audio file: sample rate in Hz, number of channels, samples per channel."""

    sample_rate: int
    channels: int
    n_samples: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read a file's header; AudioError if it is missing, empty, truncated, not audio, or has no channels or samples."""
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.channels, file.frames)


def load(
    path: str | os.PathLike[str], *, start: int = 0, n_samples: int | None = None, sample_rate: int | None = None
) -> tuple[np.ndarray, int]:
    """Decode a file, or an excerpt of it without decoding the rest.

    Parameters
    ----------
    path : path-like
    start : int
        First sample of the excerpt, at the file's own rate.
    n_samples : int, optional
        Length of the excerpt at the file's own rate; the rest of the file by default.
    sample_rate : int, optional
        Resample to this rate in Hz (soxr VHQ); the file's own rate by default.

    Returns
    -------
    audio : np.ndarray, float32, (channels, samples)
    sample_rate : int
        The rate of `audio`, in Hz.

    Raises
    ------
    AudioError
        If the file is missing, empty, truncated, not audio, without channels, holds NaN or infinite samples,
        does not hold the excerpt, or is larger than the limit above.
    """
    with _open(path) as file:
        wanted = file.frames - start if n_samples is None else n_samples
        if start < 0 or wanted < 1 or start + wanted > file.frames:
            raise AudioError(
                f"{path}: excerpt must lie within the file's {file.frames} samples, got start {start}, length {wanted}"
            )
        refuse_oversize(str(path), file.channels, wanted)
        if sample_rate is not None:
            refuse_oversize(str(path), file.channels, round(wanted * sample_rate / file.samplerate))
        try:
            if start:
                file.seek(start)
            audio = file.read(wanted, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{path}: cannot be decoded ({_reason(error)}); damaged or truncated file") from error
        file_rate = file.samplerate
    if len(audio) != wanted:
        raise AudioError(f"{path}: truncated, must hold {wanted} samples from {start}, got {len(audio)}")
    audio = np.ascontiguousarray(audio.T)
    if not np.isfinite(audio).all():
        bad = int(audio.size - np.isfinite(audio).sum())
        raise AudioError(f"{path}: samples must be finite, got {bad} NaN or infinite of {audio.size}")
    if sample_rate is not None and sample_rate != file_rate:
        return resample(audio, file_rate, sample_rate), sample_rate
    return audio, file_rate


def resample(audio: np.ndarray, from_rate: int, to_rate: int, *, n_samples: int | None = None) -> np.ndarray:
    """Change the sample rate with soxr's VHQ filter.

    Parameters
    ----------
    audio : np.ndarray, float32, (..., samples)
    from_rate, to_rate : int
        Hz.
    n_samples : int, optional
        Exact output length (cut, or padded with zeros); ``max(1, round(samples * to_rate / from_rate))`` by default.

    Returns
    -------
    np.ndarray, float32, (..., n_samples)

    Examples
    --------
    >>> resample(np.zeros((2, 44100), np.float32), 44100, 48000).shape
    (2, 48000)
    """
    if from_rate <= 0 or to_rate <= 0:
        raise AudioError(f"sample rates must be positive, got {from_rate} and {to_rate}")
    audio = np.asarray(audio, dtype=np.float32)
    length = max(1, round(audio.shape[-1] * to_rate / from_rate)) if n_samples is None else n_samples
    refuse_oversize(f"audio resampled from {from_rate} to {to_rate} Hz", audio.size // max(1, audio.shape[-1]), length)
    if from_rate == to_rate:
        return fit_length(audio, length)
    flat = audio.reshape(-1, audio.shape[-1])
    out = np.stack([soxr.resample(channel, from_rate, to_rate, quality="VHQ") for channel in flat])
    return fit_length(out.astype(np.float32, copy=False), length).reshape(*audio.shape[:-1], length)


def refuse_oversize(what: str, channels: int, n_samples: int) -> None:
    """Raise AudioError if a signal has more than ``MAX_SAMPLES``, or ``M2L_BENCH_MAX_SAMPLES``, samples over all channels."""
    text = os.environ.get(_LIMIT_VARIABLE, str(MAX_SAMPLES))
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"{_LIMIT_VARIABLE} must be a number of samples, got {text!r}")
    limit = int(text)
    if channels * n_samples > limit:
        raise AudioError(
            f"{what}: too long, must have at most {limit} samples over all channels, got {channels} x {n_samples}; "
            f"cut it, or raise {_LIMIT_VARIABLE} where memory allows"
        )


def fit_length(audio: np.ndarray, n_samples: int) -> np.ndarray:
    """Cut or zero-pad the end of the last axis to `n_samples`."""
    missing = n_samples - audio.shape[-1]
    if missing <= 0:
        return audio[..., :n_samples]
    return np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(0, missing)])


def write(path: str | os.PathLike[str], audio: np.ndarray, sample_rate: int, *, subtype: str | None = None) -> None:
    """Write audio atomically; the format follows the suffix.

    Parameters
    ----------
    path : path-like
        Its folder is created if missing; an existing file is replaced.
    audio : np.ndarray, (channels, samples) or (samples,)
    sample_rate : int
        Hz.
    subtype : str, optional
        libsndfile's coding; by default 32-bit float for WAV, 24 bit for FLAC, else the format's default.
    """
    path = Path(path)
    subtypes = {".wav": "FLOAT", ".flac": "PCM_24", ".opus": "OPUS"}
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise AudioError(f"{path}: suffix must be one of {', '.join(_FORMATS)}, got {suffix!r}")
    buffer = io.BytesIO()
    samples = np.atleast_2d(np.asarray(audio)).T
    try:
        soundfile.write(buffer, samples, sample_rate, format=_FORMATS[suffix], subtype=subtype or subtypes.get(suffix))
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise AudioError(
            f"{path}: cannot be written at {sample_rate} Hz with shape {samples.T.shape} ({_reason(error)})"
        ) from error
    write_atomic(path, buffer.getvalue())


@dataclass(frozen=True)
class AudioListing:
    """The audio files of a folder, and what was skipped in it.

    Attributes
    ----------
    paths : list of Path
        Sorted by relative path.
    skipped : dict of str to str
        Relative path -> reason, sorted: links to what is listed already (also links that form a cycle), dangling links,
        unreadable folders. Hidden files are skipped without being named.
    """

    paths: list[Path]
    skipped: dict[str, str]


def without_suffix(name: str) -> str:
    """Name of an audio file without its suffix; another name, such as the id of a track, stays.

    >>> without_suffix("album/01.wav"), without_suffix("blues.00001")
    ('album/01', 'blues.00001')
    """
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in AUDIO_SUFFIXES else name


def list_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """List the audio files of a folder: the ``paths`` of :func:`scan_audio`."""
    return scan_audio(folder).paths


def scan_audio(folder: str | os.PathLike[str]) -> AudioListing:
    """List the audio files of a folder and its subfolders, and what was skipped.

    Links to files and folders are followed, also where they lead out of the folder. Each real file is listed once: under
    its path without a link if there is one, else under the first in sorted order. Two hard links are two files.

    Raises
    ------
    AudioError
        If `folder` is not a folder or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AudioError(f"{folder}: must be a folder, got {'a file' if folder.exists() else 'no such folder'}")
    real = folder.resolve()
    skipped: dict[str, str] = {}
    found: list[tuple[bool, str, Path]] = []  # (reached through a link, relative path, real path)
    pending, visited = [folder], set[Path]()  # links to folders are followed once all real folders are listed

    def name(path: Path) -> str:
        return path.relative_to(folder).as_posix()

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise AudioError(f"{folder}: must be a readable folder ({error.strerror})") from error
        skipped[name(Path(error.filename))] = f"unreadable folder ({error.strerror})"

    while pending:
        pending.sort(key=name)
        for place, folders, files in os.walk(pending.pop(0), onerror=unreadable):
            here = Path(place)
            folder_itself = here.resolve()
            if folder_itself in visited:
                skipped[name(here)] = "link to a folder that is listed already"
                folders.clear()
                continue
            visited.add(folder_itself)
            folders[:] = [entry for entry in folders if not entry.startswith(".")]
            pending += [here / entry for entry in folders if (here / entry).is_symlink()]
            for entry in files:
                path = here / entry
                if entry.startswith("."):
                    continue
                if not path.exists():
                    skipped[name(path)] = "dangling link"
                elif path.suffix.lower() in AUDIO_SUFFIXES:
                    # Only links are resolved: that of every file would take most of the time.
                    target = path.resolve() if path.is_symlink() else folder_itself / entry
                    found.append((target != real / name(path), name(path), target))
    listed: dict[Path, str] = {}
    for _, relative, target in sorted(found):
        first = listed.setdefault(target, relative)
        if first != relative:
            skipped[relative] = f"link to {first}, which is listed already"
    return AudioListing([folder / relative for relative in sorted(listed.values())], dict(sorted(skipped.items())))


def _open(path: str | os.PathLike[str]) -> soundfile.SoundFile:
    """Open a file and check its header; AudioError where it cannot be used."""
    path = Path(path)
    if not path.is_file():
        raise AudioError(
            f"{path}: must {'be a file, got a folder or device' if path.exists() else 'exist, no such file'}"
        )
    if path.stat().st_size == 0:
        raise AudioError(f"{path}: empty, must hold audio, got 0 bytes")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise AudioError(f"{path}: not audio that libsndfile can read ({_reason(error)})") from error
    fault = ""
    if not 1 <= file.channels <= MAX_CHANNELS:
        fault = f"must have 1 to {MAX_CHANNELS} channels, got {file.channels}"
    elif not MIN_SAMPLE_RATE <= file.samplerate <= MAX_SAMPLE_RATE:
        fault = f"sample rate must be {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {file.samplerate}"
    elif file.frames <= 0:
        fault = f"too short, must hold at least 1 sample, got {file.frames}"
    if fault := fault or _truncation(path):
        file.close()
        raise AudioError(f"{path}: {fault}")
    return file


def _truncation(path: Path) -> str:
    """Find what libsndfile does not report: a chunk or an Ogg stream that ends too early; empty for a whole file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(12)[:4]
        if magic == b"OggS":
            file.seek(max(0, size - 0x10000))  # an Ogg page is shorter than that
            tail = file.read()
            page = tail[max(0, tail.rfind(b"OggS")) :]
            # Byte 5 flags the end of the stream, byte 26 counts the segments whose lengths follow.
            if len(page) > 27 and page[5] & 4 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]]):
                return ""
            return "truncated, must end with a whole Ogg end-of-stream page, got none"
        chunk, form = b"", magic == b"FORM"
        while magic in (b"RIFF", b"FORM") and len(chunk := file.read(8)) == 8:
            length, left = int.from_bytes(chunk[4:], "big" if form else "little"), size - file.tell()
            if chunk[:4] == (b"SSND" if form else b"data"):
                # A writer that could not seek back leaves all ones: the length is unknown, not wrong.
                wrong = length > left and length != 0xFFFFFFFF
                return f"truncated, must hold {length} bytes of audio, got {left}" if wrong else ""
            file.seek(length + length % 2, os.SEEK_CUR)
    return ""


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
