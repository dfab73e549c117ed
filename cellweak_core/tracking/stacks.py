"""One TIFF stack, read frame by frame: mapped where it is not compressed, page by page where it is."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cellweak_core.files import DataError, tree_digest
from cellweak_core.images import Colour
from cellweak_core.tracking.axes import refuse_implausible, resolve, to_plane
from cellweak_core.tracking.frames import FrameSource

BLOCK = 32  # side of the block that shows how neighbours differ


def middle_block(shape: Sequence[int]) -> tuple[slice, ...]:
    """Slices of up to 32 from the middle of each axis."""
    starts = [max(0, (size - BLOCK) // 2) for size in shape]
    return tuple(slice(start, start + BLOCK) for start in starts)


def plane_of(frame: np.ndarray, letters: str, where: str, colour: Colour) -> np.ndarray:
    """A frame with all axes but T as a grey plane; axes that are not Y, X or C have length 1 and go."""
    rest = letters.replace("T", "", 1)
    keep = tuple(slice(None) if letter in "YXC" else 0 for letter in rest)
    return to_plane(frame[keep], "".join(letter for letter in rest if letter in "YXC"), where, colour)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What tifffile says of a file's structure: it logs that pages are missing and goes on without them."""
    found: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "offset" in (message := record.getMessage()):
                found.append(message)

    logger, listener = logging.getLogger("tifffile"), Listener(logging.ERROR)
    logger.addHandler(listener)
    try:
        yield found
    finally:
        logger.removeHandler(listener)


class StackSource(FrameSource):
    """One TIFF file with all frames; each access opens it, reads one frame and closes it.

    Args:
        path: the file.
        axes: the order of its axes.
        white_level: as `FrameSource`.
        colour: what to do with channels that differ.

    Raises:
        DataError: see `frames.open_frames`.
    """

    def __init__(self, path: Path, axes: str, white_level: float, colour: Colour) -> None:
        import tifffile

        self.path, self.paths, self.colour = path, [path], colour
        try:
            with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
                self._layout(tiff, axes)
        except DataError:
            if not complaints:
                raise
        except Exception as error:  # tifffile raises nearly anything over a broken file
            raise DataError(f"{path}: broken or truncated TIFF ({error}); copy the file again.") from error
        if complaints:
            raise DataError(f"{path}: broken or truncated TIFF ({complaints[0]}); copy the file again.")
        n = self.full[self.letters.index("T")]
        self.assumed_axes = "" if self.known else self.letters
        if not self.known:
            refuse_implausible(str(path), self.full, self.letters, self._block(n))
        first = self._plane(0)
        super().__init__(path.stem, range(n), first.shape, first.dtype, white_level)

    def _layout(self, tiff: Any, axes: str) -> None:  # noqa: ANN401 - tifffile publishes no types
        if len(tiff.series) > 1:
            sizes = [f"{s.shape[-1]}x{s.shape[-2]}" for s in tiff.series[:3] if len(s.shape) > 1]
            raise DataError(
                f"{self.path}: {len(tiff.series)} images of several sizes or kinds ({', '.join(sizes)}, ...), "
                "expected one stack of frames of one size"
            )
        series = tiff.series[0]
        self.full = tuple(int(n) for n in series.shape)
        self.letters, self.known = resolve(str(self.path), self.full, axes, series.axes)
        self.stored = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
        self.offset = series.dataoffset  # None where compressed or scattered
        self.pages = len(series.pages)
        len(tiff.pages)  # walks the whole chain of pages
        needed = math.prod(self.full) * self.stored.itemsize
        if self.offset is not None and self.offset + needed > self.path.stat().st_size:
            raise DataError(
                f"{self.path}: truncated, {self.path.stat().st_size:,} bytes of {self.offset + needed:,}; copy it again"
            )
        if self.offset is None and not self.letters.startswith("T"):
            raise DataError(
                f"{self.path}: a compressed stack with axes {self.letters} cannot be read frame by frame; "
                "save it uncompressed, or with time first (T, Y, X)"
            )

    def _mapped(self) -> np.ndarray:
        # mapped anew at each access: pages of a mapping that stays count as memory of this process
        return np.memmap(self.path, self.stored, "r", int(self.offset or 0), self.full)

    def _frame(self, t: int) -> np.ndarray:
        """The pixels of time t with all axes but T."""
        try:
            if self.offset is not None:
                return np.array(self._mapped().take(t, self.letters.index("T")))
            each = self.pages // self.full[0]
            planes = [self._page(t * each + k) for k in range(each)]
            return np.stack(planes).reshape(self.full[1:])
        except Exception as error:  # as above
            raise DataError(f"{self.path}, frame {t}: broken or truncated ({error}); copy the file again.") from error

    def _page(self, k: int) -> np.ndarray:
        import tifffile

        try:
            with tifffile.TiffFile(self.path) as tiff:
                return np.asarray(tiff.pages[k].asarray())
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
        from PIL import Image

        with Image.open(self.path) as image:
            image.seek(k)
            return np.asarray(image)

    def _plane(self, t: int) -> np.ndarray:
        return plane_of(self._frame(t), self.letters, f"{self.path}, frame {t}", self.colour)

    def _block(self, n: int) -> np.ndarray:
        """A block from the middle, all axes kept."""
        middle = middle_block(self.full)
        if self.offset is not None:
            return np.array(self._mapped()[middle])
        return np.stack([self._frame(t)[middle[1:]] for t in range(n)[middle[0]]])

    def raw(self, t: int) -> np.ndarray:
        """Frame t as stored."""
        return self._plane(t)

    def where(self, t: int) -> str:
        """The file and the frame's index in it."""
        return f"{self.path}, frame {t}"

    def digest(self) -> str:
        """SHA-256 over the file's name and content."""
        return tree_digest(self.paths, self.path.parent)
