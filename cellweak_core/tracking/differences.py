"""How much better tracks are than others of the same cells, with intervals from resampled lineages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.uncertainty import group_weights, percentile_interval

from .compared import compare_tracks
from .intervals import _by_family
from .scores import ratio

if TYPE_CHECKING:
    import pandas as pd


def paired_differences(
    truth: pd.DataFrame,
    tracks: pd.DataFrame,
    other: pd.DataFrame,
    n_resamples: int = 1000,
    seed: int = 0,
    max_distance_px: float = 20.0,
    *,
    groups: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """How much better tracks are than others of the same cells: both scored on the same resampled families.

    What is hard for both cancels, so an interval here can leave out zero where those of the two scores overlap.

    Args:
        truth: As `tracking_scores`.
        tracks: The first.
        other: What is subtracted.
        n_resamples: Bootstrap resamples.
        seed: Of the draws.
        max_distance_px: As `tracking_scores`.
        groups: As `bootstrap_scores`.

    Returns:
        Columns metric (aa, te_micro), value, low, high (95 %, NaN with fewer than two groups), n, n_groups.

    Raises:
        DataError: As `tracking_scores`.
        ValueError: As `tracking_scores`; fewer than one resample.
    """
    import pandas as pd

    if n_resamples < 1:
        raise ValueError(f"n_resamples: expected at least 1, got {n_resamples}")
    (first, n_groups), (second, _) = (
        _by_family(compare_tracks(truth, one, max_distance_px), groups) for one in (tracks, other)
    )
    weights = group_weights(np.arange(n_groups), n_resamples, seed) if n_groups > 1 else np.empty((0, n_groups))
    rows = []
    for metric in ("aa", "te_micro"):
        (part, whole, n), (subtracted, _, _) = first[metric], second[metric]
        more = part - subtracted
        low, high = percentile_interval(ratio(weights @ more, weights @ whole))
        rows.append((metric, float(ratio(more.sum(), whole.sum())), low, high, int(n), n_groups))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "n_groups"])
