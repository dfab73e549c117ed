"""The cheapest two-class labelling of an image by maximum flow, with costs that know inside from outside.

    energy(mask) = sum over foreground pixels p of unary[p]
                 + sum over neighbours p in the mask, q outside it, of cost[p -> q]

`cost[p -> q]` and `cost[q -> p]` differ: that is the asymmetry of Bensch & Ronneberger 2015. Solved exactly, but for
the rounding of costs to hundredths (scipy's flow takes whole numbers), on the grid of 8 neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1))  # (dy, dx): each pair of 8-neighbours once
UNITS = 100  # of the integer capacities, to a cost of 1


def neighbours(image: Array, dy: int, dx: int) -> tuple[Array, Array]:
    """Views of all pixels p and their neighbours q = p + (dy, dx) inside the image, for an offset of `OFFSETS`."""
    rows, columns = image.shape[0], image.shape[1]
    p = image[: rows - dy, max(0, -dx) : columns - max(0, dx)]
    q = image[dy:, max(0, dx) : columns - max(0, -dx)]
    return p, q


def asymmetric_costs(image: Array, sigma: float, weight: float) -> list[tuple[Array, Array]]:
    """Cost of a boundary between neighbours: cheap only where it goes outward from dark to bright.

    `cost[p -> q] = weight / |p - q| * exp(-max(I_q - I_p, 0)^2 / (2 sigma^2))`: a cell is dark and its halo bright,
    so the edge of a cell is a step up on the way out; the outer edge of the halo, a step down, stays dear.

    Args:
        image: `(Y, X)` float.
        sigma: Step of `image` that counts as an edge.
        weight: Cost of a pixel's length of boundary without an edge.

    Returns:
        For each of `OFFSETS`, the costs p -> q and q -> p, float64.
    """
    costs = []
    for dy, dx in OFFSETS:
        p, q = neighbours(image.astype(np.float64), dy, dx)
        scale = weight / np.hypot(dy, dx)
        costs.append(
            (
                scale * np.exp(-(np.maximum(q - p, 0) ** 2) / (2 * sigma**2)),
                scale * np.exp(-(np.maximum(p - q, 0) ** 2) / (2 * sigma**2)),
            )
        )
    return costs


def energy(mask: Array, unary: Array, costs: list[tuple[Array, Array]]) -> float:
    """The energy of a labelling, as in the head of this module."""
    total = float(unary[mask].sum())
    for (dy, dx), (outward, inward) in zip(OFFSETS, costs, strict=True):
        p, q = neighbours(mask, dy, dx)
        total += float(outward[p & ~q].sum() + inward[q & ~p].sum())
    return total


def cheapest(unary: Array, costs: list[tuple[Array, Array]]) -> Array:
    """The labelling of least energy.

    Args:
        unary: `(Y, X)` float, cost of foreground minus cost of background.
        costs: From `asymmetric_costs`.

    Returns:
        `(Y, X)` bool, True for foreground; of equally cheap labellings the one with the smallest foreground.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    if not (unary < 0).any():
        return np.zeros(unary.shape, bool)
    index = np.arange(unary.size).reshape(unary.shape)
    source, sink = unary.size, unary.size + 1
    starts, ends, capacities = [], [], []

    def add(start: Array, end: Array, capacity: Array) -> None:
        starts.append(start.ravel())
        ends.append(end.ravel())
        capacities.append(np.rint(UNITS * capacity.ravel()).astype(np.int32))

    for (dy, dx), (outward, inward) in zip(OFFSETS, costs, strict=True):
        p, q = neighbours(index, dy, dx)
        add(p, q, outward)
        add(q, p, inward)
    inside, outside = index[unary < 0], index[unary > 0]
    add(np.full(len(inside), source), inside, -unary[unary < 0])
    add(outside, np.full(len(outside), sink), unary[unary > 0])
    triples = np.concatenate(capacities), (np.concatenate(starts), np.concatenate(ends))
    graph = csr_array(triples, shape=(unary.size + 2, unary.size + 2), dtype=np.int32)
    left = graph - maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    mask = np.zeros(unary.size + 2, bool)
    mask[breadth_first_order(left, source, return_predecessors=False)] = True
    return mask[: unary.size].reshape(unary.shape)
