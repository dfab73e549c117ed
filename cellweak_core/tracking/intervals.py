"""Intervals of tracking scores from resampled lineages and frames.

    mother 1 -- daughters 2, 3     one family: their links are right or wrong together    weight 2
    cell 4                         another                                                weight 0

Links of one cell are not independent: a cell that is hard to see is hard to see in every frame. So AA, TE and the
recall of links resample families of true cells (connected through parents) with all their frames. What is predicted and
false belongs to no true cell; precisions, F1 and the scores of detections resample frames. Neighbouring frames resemble
each other, so these intervals are rather too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.uncertainty import group_weights, percentile_interval

from .compared import Comparison, compare_tracks
from .lineages import Lineages
from .matching import Floats, Ints
from .scores import ratio

if TYPE_CHECKING:
    import pandas as pd


def bootstrap_scores(
    truth: pd.DataFrame,
    tracks: pd.DataFrame,
    n_resamples: int = 1000,
    seed: int = 0,
    max_distance_px: float = 20.0,
    *,
    image_shape: tuple[int, int] | None = None,
    border_px: float = 10.0,
    frame_step: int = 1,
    most_matches: bool = False,
    level: float = 0.95,
    groups: Mapping[int, str] | None = None,
) -> pd.DataFrame:
    """Percentile intervals of the scores of `scores.tracking_scores`.

    Args:
        truth: As there.
        tracks: As there.
        n_resamples: Bootstrap resamples.
        seed: Of the draws.
        max_distance_px: As there, and the next four, too.
        image_shape: (Y, X) of the frames.
        border_px: Exempt border.
        frame_step: Distance of consecutive frames.
        most_matches: The matching rule.
        level: Share of the resampled values inside the interval.
        groups: What is resampled in the place of families: a name for every true id, such as one for all the copies
            of a family in a pooled table. None for families.

    Returns:
        Columns metric, value, low, high, n, n_groups. `aa`, `aa_same_cell`, `te_micro`, `link_recall` with families as
        groups; `link_precision`, `link_f1`, `detection_precision`, `detection_recall`, `detection_f1` with frames. A
        link belongs to the frame of its later end. `n` is what a value is a share of: links or observations, true ones
        for F1. low and high are NaN where there are fewer than two groups, or where most resamples leave the value
        undefined (0/0).

    Raises:
        DataError: As `tracking_scores`.
        ValueError: As `tracking_scores`; fewer than one resample, a level that is not between 0 and 1.
    """
    import pandas as pd

    if n_resamples < 1:
        raise ValueError(f"n_resamples: expected at least 1, got {n_resamples}")
    found = compare_tracks(truth, tracks, max_distance_px, image_shape, border_px, frame_step, most_matches)
    rows = []
    for parts, n_groups in (_by_family(found, groups), _by_frame(found)):
        weights = group_weights(np.arange(n_groups), n_resamples, seed) if n_groups > 1 else np.empty((0, n_groups))
        for metric, (part, whole, n) in parts.items():
            low, high = percentile_interval(ratio(weights @ part, weights @ whole), level)
            rows.append((metric, float(ratio(part.sum(), whole.sum())), low, high, int(n), n_groups))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "n_groups"])


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


Parts = dict[str, tuple[Floats, Floats, int]]  # of each metric: part and whole of every group, and n


def _by_family(found: Comparison, groups: Mapping[int, str] | None) -> tuple[Parts, int]:
    true = found.truth
    if groups is None:
        family, n_families = families(true)
    else:
        names, family = np.unique([groups[int(cell)] for cell in true.ids], return_inverse=True)
        n_families = len(names)
    of_row = family[true.cell]
    is_link = true.previous >= 0
    same_cell = is_link & ~true.divided

    def count(rows: np.ndarray) -> Floats:
        return np.bincount(of_row[rows], minlength=n_families).astype(float)

    covered = np.bincount(family, found.covered, minlength=n_families).astype(float)
    return {
        "aa": (count(found.recovered), count(is_link), is_link.sum()),
        "aa_same_cell": (count(found.recovered & same_cell), count(same_cell), same_cell.sum()),
        "te_micro": (covered, count(np.ones(len(of_row), bool)), len(of_row)),
        "link_recall": (count(found.linked), count(is_link), is_link.sum()),
    }, n_families


def _by_frame(found: Comparison) -> tuple[Parts, int]:
    true, tracks, detections = found.truth, found.tracks, found.detections
    frames, codes = np.unique(np.concatenate([true.frame, tracks.frame]), return_inverse=True)
    of_true, of_found = codes[: len(true.frame)], codes[len(true.frame) :]

    def count(of_row: Ints, rows: np.ndarray) -> Floats:
        return np.bincount(of_row[rows], minlength=len(frames)).astype(float)

    is_link = true.previous >= 0
    parts: Parts = {}
    for name, hit, miss, false in (
        ("link", found.linked, is_link & ~found.linked, found.false_links),
        ("detection", detections.match >= 0, detections.missed, detections.false),
    ):
        tp, fn, fp = count(of_true, hit), count(of_true, miss), count(of_found, false)
        n_true = int((tp + fn).sum())
        parts[f"{name}_precision"] = tp, tp + fp, int((tp + fp).sum())
        if name == "detection":
            parts["detection_recall"] = tp, tp + fn, n_true
        parts[f"{name}_f1"] = 2 * tp, 2 * tp + fp + fn, n_true
    return parts, len(frames)


def families(cells: Lineages) -> tuple[Ints, int]:
    """Which cells are connected through parents: `(n_cells,)` family of each cell, and how many there are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(cells.ids)
    if not n:
        return np.empty(0, np.int64), 0
    daughters = np.flatnonzero(cells.parent >= 0)
    graph = coo_array((np.ones(len(daughters), np.int8), (daughters, cells.parent[daughters])), shape=(n, n))
    n_families, family = connected_components(graph, directed=False)
    return family.astype(np.int64), int(n_families)
