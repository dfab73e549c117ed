"""The book's look: one style for every figure, one colour per method, grids of images, numbered tables."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import atomic_path
from .markdown import myst_table
from .tables import html_table, write_csv

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import ArrayLike, NDArray

# Okabe and Ito's colours: told apart in the common forms of colour blindness, and in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8A6D00")

# A method keeps its colour through the whole book.
PALETTE = {
    "gan": "#0072B2",
    "conventional": "#D55E00",
    "random": "#D55E00",
    "authors": "#009E73",
    "metadata": "#CC79A7",
    "ours": "#E69F00",
    "majority": "#7F7F7F",
    "paper": "#000000",
    "rosette": "#D55E00",
    "other": "#56B4E9",
}

_STYLE: dict[str, Any] = {
    # White behind every figure, also in the dark theme: there it stands on a white card.
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 160,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.0, 3.6),
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    # The same data give the same bytes: a figure under version control changes only when its numbers do.
    "svg.hashsalt": "cellweak",
    "svg.fonttype": "none",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style inside this block; matplotlib's settings are as before afterwards.

    >>> with style():
    ...     pass
    """
    import matplotlib as mpl
    from cycler import cycler

    settings: Any = {**_STYLE, "axes.prop_cycle": cycler(color=list(COLOURS))}
    with mpl.rc_context(settings):
        yield


def image_grid(
    figure: "Figure | SubFigure",
    images: "np.ndarray | Sequence[np.ndarray]",
    *,
    n_columns: int = 8,
    titles: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    cmap: str = "gray",
) -> "np.ndarray":
    """Show images side by side without axes, all on one grey scale.

    Args:
        figure: an empty figure or subfigure to fill.
        images: (N, H, W) grey, or (N, H, W, 3 or 4) colour, any number type; or a list of such images.
        n_columns: images in a row.
        titles: one per image.
        value_range: black and white of the grey scale; by default the smallest and largest value there is.
        cmap: matplotlib's name of the colour map of grey images.

    Returns:
        The axes, an object array (rows, columns); the unused ones at the end are invisible.

    Raises:
        ValueError: no image, an image that is not two-dimensional (or colour), or not one title per image.
    """
    shown = [np.asarray(image) for image in images]
    if not shown:
        raise ValueError("image_grid: expected at least one image, given none")
    for index, image in enumerate(shown):
        if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] in (3, 4)):
            raise ValueError(
                f"image_grid: image {index}: expected (H, W) or (H, W, 3|4), given {image.shape}; "
                "split the channels, or move the colour axis to the end"
            )
    if titles is not None and len(titles) != len(shown):
        raise ValueError(f"image_grid: expected {len(shown)} titles, one per image, given {len(titles)}")
    if value_range is None:
        finite = [image[np.isfinite(image)] for image in shown if image.size]
        lows = [float(values.min()) for values in finite if values.size]
        highs = [float(values.max()) for values in finite if values.size]
        value_range = (min(lows), max(highs)) if lows else (0.0, 1.0)
    n_columns = max(1, min(n_columns, len(shown)))
    n_rows = -(-len(shown) // n_columns)
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for index, axis in enumerate(axes.flat):
        bare(axis)
        if index >= len(shown):
            axis.set_visible(False)
            continue
        low, high = value_range
        axis.imshow(shown[index], cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        if titles is not None:
            axis.set_title(titles[index])
    return axes


def mosaic(images: "ArrayLike", n_columns: int = 8, gap_px: int = 2) -> "NDArray[np.uint8]":
    """Images ``(N, H, W, 3)`` uint8 side by side as one, white between them and at the end.

    Raises:
        ValueError: no image, or other axes.
    """
    from skimage.util import montage

    shown = np.asarray(images)
    if shown.ndim != 4 or shown.shape[-1] != 3 or not len(shown) or n_columns < 1:
        raise ValueError(f"mosaic: expected one or more images (N, H, W, 3), given shape {shown.shape}")
    columns = min(n_columns, len(shown))
    grid = (-(-len(shown) // columns), columns)
    tiled = montage(shown, fill=[255, 255, 255], grid_shape=grid, padding_width=gap_px, channel_axis=-1)
    return np.asarray(tiled[gap_px : len(tiled) - gap_px, gap_px : tiled.shape[1] - gap_px], np.uint8)


def bare(axis: "Axes") -> None:
    """Take ticks, grid and frame from an axis that shows an image."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def subplots(*args: Any, **kwargs: Any) -> "tuple[Figure, Any]":  # noqa: ANN401 - as matplotlib
    """``plt.subplots``, imported when it is needed."""
    import matplotlib.pyplot as plt

    return plt.subplots(*args, **kwargs)


def write_pages(path: "str | Path", table: "pd.DataFrame", pages: "Iterable[Figure]") -> "tuple[Path, Path]":
    """Figures as the pages of one PDF, and a table as CSV beside it, each whole or not at all.

    Args:
        path: Of the PDF; the CSV has its name with another ending.
        table: What the pages show.
        pages: Each is closed once it is written, so that a generator of them holds one at a time.

    Returns:
        The two paths.
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_pdf import PdfPages

    path = Path(path)
    # without dates the same pages have the same bytes
    with atomic_path(path) as part, PdfPages(part, metadata={"CreationDate": None}) as pdf:
        for figure in pages:
            pdf.savefig(figure)
            plt.close(figure)
    return path, write_csv(table, path.with_suffix(".csv"))


def sentence(text: str) -> "Figure":
    """A figure that says why there is none."""
    with style():
        figure, axis = subplots(figsize=(7.0, 1.0))
        bare(axis)
        axis.text(0.5, 0.5, text, ha="center", va="center", wrap=True, fontsize=10)
    return figure


def require(table: "pd.DataFrame", columns: Sequence[str], what: str = "table") -> None:
    """Refuse to draw from a table without some columns.

    Raises:
        ValueError: names what is missing and what there is.
    """
    missing = [name for name in columns if name not in table]
    if missing:
        raise ValueError(f"{what}: columns {', '.join(missing)} are missing; found {', '.join(map(str, table))}")


class Table:
    """A table that shows itself: HTML in Jupyter, a numbered MyST table in the book."""

    def __init__(self, frame: "pd.DataFrame", caption: str = "", name: str = "") -> None:
        """Keep what is to be shown; see ``show_table``."""
        self.frame, self.caption, self.name = frame, caption, name

    def _repr_html_(self) -> str:
        return html_table(self.frame, self.caption or None)

    def _repr_markdown_(self) -> str:
        return myst_table(self.frame, self.caption, self.name)

    def __repr__(self) -> str:
        """The frame as plain text, under its caption."""
        return f"{self.caption}\n{self.frame.to_string(index=False)}".strip()


def show_table(frame: "pd.DataFrame", caption: str = "", name: str = "") -> Table:
    """A table as the last line of a chapter's cell, or inside ``display``.

    Args:
        frame: what to show, the index left out; floats with three significant digits, text as it stands.
        caption: MyST text above the table (citations and maths work); without one the table has no number.
        name: the label for ``{numref}``, unique in the whole book: ``tab-rosettes-days``.
    """
    return Table(frame, caption, name)
