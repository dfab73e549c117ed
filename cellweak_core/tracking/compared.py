"""True cells and tracks compared row by row: what `scores` sums up and `intervals` resamples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .lineages import Lineages, Positions, read_lineages
from .matching import Bools, Ints, match_positions, near_border

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Detections:
    """Which positions count as found, missed and false.

    Attributes:
        match: `(n,)` row of the found position for every true one, -1 for none.
        missed: `(n,)` true positions without a match that count.
        false: `(m,)` found positions without a match that count.
    """

    match: Ints
    missed: Bools
    false: Bools


def compare_positions(
    truth: Positions,
    found: Positions,
    max_distance_px: float,
    image_shape: tuple[int, int] | None,
    border_px: float,
    most: bool,
) -> Detections:
    """Matches positions (`matching.match_positions`); unmatched ones on the image's border do not count."""
    match = match_positions(truth.frame, truth.xy, found.frame, found.xy, max_distance_px, most)
    alone = np.ones(len(found.xy), bool)
    alone[match[match >= 0]] = False
    missed = (match < 0) & ~near_border(truth.xy, image_shape, border_px)
    return Detections(match, missed, alone & ~near_border(found.xy, image_shape, border_px))


@dataclass(frozen=True)
class Comparison:
    """True cells and tracks row by row, for scores and for their intervals.

    Attributes:
        truth: The true cells.
        tracks: The predicted ones.
        detections: Their matched rows.
        recovered: `(n,)` true rows whose link to `previous` AA counts as recovered.
        linked: `(n,)` true rows whose link to `previous` is a link of the tracks, too.
        false_links: `(m,)` rows of the tracks whose link to `previous` is no true link, and counts.
        covered: `(n_cells,)` the most frames of each true cell under one track.
    """

    truth: Lineages
    tracks: Lineages
    detections: Detections
    recovered: Bools
    linked: Bools
    false_links: Bools
    covered: Ints

    @property
    def length(self) -> Ints:
        """`(n_cells,)` frames of each true cell."""
        return np.bincount(self.truth.cell, minlength=len(self.truth.ids))


def compare_tracks(
    truth: pd.DataFrame,
    tracks: pd.DataFrame,
    max_distance_px: float = 20.0,
    image_shape: tuple[int, int] | None = None,
    border_px: float = 10.0,
    frame_step: int = 1,
    most_matches: bool = False,
) -> Comparison:
    """Matches truth and tracks and decides every link; see `tracking_scores` for the arguments and errors."""
    true = read_lineages(truth, "truth", frame_step)
    found = read_lineages(tracks, "tracks", frame_step, strict=False)
    if frame_step > 1 and len(true.frame) and len(found.frame) and (true.frame[0] - found.frame[0]) % frame_step:
        raise ValueError(
            f"frame_step={frame_step}: truth has frame {true.frame[0]} and tracks frame {found.frame[0]}; "
            "keep the same frames in both"
        )
    _refuse_lone_frames(true, frame_step)
    detections = compare_positions(true, found, max_distance_px, image_shape, border_px, most_matches)
    match = detections.match
    later = np.flatnonzero(true.previous >= 0)
    late, early = match[later], match[true.previous[later]]
    both = (late >= 0) & (early >= 0)
    later, late, early = later[both], late[both], early[both]
    same = found.cell[late] == found.cell[early]
    by_division = true.divided[later] & (found.parent[found.cell[late]] == found.cell[early])
    goes_on = true.divided[later] & same
    _, heir = np.unique(true.cell[true.previous[later[goes_on]]], return_index=True)
    goes_on[np.delete(np.flatnonzero(goes_on), heir)] = False  # one daughter at most is the mother's own track
    recovered, linked = np.zeros((2, len(match)), bool)
    recovered[later] = (same & ~true.divided[later]) | by_division | goes_on
    linked[later] = found.previous[late] == early
    false_links = found.previous >= 0
    false_links[match[linked]] = False
    taken = np.zeros(len(found.frame), bool)
    taken[match[match >= 0]] = True
    border = near_border(found.xy, image_shape, border_px)
    # the last row stands for "no previous", which has no link anyway
    false_links &= (taken & taken[found.previous]) | ~(border | border[found.previous])
    covered = np.zeros(len(true.ids), np.int64)
    seen = match >= 0
    pair, times = np.unique(true.cell[seen] * max(1, len(found.ids)) + found.cell[match[seen]], return_counts=True)
    np.maximum.at(covered, pair // max(1, len(found.ids)), times)
    return Comparison(true, found, detections, recovered, linked, false_links, covered)


def _refuse_lone_frames(truth: Lineages, frame_step: int) -> None:
    """Frames that are all farther apart than a step would leave every score of links undefined, without a word."""
    numbers = np.unique(truth.frame)
    apart = int(np.gcd.reduce(np.diff(numbers))) if len(numbers) > 2 else frame_step
    if apart > frame_step and not (truth.previous >= 0).any():
        raise ValueError(
            f"frame_step={frame_step}: the frames of truth are {numbers[:3].tolist()}...; set frame_step={apart}, or "
            "number the frames anew"
        )
