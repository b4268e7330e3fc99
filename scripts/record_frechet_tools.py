"""Record what released FAD tools print on seeded embeddings: tests/reconstruction/golden/frechet_tools.json.

Run once, where fadtk 1.1.0, hypy_utils and frechet-audio-distance 0.3.4 can be imported (both MIT; unpacked wheels on
PYTHONPATH are enough) beside NumPy, torch and SciPy < 1.18:

    python scripts/record_frechet_tools.py tests/reconstruction/golden/frechet_tools.json

Only their statistics are called, on embeddings drawn here; modules that they import to load models are replaced by
empty ones. The tests draw the same embeddings.
"""

import json
import sys
import tempfile
import types
from importlib import metadata
from pathlib import Path
from unittest import mock

import numpy as np

for name in ("torchaudio", "resampy", "laion_clap", "encodec", "torchlibrosa", "torchlibrosa.stft", "nnAudio"):
    sys.modules.setdefault(name, mock.MagicMock())
sys.modules["fadtk.model_loader"] = types.SimpleNamespace(ModelLoader=object)  # only names the models
sys.modules["frechet_audio_distance.models.pann"] = mock.MagicMock()

from fadtk.fad import FrechetAudioDistance as Fadtk  # noqa: E402
from frechet_audio_distance.fad import FrechetAudioDistance as Released  # noqa: E402


def draw(seed: int, scale: float) -> list[np.ndarray]:
    """Forty files of 20 windows, 12-d, around means of their own."""
    rng = np.random.default_rng(seed)
    return [(scale * rng.standard_normal((20, 12)) + rng.standard_normal(12)).astype(np.float32) for _ in range(40)]


def main() -> None:
    references, estimates = draw(0, 1.0), draw(1, 1.3)
    recorded = {"numpy": np.__version__, "scipy": metadata.version("scipy")}
    with tempfile.TemporaryDirectory() as folder:
        sides = []
        for side, files in (("baseline", references), ("eval", estimates)):
            place = Path(folder) / side / "embeddings" / "drawn"
            place.mkdir(parents=True)
            for i, file in enumerate(files):
                np.save(place / f"{i:02d}.npy", file.astype(np.float16))  # as its get_embedding stores them
            sides.append(place.parent.parent)
        tool = Fadtk.__new__(Fadtk)
        tool.ml = types.SimpleNamespace(name="drawn")
        tool.audio_load_worker = 1
        recorded["fadtk"] = float(tool.score(*sides))
        np.random.seed(0)  # noqa: NPY002 - the generator that the tool draws from
        files = sorted((sides[1] / "embeddings" / "drawn").glob("*.npy"))
        result = tool.score_inf(sides[0], files)
        recorded["fadtk-inf"] = float(result.score)
    tool = Released.__new__(Released)
    statistics = [tool.calculate_embd_statistics(np.concatenate(files)) for files in (references, estimates)]
    recorded["frechet-audio-distance"] = float(tool.calculate_frechet_distance(*statistics[0], *statistics[1]))
    Path(sys.argv[1]).write_text(json.dumps(recorded, indent=2) + "\n")


if __name__ == "__main__":
    main()
