"""What networks are to learn of a data set's frames: from an expert's labels, or from how the cells move.

    labels, or motion --modes--> label of each frame --ramps, or hard--> target in [0, 1], NaN where nobody knows

Deviation: migration modes from motion are learnt as they are, 0 or 1 (`labels.hard`), where an expert's labels are
ramps: they flip every few frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from .labels import MODES, UNKNOWN, hard, ramps
from .motion import MEASURES, MORE_IS, modes, told

if TYPE_CHECKING:
    import pandas as pd

SOURCES = ("labels", "motion")
TARGETS = ("ramps", "hard")


class Supervision(NamedTuple):
    """What is learnt.

    Attributes:
        points: With the column label, whatever its source.
        targets: `(n,)` in [0, 1], NaN where the label is unknown.
        source: "labels" or "motion".
        kind: "ramps" or "hard".
        measures: Of `motion.modes`, row for row; None where modes are not from motion.
        said: How modes were found, in sentences.
    """

    points: pd.DataFrame
    targets: NDArray[np.float64]
    source: str
    kind: str
    measures: pd.DataFrame | None
    said: tuple[str, ...]


def supervised(
    points: pd.DataFrame,
    modes_from: str = "",
    targets: str = "",
    *,
    window: int = 3,
    by: Sequence[str] = ("burstiness", "persistence"),
    quantile: float = 0.5,
) -> Supervision:
    """Modes and targets of all frames.

    Args:
        points: Of `data.Films`.
        modes_from: "labels" or "motion"; "" takes labels where there are any.
        targets: "ramps" (`labels.ramps`) or "hard" (`labels.hard`); "" takes ramps of an expert's labels and hard
            targets of modes from motion.
        window: As `motion.modes`.
        by: As `motion.modes`.
        quantile: As `motion.modes`.

    Raises:
        ValueError: Another word; as `motion.modes`.
        DataError: No label where labels are asked for, no mode, or one mode only; as `motion.modes`.
    """
    if modes_from not in ("", *SOURCES) or targets not in ("", *TARGETS):
        raise ValueError(
            f"expected modes_from {', '.join(SOURCES)} or nothing and targets {', '.join(TARGETS)} or nothing, got "
            f"{modes_from!r} and {targets!r}"
        )
    has_labels = "label" in points
    if modes_from == "labels" and not has_labels:
        raise DataError("the table of cells has no column label; add it, or take modes from motion (modes_from)")
    source = modes_from or ("labels" if has_labels else "motion")
    measures, found, said = None, points, tuple[str, ...]()
    if source == "motion":
        measures = modes(points, window, by, quantile)
        found = points.assign(label=measures["label"])
        said = tuple(told(measures))
    counts = found["label"].value_counts()
    fix = (
        "label some frames of both modes, or take modes from motion (-p modes_from motion)" if source == "labels" else
        "label frames by hand, or take other measures or another quantile (-p motion_by, -p motion_quantile)"
    )  # fmt: skip
    if not (counts.get(MODES[0], 0) or counts.get(MODES[1], 0)):
        raise DataError(f"all {len(found)} frames are unknown; {fix}")
    for own, other in (MODES, MODES[::-1]):
        if not counts.get(own, 0):
            unknown = counts.get(UNKNOWN, 0)
            raise DataError(f"frames: {counts[other]} {other}, {unknown} unknown and no {own} one; {fix}")
    kind = targets or ("ramps" if source == "labels" else "hard")
    of = ramps(found) if kind == "ramps" else hard(found)
    return Supervision(found, of, source, kind, measures, said)


def measured(points: pd.DataFrame, weak: Supervision, **options: Any) -> pd.DataFrame | None:  # noqa: ANN401
    """Measures of motion, also where an expert's labels are learnt: to look at, and to hold beside the labels.

    Args:
        points: Of `data.Films`.
        weak: Of `supervised`.
        options: Of `motion.modes`.

    Returns:
        Of `motion.modes`; with the expert's labels in the column label where those are learnt. None where no cell is
        tracked for as long as a window.
    """
    if weak.measures is not None:
        return weak.measures
    try:
        found = modes(points, **options)
    except DataError:
        return None
    found["motion"] = found["label"]
    return found.assign(label=weak.points["label"])


def agreement(expert: ArrayLike, found: pd.DataFrame) -> dict[str, float]:
    """How modes from motion go together with an expert's labels, on frames where both are known.

    Args:
        expert: `(n,)` labels.
        found: Of `motion.modes`, row for row; or of `measured`, whose column motion is taken then.

    Returns:
        `n` (frames), `kappa` (Cohen's); of each measure `n MEASURE`, and under its name the AUROC by itself for telling
        the expert's modes, above .5 where it goes the way `motion.modes` takes it; NaN where there is nothing to
        compare.
    """
    from sklearn.metrics import cohen_kappa_score, roc_auc_score

    labels, own = np.asarray(expert, object), found["motion" if "motion" in found else "label"].to_numpy()
    known = labels != UNKNOWN
    both = known & (own != UNKNOWN)
    out: dict[str, float] = {"n": int(both.sum()), "kappa": float("nan")}
    if len(set(labels[both]) | set(own[both])) > 1:
        out["kappa"] = float(cohen_kappa_score(labels[both].astype(str), own[both].astype(str)))
    for name in MEASURES:
        at = known & found[name].notna().to_numpy()
        discontinuous = labels[at] == MODES[1]
        sign = 1 if MORE_IS[name] == MODES[1] else -1
        defined = len(set(discontinuous.tolist())) > 1
        out[f"n {name}"] = int(at.sum())
        out[name] = float(roc_auc_score(discontinuous, sign * found[name][at])) if defined else float("nan")
    return out
