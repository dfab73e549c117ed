"""Is the uncertainty any good? Error against it, intervals, frames referred to a person, and how many samples it takes.

    frames by rising epistemic uncertainty    o o . o x . x x     x: wrong
    keep the first 60 %, refer the rest       o o . o x|. x x     error of the kept: far below that of all, if it is

Every number comes with a 95 % interval from resampling whole cells: frames of one cell are near-copies of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..uncertainty import percentile_interval
from .evaluation import HIGH, LOW, Estimate, Floats, cell_weights, estimate

if TYPE_CHECKING:
    import pandas as pd

LEVELS = tuple(k / 20 for k in range(1, 20))  # nominal shares of the calibration curve
COUNTS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)  # Monte Carlo samples of one set; the paper draws 50
FRACTIONS = tuple(k / 20 for k in range(1, 21))  # of frames kept


def error_by_uncertainty(
    error: ArrayLike, uncertainty: ArrayLike, cells: ArrayLike, n_bins: int = 10, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Mean error of frames of like uncertainty, in bins of equally many frames.

    Args:
        error: `(n,)` of each frame: squared or absolute, or 1 where the verdict is wrong.
        uncertainty: `(n,)`, such as the epistemic variance.
        cells: `(n,)`.
        n_bins: Bins; frames of one uncertainty share one, so that there may be fewer.
        n_resamples: Of whole cells.
        seed: Of the resamples.

    Returns:
        One row for each bin, the most certain first: `uncertainty` and `error` (means), `low`, `high`, `n` (frames).

    Raises:
        ValueError: Lengths differ; numbers that are none; no frame; no bin.
    """
    import pandas as pd

    wrong, level, groups = _checked(cells, error=error, uncertainty=uncertainty)
    if n_bins < 1:
        raise ValueError(f"n_bins: expected 1 or more, got {n_bins}")
    edges = np.unique(np.quantile(level, np.arange(1, n_bins) / n_bins))
    _, place = np.unique(np.searchsorted(edges, level, side="left"), return_inverse=True)
    n = np.bincount(place)
    with np.errstate(invalid="ignore"):  # a bin of which no cell was drawn
        drawn = np.array([
            np.bincount(place, w * wrong, len(n)) / np.bincount(place, w, len(n))
            for w in cell_weights(groups, n_resamples, seed)
        ])  # fmt: skip
    mean = {name: np.bincount(place, one) / n for name, one in (("uncertainty", level), ("error", wrong))}
    ends = np.array([percentile_interval(one) for one in drawn.T])
    if len(np.unique(groups)) < 2:
        ends = np.full_like(ends, np.nan)
    return pd.DataFrame({**mean, "low": ends[:, 0], "high": ends[:, 1], "n": n})


def spearman(
    first: ArrayLike, second: ArrayLike, cells: ArrayLike, n_resamples: int = 1000, seed: int = 0
) -> Estimate:  # fmt: skip
    """Spearman's correlation over frames: Pearson's of the ranks, equal values sharing their mean rank.

    Args:
        first: `(n,)`, such as the absolute error.
        second: `(n,)`, such as the epistemic variance.
        cells: `(n,)`; in each resample of whole cells all ranks are taken anew.
        n_resamples: How many.
        seed: Of the resamples.

    Returns:
        NaN where one side does not vary.
    """
    one, other, groups = _checked(cells, first=first, second=second)
    places = [np.unique(values, return_inverse=True)[1] for values in (one, other)]

    def weighted(weights: Floats) -> float:
        ranks = []
        for place in places:
            mass = np.bincount(place, weights)
            ranks.append((np.cumsum(mass) - (mass - 1) / 2)[place])  # mean rank of equals, counted from 1
        x, y = (rank - np.average(rank, weights=weights) for rank in ranks)
        variances = (weights @ x**2) * (weights @ y**2)
        return float(weights @ (x * y) / np.sqrt(variances)) if variances > 0 else float("nan")

    drawn = [weighted(w) for w in cell_weights(groups, n_resamples, seed)]
    return estimate(weighted(np.ones(len(groups))), drawn, groups)


def coverage(
    targets: ArrayLike, mean: ArrayLike, variance: ArrayLike, cells: ArrayLike, levels: Sequence[float] = LEVELS,
    n_resamples: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Which share of targets lies in the interval that should hold `level` of them: `|y - mean| <= z sd`.

    z is the normal quantile of `(1 + level) / 2`, sd the root of the variance. Of the epistemic variance alone the
    interval is of the network's mean, and a noisy label may well lie outside; of epistemic plus aleatoric it is of a
    mode drawn by lot, 0 or 1, wider than the ramps need.

    Args:
        targets: `(n,)` of `labels.ramps`, without NaN.
        mean: `(n,)` predictions.
        variance: `(n,)`, 0 or more.
        cells: `(n,)`.
        levels: Nominal shares, between 0 and 1.
        n_resamples: Of whole cells.
        seed: Of the resamples.

    Returns:
        One row for each level: `nominal`, `covered`, `low`, `high`, `n` (frames).

    Raises:
        ValueError: Lengths differ; numbers that are none; a variance below 0; a level outside 0 to 1.
    """
    from scipy.stats import norm

    _check_levels(levels)
    wanted, middle, spread, groups = _checked(cells, targets=targets, mean=mean, variance=variance)
    if (spread < 0).any():
        raise ValueError(f"variance: expected 0 or more, got {spread.min():g}")
    half = norm.ppf((1 + np.asarray(levels, float)) / 2)[:, None] * np.sqrt(spread)
    return _covered(np.abs(wanted - middle) <= half, groups, levels, n_resamples, seed)


def sample_coverage(
    targets: ArrayLike, samples: ArrayLike, cells: ArrayLike, levels: Sequence[float] = LEVELS,
    n_resamples: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """As `coverage`, with the central `level` of the Monte Carlo samples `(T, n)` of each frame as its interval."""
    _check_levels(levels)
    drawn = _samples(samples)
    wanted, groups = _checked(cells, targets=targets)
    if drawn.shape[1:] != wanted.shape:
        raise ValueError(f"samples: expected (T, {len(wanted)}), got {drawn.shape}")
    tails = np.asarray(levels, float)
    low, high = (np.quantile(drawn, (1 + sign * tails) / 2, axis=0) for sign in (-1, 1))
    return _covered((low <= wanted) & (wanted <= high), groups, levels, n_resamples, seed)


def miscalibration(table: pd.DataFrame) -> float:
    """Mean distance of covered from nominal share over the levels of `coverage`: 0 where intervals keep their word."""
    return float((table["covered"] - table["nominal"]).abs().mean())


class Referral(NamedTuple):
    """Error of the frames kept, by fraction, and the area it wins.

    Attributes:
        curve: `kept`, `value` (by uncertainty), `low`, `high`, `random` (by lot), `perfect` (by the error itself).
        area: Between random and uncertainty, over the fraction kept; in the error's unit. Below 0: worse than by lot.
        share: The area over that between random and perfect: 0 by lot, 1 perfect; NaN where all errors are equal.
    """

    curve: pd.DataFrame
    area: Estimate
    share: Estimate


def referral(
    error: ArrayLike, uncertainty: ArrayLike, cells: ArrayLike, fractions: Sequence[float] = FRACTIONS,
    n_resamples: int = 1000, seed: int = 0,
) -> Referral:  # fmt: skip
    """Mean error of the frames kept when the most uncertain ones are referred to a person.

    Of n frames the f n most certain are kept, the last one in part where f n is no whole number. Frames of one
    uncertainty are kept by lot: each counts as their mean.

    Args:
        error: `(n,)` squared error, or 1 where the verdict is wrong (1 - error is the accuracy).
        uncertainty: `(n,)`.
        cells: `(n,)`.
        fractions: Of frames kept, above 0 and at most 1, rising.
        n_resamples: Of whole cells.
        seed: Of the resamples.

    Raises:
        ValueError: Lengths differ; numbers that are none; no frame; other fractions.
    """
    import pandas as pd

    kept = np.asarray(fractions, float)
    if not len(kept) or kept[0] <= 0 or kept[-1] > 1 or (np.diff(kept) <= 0).any():
        raise ValueError(f"fractions: expected rising numbers above 0 and at most 1, got {list(fractions)}")
    loss, level, groups = _checked(cells, error=error, uncertainty=uncertainty)
    orders = [np.unique(values, return_inverse=True)[1] for values in (level, loss)]

    def curves(weights: Floats) -> NDArray[np.float64]:
        """Rows: by uncertainty, perfect, random."""
        total = weights.sum()
        found = []
        for place in orders:
            mass = np.concatenate([[0], np.cumsum(np.bincount(place, weights))])
            summed = np.concatenate([[0], np.cumsum(np.bincount(place, weights * loss))])
            found.append(np.interp(kept * total, mass, summed) / (kept * total))
        return np.stack([*found, np.full(len(kept), weights @ loss / total)])

    def areas(found: NDArray[np.float64]) -> tuple[float, float]:
        won, most = (float(np.trapezoid(found[2] - one, kept)) for one in found[:2])
        return won, won / most if most > 1e-12 else float("nan")

    found = curves(np.ones(len(loss)))
    drawn = [curves(w) for w in cell_weights(groups, n_resamples, seed)]
    ends = np.array([estimate(0, [one[0, k] for one in drawn], groups)[1:3] for k in range(len(kept))])
    table = pd.DataFrame({
        "kept": kept, "value": found[0], "low": ends[:, 0], "high": ends[:, 1], "random": found[2],
        "perfect": found[1],
    })  # fmt: skip
    resampled = np.array([areas(one) for one in drawn])
    area, share = (estimate(one, resampled[:, k], groups) for k, one in enumerate(areas(found)))
    return Referral(table, area, share)


def stability(
    samples: ArrayLike, counts: Sequence[int] = COUNTS, n_orders: int = 20, seed: int = 0
) -> pd.DataFrame:  # fmt: skip
    """How well T samples settle mean and epistemic variance: two sets of T that share no sample are compared.

    Of two sets' means m and m' half the squared difference is what one mean errs by: `E (m - m')**2 / 2 = var y / T`
    where samples are independent, up to T = T_max / 2. Compared with all samples, of which the T are a part, they
    would seem better by sqrt(1 - T / T_max).

    Args:
        samples: `(T_max, n)` predictions in [0, 1] of each frame.
        counts: Numbers T of samples; those above T_max // 2 are left out.
        n_orders: Two sets are drawn without replacement as often, so that no one order decides.
        seed: Of the draws.

    Returns:
        One row for each T: `T`; `mean error` and `epistemic error`, the standard errors of one set's mean and variance
        (root mean square over frames and draws of the difference of the two sets', over sqrt 2); and means over the
        draws of `epistemic` (over frames and both sets, of `var_t y_t`), `rank correlation` (Spearman's, of the two
        sets' variances; NaN at T = 1, where they are 0) and `other range` (share of frames that one set puts in
        another range of continuous, uncertain and discontinuous than the other).

    Raises:
        ValueError: Not `(T, n)`; numbers that are none; fewer than two samples; no count of 1 to T_max // 2.
    """
    import pandas as pd
    from scipy.stats import rankdata

    drawn = _samples(samples)
    if len(drawn) < 2:
        raise ValueError("samples: expected 2 or more of each frame, as two sets are compared, got 1")
    possible = [count for count in counts if 1 <= count <= len(drawn) // 2]
    if not possible or n_orders < 1:
        raise ValueError(
            f"counts: expected some of 1 to {len(drawn) // 2}, half of the samples, and 1 order or more, got "
            f"{list(counts)} and {n_orders}"
        )

    def ranges(mean: Floats) -> NDArray[Any]:
        return (mean > LOW).astype(int) + (mean >= HIGH)

    def rank(values: Floats) -> Floats:
        return np.asarray(rankdata(values), float)

    rng = np.random.default_rng(seed)
    found = np.zeros((len(possible), 5))
    for _ in range(n_orders):
        order = rng.permutation(len(drawn))
        for k, count in enumerate(possible):
            sets = drawn[order[:count]], drawn[order[count : 2 * count]]
            mean, other = (one.mean(0) for one in sets)
            variance, other_variance = (one.var(0) for one in sets)
            found[k] += (
                np.mean((mean - other) ** 2) / 2, np.mean((variance - other_variance) ** 2) / 2,
                (variance.mean() + other_variance.mean()) / 2, _pearson(rank(variance), rank(other_variance)),
                np.mean(ranges(mean) != ranges(other)),
            )  # fmt: skip
    columns = ["mean error", "epistemic error", "epistemic", "rank correlation", "other range"]
    out = pd.DataFrame(found / n_orders, columns=columns)
    out[columns[:2]] **= 0.5
    out.insert(0, "T", possible)
    return out


def _pearson(x: Floats, y: Floats) -> float:
    x, y = x - x.mean(), y - y.mean()
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else float("nan")


def _covered(
    inside: NDArray[np.bool_], cells: NDArray[Any], levels: Sequence[float], n_resamples: int, seed: int
) -> pd.DataFrame:
    import pandas as pd

    drawn = [inside @ w / w.sum() for w in cell_weights(cells, n_resamples, seed)]
    ends = np.array([estimate(0, one, cells)[1:3] for one in np.transpose(drawn)])
    return pd.DataFrame({
        "nominal": np.asarray(levels, float), "covered": inside.mean(1), "low": ends[:, 0], "high": ends[:, 1],
        "n": len(cells),
    })  # fmt: skip


def _check_levels(levels: Sequence[float]) -> None:
    if not len(levels) or not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels: expected numbers between 0 and 1, got {list(levels)}")


def _samples(samples: ArrayLike) -> Floats:
    drawn = np.asarray(samples, float)
    if drawn.ndim != 2 or not drawn.size or not np.isfinite(drawn).all():
        raise ValueError(f"samples: expected finite numbers (T, n), got shape {drawn.shape}; predict with keep=True")
    return drawn


def _checked(cells: ArrayLike, **numbers: ArrayLike) -> tuple[NDArray[Any], ...]:
    """The numbers as float64, and behind them the cells."""
    arrays = {name: np.asarray(one, float) for name, one in numbers.items()}
    groups = np.asarray(cells).astype(str)
    shapes = {name: one.shape for name, one in {**arrays, "cells": groups}.items()}
    if len(set(shapes.values())) > 1 or groups.ndim != 1 or not len(groups):
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected one number for each frame in all of them, and one frame or more, got {found}")
    for name, one in arrays.items():
        if bad := int((~np.isfinite(one)).sum()):
            raise ValueError(f"{name}: {bad} of {len(one)} are not numbers; leave frames of unknown mode out")
    return *arrays.values(), groups
