"""Does the nearest treatment have the same mechanism? Nearest neighbours that may not be near for a trivial reason.

    NSC    not the same compound              another concentration of one compound is no evidence
    NSCB   nor the same batch (week)          neither are two compounds that lay on one plate

    cosine similarity, a block of queries at a time; forbidden neighbours -inf; argmax --> its mechanism, right or wrong

Source: Ljosa et al. 2013 (NSC); Ando et al. 2017 (NSCB); Caicedo et al. 2018, Sec. 4.3 and Table 2; and the authors'
notebook (DeepProfilerExperiments, bbbc021/profiling-evaluation.ipynb), in which a treatment's batch is the text of all
its batches and two batches differ when these texts do.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import codes, directions

if TYPE_CHECKING:
    import pandas as pd

METRICS = {"NSC": "compound", "NSCB": "compound+batch"}  # what a neighbour may not share
EXCLUDE = tuple(METRICS.values())
UNMATCHED = ("drop", "keep")
BLOCK_BYTES = 256 * 2**20  # of similarities at a time


def match_treatments(
    features: ArrayLike,
    metadata: pd.DataFrame,
    exclude: str = "compound",
    unmatched: str = "drop",
) -> dict[str, Any]:
    """Share of treatments whose nearest allowed neighbour by cosine has the same mechanism.

    Args:
        features: `(n_treatments, n_features)` float.
        metadata: Row for row: `compound`, `moa`, and `batch` for "compound+batch".
        exclude: What a neighbour may not share with the query: "compound" (NSC) or "compound+batch" (NSCB: it must
            differ in both).
        unmatched: Treatments that no allowed neighbour shares a mechanism with cannot be right. They are not asked;
            "drop" takes them out of the neighbours too (Caicedo 2018: 92 treatments of BBBC021), "keep" leaves them
            in as distractors (the Google line).

    Returns:
        `correct` and `total`: treatments asked; `accuracy`: their quotient; `accuracy_over_compounds`: the plain mean
        over compounds of each compound's accuracy (as CytoGAN counts); `predicted`: `(n_treatments,)` the
        neighbour's mechanism, None where a treatment was not asked; `neighbour`: `(n_treatments,)` its row, -1 there;
        `right`: `(n_treatments,)` int8, 1 right, 0 wrong, -1 not asked. With nothing to ask accuracies are NaN.

    Raises:
        ValueError: Unknown words; arrays that do not go together.
        DataError: Columns missing or empty; features that are not finite, or all zero in a row: cosine has no
            direction there. Names the row.
    """
    if exclude not in EXCLUDE:
        raise ValueError(f"exclude: expected one of {', '.join(EXCLUDE)}, got {exclude!r}")
    if unmatched not in UNMATCHED:
        raise ValueError(f"unmatched: expected one of {', '.join(UNMATCHED)}, got {unmatched!r}")
    unit = directions(features, len(metadata))
    compound, moa = codes(metadata, "compound"), codes(metadata, "moa")
    apart = [compound] if exclude == "compound" else [compound, codes(metadata, "batch")]
    asked = has_partner(moa, *apart)
    neighbour = np.full(len(unit), -1)
    candidates = np.flatnonzero(asked) if unmatched == "drop" else np.arange(len(unit))
    neighbour[asked] = nearest(unit, np.flatnonzero(asked), candidates, *apart)[0][:, 0]
    is_right = asked & (moa[neighbour] == moa)
    texts = metadata["moa"].astype(str).to_numpy(object)
    total, correct = int(asked.sum()), int(is_right.sum())
    n_of, right_of = (np.bincount(compound[rows], minlength=compound.max(initial=-1) + 1) for rows in (asked, is_right))
    per_compound = right_of[n_of > 0] / n_of[n_of > 0]
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total if total else float("nan"),
        "accuracy_over_compounds": float(per_compound.mean()) if total else float("nan"),
        "predicted": np.where(asked, texts[neighbour], None),
        "neighbour": neighbour,
        "right": np.where(asked, is_right, -1).astype(np.int8),
    }


def has_partner(truth: NDArray[np.int64], *apart: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether some row agrees with each in `truth` and differs from it in all of `apart`.

    Counted, not compared pair by pair: rows that agree in truth, less those that agree in one of `apart` too, and so on
    with signs that alternate (inclusion and exclusion).

    Args:
        truth: `(n,)`.
        apart: `(n,)` each; one or more.

    Returns:
        `(n,)`.
    """
    partners = np.zeros(len(truth), np.int64)
    if not len(truth):
        return partners > 0
    for size in range(len(apart) + 1):
        for some in combinations(apart, size):
            _, inverse, counts = np.unique(np.stack([truth, *some]), axis=1, return_inverse=True, return_counts=True)
            partners += (-1) ** size * counts[inverse.ravel()]
    return partners > 0


def nearest(
    unit: NDArray[np.float64],
    queries: NDArray[np.int64],
    candidates: NDArray[np.int64],
    *apart: NDArray[np.int64],
    k: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `k` nearest allowed rows of each query by cosine, a block of queries at a time.

    Args:
        unit: `(n, d)`, of length 1, as `checks.directions` gives them.
        queries: `(n_queries,)` rows.
        candidates: `(n_candidates,)` rows that may be neighbours.
        apart: `(n,)` each: a neighbour differs from the query in all of them. One of them tells all rows apart, or a
            row is its own neighbour.
        k: How many.

    Returns:
        Rows `(n_queries, k)`, nearest first, of equals the earlier candidate, and cosines; -1 and -inf where fewer than
        `k` are allowed.
    """
    rows = np.full((len(queries), k), -1)
    cosines = np.full((len(queries), k), -np.inf)
    pool = unit if np.array_equal(candidates, np.arange(len(unit))) else unit[candidates]
    per_block = max(1, BLOCK_BYTES // (8 * max(1, len(candidates))))
    for start in range(0, len(queries) if len(candidates) else 0, per_block):
        block = queries[start : start + per_block]
        similarity = unit[block] @ pool.T
        for key in apart:
            similarity[key[block, None] == key[candidates]] = -np.inf
        order = (
            similarity.argmax(1)[:, None] if k == 1 else np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        )  # fmt: skip
        found = np.take_along_axis(similarity, order, axis=1)
        here = slice(start, start + len(block)), slice(order.shape[1])
        rows[here], cosines[here] = np.where(found > -np.inf, candidates[order], -1), found
    return rows, cosines
