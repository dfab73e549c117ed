"""Pseudo-labels of the tracking network: what was associated, and where not to learn.

    state 1 (associated)       a pair (x0, y0) -> (x1, y1): the target map's vectors
    state 2, 0 (unsure, none)  a disc around the cell of frame t+1, left out of the loss (Gamma of Eq. 5)

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3-3.4.
Deviation: the authors' code draws the discs around the cells of frame t; the paper and this code take frame t+1, where
the target map has its peaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .association import ASSOCIATED, Links


class PseudoLabels(NamedTuple):
    """What pairs of frames teach, as `training.train_mpm` takes it."""

    pairs: NDArray[np.float64]  # (n, 6) frame, interval, x0, y0, x1, y1 of the associated cells, px
    ignored: NDArray[np.float64]  # (m, 4) frame, interval, x, y of the cells of the later frame without a sure partner


def pseudo_labels(
    links: Links, peaks_t: NDArray[np.floating], peaks_t1: NDArray[np.floating], frame: int = 0, interval: int = 1
) -> PseudoLabels:
    """Pairs and ignored cells of an association.

    Args:
        links: Of the two frames.
        peaks_t: `(n, 2)` x, y in px.
        peaks_t1: `(m, 2)`.
        frame: Number of frame t.
        interval: Frames from t to the later frame.

    Returns:
        Each cell of the later frame once: in `pairs` or in `ignored`.

    Raises:
        ValueError: The links are of other numbers of cells.
    """
    for name, peaks, state in (("peaks_t", peaks_t, links.state_t), ("peaks_t1", peaks_t1, links.state_t1)):
        if len(peaks) != len(state):
            raise ValueError(f"{name}: expected the {len(state)} cells that were linked, got {len(peaks)}")
    sure = links.state == ASSOCIATED
    before, after = (np.asarray(peaks, np.float64).reshape(-1, 2) for peaks in (peaks_t, peaks_t1))
    unsure = after[links.state_t1 != ASSOCIATED]
    pairs = _numbered(frame, interval, before[links.from_index[sure]], after[links.to_index[sure]])
    return PseudoLabels(pairs, _numbered(frame, interval, unsure))


def joined(labels: Iterable[PseudoLabels]) -> PseudoLabels:
    """The pseudo-labels of several pairs of frames as one."""
    labels = list(labels)
    return PseudoLabels(
        np.concatenate([np.zeros((0, 6)), *(each.pairs for each in labels)]),
        np.concatenate([np.zeros((0, 4)), *(each.ignored for each in labels)]),
    )


def _numbered(frame: int, interval: int, *points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([np.tile([float(frame), float(interval)], (len(points[0]), 1)), *points], 1)
