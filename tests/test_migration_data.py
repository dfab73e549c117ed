from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from migration_films import H, T, W, film, lay, stack, table
from PIL import Image

from cellweak_core import migration
from cellweak_core.files import DataError, tree_digest
from cellweak_core.migration import patches
from cellweak_core.migration.axes import parse_axes
from cellweak_core.migration.data import check, load
from cellweak_core.parameter_cells import ParameterError


def test_a_stack_and_its_table(tmp_path: Path) -> None:
    root = lay(tmp_path)
    films = load(root)
    assert isinstance(films, migration.Films)
    assert (films.name, films.channels, list(films.frames), films.labelled) == ("cells", ("0",), ["cells"], True)
    one = films.frames["cells"]
    assert (len(one), one.shape, one.dtype) == (T, (T, 1, H, W), np.uint8)
    np.testing.assert_array_equal(np.stack(list(one))[:, 0], film())
    assert films.points.columns.tolist() == ["sequence", "cell", "frame", "x", "y", "label"]
    expected = table().sort_values(["cell", "frame"], ignore_index=True)
    assert films.points["cell"].tolist() == [f"cells/{c}" for c in expected["cell"]]
    pd.testing.assert_frame_equal(films.points[["frame", "x", "y", "label"]], expected[["frame", "x", "y", "label"]])
    assert films.digest == tree_digest([root / "movie.tif", root / "points.csv"], root)


def save_stack(root: Path, frames: np.ndarray) -> None:
    stack(root / "a.tif", frames)


def save_compressed(root: Path, frames: np.ndarray) -> None:
    stack(root / "images" / "a.tif", frames, compression="zlib")


def save_ome(root: Path, frames: np.ndarray) -> None:
    stack(root / "a.ome.tif", frames, metadata={"axes": "TYX"}, ome=True)


def save_big_endian(root: Path, frames: np.ndarray) -> None:
    stack(root / "a.tif", frames, byteorder=">")


def save_png(root: Path, frames: np.ndarray) -> None:
    (root / "frames").mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(root / "frames" / f"exp2_t{t:03d}.png")


def save_tiffs(root: Path, frames: np.ndarray) -> None:
    for t, frame in enumerate(frames):
        stack(root / f"t{t}.tif", frame)


def save_lzw(root: Path, frames: np.ndarray) -> None:
    root.mkdir(parents=True)
    first, *others = map(Image.fromarray, frames)
    first.save(root / "a.tif", save_all=True, append_images=others, compression="tiff_lzw")


def save_zarr(root: Path, frames: np.ndarray) -> None:
    zarr = pytest.importorskip("zarr")
    root.mkdir(parents=True)
    zarr.create_array(str(root / "a.zarr"), data=frames, chunks=(1, H, W))


LAYOUTS = [save_stack, save_compressed, save_ome, save_big_endian, save_png, save_tiffs, save_lzw, save_zarr]


@pytest.mark.parametrize("save", LAYOUTS)
def test_every_layout_gives_the_same_film(tmp_path: Path, save: Callable[[Path, np.ndarray], None]) -> None:
    root = tmp_path / "cells"
    save(root, film(12))
    table(n=12).to_csv(root / "tracks.csv", index=False)
    films = load(root)
    assert list(films.frames) == ["cells"]
    one = films.frames["cells"]
    assert (one.shape, one.dtype) == ((12, 1, H, W), np.dtype(np.uint8))
    for t in (0, 7, 11):
        np.testing.assert_array_equal(one[t][0], film(12)[t])
    one[3][:] = 0  # an array of its own
    np.testing.assert_array_equal(one[3][0], film(12)[3])
    with pytest.raises(IndexError, match="frame 12, expected 0 to 11"):
        one[12]


@pytest.mark.parametrize(("axes", "stated"), [("TCYX", "TCYX"), ("TCYX", ""), ("TYXC", "TYXS"), ("TYXC", "")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_before_or_behind(tmp_path: Path, axes: str, stated: str, compression: str | None) -> None:
    frames = film(channels=3, dtype=np.uint16)
    pixels = frames if axes == "TCYX" else frames.transpose(0, 2, 3, 1)
    options = {"ome": True, "metadata": {"axes": stated}} if stated else {}
    photometric = "rgb" if stated == "TYXS" else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric=photometric, compression=compression, **options)
    table().to_csv(tmp_path / "points.csv", index=False)
    films = load(tmp_path, channels=("adhesions", "actin", "membrane"))
    (one,) = films.frames.values()
    assert (one.shape, films.channels) == ((T, 3, H, W), ("adhesions", "actin", "membrane"))
    np.testing.assert_array_equal(np.stack(list(one)), frames)
    with pytest.raises(ParameterError, match=r"channels: 2 names \(a, b\) for the 3 channels of .*a\.tif"):
        load(tmp_path, channels=("a", "b"), axes=axes)


def test_two_channels_are_two(tmp_path: Path) -> None:
    films = load(lay(tmp_path, frames=film(channels=2)))
    assert (films.channels, films.frames["cells"].shape) == (("0", "1"), (T, 2, H, W))
    assert patches.cut(films, [0], 9).shape == (1, 2, 9, 9)


def test_colour_and_transparency_of_png(tmp_path: Path) -> None:
    for mode, channels in (("RGB", 3), ("RGBA", 3), ("LA", 1)):
        root = tmp_path / mode
        root.mkdir()
        pixels = film(channels=len(mode)).transpose(0, 2, 3, 1)
        for t in range(T):
            Image.fromarray(pixels[t], mode=None).save(root / f"t{t}.png")
        table().to_csv(root / "points.csv", index=False)
        one = load(root).frames[mode]
        assert one.shape == (T, channels, H, W)
        np.testing.assert_array_equal(one[2], pixels[2, ..., :channels].transpose(2, 0, 1))


def test_frames_of_several_channels_as_tiff(tmp_path: Path) -> None:
    frames = film(channels=2)
    for t in range(T):
        stack(tmp_path / f"t{t}.tif", frames[t], imagej=True, metadata={"axes": "CYX"})
    table().to_csv(tmp_path / "points.csv", index=False)
    (one,) = load(tmp_path).frames.values()
    np.testing.assert_array_equal(np.stack(list(one)), frames)
    for t in range(T):  # nothing stated: as many axes as a frame of TCYX has
        stack(tmp_path / f"t{t}.tif", frames[t])
    (one,) = load(tmp_path, axes="TCYX").frames.values()
    np.testing.assert_array_equal(np.stack(list(one)), frames)


def test_ome_zarr_states_its_axes(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.create_group(str(tmp_path / "a.ome.zarr"))
    frames = film(channels=2)
    group.create_array("0", data=frames[:, :, None])
    axes = [{"name": letter} for letter in "tczyx"]
    group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    table().assign(sequence="a").to_csv(tmp_path / "points.csv", index=False)
    (one,) = load(tmp_path).frames.values()
    np.testing.assert_array_equal(np.stack(list(one)), frames)
    with pytest.raises(DataError, match=r"its axes are TCZYX .* and axes is TYXC"):
        load(tmp_path, axes="TYXC")


def test_a_folder_of_films(tmp_path: Path) -> None:
    stack(tmp_path / "films" / "a.tif", film(4))
    stack(tmp_path / "films" / "b.tif", film(T, seed=1))
    points = pd.concat([table(n=4).assign(sequence="a"), table().assign(sequence="b.tif")])
    points.to_csv(tmp_path / "points.csv", index=False)
    films = load(tmp_path)
    assert {name: len(one) for name, one in films.frames.items()} == {"a": 4, "b": T}
    assert sorted(films.points["cell"].unique()) == ["a/0", "a/1", "b/0", "b/1"]
    np.testing.assert_array_equal(films.frames["b"][5][0], film(T, seed=1)[5])
    points.drop(columns="sequence").drop_duplicates().to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(DataError, match=r"points\.csv: no column sequence, and 2 films \(a, b\)"):
        load(tmp_path)
    points.assign(sequence="c").to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(DataError, match=r"line 2 \(cell 0, frame 0.*there is no film 'c'; the films are a, b"):
        load(tmp_path)


def test_folders_of_frames_are_films(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_png(tmp_path / name, film())
        (tmp_path / name / "frames").rename(tmp_path / f"x{name}")
        (tmp_path / name).rmdir()
    pd.concat([table().assign(sequence=name) for name in ("xa", "xb")]).to_csv(tmp_path / "points.csv", index=False)
    assert list(load(tmp_path).frames) == ["xa", "xb"]


def test_folders_with_tables_of_their_own(tmp_path: Path) -> None:
    lay(tmp_path, name="a")
    lay(tmp_path, table(1), film(seed=1), name="b")
    films = load(tmp_path)
    assert films.points["cell"].unique().tolist() == ["a/0", "a/1", "b/0"]
    assert films.points.groupby("sequence").size().to_dict() == {"a": 2 * T, "b": T}
    np.testing.assert_array_equal(films.frames["b"][1][0], film(seed=1)[1])
    assert len(films.digest) == 64
    table(1).drop(columns="label").to_csv(tmp_path / "b" / "points.csv", index=False)
    with pytest.raises(DataError, match="b has no column label and others have"):
        load(tmp_path)


def test_tracks_without_labels_as_trackers_leave_them(tmp_path: Path) -> None:
    points = table().rename(columns={"cell": "id"}).drop(columns="label")
    films = load(lay(tmp_path, points[["frame", "id", "x", "y"]]))
    assert films.points.columns.tolist() == ["sequence", "cell", "frame", "x", "y"]
    assert not films.labelled


def test_frames_are_numbered_as_their_files(tmp_path: Path) -> None:
    for t, frame in enumerate(film()):
        Image.fromarray(frame).save(tmp_path / f"t{700 + 2 * t}.png")
    points = table()
    points.assign(frame=700 + 2 * points["frame"]).to_csv(tmp_path / "points.csv", index=False)
    assert load(tmp_path).points["frame"].unique().tolist() == list(range(T))
    (tmp_path / "t704.png").unlink()
    with pytest.raises(DataError, match="go from 702 to 706, elsewhere in steps of 2"):
        load(tmp_path)


def test_a_film_of_one_frame(tmp_path: Path) -> None:
    stack(tmp_path / "a" / "one.tif", film()[0])
    table(n=1).to_csv(tmp_path / "a" / "points.csv", index=False)
    films = load(tmp_path / "a")
    assert films.frames["a"].shape == (1, 1, H, W)
    np.testing.assert_array_equal(films.frames["a"][0][0], film()[0])
    said = "\n".join(check(tmp_path / "a"))
    assert "1 frame of 32x24" in said
    assert "nothing can be trained" in said


def test_labels_in_any_case_and_missing(tmp_path: Path) -> None:
    points = table(1).assign(label=["Continuous", "DISCONTINUOUS", "unknown", "", " continuous ", "Unknown"])
    labels = load(lay(tmp_path, points)).points["label"]
    assert labels.tolist() == ["continuous", "discontinuous", "unknown", "unknown", "continuous", "unknown"]


def change(column: str, value: object, at: int = 3) -> pd.DataFrame:
    points = table().astype({column: object})
    points.loc[at, column] = value
    return points


BAD_TABLES = {
    "a frame that is not there": (
        change("frame", 40),
        r"points\.csv, line 5 \(cell 1, frame 40, x 9, y 9\): there is no frame 40 in cells, which has 6 frames, 0 to",
    ),
    "frames from 1": (table().assign(frame=table()["frame"] + 1), r"no frame 6 .*count from 1: subtract 1"),
    "a word that is no label": (
        change("label", "discontinous"), r"line 5 .*'discontinous' is no label \('discontinuous'\?\)",
    ),
    "outside": (change("x", 33.0), r"line 5 \(cell 1, frame 1, x 33, y 9\): outside the image of 32x24 pixels"),
    "far above": (change("y", -1.6), r"line 5 .*outside the image"),
    "exchanged": (
        table().assign(x=table()["y"], y=table()["x"] + 15).astype({"x": float}),
        "with x and y exchanged all would lie inside",
    ),
    "one cell twice": (change("cell", 0), r"line 5 \(cell 0, frame 1.*has a row for this frame already, line 4"),
    "no number": (change("x", "nan"), r"line 5, column 'x': expected float, found 'nan'"),
    "an empty cell": (change("y", ""), r"line 5, column 'y': expected float, found an empty cell"),
    "infinite": (change("x", "inf"), r"line 5 .*the centroid is not a number"),
    "no name": (change("cell", ""), r"line 5, column 'cell': expected str, found an empty cell"),
    "no cells": (table()[:0], "no cells at all"),
    "no column of cells": (table().drop(columns="cell"), "column 'cell' is missing"),
    "no column of frames": (table().drop(columns="frame"), "column 'frame' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_TABLES)
def test_bad_tables_are_errors_for_people(tmp_path: Path, what: str) -> None:
    points, message = BAD_TABLES[what]
    with pytest.raises(DataError, match=message):
        load(lay(tmp_path, points))


def test_a_centroid_on_the_rim_is_moved_onto_the_border(tmp_path: Path) -> None:
    films = load(lay(tmp_path, change("x", W + 0.4)))
    assert films.points["x"].max() == W - 0.5
    row = int(films.points["x"].argmax())
    (patch,) = patches.cut(films, [row], 5)
    np.testing.assert_array_equal(patch[0, :, 2:], np.repeat(film()[1][7:12, -1:], 3, 1))


def test_missing_and_several_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not there"):
        load(tmp_path / "nowhere")
    root = lay(tmp_path)
    (root / "tracks.csv").write_text("cell,frame,x,y\n")
    with pytest.raises(DataError, match=r"points\.csv and tracks\.csv; keep one"):
        load(root)
    (root / "points.csv").unlink()
    (root / "tracks.csv").rename(root / "mine.csv")
    with pytest.raises(DataError, match=r"no table of cells; expected one of points\.csv.*is it mine\.csv\?"):
        load(root)
    (root / "mine.csv").rename(root / "points.csv")
    (root / "movie.tif").unlink()
    with pytest.raises(DataError, match="no images; expected a TIFF stack"):
        load(root)


def test_truncated_and_broken_stacks(tmp_path: Path) -> None:
    for compression in (None, "zlib"):
        root = tmp_path / str(compression)
        path = stack(root / "a.tif", film(40), compression=compression)
        table().to_csv(root / "points.csv", index=False)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"a\.tif: .*truncated"):
            load(root)
        path.write_bytes(b"no TIFF at all")
        with pytest.raises(DataError, match=r"a\.tif: broken or truncated TIFF"):
            load(root)


def test_a_page_that_is_broken_is_found_by_check(tmp_path: Path) -> None:
    root = tmp_path / "cells"
    path = stack(root / "a.tif", film(), compression="zlib")
    table().to_csv(root / "points.csv", index=False)
    with tifffile.TiffFile(path) as tiff:
        offsets = [tiff.pages[t].dataoffsets[0] for t in (2, 4)]
    content = bytearray(path.read_bytes())
    for offset in offsets:
        content[offset : offset + 40] = bytes(40)
    path.write_bytes(bytes(content))
    films = load(root)
    with pytest.raises(DataError, match=r"a\.tif, frame 4: broken or truncated"):
        films.frames["cells"][4]
    with pytest.raises(DataError, match=r"(?s)frame 2: broken.*\n.*frame 4: broken"):
        list(check(root))


def test_pixels_that_are_not_numbers(tmp_path: Path) -> None:
    frames = film(dtype=np.float32)
    frames[2, 5, 7] = np.nan
    films = load(lay(tmp_path, frames=frames))
    with pytest.raises(DataError, match=r"movie\.tif, frame 2: a pixel that is not a number at x 7, y 5"):
        films.frames["cells"][2]
    stack(tmp_path / "i" / "a.tif", film(dtype=np.int32))
    table().to_csv(tmp_path / "i" / "points.csv", index=False)
    with pytest.raises(DataError, match="pixels of type int32, expected 8-bit"):
        load(tmp_path / "i")


def test_axes_are_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text(table().to_csv(index=False))
    stack(tmp_path / "a.tif", film().transpose(1, 2, 0))  # Y, X, T: frames of 6 x 32
    with pytest.raises(DataError, match=r"as TYX it has frames of 6x32 pixels.*give -p axes"):
        load(tmp_path)
    (one,) = load(tmp_path, axes="YXT").frames.values()
    np.testing.assert_array_equal(one[4][0], film()[4])
    frames = np.zeros((4, 3, 40, 5), np.uint8)
    stack(tmp_path / "a.tif", frames)
    with pytest.raises(DataError, match="4x3x40x5 pixels can be TCYX or TYXC"):
        load(tmp_path)
    stack(tmp_path / "a.tif", film(channels=3), ome=True, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match="have depth and time"):
        load(tmp_path)
    with pytest.raises(ParameterError, match="axes: expected T"):
        load(tmp_path, axes="TYY")
    assert parse_axes(" thwc") == "TYXC"


def test_films_must_be_alike(tmp_path: Path) -> None:
    stack(tmp_path / "a.tif", film())
    stack(tmp_path / "b.tif", film(dtype=np.uint16))
    table().assign(sequence="a").to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(DataError, match=r"b\.tif: 1 channels of uint16 in film b, and 1 of uint8 in a"):
        load(tmp_path)
    save_png(tmp_path / "c", film())
    Image.fromarray(film()[0][:20]).save(tmp_path / "c" / "frames" / "exp2_t003.png")
    table().to_csv(tmp_path / "c" / "points.csv", index=False)
    with pytest.raises(DataError, match=r"t003\.png: 32x20 pixels in 1 channel of uint8, expected 32x24"):
        list(check(tmp_path / "c"))


@pytest.mark.parametrize(("names", "message"), [
    (("t0.png", "u1.png"), "another kind of name"),
    (("a.png", "a .png"), "another kind of name|no number in the name"),
    (("t0_1.png", "t1_2.png"), "2 numbers change"),
    (("t1.png", "t01.png"), "the same frame number 1"),
])  # fmt: skip
def test_names_of_frames(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        Image.fromarray(film()[0]).save(tmp_path / name)
    table().to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_real_tracks_load_as_they_are(real_data: Path) -> None:
    films = load(real_data / "migration" / "t98g_phase")
    assert (len(films.points), films.points["cell"].nunique(), films.labelled) == (2641, 105, False)
    one = films.frames["t98g_phase"]
    assert (one.shape, one.dtype) == ((37, 1, 511, 511), np.uint8)
    frames = tifffile.imread(real_data / "migration" / "t98g_phase" / "frames.tif")
    np.testing.assert_array_equal(one[20][0], frames[20])
    assert films.points["x"].max() == 510.5  # a tracker's 511.1
