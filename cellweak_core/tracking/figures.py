"""The chapter's figures, drawn from what `examples` and `evaluation` found; nothing is computed here.

An example that is a sentence, because the data have nothing to show, is drawn as that sentence. Diagrams are drawn in
`figures_diagrams`, tracks in `figures_tracks`; all have their names here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..plotting import COLOURS, bare, sentence, style, subplots
from .drawing import CELL, COLOUR, HEAT, MATCH, Example, ring, show
from .figures_diagrams import architecture, overview
from .figures_tracks import gain_by_difficulty, strips, trajectories

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "architecture", "conditions", "detections", "frames_and_nuclei", "gain_by_difficulty", "masked_loss", "overview",
    "propagation", "sentence", "strips", "training_curves", "trajectories",
]  # fmt: skip


def frames_and_nuclei(example: Example) -> Figure:
    """Fig. 1: phase contrast over time, the stain now and then below, and centroids in red."""
    if isinstance(example, str):
        return sentence(example)
    n = len(example["frames"])
    with style():
        figure, axes = subplots(2, n + 1, figsize=(7.8, 2.45), squeeze=False, width_ratios=[1] * n + [1.5])
        for k, number in enumerate(example["frames"]):
            show(axes[0, k], example["phase"][k], f"frame {number}")
            bare(axes[1, k])
            if example["nuclei"][k] is None:
                axes[1, k].set_box_aspect(1)
                axes[1, k].plot(0.5, 0.5, "x", color=CELL, markersize=14, transform=axes[1, k].transAxes)
            else:
                show(axes[1, k], example["nuclei"][k])
        for axis in axes[:, n]:
            axis.remove()
        big = figure.add_subplot(axes[0, 0].get_gridspec()[:, n])
        show(big, example["behind"], f"(b) centroids, frame {example['frames'][0]}")
        big.plot(*example["centroids"].T, ".", color=CELL, markersize=5)
        big.set_xlabel(example["source"].replace(": ", ":\n"), fontsize=8)
        axes[0, 0].set_ylabel("(a) phase\ncontrast", fontsize=8.5)
        axes[1, 0].set_ylabel("nuclear stain\n(cross: none)", fontsize=8.5)
    return figure


def masked_loss(example: Example) -> Figure:
    """Fig. 4: image, pseudo-label with the discs that are left out, what MPM learns, and that on the image."""
    if isinstance(example, str):
        return sentence(example)
    names = {"Ours w/o ml": "without the mask", "Ours": "with the mask"}
    with style():
        outputs = example["outputs"]
        n = len(outputs)
        figure, axes = subplots(n, 4, figsize=(7.6, 1.87 * n + 0.45), squeeze=False)
        titles = ("(a) phase contrast", "(b) pseudo-label", "(c) MPM's output", "(d) output on image")
        for row, (name, output) in zip(axes, outputs.items(), strict=True):
            a, b, c, d = titles if row[0] is axes[0, 0] else ("",) * 4
            show(row[0], example["image"], a)
            show(row[1], example["target"], b, **HEAT)
            if name == "Ours":
                covered = np.ma.masked_where(~example["ignored"], np.ones(example["ignored"].shape))
                row[1].imshow(covered, cmap="gray", vmin=0, vmax=1)
            show(row[2], output, c, **HEAT)
            show(row[3], example["image"], d)
            strong = np.clip(output, 0, 1)
            row[3].imshow(strong, alpha=np.clip(2 * strong, 0, 0.7), **HEAT)
            for axis in row:
                ring(axis, example["cell"], MATCH, 13)
            row[0].set_ylabel(names.get(name, name), fontsize=9)
        figure.suptitle(
            f"frame {example['frame']} of the training sequence; blue circle: {example['what']}; "
            "white: left out of the loss",
            fontsize=9,
        )
    return figure


def conditions(example: Example) -> Figure:
    """Fig. 5: a frame of each condition, a square of it enlarged below."""
    if isinstance(example, str):
        return sentence(example)
    from matplotlib.patches import Rectangle

    with style():
        n = len(example["images"])
        figure, axes = subplots(2, n, figsize=(max(1.9 * n, 6.0), 4.0), squeeze=False)
        for k, (name, image) in enumerate(example["images"].items()):
            top, bottom, left, right = example["boxes"][name]
            show(axes[0, k], image, name)
            axes[0, k].add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=CELL, linewidth=1.4)
            )
            show(axes[1, k], image[top:bottom, left:right], f"{right - left} px square")
    return figure


def detections(example: Example) -> Figure:
    """Fig. 8: places where one frame and two frames give different cells."""
    if isinstance(example, str):
        return sentence(example)
    with style():
        places = example["places"]
        figure, axes = subplots(len(places), 4, figsize=(7.6, 2.15 * len(places)), squeeze=False)
        for row, place in zip(axes, places, strict=True):
            show(row[0], place["image"], f"(a) {place['test']}, frame {place['frame']}")
            wrong = {name: f"{n} error{'s' * (n != 1)}" for name, n in place["errors"].items()}
            for axis, key, title in (
                (row[1], "truth", f"(b) truth: {len(place['truth'])} cells"),
                (row[2], "detector", f"(c) one frame: {wrong['detector']}"),
                (row[3], "codetection", f"(d) two frames: {wrong['codetection']}"),
            ):
                show(axis, place["image"], title)
                colour = MATCH if key == "truth" else CELL
                axis.plot(*place[key].T, "+", color=colour, markersize=8, markeredgewidth=1.8)
            row[0].set_ylabel(place["what"], fontsize=8.5)
    return figure


def propagation(example: Example) -> Figure:
    """Fig. 9: propagation of chosen cells: frames, likelihood maps, masked frames, response."""
    if isinstance(example, str):
        return sentence(example)
    with style():
        cells = example["cells"]
        figure, axes = subplots(len(cells), 7, figsize=(7.8, 1.27 * len(cells) + 0.1), squeeze=False)
        for row, one in zip(axes, cells, strict=True):
            titles = ["$I_t$", "$I_{t+1}$", "$L_t$", "$L_{t+1}$", "$I'_t$", "$I'_{t+1}$", "$L'_t$"]
            if one["match"] is not None:
                titles[-1] += f", score {one['score']:.2f}"
            grey = [{"vmin": np.percentile(i, 0.5), "vmax": np.percentile(i, 99.5) + 1e-6} for i in one["pair"]]
            looks = [*grey, HEAT, HEAT, *grey, HEAT]
            images = (*one["pair"], *one["likelihood"], *one["masked"], one["response"])
            for k, (axis, title, image, look) in enumerate(zip(row, titles, images, looks, strict=True)):
                show(axis, image, title, **look)
                later = k in (1, 3, 5)
                ring(axis, one["cell"] if later else one["match"], CELL if later else MATCH)
            t, t1 = one["frames"]
            words = one["what"].replace(" of", "\nof").replace(" to", "\nto").replace(": ", ":\n")
            row[0].set_ylabel(f"{words}\nframes {t}, {t1}", fontsize=7.5)
    return figure


def training_curves(table: pd.DataFrame) -> Figure:
    """The loss of every training against its step; columns network, seed, step, loss."""
    if not len(table):
        return sentence("Nothing was trained in this run.")
    names = {"codetection": "co-detection, interval", "detector": "single-frame detector"}
    with style():
        figure, axis = subplots(figsize=(7.4, 3.2))
        others = iter(c for c in COLOURS if c not in COLOUR.values())
        more = iter(("#44AA99", "#AA4499", "#332288", "#999933", "#882255"))
        for name, part in table.groupby("network", sort=False):
            first, *rest = str(name).split(" ")
            label = " ".join([names[first], *rest]) if first in names else str(name)
            colour = COLOUR.get(str(name)) or next(others, None) or next(more, "#555555")
            for k, (_, one) in enumerate(part.groupby("seed")):
                axis.plot(one["step"], one["loss"], color=colour, linewidth=1.1, label="_" if k else label)
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        axis.set(xlabel="training step", ylabel="loss", yscale="log")
    return figure
