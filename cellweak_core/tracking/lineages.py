r"""Tables of cells as arrays: which row is the same cell in the frame before, and which row is its mother.

    frame   0      1      2      3
    cell 1  *------*                        previous: the row one frame earlier, -1 for none
    cell 2          \----*------*           (parent 1) its first row's previous is the mother's last
    cell 3  *-------------------*           not seen in frames 1 and 2: no link joins 0 and 3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.files import DataError

from .matching import Bools, Floats, Ints

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Positions:
    """Rows of a table.

    Attributes:
        frame: `(n,)`.
        xy: `(n, 2)` x, y in px.
    """

    frame: Ints
    xy: Floats


@dataclass(frozen=True)
class Lineages(Positions):
    """Rows of a table of cells, sorted by frame and id so that the table's order is of no account, and their links.

    Attributes:
        ids: `(n_cells,)` rising ids; a cell's code is its place here.
        cell: `(n,)` code of each row's cell.
        parent: `(n_cells,)` code of the mother, -1 for none.
        previous: `(n,)` row of the same cell one step earlier; on a daughter's first row that of her mother; else -1.
        divided: `(n,)` whether `previous` is the mother.
        n_gaps: Pairs of successive rows of a cell, or of mother and daughter, that lie farther apart than one step.
        order: `(n,)` rows by cell and frame.
    """

    ids: Ints
    cell: Ints
    parent: Ints
    previous: Ints
    divided: Bools
    n_gaps: int
    order: Ints

    def rows_of(self, cell: Ints, frame: Ints) -> Ints:
        """`(k,)` rows in which the cells with these codes are in these frames, -1 where they are not."""
        return _rows_of(self.frame, self.cell, self.order, cell, frame)


def read_positions(table: pd.DataFrame, name: str) -> Positions:
    """Frames and positions of a table with the columns frame, x, y.

    Args:
        table: Any order of rows; no rows are no cells.
        name: Names the table in errors.

    Raises:
        DataError: A column is missing, a frame that is no whole number, a position that is not finite.
    """
    missing = [column for column in ("frame", "x", "y") if column not in table]
    if missing:
        raise DataError(f"{name}: columns {missing} are missing; expected frame, x, y, found {list(table.columns)}")
    frame = _whole_numbers(table, "frame", name)
    xy = np.column_stack([table[c].to_numpy(np.float64, na_value=np.nan) for c in ("x", "y")])
    bad = ~np.isfinite(xy).all(1)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{name}, row {row} (frame {frame[row]}): position {xy[row].tolist()}; remove the row")
    return Positions(frame, xy)


def read_lineages(table: pd.DataFrame, name: str, frame_step: int = 1, strict: bool = True) -> Lineages:
    """Cells, mothers and links of a table with the columns frame, id, x, y and perhaps parent.

    `parent` may stand on every row of a daughter or on her first only. A number below 0, an empty cell and, where no
    cell has the id 0, 0 mean none.

    Args:
        table: Any order of rows.
        name: Names the table in errors.
        frame_step: Frames from one to the next, where frames were left out and the others keep their numbers.
        strict: Whether a parent that is the cell itself or is not there is an error; else it is no parent. In any
            case a cell that is there from the first frame may name a mother that is not: she divided before.

    Raises:
        DataError: As `read_positions`; an id that is no whole number or twice in a frame, two parents of one cell, or
            see `strict`; names the rows.
        ValueError: Frames that are not `frame_step` apart.
    """
    if "id" not in table:
        found = list(table.columns)
        raise DataError(f"{name}: column 'id' is missing; expected frame, id, x, y, parent, found {found}")
    places = read_positions(table, name)
    if not frame_step >= 1:
        raise ValueError(f"frame_step: expected at least 1, got {frame_step}")
    odd = (places.frame - places.frame[:1]) % frame_step != 0
    if odd.any():
        raise ValueError(
            f"frame_step={frame_step}: {name} has rows in frames {places.frame[0]} and {places.frame[odd.argmax()]}; "
            "keep frames of that distance only"
        )
    ids, cell = np.unique(_whole_numbers(table, "id", name), return_inverse=True)
    row = np.lexsort((cell, places.frame))
    frame, xy, cell = places.frame[row], places.xy[row], cell[row]
    order = np.argsort(cell, kind="stable")
    same, apart = np.diff(cell[order]) == 0, np.diff(frame[order])
    twice = same & (apart == 0)
    if twice.any():
        pair = order[twice.argmax() :][:2]
        first, second = sorted(row[pair].tolist())
        raise DataError(
            f"{name}, rows {first} and {second}: id {ids[cell[pair[0]]]} twice in frame {frame[pair[0]]} "
            f"(and {int(twice.sum()) - 1} more); one cell has one position in a frame"
        )
    previous = np.full(len(frame), -1, np.int64)
    linked = same & (apart == frame_step)
    previous[order[1:][linked]] = order[:-1][linked]
    firsts = np.concatenate([[True], ~same])[: len(frame)]
    parent = _parents(table, name, ids, (row, cell, frame), order, np.flatnonzero(firsts), strict)
    daughters = np.flatnonzero(parent >= 0)
    born = order[firsts][daughters]
    mother = _rows_of(frame, cell, order, parent[daughters], frame[born] - frame_step)
    previous[born] = mother
    divided = np.zeros(len(frame), bool)
    divided[born] = mother >= 0
    n_gaps = int((same & (apart > frame_step)).sum() + (mother < 0).sum())
    return Lineages(frame, xy, ids, cell, parent, previous, divided, n_gaps, order)


def _parents(
    table: pd.DataFrame, name: str, ids: Ints, rows: tuple[Ints, Ints, Ints], order: Ints, starts: Ints, strict: bool
) -> Ints:
    """`(n_cells,)` code of each cell's mother, -1 for none; `rows` are their numbers in the table, cells and frames."""
    if "parent" not in table or not len(ids):
        return np.full(len(ids), -1, np.int64)
    row, cell, frame = rows
    named = np.maximum(_whole_numbers(table, "parent", name, empty=-1), -1)[row]
    if not (ids == 0).any():
        named[named == 0] = -1
    mother = np.maximum.reduceat(named[order], starts)  # the id, per cell
    code = np.searchsorted(ids, mother).clip(max=len(ids) - 1)
    absent, itself = (mother >= 0) & (ids[code] != mother), mother == ids
    born = order[starts]
    none = "; if 0 means none, write -1" if (ids == 0).any() else ""
    checks = [((named >= 0) & (named != mother[cell]), named, "other rows of this cell name another parent; keep one")]
    if strict:
        late = absent & (frame[born] > frame.min())
        checks += [
            (itself[cell], mother[cell], f"a cell is not its own parent; write the mother's id, or -1 for none{none}"),
            (late[cell], mother[cell], f"the parent has no row; add her rows, or write -1 for none{none}"),
        ]
    for bad, number, what in checks:
        if bad.any():
            at = int(bad.argmax())
            place = f"{name}, row {row[at]} (frame {frame[at]}, id {ids[cell[at]]}, parent {number[at]})"
            raise DataError(f"{place}: {what}")
    return np.where((mother < 0) | absent | itself, -1, code)


def _rows_of(frame: Ints, cell: Ints, order: Ints, wanted_cell: Ints, wanted_frame: Ints) -> Ints:
    """Rows of cells in frames, from rows in the `order` of cell and frame; -1 where there is none or no cell (-1)."""
    if not len(frame):
        return np.full(len(wanted_cell), -1, np.int64)
    low, high = int(frame.min()), int(frame.max())
    span = high - low + 1
    keys = (cell * span + (frame - low))[order]
    wanted = wanted_cell * span + (wanted_frame - low)
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    there = (keys[at] == wanted) & (wanted_frame >= low) & (wanted_frame <= high) & (wanted_cell >= 0)
    return np.where(there, order[at], -1)


def _whole_numbers(table: pd.DataFrame, column: str, name: str, empty: int | None = None) -> Ints:
    """A column as int64; empty cells become `empty` where it is given."""
    values = table[column].to_numpy()
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    try:
        numbers = table[column].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: column {column!r}: expected whole numbers, found {values.dtype}: {error}") from error
    if empty is not None:
        numbers = np.where(np.isnan(numbers), empty, numbers)
    bad = ~(np.isfinite(numbers) & (numbers == np.round(numbers)))
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{name}, row {row}, column {column!r}: expected a whole number, found {values[row]}")
    return numbers.astype(np.int64)
