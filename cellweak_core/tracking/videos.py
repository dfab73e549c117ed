"""A short video with the tracks drawn on the frames: GIF, or MP4 where ffmpeg is at hand.

Frames are read, drawn and written one by one. They are drawn in a fixed palette, grey levels below and one colour per
track above, so that a GIF needs no quantisation and a colour never changes.
"""

from __future__ import annotations

import colorsys
import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cellweak_core.files import DataError, atomic_path

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image as PillowImage

    from cellweak_core.tracking.frames import FrameSource

GREYS = 128  # palette entries 0..127: black to white
COLOURS = 128  # and 128..255: hues
WHITE = GREYS - 1
RING_PX = 9  # radius of the ring around a division, in the video
MARKED_FRAMES = 4  # how long it stays


def palette() -> np.ndarray:
    """uint8 (256, 3): the grey levels, then the hues, all light enough for dark ground."""
    grey = np.repeat(np.linspace(0, 255, GREYS).round()[:, None], 3, 1)
    hues = [colorsys.hls_to_rgb(i / COLOURS, 0.6 + 0.1 * (i % 2), 1.0) for i in range(COLOURS)]
    return np.concatenate([grey, np.array(hues) * 255]).round().astype(np.uint8)


def colour_of(track: int) -> int:
    """Palette index of a track: it depends on the id only; ids that follow each other are far apart in hue."""
    return GREYS + int(track) * 79 % COLOURS


def write_video(
    source: FrameSource,
    tracks: pd.DataFrame,
    path: str | Path,
    tail_frames: int = 10,
    fps: float = 8,
    max_side_px: int = 512,
    ids: bool = True,
) -> Path:
    """Draws tracks on the frames: a tail and an id in the track's colour, a ring where a cell divides.

    Args:
        source: the frames.
        tracks: columns frame (index), id, x, y and perhaps parent (-1 = none).
        path: ending in .gif, or .mp4, which needs the package imageio-ffmpeg.
        tail_frames: how many earlier frames of a track are drawn behind it.
        fps: frames per second.
        max_side_px: frames are made smaller until their longer side is no longer than this.
        ids: write the ids beside the cells.

    Returns:
        The path; the file appears whole or not at all.

    Raises:
        ValueError: another ending, or a number that is not positive.
        DataError: MP4 without imageio-ffmpeg, or a frame that cannot be read.
    """
    path = Path(path)
    writers = {".gif": _gif, ".mp4": _mp4}
    if path.suffix.lower() not in writers:
        raise ValueError(f"path: expected a name ending in .gif or .mp4, given {path.name!r}")
    if tail_frames < 0 or fps <= 0 or max_side_px < 16 or not len(source):
        raise ValueError(
            "expected tail_frames 0 or more, fps above 0, max_side_px 16 or more and at least one frame; "
            f"given {tail_frames}, {fps}, {max_side_px} and {len(source)} frames"
        )
    size, shrink = _size(source.shape, max_side_px)
    with atomic_path(path) as part, writers[path.suffix.lower()](part, size, fps) as write:
        for image in drawn_frames(source, tracks, tail_frames, size, shrink, ids):
            write(image)
    return path


def _size(shape: tuple[int, int], max_side_px: int) -> tuple[tuple[int, int], float]:
    """(width, height) of the video, even numbers as MP4 needs them, and pixels of it per pixel of a frame."""
    shrink = min(1.0, max_side_px / max(shape))
    height, width = (max(2, int(side * shrink) // 2 * 2) for side in shape)
    return (width, height), shrink


def drawn_frames(
    source: FrameSource, tracks: pd.DataFrame, tail_frames: int, size: tuple[int, int], shrink: float, ids: bool
) -> Iterator[PillowImage]:
    """The video's frames, one in memory at a time.

    Args:
        source: as `write_video`.
        tracks: as `write_video`.
        tail_frames: as `write_video`.
        size: (width, height) of an image.
        shrink: pixels of it per pixel of a frame.
        ids: as `write_video`.

    Yields:
        Images in mode P, with `palette`.
    """
    from PIL import Image

    columns = ["frame", "id", "x", "y"]
    rows = tracks.sort_values(["frame", "id"])[columns + (["parent"] if "parent" in tracks else [])]
    frames = rows["frame"].to_numpy(np.int64)
    bounds = np.searchsorted(frames, np.arange(len(source) + 1))
    cells, xy = rows["id"].to_numpy(np.int64), (rows[["x", "y"]].to_numpy(float) + 0.5) * shrink
    divisions = _divisions(rows, xy)
    low, high = _contrast(source)
    colours = palette().tobytes()
    for t in range(len(source)):
        grey = np.clip((source[t] - low) / (high - low), 0, 1)
        pixels = Image.fromarray((grey * 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
        image = Image.fromarray(np.asarray(pixels) // 2)
        image.putpalette(colours)  # L becomes P, its levels the indices
        start = bounds[max(0, t - tail_frames)]
        now = slice(bounds[t], bounds[t + 1])
        _mark(image, [d for d in divisions if d[0] <= t < d[0] + MARKED_FRAMES])
        _draw(image, frames[start : now.stop], cells[start : now.stop], xy[start : now.stop], t, ids)
        yield image


def _contrast(source: FrameSource) -> tuple[float, float]:
    """Grey levels that become black and white, the same for all frames so that nothing flickers."""
    sampled = sorted({0, len(source) // 2, len(source) - 1})
    limits = [np.percentile(source[t], (0.2, 99.8)) for t in sampled]
    low, high = min(one[0] for one in limits), max(one[1] for one in limits)
    return float(low), float(max(high, low + 1e-6))


def _divisions(rows: pd.DataFrame, xy: np.ndarray) -> list[tuple[int, int, list[tuple[float, float]]]]:
    """Per division: the frame the first daughter starts in, the mother, where she was last and the daughters start."""
    if "parent" not in rows:
        return []
    ordered = rows[["frame", "id", "parent"]].assign(x=xy[:, 0], y=xy[:, 1])
    last = ordered.drop_duplicates("id", keep="last").set_index("id")
    first = ordered.drop_duplicates("id", keep="first")
    found = []
    for mother, daughters in first[first["parent"] >= 0].groupby("parent"):
        if mother in last.index:
            points = [(float(last["x"][mother]), float(last["y"][mother]))]
            points += list(zip(daughters["x"].tolist(), daughters["y"].tolist(), strict=True))
            found.append((int(daughters["frame"].min()), int(str(mother)), points))
    return found


def _draw(image: PillowImage, frames: np.ndarray, cells: np.ndarray, xy: np.ndarray, t: int, ids: bool) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    order = np.lexsort((frames, cells))
    for rows in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1) if len(order) else ():
        if frames[rows[-1]] != t:  # the track has ended, and its tail with it
            continue
        colour = colour_of(cells[rows[0]])
        points = [(float(x), float(y)) for x, y in xy[rows]]
        if len(points) > 1:
            pen.line(points, fill=colour, width=1)
        x, y = points[-1]
        pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        if ids:
            pen.text((x + 3, y - 10), str(cells[rows[0]]), fill=colour)


def _mark(image: PillowImage, divisions: list[tuple[int, int, list[tuple[float, float]]]]) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    for _, mother, points in divisions:
        x, y = points[0]
        for end in points[1:]:
            pen.line([(x, y), end], fill=colour_of(mother), width=1)
        pen.ellipse((x - RING_PX, y - RING_PX, x + RING_PX, y + RING_PX), outline=WHITE)


@contextmanager
def _gif(path: Path, size: tuple[int, int], fps: float) -> Iterator[Callable[[PillowImage], None]]:
    # Pillow collects all frames of a GIF before it writes; here each is encoded alone and its image block copied
    # behind the others, with the palette of the first for all.
    with path.open("wb") as file:
        started = False
        # players take anything below 0.02 s for 0.1 s
        pause = struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 0, max(2, round(100 / fps)), 0, 0)

        def write(image: PillowImage) -> None:
            nonlocal started
            content = io.BytesIO()
            image.save(content, "GIF", optimize=False, palette=palette().tobytes())
            one = content.getvalue()
            head = 13 + 3 * 2 ** ((one[10] & 7) + 1)  # header, screen and 256 colours
            if not started:
                loop = b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", 0, 0)
                file.write(b"GIF89a" + one[6:head] + loop)
                started = True
            at = head
            while one[at] == 0x21:  # extensions
                at += 2
                while one[at]:
                    at += one[at] + 1
                at += 1
            file.write(pause + one[at:-1])

        yield write
        file.write(b"\x3b")


@contextmanager
def _mp4(path: Path, size: tuple[int, int], fps: float) -> Iterator[Callable[[PillowImage], None]]:
    try:
        ffmpeg = import_module("imageio_ffmpeg")
    except ImportError:
        raise DataError(
            "writing MP4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg, or write .gif"
        ) from None
    writer = ffmpeg.write_frames(
        str(path), size, fps=fps, codec="libx264", macro_block_size=2, output_params=["-f", "mp4"], quality=6
    )
    writer.send(None)
    try:
        yield lambda image: writer.send(image.convert("RGB").tobytes())
    finally:
        writer.close()
