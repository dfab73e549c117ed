"""Does the nearest treatment have the same mechanism? Nearest neighbours that may not be near for a trivial reason.

    NSC    not the same compound              another concentration of one compound is no evidence
    NSCB   nor the same batch (week)          neither are two compounds that lay on one plate

    cosine similarity, a block of queries at a time; forbidden neighbours -inf; argmax --> its mechanism, right or wrong

Source: Ljosa et al. 2013 (NSC); Ando et al. 2017 (NSCB); Caicedo et al. 2018, Sec. 4.3 and Table 2; and the authors'
notebook (DeepProfilerExperiments, bbbc021/profiling-evaluation.ipynb), in which a treatment's batch is the text of all
its batches and two batches differ when these texts do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError

from .checks import matrix

if TYPE_CHECKING:
    import pandas as pd

EXCLUDE = ("compound", "compound+batch")
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
        neighbour's mechanism, None where a treatment was not asked; `neighbour`: `(n_treatments,)` its row, -1 there.
        With nothing to ask accuracies are NaN.

    Raises:
        ValueError: Unknown words; arrays that do not go together.
        DataError: Columns missing or empty; features that are not finite, or all zero in a row: cosine has no
            direction there. Names the row.
    """
    if exclude not in EXCLUDE:
        raise ValueError(f"exclude: expected one of {', '.join(EXCLUDE)}, got {exclude!r}")
    if unmatched not in UNMATCHED:
        raise ValueError(f"unmatched: expected one of {', '.join(UNMATCHED)}, got {unmatched!r}")
    unit = _directions(features, len(metadata))
    compound, moa = _codes(metadata, "compound"), _codes(metadata, "moa")
    batch = _codes(metadata, "batch") if exclude == "compound+batch" else None
    asked = _has_partner(compound, moa, batch)
    candidates = np.flatnonzero(asked) if unmatched == "drop" else np.arange(len(unit))
    neighbour = np.full(len(unit), -1)
    queries, pool = np.flatnonzero(asked), unit if len(candidates) == len(unit) else unit[candidates]
    per_block = max(1, BLOCK_BYTES // (8 * max(1, len(candidates))))
    for start in range(0, len(queries), per_block):
        rows = queries[start : start + per_block]
        similarity = unit[rows] @ pool.T
        similarity[compound[rows, None] == compound[candidates]] = -np.inf
        if batch is not None:
            similarity[batch[rows, None] == batch[candidates]] = -np.inf
        neighbour[rows] = candidates[similarity.argmax(1)]
    right = asked & (moa[neighbour] == moa)
    texts = metadata["moa"].astype(str).to_numpy(object)
    predicted = np.where(asked, texts[neighbour], None)
    total, correct = int(asked.sum()), int(right.sum())
    n_of, right_of = (np.bincount(compound[rows], minlength=compound.max(initial=-1) + 1) for rows in (asked, right))
    per_compound = right_of[n_of > 0] / n_of[n_of > 0]
    return {
        "correct": correct,
        "total": total,
        "accuracy": correct / total if total else float("nan"),
        "accuracy_over_compounds": float(per_compound.mean()) if total else float("nan"),
        "predicted": predicted,
        "neighbour": neighbour,
    }


def _directions(features: ArrayLike, n: int) -> NDArray[np.float64]:
    values = matrix(features, "features", n)
    length = np.linalg.norm(values, axis=1)
    if (length == 0).any():
        raise DataError(f"features: row {int((length == 0).argmax())} is all zero; no neighbour is nearest by angle")
    # float64 at any size: nearest neighbours of profiles far from 0 differ in the last digits of their cosines
    return values / length[:, None]


def _codes(metadata: pd.DataFrame, name: str) -> NDArray[np.int64]:
    import pandas as pd

    if name not in metadata:
        raise DataError(f"metadata: column {name!r} is missing; found {', '.join(map(str, metadata.columns))}")
    codes, _ = pd.factorize(metadata[name])
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        raise DataError(f"metadata: column {name!r} is empty in row {row}; fill it or drop the row")
    return codes.astype(np.int64)


def _has_partner(
    compound: NDArray[np.int64], moa: NDArray[np.int64], batch: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Whether some treatment of the same mechanism is an allowed neighbour: counted, not compared pair by pair."""

    def same(*keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many rows agree with each row in all keys, itself included."""
        _, inverse, counts = np.unique(np.stack(keys), axis=1, return_inverse=True, return_counts=True)
        return counts[inverse.ravel()]

    if not len(compound):
        return np.zeros(0, bool)
    partners = same(moa) - same(moa, compound)
    if batch is not None:
        partners = partners - same(moa, batch) + same(moa, compound, batch)
    return partners > 0
