"""Random crops of a sequence, turned in the eight ways, with the cells around them.

    images (T, H, W) --crop--> turn --> network
    positions --near the crop--> turn --> maps are drawn at the turned positions

Maps, masks and vectors are never turned themselves: they are drawn, on the device, at positions that were. So they fit
their crop whatever they are (the authors' loader turned image and map and left the mask where it was), and a training
needs the memory of one batch, not of a map for each frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .networks import STRIDE

N_TURNS = 8


def turned(maps: Tensor, code: int) -> Tensor:
    """One of the eight turns and flips of the last two axes: bit 4 transposes, bit 2 flips rows, bit 1 columns."""
    if code & 4:
        maps = maps.transpose(-1, -2)
    axes = [axis for bit, axis in ((2, -2), (1, -1)) if code & bit]
    return maps.flip(axes) if axes else maps


def turned_back(maps: Tensor, code: int) -> Tensor:
    """The inverse of `turned`."""
    axes = [axis for bit, axis in ((2, -2), (1, -1)) if code & bit]
    maps = maps.flip(axes) if axes else maps
    return maps.transpose(-1, -2) if code & 4 else maps


def turned_motion(maps: Tensor, code: int, back: bool = False) -> Tensor:
    """`turned` (or `turned_back`) for motion maps `(..., 3, H, W)`: the vectors (y, x, z) turn with the image."""
    maps = turned_back(maps, code) if back else turned(maps, code)
    y, x, z = maps.unbind(-3)
    # Transposed before flipped, or flipped back before transposed back: signs belong to the turned image's axes.
    if not back and code & 4:
        y, x = x, y
    y, x = (-y if code & 2 else y), (-x if code & 1 else x)
    if back and code & 4:
        y, x = x, y
    return torch.stack([y, x, z], -3)


def turned_points(points: NDArray[np.floating], code: int, shape: tuple[int, int]) -> NDArray[np.floating]:
    """Where positions `(..., 2)` x, y of an image of this shape lie after `turned`."""
    height, width = shape
    x, y = points[..., 0], points[..., 1]
    if code & 4:
        x, y, height, width = y, x, width, height
    return np.stack([width - 1 - x if code & 1 else x, height - 1 - y if code & 2 else y], -1)


class Crop(NamedTuple):
    """One square of a pair of frames, `frame` and `frame + interval`."""

    frame: int
    interval: int
    left: int
    top: int
    code: int


class CellTable:
    """Rows of numbers, found by their first columns (a frame, or a frame and an interval).

    Args:
        rows: `(n, k + m)`: k keys, then m positions x, y (or x0, y0, x1, y1); n may be 0.
        n_keys: k.
    """

    def __init__(self, rows: ArrayLike, n_keys: int, width: int = 2) -> None:
        table = np.asarray(rows, np.float64).reshape(-1, n_keys + width)
        if not np.isfinite(table).all():
            raise ValueError("positions: expected numbers, found NaN or infinity")
        self.width = width
        self._groups: dict[tuple[int, ...], NDArray[np.float64]] = {}
        keys = table[:, :n_keys].astype(np.int64)
        for key in np.unique(keys, axis=0):
            self._groups[tuple(key.tolist())] = table[(keys == key).all(1), n_keys:]

    def rows(self, *key: int) -> NDArray[np.float64]:
        """All positions of a key, `(n, m)`."""
        return self._groups.get(key, np.zeros((0, self.width)))

    def near(
        self, crops: Sequence[Crop], keys: Sequence[tuple[int, ...]], crop_px: int, reach_px: float
    ) -> Tensor:
        """The cells in and around each crop, in its turned pixels.

        Args:
            crops: The crops.
            keys: Which rows, for each crop.
            crop_px: Side of the crops.
            reach_px: How far outside a crop a cell still matters; the last position of a row counts.

        Returns:
            `(B, n, m)` float32, filled up with rows of infinity.
        """
        found = []
        for crop, key in zip(crops, keys, strict=True):
            cells = self.rows(*key) - np.tile([crop.left, crop.top], self.width // 2)
            ends = cells[:, -2:]
            cells = cells[((ends >= -reach_px) & (ends <= crop_px - 1 + reach_px)).all(1)]
            pairs = cells.reshape(len(cells), self.width // 2, 2)
            found.append(turned_points(pairs, crop.code, (crop_px, crop_px)).reshape(cells.shape))
        out = np.full((len(crops), max(map(len, found), default=0), self.width), np.inf, np.float32)
        for row, cells in zip(out, found, strict=True):
            row[: len(cells)] = cells
        return torch.from_numpy(out)


def starts(frames: Sequence[int], intervals: Sequence[int]) -> dict[int, list[int]]:
    """The frames that have a partner, for each interval; a single frame is the interval 0.

    Args:
        frames: The frames with annotations.
        intervals: Frames between the two images of a crop.

    Raises:
        ValueError: An interval that no two of the frames have.
    """
    known = {int(f) for f in frames}
    found = {int(d): [f for f in sorted(known) if f + d in known] for d in intervals}
    for interval, first in found.items():
        if interval < 0 or not first:
            raise ValueError(
                f"interval: no two of the {len(known)} frames are {interval} apart; give more frames or a shorter one"
            )
    return found


class CropSampler:
    """Where crops are taken: any frame with a partner, any place within a region, any of the eight turns.

    Args:
        images: `(T, H, W)` uint8, uint16 or float; read crop by crop, so that it may be memory-mapped.
        crop_px: Side of the crops, a multiple of 16, at least 32.
        starts: The earlier frames to choose from, for each interval (see `starts`).
        region: x0, y0, x1, y1 in px (x1, y1 exclusive), outside which no pixel is read; None for all.
        white_level: The pixel value that becomes 1; 0 for 255 of uint8, 65535 of uint16 and 1 of float images.

    Raises:
        ValueError: A crop that does not fit, a frame that is not there, a region outside the images.
    """

    def __init__(
        self,
        images: ArrayLike,
        crop_px: int,
        starts: Mapping[int, Sequence[int]],
        region: Sequence[int] | None = None,
        white_level: float = 0.0,
    ) -> None:
        self.images, self.starts = np.asarray(images), dict(starts)
        if self.images.ndim != 3:
            raise ValueError(f"images: expected (T, H, W), got {self.images.shape}")
        n_frames, height, width = self.images.shape
        self.white_level = white_level or white_level_of(self.images.dtype)
        self.crop_px, self.whole = crop_px, (0, 0, width, height)
        x0, y0, x1, y1 = self.region = tuple(map(int, region)) if region else self.whole
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(
                f"region: expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}, got {x0}, {y0}, {x1}, {y1}"
            )
        # One pixel is left of 16 after four poolings, and batch normalisation needs two.
        if crop_px < 2 * STRIDE or crop_px % STRIDE or crop_px > min(x1 - x0, y1 - y0):
            raise ValueError(
                f"crop_px: expected a multiple of {STRIDE} from {2 * STRIDE} up that fits the region of "
                f"{x1 - x0} x {y1 - y0} px, got {crop_px}"
            )
        used = [f for d, first in self.starts.items() for f in (min(first), max(first) + d)]
        if min(used) < 0 or max(used) >= n_frames:
            raise ValueError(f"frame: expected numbers from 0 to {n_frames - 1}, got {min(used)} to {max(used)}")

    def draw(self, n: int, source: torch.Generator) -> list[Crop]:
        """`n` crops, each of a random interval, frame, place and turn."""

        def below(high: int) -> int:
            return int(torch.randint(high, (), generator=source))

        x0, y0, x1, y1 = self.region
        crops = []
        for _ in range(n):
            interval = list(self.starts)[below(len(self.starts))]
            frame = self.starts[interval][below(len(self.starts[interval]))]
            left, top = x0 + below(x1 - x0 - self.crop_px + 1), y0 + below(y1 - y0 - self.crop_px + 1)
            crops.append(Crop(frame, interval, left, top, below(N_TURNS)))
        return crops

    def pixels(self, crops: Sequence[Crop], device: torch.device | str = "cpu") -> Tensor:
        """The turned crops in [0, 1], `(B, 2, crop, crop)` float32; of single frames `(B, 1, crop, crop)`."""
        cut = []
        for crop in crops:
            frames = [crop.frame, crop.frame + crop.interval] if crop.interval else [crop.frame]
            window = np.s_[crop.top : crop.top + self.crop_px, crop.left : crop.left + self.crop_px]
            cut.append(np.stack([self.images[f][window] for f in frames]))
        batch = np.stack(cut)
        # torch computes little with uint16; 8-bit crops travel to the device as they are.
        tensor = torch.from_numpy(batch if batch.dtype == np.uint8 else batch.astype(np.float32))
        tensor = tensor.to(device).float() / self.white_level
        return torch.stack([turned(x, crop.code) for x, crop in zip(tensor, crops, strict=True)])

    def known(self, crops: Sequence[Crop], reach_px: float, device: torch.device | str = "cpu") -> Tensor | None:
        """Where the target is known, `(B, crop, crop)` bool: `reach_px` or more inside the region's own edges.

        A cell beyond an edge, which may not be looked at, would reach over it. None where the region has no edge
        but the images' own.
        """
        if self.region == self.whole:
            return None
        x0, y0, x1, y1 = self.region
        _, _, width, height = self.whole
        masks = []
        for crop in crops:
            inside = []
            for start, low, high, size in ((crop.top, y0, y1, height), (crop.left, x0, x1, width)):
                at = np.arange(start, start + self.crop_px)
                inside.append(((at >= low + reach_px) | (low == 0)) & ((at < high - reach_px) | (high == size)))
            masks.append(turned(torch.from_numpy(inside[0][:, None] & inside[1]), crop.code))
        return torch.stack(masks).to(device)

    def holds(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether positions `(n, 2)` x, y lie on the region's pixels, `(n,)`."""
        x0, y0, x1, y1 = self.region
        x, y = points[:, 0], points[:, 1]
        return (x >= x0 - 0.5) & (x < x1 - 0.5) & (y >= y0 - 0.5) & (y < y1 - 0.5)


def white_level_of(dtype: np.dtype) -> float:
    """The value that becomes 1: the largest of an integer type, 1 of a floating one."""
    return float(np.iinfo(dtype).max) if np.issubdtype(dtype, np.integer) else 1.0
