"""True motion maps drawn from hand-written cells, and what tracks of them must be."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
SHAPE = 160, 200


def drawn(pairs: list[tuple[float, ...]], shape: tuple[int, int] = SHAPE, sigma: float = 6, z: float = 5) -> Array:
    """The map of pairs x0, y0, x1, y1, evaluated at every pixel: the nearest cell's vector to its earlier position."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    best, out = np.zeros(shape), np.zeros((3, *shape))
    for x0, y0, x1, y1 in pairs:
        height = np.exp(-((columns - x1) ** 2 + (rows - y1) ** 2) / (2 * sigma**2))
        vector = np.stack([y0 - rows, x0 - columns, np.full(shape, z)])
        vector *= height / np.linalg.norm(vector, axis=0)
        out, best = np.where(height > best, vector, out), np.maximum(height, best)
    return out


def truth_of(rows: list[tuple[int, int, float, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


def maps_of(truth: pd.DataFrame, frames: list[int]) -> Callable[[int], Array]:
    """`predict`: the true map of each pair; a cell without a past in the frame before is drawn where it stands."""

    def predict(k: int) -> Array:
        before = {r.id: (r.x, r.y) for r in truth[truth["frame"] == frames[k - 1]].itertuples()}
        now = truth[truth["frame"] == frames[k]]
        return drawn([(*before.get(r.id, before.get(r.parent, (r.x, r.y))), r.x, r.y) for r in now.itertuples()])

    return predict


def assert_same_tracks(tracks: pd.DataFrame, truth: pd.DataFrame, off_px: float = 1.5) -> None:
    """Every true row has its own row of the tracks, and ids and parents map one to one."""
    assert tracks["frame"].value_counts().to_dict() == truth["frame"].value_counts().to_dict()
    ids = dict[int, int]()
    for row in truth.itertuples():
        there = tracks[tracks["frame"] == row.frame]
        distance = np.hypot(there["x"] - row.x, there["y"] - row.y)
        assert distance.min() < off_px
        found = there.loc[distance.idxmin()]
        assert ids.setdefault(row.id, int(found["id"])) == found["id"]
        assert found["parent"] == ids.get(row.parent, -1)
    assert len(set(ids.values())) == len(ids) == tracks["id"].nunique()
