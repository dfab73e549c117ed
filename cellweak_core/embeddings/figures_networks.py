"""Figs. 3 and 4: the weakly supervised network and its two regularisers, drawn with the cells at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..plotting import COLOURS, bare, style, subplots
from .drawing import FAINT, Order, arrow, channel_limits, composite, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOCUS = "#D55E00"


def network(
    crop: ArrayLike,
    layers: Sequence[tuple[str, int, int]],
    n_classes: int,
    *,
    n_parameters: int = 0,
    features: str = "",
    order: Order | None = None,
) -> Figure:
    """The weakly supervised setting (Sec. 4): a network learns treatments; one of its layers makes the profiles.

    Args:
        crop: `(C, H, W)`, a cell.
        layers: Name, channels and side (px; 1 for a vector) of each layer's output, from input to output; up to
            about ten can be read.
        n_classes: Treatments to be told apart.
        n_parameters: Weights in all; 0 leaves them out.
        features: Which of the layers features are taken from; by default the last.
        order: As `composite`.

    Raises:
        ValueError: No layers; `features` is none of them.
    """
    names = [name for name, _, _ in layers]
    taken = features or (names[-1] if names else "")
    if taken not in names:
        raise ValueError(f"features: expected one of {', '.join(names) or 'the layers, of which there are none'}, "
                         f"got {taken!r}")  # fmt: skip
    image = np.asarray(crop)
    n, largest = len(layers), max(size for _, _, size in layers)
    step = float(np.clip(8 / n, 0.85, 1.6))
    halves = [0.66 + 0.75 * np.log2(size) / max(1.0, np.log2(largest)) for _, _, size in layers]
    end = 2.0 + n * step
    width = max(end + 2.75, 10.0)
    large, small = (size * max(0.82, min(1.0, 12.6 / width)) for size in (8.5, 7.5))
    with style():
        figure, axis = subplots(figsize=(7.8, 7.8 * 4.9 / width + 0.3 * (n_parameters > 0)))
        bare(axis)
        axis.imshow(composite(image[None], order)[0], extent=(0, 1.6, -0.8, 0.8))
        shape = f"{image.shape[0]}$\\times${image.shape[1]}² px"
        axis.text(0.8, -0.92, f"a cell\n{shape}", ha="center", va="top", fontsize=8)
        arrow(axis, (1.65, 0), (2.05, 0))
        for k, (name, channels, size) in enumerate(layers):
            x = 2.38 + k * step
            _box(axis, x, 0, 0.62, 2 * halves[k], "#FBE3D3" if name == taken else "#E6F0F7")
            words = f"{channels}" + (f"$\\times${size}²" if size > 1 else "")
            axis.text(x, 0, name, ha="center", va="center", fontsize=min(8, large), rotation=90)
            axis.text(x, halves[k] + 0.08, words, ha="center", va="bottom", fontsize=small)
            if k:
                arrow(axis, (x - step + 0.34, 0), (x - 0.34, 0))
        arrow(axis, (2.38 + (n - 1) * step + 0.34, 0.12), (end + 0.33, 1.1))
        _box(axis, end + 1.45, 1.5, 2.25, 1.35, "#F0F0F0")
        question = f"auxiliary task\nwhich of {n_classes:,}\ntreatments?"
        axis.text(end + 1.45, 1.5, question, ha="center", va="center", fontsize=large)
        axis.text(end + 1.45, 0.75, "not used after training", ha="center", va="top", fontsize=small, color=FAINT)
        at = names.index(taken)
        x = 2.38 + at * step
        axis.plot([x, x], [-halves[at], -1.75], color=FOCUS, linewidth=1.2)
        arrow(axis, (x, -1.75), (end + 0.33, -1.75), FOCUS)
        words = "features of a cell, averaged over the cells of a treatment"
        right = {"ha": "right", "x": end + 0.2}
        axis.text(s=words, y=-1.85, va="top", fontsize=min(8, large), color=FOCUS, **right)
        _box(axis, end + 1.45, -1.6, 2.25, 1.35, "#FBE3D3")
        axis.text(
            end + 1.45, -1.6, "main goal\nwhich treatments\nare related?", ha="center", va="center", fontsize=large
        )
        if n_parameters:
            axis.set_title(f"{n_parameters:,} weights; above each box channels$\\times$side² of its output", fontsize=9)
        axis.set(xlim=(-0.1, width), ylim=(-2.5, 2.4), aspect="equal")
    return figure


def recurrent(
    crops: ArrayLike, label: str, sources: Sequence[str], *, n_units: int = 256, order: Order | None = None
) -> Figure:
    """Fig. 3: a set of cells of one treatment from different batches, read one after the other by a GRU.

    Args:
        crops: `(t, C, H, W)`.
        label: The treatment.
        sources: Batch and replicate of each.
        n_units: Of the GRU.
        order: As `composite`.

    Raises:
        ValueError: Not a source for each crop.
    """
    cells = np.asarray(crops)
    if len(sources) != len(cells) or not len(cells):
        raise ValueError(f"sources: expected one for each of {len(cells)} crops, one or more, got {len(sources)}")
    t = len(cells)
    with style():
        end = 1.5 * (t - 1) + 1.15
        width, height = end + 2.45, 4.9
        scale = min(0.85, 7.8 / width)  # in for each unit
        figure, axis = subplots(figsize=(width * scale, height * scale))
        bare(axis)
        for k, image in enumerate(composite(cells, order)):
            x = 1.5 * k + 0.6
            axis.imshow(image, extent=(x - 0.6, x + 0.6, 0, 1.2))
            axis.text(x, -0.1, sources[k], ha="center", va="top", fontsize=8)
            arrow(axis, (x, 1.25), (x, 1.75))
            _box(axis, x, 2.05, 1.0, 0.56, "#E6F0F7")
            axis.text(x, 2.05, "CNN", ha="center", va="center", fontsize=9)
            arrow(axis, (x, 2.36), (x, 3.0))
            _box(axis, x, 3.3, 1.0, 0.56, "#F0F0F0")
            axis.text(x, 3.3, "GRU", ha="center", va="center", fontsize=9)
            if k:
                arrow(axis, (x - 0.98, 3.3), (x - 0.53, 3.3))
                axis.plot([x - 0.98, x - 0.53], [2.05, 2.05], ":", color=FAINT)
        arrow(axis, (end, 3.3), (end + 0.45, 3.3))
        axis.text(end + 0.55, 3.3, label.replace(" at ", "\n"), va="center", fontsize=9, fontweight="bold")
        axis.text(end + 0.1, 2.05, "same weights;\nkept for features", va="center", fontsize=8, color=FAINT)
        axis.text(0.0, 4.05, f"GRU of {n_units} units, dropped after training", va="bottom", fontsize=9, color=FAINT)
        axis.set(xlim=(-0.15, width - 0.15), ylim=(-0.6, height - 0.6), aspect="equal")
    return figure


def mixup(
    first: ArrayLike,
    second: ArrayLike,
    mixed: ArrayLike,
    weights: Sequence[float],
    labels: Sequence[tuple[str, str]],
    *,
    sources: Sequence[tuple[str, str]] | None = None,
    order: Order | None = None,
) -> Figure:
    """Fig. 4: pairs of cells, what they become when they are mixed, and what the network shall answer.

    Args:
        first: `(n, C, H, W)`, a row of the figure each.
        second: As `first`.
        mixed: As `first`: weight times the first and the rest times the second.
        weights: Of the first, 0 to 1.
        labels: Treatments of both.
        sources: Batch and replicate of both.
        order: As `composite`.

    Raises:
        ValueError: Arrays or lists of different lengths.
    """
    stacks = [np.asarray(one) for one in (first, second, mixed)]
    n = len(stacks[0])
    if not n or {one.shape for one in stacks} != {stacks[0].shape} or not len(weights) == len(labels) == n:
        raise ValueError(
            f"expected first, second and mixed of one shape and as many weights and labels, got "
            f"{', '.join(str(one.shape) for one in stacks)}, {len(weights)} and {len(labels)}"
        )
    limits = channel_limits(np.concatenate(stacks[:2]))  # or the sum would look as bright as its parts
    with style():
        figure, axes = subplots(n, 4, figsize=(7.4, 1.75 * n + 0.3), squeeze=False, width_ratios=(1, 1, 1, 1.25))
        for k, row in enumerate(axes):
            weight = float(weights[k])
            signs = (f"{weight:.2f} $\\times$", f"+ {1 - weight:.2f} $\\times$", "=")
            for axis, stack, sign in zip(row, stacks, signs, strict=False):
                show(axis, composite(stack[k : k + 1], order, limits)[0])
                axis.text(-0.06, 0.5, sign, ha="right", va="center", fontsize=10, transform=axis.transAxes)
            for axis, side in zip(row, (0, 1), strict=False):
                axis.set_title(labels[k][side], fontsize=8.5)
                if sources is not None:
                    axis.set_xlabel(sources[k][side], fontsize=8)
            row[2].set_title("what the network sees", fontsize=8.5)
            _answer(row[3], labels[k], weight)
    return figure


def _answer(axis: Axes, labels: tuple[str, str], weight: float) -> None:
    """Bars of the two treatments; one bar where they are the same."""
    both = {labels[0]: 1.0} if labels[0] == labels[1] else {labels[0]: weight, labels[1]: 1 - weight}
    for y, (name, share) in enumerate(both.items()):
        axis.barh(y, share, 0.42, color=(COLOURS[0], COLOURS[1])[y])
        axis.text(0, y - 0.3, name, fontsize=8, va="bottom")
        axis.text(min(share + 0.03, 1.02), y, f"{share:.2f}", fontsize=8.5, va="center")
    axis.set(xlim=(0, 1.25), ylim=(1.6, -0.75), yticks=[], xticks=[])
    axis.grid(False)
    axis.spines[["bottom", "left"]].set_visible(False)
    axis.set_box_aspect(0.8)
    axis.set_title("what it shall answer", fontsize=8.5)


def _box(axis: Axes, x: float, y: float, width: float, height: float, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    look: dict[str, Any] = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": colour, "edgecolor": "#555555"}
    axis.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, linewidth=0.9, **look))
