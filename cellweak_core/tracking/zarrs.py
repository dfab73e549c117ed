"""OME-Zarr sequences, and plain zarr arrays, read frame by frame with the optional package zarr."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from cellweak_core.files import DataError, tree_digest
from cellweak_core.images import Colour
from cellweak_core.tracking.axes import refuse_implausible, resolve
from cellweak_core.tracking.frames import FrameSource
from cellweak_core.tracking.stacks import middle_block, plane_of


class ZarrSource(FrameSource):
    """The full resolution of an OME-Zarr (0.1 to 0.5), or a plain zarr array; zarr formats 2 and 3.

    A frame is read from the chunks that hold it: chunks of one frame are quickest.

    Args:
        path: the folder.
        axes: the order of its axes.
        white_level: as `FrameSource`.
        colour: what to do with channels that differ.

    Raises:
        DataError: zarr is not installed, or see `frames.open_frames`.
    """

    def __init__(self, path: Path, axes: str, white_level: float, colour: Colour) -> None:
        self.path, self.colour = path, colour
        self.paths = sorted(inner for inner in path.rglob("*") if inner.is_file())
        array, stated = _open(path)
        full = tuple(int(n) for n in array.shape)
        self.letters, known = resolve(str(path), full, axes, stated or "?" * len(full))
        self.array = array
        n = full[self.letters.index("T")]
        self.assumed_axes = "" if known else self.letters
        if not known:
            refuse_implausible(str(path), full, self.letters, self._read(middle_block(full)))
        first = self._plane(0)
        super().__init__(path.stem, range(n), first.shape, first.dtype, white_level)

    def _read(self, index: tuple[slice | int, ...]) -> np.ndarray:
        try:
            return np.asarray(self.array[index])
        except Exception as error:  # whatever the codec raises over a broken chunk
            raise DataError(f"{self.path}: broken or truncated ({error}); copy the folder again.") from error

    def _plane(self, t: int) -> np.ndarray:
        frame = self._read(tuple(t if letter == "T" else slice(None) for letter in self.letters))
        return plane_of(frame, self.letters, f"{self.path}, frame {t}", self.colour)

    def raw(self, t: int) -> np.ndarray:
        """Frame t as stored."""
        return self._plane(t)

    def where(self, t: int) -> str:
        """The folder and the frame's index in it."""
        return f"{self.path}, frame {t}"

    def digest(self) -> str:
        """SHA-256 over names and contents of the folder's files."""
        return tree_digest(self.paths, self.path)


def _open(path: Path) -> tuple[Any, str]:
    """The array of full resolution, and its axes as the metadata name them, "" where they do not."""
    try:
        zarr = import_module("zarr")
    except ImportError:
        raise DataError(f"{path}: reading OME-Zarr needs the package zarr: pip install zarr") from None
    try:
        node = zarr.open(str(path), mode="r")
    except Exception as error:  # zarr 2 and 3 raise errors of their own
        raise DataError(f"{path}: not a zarr array or group ({error}); expected an OME-Zarr folder") from error
    if hasattr(node, "shape"):
        return node, ""
    attributes = dict(node.attrs)
    inner = attributes.get("ome", attributes)  # OME-Zarr 0.5 has one level more
    scales = inner.get("multiscales") if isinstance(inner, Mapping) else None
    if scales:
        array: Any = node[scales[0]["datasets"][0]["path"]]
        named = scales[0].get("axes") or list("tczyx")[-len(array.shape) :]  # before 0.3 always t, c, z, y, x
        letters = [axis["name"] if isinstance(axis, Mapping) else axis for axis in named]
        if len(letters) != len(array.shape):
            raise DataError(f"{path}: {len(letters)} axes named for an array of {len(array.shape)}; mend the metadata")
        return array, "".join(str(letter)[:1] for letter in letters)
    arrays = [node[name] for name in sorted(node.array_keys())]
    if len(arrays) != 1:
        raise DataError(f"{path}: a group of {len(arrays)} arrays without OME-Zarr's multiscales; expected one image")
    return arrays[0], ""
