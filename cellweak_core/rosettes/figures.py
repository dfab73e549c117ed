"""The chapter's figures, drawn from results; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plotting import PALETTE, bare, image_grid, style, subplots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOUR = {
    "conventional": PALETTE["conventional"],
    "GAN": PALETTE["gan"],
    "authors' 128-px network": PALETTE["authors"],
    "context": PALETTE["ours"],
    "context, simulated start": "#8A6D00",
    "metadata only": PALETTE["metadata"],
    "simulation only, no labels": "#000000",
}


def _box(axis: Axes, x: float, y: float, size: float, colour: str = "#D62728", width: float = 1.2) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((x - 0.5, y - 0.5), size, size, fill=False, edgecolor=colour, linewidth=width))


def raw_and_denoised(
    raw: NDArray[Any], denoised: NDArray[Any], centres: Sequence[tuple[float, float]] = (), size: int = 32
) -> Figure:
    """Fig. 1: an image before and after denoising, a box around each rosette centre `(x, y)`."""
    with style():
        figure, axes = subplots(1, 2, figsize=(6.4, 3.4))
        for axis, image, title in zip(axes, (raw, denoised), ("raw", "denoised"), strict=True):
            axis.imshow(image, cmap="gray")
            axis.set_title(title)
            bare(axis)
            for x, y in centres:
                _box(axis, x - size / 2, y - size / 2, size)
    return figure


def network_diagram(layers: Sequence[tuple[str, str]]) -> Figure:
    """Fig. 2: the layers in order, each a box with its name and its output's shape."""
    with style():
        figure, axis = subplots(figsize=(8.0, 1.3))
        _chain(axis, [f"{name}\n{shape}" for name, shape in layers])
    return figure


def workflow_diagram() -> Figure:
    """Fig. 4: common features from unlabelled images first, the target from few labels second."""
    with style():
        figure, axis = subplots(figsize=(7.4, 2.4))
        _chain(axis, ["unlabelled\nimages", "WGAN: generator\nand discriminator", "discriminator's\nfeatures"], 1.0)
        few = ["few labelled\nwindows", "classifier, started\nwith these features", "rosette?\nprobability"]
        _chain(axis, few, 0.0)
        _arrow(axis, (2.0, 0.75), (1.25, 0.25))
        axis.set_ylim(-0.45, 1.45)
        for y, text in ((1.0, "step 1:\ncommon features"), (0.0, "step 2:\ntarget features")):
            axis.text(-0.95, y, text, ha="center", va="center", fontsize=8.5, color="#555555")
        axis.set_xlim(-1.35, 2.5)
    return figure


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = {"arrowstyle": "-|>", "color": "#555555", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", xy=end, xytext=start, arrowprops=arrow, zorder=3)


def _chain(axis: Axes, texts: Sequence[str], y: float = 0.0) -> None:
    bare(axis)
    half = 0.36  # of a box's width; arrows run between the boxes, so that their heads are seen
    axis.set_xlim(-0.5, len(texts) - 0.5)
    axis.set_ylim(-0.5, 0.5)
    from matplotlib.patches import FancyBboxPatch

    for i, text in enumerate(texts):
        look: dict[str, Any] = {"boxstyle": "round,pad=0.02", "facecolor": "#EAF2F8", "edgecolor": PALETTE["gan"]}
        axis.add_patch(FancyBboxPatch((i - half + 0.02, y - 0.22), 2 * half - 0.04, 0.44, **look))
        axis.text(i, y, text, ha="center", va="center", fontsize=7.5)
        if i:
            _arrow(axis, (i - 1 + half + 0.01, y), (i - half - 0.01, y))


def patches(images: NDArray[np.uint8], n: int = 32) -> Figure:
    """Fig. 3a, b: a grid of windows."""
    import matplotlib.pyplot as plt

    with style():
        figure = plt.figure(figsize=(7.0, 3.6))
        image_grid(figure, list(images[:n]), n_columns=8, value_range=(0, 255))
    return figure


def losses(step: NDArray[Any], values: NDArray[Any], recorded: pd.DataFrame, what: str) -> Figure:
    """Fig. 3c, d: a loss against the step, with all of the authors' recorded points, beyond the run's end too."""
    with style():
        figure, axis = subplots(figsize=(5.6, 3.0))
        axis.plot(step, values, color=PALETTE["gan"], linewidth=0.7, alpha=0.35)
        window = max(1, len(values) // 50)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axis.plot(step[window - 1 :], smooth, color=PALETTE["gan"], label=f"this run (mean of {window})")
        axis.plot(
            recorded["step"], recorded["value"], "o", color="black", markersize=4, label="recorded by the authors"
        )
        axis.set(xlabel="step", ylabel=what, xscale="log")
        axis.legend()
    return figure


def filters(weights: Mapping[str, NDArray[Any]], sd: Mapping[str, float]) -> Figure:
    """Fig. 5: the first layer's filters as grey tiles, with their standard deviation."""
    import matplotlib.pyplot as plt

    with style():
        rows = -(-max(len(w) for w in weights.values()) // 8)
        figure = plt.figure(figsize=(7.2, 0.5 + 0.5 * rows))
        parts: Any = figure.subfigures(1, len(weights), squeeze=False)[0]
        limit = max(float(np.abs(w).max()) for w in weights.values())
        for part, (name, w) in zip(parts, weights.items(), strict=True):
            image_grid(part, list(w[:, 0]), n_columns=8, value_range=(-limit, limit))
            part.suptitle(f"{name}: sd {sd[name]:.3f}", fontsize=10)
    return figure


def embeddings(points: Mapping[str, NDArray[Any]], clusters: Mapping[str, NDArray[Any]]) -> Figure:
    """Fig. 6: t-SNE of the fc1 weights, one point per input feature, coloured by cluster (grey: none)."""
    with style():
        figure, axes = subplots(1, len(points), figsize=(7.2, 3.6), squeeze=False)
        for axis, (name, xy) in zip(axes[0], points.items(), strict=True):
            label = clusters[name]
            size = float(np.clip(4000 / len(label), 3, 14))
            axis.scatter(*xy[label < 0].T, s=size, color="#BBBBBB", linewidths=0)
            axis.scatter(*xy[label >= 0].T, s=size, c=label[label >= 0], cmap="tab10", linewidths=0)
            axis.set_title(f"{name}: {label.max() + 1} clusters")
            bare(axis)
    return figure


def activation_maps(image: NDArray[Any], maps: Mapping[str, Sequence[NDArray[Any]]], n: int = 6) -> Figure:
    """Fig. 7: the strongest maps of each layer, every map scaled to its own range and drawn at one size."""
    with style():
        names = list(maps)
        rows = len(maps[names[0]])
        figure, axes = subplots(rows, 1 + n * len(names), figsize=(8.0, 0.75 * rows + 0.5), squeeze=False)
        for axis in axes.flat:
            bare(axis)
            axis.set_visible(False)
        axes[0, 0].set_visible(True)
        axes[0, 0].imshow(image, cmap="gray")
        axes[0, 0].set_title("window", fontsize=9)
        for k, name in enumerate(names):
            for layer, stack in enumerate(maps[name]):
                for j, feature_map in enumerate(stack[:n]):
                    axis = axes[layer, 1 + k * n + j]
                    axis.set_visible(True)
                    axis.imshow(feature_map, cmap="viridis")
                    if layer == 0 and j == min(n, len(stack)) // 2:
                        axis.set_title(name, fontsize=9)
                    if k == 0 and j == 0:
                        axis.set_ylabel(f"conv{layer + 1}", fontsize=9)
    return figure


def mean_activations(table: pd.DataFrame) -> Figure:
    """Fig. 8: mean activation per layer in the four states (columns state, layer, mean)."""
    with style():
        figure, axis = subplots(figsize=(6.6, 3.2))
        states = list(dict.fromkeys(table["state"]))
        layers = list(dict.fromkeys(table["layer"]))
        for k, state in enumerate(states):
            part = table[table["state"] == state]
            at = np.arange(len(layers)) + (k - (len(states) - 1) / 2) * 0.2
            axis.bar(at, part["mean"], 0.19, label=state)
        axis.set_xticks(range(len(layers)), layers)
        axis.set_ylabel("mean activation")
        axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return figure


def curves(table: pd.DataFrame, majority: float, title: str) -> Figure:
    """Fig. 9: accuracy, precision, recall of the rosette class against the step, mean and sd over trainings."""
    with style():
        figure, axes = subplots(1, 3, figsize=(8.0, 2.9), sharex=True, sharey=True)
        for axis, metric in zip(axes, ("accuracy", "precision", "recall"), strict=True):
            for name, part in table.groupby("classifier"):
                summary = part.groupby("step")[metric].agg(["mean", "std"])
                colour = COLOUR[str(name)]
                axis.plot(summary.index, summary["mean"], color=colour, label=name)
                low, high = summary["mean"] - summary["std"], summary["mean"] + summary["std"]
                axis.fill_between(summary.index, low.clip(0), high.clip(upper=1), color=colour, alpha=0.2, linewidth=0)
            axis.set(xlabel="step", title=metric, ylim=(0, 1.02))
        axes[0].axhline(majority, color=PALETTE["majority"], linestyle=":", label="majority class")
        axes[0].legend()
        figure.suptitle(title, fontsize=10)
    return figure


def accuracy_by_fraction(table: pd.DataFrame, paper: pd.DataFrame, majority: float) -> Figure:
    """Fig. 10: accuracy against the share of labels, bars = sd over trainings, the paper's printed points beside."""
    with style():
        figure, axis = subplots(figsize=(7.4, 3.4))
        for k, (name, part) in enumerate(table.groupby("classifier")):
            look = {"color": COLOUR[str(name)], "capsize": 3, "marker": "o", "markersize": 4}
            x = 100 * part["fraction"] + (0.7, -0.7)[k % 2]  # a little apart, so that bars can be told from each other
            axis.errorbar(x, 100 * part["mean"], 100 * part["sd"], label=f"{name}, this run", **look)
        error = (paper["high"] - paper["low"]) / 2
        look = {"color": "black", "capsize": 3, "marker": "s", "markersize": 4, "linestyle": "none"}
        axis.errorbar(
            paper["percent"], paper["value"], error, paper["half_width"], label="GAN, printed in the paper", **look
        )
        axis.axhline(100 * majority, color=PALETTE["majority"], linestyle=":", label="majority class")
        axis.set(xlabel="training labels used (%)", ylabel="accuracy (%)")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def weak_by_fraction(evaluated: pd.DataFrame, metric: str = "AUROC") -> Figure:
    """Setting (b): a metric against the share of labels, averaged over test days, bars = 95 % over embryos."""
    with style():
        figure, axis = subplots(figsize=(6.6, 3.8))
        part = evaluated[(evaluated["metric"] == metric) & (evaluated["day"] == "all")]
        for k, name in enumerate(dict.fromkeys(part["method"])):
            one = part[part["method"] == name].sort_values("fraction")
            # A mean over trainings is drawn dashed in its method's colour.
            base = name.split(", mean of ")[0]
            colour, line = COLOUR.get(base, "#7F7F7F"), "-" if base == name else "--"
            # A little apart, so that the bars of neighbours can be told from each other.
            x = 100 * one["fraction"] * (1 + 0.03 * (k - 2.5))
            # A value may lie just outside its interval: by rounding, and where resampling shifts a metric.
            error = [(one["value"] - one["low"]).clip(0), (one["high"] - one["value"]).clip(0)]
            look = {"color": colour, "linestyle": line, "capsize": 2, "marker": "o", "markersize": 4}
            axis.errorbar(x, one["value"], error, label=name, **look)
        axis.set(xlabel="training labels used (%)", ylabel=f"{metric}, days never seen", xscale="log")
        ticks = sorted(set(100 * part["fraction"]))
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def detection(
    images: Sequence[NDArray[Any]],
    boxes: Sequence[pd.DataFrame],
    heatmaps: Sequence[NDArray[Any]],
    truth: Sequence[NDArray[Any]] | None = None,
    size: int = 32,
) -> Figure:
    """Fig. 11: red boxes over the threshold, and the probability heat map below; circles are true centres."""
    with style():
        figure, axes = subplots(2, len(images), figsize=(2.5 * len(images) + 0.6, 5.2), squeeze=False)
        mesh = None
        for k, image in enumerate(images):
            axes[0, k].imshow(image, cmap="gray")
            for box in boxes[k].itertuples():
                _box(axes[0, k], float(box.x), float(box.y), size, width=0.7)  # type: ignore[arg-type]
            mesh = axes[1, k].imshow(heatmaps[k], cmap="magma", vmin=0, vmax=1)
            for axis in axes[:, k]:
                bare(axis)
                if truth is not None and len(truth[k]):
                    axis.plot(*truth[k].T, "o", color="#56B4E9", fillstyle="none", markersize=9)
        if mesh is not None:
            figure.colorbar(mesh, ax=axes[1].tolist(), label="probability", shrink=0.8)
    return figure


def examples(groups: Mapping[str, tuple[NDArray[np.uint8], NDArray[Any], NDArray[Any]]], n: int = 8) -> Figure:
    """Fig. 12: images by confidence: `{title: (images, probabilities, targets)}`; a cross marks a wrong call."""
    import matplotlib.pyplot as plt

    with style():
        figure = plt.figure(figsize=(8.0, 1.7 * len(groups)))
        parts: Any = figure.subfigures(len(groups), 1, squeeze=False)[:, 0]
        for part, (title, (images, probability, target)) in zip(parts, groups.items(), strict=True):
            part.suptitle(f"{title}: {len(images)} images", fontsize=10)
            if not len(images):
                bare(part.subplots())
            else:
                marks = [f"{p:.2f}{'' if t == 1 else ' x'}" for p, t in zip(probability[:n], target[:n], strict=True)]
                image_grid(part, list(images[:n]), n_columns=n, titles=marks, value_range=(0, 255))
    return figure


STATISTICS = {
    "histogram": ("grey level", "share of pixels"),
    "spectrum": ("cycles per px", "power"),
    "autocorrelation": ("distance (px)", "correlation"),
    "mean": ("quantile", "mean grey level"),
    "sd": ("quantile", "sd of grey levels"),
    "ridge_share": ("quantile", "share of ridge pixels"),
}


def image_statistics(sets: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """The simulator beside the real images: `{name: simulation statistics}` of each set."""
    with style():
        figure, axes = subplots(2, 3, figsize=(8.0, 4.6))
        for axis, (what, (x, y)) in zip(axes.flat, STATISTICS.items(), strict=True):
            for name, statistics in sets.items():
                curve = statistics[what]
                axis.plot(curve["x"], curve["y"], label=name, linestyle="-" if "simulated" in name else "--")
            axis.set(xlabel=x, ylabel=y)
            if what == "spectrum":
                axis.set_yscale("log")
        lines, names = axes.flat[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=len(sets))
    return figure
