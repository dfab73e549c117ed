"""Image sequences with the positions of cells and, where an expert looked, the mode in which they migrate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("sequence", "cell", "frame", "x", "y", "label")


@dataclass(frozen=True)
class Films:
    """Sequences and the cells in them.

    Attributes:
        frames: A film by its name; each is indexed by frame number and gives `(C, H, W)` of the film's own type, read
            when it is asked for. Films have a length and a `shape` (C, H, W).
        channels: Names of the channels, in the pixels' order.
        points: One row for each cell and frame, sorted by cell and frame: sequence (a film), cell ("FILM/ID", unique
            over all films), frame (int, from 0), x, y (px, float; (0, 0) is the middle of the first pixel) and, where
            there are labels, label ("continuous", "discontinuous" or "unknown").
        name: Of the data set.
        digest: SHA-256 of the files, or of the arrays of simulated films.
    """

    frames: Mapping[str, Any]
    channels: tuple[str, ...]
    points: pd.DataFrame
    name: str
    digest: str = ""
