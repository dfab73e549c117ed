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

from .checks import matrix, well_of

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
        commas between), n, moa. Where there is a column moa, a row without one has that of the others of its treatment,
        and treatments without any are left out: nobody knows what would be right for them.

    Raises:
        DataError: A treatment with two mechanisms, both named with a well of each; no treatment; as `aggregate`.
    """
    treated = ~metadata["control"].to_numpy(bool)
    if not treated.any():
        raise DataError("metadata: all profiles are controls, there is no treatment to match")
    rows, values = metadata[treated].reset_index(drop=True), np.asarray(features)[treated]
    if "moa" in rows:
        rows = rows.assign(moa=mechanisms_of_treatments(rows))
        known = rows["moa"].notna().to_numpy()
        if not known.any():
            raise DataError("metadata: no treatment has a mechanism (column moa)")
        rows, values = rows[known].reset_index(drop=True), values[known]
    values, table = aggregate(values, rows, TREATMENT, how)
    treatments = rows.groupby(list(TREATMENT), sort=False)
    batches = treatments["batch"].agg(lambda names: ",".join(sorted(set(map(str, names)))))
    columns = [name for name in ("compound", "concentration", "moa", "n") if name in table]
    return values, table[columns].assign(batch=batches.to_numpy())


def mechanisms_of_treatments(rows: pd.DataFrame) -> pd.Series:
    """The mechanism (`moa`) of each row's treatment, `(n,)`; empty where none of its rows has one.

    Args:
        rows: Treated: `compound`, `concentration`, `moa`, and perhaps plate and well.

    Raises:
        DataError: A treatment with two mechanisms, both named with a well of each.
    """
    mechanisms = rows.groupby(list(TREATMENT), sort=False, dropna=False)["moa"]
    several = (mechanisms.transform("nunique") > 1).to_numpy()
    if several.any():
        number = mechanisms.ngroup().to_numpy()
        of = rows[number == number[several.argmax()]].dropna(subset="moa").drop_duplicates("moa")
        first = of.iloc[0]
        own = " and ".join(f"{row['moa']}{well_of(row)}" for _, row in of.head(3).iterrows())
        raise DataError(
            f"{first['compound']} at {first['concentration']}: {len(of)} mechanisms (column moa), {own}; a treatment "
            "has one"
        )
    return mechanisms.transform("first")
