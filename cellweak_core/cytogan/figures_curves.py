"""Curves and points: what directions change, distances to the nearest real cell, the scores of Table 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..curves import LINES
from ..plotting import COLOURS, PALETTE, require, sentence, style, subplots
from .changes import CHANCE as BY_CHANCE
from .reporting import CHANCE, COLUMNS, ENDINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = {"none": "o", "whitening": "s", "TVN": "^"}
FAINT = "#8C8C8C"
WIDTH_IN = 7.6


def effects(means: pd.DataFrame) -> Figure:
    """Fig. 3 in numbers: how far each property moves along a direction, and along one by chance; a row for each.

    Args:
        means: Of `exploring.means_of`: direction, along, strength (in steps), property, value, low, high (SD).

    Raises:
        ValueError: Columns missing.
    """
    if not len(means):
        return sentence("No direction was found in this run.")
    require(means, ("direction", "along", "strength", "property", "value", "low", "high"))
    directions, names = (list(dict.fromkeys(means[one])) for one in ("direction", "property"))
    with style():
        figure, axes = subplots(
            len(directions), len(names), figsize=(1.95 * len(names) + 0.3, 1.75 * len(directions) + 0.6), squeeze=False,
            sharey="row", sharex=True,
        )  # fmt: skip
        for line, direction in zip(axes, directions, strict=True):
            for axis, name in zip(line, names, strict=True):
                own = means[(means["direction"] == direction) & (means["property"] == name)]
                for along, part in own.groupby("along", sort=False):
                    _effect(axis, part, along == BY_CHANCE)
                axis.axhline(0, color="black", linewidth=0.7)
                if direction == directions[0]:
                    axis.set_title(name, fontsize=9)
            line[0].set_ylabel(f"{direction}\nchange (SD)".replace(", by", "\nby"), fontsize=8)
        for axis in axes[-1]:
            axis.set_xlabel("steps", fontsize=8)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _effect(axis: Axes, own: pd.DataFrame, chance: bool) -> None:
    colour, rows = FAINT if chance else COLOURS[0], own.sort_values("strength")
    look: dict[str, Any] = {"color": colour, "marker": "s" if chance else "o", "markersize": 4}
    label = BY_CHANCE if chance else "this direction"
    axis.plot(rows["strength"], rows["value"], "--" if chance else "-", label=label, **look)
    axis.vlines(rows["strength"], rows["low"], rows["high"], color=colour, linewidth=1.1)


def distances(generated: Mapping[str, ArrayLike], held_out: ArrayLike) -> Figure:
    """How many cells lie within a distance of some training cell: a curve left of the real cells' has copies in it.

    Args:
        generated: By model: `(m,)` distance of each generated cell to its nearest training cell.
        held_out: `(h,)` the same of held-out real cells.
    """
    real = np.asarray(held_out, float)
    if not generated or not len(real):
        return sentence("No generated cells were compared with real ones in this run.")
    with style():
        figure, axis = subplots(figsize=(6.2, 3.2))
        for k, (name, found) in enumerate(generated.items()):
            look: dict[str, Any] = {"color": COLOURS[k % 6], "linestyle": LINES[k // 6 % 4]}  # black is the real cells'
            axis.ecdf(np.asarray(found, float), label=name, linewidth=1.5, **look)
        axis.ecdf(real, label="real, held out", color=PALETTE["paper"], linewidth=2.4)
        axis.set(xlabel="distance to the nearest training cell (feature SD)", ylabel="share of cells", ylim=(0, 1))
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def scores(rows: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure:
    """Table 1 as points: each model, with and without whitening, both counts, the paper's values in black.

    Args:
        rows: Of the one schema, item "Table 1": row, column, value, low, high (%).
        published: The same of the paper: row, column, value, note; cited values are hollow.

    Raises:
        ValueError: Columns missing.
    """
    require(rows, ("row", "column", "value", "low", "high"))
    models = [name for name in dict.fromkeys(rows["row"]) if name != CHANCE]
    if not models:
        return sentence("No representation was scored in this run.")
    ways = [how for how, ending in ENDINGS.items() if rows["column"].isin(_columns(ending)).any()]
    with style():
        figure, axes = subplots(
            1, len(COLUMNS), figsize=(WIDTH_IN, 0.42 * len(models) + 1.4), squeeze=False, sharey=True
        )  # fmt: skip
        for axis, (over, column) in zip(axes[0], COLUMNS.items(), strict=True):
            for k, how in enumerate(ways):
                own = rows[(rows["column"] == column + ENDINGS[how]) & rows["row"].isin(models)]
                y = np.array([models.index(name) for name in own["row"]]) + 0.22 * (k - (len(ways) - 1) / 2)
                axis.hlines(y, own["low"], own["high"], color=COLOURS[k], linewidth=1.2)
                label = {"none": "as they are"}.get(how, how)
                axis.plot(own["value"], y, MARKERS[how], color=COLOURS[k], markersize=5, label=label)
                if published is not None:
                    paper = published[(published["column"] == column + ENDINGS[how]) & published["row"].isin(models)]
                    cited = paper["note"].astype(str).str.contains("cited")
                    for of, fill, label in ((~cited, "full", "paper"), (cited, "none", "cited in the paper")):
                        at = np.array([models.index(name) for name in paper.loc[of, "row"]])
                        axis.plot(
                            paper.loc[of, "value"], at + 0.22 * (k - (len(ways) - 1) / 2), "D", color=PALETTE["paper"],
                            fillstyle=fill, markersize=4.5, label=label if k == 0 else None,
                        )  # fmt: skip
            lot = rows[(rows["row"] == CHANCE) & (rows["column"] == column)]
            for value in lot["value"]:
                axis.axvline(value, color=FAINT, linestyle=":", linewidth=1.2, label="by lot")
            axis.set_title(f"{column}, over {over}")
            axis.set_xlabel("accuracy (%)")
            axis.set_yticks(range(len(models)), models)
            axis.grid(axis="y", visible=False)
        axes[0, 0].set_ylim(len(models) - 0.5, -0.5)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _columns(ending: str) -> list[str]:
    return [column + ending for column in COLUMNS.values()]
