"""Even light: each frame divided by its own blur, so that a network meets one background all over a film.

    whole frame --Gaussian, sd_px--> background;  frame / background * MIDDLE --cut to [0, 1]--> regions, crops

Phase contrast is grey between the cells, so the blur is the light that fell there. In fluorescence that background is
dark, and the division would raise its noise: leave it off.

Where a film is parted in columns, the blur of whole frames carries a little of one half's light over the margin.
"""

from __future__ import annotations

import hashlib

import numpy as np

from cellweak_core.tracking.frames import FrameSource

MIDDLE = 0.3  # grey level of the background afterwards: halos of three times the background are not cut yet


def flattened(frame: np.ndarray, sd_px: float) -> np.ndarray:
    """A frame in even light.

    Args:
        frame: `(Y, X)` float, [0, 1].
        sd_px: Standard deviation of the blur, px; several cells wide, or the cells themselves go.

    Returns:
        `(Y, X)` float32, [0, 1]; black where the blur is black.
    """
    from scipy.ndimage import gaussian_filter

    frame = frame.astype(np.float32)
    background = gaussian_filter(frame, sd_px, mode="reflect")
    even = np.divide(MIDDLE * frame, background, out=np.zeros_like(frame), where=background > 0)
    return np.clip(even, 0, 1)


class EvenSource(FrameSource):
    """Another source's frames in even light, flattened whole when they are read.

    Args:
        whole: Whole frames: a region cut out before would have a border of its own in the blur.
        sd_px: As `flattened`; above 0.

    Raises:
        ValueError: `sd_px` is not above 0.
    """

    def __init__(self, whole: FrameSource, sd_px: float) -> None:
        if not sd_px > 0:
            raise ValueError(f"flatten_px: expected above 0, given {sd_px}")
        super().__init__(whole.name, whole.numbers, whole.shape, np.dtype(np.float32), 1.0)
        self.whole, self.sd_px = whole, sd_px
        self.paths, self.assumed_axes = whole.paths, whole.assumed_axes

    def raw(self, t: int) -> np.ndarray:
        """Frame t in even light, float32 [0, 1]."""
        return flattened(self.whole[t], self.sd_px)

    def where(self, t: int) -> str:
        """Names frame t as the whole does."""
        return self.whole.where(t)

    def digest(self) -> str:
        """SHA-256 over the whole's digest and the blur."""
        return hashlib.sha256(f"{self.whole.digest()}\0{self.sd_px}\n".encode()).hexdigest()
