"""Small films on the disk and their tables, shared by the migration chapter's tests."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

T, H, W = 6, 24, 32


def film(n: int = T, channels: int = 0, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    """(T, H, W), or (T, C, H, W)."""
    shape = (n, channels, H, W) if channels else (n, H, W)
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def table(cells: int = 2, n: int = T) -> pd.DataFrame:
    rows = [(c, t, 5.0 + 3 * c + t, 8.0 + c, "continuous" if c % 2 else "discontinuous")
            for t in range(n) for c in range(cells)]  # fmt: skip
    return pd.DataFrame(rows, columns=["cell", "frame", "x", "y", "label"])


def stack(path: Path, frames: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, frames, photometric="minisblack", **options)
    return path


def lay(root: Path, points: pd.DataFrame | None = None, frames: np.ndarray | None = None, name: str = "cells") -> Path:
    """A stack with the axes stated, and a table."""
    pixels = film() if frames is None else frames
    stack(root / name / "movie.tif", pixels, imagej=True, metadata={"axes": "TYX" if pixels.ndim == 3 else "TCYX"})
    (table() if points is None else points).to_csv(root / name / "points.csv", index=False)
    return root / name
