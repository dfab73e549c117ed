"""Patches: cut round centroids, of smaller frames too, written row for row, kept, and refused where they do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from migration_films import H, T, W, film, lay, table

from cellweak_core.files import DataError
from cellweak_core.migration import patches
from cellweak_core.migration.data import Films, load
from cellweak_core.migration.simulate import Plan, simulate


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
    with pytest.raises(ValueError, match="downsample: expected 1"):
        patches.cut(films, [0], 5, downsample=0)
    assert patches.cut(films, [0], 1, downsample=H).shape == (1, 1, 1, 1)
    with pytest.raises(DataError, match=f"film a: frames of {W}x{H} pixels .* cannot be made {H + 1} times smaller"):
        patches.cut(films, [0], 5, downsample=H + 1)


def lanczos_literally(row: np.ndarray, factor: int) -> np.ndarray:
    """One line of pixels, factor times smaller: weights sinc(u) sinc(u / 3) at |u| < 3, of the pixels there are."""
    out = []
    for i in range(len(row) // factor):
        total = weight = 0.0
        for j in range(len(row) // factor * factor):
            u = (j + 0.5) / factor - (i + 0.5)
            w = float(np.sinc(u) * np.sinc(u / 3)) if abs(u) < 3 else 0.0
            total, weight = total + w * float(row[j]), weight + w
        out.append(total / weight)
    return np.array(out)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("factor", [2, 3, 5])  # of 24 x 32 pixels: some lines are left over
def test_smaller_frames_are_lanczos_by_hand(factor: int, dtype: type) -> None:
    scale = {np.uint8: 1, np.uint16: 300, np.float32: 1e-3}[dtype]
    frames = (film(2, channels=2) * float(scale)).astype(dtype)
    # a sharp edge: negative lobes leave the range on both sides
    frames[0, 0, :, :10], frames[0, 0, :, 10:] = 1 if dtype is np.float32 else np.iinfo(dtype).max, 0
    height, width = H // factor, W // factor
    # the nearest pixel of the smaller frame is wanted of all, in the order of the lines
    spots = [(u, v) for v in range(height) for u in range(width)]
    x, y = ([(one[k] + 0.5) * factor - 0.5 for one in spots] for k in (0, 1))
    points = pd.DataFrame({"sequence": "a", "cell": "a/0", "frame": 0, "x": x, "y": y})
    found = patches.cut(moving({"a": frames}, points), range(len(spots)), 1, downsample=factor)
    assert found.dtype == dtype
    for c in range(2):
        lines = np.array([lanczos_literally(line, factor) for line in frames[0, c]])
        whole = np.array([lanczos_literally(line, factor) for line in lines.T]).T
        own = found[:, c, 0, 0].reshape(height, width).astype(float)
        if dtype is np.float32:
            assert own == pytest.approx(whole, rel=1e-4, abs=1e-6)
            assert own.min() < 0 or c == 1  # not clipped
        else:
            assert whole.min() < 0 < np.iinfo(dtype).max < whole.max() or c == 1
            expected = np.clip(whole, 0, np.iinfo(dtype).max)
            assert np.abs(own - expected).max() <= 0.5 + 1e-5 * scale


@pytest.mark.parametrize("factor", [2, 3])
def test_the_centroid_stays_where_it_is_in_smaller_frames(factor: int) -> None:
    # a ramp tells where a pixel of the smaller frame lies: its value is 100 times the place, but for the borders
    ramp = np.broadcast_to(100 * np.arange(W, dtype=np.uint16), (1, 1, H, W)).copy()
    points = pd.DataFrame({"sequence": "a", "cell": "a/0", "frame": 0, "x": np.linspace(13, 19, 40), "y": 11.5})
    found = patches.cut(moving({"a": ramp}, points), np.arange(40), 1, downsample=factor)[:, 0, 0, 0]
    # the nearest pixel is at most half a pixel of the smaller frame away
    assert np.abs(found / 100 - points["x"]).max() <= factor / 2 + 0.05
    assert len(np.unique(found)) >= 6 // factor
    plain = patches.cut(moving({"a": ramp}, points), np.arange(40), 1)[:, 0, 0, 0]
    assert plain.tolist() == (100 * np.rint(points["x"])).tolist()


def test_what_is_left_over_is_cut_off_and_beyond_it_the_border_is_repeated() -> None:
    frames = np.full((1, 1, 7, 9), 50, np.uint8)
    frames[..., 6:, :], frames[..., 8:] = 200, 200  # the last line and column are no pair
    points = pd.DataFrame({"sequence": ["a"], "cell": ["a/0"], "frame": [0], "x": [8.0], "y": [6.0]})
    films = moving({"a": frames}, points)
    assert (patches.cut(films, [0], 5, downsample=2) == 50).all()
    dark = patches.cut(films, [0], 5, "zero", downsample=2)[0, 0]
    assert dark.tolist() == [[50] * 3 + [0] * 2] * 3 + [[0] * 5] * 2  # the last pixel that there is, in the middle


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
    pd.testing.assert_frame_equal(points, films.points.drop(columns="label"))  # would go stale
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


def counted_films(points: pd.DataFrame | None = None) -> tuple[Films, Counted]:
    counted = Counted(film(channels=1))
    table_of = table(2).assign(sequence="a") if points is None else points
    return Films({"a": counted}, ("0",), table_of, "made", "0123"), counted


def test_kept_patches_are_cut_once(tmp_path: Path) -> None:
    films, counted = counted_films()
    folder, key = patches.kept(films, tmp_path, 5)
    assert folder == tmp_path / key[:12]
    assert key == patches.digest(films, 5)
    assert len(key) == 64
    assert counted.read == list(range(T))
    np.testing.assert_array_equal(patches.load(folder)[0], patches.cut(films, np.arange(2 * T), 5))
    counted.read.clear()
    # labels do not matter, nor what a simulation knows beside
    for same in (films, *(replace(films, points=points) for points in (
        films.points.drop(columns="label"), films.points.assign(label="unknown", drive=0.5)
    ))):  # fmt: skip
        assert patches.kept(same, tmp_path, 5) == (folder, key)
    assert not counted.read


def test_other_patches_have_another_key(tmp_path: Path) -> None:
    films, _ = counted_films()
    moved = films.points.copy()
    moved.loc[3, "x"] += 1e-9
    other = [
        patches.digest(films, 5), patches.digest(films, 6), patches.digest(films, 5, "zero"),
        patches.digest(films, 5, downsample=2), patches.digest(replace(films, digest="0124"), 5),
        patches.digest(replace(films, points=moved), 5), patches.digest(replace(films, points=moved[::-1]), 5),
    ]  # fmt: skip
    assert len(set(other)) == len(other)
    halved, key = patches.kept(films, tmp_path, 5, "zero", 2)
    assert key == patches.digest(films, 5, "zero", 2)
    expected = patches.cut(films, np.arange(2 * T), 5, "zero", 2)
    np.testing.assert_array_equal(patches.load(halved)[0], expected)
    assert not np.array_equal(expected, patches.cut(films, np.arange(2 * T), 5, "zero"))
    with pytest.raises(ValueError, match="made: expected films with a digest"):
        patches.kept(replace(films, digest=""), tmp_path, 5)
    with pytest.raises(ValueError, match="border: expected edge or zero"):
        patches.kept(films, tmp_path, 5, "wrap")


def broken(kind: str, folder: Path) -> None:
    """What a killed or disturbed write leaves."""
    pixels, points = folder / "patches.npy", folder / "points.csv"
    if kind == "no table":
        points.unlink()
    elif kind == "a row less":
        points.write_text("".join(points.read_text().splitlines(keepends=True)[:-1]))
    elif kind == "half the pixels":
        pixels.write_bytes(pixels.read_bytes()[: pixels.stat().st_size // 2])
    elif kind == "other patches":
        np.save(pixels, np.load(pixels)[:, :, 1:])
    else:
        points.unlink()
        pixels.rename(folder / ".patches.npy.1.part")


@pytest.mark.parametrize("kind", ["no table", "a row less", "half the pixels", "other patches", "part"])
def test_patches_that_are_not_whole_are_cut_again(tmp_path: Path, kind: str) -> None:
    films, counted = counted_films()
    folder, key = patches.kept(films, tmp_path, 5)
    broken(kind, folder)
    counted.read.clear()
    assert patches.kept(films, tmp_path, 5) == (folder, key)
    assert counted.read == list(range(T))
    pixels, points = patches.load(folder)
    np.testing.assert_array_equal(pixels, patches.cut(films, np.arange(2 * T), 5))
    assert len(points) == 2 * T


class Killed(Counted):
    """A film during whose reading the process is ended."""

    def __getitem__(self, t: int) -> np.ndarray:
        if t == 3:
            raise KeyboardInterrupt
        return super().__getitem__(t)


def test_a_killed_write_is_cut_again(tmp_path: Path) -> None:
    films, counted = counted_films()
    killed = replace(films, frames={"a": Killed(counted.frames)})
    with pytest.raises(KeyboardInterrupt):
        patches.kept(killed, tmp_path, 5)
    folder, _ = patches.kept(films, tmp_path, 5)
    np.testing.assert_array_equal(patches.load(folder)[0], patches.cut(films, np.arange(2 * T), 5))


def test_a_full_disk_leaves_no_patches(small_disk: Path) -> None:
    points = table(1).assign(sequence="a", cell="a/0")
    films = moving({"a": film(channels=1)}, points)
    with pytest.raises(OSError, match="No space left"):
        patches.write(films, small_disk / "p", 300)
    assert not list((small_disk / "p").glob("*"))


def test_other_axes_are_other_patches(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (5, 24, 24), np.uint8)
    tifffile.imwrite(tmp_path / "film.tif", frames)
    (tmp_path / "points.csv").write_text("cell,frame,x,y\n1,0,9,5\n1,1,9,6\n")
    one, other = (load(tmp_path, axes=axes) for axes in ("TYX", "TXY"))
    assert not np.array_equal(patches.cut(one, [0], 9), patches.cut(other, [0], 9))
    assert patches.digest(one, 9) != patches.digest(other, 9)


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    films = simulate(Plan(n_cells=3, n_frames=6, field_px=48, size_px=32), seed=1)
    folder, _ = patches.kept(films, tmp_path, 16)
    (folder / patches.TABLE).unlink()
    left = folder / f".{patches.PIXELS}.77.part"
    left.write_bytes(b"0" * 9)
    patches.kept(films, tmp_path, 16)
    assert not left.exists()
    assert patches.load(folder)[0].shape == (18, 3, 16, 16)


def test_pixels_that_are_not_finite_are_named_when_they_are_cut(tmp_path: Path) -> None:
    frames = np.ones((3, 20, 20), np.float32)
    frames[1, 9, 8] = np.nan
    tifffile.imwrite(tmp_path / "film.tif", frames, photometric="minisblack")
    (tmp_path / "points.csv").write_text("cell,frame,x,y\n1,0,8,9\n1,1,8,9\n2,1,1,1\n")
    films = load(tmp_path)
    assert np.isfinite(patches.cut(films, [0], 5)).all()
    with pytest.raises(DataError, match=r"frame 1: a pixel that is not a number at x 8, y 9"):
        patches.cut(films, [0, 1], 5)
