"""The chapter's pictures and plots, drawn from results; nothing is computed here.

Pictures come as `pictures.rgb` makes them, `(n, H, W, 3)` uint8. Where there is nothing to draw a figure says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..curves import training_curves
from ..plotting import COLOURS, bare, image_grid, mosaic, sentence, style, subplots
from .exploring import STRENGTHS, Explored
from .figures_curves import distances, effects, scores
from .spotting import Spotting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = [
    "distances", "effects", "generated", "interpolation", "moved", "nearest", "rows_of_pictures", "scores", "sentence",
    "spotting", "sums", "training_curves",
]  # fmt: skip

WAYS = {"slerp": (COLOURS[0], "-"), "linear": (COLOURS[1], "--")}
WIDTH_IN = 7.8


def generated(panels: Mapping[str, ArrayLike], n_columns: int = 12, colours: str = "") -> Figure:
    """Fig. 1: cells of several generators under each other, real ones first.

    Args:
        panels: Pictures of each kind by its name, such as "real" and "LSGAN".
        n_columns: Cells in a row.
        colours: The mapping in words, `pictures.caption`.

    Raises:
        ValueError: Pictures of other axes.
    """
    shown = {name: mosaic(one, n_columns) for name, one in panels.items() if len(np.asarray(one))}
    if not shown:
        return sentence("No cells were generated in this run.")
    heights = [WIDTH_IN * one.shape[0] / max(image.shape[1] for image in shown.values()) for one in shown.values()]
    with style():
        figure, axes = subplots(
            len(shown), 1, figsize=(WIDTH_IN, sum(heights) + 0.27 * len(shown) + 0.2), squeeze=False,
            height_ratios=heights,
        )  # fmt: skip
        for axis, (name, image) in zip(axes[:, 0], shown.items(), strict=True):
            axis.imshow(image)
            axis.set_title(name, loc="left", fontsize=9, pad=2)
            axis.set_anchor("NW")
            bare(axis)
        if colours:
            figure.supxlabel(colours, fontsize=8, x=0.01, ha="left")
    return figure


def interpolation(rows: Mapping[str, ArrayLike], norms: pd.DataFrame, prior: tuple[float, float]) -> Figure:
    """Fig. 2: from z1 to z2 on the sphere and straight through, and how long the vectors are on both ways.

    Args:
        rows: "slerp" and "linear": pictures on each way.
        norms: Of `latent.path_norms`: way, pair, t, norm; the first pair is that of the pictures and drawn thicker.
        prior: Lengths between which most noise vectors lie, `latent.prior_norms`.

    Raises:
        ValueError: Another way.
    """
    unknown = sorted({*rows, *norms["way"]} - set(WAYS))
    if unknown:
        raise ValueError(f"ways: expected {' and '.join(WAYS)}, got {', '.join(unknown)}")
    if not rows:
        return sentence("No way through noise space was drawn in this run.")
    shown = {name: mosaic(one, len(np.asarray(one))) for name, one in rows.items()}
    heights = [WIDTH_IN * 0.9 * image.shape[0] / image.shape[1] for image in shown.values()]
    with style():
        figure, axes = subplots(
            len(shown) + 1, 1, figsize=(WIDTH_IN, sum(heights) + 3.0), height_ratios=[*heights, 2.2], squeeze=False
        )
        for axis, (name, image) in zip(axes[:, 0], shown.items(), strict=False):
            axis.imshow(image)
            axis.set_title(f"{name}: z1 to z2", loc="left", fontsize=9, pad=2, color=WAYS[name][0])
            bare(axis)
        axis = axes[-1, 0]
        axis.axhspan(*prior, color="#DDDDDD", zorder=0, label="95 % of all noise")
        for way, own in norms.groupby("way", sort=False):
            colour, line = WAYS[str(way)]
            for k, (_, pair) in enumerate(own.groupby("pair", sort=False)):
                look: dict[str, Any] = {"linewidth": 2.0 if k == 0 else 0.7, "alpha": 1.0 if k == 0 else 0.5}
                axis.plot(pair["t"], pair["norm"], line, color=colour, label=way if k == 0 else None, **look)
        axis.set(xlabel="t", ylabel="length of z", xlim=(0, 1))
        axis.set_ylim(bottom=0)
        axis.legend(loc="lower left", ncols=3)
    return figure


def rows_of_pictures(
    images: ArrayLike,
    captions: Sequence[Sequence[str]] = (),
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    between: Sequence[str] = (),
) -> Figure:
    """Rows of pictures with a text under each: Fig. 3, by strengths or as a sum, and sheets of neighbours.

    Args:
        images: `(n_rows, n_columns, H, W, 3)`.
        captions: One for each picture, such as "412 px"; none for no text.
        row_names: At the left.
        column_names: Above.
        between: A sign after each picture but the last, such as ("-", "+", "=").

    Raises:
        ValueError: Other axes; another number of texts.
    """
    shown = np.asarray(images)
    if shown.ndim != 5 or shown.shape[-1] != 3:
        raise ValueError(f"images: expected (n_rows, n_columns, H, W, 3), got shape {shown.shape}")
    n_rows, n_columns = shown.shape[:2]
    for name, texts, n in (
        ("captions", captions, n_rows), ("row_names", row_names, n_rows), ("column_names", column_names, n_columns),
        ("between", between, n_columns - 1), *(("captions", row, n_columns) for row in captions),
    ):  # fmt: skip
        if len(texts) not in (0, n):
            raise ValueError(f"{name}: expected {n} texts, got {len(texts)}")
    if not n_rows:
        return sentence("There is nothing to show.")
    side = min(1.5, (WIDTH_IN - 0.9) / n_columns)
    under = 0.2 * (1 + max((text.count("\n") for row in captions for text in row), default=-1))
    with style():
        figure, axes = subplots(
            n_rows, n_columns, figsize=(n_columns * side + 0.9, n_rows * (side + under) + 0.4), squeeze=False
        )
        for row, line in enumerate(axes):
            for column, axis in enumerate(line):
                axis.imshow(shown[row, column])
                bare(axis)
                if captions:
                    axis.set_xlabel(captions[row][column], fontsize=8, labelpad=2)
                if row == 0 and column_names:
                    axis.set_title(column_names[column], fontsize=9, pad=3)
                if column == 0 and row_names:
                    axis.set_ylabel(row_names[row], fontsize=9)
                if column < len(between):
                    axis.annotate(
                        between[column], (1.04, 0.5), xycoords="axes fraction", fontsize=13, va="center", ha="center",
                        annotation_clip=False,
                    )  # fmt: skip
    return figure


def sums(found: Mapping[tuple[str, str], Explored]) -> Figure:
    """Fig. 3: much minus little plus a cell, by property, with the property under each picture.

    Args:
        found: By property and way; of each property the quarters are shown, as the paper adds and subtracts.
    """
    own = {name: one for (name, way), one in found.items() if way == "quarters"}
    if not own:
        return sentence("No direction was found in this run.")
    names = [name if k == 0 else "" for name, one in own.items() for k in range(len(one.sums))]
    return rows_of_pictures(
        np.concatenate([one.sums for one in own.values()]), [row for one in own.values() for row in one.sum_captions],
        names, ("much", "little", "a cell", "result"), ("\u2212", "+", "="),
    )  # fmt: skip


def moved(found: Mapping[tuple[str, str], Explored]) -> Figure:
    """Cells along the direction of a regression, by property, with the property under each picture; as `sums`."""
    own = {name: one for (name, way), one in found.items() if way == "regression"}
    if not own:
        return sentence("No direction was found in this run.")
    names = [name if k == 0 else "" for name, one in own.items() for k in range(len(one.along))]
    titles = ["a cell" if not one else f"{one:+.0f} step{'s' * (abs(one) > 1)}" for one in STRENGTHS]
    return rows_of_pictures(
        np.concatenate([one.along for one in own.values()]),
        [row for one in own.values() for row in one.along_captions], names, titles,
    )  # fmt: skip


def nearest(pictures: ArrayLike, cells: ArrayLike, distance: ArrayLike, typical: float) -> Figure:
    """Generated cells, and the training cells nearest to each; a copy would stand beside itself.

    Args:
        pictures: `(n, H, W, 3)` of generated cells.
        cells: `(n, k, H, W, 3)` of training cells, nearest first.
        distance: `(n, k)` to them.
        typical: Median distance of held-out real cells to their nearest training cell, 1.0 in the figure.

    Raises:
        ValueError: Shapes that do not go together; a typical distance that is not above 0.
    """
    made, near, away = np.asarray(pictures), np.asarray(cells), np.asarray(distance, float)
    if near.ndim != 5 or made.shape != (len(near), *near.shape[2:]) or away.shape != near.shape[:2]:
        found = f"{made.shape}, {near.shape} and {away.shape}"
        raise ValueError(f"expected pictures (n, H, W, 3), cells (n, k, H, W, 3) and distances (n, k), got {found}")
    if not typical > 0:
        raise ValueError(f"typical: expected a distance above 0, got {typical}")
    texts = [["", *(f"{one:.2f}" for one in row)] for row in away / typical]
    titles = ["generated", *(f"real, {k + 1}" for k in range(near.shape[1]))]
    both = np.concatenate([made[:, None], near], axis=1)
    return rows_of_pictures(both, texts, column_names=titles)


def spotting(spot: Spotting, pictures: ArrayLike, n_columns: int = 10) -> Figure:
    """Real and generated cells in one order, numbered: which are real?

    Args:
        spot: Of `spotting.shuffled`.
        pictures: Its images as `pictures.rgb`, row for row.
        n_columns: Cells in a row.

    Raises:
        ValueError: Another number of pictures.
    """
    import matplotlib.pyplot as plt

    shown = np.asarray(pictures)
    if len(shown) != len(spot.real):
        raise ValueError(f"pictures: expected {len(spot.real)}, one for each cell, got {len(shown)}")
    with style():
        side = WIDTH_IN / n_columns
        figure = plt.figure(figsize=(WIDTH_IN, -(-len(shown) // n_columns) * (side + 0.17)))
        axes = image_grid(figure, shown, n_columns=n_columns)
        for axis, number in zip(axes.flat, spot.numbers, strict=False):
            axis.set_title(number, fontsize=7, pad=1.5)
    return figure
