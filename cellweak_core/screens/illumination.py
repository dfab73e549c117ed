"""Uneven light of a plate, learnt from all of its fields and divided out of each.

    fields of a plate, one channel --mean--> median of the quarter-size mean --> f = max(., r) / r;  field / f

Source: Singh et al. 2014, as DeepProfiler had it in the paper's week (dataset/illumination_correction.py): the mean is
taken at a quarter of the size, the median over a disk of radius 12 there, r is the 2nd percentile.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError

Floats = NDArray[np.float32]


def illumination_function(
    fields: Iterable[ArrayLike], downscale: int = 4, radius_px: int = 12, floor_percentile: float = 2.0
) -> Floats:
    """How much brighter than its darkest part a plate is lit, in one channel; one field in memory at a time.

    Args:
        fields: `(H, W)` each, all of one size.
        downscale: The mean is taken at 1 / `downscale` of the size.
        radius_px: Of the median's disk, px of the small image.
        floor_percentile: r is this percentile of the median-filtered mean.

    Returns:
        `(H, W)` float32, 1 and above; 1 all over where the fields are black.

    Raises:
        DataError: No fields, or fields of two sizes.
    """
    from scipy.ndimage import median_filter
    from skimage.morphology import disk
    from skimage.transform import downscale_local_mean, resize

    total, n, shape = np.zeros((1, 1)), 0, (0, 0)
    for field in fields:
        image = np.asarray(field, np.float32)
        if n and image.shape != shape:
            raise DataError(f"fields: {image.shape} and {shape}; the fields of a plate have one size")
        shape = image.shape
        total, n = total + downscale_local_mean(image, (downscale, downscale)), n + 1
    if not n:
        raise DataError("fields: none, expected the images of a plate")
    mean = total / n
    if mean.max() <= 0:
        return np.ones(shape, np.float32)
    smooth = median_filter(mean, footprint=disk(radius_px), mode="nearest")
    small = downscale * np.array(smooth.shape)  # the last block may reach over the image
    full = resize(smooth, tuple(small), order=1, mode="edge", preserve_range=True)[: shape[0], : shape[1]]
    floor = float(np.percentile(full, floor_percentile))
    if floor <= 0:
        floor = float(full[full > 0].min())
    return (np.maximum(full, floor) / floor).astype(np.float32)


def corrected(field: ArrayLike, function: Floats) -> Floats:
    """A field with its plate's light divided out, `(H, W)` float32."""
    return np.asarray(field, np.float32) / function


def clipped_8_bit(field: ArrayLike, low_percentile: float = 0.1, high_percentile: float = 99.9) -> NDArray[np.uint8]:
    """A field cut at its own percentiles and stretched to 8 bits, as the paper's images were kept.

    Deviation: 99.9 above; the authors' code has 99.1, which cuts off one pixel in a hundred and is likely a slip.

    Args:
        field: `(H, W)`.
        low_percentile: Becomes 0.
        high_percentile: Becomes 255.

    Returns:
        `(H, W)` uint8; a field of one grey level is 0.
    """
    image = np.asarray(field, np.float32)
    low, high = np.percentile(image, [low_percentile, high_percentile])
    if high <= low:
        return np.zeros(image.shape, np.uint8)
    return np.rint(np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)
