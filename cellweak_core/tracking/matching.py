r"""True and found positions matched within each frame: one to one, no farther apart than a gate.

    true   A        B            gate 20 px
           |\       |            A-a 1, A-b 19, B-a 19, B-b 30
    found  a \______b            nearest: A-a, and B and b stay alone; most: A-b and B-a

Two rules, both linear assignments on distance:
- nearest: the least sum of distances, where a true and a found position that stay apart cost the gate, as a pair at
  the gate does. A match is never given up for two that together are longer by more than the gate. traccuracy's rule.
- most: as many matches as the gate allows, and of those the least sum of distances. The authors' programmes maximise
  the sum of exp(-0.01 d), which at gates of 10 and 20 px comes to the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_PAIRS_AT_ONCE = 1000


def match_positions(
    frame: Ints, xy: Floats, found_frame: Ints, found_xy: Floats, max_distance_px: float, most: bool = False
) -> Ints:
    """Matches positions frame by frame, all frames at once.

    Only pairs within the gate are stored, so time and memory grow with the number of positions. A pair that competes
    with no other is a match; the competing ones are solved exactly as a sparse linear assignment. Of assignments with
    equal sums the one that is taken depends on the order of the rows.

    Args:
        frame: `(n,)` frame of each true position.
        xy: `(n, 2)` x, y in px.
        found_frame: `(m,)`.
        found_xy: `(m, 2)`.
        max_distance_px: The gate; a pair at this distance is within it.
        most: The rule "most" instead of "nearest".

    Returns:
        `(n,)` row of the found position, -1 for none.

    Raises:
        ValueError: A gate that is not a positive number.
    """
    from scipy.spatial import cKDTree

    gate = float(max_distance_px)
    if not 0 < gate < np.inf:
        raise ValueError(f"max_distance_px: expected a positive number of px, got {max_distance_px}")
    n, m = len(xy), len(found_xy)
    match = np.full(n, -1, np.int64)
    if not n or not m:
        return match
    # Frames become planes that lie farther apart than the gate, so that one search serves all.
    trees = [
        cKDTree(np.column_stack([f * 2 * gate, p]), balanced_tree=False, compact_nodes=False)
        for f, p in ((frame, xy), (found_frame, found_xy))
    ]
    pairs = trees[0].sparse_distance_matrix(trees[1], gate, output_type="ndarray")
    i, j, d = pairs["i"].astype(np.int64), pairs["j"].astype(np.int64), pairs["v"]
    alone = (np.bincount(i, minlength=n)[i] == 1) & (np.bincount(j, minlength=m)[j] == 1)
    match[i[alone]] = j[alone]
    i, j, d = i[~alone], j[~alone], d[~alone]
    order = np.argsort(frame[i], kind="stable")
    _, n_pairs = np.unique(frame[i], return_counts=True)
    # The solver clears its arrays for every row: some frames at a time, so that time does not grow with their square.
    part = np.repeat(np.cumsum(n_pairs) // _PAIRS_AT_ONCE, n_pairs)
    for rows in np.split(order, np.flatnonzero(np.diff(part)) + 1):
        if len(rows):
            chosen = rows[_assignment(i[rows], j[rows], d[rows], gate, most)]
            match[i[chosen]] = j[chosen]
    return match


def _assignment(i: Ints, j: Ints, d: Floats, gate: float, most: bool) -> Ints:
    """Which of some pairs are matches: the least sum of distances, where a row without a partner costs a penalty."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = np.unique(i, return_inverse=True)
    columns, column = np.unique(j, return_inverse=True)
    n, m = len(rows), len(columns)
    # Under "most", one partner more outweighs all distances together. Under "nearest", a pair exactly at the gate is to
    # be preferred to none. The gate is added to every cost, since a stored zero would be taken for a missing pair.
    penalty = gate * (n + 1) if most else gate * (1 + 1e-9)
    places = np.concatenate([row, np.arange(n)]), np.concatenate([column, m + np.arange(n)])
    cost = coo_array((np.concatenate([d, np.full(n, penalty)]) + gate, places), shape=(n, m + n))
    partner = np.full(n, -1)
    partner[:] = min_weight_full_bipartite_matching(cost.tocsr())[1]
    return np.flatnonzero(partner[row] == column)


def near_border(xy: Floats, image_shape: tuple[int, int] | None, border_px: float) -> Bools:
    """Which positions lie less than `border_px` from the image's border; none where the image's size is not known.

    Args:
        xy: `(n, 2)` x, y in px.
        image_shape: (Y, X) of the frames, px.
        border_px: Width of the border.

    Raises:
        ValueError: A negative width, or a shape that is no (Y, X).
    """
    if not border_px >= 0:
        raise ValueError(f"border_px: expected 0 px or more, got {border_px}")
    if image_shape is None:
        return np.zeros(len(xy), bool)
    if len(image_shape) != 2 or not min(image_shape) > 0:
        raise ValueError(f"image_shape: expected (Y, X) in px, got {image_shape}")
    size = np.array([image_shape[1], image_shape[0]], float)
    return np.any((xy < border_px) | (xy > size - border_px), axis=1)
