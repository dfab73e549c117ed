"""Cell positions from a CSV file, checked against the frames they belong to.

```
frame,x,y[,id,parent]  --read_points-->  frame (index), x, y [, id, parent (-1 = none)], sorted by frame
```
What is decided here, once:
- `frame` is the number in the frame's file name; in a stack, the index from 0. The table that comes back has indices.
- Rows may come in any order. An id whose frames have a gap is one cell that was not annotated in between.
- A position may lie up to half a pixel outside, since programs differ in where a pixel's centre is; it is moved onto
  the border.
- Two cells may share a position where they have ids (a warning says where); without ids it is one cell twice, an error.
- `parent` may stand on every row of a daughter or on her first only. -1, an empty cell and, where no cell has the id
  0, 0 mean none. A cell that is there from the first frame may name a parent that is not in the table: its mother
  divided before, and it comes back without a parent.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.tables import read_csv

if TYPE_CHECKING:
    import pandas as pd

    from cellweak_core.tracking.frames import FrameSource

SLACK_PX = 0.5  # how far outside a position may lie


def read_points(path: str | Path, source: FrameSource | None = None) -> pd.DataFrame:
    """Reads and checks a table of positions.

    Args:
        path: CSV (`.gz` too) with the columns frame, x, y in pixels and perhaps id and parent; others are left out.
        source: the frames they belong to; without it frames keep their numbers and positions are not compared with
            an image.

    Returns:
        As `check_points`.

    Raises:
        DataError: as `tables.read_csv` and `check_points`; names the file and the line.
    """
    table = read_csv(path, {"frame": "int", "x": "float", "y": "float"}, {"id": "int", "parent": "int?"})
    return check_points(
        table,
        None if source is None else len(source),
        None if source is None else source.shape,
        numbers=None if source is None else source.numbers,
        where=str(path),
        first_line=2,
    )


def check_points(
    table: pd.DataFrame,
    n_frames: int | None = None,
    shape: tuple[int, int] | None = None,
    *,
    numbers: Sequence[int] | None = None,
    where: str = "points",
    first_line: int = 0,
) -> pd.DataFrame:
    """Checks positions and brings them into the form that the wing works with.

    Args:
        table: columns frame, x, y and perhaps id and parent; not changed.
        n_frames: the number of frames there are.
        shape: (Y, X) of the frames.
        numbers: the frames' numbers, to which `frame` refers; 0..n_frames-1 by default.
        where: names the table in errors.
        first_line: of the first row in the file.

    Returns:
        Columns frame (int64, index), id (int64), x, y (float64), parent (int64, -1 = none, the same on all rows of a
        cell), sorted by frame and id; without ids frame, x, y only, sorted by frame.

    Raises:
        DataError: no positions; a frame that is not there; a position outside the image or not a number; a position
            or an id twice in one frame; ids below 0; parents without ids, or a parent that is the cell itself, not
            there, not the same on all rows, or still there when the daughter starts.
    """
    missing = [name for name in ("frame", "x", "y") if name not in table]
    if missing:
        raise DataError(f"{where}: columns {missing} are missing; expected frame, x, y and perhaps id, parent")
    if not len(table):
        raise DataError(f"{where}: no cells at all, expected a row for each cell in each frame")
    names = [name for name in ("frame", "id", "x", "y", "parent") if name in table]
    if "parent" in names and "id" not in names:
        raise DataError(f"{where}: a column parent but no column id; add the ids that it refers to, or remove it")
    kept = table[names].reset_index(drop=True)
    places = _Places(where, first_line)
    kept["frame"] = kept["frame"].astype("int64")
    kept[["x", "y"]] = kept[["x", "y"]].astype("float64")
    places.refuse(~np.isfinite(kept[["x", "y"]].to_numpy()).all(1), kept, "position is not a number", "remove the row")
    _number_frames(kept, n_frames, numbers, places)
    shared = kept.duplicated(["frame", "x", "y"])  # before two of them meet on the rim
    if shape is not None:
        _place_inside(kept, shape, places)
    if "id" not in kept:
        places.refuse(shared, kept, "the same position twice in one frame", "remove one of the rows")
        return kept.sort_values("frame", kind="stable", ignore_index=True)
    kept["id"] = kept["id"].astype("int64")
    places.refuse(kept["id"] < 0, kept, "id below 0", "number the cells from 0 or 1")
    places.refuse(
        kept.duplicated(["frame", "id"]),
        kept,
        "the same id twice in one frame",
        "one cell has one position in a frame: give the other cell an id of its own",
    )
    kept["parent"] = _parents(kept, places)
    if shared.any():
        warnings.warn(
            f"{places.of(shared, kept)}: another cell of that frame has the same position; both are kept",
            CellweakWarning,
            stacklevel=2,
        )
    return kept.sort_values(["frame", "id"], ignore_index=True)[["frame", "id", "x", "y", "parent"]]


def has_links(points: pd.DataFrame | None) -> bool:
    """Whether any cell is known to be the same in two frames."""
    return points is not None and "id" in points and bool(points["id"].duplicated().any())


def part_of_points(
    points: pd.DataFrame,
    frames: Sequence[int] | range | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> pd.DataFrame:
    """The positions in some of the frames, or in a region of them, as `FrameSource.part` takes them.

    Args:
        points: as `check_points` returns them.
        frames: rising indices of the frames that stay, all by default; they are numbered anew from 0.
        region: (top, bottom, left, right) in pixels, bottom and right not included; positions count from its corner.

    Returns:
        Columns as `points`; a parent that has no row left becomes -1.
    """
    kept = points
    if region is not None:
        top, bottom, left, right = region
        inside = kept["x"].between(left, right, "left") & kept["y"].between(top, bottom, "left")
        kept = kept[inside]  # before assigning: an empty table would take the rows of what it is assigned
        kept = kept.assign(x=kept["x"] - left, y=kept["y"] - top)
    if frames is not None:
        index = {int(t): i for i, t in enumerate(frames)}
        kept = kept[kept["frame"].isin(list(index))]
        kept = kept.assign(frame=kept["frame"].map(index).astype("int64"))
    if "parent" in kept:
        kept = kept.assign(parent=kept["parent"].where(kept["parent"].isin(kept["id"].unique()), -1))
    return kept.reset_index(drop=True)


class _Places:
    """Names rows of a table in errors, their frames as the person numbers them."""

    def __init__(self, where: str, first_line: int) -> None:
        self.where, self.first_line = where, first_line
        self.numbers: Sequence[int] | None = None  # of the frames, once the table holds indices

    def frame(self, frame: int) -> int:
        return frame if self.numbers is None else self.numbers[frame]

    def of(self, bad: pd.Series | np.ndarray, table: pd.DataFrame) -> str:
        at = int(np.asarray(bad).argmax())
        row = table.iloc[at]
        cell = f", id {int(row['id'])}" if "id" in table else ""
        line = f"line {at + self.first_line}" if self.first_line else f"row {at}"
        more = int(np.asarray(bad).sum()) - 1
        position = f"x {row['x']:g}, y {row['y']:g}"
        return f"{self.where}, {line} (frame {self.frame(int(row['frame']))}{cell}, {position}" + (
            f"; and {more} more rows)" if more else ")"
        )

    def refuse(self, bad: pd.Series | np.ndarray, table: pd.DataFrame, what: str, fix: str) -> None:
        if np.asarray(bad).any():
            raise DataError(f"{self.of(bad, table)}: {what}; {fix}")


def _number_frames(table: pd.DataFrame, n_frames: int | None, numbers: Sequence[int] | None, places: _Places) -> None:
    """Frame numbers to indices, in place."""
    if numbers is None and n_frames is None:
        places.refuse(table["frame"] < 0, table, "frame below 0", "number the frames from 0")
        return
    numbers = range(n_frames or 0) if numbers is None else numbers
    index = {int(number): t for t, number in enumerate(numbers)}
    found = table["frame"].map(index)
    if found.isna().any():
        lowest, highest = int(table["frame"].min()), int(table["frame"].max())
        first, last = min(index), max(index)
        fix = "frame is the number in the frame's file name, and counts from 0 in a stack"
        apart = numbers[1] - numbers[0] if len(index) > 1 else 1
        if apart == 1:
            for shift, says in ((1, "count from 1: subtract 1 from"), (-1, "count from 0: add 1 to")):
                if lowest - shift >= first and highest - shift <= last:
                    fix += f". This table seems to {says} its column frame"
        if (apart != 1 or first > 1) and 0 <= lowest and highest < len(index):
            fix += f". This table seems to count the files from 0: file k has the number {first} + {apart} * k"
        elif apart != 1:
            fix += f". The files' numbers are {apart} apart"
        places.refuse(
            found.isna(), table, f"there is no such frame, they are {first} to {last} ({len(index)} frames)", fix
        )
    table["frame"], places.numbers = found.astype("int64"), numbers


def _place_inside(table: pd.DataFrame, shape: tuple[int, int], places: _Places) -> None:
    """Refuses positions outside the image and moves those on its rim onto it, in place."""
    height, width = shape
    x, y = table["x"], table["y"]
    # the rim of [-0.5, X - 0.5), where pixel 0 has its centre at 0, and of [0, X], where it begins there
    outside = (x < -SLACK_PX) | (x > width) | (y < -SLACK_PX) | (y > height)
    if outside.any():
        fix = "x is the column and y the row, in pixels, from the upper left corner"
        if x.max() <= height and y.max() <= width and min(x.min(), y.min()) >= -SLACK_PX:
            fix += "; with x and y exchanged all would lie inside: exchange them, or the axes of the images (axes)"
        elif x.max() < 1.5 and y.max() < 1.5:
            fix += "; are these fractions of the image's size?"
        places.refuse(outside, table, f"outside the image of {width}x{height} pixels (X x Y)", fix)
    table["x"], table["y"] = x.clip(0, width - 1), y.clip(0, height - 1)


def _parents(table: pd.DataFrame, places: _Places) -> pd.Series:
    """Each row's parent, spread over the rows of its cell and checked."""
    import pandas as pd

    if "parent" not in table:
        return pd.Series(-1, index=table.index, dtype="int64")
    named = table["parent"].fillna(-1).astype("int64")
    ids = table["id"]
    spans = table.groupby("id")["frame"].agg(["min", "max"])
    if 0 not in spans.index:
        named = named.where(named != 0, -1)
    highest = named.groupby(ids).transform("max")
    places.refuse(
        (named >= 0) & (named != highest), table, "another parent than on other rows of this cell", "keep one"
    )
    fix = "; if 0 means none, write -1" if 0 in spans.index and bool((highest == 0).any()) else ""
    parent = highest.where(highest >= 0, -1)
    places.refuse(parent == ids, table, "a cell that is its own parent", f"write the mother's id, or -1 for none{fix}")
    start = ids.map(spans["min"])
    absent = (parent >= 0) & ~parent.isin(spans.index)
    before = absent & (start == table["frame"].min())
    odd = absent & ~before
    if odd.any():
        wrong = int(parent[odd].iloc[0])
        places.refuse(odd, table, f"the parent {wrong} has no row", "add the mother's rows, or write -1 for none")
    parent = parent.mask(before, -1)
    late = (parent >= 0) & (parent.map(spans["max"]) >= start)
    if late.any():
        at = int(late.to_numpy().argmax())
        mother = int(parent.iloc[at])
        last, begins = places.frame(int(spans["max"][mother])), places.frame(int(start.iloc[at]))
        places.refuse(
            late,
            table,
            f"the parent {mother} is still there in frame {last}, and this daughter starts in frame {begins}",
            f"a mother ends before her daughters start: end her track earlier or start the daughter later{fix}",
        )
    return parent
