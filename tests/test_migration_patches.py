"""Patches: cut round centroids, written row for row, and refused where they do not go with their table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from migration_films import T, W, film, lay, table

from cellweak_core.files import DataError
from cellweak_core.migration import patches
from cellweak_core.migration.data import Films, load


def moving(films: dict[str, np.ndarray], points: pd.DataFrame) -> Films:
    return Films(films, ("0",), points, "made")


def cut_literally(frame: np.ndarray, x: float, y: float, size: int) -> np.ndarray:
    """By loops: the nearest pixel that the image has."""
    channels, height, width = frame.shape
    out = np.zeros((channels, size, size), frame.dtype)
    for c in range(channels):
        for i in range(size):
            for j in range(size):
                v, u = round(y) - size // 2 + i, round(x) - size // 2 + j
                out[c, i, j] = frame[c, min(max(v, 0), height - 1), min(max(u, 0), width - 1)]
    return out


@pytest.mark.parametrize("size", [1, 7, 8, 41])
def test_patches_are_cut_round_the_centroid(size: int) -> None:
    frames = {"a": film(3, channels=2), "b": film(3, channels=2, seed=1)}
    spots = [("b", 2, 0.0, 0.0), ("a", 0, 31.5, 23.4), ("a", 1, 10.6, 11.2), ("a", 0, 4.0, 20.0)]
    points = pd.DataFrame([(s, f"{s}/{i}", t, x, y) for i, (s, t, x, y) in enumerate(spots)],
                          columns=["sequence", "cell", "frame", "x", "y"], index=[9, 8, 7, 6])  # fmt: skip
    films = moving(frames, points)
    rows = [2, 0, 3, 1, 0]
    found = patches.cut(films, rows, size)
    for patch, row in zip(found, rows, strict=True):
        s, t, x, y = spots[row]
        np.testing.assert_array_equal(patch, cut_literally(frames[s][t], min(x, W - 1), y, size))
    mask = np.array([True, False, True, False])
    np.testing.assert_array_equal(patches.cut(films, mask, size), found[[1, 0]])
    assert patches.cut(films, [], size).shape == (0, 2, size, size)
    zero = patches.cut(films, [0], 7, border="zero")[0]
    assert not zero[:, :3].any()
    assert not zero[:, :, :3].any()
    np.testing.assert_array_equal(zero[:, 3:, 3:], frames["b"][2][:, :4, :4])


def test_patches_refuse_what_cannot_be() -> None:
    points = pd.DataFrame({"sequence": ["a"], "cell": ["a/0"], "frame": [0], "x": [3.0], "y": [3.0]})
    films = moving({"a": film(1, channels=1)}, points)
    with pytest.raises(IndexError, match="rows 1 to 1, expected 0 to 0"):
        patches.cut(films, [1], 5)
    with pytest.raises(ValueError, match="border: expected edge or zero"):
        patches.cut(films, [0], 5, border="wrap")
    with pytest.raises(ValueError, match="size_px: expected 1 or more"):
        patches.cut(films, [0], 0)
    with pytest.raises(ValueError, match="rows: expected positions"):
        patches.cut(films, [0.5], 5)


class Counted:
    """A film that counts how often frames are read."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.shape, self.dtype, self.read = frames, frames.shape, frames.dtype, list[int]()

    def __getitem__(self, t: int) -> np.ndarray:
        self.read.append(t)
        return self.frames[t]


def test_patches_are_written_row_for_row_and_each_frame_read_once(tmp_path: Path) -> None:
    root = lay(tmp_path, frames=film(channels=2, dtype=np.uint16))
    films = load(root)
    counted = Counted(np.stack(list(films.frames["cells"])))
    counting = Films({"cells": counted}, films.channels, films.points, "made")
    folder = patches.write(counting, tmp_path / "patches", 9)
    assert counted.read == list(range(T))
    pixels, points = patches.load(folder)
    assert isinstance(pixels, np.memmap)
    assert pixels.dtype == np.uint16
    pd.testing.assert_frame_equal(points, films.points)
    np.testing.assert_array_equal(pixels, patches.cut(films, np.arange(len(points)), 9))
    assert sorted(path.name for path in folder.iterdir()) == ["patches.npy", "points.csv"]


def test_coordinates_keep_every_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    points = table(1).assign(sequence="a", cell="a/0", x=rng.uniform(0, 20, T), y=rng.uniform(0, 1e-3, T))
    patches.write(moving({"a": film(channels=1)}, points), tmp_path / "p", 3)
    assert (patches.load(tmp_path / "p")[1][["x", "y"]].to_numpy() == points[["x", "y"]].to_numpy()).all()


def test_patches_that_do_not_go_with_their_table(tmp_path: Path) -> None:
    films = load(lay(tmp_path))
    folder = patches.write(films, tmp_path / "p", 5)
    films.points[1:].to_csv(folder / "points.csv", index=False)
    with pytest.raises(DataError, match=r"patches of shape \(12, 1, 5, 5\) for 11 rows"):
        patches.load(folder)
    (folder / "patches.npy").write_bytes((folder / "patches.npy").read_bytes()[:100])
    with pytest.raises(DataError, match=r"patches\.npy cannot be read"):
        patches.load(folder)
    with pytest.raises(DataError, match=r"patches\.npy cannot be read"):
        patches.load(tmp_path / "nowhere")


def test_a_full_disk_leaves_no_patches(small_disk: Path) -> None:
    points = table(1).assign(sequence="a", cell="a/0")
    films = moving({"a": film(channels=1)}, points)
    with pytest.raises(OSError, match="No space left"):
        patches.write(films, small_disk / "p", 300)
    assert not list((small_disk / "p").glob("*"))
