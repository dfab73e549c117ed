"""A small film of moving cells, and its files as microscopes and people leave them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SHAPE = (40, 56)  # Y, X


def film(n: int = 6, shape: tuple[int, int] = SHAPE, dtype: type = np.uint8, white: float = 255) -> np.ndarray:
    """(T, Y, X): three bright blobs that move by two pixels from frame to frame, on smooth ground."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    frames = []
    for t in range(n):
        image = 0.2 + 0.05 * np.sin(rows / 9) * np.cos(columns / 9)
        for x, y, dx, dy in ((10, 10, 2, 1), (40, 20, -2, 1), (25, 30, 1, -2)):
            image += 0.6 * np.exp(-((columns - x - dx * t) ** 2 + (rows - y - dy * t) ** 2) / 18)
        frames.append(np.clip(image, 0, 1) * white)
    return np.stack(frames).astype(dtype)


def save(folder: Path, frames: np.ndarray, names: str = "t{:03d}.png", numbers: Sequence[int] | None = None) -> Path:
    """One file per frame."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in zip(numbers or range(len(frames)), frames, strict=True):
        Image.fromarray(frame).save(folder / names.format(number))
    return folder


def tracks() -> pd.DataFrame:
    """Cell 1 divides after frame 2 into 3 and 4; cell 2 is there throughout."""
    rows = [(t, 1, 10.0 + t, 12.0, -1) for t in range(3)]
    rows += [(t, 2, 40.0, 30.0 - t, -1) for t in range(6)]
    rows += [(t, 3, 14.0 + t, 8.0, 1) for t in range(3, 6)] + [(t, 4, 11.0 + t, 18.0, 1) for t in range(3, 6)]
    table = pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])
    return table.sort_values(["frame", "id"], ignore_index=True)
