"""Where the cells of a field are: nuclei by Otsu's threshold on the DNA channel.

    DNA --Gaussian--> Otsu --> distance transform splits those that touch --> centroids of the right size
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def nuclei_centres(
    dna: ArrayLike, smoothing_px: float = 2.0, split_px: int = 10, min_area_px: int = 150, max_area_px: int = 10_000
) -> NDArray[np.float64]:
    """Centroids of the nuclei of a field.

    Args:
        dna: `(H, W)`, bright on dark.
        smoothing_px: Standard deviation of the Gaussian before the threshold.
        split_px: Least distance of two nuclei that touch.
        min_area_px: Smaller ones are debris.
        max_area_px: Larger ones are clumps.

    Returns:
        `(n, 2)` x, y in px, from top to bottom; none in a field of one grey level, or of noise alone: what is above
        the threshold must be three times as far from the background as the background's noise.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops
    from skimage.segmentation import watershed

    smooth = gaussian_filter(np.asarray(dna, np.float32), smoothing_px)
    none = np.zeros((0, 2))
    if smooth.max() <= smooth.min():
        return none
    mask = smooth > threshold_otsu(smooth)
    background, nuclei = smooth[~mask], smooth[mask]
    noise = 1.4826 * np.median(np.abs(background - np.median(background)))
    if not len(nuclei) or np.median(nuclei) - np.median(background) < 3 * noise:
        return none
    distance = gaussian_filter(distance_transform_edt(mask).astype(np.float32), 1.0)
    tops = peak_local_max(distance, min_distance=split_px, labels=label(mask), exclude_border=False)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(tops.T)] = np.arange(1, len(tops) + 1)
    regions = regionprops(watershed(-distance, markers, mask=mask))
    kept = [one.centroid[::-1] for one in regions if min_area_px <= one.area <= max_area_px]
    centres = np.array(kept, np.float64).reshape(-1, 2)
    return centres[np.lexsort((centres[:, 0], centres[:, 1]))]


def windows(field_chw: ArrayLike, centres: ArrayLike, size_px: int) -> NDArray[np.generic]:
    """Square windows around positions; zero outside the field.

    Args:
        field_chw: `(C, H, W)`.
        centres: `(n, 2)` x, y in px.
        size_px: Side of the windows.

    Returns:
        `(n, C, size_px, size_px)` of the field's type.

    Raises:
        ValueError: A side below 1, or a field without channels' axis.
    """
    field = np.asarray(field_chw)
    if field.ndim != 3 or size_px < 1:
        raise ValueError(f"expected a field (C, H, W) and size_px of 1 or more, got {field.shape} and {size_px}")
    half = size_px // 2
    padded = np.pad(field, ((0, 0), (half, size_px - half), (half, size_px - half)))
    corners = np.rint(np.asarray(centres, np.float64).reshape(-1, 2)).astype(int)
    out = np.zeros((len(corners), len(field), size_px, size_px), field.dtype)
    for k, (x, y) in enumerate(corners.tolist()):
        if 0 <= x < field.shape[2] and 0 <= y < field.shape[1]:
            out[k] = padded[:, y : y + size_px, x : x + size_px]
    return out
