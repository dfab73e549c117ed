"""Single-cell crops on the disk: pixels that stay there until a batch asks for them, and a table row for row.

```
crops.npy (memory-mapped) | crops.zarr | crops.npz (key crops; in memory)    (N, H, W, C) or (N, C, H, W)  --+
or shards a.npy + a.csv, b.npy + b.csv ... in crops/, as `fields.cut_crops` leaves them                    --+--> Crops
cells.csv: plate, well, site, compound, concentration, moa ...               row for row                   --+
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cellweak_core.files import DataError, atomic_path, tree_digest
from cellweak_core.tables import write_csv

from .checks import well_of
from .crop_files import MOST_CHANNELS, axes_of, count_crops, crop_files, opened
from .crop_files import TABLES as TABLES
from .metadata import completed, read_table, renamed, require_control, require_one_spelling

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 4096  # crops in memory at a time


@dataclass(frozen=True)
class Crops:
    """Crops and their cells, row for row.

    Attributes:
        parts: Arrays of crops one after another, each `(n, H, W, C)` or `(n, C, H, W)` as `axes` says, read when they
            are needed.
        axes: "NHWC" or "NCHW".
        channels: Names of the channels, in the pixels' order.
        cells: Columns plate, well, batch, compound, concentration, control (bool), and moa where it is known; others as
            in the file.
        name: Of the data set.
        files: What it was read from.
        root: The folder of the files.
    """

    parts: Sequence[Any]
    axes: str
    channels: tuple[str, ...]
    cells: pd.DataFrame
    name: str
    files: tuple[Path, ...] = ()
    root: Path = Path()

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.cells)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the crops, px."""
        _, *shape = self.parts[0].shape
        return (shape[0], shape[1]) if self.axes == "NHWC" else (shape[1], shape[2])

    @property
    def control(self) -> NDArray[np.bool_]:
        """Which cells are controls, `(n,)`."""
        return self.cells["control"].to_numpy(bool)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the files' names and contents; reads them all."""
        return tree_digest(self.files, self.root) if self.files else ""

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([part.shape[0] for part in self.parts])

    def raw(self, rows: ArrayLike) -> NDArray[Any]:
        """Crops as stored, `(n, C, H, W)`, an array of its own.

        Args:
            rows: `(n,)` indices of cells, in any order, repeats allowed; or a mask of all cells.

        Raises:
            IndexError: No such cell.
            ValueError: Neither indices nor a mask.
        """
        wanted = self._indices(rows)
        height, width = self.size
        out = np.empty((len(wanted), len(self.channels), height, width), self.parts[0].dtype)
        part = np.searchsorted(self._ends, wanted, side="right")
        for k in np.unique(part).tolist():
            at = np.flatnonzero(part == k)
            inside = wanted[at] - (self._ends[k] - self.parts[k].shape[0])
            # in the disk's order, and each once: zarr takes no other, and a disk likes no other
            own, back = np.unique(inside, return_inverse=True)
            pixels = np.asarray(self.parts[k][own.tolist()] if isinstance(self.parts[k], np.ndarray)
                                else self.parts[k].oindex[own.tolist()])  # fmt: skip
            pixels = pixels.transpose(0, 3, 1, 2) if self.axes == "NHWC" else pixels
            out[at] = pixels[back]
        return out

    def _indices(self, rows: ArrayLike) -> NDArray[np.int64]:
        asked = np.asarray(rows)
        if asked.dtype == bool and asked.shape == (len(self),):
            asked = np.flatnonzero(asked)
        if asked.size and asked.dtype.kind not in "iu":
            raise ValueError(f"rows: expected indices or a mask of {len(self)} cells, got {asked.dtype} {asked.shape}")
        wanted = asked.astype(np.int64).ravel()
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"{self.name}: cells {wanted.min()} to {wanted.max()}, expected 0 to {len(self) - 1}")
        return wanted

    def checked(self, rows: ArrayLike) -> NDArray[Any]:
        """Crops as `raw`, refused where they are no light.

        Raises:
            DataError: Pixels below 0 or that are no numbers, with the cell's row.
            IndexError, ValueError: As `raw`.
        """
        wanted = self._indices(rows)
        pixels = self.raw(wanted)
        if pixels.dtype.kind == "f":
            good = (np.isfinite(pixels) & (pixels >= 0)).all((1, 2, 3))
            if not good.all():
                cell = wanted[int(good.argmin())]
                where = f"crop {cell}{well_of(self.cells.iloc[cell])}"
                raise DataError(f"{self.name}: {where} has pixels below 0 or that are no numbers; light is not")
        return pixels

    def batch(self, rows: ArrayLike) -> Tensor:
        """`rescaled` crops for a network, `(n, C, H, W)` float32 in [-1, 1].

        Raises:
            DataError, IndexError, ValueError: As `checked`.
        """
        return rescaled(torch.from_numpy(self.checked(rows).astype(np.float32)))


def rescaled(crops_nchw: Tensor) -> Tensor:
    """Each channel of each crop from [0, its maximum] to [-1, 1].

    The minimum is not taken off (DeepProfiler of the paper's week, imaging/cropping.py): m = max / 2, (x - m) / m.

    Args:
        crops_nchw: `(n, C, H, W)`, 0 or above.

    Returns:
        The same shape, float32; a channel without light is -1 all over.
    """
    crops = crops_nchw.float()
    half = crops.amax((2, 3), keepdim=True) / 2
    return torch.where(half > 0, crops / half.clamp_min(torch.finfo(torch.float32).tiny) - 1, -1.0)


def load_crops(
    path: str | Path,
    *,
    channels: Sequence[str] = (),
    axes: str = "",
    controls: Sequence[str] = ("DMSO",),
    columns: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> Crops:
    """Opens a folder of crops; pixels of `.npy` and `.zarr` stay on the disk.

    Args:
        path: The folder, see this module's drawing.
        channels: Their names, in order; numbers where none are given. Their count is compared with the pixels'.
        axes: "NHWC" or "NCHW"; "" finds which of the two it is, and refuses where both could be.
        controls: As `metadata.completed`.
        columns: As `metadata.renamed`.
        only: Names of shards (files of `crops/` without their ending) to open; all where none are given. Controls are
            then not asked for: they may lie in another shard.

    Raises:
        DataError: No folder, no crops or two sets of them, no table, a table of another length, an axis of channels
            that is none or that has another length than `channels`, pixels that are no numbers of 0 and above.
        ValueError: Other axes.
    """
    if axes not in ("", "NHWC", "NCHW"):
        raise ValueError(f"axes: expected NHWC or NCHW, got {axes!r}")
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"crops folder {root} is not there; expected a folder with crops.npy and cells.csv")
    pixels, tables = crop_files(root)
    if only:
        known = [one.stem for one in pixels]
        absent = [name for name in only if name not in known]
        if absent:
            raise DataError(f"{root}: no shard {', '.join(absent)}; found {', '.join(known)}")
        kept = [known.index(name) for name in only]
        pixels, tables = [pixels[k] for k in kept], [tables[k] for k in kept]
    parts = [opened(one) for one in pixels]
    frames = [read_table(one, may_be_empty=True) for one in tables]
    for one, part, frame in zip(tables, parts, frames, strict=True):
        if len(frame) != part.shape[0]:
            raise DataError(
                f"{one}: {len(frame)} cells, and {part.shape[0]} crops beside it; expected a row for each crop"
            )
    found = axes or axes_of(parts[0].shape, channels, pixels[0])
    for one, part in zip(pixels, parts, strict=True):
        if part.ndim != 4 or part.shape[1:] != parts[0].shape[1:] or part.dtype != parts[0].dtype:
            raise DataError(
                f"{one}: {part.dtype} of shape {part.shape}, expected {parts[0].dtype} of (n, "
                f"{', '.join(map(str, parts[0].shape[1:]))}) as in {pixels[0].name}"
            )
    n_channels = parts[0].shape[3 if found == "NHWC" else 1]
    if n_channels > MOST_CHANNELS:
        shape = tuple(parts[0].shape)
        raise DataError(f"{pixels[0]}: {n_channels} channels by axes={found!r} of shape {shape}; is it the other?")
    if channels and n_channels != len(channels):
        raise DataError(
            f"{pixels[0]}: {n_channels} channels, expected {len(channels)} ({', '.join(channels)}); give the names of "
            "those that are there"
        )
    import pandas as pd

    # one by one: a shard of numbers only has other types than one of names, and an error names its own file
    own = [
        completed(renamed(frame, dict(columns or {}), one), controls, one, ("crop",), need_control=False)
        for one, frame in zip(tables, frames, strict=True) if len(frame)
    ]  # fmt: skip
    if not own:
        raise DataError(f"{root}: no cells at all")
    cells = pd.concat(own, ignore_index=True)
    if len(tables) > 1:
        require_one_spelling(cells, root)
    if not only:
        require_control(cells, controls, tables[0])
    names = tuple(channels) or tuple(f"channel {k}" for k in range(n_channels))
    files = tuple(f for one in pixels for f in (sorted(one.rglob("*")) if one.is_dir() else [one]) if f.is_file())
    return Crops(parts, found, names, cells, root.name, (*files, *tables), root)


def shards(path: str | Path) -> list[tuple[str, int]]:
    """Name and number of cells of each file of crops in a folder, without reading pixels or tables.

    Raises:
        DataError: As `load_crops`.
    """
    return [(one.stem, count_crops(one)) for one in crop_files(Path(path))[0]]


def write_crops(crops: Crops, folder: str | Path) -> Path:
    """Crops and their table on the disk, as `load_crops` reads them: a simulated screen becomes one like any other.

    A screen that lies there as this function leaves one, `crops.npy` and `cells.csv`, gives way to the new one, so that
    a chapter runs again in its folder. The table goes first and comes last: a killed call leaves no pixels beside the
    cells of others.

    Returns:
        The folder.

    Raises:
        DataError: The folder holds anything else.
        FullDiskError: No room for the pixels.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    pixels, cells = root / "crops.npy", root / "cells.csv"
    others = [one.name for one in sorted(root.iterdir()) if not one.name.startswith(".") and one not in (pixels, cells)]
    if others:
        raise DataError(
            f"{root}: holds {', '.join(others[:3])}{' ...' if len(others) > 3 else ''}, expected a new folder, or one "
            f"of {pixels.name} and {cells.name} only, which are written anew; give another folder"
        )
    cells.unlink(missing_ok=True)
    shape, dtype = (len(crops), *crops.parts[0].shape[1:]), crops.parts[0].dtype
    with atomic_path(pixels) as part, part.open("wb") as file:
        plain = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, plain)
        for one in crops.parts:
            for start in range(0, one.shape[0], CHUNK):
                file.write(np.ascontiguousarray(one[start : start + CHUNK], dtype).data)
    write_csv(crops.cells, cells)
    return root
