"""Tables to read: methods down, columns across, in each cell "paper | this run [interval]".

Made from rows of the one schema (`results`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def beside_paper(
    rows: pd.DataFrame, chapter: str, item: str, columns: Sequence[str] = (), digits: int | Mapping[str, int] = 3
) -> pd.DataFrame:
    """One published table beside a run.

    Args:
        rows: The run's.
        chapter: Whose published numbers.
        item: "Table 1".
        columns: Only these; none for all.
        digits: Behind the point; by column, and of all others under "".

    Returns:
        "method" and a column for each of the item's, in the paper's order, what only the run has behind; in a cell
        "paper | this run [interval]", "-" for a side without a number, "" where neither has a row. The last row, "n",
        is the run's n.

    Raises:
        ValueError: As `wide`.
    """
    from .results import beside_paper as joined

    both = joined(rows, chapter)
    both = both[both["item"] == item]
    if columns:
        both = both[both["column"].isin(columns)]
    numbers = both[["value_paper", "value_run", "low_run", "high_run"]].astype(float).to_numpy()
    of = {"": digits} if isinstance(digits, int) else digits
    shown = [of.get(column, of[""]) for column in both["column"]]
    texts = [f"{_printed(row[0], k)} | {_measured(row[1:], k)}" for row, k in zip(numbers, shown, strict=True)]
    return _readable(both.assign(text=texts, n=both["n_run"], data=both["data_run"]), item)


def wide(rows: pd.DataFrame, item: str, digits: int = 3) -> pd.DataFrame:
    """An item of a run alone: methods down and n last, columns across, "value [low, high]"; empty if it has none.

    Raises:
        ValueError: A method is called "n"; two rows of one method and column, as of two data sets.
    """
    import pandas as pd

    part = rows[rows["item"] == item]
    if not len(part):
        return pd.DataFrame({"method": []})
    numbers = part[["value", "low", "high"]].astype(float).to_numpy()
    return _readable(part.assign(text=[_measured(row, digits) for row in numbers]), item)


def _readable(rows: pd.DataFrame, item: str) -> pd.DataFrame:
    """Rows with `text` and `n` as a table in their order: methods down, and last the column's n, of several a range."""
    if (rows["row"] == "n").any():
        raise ValueError(f"{item}: a row is called 'n', as the table's last line is; give the method another name")
    if (twice := rows.duplicated(["row", "column"])).any():
        one = rows[twice].iloc[0]
        sets = f"of {', '.join(map(str, rows['data'].dropna().unique()))}" if "data" in rows else "of two data sets"
        raise ValueError(
            f"{item}: {one['row']}, {one['column']} is there twice, {sets}; give the rows of one data set at a time"
        )
    down, across = (list(dict.fromkeys(rows[name])) for name in ("row", "column"))
    table = rows.pivot(index="row", columns="column", values="text").loc[down, across]
    n = rows.dropna(subset="n").groupby("column")["n"].agg(["min", "max"]).astype(int)
    table.loc["n"] = [
        "" if c not in n.index else f"{low}" if (low := n["min"][c]) == (high := n["max"][c]) else f"{low} to {high}"
        for c in table.columns
    ]
    return table.fillna("").rename_axis(columns=None).reset_index().rename(columns={"row": "method"})


def _printed(value: float, digits: int) -> str:
    """The paper's number with the digits that it is printed with: .15 is not .1."""
    if not np.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" if round(value, digits) == value else f"{value:g}"


def _measured(numbers: NDArray[np.floating], digits: int) -> str:
    """Value, low and high of a run as "value [low, high]"."""
    value, low, high = numbers
    interval = f" [{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) and np.isfinite(high) else ""
    return (f"{value:.{digits}f}" if np.isfinite(value) else "-") + interval
