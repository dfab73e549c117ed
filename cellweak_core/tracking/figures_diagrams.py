"""Diagrams: the three steps with a run's own images (Fig. 2) and the network with its own shapes (Fig. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting import bare, sentence, style, subplots
from .drawing import CELL, HEAT, MATCH, Array, Example, ring, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIDE, _LEFT, _ARROW, _GAP = 0.122, 0.02, 0.065, 0.012  # parts of the figure's width
_INCHES = (7.6, 5.2)


def overview(example: Example) -> Figure:
    """Fig. 2: co-detection, propagation of one cell, and the tracking network, with the images of this run.

    Args:
        example: Of `examples.overview`.
    """
    if isinstance(example, str):
        return sentence(example)
    import matplotlib.pyplot as plt

    pair, likelihood, relevance, masked = (example[k] for k in ("pair", "likelihood", "relevance", "masked"))
    with style():
        figure = plt.figure(figsize=_INCHES)
        figure.set_layout_engine("none")
        first = _row(
            figure, 0, "(1) Co-detection: one network finds the cells of two frames at once",
            [("$I_t$", pair[0], {}), ("$I_{t+1}$", pair[1], {}),
             ("$L_t$", likelihood[0], HEAT), ("$L_{t+1}$", likelihood[1], HEAT)],
            arrows_after=(1,),
        )  # fmt: skip
        second = _row(
            figure, 1, "(2) Backward and forward: which pixels make the red cell, and where was it?",
            [("cell in $L_{t+1}$", likelihood[1], HEAT), ("pixels in $I_t$", relevance[0], HEAT),
             ("pixels in $I_{t+1}$", relevance[1], HEAT), ("masked $I'_t$", masked[0], _range(pair[0])),
             ("masked $I'_{t+1}$", masked[1], _range(pair[1])), ("answer $L'_t$", example["response"], HEAT)],
            arrows_after=(0, 2, 4), between=("back", "mask", "forward"),
        )  # fmt: skip
        panels = [("sure link", pair[1], {}), ("pseudo-labels", example["target"], HEAT)]
        if example["output"] is not None:
            panels.append(("MPM's answer", example["output"], HEAT))
        title = "(3) Sure links teach a tracking network; nothing is learnt inside the white circles"
        third = _row(figure, 2, title, panels, arrows_after=(0, 1), between=("draw", "train"))
        for axis in (first[1], first[3], second[0], second[2], second[4]):
            ring(axis, example["cell"], CELL)
        for axis in (second[1], second[3], second[5]):
            ring(axis, example["match"], MATCH)
        _step(third[0], example)
        third[1].contour(example["ignored"], [0.5], colors="white", linewidths=1.0)
        ring(third[1], example["cell"], CELL)
        t, t1 = example["frames"]
        link = "no sure match" if example["match"] is None else f"match with score {example['score']:.2f}"
        note = f"training sequence, t = {t}, t+1 = {t1}\nred: a cell of frame t+1\nblue: where it was at t, {link}"
        figure.text(0.985, 0.16, note, ha="right", va="center", fontsize=8.5)
        note = "Labels: positions of cells only,\nnot which cell is which."
        figure.text(0.985, 0.83, note, ha="right", va="center", fontsize=8.5)
    return figure


def _range(image: Array) -> dict[str, Any]:
    low, high = np.percentile(image, [0.5, 99.5])
    return {"vmin": low, "vmax": max(float(high), float(low) + 1e-6)}


def _step(axis: Axes, example: dict[str, Any]) -> None:
    """The cell's way from t to t+1."""
    ring(axis, example["cell"], CELL)
    ring(axis, example["match"], MATCH)
    if example["match"] is not None:
        look = {"arrowstyle": "->", "color": "white", "linewidth": 1.2}
        axis.annotate("", xy=example["cell"], xytext=example["match"], arrowprops=look)


def _row(
    figure: Figure,
    row: int,
    title: str,
    panels: list[tuple[str, Array, dict[str, Any]]],
    arrows_after: tuple[int, ...],
    between: tuple[str, ...] = ("network",),
) -> list[Axes]:
    """Images from the left, an arrow with a word after some."""
    height = _SIDE * _INCHES[0] / _INCHES[1]
    bottom = 0.735 - 0.335 * row
    figure.text(_LEFT, bottom + height + 0.055, title, fontsize=9.5, fontweight="bold", va="bottom")
    left, axes = _LEFT, list[Any]()
    for k, (name, image, look) in enumerate(panels):
        axis = figure.add_axes((left, bottom, _SIDE, height))
        show(axis, image, name, **look)
        axes.append(axis)
        left += _SIDE + (_ARROW if k in arrows_after else _GAP)
        if k in arrows_after and k + 1 < len(panels):
            arrow = {"arrowstyle": "-|>", "color": "#333333", "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
            start, end = (left - _ARROW + 0.006, bottom + height / 2), (left - 0.006, bottom + height / 2)
            at = "figure fraction"
            axis.annotate("", xy=end, xytext=start, xycoords=at, textcoords=at, arrowprops=arrow)
            word = between[arrows_after.index(k)]
            figure.text(left - _ARROW / 2, bottom + height / 2 + 0.02, word, ha="center", fontsize=7)
    return axes


# Place of each part: column, and height (frame t above, frame t+1 below, the common part in the middle as a U).
_PLACES = {
    "enc0": (1, 2), "enc1": (2, 2), "down2": (3, 0.9), "down3": (4, 0), "down4": (5, -0.9), "up1": (6, 0),
    "up2": (7, 0.9), "up3_t": (8, 2), "up4_t": (9, 2), "out_t": (10, 2), "up3_tn": (8, -2), "up4_tn": (9, -2),
    "out_tn": (10, -2),
}  # fmt: skip
_WAYS = (
    ("enc0", "enc1"), ("enc0'", "enc1'"), ("enc1", "down2"), ("enc1'", "down2"), ("down2", "down3"),
    ("down3", "down4"), ("down4", "up1"), ("up1", "up2"), ("up2", "up3_t"), ("up2", "up3_tn"), ("up3_t", "up4_t"),
    ("up4_t", "out_t"), ("up3_tn", "up4_tn"), ("up4_tn", "out_tn"),
)  # fmt: skip
_SKIPS = (("enc1", "up3_t"), ("enc1'", "up3_tn"), ("down2", "up2"), ("down3", "up1"))
_HALF_WIDTH, _HALF_HEIGHT = 0.37, 0.33


def architecture(example: Example) -> Figure:
    """Fig. 3: the co-detection CNN, in each box the channels and the side of its output.

    Args:
        example: Of `examples.layer_shapes`.
    """
    if isinstance(example, str):
        return sentence(example)
    from matplotlib.patches import FancyBboxPatch

    shapes = example["shapes"]
    places: dict[str, tuple[float, float]] = {**_PLACES, "enc0'": (1, -2), "enc1'": (2, -2)}
    with style():
        figure, axis = subplots(figsize=(7.8, 3.7))
        bare(axis)
        axis.set_xlim(-0.2, 11.2)
        axis.set_ylim(-3.3, 3.3)
        for name, (x, y) in places.items():
            part = name.removesuffix("'")
            colour = "#EAF2F8" if y == 2 else "#FDF0E1" if y == -2 else "#EDEDED"
            look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": colour}
            corner = (x - _HALF_WIDTH, y - _HALF_HEIGHT)
            axis.add_patch(FancyBboxPatch(corner, 2 * _HALF_WIDTH, 2 * _HALF_HEIGHT, edgecolor="#555555", **look))
            channels, side = shapes[part][0], shapes[part][-1]
            words = f"{part}\n{channels}$\\times${side}²"
            axis.text(x, y, words, ha="center", va="center", fontsize=7, linespacing=1.3)
        for start, end in _WAYS:
            _arrow(axis, places[start], places[end], "#333333", "-")
        for start, end in _SKIPS:
            _arrow(axis, places[start], places[end], "#0072B2", "--")
        for y, side in ((2, 1), (-2, -1)):
            _round(axis, 1, 9, y, side)
            frame = "t" if y > 0 else "t+1"
            for x, text, ends in (
                (0.05, f"$I_{{{frame}}}$", ((0.3, y), (1 - _HALF_WIDTH, y))),
                (11.0, f"$L_{{{frame}}}$", ((10 + _HALF_WIDTH, y), (10.75, y))),
            ):
                axis.text(x, y, text, ha="center", va="center", fontsize=10)
                _line(axis, ends, "#333333", "-")
        axis.plot([1.5, 1.5], [1.5, -1.5], ":", color="#777777", linewidth=1.2)
        axis.text(1.42, 0, "same weights\nfor both frames", ha="right", va="center", fontsize=7.5, color="#555555")
        axis.text(5, 1.15, "common part", ha="center", fontsize=8, color="#555555")
        axis.text(9.2, 0, "a decoder\nfor each frame", ha="center", va="center", fontsize=7.5, color="#555555")
        title = (
            f"in each box: channels, and side² in px, of its output for frames of {example['size']} px; "
            f"{example['n_parameters']:,} weights; dashed: handed across"
        )
        axis.set_title(title, fontsize=8.5)
    return figure


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, line: str) -> None:
    """From a box's side to the side of a box to its right, or below or above it."""
    (x0, y0), (x1, y1) = start, end
    y0 += np.sign(y1 - y0) * 0.5 * _HALF_HEIGHT
    y1 += np.sign(y0 - y1) * 0.5 * _HALF_HEIGHT
    _line(axis, ((x0 + _HALF_WIDTH, y0), (x1 - _HALF_WIDTH, y1)), colour, line)


def _line(axis: Axes, ends: tuple[tuple[float, float], tuple[float, float]], colour: str, line: str) -> None:
    look = {"arrowstyle": "-|>,head_width=0.2,head_length=0.35", "color": colour, "linestyle": line, "linewidth": 1.1}
    axis.annotate("", xy=ends[1], xytext=ends[0], arrowprops={**look, "shrinkA": 0, "shrinkB": 0}, zorder=3)


def _round(axis: Axes, x0: float, x1: float, y: float, side: int) -> None:
    """The outermost way across, around the boxes."""
    over = y + side * 0.85
    axis.plot([x0, x0, x1], [y + side * _HALF_HEIGHT, over, over], "--", color="#0072B2", linewidth=1.1)
    _line(axis, ((x1, over), (x1, y + side * _HALF_HEIGHT)), "#0072B2", "--")
