"""A-Graph: cells cut out by a graph cut that knows the dark inside from the bright halo, linked by overlap.

    frame --contrast, halved--> cost of being cell, from trained histograms --+
                         |                                                     +--> graph cut --split--> Regions
                         +--> boundary costs, cheap from dark out to bright ---+

Rebuilt from the description in Bensch & Ronneberger, "Cell segmentation and tracking in phase contrast images using
graph cut with asymmetric boundary costs", ISBI 2015. No code of the authors was used.

Simplified: the original is trained on segmentation masks, and so was the baseline of Nishimura 2020, with "the small
amount of additional ground-truth for segmentation"; here there are positions only, so the histogram of cells is that of
discs at the positions, and what the masks would have set is chosen by the F1 of the detections. Touching cells are
parted by a distance transform. Frames are cut at half resolution, for speed. Tracking is the overlap linking of
`overlap`, without its cutting of fused cells, instead of the original's own propagation of segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..regions import Regions, split
from .graph_cut import asymmetric_costs, cheapest
from .overlap import link_overlaps
from .segmentation import Frames, contrast, training_frames, tune

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
N_BINS = 48
GRID = {"bias": (-1.0, 0.0, 1.0, 2.0), "smoothness": (0.5, 1.5, 4.0), "split_px": (6, 10)}


def segment_agraph(
    image: Array,
    bin_edges: Array | None = None,
    costs: Array | None = None,
    edge_contrast: float = 0.06,
    bias: float = 0.0,
    smoothness: float = 1.5,
    split_px: int = 8,
    min_area_px: int = 80,
    downsample: int = 2,
) -> Regions:
    """Cells of one frame.

    Args:
        image: `(Y, X)` in [0, 1].
        bin_edges: `(n + 1,)` bins of contrast, from `fit_agraph`; None for a cost that rises with contrast and is 0
            at -0.12, half the contrast of C2C12 cells.
        costs: `(n,)` cost of foreground minus cost of background in each bin.
        edge_contrast: Step of contrast that makes a boundary cheap.
        bias: Added to the cost of foreground everywhere.
        smoothness: Cost of a pixel's length of boundary where there is no edge.
        split_px: Least distance of the middles of two cells that touch.
        min_area_px: Smaller regions are dropped.
        downsample: Frames are averaged over squares of this side before the cut.

    Raises:
        ValueError: only one of `bin_edges` and `costs` is given.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    if (bin_edges is None) != (costs is None):
        raise ValueError("bin_edges, costs: expected both, as fit_agraph returns them, or neither")
    side = downsample if min(image.shape) >= downsample else 1
    seen = _seen(image, side)
    if bin_edges is None or costs is None:
        unary = np.clip((seen + 0.12) / 0.06, -4, 4)
    else:
        unary = costs[np.clip(np.digitize(seen, bin_edges) - 1, 0, len(costs) - 1)]
    mask = cheapest(unary + bias, asymmetric_costs(seen, edge_contrast, smoothness))
    whole = np.repeat(np.repeat(mask, side, 0), side, 1)
    whole = np.pad(whole, [(0, n - m) for n, m in zip(image.shape, whole.shape, strict=True)], mode="edge")
    # The transform of blocky masks has flat tops, which are no peaks until they are smoothed
    height = gaussian_filter(distance_transform_edt(whole), 2.0)
    return split(whole, height, split_px, min_area_px)


def _seen(image: Array, side: int) -> Array:
    """Contrast of a frame, averaged over squares; rows and columns that fill none are left out."""
    y, x = (n // side for n in image.shape)
    return contrast(image)[: y * side, : x * side].reshape(y, side, x, side).mean((1, 3))


def fit_agraph(
    source: Frames,
    points: pd.DataFrame,
    cell_radius_px: float = 7.0,
    background_px: float = 35.0,
    grid: Mapping[str, Sequence[Any]] | None = None,
    max_frames: int = 3,
    downsample: int = 2,
) -> dict[str, Any]:
    """Intensity model and weights from a few frames with positions.

    Args:
        source: The frames.
        points: Columns frame, x, y, of completely annotated frames.
        cell_radius_px: Pixels this near to a position are cell.
        background_px: Pixels farther than this from every position are background; where a frame is so dense that
            they are less than a hundredth of it, the hundredth farthest away.
        grid: Values to try, see `segmentation.tune`; None for bias, smoothness and split_px.
        max_frames: Frames used.
        downsample: See `segment_agraph`.

    Returns:
        Keyword arguments of `segment_agraph` and `track_agraph`.
    """
    from scipy.ndimage import distance_transform_edt

    cell, other, steps = [], [], []
    for t in training_frames(points, max_frames):
        seen = _seen(source[t], downsample)
        free = np.ones(seen.shape, bool)
        at = points.loc[points["frame"] == t, ["y", "x"]].to_numpy(np.float64) // downsample
        free[tuple(np.clip(at, 0, np.array(seen.shape) - 1).astype(int).T)] = False
        distance = distance_transform_edt(free) * downsample
        cell.append(seen[distance <= cell_radius_px])
        other.append(seen[distance > min(background_px, float(np.quantile(distance, 0.99)))])
        steps.append(np.abs(np.diff(seen, axis=1)).ravel())
    cells, others = np.concatenate(cell), np.concatenate(other)
    low, high = np.quantile(np.concatenate([cells, others]), [0.005, 0.995])
    edges = np.linspace(low, max(high, low + 1e-3), N_BINS + 1)

    def density(values: Array) -> Array:
        from scipy.ndimage import gaussian_filter1d

        counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].astype(np.float64)
        return gaussian_filter1d(counts / max(counts.sum(), 1), 1.5) + 1e-3

    model: dict[str, Any] = {
        "bin_edges": edges,
        "costs": np.clip(np.log(density(others) / density(cells)), -4, 4),
        # Most neighbours differ by noise: an edge is a step that few of them make
        "edge_contrast": max(float(np.quantile(np.concatenate(steps), 0.9)), 1e-3),
        "downsample": downsample,
    }
    return model | tune(partial(segment_agraph, **model), source, points, grid or GRID, max_frames)


def track_agraph(
    source: Frames,
    max_distance_px: float = 30.0,
    mother_roundness: float = 0.7,
    **segmentation: Any,  # noqa: ANN401 - each has its own type
) -> pd.DataFrame:
    """Tracks of the cells that the graph cut finds, one frame at a time.

    Args:
        source: The frames.
        max_distance_px: See `overlap.link_overlaps`.
        mother_roundness: See `overlap.division_pairs`.
        segmentation: Arguments of `segment_agraph`, such as `fit_agraph` returns.

    Returns:
        Columns frame, id, x, y, parent, score.
    """
    cells = (segment_agraph(source[t], **segmentation) for t in range(len(source)))
    return link_overlaps(cells, max_distance_px, mother_roundness=mother_roundness, fused_share=np.inf)
