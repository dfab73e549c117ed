"""Which files of a folder are crops, and how they open: see the drawing in `crops`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cellweak_core.files import DataError

from .metadata import holds

TABLES = ("cells.csv", "cells.csv.gz", "cells.parquet")
MOST_CHANNELS = 8  # an axis longer than this is not one of channels
KINDS = "uf"  # of numbers that are light
MEMBER = "crops.npy"  # as the array `crops` is called in a `.npz`


def crop_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Files of pixels and their tables, one for one.

    Raises:
        DataError: No pixels or two sets of them, no table or several.
    """
    single = [root / f"crops{suffix}" for suffix in (".npy", ".npz", ".zarr") if (root / f"crops{suffix}").exists()]
    shards = sorted((root / "crops").glob("*.npy")) if (root / "crops").is_dir() else []
    if len(single) + bool(shards) != 1:
        found = ", ".join([one.name for one in single] + (["crops/"] if shards else [])) or f"none; {holds(root)}"
        raise DataError(f"{root}: expected one of crops.npy, crops.npz, crops.zarr or a folder crops/, found {found}")
    if shards:
        tables = [one.with_suffix(".csv") for one in shards]
        missing = next((one for one in tables if not one.is_file()), None)
        if missing is not None:
            raise DataError(f"{missing} is not there; expected the cells of {missing.with_suffix('.npy').name}")
        return shards, tables
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if len(tables) != 1:
        found = " and ".join(one.name for one in tables) or "none of them"
        raise DataError(f"{root}: expected one of {', '.join(TABLES)} beside {single[0].name}, found {found}")
    return single, tables


def opened(path: Path) -> Any:  # noqa: ANN401 - numpy's or zarr's array
    """The array of a file of pixels; that of `.npy` and `.zarr` stays on the disk.

    Raises:
        DataError: It cannot be read, or is no array of crops.
    """
    try:
        if path.suffix == ".zarr":
            import zarr

            array: Any = zarr.open_array(str(path), mode="r")
        elif path.suffix == ".npz":
            # by hand: numpy's own reader leaves a broken file open
            with zipfile.ZipFile(path) as file:
                if MEMBER not in file.namelist():
                    found = ", ".join(name.removesuffix(".npy") for name in file.namelist()) or "none"
                    raise DataError(f"{path}: no array 'crops', found {found}")
                with file.open(MEMBER) as member:
                    array = np.lib.format.read_array(member, allow_pickle=False)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ImportError as error:
        raise DataError(f"{path}: zarr is not installed; pip install 'cellweak[formats]', or save crops.npy") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if array.ndim != 4 or np.dtype(array.dtype).kind not in KINDS:
        raise DataError(
            f"{path}: {array.dtype} of shape {tuple(array.shape)}, expected (N, H, W, C) or (N, C, H, W) of uint8, "
            "uint16 or floating point"
        )
    return array


def count_crops(path: Path) -> int:
    """Cells of a file of crops; of `.npz` from the array's header, as the rest would have to be unpacked.

    Raises:
        DataError: As `opened`.
    """
    if path.suffix == ".npz":
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):  # `opened` says what is wrong
            with zipfile.ZipFile(path) as file, file.open(MEMBER) as member:
                plain = np.lib.format.read_magic(member) == (1, 0)
                header = np.lib.format.read_array_header_1_0 if plain else np.lib.format.read_array_header_2_0
                shape, _, dtype = header(member)
            if len(shape) == 4 and dtype.kind in KINDS:
                return int(shape[0])
    return int(opened(path).shape[0])


def axes_of(shape: Sequence[int], channels: Sequence[str], path: Path) -> str:
    """NHWC or NCHW, by which axis is short enough for channels, or is as long as there are names.

    Raises:
        DataError: Both could be, or none.
    """
    first, last = shape[1] <= MOST_CHANNELS, shape[3] <= MOST_CHANNELS
    if first and last and channels:
        first, last = shape[1] == len(channels), shape[3] == len(channels)
    if first == last:
        which = "either axis could be the channels'" if first else "no axis is short enough for channels"
        raise DataError(f"{path}: shape {tuple(shape)}, {which}; give axes='NHWC' or 'NCHW'")
    return "NCHW" if first else "NHWC"
