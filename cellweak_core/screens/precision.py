"""Mean average precision: do profiles that should be alike come before those that should not?

    one profile's positives and negatives, by falling cosine:   +  -  +  -  -
    precision where a positive stands:                          1    2/3        average precision = mean = 5/6

    mean over the profiles of a mechanism (compound, ...) = its mAP;  p: how often lists in random order are better

Source: Kalinin et al. 2025 (copairs, which computes it: cosines, pairs, null and Benjamini-Hochberg correction).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cellweak_core.files import DataError

from .checks import codes, directions

if TYPE_CHECKING:
    import pandas as pd


def mean_average_precision(
    features: ArrayLike,
    metadata: pd.DataFrame,
    *,
    pos_sameby: Sequence[str] = ("moa",),
    pos_diffby: Sequence[str] = ("compound",),
    neg_sameby: Sequence[str] = (),
    neg_diffby: Sequence[str] = ("moa",),
    null_size: int = 10_000,
    threshold: float = 0.05,
    seed: int = 0,
) -> dict[str, Any]:
    """Precision (mAP) of every group of profiles that agree in `pos_sameby`, as copairs defines it.

    The defaults ask of treatments what NSC asks; `pos_diffby=("compound", "batch")` and `neg_diffby=("moa", "batch")`
    what NSCB does; `pos_sameby=("compound",)`, `pos_diffby=("plate",)` and `neg_diffby=("compound",)` ask whether wells
    are like their replicates on other plates. Two profiles that are neither positive nor negative are not compared.
    All pairs are held in memory: meant for thousands of profiles, not for single cells.

    Args:
        features: `(n, d)` float.
        metadata: Row for row, with the columns named.
        pos_sameby: Columns in which two profiles of a positive pair agree.
        pos_diffby: In all of which they differ.
        neg_sameby: Columns in which two profiles of a negative pair agree.
        neg_diffby: In all of which they differ.
        null_size: Lists in random order, for the p-values, which are at least 1 / (null_size + 1).
        threshold: Of the corrected p-value of a significant group.
        seed: Of the random lists.

    Returns:
        `mean_average_precision`: plain mean of the groups' mAP; `normalized`: the same of (AP - chance) / (1 - chance),
        0 for random order, 1 for perfect; `average_precision`: `(n,)`, NaN for profiles without a positive or without a
        negative, which are not asked; `total`: profiles asked; `n_groups` and `significant`: groups asked and those
        below `threshold`; `groups`: their table, with the columns of `pos_sameby`, `n`, `mean_average_precision`,
        `mean_normalized_average_precision`, `p_value` (copairs counts random lists that are strictly better, so that
        groups with hardly a negative look better than they are) and `corrected_p_value`.

    Raises:
        ValueError: Sizes that do not go together; no `pos_sameby` or `neg_diffby`; a column on both sides.
        DataError: Columns missing or empty; no positive pair (no replicate), no negative one (one mechanism); features
            that are not finite, or all zero in a row.
    """
    import copairs.map as copairs
    from copairs.matching import UnpairedException

    _check(pos_sameby, pos_diffby, neg_sameby, neg_diffby)
    if null_size < 1:
        raise ValueError(f"null_size: expected 1 or more, got {null_size}")
    unit = directions(features, len(metadata))
    coded, rules = _coded(metadata, pos_sameby, pos_diffby, neg_sameby, neg_diffby)
    try:
        profiles = copairs.average_precision(coded, unit, *rules, progress_bar=False)
    except UnpairedException as error:
        positive = "positive" in str(error)
        what = _in_words(pos_sameby, pos_diffby) if positive else _in_words(neg_sameby, neg_diffby)
        hint = "replicates or a second compound" if positive else "a second mechanism, or controls"
        raise DataError(f"metadata: no two of {len(unit)} profiles {what}; it takes {hint}") from error
    # A list of positives only has the precision 1 whatever the features: nothing was asked
    alone = profiles["n_pos_pairs"] == profiles["n_total_pairs"]
    profiles = profiles.assign(average_precision=profiles["average_precision"].mask(alone))
    total = int(profiles["average_precision"].notna().sum())
    if not total:
        raise DataError("metadata: no profile has both a positive and a negative; ask for less of either")
    # copairs keeps null distributions in the user's home, and takes one of another call for its own
    with tempfile.TemporaryDirectory() as cache:
        groups = copairs.mean_average_precision(
            profiles, rules[0], null_size, threshold, seed, progress_bar=False, cache_dir=cache
        )
    table = groups[rules[0]].rename(columns=dict(zip(rules[0], pos_sameby, strict=True)))
    for name in pos_sameby:
        table[name] = metadata[name].unique()[table[name].to_numpy(int)]
    numbers = ["mean_average_precision", "mean_normalized_average_precision", "p_value", "corrected_p_value"]
    table = table.assign(n=[len(rows) for rows in groups["indices"]], **{name: groups[name] for name in numbers})
    return {
        "mean_average_precision": float(table["mean_average_precision"].mean()),
        "normalized": float(table["mean_normalized_average_precision"].mean()),
        "average_precision": profiles["average_precision"].to_numpy(np.float64),
        "total": total,
        "n_groups": len(table),
        "significant": int(groups["below_corrected_p"].sum()),
        "groups": table,
    }


def _check(
    pos_sameby: Sequence[str], pos_diffby: Sequence[str], neg_sameby: Sequence[str], neg_diffby: Sequence[str]
) -> None:
    for what, same, different in (("pos", pos_sameby, pos_diffby), ("neg", neg_sameby, neg_diffby)):
        if any(isinstance(names, str) for names in (same, different)):
            raise ValueError(f"{what}_sameby and {what}_diffby: expected lists of columns, such as ['moa'], got a word")
        if both := sorted(set(same) & set(different)):
            raise ValueError(f"{what}_sameby and {what}_diffby: {', '.join(both)} cannot be alike and different")
    if not pos_sameby or not neg_diffby:
        raise ValueError(
            f"expected a column or more in pos_sameby and neg_diffby, got {list(pos_sameby)} and {list(neg_diffby)}"
        )


def _coded(metadata: pd.DataFrame, *rules: Sequence[str]) -> tuple[pd.DataFrame, list[list[str]]]:
    """The columns as numbers under plain names, which copairs writes into SQL, and the rules in these names."""
    import pandas as pd

    short = {name: f"column{k}" for k, name in enumerate(dict.fromkeys(name for rule in rules for name in rule))}
    coded = pd.DataFrame({plain: codes(metadata, name) for name, plain in short.items()})
    return coded, [[short[name] for name in rule] for rule in rules]


def _in_words(same: Sequence[str], different: Sequence[str]) -> str:
    said = [f"share {' and '.join(same)}"] if same else []
    return " and ".join([*said, *([f"differ in {' and '.join(different)}"] if different else [])])
