"""What `cellweak check tracking` says of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.files import DataError
from cellweak_core.tracking.light import EvenSource

if TYPE_CHECKING:
    import pandas as pd

    from cellweak_core.tracking.data import TrackingData
    from cellweak_core.tracking.frames import FrameSource

MOST_REPORTED = 10  # broken frames named in one error


def lines(data: TrackingData) -> Iterator[str]:
    """Reads every frame and summarises a data set, line by line.

    Raises:
        DataError: broken frames, up to ten named at once.
    """
    even = data.source if isinstance(data.source, EvenSource) else None
    yield from _frames(even.whole if even else data.source, data.name)
    if even:
        yield f"read in even light: each frame divided by its blur of {even.sd_px:g} px (flatten_px)"
    if data.nuclei is not None:
        yield from _frames(data.nuclei, data.nuclei.name)
    if data.points is None and data.nuclei is not None:
        yield "no positions: they will be taken from the nuclear stain, tracks cannot be compared with truth"
    elif data.points is None:
        yield "no positions: frames can be tracked with trained weights (-p weights FOLDER), not trained on"
    else:
        yield from _cells(data.points, data.source, data.annotated)
        yield from _identities(data.points, data.linked)
        yield _spacing(data.points, data.linked)
    if data.digest:
        yield f"digest {data.digest}"


def _frames(source: FrameSource, name: str) -> Iterator[str]:
    height, width = source.shape
    bits = source.dtype.itemsize * 8 if source.dtype != bool else 1
    depth = f"{bits}-bit floating point" if source.dtype.kind == "f" else f"{bits}-bit"
    numbers = f"frames {source.numbers[0]} to {source.numbers[-1]}"
    if len(source) > 1 and source.numbers[1] - source.numbers[0] > 1:
        numbers += f", {source.numbers[1] - source.numbers[0]} apart"
    yield f"{name}: {len(source)} frames of {width}x{height} pixels (X x Y), {depth}, {numbers}"
    if source.assumed_axes:
        yield f"the file does not state its axes: read as {source.assumed_axes}; if that is wrong, give -p axes"
    low, high, flat, broken = np.inf, -np.inf, [], []
    for t in range(len(source)):
        try:
            frame = source.raw(t)
            source.refuse_nan(frame, t)
        except DataError as error:
            broken.append(str(error))
            continue
        lowest, highest = float(frame.min()), float(frame.max())
        low, high = min(low, lowest), max(high, highest)
        if lowest == highest:
            flat.append(source.numbers[t])
    if broken:
        more = f"\n... and {len(broken) - MOST_REPORTED} more" if len(broken) > MOST_REPORTED else ""
        raise DataError("\n".join(broken[:MOST_REPORTED]) + more)
    yield f"grey levels {low:g} to {high:g}; white level {source.scale:g}" + (
        f": {high:g} is above it and will be clipped (-p white_level)" if high > source.scale else ""
    )
    if flat:
        yield f"{len(flat)} frames are one grey level all over: {_some(flat)}"


def _cells(points: pd.DataFrame, source: FrameSource, annotated: Sequence[int]) -> Iterator[str]:
    counts = np.bincount(points["frame"], minlength=len(source))
    known = counts[list(annotated)]
    line = f"{len(points)} positions: {known.min()} to {known.max()} cells per frame, median {np.median(known):g}"
    empty = [source.numbers[t] for t in annotated if not counts[t]]
    yield line + (f"; {len(empty)} frames without cells: {_some(empty)}" if empty else "")
    if len(annotated) < 2:
        yield "positions in one frame only: training needs them in two or more"
    unknown = [source.numbers[t] for t in sorted(set(range(len(source))) - set(annotated))]
    if unknown:
        what = "frames without positions: detectors do not learn from them, and they are not scored"
        yield f"{len(unknown)} {what}: {_some(unknown)}"


def _identities(points: pd.DataFrame, linked: bool) -> Iterator[str]:
    if not linked:
        yield "links are not known: the tracker needs none, its tracks cannot be compared with truth"
        return
    frame = points.groupby("id")["frame"]
    gaps = int((frame.max() - frame.min() + 1 > frame.size()).sum())
    mothers = points.loc[points["parent"] >= 0].drop_duplicates("id")["parent"]
    yield (
        f"links are known: {points['id'].nunique()} cells, {len(mothers)} daughters of {mothers.nunique()} mothers"
        + (f"; {gaps} cells with frames missing in between" if gaps else "")
    )


def _spacing(points: pd.DataFrame, linked: bool) -> str:
    """How far cells move, against how far they are apart: near 1 the nearest cell is often another one."""
    from scipy.spatial import cKDTree

    nearest = np.full(len(points), np.nan)
    for rows in points.groupby("frame").indices.values():
        if len(rows) > 1:
            xy = points[["x", "y"]].to_numpy()[rows]
            nearest[rows] = cKDTree(xy).query(xy, 2)[0][:, 1]
    if np.isnan(nearest).all():
        return "one cell in each frame: no neighbours"
    apart = f"nearest neighbours {np.nanmedian(nearest):.1f} px apart (median)"
    if not linked:
        return apart
    now = points.assign(nearest=nearest)[["frame", "id", "x", "y", "nearest"]]
    then = now[["frame", "id", "x", "y"]].assign(frame=now["frame"] - 1)
    both = now.merge(then, on=["frame", "id"], suffixes=("", "_then"))
    moved = ((both["x_then"] - both["x"]) ** 2 + (both["y_then"] - both["y"]) ** 2) ** 0.5
    if not len(both):
        return f"{apart}; no cell in two successive frames"
    ratio = (moved / both["nearest"].where(both["nearest"] > 0)).dropna()
    if not len(ratio):
        return f"{apart}; displacement {moved.median():.1f} px from frame to frame (median, {len(both)} links)"
    return (
        f"{apart}; displacement {moved.median():.1f} px from frame to frame (median, {len(both)} links); "
        f"displacement / nearest neighbour {ratio.median():.3f} (median), {ratio.quantile(0.95):.3f} (95th percentile)"
    )


def _some(frames: list[int]) -> str:
    return ", ".join(map(str, frames[:MOST_REPORTED])) + (" ..." if len(frames) > MOST_REPORTED else "")
