"""From the mode that an expert wrote beside each frame to the confidence that a network is to learn.

    label   C  C  C  C  C  C  C  D  D  D  D  D                     0 = surely continuous, 1 = surely discontinuous
                                              . 1.0
                                           .
                                        . 0.8
                                     .
                                  . 0.6
    0.4  .                    .
            .              .
               .        .
                  .  .          0.2 at a half, for this run is followed by a switch: it would be 0 at its end otherwise
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

MODES = ("continuous", "discontinuous")
UNKNOWN = "unknown"
SWITCHING = "switching"  # of a whole cell that shows both modes
SURE, UNSURE = (0.0, 1.0), (0.4, 0.6)  # targets of the two modes at full confidence and without any
RUN_COLUMNS = ("cell", "label", "first", "last", "rows", "switch_before", "switch_after")


def runs(points: pd.DataFrame) -> pd.DataFrame:
    """Stretches in which a cell keeps one mode.

    Frames that are unknown, or have no row, end no run: nobody saw the cell behave otherwise. They belong to it where
    the same mode is on both sides.

    Args:
        points: Of `data.Films`, with labels; rows in any order.

    Returns:
        A row for each run, by cell and time: cell, label, first and last (frames with that label), rows (of that
        label), switch_before and switch_after (bool: whether another run of the cell lies there).

    Raises:
        ValueError: No labels, or another word among them.
    """
    import pandas as pd

    known = _known(points).sort_values(["cell", "frame"])
    starts = (known["cell"] != known["cell"].shift()) | (known["label"] != known["label"].shift())
    found = (
        known.assign(run=starts.cumsum())
        .groupby("run")
        .agg(cell=("cell", "first"), label=("label", "first"), first=("frame", "min"), last=("frame", "max"),
             rows=("frame", "size"))
        .reset_index(drop=True)
    )  # fmt: skip
    cells = found["cell"]
    found["switch_before"] = (cells == cells.shift()).astype(bool)
    found["switch_after"] = (cells == cells.shift(-1)).astype(bool)
    return pd.DataFrame(found, columns=list(RUN_COLUMNS))


def ramps(points: pd.DataFrame) -> NDArray[np.float64]:
    """What a network is to predict for each frame, in [0, 1]: an interpretation, since no formula was published.

    Gupta 2020, Sec. 3: confidence "increases over time when the cell behaves similarly throughout the sequence and
    decreases during switching behavior"; labels are linearly interpolated, continuous ones to 0..0.4, discontinuous
    ones to 0.6..1. Here, in a run of `runs` from frame a to frame b, with u = (t - a) / (b - a),

        c(t) = u                  no switch follows
        c(t) = 1 - |2 u - 1|      a switch follows: up to the middle of the run, and down again
        y(t) = 0.4 (1 - c)        continuous
        y(t) = 0.6 + 0.4 c        discontinuous

    Time counts in frames, so that frames without a label lie on the same line as their neighbours. A run of one frame
    tells nothing of time: c = 0.

    Args:
        points: Of `data.Films`, with labels; rows in any order.

    Returns:
        `(n,)` in the order of the rows, NaN where the label is unknown.

    Raises:
        ValueError: As `runs`.
    """
    known = _known(points)
    out = np.full(len(points), np.nan)
    if not len(known):
        return out
    found = runs(points)
    order = np.lexsort((known["frame"], known["cell"]))
    # runs are the rows in this order, one stretch after another
    of_run = np.repeat(np.arange(len(found)), found["rows"])
    first, last = found["first"].to_numpy(float)[of_run], found["last"].to_numpy(float)[of_run]
    along = (known["frame"].to_numpy(float)[order] - first) / np.maximum(last - first, 1)
    confidence = np.where(found["switch_after"].to_numpy()[of_run], 1 - np.abs(2 * along - 1), along)
    mode = (known["label"].to_numpy()[order] == MODES[1]).astype(int)
    unsure, sure = np.take(UNSURE, mode), np.take(SURE, mode)
    where = np.flatnonzero((points["label"] != UNKNOWN).to_numpy())
    out[where[order]] = unsure + (sure - unsure) * confidence
    return out


def hard(points: pd.DataFrame) -> NDArray[np.float64]:
    """What a network is to predict for each frame where its mode is all that is known: 0 continuous, 1 discontinuous.

    Deviation: migration modes from motion are taken as they are, 0 or 1: they flip every few frames, and ramps of runs
    so short would say 0.4 or 0.6 of nearly every frame.

    Takes, gives and refuses what `ramps` does.
    """
    _known(points)  # refuses other words
    return np.asarray(points["label"].map(dict(zip(MODES, SURE, strict=True))), np.float64)


def _known(points: pd.DataFrame) -> pd.DataFrame:
    """Rows whose mode is known."""
    if "label" not in points:
        raise ValueError("points: no column label; take modes from the motion (motion.labelled) where nobody wrote any")
    other = set(points["label"]) - {*MODES, UNKNOWN}
    if other:
        raise ValueError(f"points: expected labels {', '.join((*MODES, UNKNOWN))}, got {sorted(map(str, other))}")
    return points[points["label"] != UNKNOWN]
