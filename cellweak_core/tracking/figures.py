"""The chapter's figures, drawn from what `examples` and `evaluation` found; nothing is computed here.

An example that is a sentence, because the data have nothing to show, is drawn as that sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plotting import COLOURS, bare, style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Example = dict[str, Any] | str
RED, BLUE = "#D62728", "#0072B2"
COLOUR = dict(
    zip(
        ("Ours", "MPM", "BF", "assignment", "laptrack", "CMF", "GDA", "Fogbank"),
        ("#E69F00", "#0072B2", "#D55E00", "#7F7F7F", "#000000", "#009E73", "#CC79A7", "#56B4E9"),
        strict=True,
    )
) | {"A-Graph": "#8A6D00", "Ours w/o ml": "#B07AA1"}


def _subplots(*args: Any, **kwargs: Any) -> tuple[Figure, Any]:  # noqa: ANN401 - as matplotlib
    import matplotlib.pyplot as plt

    return plt.subplots(*args, **kwargs)


def sentence(text: str) -> Figure:
    """A figure that says why there is none."""
    with style():
        figure, axis = _subplots(figsize=(7.0, 1.0))
        bare(axis)
        axis.text(0.5, 0.5, text, ha="center", va="center", wrap=True, fontsize=10)
    return figure


def _show(axis: Axes, image: NDArray[Any], title: str = "", **look: Any) -> None:  # noqa: ANN401 - imshow's
    axis.imshow(image, **{"cmap": "gray", **look})
    axis.set_title(title, fontsize=8.5)
    bare(axis)
    axis.set_xlim(-0.5, image.shape[1] - 0.5)
    axis.set_ylim(image.shape[0] - 0.5, -0.5)


def frames_and_nuclei(example: Example) -> Figure:
    """Fig. 1: phase contrast over time, the stain now and then below, and centroids in red."""
    if isinstance(example, str):
        return sentence(example)
    n = len(example["frames"])
    with style():
        figure, axes = _subplots(2, n + 1, figsize=(1.35 * (n + 1), 3.1), squeeze=False)
        for k, number in enumerate(example["frames"]):
            _show(axes[0, k], example["phase"][k], f"frame {number}")
            bare(axes[1, k])
            if example["nuclei"][k] is None:
                axes[1, k].text(0.5, 0.5, "x", color=RED, ha="center", va="center", fontsize=22)
            else:
                _show(axes[1, k], example["nuclei"][k])
        _show(axes[0, n], example["behind"], "positions")
        axes[0, n].plot(*example["centroids"].T, ".", color=RED, markersize=4)
        axes[1, n].axis("off")
        source = example["source"].replace(": ", ":\n")
        axes[1, n].text(0.5, 0.6, source, ha="center", va="center", fontsize=7, wrap=True)
        axes[0, 0].set_ylabel("(a) phase", fontsize=8.5)
        axes[1, 0].set_ylabel("nuclear stain", fontsize=8.5)
    return figure


def overview(example: Example) -> Figure:
    """Fig. 2: the three steps on one cell of this run."""
    if isinstance(example, str):
        return sentence(example)
    panels = [
        ("frame t", example["pair"][0], {}, "match"),
        ("frame t+1, the cell", example["pair"][1], {}, "cell"),
        ("(1) co-detection: $L_{t+1}$", example["likelihood"][1], {"vmin": 0, "vmax": 1, "cmap": "magma"}, "cell"),
        ("(2-1) relevance, t", example["relevance"][0], {"cmap": "magma", "vmin": 0, "vmax": 1}, ""),
        ("(2-1) relevance, t+1", example["relevance"][1], {"cmap": "magma", "vmin": 0, "vmax": 1}, "cell"),
        ("(2-2) masked frame t", example["masked"][0], {}, ""),
        (
            f"response $L'_t$, score {example['score']:.2f}",
            example["response"],
            {"vmin": 0, "vmax": 1, "cmap": "magma"},
            "match",
        ),
        ("(3) pseudo-label", example["target"], {"vmin": 0, "vmax": 1, "cmap": "magma"}, ""),
        ("(3) MPM's answer", example["output"], {"vmin": 0, "vmax": 1, "cmap": "magma"}, ""),
    ]
    with style():
        figure, axes = _subplots(2, 5, figsize=(8.0, 3.6))
        for axis, (title, image, look, marked) in zip(axes.flat, panels, strict=False):
            if image is None:
                axis.axis("off")
                continue
            _show(axis, image, title, **look)
            if marked and example[marked] is not None:
                colour = RED if marked == "cell" else "#56B4E9"
                axis.plot(*example[marked], "o", color=colour, fillstyle="none", markersize=9)
        axes.flat[-1].axis("off")
        axes.flat[-1].text(0.0, 0.5, "red: the cell at t+1\nblue: its match at t", fontsize=8.5, va="center")
    return figure


def architecture(example: Example) -> Figure:
    """Fig. 3: the co-detection CNN, each part with its output's shape."""
    if isinstance(example, str):
        return sentence(example)
    from matplotlib.patches import FancyBboxPatch

    shapes, names = example["shapes"], list(example["shapes"])
    per_row = 6
    with style():
        rows = -(-len(names) // per_row)
        figure, axis = _subplots(figsize=(8.0, 1.0 * rows + 0.3))
        bare(axis)
        axis.set_xlim(-0.5, per_row - 0.5)
        axis.set_ylim(-rows + 0.45, 0.55)
        for k, name in enumerate(names):
            x, y = k % per_row, -(k // per_row)
            look: dict[str, Any] = {"boxstyle": "round,pad=0.02", "facecolor": "#EAF2F8", "edgecolor": BLUE}
            axis.add_patch(FancyBboxPatch((x - 0.36, y - 0.25), 0.72, 0.5, **look))
            axis.text(x, y, f"{name}\n{'x'.join(map(str, shapes[name]))}", ha="center", va="center", fontsize=7.5)
            if k % per_row:
                arrow = {"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0, "shrinkB": 0}
                axis.annotate("", xy=(x - 0.4, y), xytext=(x - 0.6, y), arrowprops=arrow)
        axis.set_title(
            f"parts in the order they are made, output channels x height x width for two {example['size']}-px frames; "
            f"{example['n_parameters']:,} parameters",
            fontsize=8.5,
        )
    return figure


def masked_loss(example: Example) -> Figure:
    """Fig. 4: image, pseudo-label with the discs that are left out, and what MPM learns without and with the mask."""
    if isinstance(example, str):
        return sentence(example)
    names = list(example["outputs"])
    with style():
        figure, axes = _subplots(1, 2 + len(names), figsize=(2.0 * (2 + len(names)), 2.4))
        _show(axes[0], example["image"], f"(a) frame {example['frame']}: {example['what']}")
        _show(axes[1], example["target"], "(b) pseudo-label, left out: white", cmap="magma", vmin=0, vmax=1)
        axes[1].contour(example["ignored"], [0.5], colors="white", linewidths=1.2)
        for axis, name in zip(axes[2:], names, strict=True):
            what = "with the mask" if name == "Ours" else "without the mask"
            _show(axis, example["outputs"][name], f"(c) trained {what}", cmap="magma", vmin=0, vmax=1)
        for axis in axes:
            axis.plot(*example["cell"], "o", color="#56B4E9", fillstyle="none", markersize=12)
    return figure


def conditions(example: Example) -> Figure:
    """Fig. 5: a frame of each condition, a square of it enlarged below."""
    if isinstance(example, str):
        return sentence(example)
    from matplotlib.patches import Rectangle

    with style():
        n = len(example["images"])
        figure, axes = _subplots(2, n, figsize=(1.9 * n, 4.0), squeeze=False)
        for k, (name, image) in enumerate(example["images"].items()):
            top, bottom, left, right = example["boxes"][name]
            _show(axes[0, k], image, name)
            axes[0, k].add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=RED))
            _show(axes[1, k], image[top:bottom, left:right], "enlarged")
    return figure


def strips(images: Sequence[NDArray[Any]], rows: Mapping[str, pd.DataFrame], frames: Sequence[int]) -> Figure:
    """Figs. 6, 7 and 10: frames in columns, in each row the tracks of one method, one colour for each track.

    Args:
        images: One for each frame and row, row by row; or one for each frame, used in all rows.
        rows: Tracks (frame, id, x, y) by name.
        frames: Their numbers.
    """
    if not rows:
        return sentence("None of these methods is in this run.")
    with style():
        figure, axes = _subplots(len(rows), len(frames), figsize=(1.6 * len(frames), 1.65 * len(rows)), squeeze=False)
        for i, (name, tracks) in enumerate(rows.items()):
            for k, t in enumerate(frames):
                axis = axes[i, k]
                _show(axis, images[i * len(frames) + k] if len(images) > len(frames) else images[k])
                if not i:
                    axis.set_title(f"frame {t}", fontsize=8.5)
                for track, part in tracks[(tracks["frame"] <= t) & (tracks["frame"] > t - 6)].groupby("id"):
                    if (part["frame"] == t).any():
                        colour = COLOURS[int(str(track)) % len(COLOURS)]
                        axis.plot(part["x"], part["y"], "-", color=colour, linewidth=1.4)
                        axis.plot(part["x"].iloc[-1], part["y"].iloc[-1], "o", color=colour, markersize=3)
            axes[i, 0].set_ylabel(name, fontsize=8.5)
    return figure


def detections(example: Example) -> Figure:
    """Fig. 8: places where one frame and two frames give different cells."""
    if isinstance(example, str):
        return sentence(example)
    with style():
        places = example["places"]
        figure, axes = _subplots(len(places), 4, figsize=(7.6, 2.1 * len(places)), squeeze=False)
        for row, place in zip(axes, places, strict=True):
            _show(row[0], place["image"], f"(a) {place['test']}, frame {place['frame']}")
            for axis, key, title in (
                (row[1], "truth", "(b) truth"),
                (row[2], "detector", f"(c) one frame: {place['errors']['detector']} errors"),
                (row[3], "codetection", f"(d) two frames: {place['errors']['codetection']} errors"),
            ):
                _show(axis, place["image"], title)
                axis.plot(*place[key].T, "+", color=RED, markersize=7)
            row[0].set_ylabel(place["what"], fontsize=8.5)
    return figure


def propagation(example: Example) -> Figure:
    """Fig. 9: propagation of chosen cells: frames, likelihood maps, masked frames, response."""
    if isinstance(example, str):
        return sentence(example)
    with style():
        cells = example["cells"]
        figure, axes = _subplots(len(cells), 7, figsize=(8.4, 1.6 * len(cells) + 0.2), squeeze=False)
        warm = {"cmap": "magma", "vmin": 0, "vmax": 1}
        for row, one in zip(axes, cells, strict=True):
            titles = ["$I_t$", "$I_{t+1}$", "$L_t$", "$L_{t+1}$", "$I'_t$", "$I'_{t+1}$"]
            titles.append(f"$L'_t$, s = {one['score']:.2f}")
            images = (*one["pair"], *one["likelihood"], *one["masked"], one["response"])
            for k, (axis, title, image) in enumerate(zip(row, titles, images, strict=True)):
                _show(axis, image, title, **(warm if k in (2, 3, 6) else {}))
                if k in (1, 3, 5):
                    axis.plot(*one["cell"], "o", color=RED, fillstyle="none", markersize=8)
                elif one["match"] is not None:
                    axis.plot(*one["match"], "o", color="#56B4E9", fillstyle="none", markersize=8)
            row[0].set_ylabel(one["what"].replace(" of", "\nof").replace(" to", "\nto"), fontsize=7.5)
    return figure


def trajectories(image: NDArray[Any], tracks: pd.DataFrame) -> Figure:
    """Fig. 11: trajectories in x, y and time, and on the last frame."""
    import matplotlib.pyplot as plt

    with style():
        figure = plt.figure(figsize=(7.6, 3.6))
        space: Any = figure.add_subplot(1, 2, 1, projection="3d")
        flat = figure.add_subplot(1, 2, 2)
        _show(flat, image, "(b) all tracks on the last frame")
        for track, part in tracks.groupby("id"):
            colour = COLOURS[int(str(track)) % len(COLOURS)]
            space.plot(part["x"], part["y"], part["frame"], color=colour, linewidth=1.2)
            flat.plot(part["x"], part["y"], color=colour, linewidth=1.2)
        space.set(xlabel="x (px)", ylabel="y (px)", zlabel="frame", title="(a) in space and time")
        space.invert_yaxis()
        space.set_box_aspect(None, zoom=0.85)
    return figure


def gain_by_difficulty(table: pd.DataFrame) -> Figure:
    """Links recovered against displacement over the nearest neighbour's distance; divisions apart on the right."""
    if not len(table):
        return sentence("No links to compare in this run.")
    with style():
        figure, (axis, side) = _subplots(1, 2, figsize=(7.8, 3.6), width_ratios=[3, 1], sharey=True)
        moved = table[~table["daughters"]]
        bins = moved[["low_edge", "high_edge"]].drop_duplicates().to_numpy()
        for name, part in moved.groupby("method", sort=False):
            axis.plot(np.arange(len(part)), part["recovered"], "o-", color=COLOUR[str(name)], markersize=4, label=name)
        counts = moved[moved["method"] == moved["method"].iloc[0]]["n"].to_list()
        labels = [f"{a:g} to {b:g}\n{n} links" for (a, b), n in zip(bins, counts, strict=True)]
        axis.set_xticks(np.arange(len(bins)), labels, fontsize=7.5)
        axis.set(xlabel="displacement / distance of the nearest neighbour", ylabel="share of true links recovered")
        divided = table[table["daughters"]].reset_index(drop=True)
        side.bar(np.arange(len(divided)), divided["recovered"].fillna(0), color=[COLOUR[m] for m in divided["method"]])
        side.set_xticks(np.arange(len(divided)), divided["method"], rotation=90, fontsize=7.5)
        side.set_title(f"mother to daughter\n{int(divided['n'].max())} links", fontsize=8.5)
        axis.legend(fontsize=8)
    return figure


def training_curves(table: pd.DataFrame) -> Figure:
    """The loss of every training against its step."""
    if not len(table):
        return sentence("Nothing was trained in this run.")
    with style():
        figure, axis = _subplots(figsize=(7.0, 3.2))
        for k, (name, part) in enumerate(table.groupby("network", sort=False)):
            for _, one in part.groupby("seed"):
                axis.plot(one["step"], one["loss"], color=COLOURS[k % len(COLOURS)], linewidth=1, label=name)
        handles, names = axis.get_legend_handles_labels()
        unique = dict(zip(names, handles, strict=True))
        axis.legend(unique.values(), unique.keys(), loc="center left", bbox_to_anchor=(1, 0.5))
        axis.set(xlabel="step", ylabel="loss", yscale="log")
    return figure
