"""Image sequences on disk: which kind it is, and the kind of one file per frame.

```
img/t000.png t001.png ...  --FolderSource--------+
movie.tif (T, Y, X)        --stacks.StackSource--+--> raw(t): (Y, X)
movie.zarr                 --zarrs.ZarrSource----+
```
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from cellweak_core.files import DataError, tree_digest
from cellweak_core.images import SUFFIXES, Colour, decode_pixels, list_images
from cellweak_core.parameter_cells import ParameterError
from cellweak_core.tracking.axes import parse_axes, to_plane
from cellweak_core.tracking.frames import FrameSource

TIFF = frozenset({".tif", ".tiff"})
MOST_REPORTED = 10  # files named in one error


def open_frames(path: str | Path, axes: str, white_level: float, colour: str) -> FrameSource:
    """As `frames.open_frames`."""
    path, letters = Path(path), parse_axes(axes)
    if colour not in ("error", "mean"):
        raise ParameterError(f"colour: expected error or mean, given {colour!r}; write -p colour mean")
    if white_level < 0:
        raise ParameterError(f"white_level: expected a grey level above 0, or 0 to find it, given {white_level}")
    known = cast(Colour, colour)
    if path.suffix.lower() == ".zarr" and path.is_dir():
        from cellweak_core.tracking import zarrs

        return zarrs.ZarrSource(path, letters, white_level, known)
    if path.is_dir():
        files = list_images(path)
        if not files:
            raise DataError(f"{path}: no frames; expected PNG, TIFF or JPEG files, one per frame, or one TIFF stack")
        if len(files) > 1 or files[0].suffix.lower() not in TIFF:
            return FolderSource(files, letters, white_level, known, path.name)
        path = files[0]
    if not path.is_file():
        raise DataError(f"{path} is not there; expected a folder of frames, a TIFF stack or a folder *.zarr")
    if path.suffix.lower() not in TIFF:
        kind = "one image is one frame" if path.suffix.lower() in SUFFIXES else "not an image sequence"
        raise DataError(f"{path}: {kind}; expected a folder of frames, a TIFF stack or a folder *.zarr")
    from cellweak_core.tracking import stacks

    return stacks.StackSource(path, letters, white_level, known)


def frame_numbers(names: Sequence[str]) -> list[int]:
    """The frame number in each file name: the one number that differs from name to name.

    >>> frame_numbers(["exp1_F0009-00700.png", "exp1_F0009-00701.png"])
    [700, 701]

    Raises:
        DataError: names without a number, of several patterns, with several numbers that change, or one number twice.
    """
    parts = [re.split(r"(\d+)", name) for name in names]
    patterns = Counter(tuple(part[::2]) for part in parts)
    if len(patterns) > 1:
        usual = patterns.most_common(1)[0][0]
        odd = next(name for name, part in zip(names, parts, strict=True) if tuple(part[::2]) != usual)
        like = next(name for name, part in zip(names, parts, strict=True) if tuple(part[::2]) == usual)
        raise DataError(
            f"{odd}: another kind of name than {like}; expected one file per frame, alike but for the frame's number. "
            "Move other files elsewhere"
        )
    groups = [[int(text) for text in column] for column in zip(*(part[1::2] for part in parts), strict=True)]
    if not groups:
        raise DataError(f"{names[0]}: no number in the name; expected the frame's number, as in t000.png, t001.png")
    changing = [column for column in groups if len(set(column)) > 1]
    if len(changing) > 1:
        raise DataError(
            f"{names[0]}, {names[1]}: {len(changing)} numbers change from name to name, and one should, the frame's; "
            "rename the files, as to t000.png, t001.png"
        )
    numbers = changing[0] if changing else groups[-1]
    for number, times in Counter(numbers).items():
        if times > 1:
            same = [name for name, own in zip(names, numbers, strict=True) if own == number]
            raise DataError(f"{same[0]} and {same[1]} have the same frame number {number}; remove one of them")
    return numbers


def refuse_gap(numbers: Sequence[int], where: str) -> None:
    """Refuses frame numbers, in order, that are not equally far apart.

    A step above 1 is allowed when all steps are equal, as after keeping every fifth frame.

    Raises:
        DataError: naming the first numbers that are missing.
    """
    steps = np.diff(np.asarray(numbers, int))
    if len(steps) == 0 or (steps == steps[0]).all():
        return
    step = Counter(steps.tolist()).most_common(1)[0][0]
    at = int(np.flatnonzero(steps != step)[0])
    missing = list(range(numbers[at] + step, numbers[at + 1], step))
    what = f"frame {missing[0]} is missing" if missing else f"other frames are {step} apart"
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    raise DataError(
        f"{where}: the numbers in the file names go from {numbers[at]} to {numbers[at + 1]}: {what}{more}. Frames need "
        "equal times between them: put the missing files back, keep one unbroken run of them, or, if no frame is "
        "missing, renumber the files and the positions"
    )


def header_size(path: Path) -> tuple[int, int] | None:
    """(height, width) from a file's header, None where it has to be decoded to know.

    Raises:
        DataError: the file is empty.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UnidentifiedImageError:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: empty file; copy it again or remove it.") from None
        return None
    except (OSError, SyntaxError, ValueError):
        return None


class FolderSource(FrameSource):
    """One file per frame, sorted by the number in the name.

    Args:
        files: of one folder.
        axes: T, then the axes of each file.
        white_level: as `FrameSource`.
        colour: what to do with channels that differ.
        name: of the sequence.

    Raises:
        ParameterError: `axes` does not begin with T.
        DataError: see `frames.open_frames`; files of several sizes are listed, up to ten.
    """

    def __init__(self, files: Sequence[Path], axes: str, white_level: float, colour: Colour, name: str) -> None:
        if not axes.startswith("T"):
            raise ParameterError(f"axes: a folder holds one file per frame, so time comes first, as TYX; given {axes}")
        folder = files[0].parent
        try:
            numbers = frame_numbers([path.name for path in files])
        except DataError as error:
            raise DataError(f"{folder}: {error}") from None
        ordered = sorted(zip(numbers, files, strict=True))
        self.paths = [path for _, path in ordered]
        self.letters, self.colour = axes[1:], colour
        refuse_gap([number for number, _ in ordered], str(folder))
        self._refuse_sizes()
        first = self._decode(0)
        super().__init__(name, [number for number, _ in ordered], first.shape, first.dtype, white_level)

    def _refuse_sizes(self) -> None:
        found = [(path, size) for path in self.paths if (size := header_size(path))]
        counts = Counter(size for _, size in found)
        if len(counts) < 2:
            return
        (height, width), n = counts.most_common(1)[0]
        odd = [
            f"{path}: {w}x{h} pixels, where {n} of {len(found)} frames have {width}x{height}; crop or pad it to that."
            for path, (h, w) in found
            if (h, w) != (height, width)
        ]
        more = f"\n... and {len(odd) - MOST_REPORTED} more" if len(odd) > MOST_REPORTED else ""
        raise DataError("\n".join(odd[:MOST_REPORTED]) + more)

    def _decode(self, t: int) -> np.ndarray:
        path = self.paths[t]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}).") from None
        return to_plane(decode_pixels(content, path), self.letters, str(path), self.colour)

    def raw(self, t: int) -> np.ndarray:
        """Frame t as stored.

        Raises:
            DataError: the file is broken, or of another size or type than the first.
        """
        plane = self._decode(t)
        if plane.shape != self.shape:
            (h, w), (height, width) = plane.shape, self.shape
            raise DataError(f"{self.paths[t]}: {w}x{h} pixels, expected {width}x{height} as in {self.paths[0].name}.")
        if plane.dtype != self.dtype:
            raise DataError(
                f"{self.paths[t]}: pixels of type {plane.dtype}, expected {self.dtype} as in {self.paths[0].name}; "
                "save all frames with one bit depth."
            )
        return plane

    def where(self, t: int) -> str:
        """The file of frame t."""
        return str(self.paths[t])

    def digest(self) -> str:
        """SHA-256 over names and contents of the files."""
        return tree_digest(self.paths, self.paths[0].parent)
