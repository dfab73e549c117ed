"""Tracks in the Cell Tracking Challenge's layout: a table of lineages, and label images on request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cellweak_core.files import DataError, atomic_path

if TYPE_CHECKING:
    import pandas as pd

MOST_LABELS = 65535
Kind = Literal["truth", "result"]
NAMES = {"truth": ("man_track.txt", "man_track"), "result": ("res_track.txt", "mask")}


def ctc_lineage(tracks: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Tracks as the challenge wants them: unbroken, labelled from 1.

    A track with a gap is split there, and what follows the gap has what went before as its parent, as the challenge
    asks for. A daughter's parent is the last piece of her mother's track.

    Args:
        tracks: columns frame, id and parent (-1 = none).

    Returns:
        lineage: columns label, begin, end, parent (0 = none), one row per label.
        labels: int64, the label of each row of `tracks`.

    Raises:
        DataError: an id twice in one frame, a parent that has no rows, or one that does not end before its daughter.
    """
    import pandas as pd

    frame, ids = tracks["frame"].to_numpy(np.int64), tracks["id"].to_numpy(np.int64)
    parents = tracks["parent"].to_numpy(np.int64) if "parent" in tracks else np.full(len(tracks), -1)
    order = np.lexsort((frame, ids))
    frame, ids, parents = frame[order], ids[order], parents[order]
    same = np.r_[False, ids[1:] == ids[:-1]][: len(ids)]
    step = np.r_[0, np.diff(frame)][: len(frame)]
    if (same & (step == 0)).any():
        at = int((same & (step == 0)).argmax())
        raise DataError(f"tracks: id {ids[at]} twice in frame {frame[at]}")
    starts = np.flatnonzero(~same | (step > 1))
    ends = np.r_[starts[1:] - 1, len(ids) - 1][: len(starts)]
    pieces: dict[int, list[int]] = {}
    for label, at in enumerate(starts.tolist(), 1):
        pieces.setdefault(int(ids[at]), []).append(label)
    begin, end = frame[starts], frame[ends]
    before = np.zeros(len(starts), np.int64)
    for cell, labels in pieces.items():
        before[np.array(labels[1:], int) - 1] = labels[:-1]
        mother = int(parents[starts[labels[0] - 1]])  # a daughter names her on her first row at least
        if mother < 0:
            continue
        earlier = [label for label in pieces.get(mother, []) if end[label - 1] < begin[labels[0] - 1]]
        if not earlier:
            what = "ends after its daughter starts" if mother in pieces else "has no rows"
            raise DataError(f"tracks: id {cell} starts in frame {begin[labels[0] - 1]}, and its parent {mother} {what}")
        before[labels[0] - 1] = earlier[-1]
    lineage = pd.DataFrame({"label": np.arange(1, len(starts) + 1), "begin": begin, "end": end, "parent": before})
    labels_of_rows = np.empty(len(ids), np.int64)
    labels_of_rows[order] = np.cumsum(~same | (step > 1))
    return lineage, labels_of_rows


def draw_labels(points: np.ndarray, labels: Sequence[int], shape: tuple[int, int], radius_px: float) -> np.ndarray:
    """Discs that do not overlap: a pixel belongs to the nearest centre within the radius.

    Args:
        points: (n, 2) of x, y.
        labels: (n,), 1 to 65535.
        shape: (Y, X).
        radius_px: of the discs; a cell keeps one pixel at least, however near others are.

    Returns:
        uint16 (Y, X), 0 outside.
    """
    height, width = shape
    out = np.zeros(shape, np.uint16)
    nearest = np.full(shape, np.inf, np.float32)
    boxes = []
    for (x, y), label in zip(np.reshape(points, (-1, 2)).tolist(), labels, strict=True):
        at_x, at_y = min(max(round(x), 0), width - 1), min(max(round(y), 0), height - 1)
        reach = int(radius_px) + 1
        box = (slice(max(0, at_y - reach), at_y + reach + 1), slice(max(0, at_x - reach), at_x + reach + 1))
        rows = np.arange(box[0].start, min(box[0].stop, height), dtype=np.float32)[:, None]
        columns = np.arange(box[1].start, min(box[1].stop, width), dtype=np.float32)
        square = (columns - np.float32(x)) ** 2 + (rows - np.float32(y)) ** 2
        inside = (square <= radius_px**2) & (square < nearest[box])
        out[box][inside] = label
        nearest[box][inside] = square[inside]
        boxes.append((label, box, square))
    sizes = np.bincount(out.ravel(), minlength=int(max(labels, default=0)) + 1)
    for label, box, square in boxes:
        if sizes[label]:
            continue
        # a cell hidden by another, or with a disc smaller than a pixel: the nearest pixel that its owner can spare
        owner = out[box]
        spare = np.where((owner == 0) | (sizes[owner] > 1), square, np.inf)
        at = np.unravel_index(int(spare.argmin()), spare.shape)
        sizes[owner[at]] -= 1
        owner[at] = label
        sizes[label] = 1
    return out


def write_ctc(
    tracks: pd.DataFrame,
    shape: tuple[int, int],
    out: str | Path,
    radius_px: float = 8.0,
    label_images: bool = False,
    n_frames: int | None = None,
    kind: Kind = "truth",
) -> Path:
    """Writes tracks in the challenge's layout, one image in memory at a time.

    Args:
        tracks: columns frame (index from 0), id, x, y, parent; tracks with gaps are split (`ctc_lineage`).
        shape: (Y, X) of the frames.
        out: folder; files of the same names in it are replaced.
        radius_px: of the discs that stand for cells.
        label_images: write them too, one 16-bit TIFF per frame; otherwise the table only.
        n_frames: of the sequence; up to the last frame with a cell by default.
        kind: "truth" names the files man_track.txt and man_track000.tif, "result" res_track.txt and mask000.tif.

    Returns:
        The table's path, written last.

    Raises:
        DataError: as `ctc_lineage`; more than 65,535 labels with label images; a frame beyond `n_frames`.
    """
    lineage, labels = ctc_lineage(tracks)
    frame = tracks["frame"].to_numpy(np.int64)
    last = int(frame.max(initial=-1))
    n = last + 1 if n_frames is None else n_frames
    if last >= n or frame.min(initial=0) < 0:
        raise DataError(f"tracks: frames {frame.min()} to {last}, expected 0 to {n - 1}")
    table, stem = NAMES[kind]
    out = Path(out)
    if label_images:
        if len(lineage) > MOST_LABELS:
            raise DataError(f"tracks: {len(lineage)} labels, 16-bit label images hold {MOST_LABELS}")
        _write_images(frame, tracks[["x", "y"]].to_numpy(float), labels, shape, out, radius_px, n, stem)
    with atomic_path(out / table) as part:
        lineage.to_csv(part, sep=" ", header=False, index=False, lineterminator="\n")
    return out / table


def _write_images(
    frame: np.ndarray,
    xy: np.ndarray,
    labels: np.ndarray,
    shape: tuple[int, int],
    out: Path,
    radius_px: float,
    n: int,
    stem: str,
) -> None:
    import tifffile

    order = np.argsort(frame, kind="stable")
    bounds = np.searchsorted(frame[order], np.arange(n + 1))
    written = set()
    for t in range(n):
        rows = order[bounds[t] : bounds[t + 1]]
        image = draw_labels(xy[rows], labels[rows].tolist(), shape, radius_px)
        path = out / f"{stem}{t:0{3 if n <= 1000 else 4}d}.tif"
        with atomic_path(path) as part:
            tifffile.imwrite(part, image, compression="zlib")
        written.add(path.name)
    for path in out.glob(f"{stem}*.tif"):  # of an earlier, longer sequence
        if re.fullmatch(rf"{stem}\d+\.tif", path.name) and path.name not in written:
            path.unlink()
