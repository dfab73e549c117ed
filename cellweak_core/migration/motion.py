"""Modes from motion, for tracks that nobody labelled: how steadily and how straight a cell moves round each frame.

    frame     t-3 --- t-2 --- t-1 --- t --- t+1 --- t+2 --- t+3        2 w steps of a window of +-w frames, w = 3
    step s         s1      s2      s3    s4      s5      s6

    speed        mean of s                         px/frame
    burstiness   sd of s / mean of s               0 = even speed; bursts and pauses raise it
    persistence  |p(t+3) - p(t-3)| / sum of s      1 = straight on, 0 = back where it was

    jumps, missing frames:   o-o-o-o-o          o-o-o-o     no window reaches across: two stretches of one cell
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..files import DataError
from .labels import MODES, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

WINDOW = 3
JUMP = 3.0  # times the 95th percentile of all steps
# which mode a frame of more speed, more burstiness, more persistence has
MORE_IS = {"speed": MODES[0], "persistence": MODES[0], "burstiness": MODES[1]}
MEASURES = tuple(MORE_IS)


def jump_limit(points: pd.DataFrame, factor: float = JUMP) -> float:
    """The step beyond which a cell has jumped, px: a track that went over to another cell, or a stage that moved.

    The limit is the data's own: a multiple of the 95th percentile of all steps between neighbouring frames, so that
    bursts, which are a share of all steps, lie within it, and of the percentile's two neighbours the lower one, so that
    a single jump in few steps does not raise its own limit.

    Args:
        points: Of `data.Films`.
        factor: Times the percentile.

    Returns:
        The limit; infinite where nothing is there to compare with.
    """
    table = points.sort_values(["cell", "frame"])
    steps, _ = _steps(table)
    known = steps[np.isfinite(steps)]
    limit = factor * float(np.percentile(known, 95, method="lower")) if len(known) else 0.0
    return limit or np.inf


def jumps(points: pd.DataFrame, limit_px: float | None = None) -> pd.DataFrame:
    """Where tracks break: a step beyond the limit, or frames without a row.

    Args:
        points: Of `data.Films`.
        limit_px: As `jump_limit`, the data's own by default.

    Returns:
        A row for each break, by cell and frame: cell, frame (the first one after it), missing (frames without a row),
        step_px (NaN where frames are missing).
    """
    import pandas as pd

    limit = jump_limit(points) if limit_px is None else limit_px
    table = points.sort_values(["cell", "frame"])
    steps, missing = _steps(table)
    broken = (missing > 0) | (steps > limit)
    return pd.DataFrame({
        "cell": table["cell"].to_numpy()[broken], "frame": table["frame"].to_numpy()[broken],
        "missing": missing[broken], "step_px": steps[broken],
    })  # fmt: skip


def modes(
    points: pd.DataFrame,
    window: int = WINDOW,
    by: Sequence[str] = ("burstiness", "persistence"),
    quantile: float = 0.5,
    thresholds: Mapping[str, float] | None = None,
    jump_factor: float = JUMP,
) -> pd.DataFrame:
    """How each cell moves round each frame, and which mode that is.

    Not from the paper, whose labels are an expert's. A cell in the continuous mode glides evenly and straight, one in
    the discontinuous mode stands and bursts forth and wanders. The thresholds are the data's own: the median, by
    default, of each measure over all frames that have one, so that half of them lie on each side, whatever the cells,
    the pixels and the time between frames are. A frame has a mode where all of `by` agree on it: with the two defaults
    `discontinuous` is burstiness at or above its threshold and persistence below its own, `continuous` the reverse,
    and what they disagree on is unknown. One measure alone divides all frames in halves.

    A frame has measures where all frames of its window belong to one stretch of the track, without jump or gap. A cell
    that stands still has burstiness and persistence 0.

    Args:
        points: Of `data.Films`; rows in any order; labels in it are not looked at.
        window: w, frames to each side.
        by: Some of speed (more is continuous), persistence (likewise), burstiness (more is discontinuous).
        quantile: Of each measure, its threshold.
        thresholds: For each of `by`, instead of the quantile, such as those of the cells that a network learnt from.
        jump_factor: As `jump_limit`.

    Returns:
        As `points`, row for row and with its index: speed (px/frame), persistence (0 to 1), burstiness (0 or more),
        label; measures are NaN, and the label unknown, where there is no window. `.attrs` has `thresholds` (of all
        three measures, also those not in `by`), `window`, `by`, `jump_px`, `jumps` and `gaps` (how many), for `told`.

    Raises:
        ValueError: Another measure, a window below 1, or a quantile that is none.
        DataError: No frame has a window.
    """
    import pandas as pd

    unknown = [name for name in by if name not in MEASURES]
    if unknown or not by:
        raise ValueError(f"by: expected some of {', '.join(MEASURES)}, got {list(by)}")
    if window < 1 or not 0 < quantile < 1:
        raise ValueError(f"expected window of 1 or more and quantile between 0 and 1, got {window} and {quantile}")
    limit = jump_limit(points, jump_factor)
    order = np.lexsort((points["frame"], points["cell"]))
    table = points.iloc[order]
    steps, missing = _steps(table)
    breaks = ~np.isfinite(steps) | (steps > limit)  # also where a cell begins
    measured = np.full((len(points), len(MEASURES)), np.nan)
    xy = table[["x", "y"]].to_numpy(float)
    for one in np.split(np.arange(len(table)), np.flatnonzero(breaks)):
        if len(one) > 2 * window:
            measured[order[one[window:-window]]] = _measures(xy[one], steps[one[1:]], window)
    if np.isnan(measured).all():
        raise DataError(
            f"points: no cell is tracked for {2 * window + 1} frames in a row, as a window of {window} frames to each "
            "side needs; label frames by hand, or make the window smaller"
        )
    of_data = dict(zip(MEASURES, np.nanquantile(measured, quantile, axis=0).tolist(), strict=True))
    limits = {**of_data, **{name: float(value) for name, value in (thresholds or {}).items()}}
    out = pd.DataFrame(measured, columns=list(MEASURES), index=points.index)
    out["label"] = _labels(out, by, limits)
    out.attrs = {
        "thresholds": limits, "window": window, "by": tuple(by), "jump_px": limit,
        "jumps": int((steps > limit).sum()), "gaps": int((missing > 0).sum()),
    }  # fmt: skip
    return out


def labelled(points: pd.DataFrame, **options: object) -> pd.DataFrame:
    """Points whose labels are the modes of their motion.

    Args:
        points: Of `data.Films`.
        options: Of `modes`.

    Returns:
        A copy with the column label, new or replaced, and `modes`' `.attrs`.
    """
    found = modes(points, **options)  # type: ignore[arg-type]
    out = points.assign(label=found["label"])
    out.attrs = found.attrs
    return out


def directions(points: pd.DataFrame, lead: int = 3) -> Floats:
    """Where each cell goes next: how far from here it is `lead` frames later.

    Args:
        points: Of `data.Films`; rows in any order.
        lead: Frames ahead.

    Returns:
        `(n, 2)` px in x and y, row for row; NaN where the cell has no row in that frame, or a jump lies between: a step
        beyond `jump_limit`, or beyond as many times that as frames passed where some are missing on the way.

    Raises:
        ValueError: `lead` below 1.
    """
    import pandas as pd

    if lead < 1:
        raise ValueError(f"lead: expected 1 frame or more, got {lead}")
    order = np.lexsort((points["frame"], points["cell"]))
    xy = points[["x", "y"]].to_numpy(float)
    _, missing = _steps(points.iloc[order])
    moved = np.hypot(*np.diff(xy[order], axis=0, prepend=np.nan).T)
    jumped = np.empty(len(points), np.int64)
    jumped[order] = np.cumsum(moved > jump_limit(points) * (missing + 1))  # from cell to cell too, which cancels
    here = pd.MultiIndex.from_frame(points[["cell", "frame"]])
    there = here.get_indexer(pd.MultiIndex.from_arrays([points["cell"], points["frame"] + lead]))
    known = (there >= 0) & (jumped[there] == jumped)
    return np.where(known[:, None], xy[there] - xy, np.nan)


def told(found: pd.DataFrame) -> Iterator[str]:
    """How modes were found, in sentences.

    Args:
        found: Of `modes` or `labelled`.
    """
    facts = found.attrs
    labels = found["label"].value_counts()
    limits = ", ".join(
        f"{name} {facts['thresholds'][name]:.3g}{' px/frame' if name == 'speed' else ''}" for name in facts["by"]
    )
    yield f"modes from motion, windows of +-{facts['window']} frames; thresholds: {limits}"
    yield ", ".join(f"{labels.get(name, 0)} frames {name}" for name in (*MODES, UNKNOWN))
    if facts["jumps"] or facts["gaps"]:
        yield (
            f"tracks were split at {facts['jumps']} jumps (more than {facts['jump_px']:.3g} px from frame to frame) "
            f"and {facts['gaps']} gaps (frames without a row)"
        )


def _steps(table: pd.DataFrame) -> tuple[Floats, NDArray[np.int64]]:
    """Each row's distance from the row before, px, NaN where that is no neighbouring frame of the cell; frames missing.

    Args:
        table: Sorted by cell and frame.
    """
    moved = np.diff(table[["x", "y"]].to_numpy(float), axis=0, prepend=np.nan)
    since = np.diff(table["frame"].to_numpy(np.int64), prepend=0)
    same = (table["cell"] == table["cell"].shift()).to_numpy(bool)
    steps = np.where(same & (since == 1), np.hypot(moved[:, 0], moved[:, 1]), np.nan)
    return steps, np.where(same, since - 1, 0)


def _measures(xy: Floats, steps: Floats, window: int) -> Floats:
    """Speed, persistence and burstiness `(n - 2 w, 3)` of a stretch `(n, 2)` and its steps `(n - 1,)`."""
    windows = np.lib.stride_tricks.sliding_window_view(steps, 2 * window)
    speed = windows.mean(1)
    net = np.linalg.norm(xy[2 * window :] - xy[: -2 * window], axis=1)
    moves = np.where(speed > 0, speed, 1)  # a cell that stands still
    return np.stack([speed, net / (2 * window * moves), windows.std(1) / moves], 1)


def _labels(measures: pd.DataFrame, by: Sequence[str], limits: Mapping[str, float]) -> list[str]:
    votes = []  # +1 continuous, -1 discontinuous
    for name in by:
        sign = 1 if MORE_IS[name] == MODES[0] else -1
        votes.append(np.where(measures[name] >= limits[name], sign, -sign))
    agreed = np.where(measures[by[0]].notna(), np.sum(votes, 0), 0)
    return [MODES[0] if n == len(by) else MODES[1] if n == -len(by) else UNKNOWN for n in agreed.tolist()]
