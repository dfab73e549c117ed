"""The table of cells: read from a CSV file and checked against the films that it is about.

    cell (or id), frame, x, y [, label] [, sequence]  -->  sequence, cell "FILM/ID", frame (index), x, y [, label]

What is decided here, once:
- `frame` is the number in the frame's file name; in a stack, the index from 0. What comes back has indices.
- Labels may be written in any case; a row without one is unknown.
- Programs differ in where a pixel's middle is, and trackers predict a little beyond the border: a centroid up to a
  pixel outside the image is moved onto its border, one further out is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from ..tables import read_csv
from .film import Film
from .labels import MODES, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("sequence", "cell", "frame", "x", "y", "label")
SLACK_PX = 1.0  # how far outside the image a centroid may lie
MOST_NAMED = 10


def read_points(path: Path, films: Mapping[str, Film], others: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Reads and checks a table of cells.

    Args:
        path: CSV, `.gz` too; columns other than those of this module's drawing are left out.
        films: By name.
        others: Other names that the column `sequence` may give to films, such as those of files.

    Returns:
        As `data.Films.points`.

    Raises:
        DataError: No cells, a column missing, a film or frame that is not there, a word that is no label, a centroid
            outside the image or that is no number, two rows of one cell and frame; names the file and the line.
    """
    import pandas as pd

    text = {"cell": "str", "id": "str", "sequence": "str", "label": "str?"}
    table = read_csv(path, {"frame": "int", "x": "float", "y": "float"}, text)
    if not len(table):
        raise DataError(f"{path}: no cells at all, expected a row for each cell in each frame")
    name = next((name for name in ("cell", "id") if name in table), None)
    if name is None:
        raise DataError(f"{path}: column 'cell' is missing; expected cell (or id), frame, x, y and perhaps label")
    places = _Places(path, table)
    films_of = _films_of(table, films, others or {}, places)
    out = pd.DataFrame({"sequence": films_of, "cell": films_of + "/" + table[name].str.strip()})
    out["frame"] = _indices(table["frame"], films_of, films, places)
    out[["x", "y"]] = table[["x", "y"]]
    _place_inside(out, films, places)
    if "label" in table:
        out["label"] = _labels(table["label"], places)
    twice = out.duplicated(["cell", "frame"])
    if twice.any():
        at = int(twice.to_numpy().argmax())
        same = (out["cell"] == out["cell"][at]) & (out["frame"] == out["frame"][at])
        first = int(same.to_numpy().argmax())
        places.refuse(twice, f"this cell has a row for this frame already, line {first + 2}", "keep one of them")
    return out.sort_values(["cell", "frame"], ignore_index=True)


class _Places:
    """Names lines of the file in errors."""

    def __init__(self, path: Path, table: pd.DataFrame) -> None:
        self.path, self.table = path, table

    def refuse(self, bad: pd.Series | NDArray[np.bool_], what: str, fix: str) -> None:
        """Refuse the first of the bad rows."""
        if not bad.any():
            return
        row = self.table.iloc[at := int(np.asarray(bad).argmax())]
        cell = row["cell"] if "cell" in row else row.get("id", "")
        more = f", and {int(bad.sum()) - 1} more rows" if bad.sum() > 1 else ""
        where = f"{self.path}, line {at + 2} (cell {cell}, frame {row['frame']}, x {row['x']:g}, y {row['y']:g}{more})"
        raise DataError(f"{where}: {what}; {fix}")


def _films_of(table: pd.DataFrame, films: Mapping[str, Film], others: Mapping[str, str], places: _Places) -> pd.Series:
    """The film of each row."""
    import pandas as pd

    listed = ", ".join(sorted(films)[:MOST_NAMED]) + (" ..." if len(films) > MOST_NAMED else "")
    if "sequence" not in table:
        if len(films) > 1:
            raise DataError(
                f"{places.path}: no column sequence, and {len(films)} films ({listed}); add the column, or move images "
                "that are no films elsewhere"
            )
        return pd.Series(next(iter(films)), index=table.index)
    names = table["sequence"].str.strip()
    found = names.map({**others, **{name: name for name in films}})
    if (bad := found.isna()).any():
        first = names[bad].iloc[0]
        places.refuse(bad, f"there is no film {first!r}", f"the films are {listed}")
    return found.astype(str)


def _indices(frames: pd.Series, films_of: pd.Series, films: Mapping[str, Film], places: _Places) -> pd.Series:
    """Frame numbers to indices."""
    out = frames.copy()
    for name, film in films.items():
        mine = films_of == name
        index = {number: t for t, number in enumerate(film.numbers)}
        found = frames[mine].map(index)
        if (lost := found.isna()).any():
            low, high = film.numbers[0], film.numbers[-1]
            count = f"{len(film)} frame{'s' * (len(film) != 1)}, {low} to {high}"
            fix = "frame is the number in the frame's file name, and counts from 0 in a stack"
            for shift, says in ((1, "count from 1: subtract 1 from"), (-1, "count from 0: add 1 to")):
                if low <= frames[mine].min() - shift and frames[mine].max() - shift <= high:
                    fix += f". This table seems to {says} its column frame"
            bad = mine & ~frames.isin(list(index))
            what = f"there is no frame {int(frames[mine][lost].iloc[0])} in {name}, which has {count}"
            places.refuse(bad, what, fix)
        out[mine] = found
    return out.astype("int64")


def _place_inside(out: pd.DataFrame, films: Mapping[str, Film], places: _Places) -> None:
    """Refuses centroids outside their image and moves those on its rim onto the border, in place."""
    width, height = (out["sequence"].map({name: film.shape[k] for name, film in films.items()}) for k in (3, 2))
    x, y = out["x"], out["y"]
    places.refuse(~np.isfinite(x + y), "the centroid is not a number", "remove the row, or fill in where the cell is")
    low, high_x, high_y = -0.5 - SLACK_PX, width - 0.5 + SLACK_PX, height - 0.5 + SLACK_PX
    outside = (x < low) | (x > high_x) | (y < low) | (y > high_y)
    if outside.any():
        at = int(outside.to_numpy().argmax())
        fix = "x is the column and y the row, in pixels from the upper left corner"
        if x.max() < 1.5 and y.max() < 1.5:
            fix += "; are these fractions of the image's size?"
        elif ((y <= high_x) & (x <= high_y) & (x >= low) & (y >= low)).all():
            fix += "; with x and y exchanged all would lie inside"
        places.refuse(outside, f"outside the image of {width[at]}x{height[at]} pixels (X x Y)", fix)
    out["x"], out["y"] = x.clip(-0.5, width - 0.5), y.clip(-0.5, height - 0.5)


def _labels(text: pd.Series, places: _Places) -> pd.Series:
    """Labels in lower case, unknown where there is none."""
    words = (*MODES, UNKNOWN)
    labels = text.str.strip().str.lower()
    labels = labels.mask(labels == "", UNKNOWN)
    bad = ~labels.isin(words)
    if bad.any():
        found = str(text[bad].iloc[0])
        near = difflib.get_close_matches(found.lower(), words, n=1, cutoff=0.6)
        hint = f" ({near[0]!r}?)" if near else ""
        places.refuse(bad, f"{found!r} is no label{hint}", f"expected {', '.join(words)}, or nothing for unknown")
    return labels
