"""Rough positions of cells from a nuclear stain, by simple image processing (Nishimura 2020, Sec. 4.2; Table 5).

    stain --regions.segment_nuclei--> centroids of every frame

They stand in for an annotation: imprecise where nuclei touch, and blind where the stain is weak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..regions import segment_nuclei
from .segmentation import Frames

if TYPE_CHECKING:
    import pandas as pd

def nuclei_points(source: Frames, **options: float) -> pd.DataFrame:
    """Rough centroids of the nuclei of all frames, one frame in memory at a time.

    Args:
        source: Frames of the stain.
        options: Arguments of `segment_nuclei`.

    Returns:
        Columns frame, x, y.
    """
    import pandas as pd

    frames, positions = [np.empty(0, np.int64)], [np.empty((0, 2))]
    for t in range(len(source)):
        centres = segment_nuclei(source[t], **options).centres  # type: ignore[arg-type]
        frames.append(np.full(len(centres), t, np.int64))
        positions.append(centres)
    xy = np.concatenate(positions)
    return pd.DataFrame({"frame": np.concatenate(frames), "x": xy[:, 0], "y": xy[:, 1]})
