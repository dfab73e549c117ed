"""Square patches round the cells: cut from the films, and kept on the disk while networks train on them.

    films --(made smaller)--cut--> (n, C, s, s)
                           --write--> FOLDER/patches.npy + points.csv, row for row --load--> mapped
                           --kept---> ROOT/DIGEST/..., cut where they are not there yet

Patches depend on pixels and centroids, not on labels: their table has none, so that no label in it goes stale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError, atomic_path
from ..tables import read_csv, write_csv
from .data import Films

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
BORDERS = ("edge", "zero")
SIZE_PX = 227  # Gupta 2020, Sec. 3
PIXELS, TABLE = "patches.npy", "points.csv"
COLUMNS = {"sequence": "str", "cell": "str", "frame": "int", "x": "float", "y": "float"}  # points.COLUMNS but the label


def cut(
    films: Films, rows: ArrayLike, size_px: int = SIZE_PX, border: str = "edge", downsample: int = 1
) -> Array:  # fmt: skip
    """Patches round centroids (Gupta 2020, Sec. 3: 227 x 227 px "from the manually annotated centroid").

    Frames are made smaller first (Sec. 2: "downsampled by a factor of two"), by Lanczos' filter with three lobes, which
    the authors' draft names. Of f x f pixels comes one: a side that is no multiple of f loses the pixels beyond the
    last multiple, and a centroid x becomes (x + 0.5) / f - 0.5.

    Args:
        films: With the cells.
        rows: `(n,)` rows of `films.points` by their position, in any order; or a mask of all of them.
        size_px: Side of the patches. The pixel nearest to the centroid is their middle; of an even side, the first
            pixel right and below of the middle.
        border: What lies beyond the image: "edge" repeats its border, "zero" is dark.
        downsample: The whole factor f by which frames are made smaller; 1 leaves them as they are. The patch has
            `size_px` pixels of the smaller frame.

    Returns:
        `(n, C, size_px, size_px)` of the films' type; smaller frames are rounded to it where it is of integers, and
        clipped to its range.

    Raises:
        IndexError: No such row.
        ValueError: Another border, a side or factor below 1, or neither rows nor a mask.
        DataError: A film whose frames are smaller than the factor; as the films.
    """
    wanted = _positions(films, rows, size_px, border, downsample)
    channels, dtype = _kind(films)
    out = np.empty((len(wanted), channels, size_px, size_px), dtype)
    for k, patch in _patches(films, wanted, size_px, border, downsample):
        out[k] = patch
    return out


def write(
    films: Films, folder: str | Path, size_px: int = SIZE_PX, border: str = "edge", downsample: int = 1
) -> Path:  # fmt: skip
    """Cuts the patches of all rows, a frame in memory at a time, and writes them with their table.

    Args:
        films: With the cells.
        folder: Made where it is not there; patches in it are replaced, whole or not at all.
        size_px: As `cut`.
        border: As `cut`.
        downsample: As `cut`.

    Returns:
        `folder`.

    Raises:
        ValueError, DataError: As `cut`.
        OSError: A full disk.
    """
    root = Path(folder)
    wanted = _positions(films, np.arange(len(films.points)), size_px, border, downsample)
    channels, dtype = _kind(films)
    shape = (len(wanted), channels, size_px, size_px)
    each = int(np.prod(shape[1:])) * dtype.itemsize
    # a table of other patches beside these would go unnoticed, no table does not
    (root / TABLE).unlink(missing_ok=True)
    with atomic_path(root / PIXELS) as part, part.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for k, patch in _patches(films, wanted, size_px, border, downsample):
            file.seek(start + k * each)
            file.write(np.ascontiguousarray(patch, dtype).data)
    # last, so that its presence says that the patches are whole; what simulated films know of their cells beside is
    # not for patches, and would come back as text
    write_csv(films.points[list(COLUMNS)], root / TABLE)
    return root


def load(folder: str | Path) -> tuple[Array, pd.DataFrame]:
    """Patches of `write`, which stay on the disk, and their table.

    Returns:
        Patches `(n, C, s, s)`, memory-mapped, and the points without labels, row for row.

    Raises:
        DataError: One is missing or broken, or they do not go together.
    """
    root = Path(folder)
    path = root / PIXELS
    try:
        pixels: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read ({str(error).splitlines()[0]}); cut the patches again") from error
    points = read_csv(root / TABLE, COLUMNS)[list(COLUMNS)]
    if pixels.ndim != 4 or len(pixels) != len(points):
        raise DataError(f"{root}: patches of shape {pixels.shape} for {len(points)} rows; cut the patches again")
    return pixels, points


def digest(films: Films, size_px: int = SIZE_PX, border: str = "edge", downsample: int = 1) -> str:
    """Key of all patches: hexadecimal SHA-256 of the films' own, the points without labels, and how patches are cut.

    Args:
        films: With a digest.
        size_px: As `cut`.
        border: As `cut`.
        downsample: As `cut`.

    Raises:
        ValueError: Films without a digest: nothing would tell their pixels from others.
    """
    if not films.digest:
        raise ValueError(f"{films.name}: expected films with a digest; without one their patches have no key")
    # files are the same, and their pixels are not, when their axes are read in another order
    axes = [f"{film.shape}{getattr(film, 'letters', '')}" for film in films.frames.values()]
    told = f"{films.digest}\0{axes}\0{size_px}\0{border}\0{downsample}\n"
    return hashlib.sha256((told + films.points[list(COLUMNS)].to_csv(index=False)).encode()).hexdigest()


def kept(
    films: Films, root: str | Path, size_px: int = SIZE_PX, border: str = "edge", downsample: int = 1
) -> tuple[Path, str]:  # fmt: skip
    """Patches of all rows in a folder of their own, which are cut only where it has none that are whole.

    Args:
        films: With the cells, and a digest.
        root: Folder of such folders.
        size_px: As `cut`.
        border: As `cut`.
        downsample: As `cut`.

    Returns:
        The folder, `root` / the first 12 digits of the digest, for `load`; and the digest.

    Raises:
        ValueError, DataError, OSError: As `write` and `digest`.
    """
    key = digest(films, size_px, border, downsample)
    folder = Path(root) / key[:12]
    shape = (len(films.points), _kind(films)[0], size_px, size_px)
    try:
        whole = load(folder)[0].shape == shape
    except DataError:  # none, or a write that was killed
        whole = False
    if not whole:
        for left in folder.glob(f".{PIXELS}.*.part"):  # as large as the patches
            left.unlink(missing_ok=True)
        write(films, folder, size_px, border, downsample)
    return folder, key


def _positions(films: Films, rows: ArrayLike, size_px: int, border: str, downsample: int) -> NDArray[np.int64]:
    if border not in BORDERS:
        raise ValueError(f"border: expected {' or '.join(BORDERS)}, got {border!r}")
    if size_px < 1:
        raise ValueError(f"size_px: expected 1 or more, got {size_px}")
    if downsample < 1:
        raise ValueError(f"downsample: expected 1 (frames as they are) or more, got {downsample}")
    for name, film in films.frames.items():
        if min(film.shape[2:]) < downsample:
            height, width = film.shape[2:]
            raise DataError(
                f"film {name}: frames of {width}x{height} pixels (X x Y) cannot be made {downsample} times smaller; "
                "take a smaller downsample"
            )
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


def _patches(
    films: Films, wanted: NDArray[np.int64], size_px: int, border: str, downsample: int
) -> Iterator[tuple[int, Array]]:
    """Each patch with its place among the rows wanted, in the order of the frames: each frame is read once."""
    # positions, whatever the table's own index is
    points = films.points.iloc[wanted][["sequence", "frame", "x", "y"]].reset_index(drop=True)
    offsets = np.arange(size_px) - size_px // 2
    for _, of_frame in points.groupby(["sequence", "frame"], sort=True):
        first = of_frame.iloc[0]
        frame = _smaller(films.frames[first["sequence"]][int(first["frame"])], downsample)
        _, height, width = frame.shape
        # the middle of the first pixel is at 0, its left edge at -0.5, whatever the pixel's size
        x_px, y_px = ((of_frame[name].to_numpy(float) + 0.5) / downsample - 0.5 for name in "xy")
        columns = np.clip(np.rint(x_px).astype(np.int64), 0, width - 1)
        lines = np.clip(np.rint(y_px).astype(np.int64), 0, height - 1)
        for k, x, y in zip(of_frame.index.tolist(), columns.tolist(), lines.tolist(), strict=True):
            down, across = y + offsets, x + offsets
            patch = frame[:, np.clip(down, 0, height - 1)[:, None], np.clip(across, 0, width - 1)]
            if border == "zero":
                inside = ((down >= 0) & (down < height))[:, None] & (across >= 0) & (across < width)
                patch = np.where(inside, patch, frame.dtype.type(0))
            yield k, patch


def _smaller(frame: Array, factor: int) -> Array:
    """`(C, H, W)` to `(C, H // factor, W // factor)` of the same type."""
    if factor == 1:
        return frame
    from PIL import Image

    size = (frame.shape[2] // factor, frame.shape[1] // factor)
    whole = frame[:, : size[1] * factor, : size[0] * factor].astype(np.float32)
    out = np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.LANCZOS)) for one in whole])
    if frame.dtype.kind != "f":
        # the filter's negative lobes leave the range beside bright edges
        ends = np.iinfo(frame.dtype)
        out = np.clip(np.rint(out), ends.min, ends.max)
    return out.astype(frame.dtype)
