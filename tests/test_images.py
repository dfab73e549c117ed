"""Reading, denoising, normalising and augmenting grey images."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from cellweak_core.files import DataError
from cellweak_core.images import (
    augment,
    ball,
    denoise,
    list_images,
    median_of,
    one_channel,
    read_grey,
    scale_to_unit,
    standardise,
    to_8_bit,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_reads_what_was_written_in_every_format(tmp_path: Path, rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (7, 5), np.uint8)
    deep = rng.integers(0, 65536, (7, 5)).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(grey).save(tmp_path / "a.bmp")
    tifffile.imwrite(tmp_path / "a.tif", grey)
    tifffile.imwrite(tmp_path / "deep.tif", deep)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for name in ("a.png", "a.bmp", "a.tif"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), grey)
    for name in ("deep.png", "deep.tif"):
        image = read_grey(tmp_path / name)
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, deep)
    assert [p.name for p in list_images(tmp_path)] == ["a.bmp", "a.png", "a.tif", "deep.png", "deep.tif"]


def test_grey_saved_as_colour_is_grey_and_real_colour_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (6, 6), np.uint8)
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "rgb.png")
    Image.fromarray(np.stack([grey] * 3 + [np.full_like(grey, 255)], -1)).save(tmp_path / "rgba.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    for name in ("rgb.png", "rgba.png", "palette.png"):
        np.testing.assert_array_equal(read_grey(tmp_path / name), grey)
    colour = rng.integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour\.png.*channels differ.*-p colour mean"):
        read_grey(tmp_path / "colour.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "colour.png", colour="mean"), np.round(colour.mean(-1)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_truncated_file_is_named(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    whole = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)).save(
        whole, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
    )
    for share in (0.0, 0.02, 0.5, 0.8):
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
        with pytest.raises(DataError, match=rf"cut\.{suffix}"):
            read_grey(path)


def tiff(image: np.ndarray, compression: str, **more: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "tiff", compression=compression, **more)
    return content.getvalue()


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate"])
def test_compressed_tiffs_are_read(tmp_path: Path, rng: np.random.Generator, compression: str) -> None:
    smooth = ndimage.gaussian_filter(rng.uniform(0, 255, (32, 48)), 3)
    grey = np.round(smooth).astype(np.uint8)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(grey, compression))
    assert np.abs(read_grey(path).astype(int) - grey).max() <= (4 if compression == "jpeg" else 0)
    path.write_bytes(tiff(np.stack([grey] * 3, -1), compression))
    assert np.abs(read_grey(path, colour="mean").astype(int) - grey).max() <= (4 if compression == "jpeg" else 0)
    if compression != "jpeg":
        deep = rng.integers(0, 65536, (32, 48)).astype(np.uint16)
        path.write_bytes(tiff(deep, compression))
        assert read_grey(path).dtype == np.uint16
        np.testing.assert_array_equal(read_grey(path), deep)


def test_compressed_tiffs_that_cannot_be_read_say_why(tmp_path: Path, rng: np.random.Generator) -> None:
    grey = rng.integers(0, 256, (32, 48), np.uint8)
    path = tmp_path / "lzw.tif"
    path.write_bytes(tiff(grey, "tiff_lzw", save_all=True, append_images=[Image.fromarray(grey)]))
    with pytest.raises(DataError, match=r"lzw\.tif: shape \(2, 32, 48\), expected one plane"):
        read_grey(path)
    whole = tiff(grey, "tiff_lzw")
    for share in (0.02, 0.5, 0.95):  # libtiff writes the directory last
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=r"lzw\.tif: broken or truncated"):
            read_grey(path)
    path.write_bytes(whole[:8] + bytes(1000) + whole[1008:])  # a hole in the pixels
    with pytest.raises(DataError, match=r"lzw\.tif: broken or truncated"):
        read_grey(path)
    if find_spec("imagecodecs"):
        return
    # 34887 is LERC, which neither reads: the tag 259 (compression) of type 3 (short), one value, 5 for LZW
    tag = np.array([259, 3, 1, 0, 5], "<u2").tobytes()
    assert whole.count(tag) == 1
    path.write_bytes(whole.replace(tag, np.array([259, 3, 1, 0, 34887], "<u2").tobytes()))
    with pytest.raises(DataError, match=r"lzw\.tif: a TIFF with the compression .*LERC.*save it uncompressed"):
        read_grey(path)


def test_bad_arguments_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.png: there is no such image"):
        read_grey(tmp_path / "absent.png")
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="6x4 pixels, expected 4x4"):
        read_grey(tmp_path / "a.png", size=(4, 4))
    with pytest.raises(ValueError, match="colour: expected"):
        read_grey(tmp_path / "a.png", colour="grey")
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 8, 9), np.uint8))
    with pytest.raises(DataError, match=r"stack\.tif: shape \(5, 8, 9\), expected one plane"):
        read_grey(tmp_path / "stack.tif")
    tifffile.imwrite(tmp_path / "float.tif", np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    with pytest.raises(DataError, match=r'float32.*-p intensity_window "\[lo, hi\]"'):
        read_grey(tmp_path / "float.tif")
    assert read_grey(tmp_path / "float.tif", intensity_window=(0, 1)).max() == 128  # ImageJ's 256 / (hi - lo + 1)


def test_contrast_window_is_imagej_s() -> None:
    values = np.array([0, 2499, 2500, 2503, 2504, 3350, 4199, 4200, 65535], np.uint16)
    scale = 256.0 / (4200 - 2500 + 1)  # ImageJ, TypeConverter.convertShortToByte
    expected = [min(255, int(max(0, int(v) - 2500) * scale + 0.5)) for v in values]
    assert to_8_bit(values, (2500, 4200)).tolist() == expected
    with pytest.raises(ValueError, match="lo < hi"):
        to_8_bit(values, (5, 5))


@given(st.integers(0, 20), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_median_of_any_odd_number_is_the_median(half: int, seed: int) -> None:
    planes = np.random.default_rng(seed).integers(0, 30, (2 * half + 1, 3, 4)).astype(np.uint16)
    before = planes.copy()
    np.testing.assert_array_equal(median_of(list(planes)), np.median(planes, axis=0))
    np.testing.assert_array_equal(planes, before)


def test_median_of_an_even_number_is_refused() -> None:
    with pytest.raises(ValueError, match="odd number"):
        median_of([np.zeros(3)] * 4)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_denoise_is_scipy_s_median_over_the_ball(rng: np.random.Generator, radius: int) -> None:
    stack = rng.integers(0, 5000, (5, 20, 17)).astype(np.uint16)
    footprint = np.zeros((2 * radius + 1,) * 3, bool)
    footprint[tuple((ball(radius) + radius).T)] = True
    assert footprint.sum() == {0: 1, 1: 7, 2: 33}[radius]
    expected = ndimage.median_filter(stack, footprint=footprint, mode="nearest")
    np.testing.assert_array_equal(denoise(stack, radius, None), expected)
    np.testing.assert_array_equal(denoise(stack, radius), to_8_bit(expected, (2500, 4200)))
    plane = ndimage.median_filter(stack[2], footprint=footprint[radius], mode="nearest")
    np.testing.assert_array_equal(denoise(stack[2], radius, None), plane)


def test_denoise_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(Z, H, W\)"):
        denoise(np.zeros((1, 2, 3, 4)))


def test_standardise_is_the_formula_and_keeps_flat_images_finite(rng: np.random.Generator) -> None:
    x = rng.uniform(0, 255, (4, 1, 6, 5))
    x[3] = 7.0
    out = standardise(torch.from_numpy(x)).numpy()
    for image, result in zip(x, out, strict=True):
        mean = sum(image.ravel()) / image.size
        sd = np.sqrt(sum((v - mean) ** 2 for v in image.ravel()) / image.size)
        np.testing.assert_allclose(result, (image - mean) / (sd + 1e-5), atol=1e-9)
    assert (out[3] == 0).all()
    assert standardise(torch.zeros(0, 1, 4, 4)).shape == (0, 1, 4, 4)
    assert standardise(torch.zeros(1, 1, 4, 4, dtype=torch.uint8)).dtype == torch.float32


def test_scale_to_unit_is_the_authors() -> None:
    assert scale_to_unit(torch.tensor([0, 128, 255], dtype=torch.uint8)).tolist() == [-1.0, 0.0, 127 / 128]


def test_augment_is_a_literal_evaluation_image_by_image(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    for rot90 in (False, True):
        out = augment(torch.from_numpy(images), torch.Generator().manual_seed(3), rot90=rot90).numpy()
        u = torch.rand((5, 40, 1, 1, 1), generator=torch.Generator().manual_seed(3)).numpy().reshape(5, 40)
        for i, image in enumerate(images[:, 0].astype(np.float64)):
            x = image[::-1] if u[0, i] < 0.5 else image
            x = x[:, ::-1] if u[1, i] < 0.5 else x
            x = np.rot90(x, int(u[2, i] * 4)) if rot90 else x
            x = np.clip(x + (2 * u[3, i] - 1) * 32, 0, 255)
            x = np.clip((x - x.mean()) * (0.5 + u[4, i]) + x.mean(), 0, 255)
            np.testing.assert_allclose(out[i, 0], np.round(x), atol=1)  # a tie may round either way in float32
            assert np.mean(out[i, 0] != np.round(x)) < 0.05


def test_augment_is_repeatable_covers_its_ranges_and_mutates_nothing() -> None:
    flat = torch.full((4000, 1, 2, 2), 128.0)
    out = augment(flat, torch.Generator().manual_seed(0))
    assert (flat == 128).all()
    assert torch.equal(out, augment(flat, torch.Generator().manual_seed(0)))
    assert not torch.equal(out, augment(flat, torch.Generator().manual_seed(1)))
    assert out.min() == 96
    assert out.max() == 160
    assert torch.equal(out, out.round())
    corner = torch.zeros(400, 1, 2, 2)
    corner[:, :, 0, 0] = 200
    places = augment(corner, torch.Generator().manual_seed(0)).flatten(1).argmax(1)
    assert set(places.tolist()) == {0, 1, 2, 3}
    assert augment(torch.zeros(0, 1, 4, 4), torch.Generator()).shape == (0, 1, 4, 4)
    with pytest.raises(ValueError, match="square"):
        augment(torch.zeros(1, 1, 4, 6), torch.Generator(), rot90=True)


def test_the_mean_of_floating_point_channels_is_not_rounded() -> None:
    image = np.array([[[0.25, 0.5]]], np.float32)
    mean = one_channel(image, "a.tif", "mean", transparency=False)
    assert (mean.tolist(), mean.dtype) == ([[0.375]], np.float32)
    assert one_channel(image, "a.tif").tolist() == [[0.25]]  # the second one is transparency otherwise
