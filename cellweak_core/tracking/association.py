"""From responses to links: candidates, the normalised similarity, one-to-one assignment, and how sure it is.

    cell i of t+1, its response L'_i at t     score s_ij = 1 - sum_D (L_t - M L'_i)^2 / sum_D L_t^2
    candidate j: a peak of L_t near it        D = disc on peak j, M = [L_t > 50/255]

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3 ("a simple MSE of intensities for the matching score", "linear
programming", th_conf); gates, radius, mask and th_conf = 0.5 from the authors' `association_with_forward_prop.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

SCORE_RADIUS_PX = 12.0
VISIBLE = 50 / 255  # of L_t: the response counts only where the unmasked map has one
CONFIDENCE = 0.5
UNASSOCIATED, ASSOCIATED, UNSURE = 0, 1, 2


def gate_px(interval: float) -> float:
    """How far a candidate may lie from the cell: 20, 40 and 60 px at 1, 5 and 9 frames, linear between and beyond.

    Args:
        interval: Frames between the two images.

    Raises:
        ValueError: Not above 0.
    """
    if not interval > 0:
        raise ValueError(f"interval: expected more than 0 frames, got {interval}")
    return 15.0 + 5.0 * interval


def candidates(peaks_t: NDArray[np.floating], peaks_t1: NDArray[np.floating], gate: float) -> NDArray[np.int64]:
    """Which peaks of frame t lie less than `gate` px from each cell of frame t+1.

    Args:
        peaks_t: `(n, 2)` x, y in px.
        peaks_t1: `(m, 2)`.
        gate: Distance in px, exclusive.

    Returns:
        `(k, 2)` index in `peaks_t1`, index in `peaks_t`, sorted.

    Raises:
        ValueError: A gate that is not positive.
    """
    from scipy.spatial import cKDTree

    if not 0 < gate < np.inf:
        raise ValueError(f"gate: expected a positive number of px, got {gate}; see gate_px(interval)")
    if not len(peaks_t) or not len(peaks_t1):
        return np.zeros((0, 2), np.int64)
    near = cKDTree(peaks_t).query_ball_point(peaks_t1, gate)
    found = np.array([(i, j) for i, js in enumerate(near) for j in sorted(js)], np.int64).reshape(-1, 2)
    distance = np.linalg.norm(np.asarray(peaks_t1)[found[:, 0]] - np.asarray(peaks_t)[found[:, 1]], axis=1)
    return found[distance < gate]


class Similarity:
    """The normalised similarity of responses with L_t on the discs of its peaks, all candidates of a cell at once.

    Args:
        likelihood: L_t `(H, W)` in [0, 1].
        peaks_t: `(n, 2)` x, y in px.
        radius_px: Of the discs; pixels at this distance belong to them.
        visible: M is where L_t exceeds it.
    """

    def __init__(
        self,
        likelihood: Tensor,
        peaks_t: NDArray[np.floating],
        radius_px: float = SCORE_RADIUS_PX,
        visible: float = VISIBLE,
    ) -> None:
        height, width = likelihood.shape
        offsets = np.arange(-np.ceil(radius_px), np.ceil(radius_px) + 2)
        pixels = np.floor(np.asarray(peaks_t, np.float64).reshape(-1, 2))[:, None] + offsets[:, None]  # (n, k, 2)
        rows, columns = pixels[:, :, None, 1], pixels[:, None, :, 0]
        x, y = (np.asarray(peaks_t, np.float64).reshape(-1, 2)[:, axis, None, None] for axis in (0, 1))
        inside = (columns - x) ** 2 + (rows - y) ** 2 <= radius_px**2
        inside &= (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        flat = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
        size = len(pixels), len(offsets) ** 2
        self._index = torch.from_numpy(flat.astype(np.int64).reshape(size)).to(likelihood.device)
        self._inside = torch.from_numpy(inside.reshape(size)).to(likelihood.device)
        values = likelihood.reshape(-1)[self._index]
        self._values = values * self._inside
        self._visible = (values > visible) & self._inside
        self._total = self._values.square().sum(1)

    def __call__(self, response: Tensor, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores of a response `(H, W)` at the peaks `chosen` (k,); 0 where L_t is 0 all over the disc."""
        j = torch.from_numpy(chosen).to(response.device)
        seen = response.reshape(-1)[self._index[j]] * self._visible[j]
        residual = (self._values[j] - seen).square().sum(1)
        score = torch.where(self._total[j] > 0, 1 - residual / self._total[j], 0)
        return score.double().cpu().numpy()


@dataclass(frozen=True)
class Links:
    """A one-to-one association of two frames' cells.

    Attributes:
        from_index: `(k,)` index of the cell in frame t.
        to_index: `(k,)` index of the cell in frame t+1.
        score: `(k,)` similarity, above 0.
        state: `(k,)` 1 where the score is above th_conf, 2 where the link is of low confidence.
        state_t: State of every cell of frame t: 0 never chosen, 1 associated, 2 low confidence.
        state_t1: The same of frame t+1.
    """

    from_index: NDArray[np.int64]
    to_index: NDArray[np.int64]
    score: NDArray[np.float64]
    state: NDArray[np.int64]
    state_t: NDArray[np.int64]
    state_t1: NDArray[np.int64]

    def table(self, frame_from: int, frame_to: int, sure_only: bool = True) -> pd.DataFrame:
        """Links as a table: frame_from, frame_to, from_index, to_index, score, state.

        Args:
            frame_from: Frame number of t.
            frame_to: Of t+1.
            sure_only: Leave out those of low confidence, as the paper's tables do.
        """
        import pandas as pd

        table = pd.DataFrame(
            {
                "frame_from": np.int64(frame_from),
                "frame_to": np.int64(frame_to),
                "from_index": self.from_index,
                "to_index": self.to_index,
                "score": self.score,
                "state": self.state,
            }
        )
        return table[table["state"] == ASSOCIATED].reset_index(drop=True) if sure_only else table


def associate(
    found: NDArray[np.int64],
    scores: NDArray[np.floating],
    n_t: int,
    n_t1: int,
    confidence: float = CONFIDENCE,
) -> Links:
    """The one-to-one association of the largest total score.

    maximise sum s_ij x_ij over x_ij in {0, 1}, every i and every j at most once; links with s <= 0 are never worth it.

    Args:
        found: `(k, 2)` index in frame t+1, index in frame t, see `candidates`.
        scores: `(k,)`.
        n_t: Cells of frame t.
        n_t1: Cells of frame t+1.
        confidence: th_conf: a link above is associated (state 1), else of low confidence (state 2).

    Returns:
        The links, in the order of frame t+1.

    Raises:
        ValueError: As many scores as candidates are needed, and finite ones.
    """
    from scipy.optimize import linear_sum_assignment

    scores = np.asarray(scores, np.float64)
    if len(scores) != len(found):
        raise ValueError(f"scores: expected {len(found)}, one for each candidate, got {len(scores)}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores: expected finite numbers, found {(~np.isfinite(scores)).sum()} that are not")
    gain = np.zeros((n_t1, n_t))
    # A link without gain is as good as none. Rounded, so that scores that differ by the order of a sum only are ties,
    # and ties are broken in the same way everywhere.
    gain[found[:, 0], found[:, 1]] = np.maximum(np.round(scores, 6), 0)
    to_index, from_index = linear_sum_assignment(gain, maximize=True)
    chosen = gain[to_index, from_index] > 0
    to_index, from_index = to_index[chosen], from_index[chosen]
    score = gain[to_index, from_index]
    state = np.where(score > confidence, ASSOCIATED, UNSURE)
    state_t, state_t1 = np.full(n_t, UNASSOCIATED), np.full(n_t1, UNASSOCIATED)
    state_t[from_index], state_t1[to_index] = state, state
    return Links(from_index, to_index, score, state, state_t, state_t1)
