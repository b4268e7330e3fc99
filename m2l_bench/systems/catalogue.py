"""The table of systems: how each is constructed, and what ``m2l-bench list`` and ``show`` print about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Construction and description of one registry name.

    Attributes
    ----------
    place : str
        ``"module:Class"`` below ``m2l_bench``.
    summary : str
        One line for the list of systems.
    variants : mapping of str to mapping
        Variant -> constructor options (and ``"class"``, where it is another class of the module).
    variant_option : str
        Constructor option that takes any other variant, such as a bit rate or a checkpoint; empty where none does.
    preferred : str
        Variant of the bare name, where it is not the first.
    options : mapping
        Constructor options common to all variants.
    audio, latents, parameters : str
        Sample rate and channels; rate x dimension and compression (waveform samples per latent value); millions.
    bit_rate : str
        In kbit/s; ``"measured"`` where it is that of the bit stream, ``"-"`` where there is none.
    licence : str
        Of code / weights; where those of the variants differ, ``"CODE / VARIANT LICENCE, VARIANT LICENCE"``.
    download : tuple of str
        Variants whose weights are downloaded on first use; ``("",)`` where there are no variants, ``("*",)`` where a
        variant is a repository on the hub, or a folder (an absolute path, or one that starts with a dot), and where any
        variant needs the same weights.
    size : str
        Of one variant's download, a range where variants differ or the precision of the weights is not stated.
    extra : str
        Extra of this package that it needs, as in ``pip install 'm2l-bench[EXTRA]'``.
    faster : str
        Option that makes it faster, and what that needs.
    shown : tuple of str
        Variants that are listed where any other is allowed too.
    caveat : str
        Note that is printed under every table with the system, with any weights: how systems of this kind are trained.
    caveats : mapping of str to str
        Variant -> such a note on its weights, which a checkpoint of the user's replaces.
    """

    place: str
    summary: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    variant_option: str = ""
    preferred: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    audio: str = "any"
    latents: str = "-"
    parameters: str = "-"
    licence: str = "MIT"
    download: tuple[str, ...] = ()
    size: str = ""
    extra: str = ""
    faster: str = ""
    bit_rate: str = "-"
    shown: tuple[str, ...] = ()
    caveat: str = ""
    caveats: Mapping[str, str] = field(default_factory=dict)


def _family(name: str, summary: str, parameters: str, *, original: str, trained: str, bit_rate: str = "-") -> Entry:
    """A family at the scale that this package trains; `trained` is the training time."""
    size = f"{parameters} million parameters and was trained for {trained} of CPU time"
    return Entry(
        place=f"systems.small.system:{'DacFamilySystem' if name == 'dac-style' else 'FamilySystem'}",
        summary=summary,
        options={"family": name},
        variants={"small": {}},
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 64, 64x",
        parameters=parameters,
        bit_rate=bit_rate,
        caveats={"small": f"{name}:small has {size}: its scores do not represent {original}."},
    )


_SAME = "SAME was trained with pitch, stereo-image and text objectives: its key and tag probes and FAD-CLAP are partly taught."

_BFLOAT16 = "precision='bfloat16', on a CPU with bfloat16 instructions (AVX512_BF16 or AMX), with the extra openvino"

_SEMANTIC = (
    "half of its encoder is a network that was taught features of audio on its own: its probes are partly HuBERT's."
)

SYSTEMS: dict[str, Entry] = {
    "identity": Entry(
        place="systems.conventional:Identity", summary="the reference itself: the upper limit of every metric"
    ),
    **{
        f"lowpass-{cutoff}": Entry(
            place="systems.conventional:LowPass",
            summary=f"{cutoff[:-1]} kHz low-pass, the {anchor} anchor of listening tests",
            options={"cutoff": cutoff},
            audio="44.1 kHz",
        )
        for cutoff, anchor in (("3.5k", "low"), ("7k", "mid"))
    },
    "opus": Entry(
        place="systems.conventional:LossyCodec",
        options={"family": "opus"},
        summary="Opus through libsndfile, at a nominal bit rate of all channels together",
        variant_option="variant",
        preferred="64k",
        shown=("12k", "16k", "24k", "32k", "64k", "128k"),
        licence="BSD-3-Clause",
        audio="48 kHz",
        bit_rate="measured",
    ),
    "vorbis": Entry(
        place="systems.conventional:LossyCodec",
        options={"family": "vorbis"},
        summary="Ogg Vorbis through libsndfile, at an encoder quality",
        variant_option="variant",
        preferred="q4",
        shown=("q0", "q4", "q8"),
        licence="BSD-3-Clause",
        audio="44.1 kHz",
        bit_rate="measured",
    ),
    "mp3": Entry(
        place="systems.conventional:LossyCodec",
        options={"family": "mp3"},
        summary="MP3 (LAME) through libsndfile, constant bit rate",
        variant_option="variant",
        preferred="128k",
        shown=("48k", "64k", "128k", "256k"),
        licence="LGPL-2.1",
        bit_rate="measured",
        audio="44.1 kHz, 1 or 2",
    ),
    "pca": Entry(
        place="systems.pca:Pca",
        summary="principal components of MDCT frames at 64x: the linear baseline",
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 64, 64x",
    ),
    "majority": Entry(
        place="systems.encoders.features:Majority",
        summary="a constant feature: a probe learns only the majority class",
        latents="1 Hz x 1",
    ),
    "random-init": Entry(
        place="systems.encoders.features:RandomInit",
        summary="Music2Latent with random weights: latents of the untrained architecture",
        variants={"published": {}, "small": {"config": "small"}},
        audio="44.1 kHz, mono",
        latents="10.77 Hz x 64",
        parameters="16.26; small: 0.77",
    ),
    "random-init-features": Entry(
        place="systems.encoders.features:RandomInit",
        summary="Music2Latent with random weights: features before the bottleneck",
        variants={"published": {}, "small": {"config": "small"}},
        options={"layer": "features"},
        audio="44.1 kHz, mono",
        latents="10.77 Hz x 8192; small: x 1024",
        parameters="16.26; small: 0.77",
    ),
    "mfcc-chroma": Entry(
        place="systems.encoders.features:MfccChroma",
        summary="MFCC and chroma (librosa), hand-made features",
        audio="22.05 kHz, mono",
        latents="21.5 Hz x 32",
    ),
    "mel": Entry(
        place="systems.encoders.features:Mel",
        summary="log-mel spectrogram (librosa): the plainest features of tasks in time",
        audio="22.05 kHz, mono",
        latents="50 Hz x 80",
    ),
    "cqt": Entry(
        place="systems.encoders.features:Cqt",
        summary="constant-Q transform (librosa): semitones",
        audio="22.4 kHz, mono",
        latents="50 Hz x 84",
    ),
    "musicnn": Entry(
        place="systems.encoders.musicnn:Musicnn",
        summary="musicnn (Pons, Serra, 2019), trained on MagnaTagATune: the supervised reference of probing",
        faster="backend='openvino', on a CPU, with the extra openvino; the vectors differ by rounding alone",
        audio="16 kHz, mono",
        latents="0.67 Hz x 200",
        parameters="0.79",
        licence="ISC / ISC",
    ),
    "vggish": Entry(
        place="systems.encoders.vggish:Vggish",
        summary="VGGish (Hershey et al., 2017), without its last ReLU (relu: with it) and without PCA",
        variants={"linear": {}, "relu": {"relu": True}},
        download=("linear", "relu"),
        size="288 MB",
        licence="Apache-2.0 / Apache-2.0",
        audio="16 kHz, mono",
        latents="1.04 Hz x 128",
        parameters="72.14",
    ),
    "clap": Entry(
        place="systems.encoders.clap:Clap",
        summary="LAION-CLAP's audio tower (Wu et al., 2023), projected, unit length",
        extra="codecs",
        variants={name: {"variant": name} for name in ("music", "htsat-unfused")},
        download=("music", "htsat-unfused"),
        size="614 to 776 MB",
        licence="Apache-2.0 / Apache-2.0",
        audio="48 kHz, mono",
        latents="0.2 Hz x 512",
        parameters="68.61; htsat-unfused: 28.19",
    ),
    "mert": Entry(
        place="systems.encoders.mert:Mert",
        summary="MERT-v1-95M (Li et al., 2024): the mean of its layers, or one of them, as mert:7",
        extra="codecs",
        variant_option="layer",
        shown=("mean", "4", "12"),
        download=("*",),
        size="378 MB",
        licence="Apache-2.0 / CC BY-NC 4.0",
        audio="24 kHz, mono",
        latents="75 Hz x 768",
        parameters="94.37",
    ),
    "muq": Entry(
        place="systems.encoders.muq:Muq",
        summary="MuQ-large-msd-iter (Zhu et al., 2025): its last layer, their mean, or one, as muq:7",
        extra="codecs",
        variant_option="layer",
        shown=("last", "mean"),
        download=("*",),
        size="about 1.3 GB",
        licence="Apache-2.0 / CC BY-NC 4.0",
        audio="24 kHz, mono",
        latents="25 Hz x 1024",
        parameters="316.34",
    ),
    "music2latent": Entry(
        place="music2latent.autoencoder:Music2Latent",
        summary="consistency autoencoder, 64x (Pasini et al., 2024): the published weights, or the small"
        " one of this package; any other variant is a checkpoint's path",
        faster=_BFLOAT16,
        variant_option="variant",
        shown=("small", "published"),
        download=("published",),
        size="233 MB",
        licence="MIT / small MIT, published CC BY-NC 4.0",
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 64, 64x",
        parameters="2.30; published: 58.19",
        caveats={
            "small": "music2latent:small has 2.3 million parameters and was trained for 226 minutes of CPU time: its"
            " scores do not represent the published model."
        },
    ),
    "music2latent-features": Entry(
        place="systems.encoders.features:Music2LatentFeatures",
        summary="Music2Latent's encoder before its bottleneck: the wide features for probing",
        faster=_BFLOAT16,
        variant_option="variant",
        shown=("small", "published"),
        download=("published",),
        size="233 MB",
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 1024; published: x 8192",
        parameters="0.77; published: 16.26",
        caveats={
            "small": "music2latent-features:small: features of a model that was trained for 226 minutes of CPU time."
        },
        licence="MIT / small MIT, published CC BY-NC 4.0",
    ),
    "musika": Entry(
        place="systems.musika.system:Musika",
        extra="codecs",
        summary="adversarial autoencoder, 64x (Pasini, Schlueter, 2022)",
        faster=_BFLOAT16,
        download=("",),
        size="112 MB",
        licence="MIT / MIT",
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 64, 64x",
        parameters="28.09",
    ),
    **{
        f"mousai-{version}": Entry(
            place="systems.mousai.system:Mousai",
            summary=f"diffusion autoencoder {original} (Schneider et al., 2023); num_steps=20 by default",
            options={"version": version},
            faster=_BFLOAT16,
            download=("",),
            size=size,
            licence="MIT / not stated",
            audio="48 kHz, stereo",
            latents=latents,
            parameters=parameters,
        )
        for version, original, latents, parameters, size in (
            ("v2", "dmae1d-ATC64-v2, 64x", "46.9 Hz x 32, 64x", "185.11", "about 750 MB"),
            ("v3", "dmae1d-ATC32-v3, 32x", "93.8 Hz x 32, 32x", "86.27", "about 350 MB"),
        )
    },
    "dac": Entry(
        place="systems.dac:Dac",
        extra="codecs",
        summary="Descript Audio Codec, 44.1 kHz (Kumar et al., 2023), all codebooks, 3 of them, or before quantisation",
        faster=_BFLOAT16,
        variants={"44khz": {}, "44khz-3": {"codebooks": 3}, "44khz-continuous": {"class": "ContinuousDac"}},
        download=("44khz", "44khz-3", "44khz-continuous"),
        size="307 MB",
        licence="MIT / MIT",
        audio="44.1 kHz, per channel",
        latents="86.1 Hz x 1024, 0.5x",
        bit_rate="7.75 (3 codebooks: 2.58)",
        parameters="76.62",
    ),
    "encodec": Entry(
        place="systems.encodec:Encodec",
        extra="codecs",
        summary="EnCodec (Défossez et al., 2022) at a rate, or before quantisation",
        variants={
            "24khz": {"variant": "24khz", "bandwidth": 6.0},
            "24khz-3k": {"variant": "24khz", "bandwidth": 3.0},
            "24khz-24k": {"variant": "24khz", "bandwidth": 24.0},
            "24khz-continuous": {"class": "ContinuousEncodec", "variant": "24khz"},
            "48khz": {"variant": "48khz", "bandwidth": 6.0},
            "48khz-24k": {"variant": "48khz", "bandwidth": 24.0},
            "48khz-continuous": {"class": "ContinuousEncodec", "variant": "48khz"},
        },
        download=("24khz", "24khz-3k", "24khz-24k", "24khz-continuous", "48khz", "48khz-24k", "48khz-continuous"),
        size="76 to 93 MB",
        licence="MIT / CC BY-NC 4.0",
        bit_rate="6, 3 or 24",
        audio="24 kHz per channel, 48 kHz stereo",
        latents="75 Hz x 128, 2.5x; 48 kHz: 151.5 Hz x 129 (128 + segment gain), 5x",
        parameters="14.85; 48 kHz: 14.86",
    ),
    "snac": Entry(
        place="systems.snac:Snac",
        summary="SNAC at 44.1 kHz (Siuzdak et al., 2024): codes at several time scales",
        extra="snac",
        download=("",),
        size="218 MB",
        licence="MIT / MIT",
        audio="44.1 kHz, per channel",
        bit_rate="2.6",
        parameters="54.5",
    ),
    "codicodec": Entry(
        place="systems.codicodec:CoDiCodec",
        summary="CoDiCodec (Pasini et al., 2025): continuous latents or tokens, stereo pairs",
        extra="codicodec",
        variants={"continuous": {}, "tokens": {"class": "TokenCoDiCodec"}},
        download=("continuous", "tokens"),
        size="about 600 MB",
        licence="CC BY-NC 4.0 / CC BY-NC 4.0",
        audio="44.1 kHz, stereo",
        latents="10.77 Hz x 64, 128x",
        bit_rate="tokens: 2.41",
        parameters="148.53",
    ),
    "lin-cae": Entry(
        place="systems.lin_cae:LinCae",
        summary="Lin-CAE (Torres et al., 2025), and m2l, Music2Latent retrained by the same authors",
        extra="lin-cae",
        variants={name: {"variant": name} for name in ("lin-cae", "lin-cae-2", "m2l")},
        download=("lin-cae", "lin-cae-2", "m2l"),
        size="about 230 MB",
        licence="Apache-2.0 / not stated apart",
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 64, 64x",
        parameters="58.19",
    ),
    "music2latent-authors": Entry(
        place="systems.packages:AuthorsMusic2Latent",
        summary="music2latent:published through its authors' package, with its fades at edges",
        extra="authors",
        download=("",),
        size="233 MB",
        licence="CC BY-NC 4.0 / CC BY-NC 4.0",
        audio="44.1 kHz, per channel",
        latents="10.77 Hz x 64, 64x",
        parameters="58.19",
    ),
    "stable-audio": Entry(
        place="systems.diffusers_audio:DiffusersAutoencoder",
        extra="codecs",
        options={"system": "stable-audio"},
        faster=_BFLOAT16,
        summary="variational autoencoder of Stable Audio Open, 64x (Evans et al., 2024); gated: log in to the hub first",
        download=("",),
        size="625 MB",
        licence="Apache-2.0 / Stability AI Community",
        audio="44.1 kHz, stereo",
        latents="21.5 Hz x 64, 64x",
        parameters="156.1",
    ),
    "ace-step": Entry(
        place="systems.diffusers_audio:DiffusersAutoencoder",
        extra="codecs",
        options={"system": "ace-step"},
        faster=_BFLOAT16,
        summary="variational autoencoder of ACE-Step 1.5, 60x: Stable Audio's networks at 48 kHz",
        download=("",),
        size="337 MB",
        licence="MIT / MIT",
        audio="48 kHz, stereo",
        latents="25 Hz x 64, 60x",
        parameters="168.7",
    ),
    "kvae-audio": Entry(
        place="systems.diffusers_audio:DiffusersAutoencoder",
        extra="codecs",
        options={"system": "kvae-audio"},
        faster=_BFLOAT16,
        summary="KVAE-Audio (Kandinsky Lab), 15x; its encoder attends to the whole file; needs a recent diffusers (as 0.42.1)",
        download=("",),
        size="668 MB",
        licence="MIT / MIT",
        audio="48 kHz, per channel",
        latents="50 Hz x 64, 15x",
        parameters="166.87",
    ),
    **{
        name: Entry(
            place="systems.same:Same",
            extra="codecs",
            options={"system": name},
            summary=f"{published}, autoencoder of Stable Audio 3, 32x (Stability AI, 2026); needs diffusers >= 0.40",
            download=("",),
            size=size,
            licence="MIT / Stability AI Community",
            audio="44.1 kHz, stereo",
            latents="10.77 Hz x 256, 32x",
            parameters=parameters,
            caveat=_SAME,
        )
        for name, published, parameters, size in (
            ("same-s", "SAME-S", "108", "0.2 to 0.4 GB"),
            ("same-l", "SAME-L", "852", "1.7 to 3.4 GB"),
        )
    },
    "diffusers": Entry(
        place="systems.diffusers_audio:FromRepository",
        extra="codecs",
        summary="diffusers:REPO[/SUBFOLDER], or a folder: AutoencoderOobleck, AutoencoderKLKVAEAudio or AutoencoderSAME",
        variant_option="source",
        download=("*",),
        licence="Apache-2.0 / the repository's",
        audio="as configured",
        latents="as configured",
        caveat=f"diffusers, where the class is AutoencoderSAME: {_SAME}",
    ),
    "ear-vae": Entry(
        place="systems.ear_vae.system:EarVae",
        options={"system": "ear-vae"},
        summary="EAR-VAE (Wang et al., 2025), 32x, trained for phase and stereo image; its decoder attends to the whole file",
        extra="codecs",
        download=("",),
        size="about 590 MB",
        licence="Apache-2.0 / Apache-2.0",
        audio="44.1 kHz, stereo",
        latents="43.1 Hz x 64, 32x",
        parameters="147.83",
    ),
    "ear-vae2": Entry(
        place="systems.ear_vae.system:EarVae",
        options={"system": "ear-vae2"},
        summary="EAR-VAE2 (Wang et al., 2026), 30x: an autoencoder of complex spectra, with a refiner",
        download=("",),
        size="about 710 MB",
        licence="Apache-2.0 / Apache-2.0",
        audio="48 kHz, stereo",
        latents="25 Hz x 128, 30x",
        parameters="178.35",
        caveats={
            "": "ear-vae2: the public weights were retrained on public data; the figures of its paper are of other weights."
        },
    ),
    "x-codec": Entry(
        place="systems.transformers_audio:SemanticCodec",
        extra="codecs",
        options={"system": "x-codec"},
        summary="X-Codec for general audio (Ye et al., 2025): acoustic and semantic (HuBERT) encoders, quantised together; "
        "as xcodec-hubert-general",
        variants={"4k": {}, "2k": {"bandwidth": 2.0}, "1k": {"bandwidth": 1.0}},
        download=("4k", "2k", "1k"),
        size="about 710 MB",
        licence="Apache-2.0 / see the repository",
        audio="16 kHz, per channel",
        latents="50 Hz x 1024, 0.3x",
        bit_rate="4, 2 or 1",
        parameters="160.7",
        caveat=f"x-codec: {_SEMANTIC}",
    ),
    "higgs-audio": Entry(
        place="systems.transformers_audio:SemanticCodec",
        extra="codecs",
        options={"system": "higgs-audio"},
        summary="tokeniser of Higgs Audio V2 (Boson AI, 2025): acoustic and semantic (HuBERT) encoders, quantised together; "
        "needs torchaudio",
        variants={"2k": {}, "1k": {"bandwidth": 1.0}},
        download=("2k", "1k"),
        size="about 800 MB",
        licence="Apache-2.0 / Boson Higgs Audio 2 Community",
        audio="24 kHz, per channel",
        latents="25 Hz x 1024, 0.9x",
        bit_rate="2 or 1",
        parameters="201",
        caveat=f"higgs-audio: {_SEMANTIC}",
    ),
    "mimi": Entry(
        place="systems.transformers_audio:Mimi",
        extra="codecs",
        summary="Mimi (Défossez et al., 2024), a codec of speech: all 32 codebooks, or 8 of them",
        variants={"32": {}, "8": {"codebooks": 8}},
        download=("32", "8"),
        size="385 MB",
        licence="Apache-2.0 / CC BY 4.0",
        audio="24 kHz, per channel",
        latents="12.5 Hz x 512, 3.8x",
        bit_rate="4.4 or 1.1",
        parameters="79.31",
        caveat="mimi: trained on speech, its first codebook to predict WavLM's features.",
    ),
    "vibevoice": Entry(
        place="systems.transformers_audio:VibeVoice",
        extra="codecs",
        summary="acoustic tokeniser of VibeVoice (Peng et al., 2025), a continuous autoencoder of speech",
        download=("",),
        size="1.4 GB",
        licence="Apache-2.0 / MIT",
        audio="24 kHz, per channel",
        latents="7.5 Hz x 65 (64 + gain), 49x",
        parameters="687.39",
        caveat="vibevoice: trained on speech.",
    ),
    "transformers": Entry(
        place="systems.transformers_audio:from_repository",
        extra="codecs",
        summary="transformers:REPO[/SUBFOLDER], or a folder: DAC, EnCodec, X-Codec, Higgs Audio's tokeniser, Mimi or VibeVoice's",
        variant_option="source",
        download=("*",),
        licence="Apache-2.0 / the repository's",
        audio="as configured",
        latents="as configured",
    ),
    "latmusic-style": _family(
        "latmusic-style",
        "spectrogram autoencoder in LatMusic's style, not the original; end to end",
        "2.45",
        original="LatMusic",
        trained="185 minutes",
    ),
    "musika-style": _family(
        "musika-style",
        "Musika's networks, smaller, trained in two stages and finished with adversarial training",
        "2.04",
        original="Musika",
        trained="178 minutes",
    ),
    "mousai-style": _family(
        "mousai-style",
        "diffusion autoencoder: Moûsai's networks, smaller, per channel; decodes in one step",
        "1.83",
        original="Moûsai",
        trained="187 minutes",
    ),
    "dac-style": _family(
        "dac-style",
        "residual vector quantisation: DAC, smaller, finished with adversarial training",
        "1.16",
        bit_rate="1.38",
        original="DAC",
        trained="297 minutes",
    ),
    "folder": Entry(
        place="systems.folder:ReconstructionFolder",
        summary="ready-made reconstructions, one file per reference (m2l-bench score)",
        licence="yours",
    ),
}
