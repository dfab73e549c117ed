"""Errors and verdicts frame by frame, per sequence and per mode, with intervals that resample whole sequences.

    0 ---- continuous ---- 0.4 ~~ uncertain ~~ 0.6 -- discontinuous -- 1       prediction, y_hat
    a continuous frame:   TP  |    Uncertain    |        FN
    a discontinuous one:  FN  |    Uncertain    |        TP

A sequence is one cell's, as in the paper. Frames of unknown mode have no verdict and no target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..uncertainty import group_weights, percentile_interval
from .labels import MODES, SWITCHING, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
LOW, HIGH = 0.4, 0.6  # both belong to the modes: 0.4 is continuous, 0.6 discontinuous (Sec. 3 and 4)
OUTCOMES = ("TP", "Uncertain", "FN")
ERRORS = ("MAE", "MSE")


class Estimate(NamedTuple):
    """A number with its interval, and what it rests on."""

    value: float
    low: float
    high: float
    n_frames: int
    n_cells: int


def outcomes(mean: ArrayLike, modes: ArrayLike) -> NDArray[np.object_]:
    """TP, Uncertain or FN of each frame (Sec. 4, para 2).

    TP: in the range of the frame's own mode; FN: in the other's; Uncertain: between them. The ranges are closed:
    0.4 and 0.6 belong to the modes (the text says 0.41 to 0.59 in Sec. 3, 0.4 to 0.6 in Sec. 4).

    Args:
        mean: `(n,)` predictions in [0, 1]; 0 is continuous, 1 discontinuous.
        modes: `(n,)` of `labels.MODES`, or `labels.UNKNOWN`.

    Returns:
        `(n,)` of `OUTCOMES`; "" for a frame of unknown mode.

    Raises:
        ValueError: Lengths differ; another word; a prediction that is not in [0, 1].
    """
    predicted, named = _predictions(mean), _modes(modes)
    _same_length(mean=predicted, modes=named)
    # compared in the predictions' own type: a 0.4 in float32 is a little more than 0.4 in float64
    as_continuous, as_discontinuous = predicted <= LOW, predicted >= HIGH
    own = np.where(named == MODES[0], as_continuous, as_discontinuous)
    verdict = np.where(own, "TP", np.where(as_continuous | as_discontinuous, "FN", "Uncertain")).astype(object)
    verdict[named == UNKNOWN] = ""
    return verdict


def mode_of_cells(modes: ArrayLike, cells: ArrayLike) -> dict[str, str]:
    """By cell: the mode of all its known frames, `SWITCHING` where it has both, `labels.UNKNOWN` where it has none."""
    named, groups = _modes(modes), np.asarray(cells).astype(str)
    _same_length(modes=named, cells=groups)
    found = {cell: set[str]() for cell in dict.fromkeys(groups.tolist())}
    for cell, mode in zip(groups.tolist(), named.tolist(), strict=True):
        found[cell] |= {mode} - {UNKNOWN}
    return {cell: SWITCHING if len(own) > 1 else min(own, default=UNKNOWN) for cell, own in found.items()}


def per_sequence(
    mean: ArrayLike, targets: ArrayLike, modes: ArrayLike, cells: ArrayLike, **parts: ArrayLike
) -> pd.DataFrame:
    """Errors and shares of verdicts of every sequence: the points and bars of Fig. 1a.

    `MSE = (1/n) sum_k (y_hat_k - y_k)^2` over the n frames of known mode; frames of unknown mode are left out, as in
    the paper, and so are sequences without any other.

    Args:
        mean: `(n,)` predictions in [0, 1].
        targets: `(n,)` of `labels.ramps`; NaN where the mode is unknown.
        modes: `(n,)` mode of each frame.
        cells: `(n,)` cell of each frame.
        **parts: More numbers `(n,)` of each frame, such as `epistemic`, whose mean over the same frames is kept.

    Returns:
        `cell`, `mode` (of the whole sequence), `n` (frames), `MAE`, `MSE`, `TP`, `Uncertain`, `FN` (shares of n, in
        [0, 1]), and the parts; in the order in which cells first come.

    Raises:
        ValueError: Lengths differ; a known frame without target; numbers outside [0, 1]; no known frame at all.
    """
    import pandas as pd

    predicted, named, groups = _predictions(mean), _modes(modes), np.asarray(cells).astype(str)
    wanted = np.asarray(targets, float)
    more = {name: np.asarray(values, float) for name, values in parts.items()}
    _same_length(mean=predicted, targets=wanted, modes=named, cells=groups, **more)
    known = named != UNKNOWN
    _check_targets(wanted, known)
    if not known.any():
        raise ValueError("modes: every frame is of unknown mode; label some frames, or take the modes from motion")
    verdict = outcomes(predicted, named)
    error = np.where(known, predicted - wanted, np.nan)
    frames = pd.DataFrame({
        "cell": groups, "n": 1, "MAE": np.abs(error), "MSE": error**2, **{o: verdict == o for o in OUTCOMES}, **more,
    })[known]  # fmt: skip
    mean_of = frames.drop(columns="n").astype(dict.fromkeys(OUTCOMES, float)).groupby("cell", sort=False).mean()
    out = mean_of.reset_index()
    out.insert(1, "mode", out["cell"].map(mode_of_cells(named, groups)))
    out.insert(2, "n", out["cell"].map(frames["cell"].value_counts()).astype(int))
    return out


def over_sequences(
    table: pd.DataFrame, columns: Sequence[str] = ("MSE", *OUTCOMES), n_resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Mean and standard deviation over sequences, each counted once, and an interval of the mean.

    Args:
        table: Of `per_sequence`.
        columns: Which of its numbers.
        n_resamples: Resamples of whole sequences.
        seed: The same sequences are drawn for every call with it and as many sequences.

    Returns:
        One row for each: `column`, `value`, `sd` (with n - 1), `low`, `high` (95 % of the resampled means), `n`
        (sequences). NaN of no sequence; no interval of one.
    """
    import pandas as pd

    n = len(table)
    weights = group_weights(np.arange(n), n_resamples, seed) if n else np.zeros((n_resamples, 0))
    rows = []
    for column in columns:
        values = table[column].to_numpy(float)
        low, high = percentile_interval(weights @ values / n) if n > 1 else (np.nan, np.nan)
        rows.append({
            "column": column, "value": values.mean() if n else np.nan, "sd": values.std(ddof=1) if n > 1 else np.nan,
            "low": low, "high": high, "n": n,
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["column", "value", "sd", "low", "high", "n"])


def interpolated(targets: ArrayLike, cells: ArrayLike, frames: ArrayLike) -> Floats:
    """Targets of frames of unknown mode: linear in time between the known frames beside them, level at the ends.

    An interpretation: the paper interpolates the frame-wise labels and discards unknown frames; its draft has errors
    of the unknown ones, and does not say against which target.

    Args:
        targets: `(n,)`, NaN where unknown.
        cells: `(n,)` cell of each row.
        frames: `(n,)` number of the frame, in any order.

    Returns:
        `(n,)`; NaN only for cells without any known frame.
    """
    wanted, groups, times = np.array(targets, float), np.asarray(cells).astype(str), np.asarray(frames, float)
    _same_length(targets=wanted, cells=groups, frames=times)
    for cell in np.unique(groups):
        own = np.flatnonzero(groups == cell)
        known = own[np.isfinite(wanted[own])]
        if len(known):
            known = known[np.argsort(times[known])]
            missing = own[~np.isfinite(wanted[own])]
            wanted[missing] = np.interp(times[missing], times[known], wanted[known])
    return wanted


def per_mode(
    mean: ArrayLike, targets: ArrayLike, modes: ArrayLike, cells: ArrayLike, frames: ArrayLike,
    n_resamples: int = 2000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The draft's table: absolute and squared error by mode of the sequence, and of the frames of unknown mode.

    Args:
        mean: `(n,)` predictions in [0, 1].
        targets: `(n,)`, NaN where the mode is unknown; there they are `interpolated`.
        modes: `(n,)` mode of each frame.
        cells: `(n,)` cell of each frame.
        frames: `(n,)` its number.
        n_resamples: Resamples of whole sequences.
        seed: Of the resamples.

    Returns:
        As `over_sequences`, with `mode` in front (Continuous, Discontinuous, Switching, Unknown) and `n_frames` behind;
        n is 0 where a mode has no sequence.
    """
    import pandas as pd

    predicted, named, groups = _predictions(mean), _modes(modes), np.asarray(cells).astype(str)
    filled = interpolated(targets, groups, frames)
    _same_length(mean=predicted, targets=filled, modes=named)
    _check_targets(np.asarray(targets, float), named != UNKNOWN)
    kind = mode_of_cells(named, groups)
    of_cell = np.array([kind[cell] for cell in groups.tolist()], object)
    parts = []
    for mode in (*MODES, SWITCHING, UNKNOWN):
        own = (named == UNKNOWN) & np.isfinite(filled) if mode == UNKNOWN else (of_cell == mode) & (named != UNKNOWN)
        error = predicted[own].astype(float) - filled[own]
        frame = pd.DataFrame({"cell": groups[own], "MAE": np.abs(error), "MSE": error**2})
        table = frame.groupby("cell", sort=False).mean()
        found = over_sequences(table, ERRORS, n_resamples, seed).assign(n_frames=int(own.sum()))
        found.insert(0, "mode", mode.capitalize())
        parts.append(found)
    return pd.concat(parts, ignore_index=True)


def cell_weights(cells: ArrayLike, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Weights `(n,)` of all frames in each resample of whole cells; `group_weights`, one resample at a time."""
    names, inverse = np.unique(np.asarray(cells).astype(str), return_inverse=True)
    for counts in group_weights(names, n_resamples, seed):
        yield counts[inverse]


def auroc_draws(
    scores: ArrayLike, positive: ArrayLike, cells: ArrayLike, n_resamples: int = 2000, seed: int = 0,
    parts: ArrayLike | None = None,
) -> tuple[float, Floats]:  # fmt: skip
    """Chance that a frame of the mode has a higher score than one of the other (ties count half), and resampled.

    Args:
        scores: `(n,)`, such as predictions.
        positive: `(n,)` whether the frame is of the mode.
        cells: `(n,)`; whole cells are resampled, as frames of one cell are alike.
        n_resamples: How many.
        seed: The same cells are drawn for every call with it and the same cells: differences are paired.
        parts: `(n,)` by whom a frame was scored, such as the fold's network: only pairs within a part are compared, as
            two networks' scores have no common zero. None compares all.

    Returns:
        The AUROC, and `(n_resamples,)`; NaN where there is no pair.

    Raises:
        ValueError: Lengths differ; scores that are not numbers; no frame.
    """
    values, truth, groups = np.asarray(scores, float), np.asarray(positive, bool), np.asarray(cells).astype(str)
    asked = np.zeros(len(values), int) if parts is None else np.asarray(parts).astype(str)
    by = np.unique(asked, return_inverse=True)[1]
    _same_length(scores=values, positive=truth, cells=groups, parts=by)
    if not np.isfinite(values).all():
        raise ValueError(f"scores: {(~np.isfinite(values)).sum()} of {len(values)} are not numbers")
    strata = [np.flatnonzero(by == k) for k in np.unique(by)]
    levels = [np.unique(values[own], return_inverse=True)[1] for own in strata]

    def weighted(weights: Floats) -> float:
        won = pairs = 0.0
        for own, level in zip(strata, levels, strict=True):
            up, n = truth[own], int(level.max()) + 1
            above, below = (np.bincount(level[side], weights[own][side], n) for side in (up, ~up))
            won += float(above @ (np.cumsum(below) - below / 2))
            pairs += float(above.sum() * below.sum())
        return won / pairs if pairs else float("nan")

    drawn = [weighted(weights) for weights in cell_weights(groups, n_resamples, seed)]
    return weighted(np.ones(len(values))), np.array(drawn)


def auroc(
    scores: ArrayLike, positive: ArrayLike, cells: ArrayLike, n_resamples: int = 2000, seed: int = 0,
    parts: ArrayLike | None = None,
) -> Estimate:  # fmt: skip
    """`auroc_draws` with its 95 % interval over cells."""
    value, drawn = auroc_draws(scores, positive, cells, n_resamples, seed, parts)
    return estimate(value, drawn, cells)


def auroc_gain(
    first: ArrayLike, second: ArrayLike, positive: ArrayLike, cells: ArrayLike, n_resamples: int = 2000, seed: int = 0,
    parts: ArrayLike | None = None,
) -> Estimate:  # fmt: skip
    """AUROC of one score minus that of another on the same frames; each resample has the same cells on both sides."""
    one, other = (auroc_draws(scores, positive, cells, n_resamples, seed, parts) for scores in (first, second))
    return gain(one, other, cells)


def gain(first: tuple[float, Floats], second: tuple[float, Floats], cells: ArrayLike) -> Estimate:
    """One of `auroc_draws` minus another of the same cells and seed."""
    return estimate(first[0] - second[0], first[1] - second[1], cells)


def estimate(value: float, drawn: ArrayLike, cells: ArrayLike) -> Estimate:
    """A value with the central 95 % of its resamples; no interval where there is one cell only."""
    names = np.asarray(cells).astype(str)
    n_cells = len(np.unique(names))
    low, high = percentile_interval(drawn) if n_cells > 1 else (float("nan"), float("nan"))
    return Estimate(value, low, high, len(names), n_cells)


def _predictions(mean: ArrayLike) -> NDArray[Any]:
    values = np.asarray(mean)
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        raise ValueError(f"mean: expected numbers (n,), got {values.dtype} of shape {values.shape}")
    if bad := int((~((values >= 0) & (values <= 1))).sum()):
        raise ValueError(
            f"mean: {bad} of {len(values)} predictions are not in [0, 1]; a training that diverged gives NaN: "
            "lower its learning rate"
        )
    return values


def _modes(modes: ArrayLike) -> NDArray[np.object_]:
    named = np.asarray(modes, object)
    if unknown := sorted({str(one) for one in named.tolist()} - {*MODES, UNKNOWN}):
        raise ValueError(f"modes: expected {', '.join(MODES)} or {UNKNOWN}, got {', '.join(unknown)}")
    return named


def _check_targets(targets: Floats, known: NDArray[np.bool_]) -> None:
    bad = np.flatnonzero(known & ~((targets >= 0) & (targets <= 1)))
    if len(bad):
        raise ValueError(
            f"targets: row {bad[0]} is of known mode and has the target {targets[bad[0]]:g}, expected 0 to 1 "
            f"({len(bad)} such rows)"
        )


def _same_length(**arrays: NDArray[Any]) -> None:
    shapes: Mapping[str, tuple[int, ...]] = {name: one.shape for name, one in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected one number for each frame in all of them, got {found}")
