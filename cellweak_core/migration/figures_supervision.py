"""What the networks are to learn: ramps of labelled cells, and the measures of motion with their thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting import require, sentence, style, subplots
from .evaluation import HIGH, LOW
from .labels import MODES, SWITCHING, UNKNOWN
from .motion import MEASURES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# continuous is green and discontinuous brown throughout, as in the authors' draft
MODE_COLOURS = {MODES[0]: "#01665E", MODES[1]: "#8C510A", SWITCHING: "#B0308F", UNKNOWN: "#777777"}
BETWEEN = "#E4E4E4"  # the uncertain band
WIDTH_IN = 7.8
N_BINS = 40
UNITS = {"speed": "px/frame", "persistence": "0 to 1", "burstiness": "SD / mean"}


def targets(table: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Labels of a few cells, and the targets made of them.

    Args:
        table: `cell`, `frame`, `label`, `target`.
        titles: By cell, in the order of the panels.

    Raises:
        ValueError: Columns missing.
    """
    require(table, ("cell", "frame", "label", "target"))
    if not titles:
        return sentence("No cell has a mode in this run.")
    with style():
        figure, axes = subplots(1, len(titles), figsize=(WIDTH_IN, 2.5), sharey=True, squeeze=False)
        for axis, (cell, title) in zip(axes[0], titles.items(), strict=True):
            own = table[table["cell"] == cell].sort_values("frame")
            axis.axhspan(LOW, HIGH, color=BETWEEN, zorder=0)
            axis.plot(own["frame"], own["target"], color="black", linewidth=0.8, zorder=1)
            for label in (*MODES, UNKNOWN):
                part = own[own["label"] == label]
                height = part["target"] if label != UNKNOWN else np.full(len(part), 0.5)
                look: dict[str, Any] = {"marker": "x"} if label == UNKNOWN else {"marker": "o"}
                axis.scatter(part["frame"], height, s=12, color=MODE_COLOURS[label], label=label, zorder=2, **look)
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("frame")
        axes[0, 0].set(ylabel="target", ylim=(-0.04, 1.04))
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def measures(table: pd.DataFrame, thresholds: Mapping[str, float], by: tuple[str, ...]) -> Figure:
    """Each measure of motion over all frames that have one, its threshold, and the frames of each mode.

    Args:
        table: Of `motion.modes`.
        thresholds: Its `.attrs["thresholds"]`.
        by: Measures that decide; of the others the threshold is dotted.

    Raises:
        ValueError: Columns missing.
    """
    require(table, (*MEASURES, "label"))
    with style():
        figure, axes = subplots(1, len(MEASURES), figsize=(WIDTH_IN, 2.5))
        for axis, name in zip(axes, MEASURES, strict=True):
            values = table[name].to_numpy(float)
            known = np.isfinite(values)
            top = float(np.quantile(values[known], 0.995)) or 1.0
            edges = np.linspace(0, top, N_BINS + 1)
            parts = {label: values[known & (table["label"] == label).to_numpy()] for label in (*MODES, UNKNOWN)}
            axis.hist(
                [np.clip(part, 0, top) for part in parts.values()], edges, stacked=True, label=list(parts),
                color=[MODE_COLOURS[label] for label in parts],
            )  # fmt: skip
            axis.axvline(thresholds[name], color="black", linestyle="-" if name in by else ":", linewidth=1.2)
            axis.set_xlabel(f"{name} ({UNITS[name]})")
        axes[0].set_ylabel("frames")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
