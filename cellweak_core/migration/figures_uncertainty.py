"""Is the uncertainty any good, and what do the networks look at: plots of `calibration`'s tables, a sheet of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..plotting import COLOURS, bare, require, sentence, style, subplots
from .calibration import Referral
from .reporting import NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 7.8
MARKERS = "os^DvP"
FAINT = "#777777"
PAPER_T = 50  # samples in the paper
_SETTLING = {
    "mean error": "standard error\nof the mean", "epistemic": "epistemic variance,\nmean over frames",
    "rank correlation": "rank correlation of the\nvariances of two sets",
    "other range": "frames whose range\ntwo sets disagree on (%)",
}  # fmt: skip


def error_by_uncertainty(
    tables: Mapping[str, pd.DataFrame], error: str = "absolute error", uncertainty: str = "epistemic variance"
) -> Figure:
    """Mean error in bins of rising uncertainty, 95 % intervals over cells; it rises where the uncertainty is of use.

    Args:
        tables: Of `calibration.error_by_uncertainty`, by network.
        error: What the error is.
        uncertainty: What the uncertainty is.

    Raises:
        ValueError: Columns missing.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    for network, table in tables.items():
        require(table, ("uncertainty", "error", "low", "high"), network)
    if not any(len(table) for table in tables.values()):
        return sentence("No error was compared with its uncertainty in this run.")
    with style():
        figure, axis = subplots(figsize=(6.4, 3.4))
        _lines(axis, tables)
        if all((table["uncertainty"] > 0).all() for table in tables.values()):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel=f"{uncertainty} (mean of the bin)", ylabel=error)
        axis.set_ylim(bottom=0)
    return figure


def _lines(axis: Axes, tables: Mapping[str, pd.DataFrame]) -> None:
    """A line for each network's bins, with intervals, and the names beside the axis."""
    for k, (network, table) in enumerate(tables.items()):
        look = _look(k)
        axis.plot(table["uncertainty"], table["error"], label=NAMES.get(network, network), **look)
        axis.vlines(table["uncertainty"], table["low"], table["high"], color=look["color"], linewidth=1.1)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def calibration(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Share of targets inside intervals against the share that ought to be; on the line they keep their word.

    Args:
        tables: Of `calibration.coverage` or `sample_coverage`, by network or kind of interval.

    Raises:
        ValueError: Columns missing.
    """
    for name, table in tables.items():
        require(table, ("nominal", "covered", "low", "high"), name)
    if not any(len(table) for table in tables.values()):
        return sentence("No interval was compared with its targets in this run.")
    with style():
        figure, axis = _against_the_diagonal("nominal share", "covered share")
        for k, (name, table) in enumerate(tables.items()):
            look = _look(k)
            axis.fill_between(
                table["nominal"], table["low"], table["high"], color=look["color"], alpha=0.18, linewidth=0
            )  # fmt: skip
            axis.plot(table["nominal"], table["covered"], label=NAMES.get(name, name), **look)
        axis.text(0.97, 0.03, "too narrow", ha="right", fontsize=8, color=FAINT, transform=axis.transAxes)
        axis.text(0.03, 0.93, "too wide", fontsize=8, color=FAINT, transform=axis.transAxes)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _against_the_diagonal(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Two shares that ought to be equal."""
    figure, axis = subplots(figsize=(5.6, 3.6))
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.9, linestyle=":", label="as it ought to be")
    axis.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure, axis


def reliability(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Share of discontinuous frames against the prediction, in bins of equally many frames, 95 % over cells.

    Args:
        tables: Of `scoring.Worth.reliability`, by network.

    Raises:
        ValueError: Columns missing.
    """
    for network, table in tables.items():
        require(table, ("uncertainty", "error", "low", "high"), network)
    if not any(len(table) for table in tables.values()):
        return sentence("No prediction was compared with its mode in this run.")
    with style():
        figure, axis = _against_the_diagonal("prediction (mean of the bin)", "share of discontinuous frames")
        _lines(axis, tables)
    return figure


def referral(
    found: Mapping[str, Referral], error: str = "MSE", as_accuracy: bool = False,
    others: Mapping[str, Referral] | None = None, other: str = "",
) -> Figure:  # fmt: skip
    """Error of the frames kept when the most uncertain ones go to a person; a panel for each network.

    Args:
        found: Of `calibration.referral`, by network.
        error: What the error is, or what 1 minus the error is.
        as_accuracy: Draw 1 minus the error.
        others: The same frames in another order, by network.
        other: What that order is.
    """
    if not found:
        return sentence("No frames were referred in this run.")

    def shown(values: pd.Series) -> NDArray[np.float64]:
        return 1 - values.to_numpy(float) if as_accuracy else values.to_numpy(float)

    n_columns = min(3, len(found))
    n_rows = -(-len(found) // n_columns)
    with style():
        figure, axes = subplots(
            n_rows, n_columns, figsize=(2.6 * max(n_columns, 2), 2.5 * n_rows + 0.4), sharey=True, squeeze=False
        )
        for axis in axes.flat[len(found) :]:
            axis.set_visible(False)
        for axis, (network, one) in zip(axes.flat, found.items(), strict=False):
            curve = one.curve
            axis.fill_between(
                curve["kept"], shown(curve["low"]), shown(curve["high"]), color=COLOURS[0], alpha=0.18, linewidth=0
            )
            axis.plot(curve["kept"], shown(curve["value"]), color=COLOURS[0], label="by epistemic variance")
            if others and network in others:
                beside = others[network].curve
                axis.plot(beside["kept"], shown(beside["value"]), color=COLOURS[1], label=other, linewidth=1.3)
            axis.plot(curve["kept"], shown(curve["random"]), "--", color=FAINT, label="by lot", linewidth=1.3)
            axis.plot(curve["kept"], shown(curve["perfect"]), ":", color="black", label="largest error", linewidth=1.3)
            share = one.share
            words = "not defined" if not np.isfinite(share.value) else f"{share.value:.2f}"
            if np.isfinite(share.low) and np.isfinite(share.value):
                words += f" [{share.low:.2f}, {share.high:.2f}]"
            axis.set_title(f"{NAMES.get(network, network)}\ngain {words}", fontsize=9)
            axis.set(xlabel="share of frames kept", xlim=(0, 1))
        for line in axes:
            line[0].set_ylabel(error)
        if as_accuracy:
            axes[0, 0].set_ylim(top=1.02)
        else:
            axes[0, 0].set_ylim(bottom=0)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4 if others else 3)
    return figure


def stability(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """How mean and epistemic variance settle as more Monte Carlo samples are drawn: sets of T; the paper draws 50.

    Args:
        tables: Of `calibration.stability`, by network.

    Raises:
        ValueError: Columns missing.
    """
    for network, table in tables.items():
        require(table, ("T", *_SETTLING), network)
    if not any(len(table) for table in tables.values()):
        return sentence("No samples were kept in this run.")
    with style():
        figure, axes = subplots(2, 2, figsize=(WIDTH_IN * 0.9, 4.3), sharex=True)
        for axis, (column, words) in zip(axes.flat, _SETTLING.items(), strict=True):
            scale = 100 if column == "other range" else 1
            for k, (network, table) in enumerate(tables.items()):
                axis.plot(table["T"], scale * table[column], label=NAMES.get(network, network), **_look(k))
            axis.axvline(PAPER_T, color="black", linestyle=":", linewidth=1.0, label="paper, T = 50")
            axis.set_xscale("log")
            axis.set_ylabel(words, fontsize=8.5)
            if column != "rank correlation":
                axis.set_ylim(bottom=0)
        for axis in axes[1]:
            axis.set_xlabel("samples T of a set")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def saliency_sheet(
    pictures: ArrayLike, cams: ArrayLike, gradients: ArrayLike, titles: Sequence[str] = (),
    directions: ArrayLike | None = None, mode: str = "discontinuous",
) -> Figure:  # fmt: skip
    """Cells above what their network looks at: Grad-CAM over the picture, and integrated gradients.

    Args:
        pictures: `(n, H, W, 3)` uint8, of `figures.colours`.
        cams: `(n, H, W)` of `saliency.grad_cam`; each on its own scale.
        gradients: `(n, C, H, W)` of `saliency.integrated_gradients`; summed over channels, each on its own scale.
        titles: One for each cell.
        directions: `(n, 2)` movement in x and y (px), drawn as an arrow from the centroid, pixel (H // 2, W // 2).
        mode: For which the maps show evidence.

    Raises:
        ValueError: Shapes that do not go together; another number of titles or directions.
    """
    shown, coarse, fine = np.asarray(pictures), np.asarray(cams, float), np.asarray(gradients, float)
    n = len(shown)
    moves = None if directions is None else np.asarray(directions, float)
    if shown.ndim != 4 or coarse.shape != shown.shape[:3] or fine.ndim != 4 or (
        (n, *fine.shape[2:]) != shown.shape[:3] or len(fine) != n or (moves is not None and moves.shape != (n, 2))
    ):  # fmt: skip
        raise ValueError(
            f"expected pictures (n, H, W, 3), cams (n, H, W), gradients (n, C, H, W) and directions (n, 2), got "
            f"{shown.shape}, {coarse.shape}, {fine.shape} and {None if moves is None else moves.shape}"
        )
    if len(titles) not in (0, n):
        raise ValueError(f"titles: expected {n}, got {len(titles)}")
    if not n:
        return sentence("No map was made in this run.")
    side = min(1.6, (WIDTH_IN - 0.5) / n)
    rows = ("cell", f"Grad-CAM\n{mode}", "integrated\ngradients")
    with style():
        figure, axes = subplots(3, n, figsize=(width := max(3.4, side * n + 0.6), 3 * side + 1.0), squeeze=False)
        for column in range(n):
            above, middle, below = axes[:, column]
            above.imshow(shown[column])
            middle.imshow(np.asarray(shown[column]).mean(-1), cmap="gray", vmin=0, vmax=255)
            top = coarse[column].max()
            middle.imshow(coarse[column], cmap="inferno", vmin=0, vmax=top if top > 0 else 1, alpha=0.55)
            summed = fine[column].sum(0)
            most = float(np.quantile(np.abs(summed), 0.995)) or float(np.abs(summed).max()) or 1.0
            below.imshow(summed, cmap="BrBG_r", vmin=-most, vmax=most)
            for axis, name in zip(axes[:, column], rows, strict=True):
                bare(axis)
                if column == 0:
                    axis.set_ylabel(name, fontsize=8.5)
            if moves is not None:
                _arrow(above, moves[column], shown.shape[1:3])
            if len(titles):
                above.set_title(titles[column], fontsize=8)
        words = f"brown: speaks for {mode}, green: against; each picture on its own scale"
        words += "; arrow: to where it moves" if moves is not None else ""
        figure.supxlabel(fill(words, int(13 * width)), fontsize=8)
    return figure


def _arrow(axis: Axes, move: NDArray[np.float64], shape: tuple[int, ...]) -> None:
    length = float(np.hypot(*move))
    if length > 0:
        height, width = shape
        start = np.array([width // 2, height // 2])
        end = start + move / length * 0.36 * min(height, width)
        look = {"arrowstyle": "-|>,head_width=0.25,head_length=0.45", "color": "white", "linewidth": 1.4}
        axis.annotate("", xy=tuple(end), xytext=tuple(start), arrowprops={**look, "shrinkA": 0, "shrinkB": 0})


def _look(k: int) -> dict[str, Any]:
    colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 4.2, "linewidth": 1.5}
