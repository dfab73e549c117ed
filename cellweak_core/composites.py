"""Images of several channels as colour pictures, each channel on its own scale, for figures and sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Order = Sequence[int | None]
PERCENTILES = (1.0, 99.7)


def channel_limits(images: ArrayLike, percentiles: tuple[float, float] = PERCENTILES) -> list[tuple[float, float]]:
    """Black and white of each channel, over all images `(n, C, H, W)`: the two percentiles."""
    values = _checked(images)
    found = np.percentile(values, percentiles, axis=(0, 2, 3)) if len(values) else np.zeros((2, values.shape[1]))
    return [(float(low), float(high)) for low, high in found.T]


def composite(
    images: ArrayLike, order: Order | None = None, limits: Sequence[tuple[float, float]] | None = None,
    of_three: Order = (2, 1, 0),
) -> NDArray[np.uint8]:  # fmt: skip
    """Images as colour pictures.

    Args:
        images: `(n, C, H, W)` numbers of any unit.
        order: Which channel is red, green and blue; None for no light. By default `of_three`; two channels are magenta
            and green, one is grey.
        limits: Black and white of each channel, in the images' unit; by default `channel_limits` of these images.
        of_three: The default order of three channels or more: the first (DNA) is blue, the second green, the third red.

    Returns:
        `(n, H, W, 3)` uint8.

    Raises:
        ValueError: Other axes; a channel that is not there; not a pair of limits for each channel.
    """
    values = _checked(images)
    n_channels = values.shape[1]
    if order is None:
        order = {1: (0, 0, 0), 2: (0, 1, 0)}.get(n_channels, of_three)
    if len(order) != 3 or any(k is not None and not 0 <= k < n_channels for k in order):
        raise ValueError(f"order: expected three channels of 0 to {n_channels - 1}, or None, got {tuple(order)}")
    limits = channel_limits(values) if limits is None else list(limits)
    if len(limits) != n_channels:
        raise ValueError(f"limits: expected {n_channels} pairs, one for each channel, got {len(limits)}")
    out = np.zeros((*values.shape[:1], *values.shape[2:], 3), np.uint8)
    for colour, channel in enumerate(order):
        if channel is not None:
            low, high = limits[channel]
            shown = (values[:, channel].astype(np.float64) - low) / (high - low if high > low else 1.0)
            out[..., colour] = np.rint(255 * np.clip(shown, 0, 1))
    return out


def _checked(images: ArrayLike) -> Array:
    values = np.asarray(images)
    if values.ndim != 4 or values.dtype.kind not in "fiub" or values.shape[1] < 1:
        raise ValueError(f"images: expected numbers (n, C, H, W), got {values.dtype} of shape {values.shape}")
    return values
