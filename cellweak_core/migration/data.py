"""Image sequences with the positions of cells and, where an expert looked, the mode in which they migrate.

```
DIR/frames.tif, or t000.png t001.png ...                       one film, called DIR        --+
DIR/a.tif b.tif ..., a.zarr ..., or folders a/ b/ of frames    films a, b ...              --+--load--> Films
    (both also in DIR/images/, img/, frames/ or films/)                                      |
DIR/points.csv (tracks.csv, positions.csv, labels.csv)         of all these films          --+
DIR/a/, DIR/b/ ...         folders of all this, where DIR has no table
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..files import DataError, tree_digest
from ..images import list_images
from ..parameter_cells import ParameterError
from .axes import parse_axes
from .labels import MODES, UNKNOWN
from .points import COLUMNS as COLUMNS
from .points import read_points
from .reading import Film, is_stack, open_film

if TYPE_CHECKING:
    import pandas as pd

IMAGE_FOLDERS = ("images", "img", "frames", "films")
TABLES = ("points.csv", "tracks.csv", "positions.csv", "labels.csv")
MOST_REPORTED = 10


@dataclass(frozen=True)
class Films:
    """Sequences and the cells in them.

    Attributes:
        frames: A film by its name; each is indexed by frame number and gives `(C, H, W)` of the film's own type, read
            when it is asked for. Films have a length and a `shape` (T, C, H, W), as arrays have.
        channels: Names of the channels, in the pixels' order.
        points: One row for each cell and frame, sorted by cell and frame: sequence (a film), cell ("FILM/ID", unique
            over all films), frame (int, from 0), x, y (px, float; (0, 0) is the middle of the first pixel) and, where
            there are labels, label ("continuous", "discontinuous" or "unknown").
        name: Of the data set.
        digest: SHA-256 of the files, or of the arrays of simulated films.
    """

    frames: Mapping[str, Any]
    channels: tuple[str, ...]
    points: pd.DataFrame
    name: str
    digest: str = ""

    @property
    def labelled(self) -> bool:
        """Whether there are labels, of whatever kind."""
        return "label" in self.points


def load(data_dir: str | Path, channels: Sequence[str] = (), axes: str = "") -> Films:
    """Opens films and reads the table of their cells; frames are read when they are needed.

    Args:
        data_dir: The folder, see this module's drawing.
        channels: Their names, in order; numbers where none are given. Their count is compared with the pixels'.
        axes: The order of a stack's axes, such as TYX, TCYX or TYXC (or THW ...); "" where the files state it or their
            shape leaves no choice.

    Returns:
        The films. `points` has no labels where the table has none (see `motion.labelled`), and is of whichever frames
        the table has rows for.

    Raises:
        ParameterError: Another `axes`.
        DataError: No folder, no images or table, several tables, films of unlike types or channels, a broken file, or
            as `points.read_points`.
    """
    root = Path(data_dir)
    if not root.is_dir():
        raise DataError(f"data folder {root} is not there; expected a folder of films with {TABLES[0]}")
    tables = _tables(root)
    if len(tables) > 1:
        raise DataError(f"{root}: {tables[0].name} and {tables[1].name}; keep one table of cells")
    if not tables:
        return _of_folders(root, channels, axes)
    opened, others = _open_films(root, parse_axes(axes), len(channels))
    _require_alike(opened)
    names = _channel_names(next(iter(opened.values())), channels)
    points = read_points(tables[0], opened, others)
    files = [*tables, *(path for film in opened.values() for path in film.paths)]
    return Films(opened, names, points, root.name, tree_digest(files, root))


def _tables(root: Path) -> list[Path]:
    return [path for name in TABLES for path in (root / name, root / f"{name}.gz") if path.is_file()]


def _of_folders(root: Path, channels: Sequence[str], axes: str) -> Films:
    """Films of folders that each have a table of their own."""
    import pandas as pd

    parts = [load(folder, channels, axes) for folder in sorted(root.iterdir()) if folder.is_dir() and _tables(folder)]
    if not parts:
        near = [path.name for path in sorted(root.glob("*.csv*"))]
        found = f"; is it {near[0]}? rename it" if near else ""
        raise DataError(
            f"{root}: no table of cells; expected one of {', '.join(TABLES)} with the columns cell,frame,x,y and, "
            f"where it is known, label{found}"
        )
    if len({"label" in part.points for part in parts}) > 1:
        without = next(part.name for part in parts if not part.labelled)
        raise DataError(f"{root}: {without} has no column label and others have; add it, unknown where nobody looked")
    frames: dict[str, Film] = {}
    tables, digests = [], []
    for part in parts:
        new = {name: name if len(part.frames) == 1 else f"{part.name}/{name}" for name in part.frames}
        films_of, cells = part.points["sequence"], part.points["cell"]
        renamed = [new[film] + cell[len(film) :] for film, cell in zip(films_of, cells, strict=True)]
        tables.append(part.points.assign(sequence=films_of.map(new), cell=renamed))
        frames |= {new[name]: film for name, film in part.frames.items()}
        digests += [*(path for film in part.frames.values() for path in film.paths), *_tables(root / part.name)]
    _require_alike(frames)
    points = pd.concat(tables, ignore_index=True).sort_values(["cell", "frame"], ignore_index=True)
    return Films(frames, parts[0].channels, points, root.name, tree_digest(digests, root))


def _open_films(root: Path, axes: str, n_channels: int) -> tuple[dict[str, Film], dict[str, str]]:
    """Films by name, and other names for them: those of their files, and the only film's own beside its folder's."""
    named = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    if len(named) > 1:
        raise DataError(f"{root}: {named[0].name}/ and {named[1].name}/; keep one folder of images")
    base = named[0] if named else root
    paths = _film_paths(base, axes)
    if not paths:
        raise DataError(
            f"{base}: no images; expected a TIFF stack, an OME-Zarr or PNG or TIFF files, one for each frame, or a "
            "folder of such films"
        )
    others = {}
    if len(paths) == 1:
        film = open_film(paths[0], axes, n_channels)
        own = film.paths[0] if paths[0] == base and len(film.paths) == 1 else paths[0]
        others = {name: root.name for name in (own.name, _stem(own))}
        return {root.name: film}, others
    films: dict[str, Film] = {}
    for path in paths:
        name = _stem(path)
        if name in films:
            raise DataError(f"{path}: a second film {name}; films need names of their own")
        films[name], others[path.name] = open_film(path, axes, n_channels), name
    return films, others


def _film_paths(base: Path, axes: str) -> list[Path]:
    """What is one film each; `base` itself where its images are the frames of one."""
    stores = [path for path in sorted(base.glob("*.zarr")) if path.is_dir()]
    files = list_images(base)
    # stacks and single frames may lie in one folder by mistake only, so that the first tells
    stacks = files if len(files) > 1 and is_stack(files[0], axes) else []
    if files and not stacks:
        if stores:
            raise DataError(f"{base}: {stores[0].name} and frames such as {files[0].name}; keep films in own folders")
        return [base]
    if stacks or stores:
        return sorted([*stacks, *stores])
    folders = [path for path in sorted(base.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    return [path for path in folders if list_images(path)]


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".ome.zarr", ".zarr"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _require_alike(films: Mapping[str, Film]) -> None:
    """One type of pixels and one number of channels; sizes and lengths may differ."""
    (name, first), *others = films.items()
    for other, film in others:
        if (film.dtype, film.shape[1]) != (first.dtype, first.shape[1]):
            raise DataError(
                f"{film.paths[0]}: {film.shape[1]} channels of {film.dtype} in film {other}, and {first.shape[1]} of "
                f"{first.dtype} in {name}; save all films with the same channels and bit depth"
            )


def _channel_names(film: Film, channels: Sequence[str]) -> tuple[str, ...]:
    n = film.shape[1]
    if channels and len(channels) != n:
        listed = ", ".join(map(str, channels))
        raise ParameterError(
            f"channels: {len(channels)} names ({listed}) for the {n} channels of {film.paths[0]}; name each, or none"
        )
    return tuple(map(str, channels)) or tuple(str(k) for k in range(n))


def kept(films: Films, min_frames: int) -> Films:
    """The films with the cells that have so many frames, or more.

    Raises:
        DataError: There is none; says how long the longest is.
    """
    lengths = films.points.groupby("cell")["frame"].transform("size")
    points = films.points[lengths >= min_frames].reset_index(drop=True)
    if not len(points):
        raise DataError(
            f"{films.name}: no cell has {min_frames} frames, the longest has {lengths.max()}; lower -p min_frames"
        )
    return replace(films, points=points)


def file_frames(films: Films, table: pd.DataFrame) -> NDArray[np.int64]:
    """The frame numbers that rows of a table have in the films' files, which may begin elsewhere than at 0.

    Args:
        films: Of which the table speaks; simulated ones are numbered from 0.
        table: With the columns sequence and frame (index).
    """
    numbers = {name: list(getattr(film, "numbers", range(len(film)))) for name, film in films.frames.items()}
    places = zip(table["sequence"].tolist(), table["frame"].tolist(), strict=True)
    return np.array([numbers[name][frame] for name, frame in places], np.int64)


def overview(films: Films) -> pd.DataFrame:
    """Films, cells, frames and labels, counted.

    Returns:
        Columns "what" and "count", text.
    """
    import pandas as pd

    points, shapes = films.points, [film.shape for film in films.frames.values()]
    lengths = points.groupby("cell").size()
    sizes = sorted({f"{shape[3]} x {shape[2]}" for shape in shapes})
    counted = {
        "films": len(shapes), "frames of a film": _span([shape[0] for shape in shapes]),
        "size of a frame, px": sizes[0] if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}",
        "channels": ", ".join(films.channels), "cells": len(lengths), "frames of a cell": _span(lengths.tolist()),
        "positions": len(points),
    }  # fmt: skip
    if films.labelled:
        counts = points["label"].value_counts()
        counted |= {f"frames {word}": int(counts.get(word, 0)) for word in (*MODES, UNKNOWN)}
    return pd.DataFrame({"what": list(counted), "count": [str(one) for one in counted.values()]})


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def check(
    data_dir: str | Path,
    *,
    channels: Sequence[str] = (),
    axes: str = "",
    min_frames: int = 1,
    modes_from: str = "",
    targets: str = "",
    motion_window: int = 3,
    motion_by: Sequence[str] = ("burstiness", "persistence"),
    motion_quantile: float = 0.5,
    n_folds: int = 5,
    test_share: float = 0.25,
    split_by: str = "cell",
    seed: int = 0,
) -> Iterator[str]:
    """Reads every frame of a data set and says what is there and what the chapter would do.

    Args:
        data_dir: As `load`.
        channels: As `load`.
        axes: As `load`.
        min_frames: As `kept`.
        modes_from: As `supervision.supervised`.
        targets: As `supervision.supervised`.
        motion_window: As `motion.modes`.
        motion_by: As `motion.modes`.
        motion_quantile: As `motion.modes`.
        n_folds: As `splits.grouped`.
        test_share: As `splits.grouped`.
        split_by: As `splits.grouped`.
        seed: As `splits.grouped`.

    Yields:
        Lines for people.

    Raises:
        DataError: As `load`; broken frames, up to ten named at once.
        ValueError: As `supervision.supervised` and `splits.grouped`.
    """
    from .reports import lines

    films = kept(load(data_dir, channels, axes), min_frames)
    how = {"window": motion_window, "by": tuple(motion_by), "quantile": motion_quantile}
    yield from lines(films, {"modes_from": modes_from, "targets": targets, **how}, n_folds, test_share, seed, split_by)
