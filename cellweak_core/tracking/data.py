"""An image sequence with the positions of its cells: reading and checking it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cellweak_core.tracking.frames import FrameSource

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrackingData:
    """A sequence and what is known of its cells.

    Attributes:
        source: the frames.
        points: columns frame (index into `source`), x, y and, where cells have identities, id and parent (-1 = none,
            the same on every row of a cell); sorted by frame. None where there are no positions.
        linked: whether identities are known, so that tracks can be compared with them.
        name: of the data set, as it stands in tables of results.
        digest: SHA-256 over the files' names and contents; None for simulated data.
        nuclei: a nuclear stain of the same frames, or None.
    """

    source: FrameSource
    points: pd.DataFrame | None
    linked: bool
    name: str
    digest: str | None = None
    nuclei: FrameSource | None = field(default=None)
