"""Image sequences read one frame at a time, so that memory does not grow with their length.

```
folder of PNG/TIFF/JPEG --+
one TIFF stack -----------+--readers.open_frames--> FrameSource --source[t]--> float32 (Y, X) in [0, 1]
OME-Zarr -----------------+                             |
array (T, Y, X) ------------------ArraySource-----------+--part(frames, region)--> FrameSource
```
Grey levels become [0, 1] by division by `FrameSource.scale`, the white level: 255 for 8-bit files, 4095 for 12-bit
data in 16-bit files, 65535 otherwise, 1 for floating point.
"""

from __future__ import annotations

import copy
import hashlib
import operator
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from cellweak_core.files import CellweakWarning, DataError

SAMPLED_FRAMES = 16  # looked at to find the white level
WHITE_LEVELS = (255, 4095, 65535)  # what 16-bit files hold: 8, 12 or 16 bits


class FrameSource(ABC):
    """A lazy sequence of grey frames; the base of `ArraySource` and of what `open_frames` returns.

    Nothing is kept between two accesses: `source[t]` reads frame t from the disk each time.

    Attributes:
        name: of the sequence, as it stands in tables of results and in errors.
        shape: (Y, X), pixels.
        dtype: of the pixels as stored.
        numbers: the frames' numbers in the file names, (T,), in order; 0..T-1 where the files have none.
        paths: the files; empty where the frames lie in memory.
        assumed_axes: of a stack that does not state its axes, those it was read with; else empty.
    """

    paths: Sequence[Path] = ()
    assumed_axes: str = ""

    def __init__(
        self,
        name: str,
        numbers: Sequence[int],
        shape: tuple[int, int],
        dtype: np.dtype,
        white_level: float = 0,
    ) -> None:
        if white_level < 0:
            raise ValueError(f"white_level: expected a grey level above 0, or 0 to find it, given {white_level}.")
        self.name = name
        self.numbers = tuple(int(n) for n in numbers)
        self.shape = (int(shape[0]), int(shape[1]))
        self.dtype = np.dtype(dtype)
        self._given_level = float(white_level)
        self._found_level = 0.0

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.numbers)

    @abstractmethod
    def raw(self, t: int) -> np.ndarray:
        """Frame t as stored: (Y, X) of `dtype`, an array of its own."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the content."""

    def where(self, t: int) -> str:
        """Names frame t in an error: the sequence's name and the frame's number."""
        return f"{self.name}, frame {self.numbers[t]}"

    def at_white_level(self, white_level: float) -> FrameSource:
        """The same frames with another grey level as white; 0 finds it."""
        other = copy.copy(self)
        other._given_level, other._found_level = float(white_level), 0.0
        return other

    @property
    def scale(self) -> float:
        """The white level: the grey level that becomes 1.

        As given; else 255 for 8 bits and 1 for floating point and binary; for 16 bits the smallest of 255, 4095 and
        65535 that no pixel of up to 16 frames, spread evenly over the sequence, exceeds.

        Raises:
            DataError: floating point frames that leave [0, 1], and no white level given.
        """
        if self._given_level:
            return self._given_level
        if not self._found_level:
            self._found_level = self._white_level()
        return self._found_level

    def _white_level(self) -> float:
        if self.dtype in (np.uint8, np.bool_):
            return 255.0 if self.dtype == np.uint8 else 1.0
        most = min(SAMPLED_FRAMES, len(self))
        sampled = sorted({round(t) for t in np.linspace(0, len(self) - 1, most)})
        highest = max(self._highest(t) for t in sampled)
        if self.dtype.kind == "f":
            if highest > 1:
                raise DataError(
                    f"{self.name}: floating point pixels up to {highest:g}, expected 0 to 1; "
                    "give the grey level that is white, such as -p white_level 4095."
                )
            return 1.0
        return float(next((level for level in WHITE_LEVELS if highest <= level), highest))

    def _highest(self, t: int) -> float:
        frame = self.raw(t)
        self.refuse_nan(frame, t)
        return float(frame.max())

    def refuse_nan(self, frame: np.ndarray, t: int) -> None:
        """Refuses frame t when a pixel is not a number.

        Raises:
            DataError: naming the first such pixel.
        """
        if frame.dtype.kind == "f" and not np.isfinite(frame).all():
            bad = np.argwhere(~np.isfinite(frame))
            y, x = bad[0].tolist()
            raise DataError(
                f"{self.where(t)}: {len(bad)} pixels are not numbers, the first at x {x}, y {y}; "
                "replace NaN and infinity by a grey level, such as that of the background."
            )

    def __getitem__(self, t: int) -> np.ndarray:
        """Frame t in [0, 1]; negative t counts from the end.

        Values outside 0..`scale` are clipped, with a warning where the white level was found and not given.

        Returns:
            float32 (Y, X), writable, an array of its own.

        Raises:
            IndexError: there is no such frame.
            DataError: the file is broken or missing, of another size or type than the others, in colour, or has
                pixels that are not numbers.
        """
        t, n = operator.index(t), len(self)
        if not -n <= t < n:
            raise IndexError(f"{self.name}: frame index {t}, expected 0..{n - 1}")
        t %= n
        scale, raw = np.float32(self.scale), self.raw(t)
        self.refuse_nan(raw, t)
        frame = raw.astype(np.float32)
        frame /= scale
        low, high = float(frame.min()), float(frame.max())
        if low < 0 or high > 1:
            if not self._given_level:
                warnings.warn(
                    f"{self.where(t)}: grey levels {low * scale:g} to {high * scale:g} leave 0..{scale:g}, the range "
                    "found in a sample of frames, and are clipped; give -p white_level",
                    CellweakWarning,
                    stacklevel=2,
                )
            np.clip(frame, 0, 1, out=frame)
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        """The frames in order, one in memory at a time."""
        return (self[t] for t in range(len(self)))

    def stack(self, frames: Sequence[int] | range | None = None) -> np.ndarray:
        """Several frames at once, for training: memory grows with their number.

        Args:
            frames: their indices, all by default.

        Returns:
            float32 (n, Y, X) in [0, 1].
        """
        wanted = range(len(self)) if frames is None else frames
        out = np.empty((len(wanted), *self.shape), np.float32)
        for i, t in enumerate(wanted):
            out[i] = self[t]
        return out

    def part(
        self, frames: Sequence[int] | range | None = None, region: tuple[int, int, int, int] | None = None
    ) -> FrameSource:
        """Some of the frames, or a region of them, read as lazily.

        Args:
            frames: indices of the frames that stay, in order, all by default.
            region: (top, bottom, left, right) in pixels, bottom and right not included.

        Returns:
            A source whose white level is this one's.
        """
        return PartSource(self, range(len(self)) if frames is None else frames, region)


class PartSource(FrameSource):
    """Some frames, or a region, of another source; made by `FrameSource.part`."""

    def __init__(
        self, whole: FrameSource, frames: Sequence[int] | range, region: tuple[int, int, int, int] | None = None
    ) -> None:
        height, width = whole.shape
        top, bottom, left, right = region or (0, height, 0, width)
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise ValueError(
                f"region: expected (top, bottom, left, right) within {height}x{width} (Y, X), given {region}."
            )
        indices = [operator.index(t) for t in frames]
        if indices != sorted(set(indices)) or (indices and not 0 <= indices[0] <= indices[-1] < len(whole)):
            raise ValueError(f"frames: expected rising indices of 0..{len(whole) - 1}, given {indices[:20]}.")
        numbers = [whole.numbers[t] for t in indices]
        super().__init__(whole.name, numbers, (bottom - top, right - left), whole.dtype, whole._given_level)
        self.whole, self.indices, self.region = whole, indices, (top, bottom, left, right)

    @property
    def scale(self) -> float:
        """The whole's white level, so that all parts of a sequence have one."""
        return self.whole.scale

    def raw(self, t: int) -> np.ndarray:
        """Frame t of the part as stored."""
        top, bottom, left, right = self.region
        return self.whole.raw(self.indices[t])[top:bottom, left:right].copy()

    def where(self, t: int) -> str:
        """Names frame t as the whole sequence does."""
        return self.whole.where(self.indices[t])

    def digest(self) -> str:
        """SHA-256 over the whole's digest and which part of it this is."""
        text = f"{self.whole.digest()}\0{self.indices}\0{self.region}\n"
        return hashlib.sha256(text.encode()).hexdigest()


class ArraySource(FrameSource):
    """A sequence that lies in memory, such as a simulated one.

    Args:
        array: (T, Y, X), uint8, uint16, bool or floating point; kept as it is, not copied.
        name: of the sequence.
        white_level: the grey level that becomes 1; 0 finds it, see `FrameSource.scale`.

    Raises:
        ValueError: not three axes, no frames, no pixels, or another type.
    """

    def __init__(self, array: np.ndarray, name: str = "array", white_level: float = 0) -> None:
        array = np.asarray(array)
        if array.ndim != 3 or not array.size:
            raise ValueError(f"array: expected frames (T, Y, X), given shape {array.shape}.")
        if array.dtype not in (np.uint8, np.uint16, np.bool_) and array.dtype.kind != "f":
            raise ValueError(f"array: expected uint8, uint16, bool or floating point, given {array.dtype}.")
        _, height, width = array.shape
        super().__init__(name, range(len(array)), (height, width), array.dtype, white_level)
        self.array = array

    def raw(self, t: int) -> np.ndarray:
        """Frame t as stored, a copy."""
        return self.array[t].copy()

    def digest(self) -> str:
        """SHA-256 over type, shape and pixels."""
        found = hashlib.sha256(f"{self.array.dtype.str}\0{self.array.shape}\n".encode())
        for frame in self.array:
            found.update(np.ascontiguousarray(frame).data)
        return found.hexdigest()


def open_frames(
    path: str | Path,
    axes: str = "TYX",
    white_level: float = 0,
    colour: str = "error",
) -> FrameSource:
    """Opens an image sequence: a folder of frames, one TIFF stack, or an OME-Zarr.

    Args:
        path: a folder of PNG, TIFF, JPEG or BMP files, one per frame; a TIFF file; or a folder `*.zarr`.
        axes: the order of the axes, T, Y and X once each and C for colour channels; "TYX" or "TYXC" for a folder.
        white_level: the grey level that becomes 1; 0 finds it, see `FrameSource.scale`.
        colour: "error" refuses frames whose channels differ, "mean" averages them.

    Returns:
        The sequence; of each file of a folder only the header has been read.

    Raises:
        ParameterError: `axes`, `white_level` or `colour` are none of these.
        DataError: nothing there, no numbers in the names or a gap in them, frames of several sizes, axes that the
            file contradicts, or a file that cannot be read.
    """
    from cellweak_core.tracking import readers

    return readers.open_frames(path, axes, white_level, colour)
