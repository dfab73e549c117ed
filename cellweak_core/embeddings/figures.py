"""The chapter's plots, drawn from tables and arrays of results; nothing is computed here.

Accuracies are in per cent, `low` and `high` the ends of an interval over compounds and seeds (NaN where there is
none). Figs. 1 to 4 are drawings, in `figures_drawings` and `figures_networks`; all have their names here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting import COLOURS, PALETTE, require, sentence, style, subplots
from ..screens.figures import confusion
from .drawing import CONTROL, key, looks, named
from .figures_drawings import collection, workflow
from .figures_networks import mixup, network, recurrent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "collection", "confusion", "layers", "mixup", "network", "recurrent", "regularization", "seed_scores", "sentence",
    "single_cells", "workflow",
]  # fmt: skip

FAMILIES = {"mixup": (COLOURS[0], "o", "$\\alpha$ = {}"), "recurrent": (COLOURS[1], "s", "t = {}")}
METRICS = {"main": ("main goal", "-"), "auxiliary": ("auxiliary task", "--")}
PER_CENT = "accuracy (%)"


def regularization(table: pd.DataFrame, title: str = "", main: str = "main goal") -> Figure:
    """Fig. 5 a or b: more regularisation from left to right; main goal solid, auxiliary task dashed.

    Args:
        table: Columns `family` ("mixup" or "recurrent"; any at level "none", which both share), `level` ("none",
            mixup's alpha or the recurrent network's t), `metric` ("main" or "auxiliary"), `value`, `low`, `high` (%).
        title: Of the panel.
        main: What the main goal is, such as "NSCB".

    Raises:
        ValueError: Columns missing; another family or metric.
    """
    require(table, ("family", "level", "metric", "value", "low", "high"))
    if not len(table):
        return sentence("No network was trained with a regulariser in this run.")
    none = table["level"].astype(str).str.lower() == "none"
    _known(table.loc[~none, "family"], FAMILIES, "family")
    _known(table["metric"], METRICS, "metric")
    ticks: list[list[str]] = [["none"]]
    with style():
        figure, axis = subplots(figsize=(7.0, 3.5))
        for shift, (family, (colour, marker, words)) in zip((-0.04, 0.04), FAMILIES.items(), strict=True):
            own = table[~none & (table["family"] == family)]
            levels = sorted(own["level"].unique(), key=float)
            for place, level in enumerate(levels, 1):
                while len(ticks) <= place:
                    ticks.append([])
                ticks[place].append(words.format(f"{float(level):g}"))
            for metric, (what, line) in METRICS.items():
                start = table[none & (table["metric"] == metric)]
                start = start[start["family"] == family] if (start["family"] == family).any() else start.head(1)
                rows = own[own["metric"] == metric]
                if not len(rows):
                    continue
                x = [0] * len(start) + [levels.index(level) + 1 for level in rows["level"]]
                y, low, high = (
                    np.concatenate([start[name], rows[name]]).astype(float) for name in ("value", "low", "high")
                )
                at = np.argsort(x, kind="stable")
                look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5.5}
                look["markerfacecolor"] = colour if metric == "main" else "white"
                label = f"{family}: {main if metric == 'main' else what}"
                _with_intervals(axis, np.asarray(x, float)[at] + shift, y[at], low[at], high[at], label, **look)
        axis.set_xticks(range(len(ticks)), ["\n".join(one) for one in ticks])
        axis.set_xlim(-0.35, len(ticks) - 0.65)
        axis.grid(axis="x", visible=False)
        axis.set(xlabel="more regularisation →", ylabel=PER_CENT, title=title)
        _below_100(axis)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
    return figure


def single_cells(panels: Mapping[str, pd.DataFrame], label: str = "mechanism", method: str = "t-SNE") -> Figure:
    """Fig. 6: single cells in two dimensions, one panel for each set of features.

    Args:
        panels: By title; columns `x`, `y`, `label` (mechanism or gene; empty where not known) and `control` (bool).
        label: What the labels are.
        method: Of the projection.

    Raises:
        ValueError: Columns missing; no panel.
    """
    if not panels:
        raise ValueError("panels: expected one or more tables of cells, got none")
    for title, panel in panels.items():
        require(panel, ("x", "y", "label", "control"), title)
    labels = np.concatenate([panel["label"].to_numpy(object) for panel in panels.values()])
    control = np.concatenate([panel["control"].to_numpy(bool) for panel in panels.values()])
    names, texts = named(list(labels), control)
    look = looks(names)
    ends = np.cumsum([len(panel) for panel in panels.values()])
    with style():
        n = len(panels)
        rows = -(-(len(names) + 1) // 4)
        side = min(7.2 / n, 4.2)  # of a panel, in
        figure, axes = subplots(1, n, figsize=(7.8, side + 0.95 + 0.2 * rows), squeeze=False)
        for axis, (title, panel), own in zip(axes[0], panels.items(), np.split(texts, ends[:-1]), strict=True):
            x, y = panel["x"].to_numpy(float), panel["y"].to_numpy(float)
            size = float(np.clip(700 * side**2 / max(1, len(x)), 3.0, 16.0))
            axis.scatter(*_at(x, y, own == ""), s=size, color=CONTROL, linewidths=0, rasterized=True)
            # in one random order: a mechanism drawn last would hide the others
            order = np.random.default_rng(0).permutation(np.flatnonzero(own != ""))
            colours = np.array([look[name].colour for name in own[order]], object)
            markers = np.array([look[name].marker for name in own[order]], object)
            for part in np.array_split(np.arange(len(order)), 8):
                for marker in sorted(set(markers[part])):
                    some = part[markers[part] == marker]
                    thin: dict[str, Any] = {"linewidths": 0.7} if marker == "x" else {"linewidths": 0}
                    axis.scatter(
                        *_at(x, y, order[some]), s=size, c=list(colours[some]), marker=marker, alpha=0.8,
                        rasterized=True, **thin,
                    )  # fmt: skip
            axis.set(title=title, xticks=[], yticks=[], xlabel=f"{method} 1")
            axis.set_box_aspect(1)
        axes[0, 0].set_ylabel(f"{method} 2")
        handles = key(look)
        if control.any():
            from matplotlib.lines import Line2D

            handles.append(Line2D([], [], linestyle="", marker="o", color=CONTROL, markersize=6, label="control"))
        figure.legend(
            handles=handles, loc="outside lower center", ncols=4, title=label, columnspacing=1.2, handletextpad=0.2
        )  # fmt: skip
    return figure


def layers(table: pd.DataFrame) -> Figure:
    """Fig. 7: accuracy by the layer the features are taken from, with and without TVN.

    Args:
        table: Columns `layer` (in the network's order of rows), `metric` ("NSC", "NSCB"), `tvn` (bool), `value`, `low`,
            `high` (%).

    Raises:
        ValueError: Columns missing.
    """
    require(table, ("layer", "metric", "tvn", "value", "low", "high"))
    if not len(table):
        return sentence("No layer was compared in this run.")
    names = list(dict.fromkeys(table["layer"]))
    metrics = list(dict.fromkeys(table["metric"]))
    with style():
        figure, axes = subplots(1, len(metrics), figsize=(7.4, 3.6), squeeze=False, sharey=True)
        for axis, metric in zip(axes[0], metrics, strict=True):
            for tvn, words, colour, line, shift in (
                (True, "with TVN", COLOURS[0], "-", -0.06), (False, "without TVN", COLOURS[1], "--", 0.06),
            ):  # fmt: skip
                rows = table[(table["metric"] == metric) & (table["tvn"].astype(bool) == tvn)]
                if not len(rows):
                    continue
                x = np.array([names.index(one) for one in rows["layer"]], float)
                at = np.argsort(x, kind="stable")
                y, low, high = (rows[name].to_numpy(float)[at] for name in ("value", "low", "high"))
                marker, face = ("o", colour) if tvn else ("s", "white")
                _with_intervals(
                    axis, x[at] + shift, y, low, high, words,
                    color=colour, linestyle=line, marker=marker, markersize=5.5, markerfacecolor=face,
                )  # fmt: skip
            axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            axis.grid(axis="x", visible=False)
            axis.set_title(metric)
        _below_100(axes[0, 0])
        axes[0, 0].set_ylabel(PER_CENT)
        figure.supxlabel("layer of the network, from input to output", fontsize=10)
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3)
    return figure


def seed_scores(table: pd.DataFrame, published: pd.DataFrame | None = None) -> Figure:
    """The score of every seed: a point each, the median as a line, a violin behind ten seeds or more.

    Args:
        table: Columns `method` (in the order of the figure), `metric` ("NSC", "NSCB"), `seed`, `value` (%).
        published: The paper's values: `method`, `metric`, `value` (%).

    Raises:
        ValueError: Columns missing.
    """
    require(table, ("method", "metric", "seed", "value"))
    if not len(table):
        return sentence("No method was scored in this run.")
    methods, metrics = (list(dict.fromkeys(table[name])) for name in ("method", "metric"))
    with style():
        height = 0.34 * len(methods) + 1.3
        figure, axes = subplots(1, len(metrics), figsize=(7.6, height), squeeze=False, sharey=True, sharex=True)
        for axis, metric in zip(axes[0], metrics, strict=True):
            for y, method in enumerate(methods):
                rows = table[(table["metric"] == metric) & (table["method"] == method)].sort_values("seed")
                values = rows["value"].to_numpy(float)
                values = values[np.isfinite(values)]
                if len(values) >= 10 and np.ptp(values) > 0:
                    for body in _bodies(axis.violinplot(values, [y], orientation="horizontal", showextrema=False)):
                        body.set(facecolor=COLOURS[5], alpha=0.45)
                if len(values):
                    spread = 0.28 * (np.arange(len(values)) % 5 - 2) / 2 if len(values) > 1 else np.zeros(1)
                    axis.plot(values, y + spread, "o", color=COLOURS[0], markersize=4.5, markeredgewidth=0, alpha=0.85)
                    axis.plot([np.median(values)] * 2, [y - 0.36, y + 0.36], color=COLOURS[1], linewidth=2.2)
                if published is not None:
                    paper = published[(published["metric"] == metric) & (published["method"] == method)]
                    axis.plot(paper["value"], [y] * len(paper), "D", color=PALETTE["paper"], markersize=5.5)
            axis.set_title(metric)
            axis.set_xlabel(PER_CENT)
            axis.set_yticks(range(len(methods)), methods)
            axis.grid(axis="y", visible=False)
        axes[0, 0].set_ylim(len(methods) - 0.5, -0.5)
        figure.legend(
            handles=_seed_key(published is not None and len(published) > 0), loc="outside lower center", ncols=3
        )  # fmt: skip
    return figure


def _with_intervals(
    axis: Axes, x: Any, y: Any, low: Any, high: Any, label: str, **look: Any,  # noqa: ANN401 - arrays, plot's look
) -> None:  # fmt: skip
    axis.plot(x, y, label=label, **look)
    known = np.isfinite(low) & np.isfinite(high)
    axis.vlines(x[known], low[known], high[known], color=look["color"], linewidth=1.2, alpha=0.75)


def _below_100(axis: Axes) -> None:
    """Room above a point at 100 %, none below 0."""
    low, high = axis.get_ylim()
    axis.set_ylim(max(low, -2.0), min(high, 103.0))


def _at(x: Any, y: Any, rows: Any) -> tuple[Any, Any]:  # noqa: ANN401 - arrays
    return x[rows], y[rows]


def _bodies(violins: Any) -> Any:  # noqa: ANN401 - matplotlib's dictionary of artists
    return violins["bodies"]


def _seed_key(paper: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker="o", color=COLOURS[0], markersize=5, label="one seed"),
        Line2D([], [], color=COLOURS[1], linewidth=2.2, label="median"),
    ]
    black: dict[str, Any] = {"color": PALETTE["paper"], "markersize": 5.5}
    return [*handles, Line2D([], [], linestyle="", marker="D", label="paper", **black)] if paper else handles


def _known(found: Sequence[object] | pd.Series, expected: Mapping[str, object], what: str) -> None:
    unknown = sorted({str(one) for one in found} - set(expected))
    if unknown:
        raise ValueError(f"{what}: expected {' or '.join(expected)}, got {', '.join(unknown)}")
