"""What every step asks of the numbers it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError

if TYPE_CHECKING:
    import pandas as pd


def matrix(values: ArrayLike, what: str, n_rows: int = -1, n_features: int = 0) -> NDArray[np.float64]:
    """Numbers `(n, n_features)` as float64.

    Args:
        values: The table.
        what: Names it in errors.
        n_rows: That it must have; -1 for any.
        n_features: That it must have; 0 for any.

    Raises:
        ValueError: Not two axes of numbers, or another number of rows.
        DataError: Another number of features, or values that are not finite; names the first.
    """
    x = np.asarray(values)
    if x.ndim != 2 or x.dtype.kind not in "fiu" or n_rows not in (-1, len(x)):
        rows = "n" if n_rows < 0 else n_rows
        raise ValueError(f"{what}: expected numbers ({rows}, n_features), got {x.dtype} of shape {x.shape}")
    if n_features and x.shape[1] != n_features:
        raise DataError(f"{what}: {x.shape[1]} features, fitted on {n_features}; give the same ones in the same order")
    finite = np.isfinite(x)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise DataError(
            f"{what}: {int((~finite).sum())} values are not numbers, the first in row {row}, feature {column}; leave "
            "out those features or rows"
        )
    return x.astype(np.float64)


def names(values: ArrayLike, what: str, n: int) -> NDArray[np.object_]:
    """One name for each of `n` rows, none of them empty.

    Raises:
        ValueError: Another number of names.
        DataError: An empty one (None or NaN).
    """
    import pandas as pd

    found = np.asarray(values, object)
    if found.shape != (n,):
        raise ValueError(f"{what}: expected ({n},), one for each profile, got shape {found.shape}")
    empty = np.asarray(pd.isna(found), bool)
    if empty.any():
        raise DataError(f"{what}: row {int(empty.argmax())} has none; fill it or leave the row out")
    return found


def codes(metadata: pd.DataFrame, name: str, needed: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """A column as whole numbers from 0 on, in the order of first appearance.

    Args:
        metadata: Has the column.
        name: Its name.
        needed: `(n,)` rows that must not be empty; all where None. Other empty ones are -1.

    Returns:
        `(n,)`.

    Raises:
        DataError: There is no such column, or it is empty in a row that is needed.
    """
    import pandas as pd

    if name not in metadata:
        raise DataError(f"metadata: column {name!r} is missing; found {', '.join(map(str, metadata.columns))}")
    found, _ = pd.factorize(metadata[name])
    empty = found < 0 if needed is None else (found < 0) & needed
    if empty.any():
        raise DataError(f"metadata: column {name!r} is empty in row {int(empty.argmax())}; fill it or drop the row")
    return found.astype(np.int64)


def directions(features: ArrayLike, n: int, needed: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Profiles of length 1, whose products are cosines.

    Args:
        features: `(n, d)`.
        n: Rows that there must be.
        needed: `(n,)` rows that must have a direction; all where None. Others of length 0 stay 0.

    Returns:
        `(n, d)` float64, at any size: nearest neighbours of profiles far from 0 differ in the last digits of their
        cosines.

    Raises:
        ValueError: As `matrix`.
        DataError: As `matrix`; a row that is needed is all zero.
    """
    values = matrix(features, "features", n)
    length = np.linalg.norm(values, axis=1)
    zero = length == 0
    lost = zero if needed is None else zero & needed
    if lost.any():
        raise DataError(f"features: row {int(lost.argmax())} is all zero; no neighbour is nearest by angle")
    return values / np.where(zero, 1, length)[:, None]


def well_of(row: pd.Series) -> str:
    """Where a row of metadata is, for people: " (plate P, well W)", as far as it says."""
    known = [f"{name} {row[name]}" for name in ("plate", "well") if name in row]
    return f" ({', '.join(known)})" if known else ""


def require_plan(plan: Any, what: str, least: Mapping[str, float]) -> None:  # noqa: ANN401 - any named tuple
    """Refuse a plan of a simulated screen with a number that is none, too small, or a count that is not whole.

    Args:
        plan: A named tuple of numbers; those whose default is whole are counts.
        what: Names it in the error.
        least: Of its numbers; where it does not say, 1 for counts and 0 for others.

    Raises:
        ValueError: Names every such number, what it is and what was expected.
    """
    wrong = []
    for name, value in plan._asdict().items():
        is_count = isinstance(plan._field_defaults[name], int)
        low = least.get(name, 1 if is_count else 0)
        kinds = (int, np.integer) if is_count else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < low:
            wrong.append(f"{name} is {value}, expected a {'whole ' if is_count else ''}number of {low:g} or more")
    if wrong:
        raise ValueError(f"{what}: {'; '.join(wrong)}")
