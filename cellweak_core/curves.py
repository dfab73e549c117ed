"""Curves of trainings, as every chapter shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .plotting import COLOURS, require, sentence, style, subplots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LINES = ("-", "--", ":", "-.")


def training_curves(
    table: pd.DataFrame, levels: Mapping[str, tuple[float, str]] | None = None, by: str = "seed"
) -> Figure:  # fmt: skip
    """Trainings: a panel for each model, or for what several of them have, with a line for each loss.

    Args:
        table: Columns `panel`, `line`, `step`, `value`; panels and lines in the table's order. With a column
            named by `by` each of its values has a line of its own, in one colour.
        levels: By panel: a level, such as the alarm's, and what it is.
        by: "seed" or "fold".

    Raises:
        ValueError: Columns missing.
    """
    require(table, ("panel", "line", "step", "value"))
    if not len(table):
        return sentence("No training kept its curves in this run.")
    panels = list(dict.fromkeys(table["panel"]))
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with style():
        figure, axes = subplots(n_rows, n_columns, figsize=(2.7 * n_columns, 2.1 * n_rows), squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, panel in zip(axes.flat, panels, strict=False):
            own = table[table["panel"] == panel]
            for k, (line, part) in enumerate(own.groupby("line", sort=False)):
                look: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "linestyle": LINES[k // len(COLOURS) % 4]}
                runs = [run for _, run in part.groupby(by, sort=False)] if by in part else [part]
                for j, run in enumerate(runs):
                    axis.plot(run["step"], run["value"], label=line if j == 0 else None, linewidth=1.1, **look)
            if levels and panel in levels:
                level, what = levels[panel]
                axis.axhline(level, color="black", linewidth=1.0, linestyle=":", label=what)
            axis.set_title(panel, fontsize=9)
            many = own["line"].nunique() > 4
            if many:  # room for the names above the lines
                axis.set_ylim(top=1.6 * own["value"].max())
            axis.legend(fontsize=6 if many else 7, handlelength=1.6, labelspacing=0.3, ncols=1 + many)
            axis.set_xlabel("step", fontsize=8)
            axis.tick_params(labelsize=7.5)
    return figure
