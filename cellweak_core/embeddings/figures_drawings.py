"""Figs. 1 and 2: the structure of the collection and the workflow, drawn with the wells and cells at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..plotting import COLOURS, bare, sentence, style, subplots
from .drawing import (
    CONTROL,
    FAINT,
    INK,
    Array,
    Look,
    Order,
    as_people_sort,
    composite,
    key,
    looks,
    mosaic,
    named,
    require,
    show,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOCUS = "#D55E00"


def collection(cells: pd.DataFrame, n_batches: int = 3, n_plates: int = 2) -> Figure:
    """Fig. 1: batches, plates and wells of a screen, each well with the mark of its mechanism.

    Args:
        cells: A row for each cell or well: `plate`, `well` ("B02"), `batch`, `compound`, `control` (bool), and `moa`
            where known; without it wells have the mark of their compound.
        n_batches: Batches drawn, the first ones by name.
        n_plates: Plates drawn of each.

    Raises:
        ValueError: Columns missing.
    """
    require(cells, ("plate", "well", "batch", "compound", "control"), "cells")
    if not len(cells):
        return sentence("There is no cell in this collection.")
    wells = cells.drop_duplicates(["plate", "well"])
    by = "moa" if "moa" in cells and cells.loc[~cells["control"].astype(bool), "moa"].notna().any() else "compound"
    names, texts = named(list(wells[by]), wells["control"])
    look = looks(names)
    batches = sorted(set(wells["batch"]), key=as_people_sort)
    places = _places(wells["well"])
    with style():
        columns, rows = (
            min(n_batches, len(batches)),
            min(n_plates, int(wells.groupby("batch")["plate"].nunique().max())),
        )
        extent = (*(places.min(0) - 1).tolist(), *(places.max(0) + 1).tolist())
        shape = (extent[2] - extent[0]) / (extent[3] - extent[1])
        height = rows * (min(7.4 / columns, 4.0) * shape + 0.3) + 0.85 + 0.19 * -(-(len(names) + 1) // 3)
        figure, axes = subplots(rows, columns, figsize=(7.8, height), squeeze=False)
        for line in axes.T:
            for axis in line:
                axis.set_visible(False)
        for batch, line in zip(batches, axes.T, strict=False):
            own = wells["batch"] == batch
            plates = sorted(set(wells.loc[own, "plate"]), key=as_people_sort)
            for k, (plate, axis) in enumerate(zip(plates, line, strict=False)):
                here = (own & (wells["plate"] == plate)).to_numpy()
                _plate(axis, places[here], texts[here], look, extent)
                head = f"batch {batch}: {_count(len(plates), 'plate')}\n" if not k else ""
                axis.set_title(f"{head}plate {plate}", fontsize=8.5)
        handles = [*key(look), *key({"control": Look(CONTROL, "o")})]
        what = "mechanism of the compound, where it is known" if by == "moa" else "compound"
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, fontsize=8, title=what, title_fontsize=8.5,
            columnspacing=1.2, handletextpad=0.3,
        )  # fmt: skip
        treated = cells[~cells["control"].astype(bool)]
        doses = ["compound", "concentration"] if "concentration" in cells else ["compound"]
        numbers = (
            _count(len(batches), "batch", "batches"), _count(wells["plate"].nunique(), "plate"),
            _count(len(wells), "well"), _count(len(treated.drop_duplicates(doses)), "treatment"),
        )  # fmt: skip
        figure.suptitle(", ".join(numbers) + f"; {columns} of {len(batches)} batches drawn", fontsize=9.5)
    return figure


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _places(wells: pd.Series) -> Array:
    """Row and column of each well, `(n, 2)`; names that are none are laid out in their order."""
    found = [re.fullmatch(r"([A-Za-z]{1,2})[ _-]?0*(\d+)", str(well)) for well in wells]
    if all(found):
        letters = [one[1].upper() for one in found if one]
        rows = [sum((ord(c) - 64) * 26**k for k, c in enumerate(reversed(text))) for text in letters]
        return np.array(list(zip(rows, (int(one[2]) for one in found if one), strict=True)))
    names = sorted(set(map(str, wells)))
    side = int(np.ceil(np.sqrt(1.5 * len(names))))
    at = {name: divmod(k, side) for k, name in enumerate(names)}
    return np.array([at[str(well)] for well in wells])


def _plate(axis: Axes, places: Array, texts: Array, look: Mapping[str, Look], extent: tuple[int, ...]) -> None:
    top, left, bottom, right = extent
    axis.set_visible(True)
    bare(axis)
    axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    from matplotlib.patches import FancyBboxPatch

    rounding = min(0.4, 0.05 * (right - left))
    corner, size = (left + 0.3, top + 0.3), (right - left - 0.6, bottom - top - 0.6)
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle=f"round,pad=0,rounding_size={rounding}", facecolor="#F6F6F6",
                                  edgecolor="#AAAAAA", linewidth=0.8))  # fmt: skip
    points = float(np.clip(100 / max(right - left, 1.4 * (bottom - top)), 1.5, 9))
    for name in dict.fromkeys(texts):
        some = places[texts == name]
        one = look[name] if name else Look(CONTROL, "o")
        axis.plot(some[:, 1], some[:, 0], one.marker, color=one.colour, markersize=points, markeredgewidth=0.8)


def workflow(
    crops: ArrayLike,
    counts: Mapping[str, int],
    *,
    features: ArrayLike | None = None,
    profiles: ArrayLike | None = None,
    similarity: ArrayLike | None = None,
    field: ArrayLike | None = None,
    order: Order | None = None,
) -> Figure:
    """Fig. 2: from images to relations between treatments, in five steps with this run's own cells and numbers.

    Args:
        crops: `(n, C, H, W)`, nine are shown.
        counts: `plates`, `wells`, `cells`, `features`, `treatments`; those that are known.
        features: `(n, d)` of single cells.
        profiles: `(n_treatments, d)`.
        similarity: `(n_treatments, n_treatments)` cosine, treatments of one mechanism side by side.
        field: `(C, H, W)` a field of view, where the run has any.
        order: As `composite`.
    """
    cells = np.asarray(crops)
    with style():
        figure, axes = subplots(1, 5, figsize=(7.8, 2.1))
        figure.set_layout_engine("none")
        number = {name: f"{n:,}" for name, n in counts.items()}
        if field is None:
            _wells_icon(axes[0])
        else:
            show(axes[0], composite(np.asarray(field)[None], order)[0])
        show(axes[1], mosaic(composite(cells[:9], order), 3))
        _heat(axes[2], features)
        _heat(axes[3], profiles)
        _heat(axes[4], similarity, vmin=-1.0, vmax=1.0)
        titles = ("1 imaging", "2 segmentation", "3 features", "4 profiles", "5 relations")
        below = (
            [f"{number[name]} {name}" for name in ("plates", "wells") if name in number],
            [f"{number['cells']} cells"] if "cells" in number else [],
            ["of each cell,", f"{number.get('features', 'its')} features"],
            ["of each treatment,", f"{number['treatments']} treatments" if "treatments" in number else "mean of cells"],
            ["cosine between", "treatments"],
        )
        for k, (axis, title, words) in enumerate(zip(axes, titles, below, strict=True)):
            axis.set_position((0.012 + 0.208 * k, 0.27, 0.144, 0.144 * 7.8 / 2.1))
            weight = "bold" if k == 2 else "normal"
            axis.set_title(title, fontsize=9.5, fontweight=weight, color=FOCUS if k == 2 else INK)
            axis.text(0.5, -0.08, "\n".join(words), ha="center", va="top", fontsize=8.5, transform=axis.transAxes)
            if k:
                look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.5}
                at = "axes fraction"
                axis.annotate("", (-0.06, 0.5), (-0.38, 0.5), at, at, arrowprops=look)
        for spine in axes[2].spines.values():
            spine.set(visible=True, color=FOCUS, linewidth=2.0)
    return figure


def _heat(axis: Axes, values: ArrayLike | None, **look: Any) -> None:  # noqa: ANN401 - imshow's
    bare(axis)
    if values is None:
        axis.set_facecolor("#F0F0F0")
        axis.text(0.5, 0.5, "not in\nthis run", ha="center", va="center", fontsize=8, color=FAINT,
                  transform=axis.transAxes)  # fmt: skip
        return
    shown = np.asarray(values, float)
    if not look and shown.size:
        reach = max(float(np.percentile(np.abs(shown - np.median(shown)), 98)), 1e-12)
        look = {"vmin": float(np.median(shown)) - reach, "vmax": float(np.median(shown)) + reach}
    axis.imshow(shown, cmap="PuOr", aspect="auto", interpolation="nearest", **look)


def _wells_icon(axis: Axes) -> None:
    bare(axis)
    row, column = np.mgrid[0:8, 0:8]
    axis.set(xlim=(-0.8, 7.8), ylim=(-0.8, 7.8))
    axis.plot(column.ravel(), row.ravel(), "o", color=COLOURS[5], markersize=5.2, markeredgecolor=FAINT,
              markeredgewidth=0.4)  # fmt: skip
