"""Films in one file or folder with all their frames: TIFF and zarr."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..files import DataError
from .axes import resolve, to_chw
from .film import Array, Film


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A TIFF; whatever tifffile raises or logs over a broken file becomes a DataError."""
    import tifffile

    complaints: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "offset" in (message := record.getMessage()):  # pages are missing, and tifffile goes on without them
                complaints.append(message)

    logger, listener = logging.getLogger("tifffile"), Listener(logging.ERROR)
    logger.addHandler(listener)
    try:
        with tifffile.TiffFile(path) as tiff:
            yield tiff
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there") from error
    except DataError:
        if not complaints:
            raise
    except Exception as error:  # tifffile raises nearly anything over a broken file
        raise DataError(f"{path}: broken or truncated TIFF ({error}); copy the file again") from error
    finally:
        logger.removeHandler(listener)
    if complaints:
        raise DataError(f"{path}: broken or truncated TIFF ({complaints[0]}); copy the file again")


class TiffFilm(Film):
    """One TIFF: mapped where it is not compressed, page by page where it is."""

    def __init__(self, path: Path, axes: str, n_channels: int) -> None:
        self.path, self.paths = path, [path]
        with opened(path) as tiff:
            if len(tiff.series) > 1:
                raise DataError(f"{path}: {len(tiff.series)} images of several sizes or kinds, expected one stack")
            series = tiff.series[0]
            self.full = tuple(int(n) for n in series.shape)
            one_frame = len(self.full) == 2
            self.letters = resolve(str(path), self.full, series.axes, axes, n_channels, one_frame)
            self.stored = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
            self.offset = series.dataoffset  # None where compressed or scattered
            n_pages = len(tiff.pages)  # walks the whole chain
            if self.offset is None:
                self._pages(series, n_pages)
            elif self.offset + math.prod(self.full) * self.stored.itemsize > path.stat().st_size:
                needed = self.offset + math.prod(self.full) * self.stored.itemsize
                raise DataError(f"{path}: truncated, {path.stat().st_size:,} bytes of {needed:,}; copy the file again")
        self.numbers = range(self.full[self.letters.index("T")] if "T" in self.letters else 1)
        self.begin()

    def _pages(self, series: Any, n_pages: int) -> None:  # noqa: ANN401 - tifffile publishes no types
        """Which page holds which plane, the planes' axes being the last ones."""
        if getattr(series, "is_multifile", False):
            raise DataError(f"{self.path}: parts of it lie in other files; save it as one file")
        self.pages = [-1 if page is None else int(page.index) for page in series.pages]
        if -1 in self.pages or max(self.pages) >= n_pages:
            raise DataError(f"{self.path}: broken or truncated TIFF (planes are missing); copy the file again")
        plane = series.pages[0].shape
        self.ahead = len(self.full) - len(plane)
        if math.prod(self.full[: self.ahead]) != len(self.pages) or "T" in self.letters[self.ahead :]:
            raise DataError(f"{self.path}: compressed so that frames cannot be read one by one; save it uncompressed")

    def _read(self, t: int) -> Array:
        letters = self.letters.replace("T", "")
        if self.offset is not None:
            # mapped anew at each access: pages of a mapping that stays count as memory of this process
            mapped = np.memmap(self.path, self.stored, "r", int(self.offset), self.full)
            frame = mapped.take(t, self.letters.index("T")) if "T" in self.letters else mapped
            return to_chw(frame, letters, self.where(t))
        index = np.reshape(self.pages, self.full[: self.ahead])
        index = index.take(t, self.letters.index("T")) if "T" in self.letters else index
        planes = [self._page(k, t) for k in index.ravel().tolist()]
        return to_chw(np.stack(planes).reshape(*index.shape, *planes[0].shape), letters, self.where(t))

    def _page(self, k: int, t: int) -> Array:
        import tifffile
        from PIL import Image

        try:
            try:
                with tifffile.TiffFile(self.path) as tiff:
                    return np.asarray(tiff.pages[k].asarray())
            except ValueError as error:
                # tifffile leaves LZW and others to imagecodecs, a package that few have; libtiff in PIL reads most
                if "imagecodecs" not in str(error):
                    raise
            with Image.open(self.path) as image:
                image.seek(k)
                return np.asarray(image)
        except Exception as error:  # as above
            raise DataError(f"{self.where(t)}: broken or truncated ({error}); copy the file again") from error

    def where(self, t: int) -> str:
        """The file and the frame's index in it."""
        return f"{self.path}, frame {t}"


class ZarrFilm(Film):
    """The full resolution of an OME-Zarr, or a plain zarr array, read with the optional package zarr."""

    def __init__(self, path: Path, axes: str, n_channels: int) -> None:
        self.path, self.paths = path, sorted(inner for inner in path.rglob("*") if inner.is_file())
        self.array, stated = _zarr(path)
        full = tuple(int(n) for n in self.array.shape)
        self.letters = resolve(str(path), full, stated or "?" * len(full), axes, n_channels, len(full) == 2)
        self.numbers = range(full[self.letters.index("T")] if "T" in self.letters else 1)
        self.begin()

    def _read(self, t: int) -> Array:
        try:
            frame = np.asarray(self.array[tuple(t if letter == "T" else slice(None) for letter in self.letters)])
        except Exception as error:  # whatever the codec raises over a broken chunk
            raise DataError(f"{self.where(t)}: broken or truncated ({error}); copy the folder again") from error
        return to_chw(frame, self.letters.replace("T", ""), self.where(t))

    def where(self, t: int) -> str:
        """The folder and the frame's index in it."""
        return f"{self.path}, frame {t}"


def _zarr(path: Path) -> tuple[Any, str]:
    """The array of full resolution, and its axes as the metadata name them, "" where they do not."""
    try:
        import zarr
    except ImportError:
        raise DataError(f"{path}: zarr is not installed; pip install 'cellweak[formats]', or save a TIFF") from None
    try:
        node: Any = zarr.open(str(path), mode="r")
    except Exception as error:  # zarr 2 and 3 raise errors of their own
        raise DataError(f"{path}: not a zarr array or group ({error}); expected an OME-Zarr folder") from error
    if hasattr(node, "shape"):
        return node, ""
    attributes = dict(node.attrs)
    inner = attributes.get("ome", attributes)  # OME-Zarr 0.5 has one level more
    scales = inner.get("multiscales") if isinstance(inner, Mapping) else None
    if not scales:
        raise DataError(f"{path}: a group without OME-Zarr's multiscales; expected one image")
    array = node[scales[0]["datasets"][0]["path"]]
    named = scales[0].get("axes") or list("tczyx")[-len(array.shape) :]  # before 0.3 always t, c, z, y, x
    letters = "".join(str(axis["name"] if isinstance(axis, Mapping) else axis)[:1] for axis in named)
    if len(letters) != len(array.shape):
        raise DataError(f"{path}: {len(letters)} axes named for an array of {len(array.shape)}; mend the metadata")
    return array, letters
