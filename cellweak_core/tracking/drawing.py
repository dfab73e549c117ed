"""What the chapter's figures share: colours, an image on an axis, a sentence instead of a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plotting import PALETTE, bare

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]
Example = dict[str, Any] | str
CELL, MATCH = "#E8291C", "#35B5FF"  # the paper's red and blue: the cell of interest, and where it was
# A method keeps its colour in every figure; what is not trained is drawn dashed.
COLOUR = {
    "Ours": PALETTE["ours"],
    "Ours w/o ml": "#B07AA1",
    "MPM": "#0072B2",
    "CMF": "#009E73",
    "BF": "#D55E00",
    "assignment": "#7F7F7F",
    "laptrack": "#000000",
    "GDA": "#CC79A7",
    "Fogbank": "#56B4E9",
    "A-Graph": "#8A6D00",
}
DASHED = ("assignment", "laptrack", "GDA", "Fogbank", "A-Graph")
# Of tracks on grey images: light enough for dark cells, and no grey.
TRACK_COLOURS = (
    "#FF4B3E", "#3FA7FF", "#FFD23F", "#2EDB8B", "#FF7BE5", "#FF9F1C", "#5BF0F0", "#B58CFF", "#B6F24A", "#FFB3A7",
)  # fmt: skip
HEAT: dict[str, Any] = {"cmap": "magma", "vmin": 0, "vmax": 1}  # likelihoods, relevance, magnitudes


def show(axis: Axes, image: Array, title: str = "", **look: Any) -> None:  # noqa: ANN401 - imshow's
    """An image without ticks, half a percent of its grey levels cut at each end; later lines do not move its edge."""
    if "vmin" not in look and image.size:
        low, high = np.percentile(image, [0.5, 99.5])
        look = {"vmin": low, "vmax": max(float(high), float(low) + 1e-6), **look}
    axis.imshow(image, **{"cmap": "gray", **look})
    axis.set_title(title, fontsize=8.5)
    bare(axis)
    axis.set_xlim(-0.5, image.shape[1] - 0.5)
    axis.set_ylim(image.shape[0] - 0.5, -0.5)


def ring(axis: Axes, xy: Array | None, colour: str, size: float = 10) -> None:
    """A circle around a position, if there is one."""
    if xy is not None:
        axis.plot(*xy, "o", color=colour, fillstyle="none", markersize=size, markeredgewidth=1.6)
