"""Mean average precision of networks, with intervals over compounds and seeds.

    average precision (seeds, treatments) --> mean of each mechanism --> of mechanisms (copairs) --> of seeds
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..uncertainty import drawn_seeds, group_weights, percentile_interval

Floats = NDArray[np.float64]


class Ranks(NamedTuple):
    """Average precision of treatments by one variant: `(n_seeds, n_treatments)`, NaN where a treatment is not asked."""

    precision: Floats
    mechanisms: NDArray[np.object_]
    compounds: NDArray[np.object_]


def ranking(ranks: Ranks, n_resamples: int, seed: int) -> dict[str, float]:
    """Mean average precision: over each mechanism's treatments, then over mechanisms (copairs), then over seeds.

    Args:
        ranks: Of one set of networks.
        n_resamples: Of the interval, over whole compounds and seeds.
        seed: Of the resamples.

    Returns:
        `value`, `low`, `high` in [0, 1] and `n`, treatments asked.
    """
    low, high = percentile_interval(_rankings(ranks, n_resamples, seed))
    return {"value": _ranking(ranks), "low": low, "high": high, "n": int((~np.isnan(ranks.precision[0])).sum())}


def ranking_difference(first: Ranks, second: Ranks, n_resamples: int, seed: int) -> dict[str, float]:
    """First minus second, of the same treatments; paired as `difference` is. Returns as `ranking`."""
    draws = _rankings(first, n_resamples, seed) - _rankings(second, n_resamples, seed, 1)
    low, high = percentile_interval(draws)
    n = int((~np.isnan(first.precision[0])).sum())
    return {"value": _ranking(first) - _ranking(second), "low": low, "high": high, "n": n}


def _members(ranks: Ranks) -> tuple[NDArray[np.bool_], Floats]:
    asked = ~np.isnan(ranks.precision[0])
    _, group = np.unique(ranks.mechanisms[asked].astype(str), return_inverse=True)
    return asked, np.eye(group.max(initial=-1) + 1)[group]  # (asked, mechanisms)


def _ranking(ranks: Ranks) -> float:
    asked, member = _members(ranks)
    return float(((ranks.precision[:, asked] @ member) / member.sum(0)).mean()) if asked.any() else float("nan")


def _rankings(ranks: Ranks, n_resamples: int, seed: int, stream: int = 0) -> Floats:
    asked, member = _members(ranks)
    weights = group_weights(ranks.compounds, n_resamples, seed)[:, asked]
    n_seeds = len(ranks.precision)
    drawn = drawn_seeds(n_seeds, n_resamples, seed, stream) / n_seeds
    with np.errstate(invalid="ignore"):
        means = ((weights * (drawn @ ranks.precision[:, asked])) @ member) / (weights @ member)
    there = ~np.isnan(means)  # a mechanism none of whose compounds was drawn
    found = np.where(there, means, 0).sum(1) / np.maximum(there.sum(1), 1)
    return np.where(there.any(1), found, np.nan)
