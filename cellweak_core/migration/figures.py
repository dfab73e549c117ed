"""Fig. 1: errors and verdicts of the networks, predictions over time, film strips; drawn from results.

Nothing is computed here. Continuous is green and discontinuous brown throughout, as in the authors' draft; where there
is nothing to draw a figure says so. The figures of the uncertainty are in `figures_uncertainty`; all have their names
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import composites
from ..plotting import COLOURS, bare, require, sentence, style, subplots
from .evaluation import HIGH, LOW, OUTCOMES, mode_of_cells
from .figures_supervision import BETWEEN, MODE_COLOURS, measures, targets
from .figures_uncertainty import (
    calibration,
    error_by_uncertainty,
    referral,
    reliability,
    saliency_sheet,
    stability,
)  # fmt: skip
from .labels import MODES, UNKNOWN
from .reporting import NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "calibration", "channel_limits", "colours", "error_by_uncertainty", "fig_1a", "fig_1b", "fig_1c", "measures",
    "referral", "reliability", "saliency_sheet", "stability", "targets",
]  # fmt: skip

WIDTH_IN = 7.8
OUTCOME_COLOURS = dict(zip(OUTCOMES, ("#009E73", "#C4C4C4", "#D55E00"), strict=True))
LETTERS = {MODES[0]: "C", MODES[1]: "D", UNKNOWN: "?"}
MAP = "BrBG_r"  # of predictions: 0 green, 1 brown
_PERCENTILES = (0.5, 99.7)
_ORDER = (1, 0, 2)


def channel_limits(patches: ArrayLike) -> list[tuple[float, float]]:
    """Black and white of each channel over all patches `(n, C, H, W)`: 0.5th and 99.7th percentile."""
    return composites.channel_limits(patches, _PERCENTILES)


def colours(
    patches: ArrayLike, order: composites.Order | None = None, limits: Sequence[tuple[float, float]] | None = None
) -> NDArray[np.uint8]:
    """Patches as colour pictures, as `composites.composite`; limits by default `channel_limits` of these patches.

    Of channels in the order adhesions, actin, membrane, actin is red, adhesions green and the membrane blue.
    """
    limits = channel_limits(patches) if limits is None else limits
    return composites.composite(patches, order, limits, _ORDER)


def fig_1a(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Fig. 1a: left the MSE of every test sequence, right the shares of verdicts with the number of frames on top.

    Args:
        tables: Of `evaluation.per_sequence`, by network; sequences in each table's order.

    Raises:
        ValueError: Columns missing.
    """
    import matplotlib.pyplot as plt

    for network, table in tables.items():
        require(table, ("cell", "n", "MSE", *OUTCOMES), network)
    shown = {NAMES.get(network, network): table for network, table in tables.items() if len(table)}
    if not shown:
        return sentence("No test sequence was predicted in this run.")
    with style():
        figure = plt.figure(figsize=(WIDTH_IN, max(2.6, 1.35 * len(shown) + 1.0)))
        grid = figure.add_gridspec(len(shown), 2, width_ratios=[1, 2.2])
        _violins(figure.add_subplot(grid[:, 0]), shown)
        first: Axes | None = None
        for k, (name, table) in enumerate(shown.items()):
            axis = figure.add_subplot(grid[k, 1], sharey=first)
            first = first or axis
            _bars(axis, table, name)
        axis.set_xlabel("sequence (number of frames on top)")
        handles, labels = first.get_legend_handles_labels() if first is not None else ([], [])
        figure.legend(handles, labels, loc="outside upper right", ncols=len(OUTCOMES))
    return figure


def _violins(axis: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    values = [table["MSE"].to_numpy(float) for table in tables.values()]
    parts: Any = axis.violinplot(values, showextrema=False, widths=0.85)
    for k, body in enumerate(parts["bodies"]):
        body.set(facecolor=COLOURS[k % len(COLOURS)], alpha=0.3)
    for k, one in enumerate(values):
        # beside each other by rank, so that the same data give the same figure
        aside = 0.16 * (np.arange(len(one)) % 5 - 2) / 2
        rank = np.argsort(np.argsort(one, kind="stable"))
        axis.plot(k + 1 + aside[rank], one, "o", color=COLOURS[k % len(COLOURS)], markersize=2.6, alpha=0.8)
        axis.hlines(np.median(one), k + 0.75, k + 1.25, color="black", linewidth=1.4, zorder=3)
    turned: dict[str, Any] = {"rotation": 35, "ha": "right"} if len(tables) > 3 else {}
    axis.set_xticks(range(1, len(tables) + 1), list(tables), fontsize=7.5, **turned)
    axis.grid(axis="x", visible=False)
    axis.set_ylabel("MSE of a sequence\n(line: median)", fontsize=9)
    axis.set_ylim(bottom=0)


def _bars(axis: Axes, table: pd.DataFrame, name: str) -> None:
    places, below = np.arange(1, len(table) + 1), np.zeros(len(table))
    for outcome in OUTCOMES:
        share = 100 * table[outcome].to_numpy(float)
        axis.bar(places, share, 0.82, below, color=OUTCOME_COLOURS[outcome], label=outcome)
        below += share
    upright = len(table) > 14
    for place, n in zip(places.tolist(), table["n"], strict=True):
        axis.text(place, 102, f"{n}", ha="center", va="bottom", fontsize=6.5, rotation=90 if upright else 0)
    axis.set_ylim(0, 100)
    axis.set_yticks([0, 50, 100])
    axis.set_xlim(0.3, len(table) + 0.7)
    axis.set_xticks([])
    axis.grid(visible=False)
    axis.set_ylabel(f"{name}\nframes (%)", fontsize=8)
    axis.set_title(" ", fontsize=10, pad=6 if upright else 1)  # room for the numbers of frames


def fig_1b(table: pd.DataFrame, z: float = 1.96) -> Figure:
    """Fig. 1b: prediction against frame, with the interval of the epistemic uncertainty, of a few cells.

    Args:
        table: `cell`, `frame`, `label`, `target`, `mean`, `epistemic` (variance); cells in the table's order.
        z: The band is the mean +- z standard deviations, cut to 0 to 1.

    Raises:
        ValueError: Columns missing.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    require(table, ("cell", "frame", "label", "target", "mean", "epistemic"))
    if not len(table):
        return sentence("No cell was predicted in this run.")
    kinds = mode_of_cells(table["label"].to_numpy(), table["cell"].to_numpy())
    with style():
        figure, axes = subplots(1, len(kinds), figsize=(WIDTH_IN, 2.9), sharey=True, squeeze=False)
        for axis, (cell, kind) in zip(axes[0], kinds.items(), strict=True):
            own = table[table["cell"].astype(str) == cell].sort_values("frame")
            frame, mean = own["frame"].to_numpy(), own["mean"].to_numpy(float)
            half = z * np.sqrt(own["epistemic"].to_numpy(float))
            colour = MODE_COLOURS[kind]
            axis.axhspan(LOW, HIGH, color=BETWEEN, zorder=0)
            low, high = np.clip(mean - half, 0, 1), np.clip(mean + half, 0, 1)
            axis.fill_between(frame, low, high, color=colour, alpha=0.25, linewidth=0)
            axis.plot(frame, mean, color=colour, linewidth=1.5)
            axis.plot(frame, own["target"], "--", color="black", linewidth=1.1)
            axis.set_title(f"{cell}\n{kind}", fontsize=9, color=colour)
            axis.set_xlabel("frame")
            axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes[0, 0].set(ylabel="0 continuous, 1 discontinuous", ylim=(-0.02, 1.02))
        grey = "#555555"  # of what has the colour of its cell's mode
        handles = [
            Patch(color=BETWEEN, label="uncertain"), Patch(color=grey, alpha=0.25, label=f"mean ± {z:g} SD"),
            Line2D([], [], color=grey, label="prediction", linewidth=1.5),
            Line2D([], [], color="black", linestyle="--", label="target", linewidth=1.1),
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def fig_1c(
    table: pd.DataFrame, patches: ArrayLike, every: int = 3, n_columns: int = 13,
    order: Sequence[int | None] | None = None, limits: Sequence[tuple[float, float]] | None = None,
) -> Figure:  # fmt: skip
    """Fig. 1c: every third frame of a few cells, above each its label, below the network's on its colour.

    Args:
        table: `cell`, `frame`, `label`, `mean`; cells in the table's order.
        patches: `(n, C, H, W)` row for row.
        every: Frames from one picture to the next.
        n_columns: Pictures in a line.
        order: As `colours`.
        limits: As `colours`.

    Raises:
        ValueError: Columns missing; another number of patches; counts below 1.
    """
    import matplotlib.pyplot as plt
    from matplotlib.cm import ScalarMappable

    require(table, ("cell", "frame", "label", "mean"))
    values = _patches(patches)
    if len(values) != len(table) or min(every, n_columns) < 1:
        raise ValueError(
            f"expected a patch for each of {len(table)} rows, got {len(values)}; every and n_columns of 1 or more, "
            f"got {every} and {n_columns}"
        )
    if not len(table):
        return sentence("No cell was predicted in this run.")
    cell = table["cell"].astype(str).to_numpy()
    kinds = mode_of_cells(table["label"].to_numpy(), cell)
    frame = table["frame"].to_numpy()
    since = frame - table.groupby(cell)["frame"].transform("min").to_numpy()
    chosen = np.flatnonzero(since % every == 0)
    pictures = colours(values[chosen], order, limits)
    n_columns = min(n_columns, max(int((cell[chosen] == name).sum()) for name in kinds))
    tile_in = min(1.1, (WIDTH_IN - 0.9) / n_columns)
    lines = [-(-int((cell[chosen] == name).sum()) // n_columns) for name in kinds]
    height_in = tile_in * (1 + _ABOVE + _BELOW + 0.06) * sum(lines) + 0.32 * len(kinds) + 0.3
    with style():
        figure, axes = subplots(
            len(kinds), 1, squeeze=False, height_ratios=lines,
            figsize=(max(5.4, n_columns * tile_in + 0.9), height_in),
        )  # fmt: skip
        for axis, (name, kind) in zip(axes[:, 0], kinds.items(), strict=True):
            own = np.flatnonzero(cell[chosen] == name)
            own = own[np.argsort(frame[chosen[own]], kind="stable")]
            _strip(axis, pictures[own], table.iloc[chosen[own]], n_columns, tile_in)
            axis.set_title(f"{name}, {kind}, every {every} frames", fontsize=9, loc="left", color=MODE_COLOURS[kind])
        figure.supxlabel(
            "above: frame and its label; below: the network's verdict and prediction", fontsize=8
        )
        bar = figure.colorbar(ScalarMappable(cmap=plt.get_cmap(MAP)), ax=axes, fraction=0.03, pad=0.01, aspect=30)
        bar.set_label("prediction: 0 continuous, 1 discontinuous", fontsize=8)
        bar.ax.axhline(LOW, color="black", linewidth=0.8)
        bar.ax.axhline(HIGH, color="black", linewidth=0.8)
        bar.ax.tick_params(labelsize=8)
    return figure


_ABOVE, _BELOW = 0.24, 0.22  # of a picture's height: the band with the expert's label, that with the network's


def _strip(axis: Axes, pictures: NDArray[np.uint8], rows: pd.DataFrame, n_columns: int, tile_in: float) -> None:
    import matplotlib.pyplot as plt

    size = pictures.shape[1:3]
    gap = max(1, round(0.06 * size[0]))
    above, below = (max(1, round(part * size[0])) for part in (_ABOVE, _BELOW))
    height, width = size[0] + above + below + gap, size[1] + gap
    sheet = np.full((-(-len(pictures) // n_columns) * height, n_columns * width, 3), 255, np.uint8)
    points = min(9.0, 0.72 * _BELOW * tile_in * 72)
    axis.set_xlim(0, sheet.shape[1])
    for k, (picture, one) in enumerate(zip(pictures, rows.to_dict("records"), strict=True)):
        top, left = k // n_columns * height, k % n_columns * width
        mean = float(one["mean"])
        colour = plt.get_cmap(MAP)(mean)
        sheet[top + above : top + above + size[0], left : left + size[1]] = picture
        sheet[top + above + size[0] : top + height - gap, left : left + size[1]] = np.rint(255 * np.array(colour[:3]))
        said = LETTERS[MODES[0]] if mean <= LOW else LETTERS[MODES[1]] if mean >= HIGH else "?"
        middle = left + size[1] / 2
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": points}
        axis.text(middle, top + above / 2, f"{one['frame']}: {LETTERS[one['label']]}", **text)
        dark = abs(mean - 0.5) > 0.28
        words = f"{said} {mean:.2f}".replace("0.", ".")
        axis.text(middle, top + above + size[0] + below / 2, words, color="white" if dark else "black", **text)
    axis.imshow(sheet, interpolation="nearest")
    axis.set_anchor("NW")
    bare(axis)


def _patches(patches: ArrayLike) -> NDArray[Any]:
    values = np.asarray(patches)
    if values.ndim != 4 or values.dtype.kind not in "fiub" or values.shape[1] < 1:
        raise ValueError(f"patches: expected numbers (n, C, H, W), got {values.dtype} of shape {values.shape}")
    return values
