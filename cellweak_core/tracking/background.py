"""The background of a frame: a quadratic surface fitted to all its pixels.

Source: Nishimura et al. 2020 (WSCTBFP), Sec. 3.3, after Yin et al. 2012; the authors' `Background_estimation.m`:
B(x, y) = p0 + p1 x + p2 y + p3 x^2 + p4 xy + p5 y^2, least squares over all pixels.
Deviation: B is kept as float32; the authors saved it with 8 bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))  # of x and of y


def quadratic_background(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """The least-squares quadratic surface of an image.

    The normal equations need only sums of powers along the axes, so that no design matrix of all pixels is made.

    Args:
        image: `(H, W)`, any real type; the unit is kept.

    Returns:
        `(H, W)` float32.

    Raises:
        ValueError: Not one image, no pixels, or a pixel that is no number.
    """
    if image.ndim != 2 or not image.size:
        raise ValueError(f"image: expected (H, W) with at least one pixel, got {image.shape}")
    # Coordinates in [-1, 1], because powers of pixel numbers would cost the equations half their digits.
    y, x = (np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in image.shape)
    rows, columns = (np.stack([np.ones_like(axis), axis, axis**2]) for axis in (y, x))  # powers 0, 1, 2
    sums_y, sums_x = ([float((axis**k).sum()) for k in range(5)] for axis in (y, x))
    moments = rows @ (image.astype(np.float64) @ columns.T)  # moments[j, i] = sum of x^i y^j image
    if not np.isfinite(moments).all():
        raise ValueError("image: expected numbers, found NaN or infinity")
    normal = np.array([[sums_x[a + c] * sums_y[b + d] for c, d in _POWERS] for a, b in _POWERS])
    right = np.array([moments[b, a] for a, b in _POWERS])
    # An image of fewer than three rows or columns leaves terms open: lstsq takes the smallest ones.
    fitted = np.linalg.lstsq(normal, right, rcond=None)[0]
    coefficients = np.zeros((3, 3))
    for (a, b), value in zip(_POWERS, fitted, strict=True):
        coefficients[b, a] = value
    return (rows.T @ coefficients @ columns).astype(np.float32)
