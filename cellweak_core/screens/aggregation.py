"""From many profiles to few: cells -> sites -> wells -> treatments, by mean or median.

The paper says mean, its notebook takes the median over sites; so the way is an argument, and whoever reports a number
says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError

from .checks import matrix

if TYPE_CHECKING:
    import pandas as pd

HOW = ("mean", "median")
TREATMENT = ("compound", "concentration")


def aggregate(
    features: ArrayLike, metadata: pd.DataFrame, by: Sequence[str], how: str = "mean"
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """One profile for each group of rows.

    Args:
        features: `(n, d)`.
        metadata: Row for row; the columns `by` and others.
        by: Columns that name a group, such as ("plate", "well").
        how: "mean" or "median".

    Returns:
        `(n_groups, d)` float64, and a table in the groups' order of first appearance: `by`, `n` (rows of the group),
        and every other column that has one value within each group.

    Raises:
        ValueError: Another way, or shapes that do not go together.
        DataError: A column of `by` is missing or empty in some row; values that are not numbers.
    """
    import pandas as pd

    if how not in HOW:
        raise ValueError(f"how: expected one of {', '.join(HOW)}, got {how!r}")
    x = matrix(features, "features", len(metadata))
    keys = metadata.reset_index(drop=True)
    for name in by:
        if name not in keys:
            raise DataError(f"metadata: column {name!r} is missing; found {', '.join(map(str, keys.columns))}")
        if keys[name].isna().any():
            row = int(keys[name].isna().to_numpy().argmax())
            raise DataError(f"metadata: column {name!r} is empty in row {row}; fill it or drop the row")
    groups = keys.groupby(list(by), sort=False)
    number = groups.ngroup().to_numpy()
    pooled = pd.DataFrame(x).groupby(number, sort=True)
    values = pooled.mean() if how == "mean" else pooled.median()
    table = groups.first().reset_index()
    others = [name for name in map(str, keys) if name not in by]
    alike = [name for name in others if (groups[name].nunique(dropna=False) <= 1).all()]
    return values.to_numpy(), table[[*by, *alike]].assign(n=groups.size().to_numpy())


def treatment_profiles(
    features: ArrayLike, metadata: pd.DataFrame, how: str = "mean"
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """One profile for each treatment (compound and concentration) that is no control, ready to be matched.

    Args:
        features: `(n, d)`, of wells or sites.
        metadata: `compound`, `concentration`, `batch`, `control` (bool) and perhaps `moa`.
        how: As `aggregate`.

    Returns:
        `(n_treatments, d)`, and their table: compound, concentration, batch (all of a treatment's batches, sorted, with
        commas between), n, moa. Where there is a column moa, treatments without one are left out: nobody knows what
        would be right for them.

    Raises:
        DataError: A treatment with two mechanisms, named; no treatment; as `aggregate`.
    """
    treated = ~metadata["control"].to_numpy(bool)
    if not treated.any():
        raise DataError("metadata: all profiles are controls, there is no treatment to match")
    if "moa" in metadata:
        treated &= metadata["moa"].notna().to_numpy()
    rows = metadata[treated].reset_index(drop=True)
    if not len(rows):
        raise DataError("metadata: no treatment has a mechanism (column moa)")
    values, table = aggregate(np.asarray(features)[treated], rows, TREATMENT, how)
    if "moa" in rows and "moa" not in table:
        several = rows.groupby(list(TREATMENT), sort=False)["moa"].nunique(dropna=False)
        compound, concentration = several.index[int((several > 1).to_numpy().argmax())]
        raise DataError(f"{compound} at {concentration}: two mechanisms (column moa); a treatment has one")
    treatments = rows.groupby(list(TREATMENT), sort=False)
    batches = treatments["batch"].agg(lambda names: ",".join(sorted(set(map(str, names)))))
    columns = [name for name in ("compound", "concentration", "moa", "n") if name in table]
    return values, table[columns].assign(batch=batches.to_numpy())
