"""Regions of an image: touching ones parted, each measured; and nuclei, found by simple image processing.

    stain --Gaussian--> Otsu of the logarithm, but well above the background --> distance transform split --> Regions
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Regions:
    """The cells found in one frame.

    Args:
        labels: `(Y, X)` int32; 0 is background, cell i (counted from 0) has the label i + 1.
        centres: `(n, 2)` float64, x and y in px.
        areas: `(n,)` float64, px.
        roundness: `(n,)` float64 in [0, 1], short over long axis of the ellipse with the region's moments.
    """

    labels: Array
    centres: Array
    areas: Array
    roundness: Array

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.areas)


def measured(labels: Array, weights: Array | None = None) -> Regions:
    """Centre, area and roundness of the regions of a label image; labels are renumbered without gaps.

    Args:
        labels: `(Y, X)` int, 0 = background.
        weights: `(Y, X)`, 0 or more: centres become weighted means, as annotators mark the nucleus, where a cell is
            thickest, and not the middle of its processes. None for plain centroids.
    """
    present, compact = np.unique(labels, return_inverse=True)
    compact = compact.reshape(labels.shape)
    if not len(present) or present[0] != 0:  # no background at all: np.unique started at a cell
        compact = compact + 1
    n = int(compact.max(initial=0))
    y, x = np.nonzero(compact)
    at = compact[y, x] - 1
    area = np.bincount(at, minlength=n).astype(np.float64)
    w = np.ones(len(at)) if weights is None else weights[y, x].astype(np.float64) + 1e-6

    def mean(values: Array, by: Array) -> Array:
        return np.bincount(at, values * by, n) / np.maximum(np.bincount(at, by, n), 1e-12)

    ones = np.ones(len(at))
    dx, dy = x - mean(x, ones)[at], y - mean(y, ones)[at]
    # A pixel is a square: its own second moment of 1/12 keeps a line one pixel wide from having no width
    xx, yy, xy = mean(dx * dx, ones) + 1 / 12, mean(dy * dy, ones) + 1 / 12, mean(dx * dy, ones)
    spread = np.sqrt((xx - yy) ** 2 / 4 + xy**2)
    small, large = np.maximum((xx + yy) / 2 - spread, 0), (xx + yy) / 2 + spread
    return Regions(compact.astype(np.int32), np.stack([mean(x, w), mean(y, w)], 1), area, np.sqrt(small / large))


def split(mask: Array, height: Array, min_distance_px: int, min_area_px: int) -> Regions:
    """Part a foreground into cells: one basin of a watershed for each peak of `height` inside it.

    Args:
        mask: `(Y, X)` bool.
        height: `(Y, X)` float, high in the middle of cells (a distance transform, or smoothed brightness).
        min_distance_px: Two peaks are at least this far apart.
        min_area_px: Smaller regions are dropped.

    Returns:
        Regions whose centres are weighted by `height`.
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    components, n = ndimage.label(mask)
    if n == 0:
        return measured(np.zeros(mask.shape, np.int32))
    peaks = peak_local_max(height, min_distance=min_distance_px, labels=components, exclude_border=False)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-height, markers, mask=mask)
    return measured(without_small(labels, min_area_px), np.where(mask, height, 0))


def without_small(labels: Array, min_area_px: int) -> Array:
    """The label image without regions of fewer than `min_area_px` pixels."""
    small = np.bincount(labels.ravel()) < min_area_px
    return np.where(small[labels], 0, labels)


def segment_nuclei(
    image: Array, smoothing_px: float = 2.0, split_px: int = 8, min_area_px: int = 50, min_sd: float = 5.0
) -> Regions:
    """Nuclei of one frame, bright on dark.

    Args:
        image: `(Y, X)` float.
        smoothing_px: Standard deviation of the Gaussian.
        split_px: Least distance of the middles of two nuclei that touch.
        min_area_px: Smaller regions are dropped.
        min_sd: A nucleus is this many standard deviations of the smoothed background above it. Otsu's threshold alone
            would part a frame without nuclei in two halves of noise.

    Returns:
        Regions with their distance-weighted centres.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.filters import threshold_otsu

    smooth = gaussian_filter(image.astype(np.float32), smoothing_px)
    background = float(np.median(smooth))
    below = background - smooth[smooth <= background]  # no nucleus is in this half
    noise = 1.4826 * float(np.median(below))
    floor = 3 * max(noise, 1e-6)  # added before the logarithm, which would otherwise spread the noise
    above = np.log(np.maximum(smooth - background, 0) + floor)
    if above.max() - above.min() < 1e-6:
        return measured(np.zeros(image.shape, np.int32))
    # Otsu's threshold of the light itself is set by the brightest nuclei and leaves out the dim ones
    otsu = background + float(np.exp(threshold_otsu(above))) - floor
    mask = smooth > max(otsu, background + min_sd * noise)
    return split(mask, gaussian_filter(distance_transform_edt(mask), 1.0), split_px, min_area_px)
