"""FogBank: a fog that falls in steps over the image; cells are islands that it lays bare and lets grow.

    levels of equal area, darkest first     1: a . . b     2: a a . b b     3: a a a b b     new islands that are large
    (cells are dark in phase contrast)                                        c appears       enough become cells

Rebuilt from the descriptions in Chalfoun et al., "FogBank: a single cell segmentation across multiple cell lines and
image modalities", BMC Bioinformatics 15, 431 (2014), whose tracks come from Lineage Mapper (Scientific Reports 6,
36984, 2016; see `overlap`). No code of the authors was used.

Simplified: the foreground is where the gradient is above a tuned threshold; the original derives it for each image
from the gradient's histogram. Its geodesic growth of cells, level by level, is scikit-image's watershed on the
quantised image, which serves pixels of one level in the order of their distance along the mask. Its optional merging
of small regions by shape is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..regions import Regions, measured, without_small
from .overlap import link_overlaps
from .segmentation import Frames, contrast, tune

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
GRID = {
    "min_gradient": (0.012, 0.018, 0.025, 0.035),
    "smoothing_px": (3.0, 4.0),
    "seed_area_px": (60, 100, 160),
    "darkest_share": (0.15, 0.3, 0.5),
}


def fog_levels(image: Array, mask: Array, n_levels: int) -> Array:
    """Quantise an image into levels of equal area inside a mask, 1 the darkest; 0 outside.

    Pixels of equal value share a level, so a constant image has one.
    """
    levels = np.zeros(image.shape, np.int32)
    if mask.any():
        cuts = np.unique(np.quantile(image[mask], np.arange(1, n_levels) / n_levels))
        levels[mask] = 1 + np.searchsorted(cuts, image[mask], side="left")
    return levels


def fog_seeds(levels: Array, seed_area_px: int, last_level: int) -> Array:
    """Islands that appear as the fog falls: the seeds of cells.

    Args:
        levels: From `fog_levels`.
        seed_area_px: An island becomes a cell when it is this large and touches no cell yet.
        last_level: Levels above this make no new cells; they only let them grow.

    Returns:
        `(Y, X)` int32 labels of the seeds, numbered in the order in which they appear.
    """
    from scipy import ndimage

    seeds = np.zeros(levels.shape, np.int32)
    n_seeds = 0
    for level in range(1, last_level + 1):
        islands, n = ndimage.label((levels > 0) & (levels <= level))
        area = np.bincount(islands.ravel(), minlength=n + 1)
        taken = np.zeros(n + 1, bool)
        taken[islands[seeds > 0]] = True
        new = ~taken & (area >= seed_area_px)
        new[0] = False
        numbers = np.where(new, n_seeds + np.cumsum(new), 0)
        seeds += numbers[islands].astype(np.int32)
        n_seeds += int(new.sum())
    return seeds


def segment_fogbank(
    image: Array,
    min_gradient: float = 0.025,
    smoothing_px: float = 3.0,
    seed_area_px: int = 100,
    darkest_share: float = 0.6,
    n_levels: int = 20,
    min_area_px: int = 100,
    max_hole_px: int = 400,
) -> Regions:
    """Cells of one frame.

    Args:
        image: `(Y, X)` in [0, 1].
        min_gradient: Pixels whose contrast changes by more than this per px are foreground.
        smoothing_px: Standard deviation of the Gaussian before the fog.
        seed_area_px: See `fog_seeds`.
        darkest_share: Share of the levels, from the dark end, in which new cells appear.
        n_levels: Steps of the fog.
        min_area_px: Smaller regions are dropped.
        max_hole_px: Holes of the foreground up to this size are filled: the middle of a flat cell has no gradient.
    """
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, label
    from skimage.segmentation import watershed

    seen = contrast(image)
    gradient = gaussian_gradient_magnitude(seen, 1.5)
    mask = without_small(label(gradient > min_gradient)[0], min_area_px) > 0
    mask = without_small(label(~mask)[0], max_hole_px + 1) == 0
    if not mask.any():
        return measured(np.zeros(image.shape, np.int32))
    smooth = gaussian_filter(seen, smoothing_px)
    levels = fog_levels(smooth, mask, n_levels)
    seeds = fog_seeds(levels, seed_area_px, round(darkest_share * int(levels.max())))
    labels = without_small(watershed(levels, seeds, mask=mask), min_area_px)
    return measured(labels, np.maximum(-smooth, 0))


def tune_fogbank(
    source: Frames, points: pd.DataFrame, grid: Mapping[str, Sequence[Any]] | None = None, max_frames: int = 3
) -> dict[str, Any]:
    """Arguments of `track_fogbank` whose cells agree best with annotated positions, see `segmentation.tune`."""
    return tune(segment_fogbank, source, points, grid or GRID, max_frames)


def track_fogbank(
    source: Frames,
    max_distance_px: float = 30.0,
    fused_share: float = 0.6,
    mother_roundness: float = 0.7,
    **segmentation: Any,  # noqa: ANN401 - each has its own type
) -> pd.DataFrame:
    """Tracks of the cells that FogBank finds, one frame at a time.

    Args:
        source: The frames.
        max_distance_px: See `overlap.link_overlaps`.
        fused_share: See `overlap.cut_fused`.
        mother_roundness: See `overlap.division_pairs`.
        segmentation: Arguments of `segment_fogbank`, such as `tune_fogbank` returns.

    Returns:
        Columns frame, id, x, y, parent, score.
    """
    cells = (segment_fogbank(source[t], **segmentation) for t in range(len(source)))
    return link_overlaps(cells, max_distance_px, fused_share=fused_share, mother_roundness=mother_roundness)
