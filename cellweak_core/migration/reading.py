"""Films on the disk, read a frame at a time.

    t000.png t001.png ...       FolderFilm --+
    movie.tif, movie.ome.tif    TiffFilm  ---+--> film[t]: (C, H, W) of its own type, len(film), film.shape (T, C, H, W)
    movie.zarr                  ZarrFilm  ---+

Channels are what the file has: two are two. Only in PNG is a second or fourth channel transparency, which is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import DataError
from ..images import decode_pixels, list_images
from .axes import resolve, to_chw
from .film import Array, Film
from .stacks import TiffFilm, ZarrFilm, opened

TIFF = frozenset({".tif", ".tiff"})


def open_film(path: Path, axes: str, n_channels: int) -> Film:
    """Opens a film.

    Args:
        path: A TIFF, a folder `*.zarr`, or a folder of frames (or of one stack).
        axes: Of `axes.parse_axes`.
        n_channels: How many channels have names; 0 where none have.

    Raises:
        DataError: Nothing to open, or it is broken.
    """
    if path.suffix.lower() == ".zarr":
        return ZarrFilm(path, axes, n_channels)
    files = list_images(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no frames; expected PNG or TIFF files, one for each frame, or one TIFF stack")
    if len(files) == 1 and files[0].suffix.lower() in TIFF:
        return TiffFilm(files[0], axes, n_channels)
    return FolderFilm(files, axes, n_channels)


def is_stack(path: Path, axes: str) -> bool:
    """Whether a TIFF among others is a film of its own, not a frame.

    It is one if its axes have time or depth; where it does not state them, if it has as many as `axes` has letters, or
    more than two without any `axes`.

    Raises:
        DataError: It cannot be read.
    """
    if path.suffix.lower() not in TIFF:
        return False
    with opened(path) as tiff:
        shape, stated = tiff.series[0].shape, tiff.series[0].axes.upper()
    if set(stated) <= set("TZCSYX"):
        return any(letter in "TZ" and n > 1 for letter, n in zip(stated, shape, strict=True))
    return len(shape) == len(axes) if axes else len(shape) > 2


def frame_numbers(files: Sequence[Path]) -> list[int]:
    """The frames' numbers: the one number that differs from name to name.

    >>> frame_numbers([Path("exp1_t07.png"), Path("exp1_t08.png")])
    [7, 8]

    Raises:
        DataError: Names unlike each other, without a number, with several that change, or one number twice.
    """
    parts = [re.split(r"(\d+)", file.name) for file in files]
    usual = Counter(tuple(part[::2]) for part in parts).most_common(1)[0][0]
    for file, part in zip(files, parts, strict=True):
        if tuple(part[::2]) != usual:
            like = next(f for f, p in zip(files, parts, strict=True) if tuple(p[::2]) == usual)
            raise DataError(
                f"{file}: another kind of name than {like.name}; expected one file for each frame, alike but for the "
                "frame's number. Move other files elsewhere"
            )
    columns = [[int(text) for text in column] for column in zip(*(part[1::2] for part in parts), strict=True)]
    changing = [column for column in columns if len(set(column)) > 1]
    if not columns or len(changing) > 1:
        found = f"{len(changing)} numbers change from name to name" if columns else "no number in the name"
        raise DataError(f"{files[0]}: {found}; expected one, the frame's, as in t000.png, t001.png")
    numbers = changing[0] if changing else columns[-1]
    number, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        same = [file for file, own in zip(files, numbers, strict=True) if own == number]
        raise DataError(f"{same[0]} and {same[1].name} have the same frame number {number}; remove one of them")
    return numbers


class FolderFilm(Film):
    """One file for each frame, in the order of the numbers in their names, which are equally far apart."""

    def __init__(self, files: Sequence[Path], axes: str, n_channels: int) -> None:
        if axes and axes[0] != "T":
            raise DataError(f"{files[0].parent}: one file for each frame, so time comes first in axes; given {axes}")
        ordered = sorted(zip(frame_numbers(files), files, strict=True))
        self.numbers, self.paths = [number for number, _ in ordered], [file for _, file in ordered]
        steps = np.diff(self.numbers)
        if len(steps) and (steps != steps[0]).any():
            usual = Counter(steps.tolist()).most_common(1)[0][0]
            at = int(np.flatnonzero(steps != usual)[0])
            raise DataError(
                f"{files[0].parent}: the numbers in the files' names go from {self.numbers[at]} to "
                f"{self.numbers[at + 1]}, elsewhere in steps of {usual}. Frames need equal times between them: put the "
                "missing files back, or make films of the unbroken parts"
            )
        self.axes, self.n_channels = axes, n_channels
        self.letters = self._letters(self.paths[0])
        self.begin()

    def _letters(self, path: Path) -> str:
        if path.suffix.lower() not in TIFF:
            shape = decode_pixels(path.read_bytes(), path).shape
            return resolve(str(path), shape, "YXC"[: len(shape)], "", self.n_channels, one_frame=True)
        with opened(path) as tiff:
            series = tiff.series[0]
            return resolve(str(path), series.shape, series.axes, self.axes, self.n_channels, one_frame=True)

    def _read(self, t: int) -> Array:
        path = self.paths[t]
        try:
            pixels = decode_pixels(path.read_bytes(), path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        if path.suffix.lower() not in TIFF and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
            pixels = pixels[..., :-1]
        if pixels.ndim != len(self.letters):
            raise DataError(f"{path}: shape {pixels.shape}, expected the axes of {self.paths[0].name}, {self.letters}")
        return to_chw(pixels, self.letters, str(path))

    def where(self, t: int) -> str:
        """The frame's file."""
        return str(self.paths[t])
