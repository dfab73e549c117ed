"""Replicate and gene accuracy: is the nearest well a replicate, is the nearest construct of the same gene?

    wells      --nearest on another plate-->  the same construct?       replicate accuracy
    constructs (mean of wells) --nearest-->   the same gene?            gene accuracy

Source: Caicedo et al. 2018, Sec. 4.2 and Table 1, which define both in words only; no code for them was released. What
they leave open (wells without a replicate elsewhere, genes of one construct) is the argument `unmatched` here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError
from cellweak_core.uncertainty import group_weights, percentile_interval

from . import matching
from .aggregation import aggregate
from .checks import codes, directions, matrix

if TYPE_CHECKING:
    import pandas as pd

UNMATCHED = (*matching.UNMATCHED, "ask")


def replicate_accuracy(features: ArrayLike, metadata: pd.DataFrame, unmatched: str = "ask") -> dict[str, Any]:
    """Share of wells whose nearest well by cosine on another plate is of the same compound (or construct, variant).

    Args:
        features: `(n_wells, n_features)` float.
        metadata: Row for row: `compound`, `plate`, and perhaps `control` (bool): controls are neither asked nor
            anyone's neighbour.
        unmatched: Of wells without a replicate on another plate, which cannot be right: "ask" counts them as wrong,
            "keep" does not ask them but leaves them in as distractors, "drop" takes them out.

    Returns:
        `correct`, `total` (wells asked) and `accuracy`, their quotient, NaN with nothing to ask; `predicted`:
        `(n_wells,)` the neighbour's compound, None where a well was not asked; `neighbour`: `(n_wells,)` its row, -1
        there; `right`: `(n_wells,)` int8, 1 right, 0 wrong, -1 not asked.

    Raises:
        ValueError: Another word for `unmatched`; arrays that do not go together.
        DataError: Columns missing or empty; fewer than two plates; features that are not finite, or all zero in the row
            of a treated well.
    """
    treated = _treated(metadata)
    unit = directions(features, len(metadata), treated)
    compound, plate = codes(metadata, "compound", treated), codes(metadata, "plate", treated)
    if (n := len(np.unique(plate[treated]))) < 2:
        raise DataError(f"metadata: {n} plates with treated wells, expected two or more; a replicate lies on another")
    return _asked(unit, compound, plate, treated, metadata["compound"], unmatched)


def gene_accuracy(features: ArrayLike, metadata: pd.DataFrame, unmatched: str = "keep") -> dict[str, Any]:
    """Share of constructs whose nearest other construct by cosine has the same gene.

    Args:
        features: `(n_wells, n_features)` float; a construct is the mean of its wells.
        metadata: Row for row: `compound` (the construct), `gene`, and perhaps `control` (bool): controls are left out,
            and need no gene.
        unmatched: Of constructs that are the only one of their gene, as `replicate_accuracy`.

    Returns:
        As `replicate_accuracy`, row for row with `constructs`, their table (`compound`, `gene`, `n` wells and what else
        is one construct's own); `predicted` is the neighbour's gene.

    Raises:
        ValueError: Another word for `unmatched`; arrays that do not go together.
        DataError: Columns missing or empty; a construct of several genes, named; no treated well; features that are not
            finite, or all zero for a construct.
    """
    treated = _treated(metadata)
    if not treated.any():
        raise DataError("metadata: all wells are controls, there is no construct to match")
    x = matrix(features, "features", len(metadata))
    codes(metadata, "compound", treated), codes(metadata, "gene", treated)
    values, table = aggregate(x[treated], metadata[treated], ("compound",))
    if "gene" not in table:
        genes = metadata[treated].groupby("compound", sort=False)["gene"].unique()
        several = genes[genes.map(len) > 1]
        own = ", ".join(map(str, several.iloc[0]))
        raise DataError(f"{several.index[0]}: several genes, {own} (column gene); a construct has one")
    construct = np.arange(len(table))
    unit = directions(values, len(table))
    found = _asked(unit, codes(table, "gene"), construct, construct >= 0, table["gene"], unmatched)
    return {**found, "constructs": table}


def accuracy_interval(
    predicted: ArrayLike, truth: ArrayLike, groups: ArrayLike, n_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of an accuracy over whole groups: the doses of a compound are no independent evidence.

    Neighbours stay those that were found; what is resampled is who is asked.

    Args:
        predicted: `(n,)` as `match_treatments` or this module return it; None where nothing was asked.
        truth: `(n,)` mechanism, compound or gene of each.
        groups: `(n,)` compound (or gene) of each.
        n_resamples: Bootstrap resamples.
        seed: Seed of the draw.

    Returns:
        `(low, high)` in [0, 1]; NaN with nothing asked. All right or all wrong gives an interval without width, as
        every resample is the same.

    Raises:
        ValueError: Lengths that differ.
    """
    said, true, group = (np.asarray(values, object).ravel() for values in (predicted, truth, groups))
    if not len(said) == len(true) == len(group):
        raise ValueError(f"expected one truth and group for each of {len(said)} rows, got {len(true)} and {len(group)}")
    asked = np.array([one is not None for one in said], bool)
    if not asked.any():
        return float("nan"), float("nan")
    # `predicted` is text, whatever the table's names are
    right = said[asked].astype(str) == true[asked].astype(str)
    weights = group_weights(group[asked].astype(str), n_resamples, seed)
    return percentile_interval(weights @ right / weights.sum(1))


def _treated(metadata: pd.DataFrame) -> NDArray[np.bool_]:
    return ~metadata["control"].to_numpy(bool) if "control" in metadata else np.ones(len(metadata), bool)


def _asked(
    unit: NDArray[np.float64],
    truth: NDArray[np.int64],
    apart: NDArray[np.int64],
    allowed: NDArray[np.bool_],
    texts: pd.Series,
    unmatched: str,
) -> dict[str, Any]:
    """The nearest allowed row that differs in `apart`, and whether it agrees in `truth`."""
    if unmatched not in UNMATCHED:
        raise ValueError(f"unmatched: expected one of {', '.join(UNMATCHED)}, got {unmatched!r}")
    matched = np.zeros(len(unit), bool)
    matched[allowed] = matching.has_partner(truth[allowed], apart[allowed])
    queries = np.flatnonzero(allowed if unmatched == "ask" else matched)
    neighbour = np.full(len(unit), -1)
    candidates = np.flatnonzero(matched if unmatched == "drop" else allowed)
    neighbour[queries] = matching.nearest(unit, queries, candidates, apart)[0][:, 0]
    asked = neighbour >= 0  # a lone construct has no other at all
    is_right = asked & (truth[neighbour] == truth)
    total, correct = int(asked.sum()), int(is_right.sum())
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total if total else float("nan"),
        "predicted": np.where(asked, texts.astype(str).to_numpy(object)[neighbour], None),
        "neighbour": neighbour,
        "right": np.where(asked, is_right, -1).astype(np.int8),
    }
