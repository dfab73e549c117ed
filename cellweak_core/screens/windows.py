"""Square windows around positions of a field."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
