"""Rough positions of cells from a nuclear stain, by simple image processing (Nishimura 2020, Sec. 4.2; Table 5).

    stain --Gaussian--> Otsu of the logarithm, but well above the background --> distance transform split --> centroids

They stand in for an annotation: imprecise where nuclei touch, and blind where the stain is weak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .segmentation import Frames, Regions, measured, split

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]


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


def nuclei_points(source: Frames, **options: float) -> pd.DataFrame:
    """Rough centroids of the nuclei of all frames, one frame in memory at a time.

    Args:
        source: Frames of the stain.
        options: Arguments of `segment_nuclei`.

    Returns:
        Columns frame, x, y.
    """
    import pandas as pd

    frames, positions = [np.empty(0, np.int64)], [np.empty((0, 2))]
    for t in range(len(source)):
        centres = segment_nuclei(source[t], **options).centres  # type: ignore[arg-type]
        frames.append(np.full(len(centres), t, np.int64))
        positions.append(centres)
    xy = np.concatenate(positions)
    return pd.DataFrame({"frame": np.concatenate(frames), "x": xy[:, 0], "y": xy[:, 1]})
