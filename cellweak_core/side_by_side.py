"""Tables to read: methods down, columns across, in each cell "paper | this run [interval]".

Drawn from rows of the one schema (`results`); every chapter shows its numbers this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def beside_paper(
    rows: pd.DataFrame, chapter: str, item: str, columns: Sequence[str] = (), digits: int = 3
) -> pd.DataFrame:
    """One published table beside a run.

    Args:
        rows: The run's.
        chapter: Whose published numbers.
        item: "Table 1".
        columns: Only these; none for all.
        digits: Behind the point.

    Returns:
        Rows and columns in the paper's order, what only the run has behind; the last row is the run's n.
    """
    from .published import load
    from .results import beside_paper as joined

    both = joined(rows, chapter)
    both = both[both["item"] == item]
    printed = load(chapter)
    printed = printed[(printed["item"] == item) & (printed["kind"] == "result")]
    if columns:
        both, printed = (table[table["column"].isin(columns)] for table in (both, printed))
    numbers = both[["value_paper", "value_run", "low_run", "high_run"]].astype(float).to_numpy()
    texts = [_cell(row, digits) for row in numbers]
    down, across = (list(dict.fromkeys([*printed[name], *both[name]])) for name in ("row", "column"))
    return _readable(both.assign(text=texts, n=both["n_run"]), down, across)


def wide(rows: pd.DataFrame, item: str, digits: int = 3) -> pd.DataFrame:
    """An item of a run alone: methods down and n last, columns across, "value [low, high]"."""
    import pandas as pd

    part = rows[rows["item"] == item]
    if not len(part):
        return pd.DataFrame({"method": []})
    numbers = part[["value", "low", "high"]].astype(float).to_numpy()
    texts = [_cell(np.array([np.nan, *row]), digits).removeprefix("- | ") for row in numbers]
    return _readable(part.assign(text=texts), *(list(dict.fromkeys(part[name])) for name in ("row", "column")))


def _readable(rows: pd.DataFrame, down: Sequence[str], across: Sequence[str]) -> pd.DataFrame:
    """Rows with `text` and `n` as a table, methods down and the column's n last, of which there may be several."""
    table = rows.pivot(index="row", columns="column", values="text").loc[list(down), list(across)]
    n = rows.dropna(subset="n").groupby("column")["n"].agg(["min", "max"]).astype(int)
    table.loc["n"] = [
        "" if c not in n.index else f"{low}" if (low := n["min"][c]) == (high := n["max"][c]) else f"{low} to {high}"
        for c in table.columns
    ]
    return table.fillna("").rename_axis(columns=None).reset_index().rename(columns={"row": "method"})


def _cell(numbers: NDArray[np.floating], digits: int) -> str:
    paper, value, low, high = numbers
    # What is printed keeps its digits: .15 is not .1
    left = (f"{paper:.{digits}f}" if round(paper, digits) == paper else f"{paper:g}") if np.isfinite(paper) else "-"
    right = f"{value:.{digits}f}" if np.isfinite(value) else "-"
    if np.isfinite(low) and np.isfinite(high):
        right += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{left} | {right}"
