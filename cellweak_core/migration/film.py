"""What every film is: frames by number, each an array of its own."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import DataError

Array = NDArray[Any]


class Film(ABC):
    """Frames of a film; nothing is kept between two accesses.

    Attributes:
        paths: Its files.
        numbers: The frames' numbers in the files' names, in order; 0 to T-1 in a stack.
        letters: Of the axes as they were read.
        shape: (T, C, H, W).
        dtype: Of the pixels.
    """

    paths: Sequence[Path]
    numbers: Sequence[int]
    letters: str
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]

    def begin(self) -> None:
        """Read the first frame, of whose shape and type the others must be."""
        first = self._read(0)
        channels, height, width = first.shape
        self.shape, self.dtype = (len(self.numbers), channels, height, width), first.dtype

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.numbers)

    @abstractmethod
    def _read(self, t: int) -> Array:
        """Frame t, `(C, H, W)`."""

    @abstractmethod
    def where(self, t: int) -> str:
        """Names frame t in errors."""

    def __getitem__(self, t: int) -> Array:
        """Frame t, `(C, H, W)`, an array of its own.

        Raises:
            IndexError: No such frame.
            DataError: It cannot be read, or has another size or type than the first.
        """
        t = operator.index(t)
        if not 0 <= t < len(self):
            raise IndexError(f"{self.paths[0]}: frame {t}, expected 0 to {len(self) - 1}")
        frame = self._read(t)
        if (frame.shape, frame.dtype) != (self.shape[1:], self.dtype):
            raise DataError(
                f"{self.where(t)}: {_said(frame.shape)} of {frame.dtype}, expected {_said(self.shape[1:])} of "
                f"{self.dtype} as in the first frame; save all frames alike"
            )
        return frame

    def __iter__(self) -> Iterator[Array]:
        """The frames in order."""
        return (self[t] for t in range(len(self)))


def _said(shape: Sequence[int]) -> str:
    return f"{shape[2]}x{shape[1]} pixels in {shape[0]} channel{'s' * (shape[0] != 1)}"
