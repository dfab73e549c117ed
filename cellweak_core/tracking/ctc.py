"""The Cell Tracking Challenge's layout: read as positions with lineages, written from tracks.

```
DATASET/
  01/t000.tif ...                  frames
  01_GT/TRA/man_track.txt          one line per cell: label, first frame, last frame, parent (0 = none)
  01_GT/TRA/man_track000.tif ...   16-bit; a cell's pixels hold its label
```
Format: celltrackingchallenge.net, "Naming and file content conventions". A cell without pixels in a frame between its
first and last has no position there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.files import DataError
from cellweak_core.images import decode_pixels, list_images
from cellweak_core.tracking.ctc_writing import NAMES, ctc_lineage, draw_labels, write_ctc
from cellweak_core.tracking.frames import FrameSource, open_frames
from cellweak_core.tracking.points import check_points
from cellweak_core.tracking.readers import TIFF, frame_numbers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ctc_lineage", "draw_labels", "read_ctc", "read_tra", "sequences", "write_ctc"]


def sequences(folder: str | Path) -> list[str]:
    """The sequences in a folder of the challenge: names of two digits with `t*.tif` in them, sorted."""
    found = [path for path in Path(folder).iterdir() if re.fullmatch(r"\d\d", path.name) and path.is_dir()]
    return sorted(path.name for path in found if next(path.glob("t*.tif"), None))


def read_ctc(
    folder: str | Path,
    sequence: str = "01",
    axes: str = "TYX",
    white_level: float = 0,
    colour: str = "error",
) -> tuple[FrameSource, pd.DataFrame | None]:
    """Reads one sequence of a Cell Tracking Challenge data set.

    Args:
        folder: the data set.
        sequence: two digits.
        axes: as `open_frames`.
        white_level: as `open_frames`.
        colour: as `open_frames`.

    Returns:
        source: the frames.
        points: as `check_points`, positions being the centroids of the labels; None without `NN_GT/TRA`.

    Raises:
        DataError: no such sequence; frames, labels or `man_track.txt` that do not fit together.
    """
    folder, sequence = Path(folder), str(sequence).zfill(2)
    there = sequences(folder) if folder.is_dir() else []
    if sequence not in there:
        hint = (
            f"it has {', '.join(there)}: give -p sequence {there[0]}" if there else "expected a folder 01 with t*.tif"
        )
        raise DataError(f"{folder}: no sequence {sequence}; {hint}")
    source = open_frames(folder / sequence, axes, white_level, colour)
    source.name = f"{folder.name}/{sequence}"
    annotated = folder / f"{sequence}_GT" / "TRA"
    return source, read_tra(annotated, source) if annotated.is_dir() else None


def read_tra(folder: str | Path, source: FrameSource | None = None) -> pd.DataFrame:
    """Reads tracks from label images and their table, the challenge's own or results written by `write_ctc`.

    Args:
        folder: with `man_track.txt` and `man_track*.tif`, or `res_track.txt` and `mask*.tif`.
        source: the frames they belong to.

    Returns:
        As `check_points`: id is the label.

    Raises:
        DataError: missing files, a line that is not four whole numbers, labels that the table does not have or has in
            other frames, images of another size than the frames, images for other frames.
    """
    import pandas as pd

    folder = Path(folder)
    kind = next((kind for kind in NAMES if (folder / NAMES[kind][0]).is_file()), None)
    if kind is None:
        raise DataError(f"{folder}: no man_track.txt; expected it beside the label images man_track000.tif ...")
    table, stem = folder / NAMES[kind][0], NAMES[kind][1]
    files = [path for path in list_images(folder) if path.name.startswith(stem) and path.suffix.lower() in TIFF]
    if not files:
        raise DataError(f"{folder}: no label images; expected {stem}000.tif, {stem}001.tif ...")
    ordered = sorted(zip(frame_numbers([path.name for path in files]), files, strict=True))
    numbers = [number for number, _ in ordered]
    if source is not None and numbers != list(source.numbers):
        odd = sorted(set(numbers) ^ set(source.numbers))
        raise DataError(f"{folder}: label images and frames differ; frame {odd[0]} is in one of them only")
    lineage = _read_lineage(table)
    shape = source.shape if source is not None else None
    rows = []
    for number, path in ordered:
        labels = _labels(path, shape)
        shape = (labels.shape[0], labels.shape[1])
        rows.append(_centroids(labels, number))
    found = pd.DataFrame(np.concatenate(rows), columns=["frame", "id", "x", "y"]).astype({"frame": int, "id": int})
    spans = lineage.set_index("label")
    unknown = sorted(set(found["id"]) - set(spans.index))
    if unknown:
        raise DataError(f"{folder}: label {unknown[0]} is in the images and has no line in {table.name}")
    begin, end = found["id"].map(spans["begin"]), found["id"].map(spans["end"])
    outside = ~found["frame"].between(begin, end)
    if outside.any():
        row, where = found[outside].iloc[0], int(outside.to_numpy().argmax())
        raise DataError(
            f"{folder}: label {int(row['id'])} is in the image of frame {int(row['frame'])}, and {table.name} has it "
            f"from {int(begin.iloc[where])} to {int(end.iloc[where])}; mend one of them"
        )
    parent = found["id"].map(spans["parent"])
    found["parent"] = parent.where(parent != 0, -1)
    return check_points(found, len(numbers), shape, numbers=numbers, where=str(folder))


def _read_lineage(path: Path) -> pd.DataFrame:
    import pandas as pd

    rows: list[tuple[int, ...]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            label, begin, end, parent = (int(word) for word in line.split())
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected four whole numbers (label, first frame, last frame, parent), "
                f"found {line.strip()[:60]!r}"
            ) from None
        if begin > end or label < 1:
            raise DataError(f"{path}, line {number}: label {label} from frame {begin} to {end}; correct the line")
        rows.append((label, begin, end, parent))
    lineage = pd.DataFrame(rows, columns=["label", "begin", "end", "parent"])
    twice = lineage["label"].duplicated()
    if twice.any():
        raise DataError(f"{path}: label {lineage['label'][twice].iloc[0]} has two lines")
    return lineage


def _labels(path: Path, shape: tuple[int, int] | None) -> np.ndarray:
    labels = decode_pixels(path.read_bytes(), path)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: shape {labels.shape} of {labels.dtype}, expected whole numbers (Y, X)")
    if shape is not None and labels.shape != shape:
        raise DataError(f"{path}: {labels.shape[1]}x{labels.shape[0]} pixels, expected {shape[1]}x{shape[0]}")
    return labels


def _centroids(labels: np.ndarray, number: int) -> np.ndarray:
    """Rows (frame, label, x, y) of the labels in an image."""
    inside = np.flatnonzero(labels)
    own = labels.ravel()[inside].astype(np.int64)
    counts = np.bincount(own)
    there = np.flatnonzero(counts)
    x = np.bincount(own, inside % labels.shape[1])[there] / counts[there]
    y = np.bincount(own, inside // labels.shape[1])[there] / counts[there]
    return np.stack([np.full(len(there), float(number)), there.astype(float), x, y], 1)
