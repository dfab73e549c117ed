"""Linking segmented cells by how much they overlap from frame to frame, divisions and fused cells included.

    frame t     t + 1                     frame t      t + 1
     (A)   -->  (a)     same cell          (A)(B) -->  (   f   )   two cells fused: f is cut, each pixel goes to
     (B)   -->  (b)(c)  division                                   the nearer of A and B, then A -> f1, B -> f2

Rebuilt from the description in Chalfoun et al., "Lineage Mapper: a versatile cell and particle tracker", Scientific
Reports 6, 36984 (2016). No code of the authors was used.

Simplified: a fused cell is cut once, at the nearer source; the original feeds the cut back into its segmentation,
checks the parts and can keep a fusion as a lineage of its own. A division is found from overlap, the daughters' size
and the mother's roundness; the original also looks at the daughters' aspect ratio. Its
confidence index of a track is left out: `score` is that of a link. Like the original, gaps are not closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..regions import Regions, measured
from .tracks import links_table, tracks_table

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
MEMORY_FRAMES = 6  # in one of which a mother was round
FORBIDDEN = 1e6  # cost of a pair that must not be linked; a real cost is at most the sum of three weights


def overlaps(before: Array, after: Array, n_before: int, n_after: int) -> Array:
    """Pixels shared by each pair of cells, `(n_before, n_after)` int64, of two label images `(Y, X)`."""
    pairs = before.astype(np.int64) * (n_after + 1) + after
    return np.bincount(pairs.ravel(), minlength=(n_before + 1) * (n_after + 1)).reshape(n_before + 1, n_after + 1)[
        1:, 1:
    ]


def cut_fused(before: Regions, after: Regions, fused_share: float, min_area_px: int) -> Regions:
    """Cut each cell that covers several cells of the frame before.

    Args:
        before: Cells of frame t.
        after: Cells of frame t + 1.
        fused_share: A cell of frame t takes part when at least this share of it lies in one cell of frame t + 1; above
            0.5 it can take part in one cut only.
        min_area_px: Smaller parts are dropped.

    Returns:
        `after` itself where nothing was cut; else new regions. Parts have their plain centroid as centre, the other
        cells keep theirs.
    """
    from scipy.ndimage import distance_transform_edt

    shared = overlaps(before.labels, after.labels, len(before), len(after))
    inside = shared >= fused_share * before.areas[:, None]
    fused = np.flatnonzero(inside.sum(0) > 1)
    if not len(fused):
        return after
    labels = after.labels.copy()
    new = len(after)
    for j in fused:
        # The window holds the fused cell and all that made it, since the nearest source may lie outside the cell
        sources = np.flatnonzero(inside[:, j]) + 1
        y, x = np.nonzero((after.labels == j + 1) | np.isin(before.labels, sources))
        window = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
        nearby = np.where(np.isin(before.labels[window], sources), before.labels[window], 0)
        nearest = distance_transform_edt(nearby == 0, return_distances=False, return_indices=True)
        owner, cell = nearby[tuple(nearest)], after.labels[window] == j + 1
        for source in sources[1:]:  # the first keeps the label
            new += 1
            labels[window][cell & (owner == source)] = new
    small = np.bincount(labels.ravel(), minlength=new + 1) < min_area_px
    small[1 : len(after) + 1][~np.isin(np.arange(len(after)), fused)] = False  # whole cells stay as they were found
    cut = measured(np.where(small[labels], 0, labels))
    _, first_pixel = np.unique(cut.labels, return_index=True)
    came_from = after.labels.ravel()[first_pixel[-len(cut) :]] - 1 if len(cut) else np.empty(0, np.int64)
    kept = ~np.isin(came_from, fused)
    cut.centres[kept] = after.centres[came_from[kept]]
    return cut


def division_pairs(
    mother_roundness: Array, areas: Array, shared: Array, daughter_share: float, likeness: float, roundness: float
) -> list[tuple[int, int, int]]:
    """Mothers with their two daughters.

    Args:
        mother_roundness: `(m,)` how round each cell of frame t has been lately: right before daughters are seen apart,
            both together are one long region.
        areas: `(n,)` px, of the cells of frame t + 1.
        shared: From `overlaps`, `(m, n)`.
        daughter_share: Each daughter lies in the mother by at least this share of itself.
        likeness: `1 - |a - b| / (a + b)` of the daughters' areas is at least this.
        roundness: A mother is at least as round as this: C2C12 cells round up before they divide, and a mother that
            does not is more often a long cell that one segmentation cut in two.

    Returns:
        Rows (mother, daughter, daughter), of each mother the two with most overlap, daughters in the order of rows.
    """
    found = []
    candidates = shared >= daughter_share * np.maximum(areas, 1)
    for mother in np.flatnonzero((candidates.sum(1) > 1) & (mother_roundness >= roundness)):
        daughters = np.flatnonzero(candidates[mother])
        order = np.argsort(-shared[mother, daughters], kind="stable")
        a, b = sorted(daughters[order[:2]].tolist())
        if 1 - abs(areas[a] - areas[b]) / (areas[a] + areas[b]) >= likeness:
            found.append((int(mother), a, b))
    return found


def link_overlaps(
    cells: Iterable[Regions],
    max_distance_px: float = 30.0,
    weights: tuple[float, float, float] = (1.0, 0.5, 0.2),
    fused_share: float = 0.6,
    daughter_share: float = 0.5,
    daughter_likeness: float = 0.8,
    mother_roundness: float = 0.7,
    min_area_px: int = 20,
) -> pd.DataFrame:
    """Tracks from segmented frames (Chalfoun 2016), with two frames in memory at a time.

    A pair costs `w_o (1 - o / 2 s - o / 2 s') + w_d d / D + w_s |s - s'| / max(s, s')` with overlap o, areas s and s',
    distance d of the centres and D = `max_distance_px`; it may be linked when it overlaps or is closer than D. After
    divisions are taken out, linear assignment finds the cheapest links.

    Args:
        cells: `Regions` of frame 0, 1, ...; it may be a generator.
        max_distance_px: D.
        weights: w_o, w_d, w_s.
        fused_share: See `cut_fused`; above 1 nothing is cut.
        daughter_share: See `division_pairs`.
        daughter_likeness: See `division_pairs`.
        mother_roundness: See `division_pairs`; above 1 nothing divides.
        min_area_px: Smaller parts of cut cells are dropped.

    Returns:
        Columns frame, id, x, y, parent, score; the score of a link is 1 - cost / (w_o + w_d + w_s), of a division the
        daughter's share of overlap.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    detections, rows = [], []
    before: Regions | None = None
    lately = np.zeros((0, MEMORY_FRAMES))  # roundness of each cell of the frame before, in that frame and earlier
    for t, frame_cells in enumerate(cells):
        after = frame_cells
        if before is not None and len(before) and len(after):
            after = cut_fused(before, after, fused_share, min_area_px)
        past, lately = lately, np.zeros((len(after), MEMORY_FRAMES))
        lately[:, 0] = after.roundness
        if before is not None and len(before) and len(after):
            shared = overlaps(before.labels, after.labels, len(before), len(after))
            distance = cdist(before.centres, after.centres)
            s, s2 = before.areas[:, None], after.areas[None]
            cost = weights[0] * (1 - shared / (2 * s) - shared / (2 * s2))
            cost += weights[1] * np.minimum(distance / max_distance_px, 1)
            cost += weights[2] * np.abs(s - s2) / np.maximum(s, s2)
            score = 1 - cost / sum(weights)
            allowed = (shared > 0) | (distance < max_distance_px)
            mothers, daughters, likely = [], [], []
            for mother, *pair in division_pairs(
                past.max(1), after.areas, shared, daughter_share, daughter_likeness, mother_roundness
            ):
                mothers += [mother, mother]
                daughters += pair
                likely += [min(1.0, float(shared[mother, k] / after.areas[k])) for k in pair]
            allowed[mothers] = False
            allowed[:, daughters] = False
            one, other = linear_sum_assignment(np.where(allowed, cost, FORBIDDEN))
            good = allowed[one, other]
            one, other = one[good], other[good]
            lately[other, 1:] = past[one, :-1]
            rows.append(
                (
                    t - 1,
                    t,
                    np.concatenate([np.array(mothers, np.int64), one]),
                    np.concatenate([np.array(daughters, np.int64), other]),
                    np.concatenate([np.array(likely, float), score[one, other]]),
                )
            )
        detections.append(after.centres)
        before = after
    return tracks_table(detections, links_table(rows))
