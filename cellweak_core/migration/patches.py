"""Square patches round the cells: cut from the films, and kept on the disk while networks train on them.

    films --cut--> (n, C, s, s)          --write--> FOLDER/patches.npy + points.csv, row for row --load--> mapped
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError, atomic_path
from ..tables import read_csv, write_csv
from .data import Films
from .labels import MODES, UNKNOWN
from .points import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
BORDERS = ("edge", "zero")
SIZE_PX = 227  # Gupta 2020, Sec. 3
PIXELS, TABLE = "patches.npy", "points.csv"


def cut(films: Films, rows: ArrayLike, size_px: int = SIZE_PX, border: str = "edge") -> Array:
    """Patches round centroids (Gupta 2020, Sec. 3: 227 x 227 px "from the manually annotated centroid").

    Args:
        films: With the cells.
        rows: `(n,)` rows of `films.points` by their position, in any order; or a mask of all of them.
        size_px: Side of the patches. The pixel nearest to the centroid is their middle; of an even side, the first
            pixel right and below of the middle.
        border: What lies beyond the image: "edge" repeats its border, "zero" is dark.

    Returns:
        `(n, C, size_px, size_px)` of the films' type.

    Raises:
        IndexError: No such row.
        ValueError: Another border, a side below 1, or neither rows nor a mask.
        DataError: As the films.
    """
    wanted = _positions(films, rows, size_px, border)
    channels, dtype = _kind(films)
    out = np.empty((len(wanted), channels, size_px, size_px), dtype)
    for k, patch in _patches(films, wanted, size_px, border):
        out[k] = patch
    return out


def write(films: Films, folder: str | Path, size_px: int = SIZE_PX, border: str = "edge") -> Path:
    """Cuts the patches of all rows, a frame in memory at a time, and writes them with their table.

    Args:
        films: With the cells.
        folder: Made where it is not there; patches in it are replaced, whole or not at all.
        size_px: As `cut`.
        border: As `cut`.

    Returns:
        `folder`.

    Raises:
        ValueError, DataError: As `cut`.
        OSError: A full disk.
    """
    root = Path(folder)
    wanted = _positions(films, np.arange(len(films.points)), size_px, border)
    channels, dtype = _kind(films)
    shape = (len(wanted), channels, size_px, size_px)
    each = int(np.prod(shape[1:])) * dtype.itemsize
    # a table of other patches beside these would go unnoticed, no table does not
    (root / TABLE).unlink(missing_ok=True)
    with atomic_path(root / PIXELS) as part, part.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for k, patch in _patches(films, wanted, size_px, border):
            file.seek(start + k * each)
            file.write(np.ascontiguousarray(patch, dtype).data)
    # what simulated films know of their cells beside is not for patches, and would come back as text
    write_csv(films.points[[name for name in COLUMNS if name in films.points]], root / TABLE)
    return root


def load(folder: str | Path) -> tuple[Array, pd.DataFrame]:
    """Patches of `write`, which stay on the disk, and their table.

    Returns:
        Patches `(n, C, s, s)`, memory-mapped, and the points, row for row.

    Raises:
        DataError: One is missing or broken, or they do not go together.
    """
    root = Path(folder)
    path = root / PIXELS
    try:
        pixels: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); cut the patches again") from error
    columns = {"sequence": "str", "cell": "str", "frame": "int", "x": "float", "y": "float"}
    points = read_csv(root / TABLE, columns, {"label": "str"})
    if pixels.ndim != 4 or len(pixels) != len(points):
        raise DataError(f"{root}: patches of shape {pixels.shape} for {len(points)} rows; cut the patches again")
    if "label" in points and not set(points["label"]) <= {*MODES, UNKNOWN}:
        raise DataError(f"{root / TABLE}: expected labels {', '.join((*MODES, UNKNOWN))}; cut the patches again")
    return pixels, points


def _positions(films: Films, rows: ArrayLike, size_px: int, border: str) -> NDArray[np.int64]:
    if border not in BORDERS:
        raise ValueError(f"border: expected {' or '.join(BORDERS)}, got {border!r}")
    if size_px < 1:
        raise ValueError(f"size_px: expected 1 or more, got {size_px}")
    asked, n = np.asarray(rows), len(films.points)
    if asked.dtype == bool and asked.shape == (n,):
        asked = np.flatnonzero(asked)
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise ValueError(f"rows: expected positions (n,) or a mask of {n} rows, got {asked.dtype} {asked.shape}")
    wanted = asked.astype(np.int64)
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < n:
        raise IndexError(f"{films.name}: rows {wanted.min()} to {wanted.max()}, expected 0 to {n - 1}")
    return wanted


def _kind(films: Films) -> tuple[int, np.dtype[Any]]:
    """Number of channels and type of the pixels."""
    first = next(iter(films.frames.values()))
    return int(first.shape[1]), np.dtype(first.dtype)


def _patches(films: Films, wanted: NDArray[np.int64], size_px: int, border: str) -> Iterator[tuple[int, Array]]:
    """Each patch with its place among the rows wanted, in the order of the frames: each frame is read once."""
    # positions, whatever the table's own index is
    points = films.points.iloc[wanted][["sequence", "frame", "x", "y"]].reset_index(drop=True)
    offsets = np.arange(size_px) - size_px // 2
    for _, of_frame in points.groupby(["sequence", "frame"], sort=True):
        first = of_frame.iloc[0]
        frame = films.frames[first["sequence"]][int(first["frame"])]
        _, height, width = frame.shape
        columns = np.clip(np.rint(of_frame["x"]).to_numpy(np.int64), 0, width - 1)
        lines = np.clip(np.rint(of_frame["y"]).to_numpy(np.int64), 0, height - 1)
        for k, x, y in zip(of_frame.index.tolist(), columns.tolist(), lines.tolist(), strict=True):
            down, across = y + offsets, x + offsets
            patch = frame[:, np.clip(down, 0, height - 1)[:, None], np.clip(across, 0, width - 1)]
            if border == "zero":
                inside = ((down >= 0) & (down < height))[:, None] & (across >= 0) & (across < width)
                patch = np.where(inside, patch, frame.dtype.type(0))
            yield k, patch
