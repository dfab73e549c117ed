import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tracking_files import SHAPE, film, save

from cellweak_core.files import CellweakWarning, DataError, tree_digest
from cellweak_core.parameter_cells import ParameterError
from cellweak_core.tracking import readers
from cellweak_core.tracking.data import check
from cellweak_core.tracking.frames import ArraySource, open_frames


def test_a_folder_is_read_in_the_order_of_the_numbers_in_the_names(tmp_path: Path) -> None:
    frames = film(11)
    source = open_frames(save(tmp_path / "img", frames, "exp1_F0009-{}.png"))
    assert len(source) == 11
    assert source.numbers == tuple(range(11))  # 10 comes after 9, not after 1
    assert source.shape == SHAPE
    assert source.dtype == np.uint8
    assert source.name == "img"
    for t in (0, 5, 10, -1):
        np.testing.assert_array_equal(source[t], frames[t].astype(np.float32) / np.float32(255))
    assert source[0].dtype == np.float32
    assert source[0].flags.writeable
    np.testing.assert_array_equal(np.stack(list(source)), source.stack())
    with pytest.raises(IndexError, match=r"frame index 11, expected 0\.\.10"):
        source[11]


@pytest.mark.parametrize("names", ["t{:03d}.png", "t{:03d}.tif", "t{:03d}.bmp"])
def test_kinds_of_files_give_the_same_frames(tmp_path: Path, names: str) -> None:
    frames = film(3)
    np.testing.assert_array_equal(open_frames(save(tmp_path, frames, names)).stack(), ArraySource(frames).stack())


def test_jpeg_is_read(tmp_path: Path) -> None:
    frames = film(3)
    source = open_frames(save(tmp_path, frames, "t{:03d}.jpg"))
    assert np.abs(source.stack() - frames / 255).max() < 0.1


@pytest.mark.parametrize("compression", [None, "zlib", "tiff_lzw"])
def test_a_tiff_stack_is_read_frame_by_frame(tmp_path: Path, compression: str | None) -> None:
    frames, path = film(5), tmp_path / "movie.tif"
    if compression == "tiff_lzw":  # which tifffile leaves to a package that may not be there
        images = [Image.fromarray(frame) for frame in frames]
        images[0].save(path, save_all=True, append_images=images[1:], compression=compression)
    else:
        tifffile.imwrite(path, frames, compression=compression, photometric="minisblack")
    for source in (open_frames(path), open_frames(tmp_path)):
        assert (len(source), source.shape, source.name) == (5, SHAPE, "movie")
        np.testing.assert_array_equal(source.stack([4, 0]), ArraySource(frames).stack([4, 0]))
    assert source.digest() == tree_digest([path], tmp_path)


@pytest.mark.parametrize("dtype", [">u2", "<u2"])
def test_both_byte_orders_of_a_stack(tmp_path: Path, dtype: str) -> None:
    frames = film(4, dtype=np.uint16, white=4000)
    tifffile.imwrite(tmp_path / "a.tif", frames.astype(dtype), byteorder=dtype[0], photometric="minisblack")
    source = open_frames(tmp_path / "a.tif")
    assert source.raw(3).dtype == np.dtype("uint16")
    np.testing.assert_array_equal(source.raw(3), frames[3])


def test_other_orders_of_axes_are_read_when_they_are_named(tmp_path: Path) -> None:
    frames = film(24)
    for axes, moved in (("YXT", frames.transpose(1, 2, 0)), ("XYT", frames.transpose(2, 1, 0))):
        path = tmp_path / f"{axes}.tif"
        tifffile.imwrite(path, np.ascontiguousarray(moved), photometric="minisblack")
        np.testing.assert_array_equal(open_frames(path, axes.lower()).raw(7), frames[7])


def test_swapped_axes_are_refused_with_the_order_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    thin = film(9).transpose(1, 2, 0)  # 40 frames of 9x56
    tifffile.imwrite(path, np.ascontiguousarray(thin), photometric="minisblack")
    with pytest.raises(DataError, match=r"holds 40 frames of 9x56 pixels.*give -p axes YXT"):
        open_frames(path)
    assert len(open_frames(path, "YXT")) == 9


def test_axes_that_a_file_does_not_state_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", film(6), photometric="minisblack")
    assert open_frames(tmp_path / "a.tif").assumed_axes == "TYX"
    assert any("does not state its axes: read as TYX" in line for line in check(tmp_path))
    tifffile.imwrite(tmp_path / "a.tif", film(6), imagej=True, metadata={"axes": "TYX"})
    assert open_frames(tmp_path / "a.tif").assumed_axes == ""


def test_swapped_axes_of_a_long_film_show_in_the_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ground = rng.normal(size=(60, 70))
    ground = np.cumsum(np.cumsum(ground, 0), 1)  # smooth, and as rough along x as along y
    frames = (ground - ground.min()) / np.ptp(ground) * 200 + rng.normal(0, 0.1, (50, 60, 70))
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ascontiguousarray(frames.transpose(1, 2, 0).astype(np.float32)))
    with pytest.raises(DataError, match="give -p axes YXT"):
        open_frames(path, white_level=255)
    tifffile.imwrite(path, frames.astype(np.float32))
    assert len(open_frames(path, white_level=255)) == 50


def test_a_files_own_axes_are_compared_with_the_option(tmp_path: Path) -> None:
    narrow, path = film(30, (10, 60)), tmp_path / "a.tif"
    tifffile.imwrite(path, narrow, imagej=True, metadata={"axes": "TYX"})  # narrow, but the file says so
    assert open_frames(path).shape == (10, 60)
    tifffile.imwrite(path, narrow, imagej=True, metadata={"axes": "ZYX"})  # time saved as depth
    assert len(open_frames(path)) == 30
    with pytest.raises(DataError, match=r"says that its axes are ZYX.*give -p axes TYX"):
        open_frames(path, "YXT")
    tifffile.imwrite(path, np.stack([narrow, narrow], 1), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match="depth and time; project the depth"):
        open_frames(path)


@pytest.mark.parametrize("axes", ["TY", "TYXQ", "TTYX", "", "ZYX"])
def test_axes_that_are_none_are_refused(tmp_path: Path, axes: str) -> None:
    with pytest.raises(ParameterError, match="axes: expected T"):
        open_frames(save(tmp_path, film(2)), axes)


def test_options_that_are_none_are_refused(tmp_path: Path) -> None:
    save(tmp_path, film(2))
    with pytest.raises(ParameterError, match="time comes first"):
        open_frames(tmp_path, "YXT")
    with pytest.raises(ParameterError, match="colour: expected error or mean"):
        open_frames(tmp_path, colour="blue")
    with pytest.raises(ParameterError, match="white_level"):
        open_frames(tmp_path, white_level=-1)


def test_twelve_bits_in_sixteen_bit_files_are_found(tmp_path: Path) -> None:
    frames = film(4, dtype=np.uint16, white=4000)
    source = open_frames(save(tmp_path / "a", frames, "t{}.tif"))
    assert source.scale == 4095
    np.testing.assert_allclose(source[2], frames[2] / 4095, rtol=1e-6)
    assert open_frames(save(tmp_path / "b", frames * 10, "t{}.tif")).scale == 65535
    assert open_frames(save(tmp_path / "c", frames // 20, "t{}.tif")).scale == 255
    given = open_frames(tmp_path / "a", white_level=2000)
    assert given[2].max() == 1.0  # clipped without a word: the person chose it


def test_grey_levels_above_the_level_that_was_found_are_clipped_with_a_warning() -> None:
    frames = film(40, dtype=np.uint16, white=4000)
    frames[1, 0, 0] = 5000  # frame 1 is not among the 16 that are looked at
    source = ArraySource(frames, "a")
    assert source.scale == 4095
    with pytest.warns(CellweakWarning, match=r"a, frame 1: grey levels .* to 5000 .*clipped; give -p white_level"):
        frame = source[1]
    assert frame.max() == 1.0


def test_floating_point_frames_lie_between_zero_and_one(tmp_path: Path) -> None:
    frames = film(3, dtype=np.float32, white=1)
    assert open_frames(save(tmp_path / "a", frames, "t{}.tif")).scale == 1
    with pytest.raises(DataError, match=r"floating point pixels up to .*white_level"):
        open_frames(save(tmp_path / "b", frames * 300, "t{}.tif"))[0]
    assert open_frames(tmp_path / "b", white_level=300)[0].max() <= 1


def test_pixels_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    frames = film(3, dtype=np.float32, white=1)
    frames[1, 4, 7] = np.nan
    source = open_frames(save(tmp_path, frames, "t{}.tif"), white_level=1)
    assert np.isfinite(source[0]).all()
    with pytest.raises(DataError, match=r"t1\.tif: 1 pixels are not numbers, the first at x 7, y 4"):
        source[1]
    with pytest.raises(DataError, match="not numbers"):
        _ = ArraySource(frames).scale


@pytest.mark.parametrize("n", [2, 4])
def test_no_channel_of_a_microscope_is_taken_for_transparency(tmp_path: Path, n: int) -> None:
    channels = np.stack([film(6) // (k + 1) for k in range(n)], 1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(DataError, match=f"a colour image whose {n} channels differ"):
        open_frames(path, "TCYX").raw(0)
    mean = open_frames(path, "TCYX", colour="mean").raw(3)
    np.testing.assert_array_equal(mean, np.round(channels[3].mean(0)).astype(np.uint8))
    alike = np.repeat(film(6)[:, None], n, 1)
    tifffile.imwrite(path, alike, imagej=True, metadata={"axes": "TCYX"})
    np.testing.assert_array_equal(open_frames(path, "TCYX").raw(3), film(6)[3])


def test_colour_is_refused_or_averaged(tmp_path: Path) -> None:
    grey = film(3)
    same = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(open_frames(save(tmp_path / "a", same)).raw(1), grey[1])
    different = same.copy()
    different[..., 0] //= 2
    with pytest.raises(DataError, match=r"t000\.png: a colour image.*-p colour mean"):
        open_frames(save(tmp_path / "b", different))
    mean = open_frames(tmp_path / "b", colour="mean")
    np.testing.assert_array_equal(mean.raw(1), np.round(different[1].mean(-1)).astype(np.uint8))
    tifffile.imwrite(tmp_path / "c.tif", different, photometric="rgb")
    np.testing.assert_array_equal(open_frames(tmp_path / "c.tif", "TYXC", colour="mean").raw(1), mean.raw(1))


def test_frames_of_several_sizes_are_listed(tmp_path: Path) -> None:
    frames = film(6)
    save(tmp_path, frames)
    save(tmp_path, frames[:, :-1, :-2], numbers=[6, 7, 8, 9, 10, 11][:6])
    save(tmp_path, frames[:1], numbers=[11])
    with pytest.raises(DataError, match=r"t006\.png: 54x39 pixels, where 7 of 12 frames have 56x40") as error:
        open_frames(tmp_path)
    assert str(error.value).count("crop or pad") == 5
    tifffile.imwrite(tmp_path / "a.tif", frames[0])
    tifffile.imwrite(tmp_path / "a.tif", frames[0, :20], append=True)
    with pytest.raises(DataError, match="images of several sizes"):
        open_frames(tmp_path / "a.tif")


def test_frames_of_several_depths_are_refused(tmp_path: Path) -> None:
    save(tmp_path, film(2), "t{}.tif")
    save(tmp_path, film(1, dtype=np.uint16), "t{}.tif", numbers=[2])
    with pytest.raises(DataError, match=r"t2\.tif: pixels of type uint16, expected uint8"):
        open_frames(tmp_path)[2]


def test_a_gap_in_the_numbers_is_refused_and_equal_steps_are_not(tmp_path: Path) -> None:
    frames = film(5)
    save(tmp_path / "gap", frames, numbers=[1, 2, 3, 6, 7])
    with pytest.raises(DataError, match=r"go from 3 to 6: frame 4 is missing \(and 1 more\)"):
        open_frames(tmp_path / "gap")
    assert open_frames(save(tmp_path / "steps", frames, numbers=[700, 705, 710, 715, 720])).numbers[1] == 705


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.png", "b.png"], "another kind of name"),
        (["t1.png", "t2.png", "mask1.png"], "mask1.png: another kind of name than t1.png"),
        (["t1.png", "t2.tif"], "another kind of name"),
        (["t1_10.png", "t2_20.png"], "2 numbers change"),
        (["t1.png", "t01.png", "t2.png"], "the same frame number 1"),
        (["frame.png"], "no number in the name"),
    ],
)
def test_names_that_tell_no_order_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        readers.frame_numbers(names)


@pytest.mark.parametrize("name", ["t1.png", "t1.tif", "t1.jpg"])
def test_truncated_frames_are_named(tmp_path: Path, name: str) -> None:
    save(tmp_path, film(3), "t{}" + Path(name).suffix)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{name}: (broken or truncated|not an image)"):
        open_frames(tmp_path)[1]
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"{name}: empty file"):
        open_frames(tmp_path)


def test_truncated_compressed_tiff_frames_are_named(tmp_path: Path) -> None:
    for t, frame in enumerate(film(3)):
        tifffile.imwrite(tmp_path / f"t{t}.tif", frame, compression="zlib", photometric="minisblack")
    content = (tmp_path / "t1.tif").read_bytes()
    (tmp_path / "t1.tif").write_bytes(content[:-100])
    with pytest.raises(DataError, match=r"t1\.tif: broken or truncated"):
        open_frames(tmp_path)[1]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_stacks_are_refused(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, film(5), compression=compression, photometric="minisblack")
    content = path.read_bytes()
    for kept in (0.05, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(DataError, match=r"a\.tif.*truncated"):
            open_frames(path)[4]
    path.write_bytes(b"II*\0nothing")
    with pytest.raises(DataError, match=r"a\.tif"):
        open_frames(path)


def test_what_is_no_sequence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        open_frames(tmp_path / "nowhere.tif")
    with pytest.raises(DataError, match="no frames"):
        open_frames(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="not an image sequence"):
        open_frames(tmp_path / "notes.txt")
    Image.fromarray(film(1)[0]).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="one image is one frame"):
        open_frames(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", film(1)[0])
    with pytest.raises(DataError, match="one frame only"):
        open_frames(tmp_path / "a.tif")
    compressed = tmp_path / "b.tif"
    tifffile.imwrite(compressed, film(20).transpose(1, 2, 0).copy(), compression="zlib", photometric="minisblack")
    with pytest.raises(DataError, match="compressed stack with axes YXT"):
        open_frames(compressed, "YXT")


def test_a_part_is_the_same_as_slicing() -> None:
    frames = film(8)
    source = ArraySource(frames, "a")
    part = source.part(range(1, 8, 3), (5, 25, 10, 40))
    assert (len(part), part.shape, part.numbers) == (3, (20, 30), (1, 4, 7))
    np.testing.assert_array_equal(part.stack(), source.stack()[1:8:3, 5:25, 10:40])
    again = part.part([2], (0, 4, 0, 5))
    np.testing.assert_array_equal(again[0], source[7][5:9, 10:15])
    assert again.where(0) == "a, frame 7"
    assert len({source.digest(), part.digest(), again.digest()}) == 3
    for frames_given, region in (([0], (0, 41, 0, 5)), ([0], (5, 5, 0, 5)), ([2, 1], None), ([8], None)):
        with pytest.raises(ValueError, match="expected"):
            source.part(frames_given, region)


def test_arrays_of_another_kind_are_refused() -> None:
    for array in (np.zeros((4, 5)), np.zeros((0, 4, 5)), np.zeros((2, 4, 5), np.int64), np.zeros((2, 4, 5), complex)):
        with pytest.raises(ValueError, match="array: expected"):
            ArraySource(array)


def test_frames_are_copies_and_a_source_survives_pickling(tmp_path: Path) -> None:
    frames = film(3)
    kept = frames.copy()
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    for source in (ArraySource(frames), open_frames(tmp_path / "a.tif"), ArraySource(frames).part(range(2))):
        source[0][:] = 0
        source.raw(0)[:] = 0
        other = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(other[1], source[1])
    np.testing.assert_array_equal(frames, kept)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    peaks = []
    for n in (40, 40, 160):  # once to import what is needed
        path = tmp_path / f"{n}.tif"
        tifffile.imwrite(path, film(n, (200, 200)), photometric="minisblack")
        tracemalloc.start()
        brightest = max(float(frame.max()) for frame in open_frames(path))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert brightest > 0.5
    assert peaks[2] < peaks[1] + 200 * 200 * 4


def test_zarr_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zarr", None)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DataError, match="pip install zarr"):
        open_frames(tmp_path / "a.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_ome_zarr_is_read(tmp_path: Path, zarr_format: int) -> None:
    zarr = pytest.importorskip("zarr")
    frames = film(5, dtype=np.uint16, white=4000)
    path = tmp_path / "a.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    group.create_array("0", data=frames[:, None, None], chunks=(1, 1, 1, 40, 56))
    named = [{"name": name} for name in "tczyx"]
    scales = {"multiscales": [{"version": "0.4", "axes": named, "datasets": [{"path": "0"}]}]}
    group.attrs.update(scales if zarr_format == 2 else {"ome": scales})
    source = open_frames(path)
    assert (len(source), source.shape, source.scale) == (5, SHAPE, 4095)
    np.testing.assert_array_equal(source.raw(3), frames[3])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source)).raw(4), frames[4])
    assert len(source.digest()) == 64
    with pytest.raises(DataError, match="give -p axes TYX"):
        open_frames(path, "YXT")


def test_plain_zarr_arrays_are_checked_like_stacks(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    frames = film(9)
    zarr.create_array(str(tmp_path / "a.zarr"), data=np.ascontiguousarray(frames.transpose(1, 2, 0)))
    with pytest.raises(DataError, match="give -p axes YXT"):
        open_frames(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_frames(tmp_path / "a.zarr", "YXT").raw(2), frames[2])
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(DataError, match="not a zarr array or group"):
        open_frames(tmp_path / "b.zarr")
