"""Style of the figures and how they are saved: settings, colours, axes, error bars, labels, legends.

Conventions
-----------
Widths are those of a paper's column (3.35 in) or text (6.9 in); letters are 7 points at that size. Colours are Okabe and
Ito's, which colour-blind readers can distinguish; markers and hatches repeat the information.
The same figure gives the same bytes (no dates in the files), independent of the user's matplotlib settings.

References
----------
M. Okabe, K. Ito, "Color Universal Design", 2008.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from m2l_bench.files.disk import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLUMN = 3.35
PAGE = 6.9
_FEW_COLOURS = 1024
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A8A8A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HATCHES = ("", "////", "....", "xxxx")
_SETTINGS = Path(__file__).parent / "templates" / "paper.mplstyle"


class Interval(NamedTuple):
    """A value and the ends of its interval (NaN where there is none)."""

    value: float
    low: float
    high: float


class Point(NamedTuple):
    """One system in a plane; systems of one family are joined by a line."""

    system: str
    family: str
    x: Interval
    y: Interval


Looks = Mapping[str, int]
"""System or family -> its place among colours and markers: :func:`looks`."""
QUANTISED = ", quantised"  # after the name of an autoencoder, where its latents were


def looks(systems: Sequence[str]) -> dict[str, int]:
    """The place of each system among colours and markers, the same in all figures of a run.

    A family (the name up to the colon) has that of its first system, and a system with quantised latents its own.
    """
    places: dict[str, int] = {}
    for place, system in enumerate(systems):
        places.setdefault(system.partition(":")[0], place)
        places |= {system: place, f"{system}{QUANTISED}": place}
    return places


def colour(place: int) -> str:
    """The colour of a place; there are eight."""
    return COLOURS[place % len(COLOURS)]


def marker(place: int) -> str:
    """The marker of a place: systems of one colour differ in it."""
    return MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


def save(figure: Figure, stem: Path) -> None:
    """Write ``STEM.pdf`` (vectors) and ``STEM.png`` (300 dots an inch), without dates."""
    from PIL import Image

    pdf, png, small = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with _style():
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # laid out once, not once a format
        figure.savefig(pdf, format="pdf", dpi=300, metadata=dict.fromkeys(("CreationDate", "Creator", "Producer")))
        figure.savefig(png, format="png", dpi=300)
    picture = Image.open(png).convert("RGB")
    if picture.getcolors(_FEW_COLOURS) is not None:  # lines and letters, not a photograph: a third of the size
        picture = picture.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(small, "PNG", dpi=(300, 300), compress_level=9)
    for suffix, content in (("pdf", pdf), ("png", small)):
        write_atomic(stem.with_name(f"{stem.name}.{suffix}"), content.getvalue())


@contextmanager
def _style() -> Iterator[None]:
    """Apply our settings over matplotlib's defaults, independent of the user's."""
    import matplotlib

    with matplotlib.rc_context(fname=_SETTINGS), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box; a file name may hold one.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


@contextmanager
def panels(
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    *,
    sharex: bool = False,
    sharey: bool = False,
    heights: Sequence[float] | None = None,
) -> Iterator[tuple[Figure, np.ndarray]]:
    """Make a figure in our style: width and height in inches, axes as an array of rows (of relative `heights`) and columns."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey, height_ratios=heights)


def error_lengths(intervals: Sequence[Interval]) -> np.ndarray:
    """Lengths below and above each value, as matplotlib wants them; 0 where there is no interval."""
    lengths = [(interval.value - interval.low, interval.high - interval.value) for interval in intervals]
    return np.maximum(np.nan_to_num(np.array(lengths, dtype=np.float64).reshape(-1, 2).T), 0.0)


def grid_below(axes: Axes, axis: Literal["both", "y"] = "both") -> None:
    """Draw a grid behind the data."""
    axes.grid(True, axis=axis, linewidth=0.3, color="#CCCCCC")
    axes.set_axisbelow(True)


def plain_log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2, 5, 10, 20, ... written as plain numbers, and more of them where the data span less than a decade."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_data_interval()
    subs = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)
    axis.set_major_locator(LogLocator(subs=subs, numticks=100))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def legend(figure: Figure, axes: Axes) -> None:
    """Place a legend above the axes, in as many columns as its names allow; the figure becomes higher by its rows."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    labels = [short(label, 32) for label in labels]
    fitting = int(figure.get_figwidth() * 18) // (max(map(len, labels)) + 6)
    columns = min(max(fitting, 1), len(labels))
    figure.set_figheight(figure.get_figheight() + 0.14 * -(-len(labels) // columns) - 0.14)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, columnspacing=1.0, handletextpad=0.4)


def square_labels(axes: Axes, labels: Sequence[str], size: float) -> None:
    """Label the rows and columns of a square matrix, without ticks and frame."""
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def colour_bar(
    figure: Figure, image: Any, axes: Any, label: str, *, location: Literal["right", "bottom"] = "right"
) -> None:
    """Add a labelled colour bar beside the axes, or below a list of axes."""
    fraction, pad, aspect = (0.045, 0.02, 20) if location == "right" else (0.12, 0.01, 30)
    bar = figure.colorbar(image, ax=axes, location=location, fraction=fraction, pad=pad, aspect=aspect)
    bar.set_label(label)
    bar.outline.set_linewidth(0.4)


def short(text: str, length: int) -> str:
    """Cut a text to at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
