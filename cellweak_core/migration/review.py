"""The review sheet: the frames a biologist should look at first, by epistemic uncertainty, with pictures.

    predicted frames --most uncertain, not twice the same moment of a cell--> queue --+--> CSV
    patches of these ---------------------------------------------------------------+--> PDF, page by page
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..plotting import bare, require, style
from .evaluation import HIGH, LOW, OUTCOMES, outcomes
from .figures import MODE_COLOURS, OUTCOME_COLOURS, channel_limits, colours
from .labels import MODES, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT = "#333333", "#777777"
COLUMNS = ("part", "sequence", "cell", "frame", "x", "y", "label", "target")


def queue(
    points: pd.DataFrame, mean: ArrayLike, epistemic: ArrayLike, aleatoric: ArrayLike | None = None, *,
    n_frames: int = 60, gap_frames: int = 5, order: ArrayLike | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The most uncertain frames, the most uncertain first.

    Args:
        points: `(n,)` rows of the points table with `cell` and `frame`; what it has of `COLUMNS` is kept.
        mean: `(n,)` predictions in [0, 1].
        epistemic: `(n,)` variances.
        aleatoric: `(n,)`.
        n_frames: At most so many.
        gap_frames: A frame that is nearer than this to one of the same cell that is already in the queue is left out:
            the same moment is not shown twice. 1 for all frames.
        order: `(n,)` by which the frames are ordered, the highest first; by default `epistemic`.

    Returns:
        `rank` (from 1), `row` (place in `points`), the columns of the points, `mean`, `epistemic`, `aleatoric`,
        `says` (mode of the prediction, "uncertain" between them), and with labels `outcome` (TP, Uncertain, FN; ""
        where the label is unknown).

    Raises:
        ValueError: Columns missing; lengths differ; numbers that are none; counts below 1.
    """
    import pandas as pd

    require(points, ("cell", "frame"), "points")
    if min(n_frames, gap_frames) < 1:
        raise ValueError(f"n_frames, gap_frames: expected 1 or more, got {n_frames} and {gap_frames}")
    numbers = {"mean": mean, "epistemic": epistemic} | ({} if aleatoric is None else {"aleatoric": aleatoric})
    values = {name: np.asarray(one, float) for name, one in numbers.items()}
    for name, one in values.items():
        if one.shape != (len(points),) or not np.isfinite(one).all():
            raise ValueError(f"{name}: expected {len(points)} numbers, one for each row, got shape {one.shape} or NaN")
    labels = points["label"].to_numpy() if "label" in points else np.full(len(points), UNKNOWN, object)
    verdict = outcomes(np.asarray(mean), labels)
    cells, frames = points["cell"].astype(str).to_numpy(), points["frame"].to_numpy(int)
    taken, chosen = dict[str, list[int]](), list[int]()
    by = values["epistemic"] if order is None else np.asarray(order, float)
    for row in np.argsort(-by, kind="stable").tolist():
        if len(chosen) == n_frames:
            break
        own = taken.setdefault(cells[row], [])
        if all(abs(frames[row] - other) >= gap_frames for other in own):
            own.append(int(frames[row]))
            chosen.append(row)
    out = pd.DataFrame({"rank": np.arange(1, len(chosen) + 1), "row": np.array(chosen, int)})
    for name in COLUMNS:
        if name in points:
            out[name] = points[name].to_numpy()[chosen]
    for name, one in values.items():
        out[name] = one[chosen]
    predicted = np.asarray(mean)[chosen]
    out["says"] = np.where(predicted <= LOW, MODES[0], np.where(predicted >= HIGH, MODES[1], "uncertain"))
    if "label" in points:
        out["outcome"] = verdict[chosen]
    return out


def pages(
    table: pd.DataFrame,
    patches: ArrayLike,
    *,
    order: Sequence[int | None] | None = None,
    limits: Sequence[tuple[float, float]] | None = None,
    n_columns: int = 4,
    n_rows: int = 4,
    title: str = "Frames to look at first",
) -> Iterator[Figure]:
    """The sheet page by page; close each figure when it is no longer needed.

    Args:
        table: Of `queue`.
        patches: `(n, C, H, W)` of all rows of the points, such as `patches.load` gives: only those of the queue are
            read.
        order: As `figures.colours`.
        limits: As `figures.colours`, one scale for all pages; by default that of the queue's patches.
        n_columns: Pictures in a line.
        n_rows: Lines on a page.
        title: Above every page, with the page's number.

    Raises:
        ValueError: Columns missing; nothing to show; counts below 1; a row without patch.
    """
    require(table, ("rank", "row", "cell", "frame", "mean", "epistemic", "says"))
    if not len(table):
        raise ValueError("table: no frame is in the queue; predict some frames first")
    if min(n_columns, n_rows) < 1:
        raise ValueError(f"n_columns, n_rows: expected 1 or more, got {n_columns} and {n_rows}")
    rows = table["row"].to_numpy(int)
    n_patches = len(patches)  # type: ignore[arg-type]
    if rows.min() < 0 or rows.max() >= n_patches:
        raise ValueError(f"patches: expected one for each row up to {rows.max()}, got {n_patches}")
    own = np.stack([np.asarray(patches[row]) for row in rows.tolist()])  # type: ignore[index]
    limits = channel_limits(own) if limits is None else list(limits)
    return _pages(table, colours(own, order, limits), n_columns, n_rows, title)


def _pages(
    table: pd.DataFrame, pictures: NDArray[np.uint8], n_columns: int, n_rows: int, title: str
) -> Iterator[Figure]:  # fmt: skip
    import matplotlib.pyplot as plt

    per_page = n_columns * n_rows
    n_pages = -(-len(table) // per_page)
    side = min(2.2, 7.4 / n_columns)
    for page in range(n_pages):
        here = table.iloc[page * per_page : (page + 1) * per_page]
        lines = min(n_rows, -(-len(here) // n_columns))
        with style():
            figure = plt.figure(figsize=(side * n_columns + 0.4, (side + 0.62) * lines + 0.75))
            axes = figure.subplots(lines, n_columns, squeeze=False)
            for axis in axes.flat:
                bare(axis)
            for axis in axes.flat[len(here) :]:
                axis.set_visible(False)
            at = range(page * per_page, page * per_page + len(here))
            for axis, k, one in zip(axes.flat, at, here.to_dict("records"), strict=False):
                axis.imshow(pictures[k])
                _texts(axis, one, longest=int(side * 15))
            figure.suptitle(f"{title}, page {page + 1} of {n_pages}", fontsize=10)
            figure.supxlabel(
                f"prediction: 0 continuous, 1 discontinuous, uncertain from {LOW:g} to {HIGH:g}; "
                "SD: root of the epistemic variance",
                fontsize=7.5, color=FAINT,
            )  # fmt: skip
        yield figure


def _texts(axis: Axes, one: dict[Any, Any], longest: int) -> None:
    tail = f", frame {one['frame']}"
    where, room = f"{one['rank']}. {one['cell']}", max(8, longest - len(tail))
    where = where if len(where) <= room else where[: room - 1] + "…"
    axis.set_title(where + tail, fontsize=7.5, pad=3, loc="left")
    axis.set_xlabel(" \n ", fontsize=8)  # room for two lines, which may be wider than the picture
    says = f"{one['says']} {one['mean']:.2f}, SD {np.sqrt(one['epistemic']):.2f}"
    lines = [(says, MODE_COLOURS.get(one["says"], INK))]
    if "label" in one:
        outcome = one.get("outcome", "")
        colour = OUTCOME_COLOURS[outcome] if outcome in (OUTCOMES[0], OUTCOMES[2]) else FAINT
        lines.append((f"label {one['label']}" + (f": {outcome}" if outcome else ""), colour))
    at: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "fontsize": 7.5, "va": "top"}
    for k, (words, colour) in enumerate(lines):
        axis.annotate(words, (0, 0), (0, -3 - 10 * k), color=colour, **at).set_in_layout(False)
