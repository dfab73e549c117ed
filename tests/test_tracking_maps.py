"""Maps, masks, peaks and background against literal evaluations, pixel by pixel and cell by cell."""

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellweak_core.tracking.background import quadratic_background
from cellweak_core.tracking.maps import (
    disc_mask,
    draw_discs,
    draw_likelihood,
    draw_motion,
    likelihood_maps,
    motion_maps,
    true_pairs,
)
from cellweak_core.tracking.peaks import mpm_peaks, peaks, smoothed_magnitude
from cellweak_core.tracking.sampling import turned, turned_back, turned_motion, turned_points

Array = NDArray[np.float64]


def cells(n: int, shape: tuple[int, int], seed: int, whole: bool = False, beyond: float = 12.0) -> Array:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-beyond, np.array(shape[::-1]) + beyond, (n, 2))
    return np.rint(points) if whole else points


def literal_likelihood(points: Array, shape: tuple[int, int], sigma: float) -> Array:
    out = np.zeros(shape)
    for y, x in itertools.product(*map(range, shape)):
        for px, py in points:
            out[y, x] = max(out[y, x], math.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)))
    return out


def literal_motion(pairs: Array, shape: tuple[int, int], sigma: float, z: float, kind: str) -> Array:
    out = np.zeros((3, *shape))
    for y, x in itertools.product(*map(range, shape)):
        best, vectors = math.inf, list[Array]()
        for x0, y0, x1, y1 in pairs:
            if abs(x - x1) > 50 or abs(y - y1) > 50:
                continue
            d2 = (x - x1) ** 2 + (y - y1) ** 2
            u = np.array([y0 - y, x0 - x, z] if kind == "peak" else [y0 - y1, x0 - x1, z])
            u /= math.sqrt((u**2).sum())
            if d2 < best:
                best, vectors = d2, [u]
            elif d2 == best:
                vectors.append(u)
        if vectors:
            out[:, y, x] = math.exp(-best / (2 * sigma**2)) * np.mean(vectors, 0)
    return out


@pytest.mark.parametrize("sigma", [2.0, 9.0])
@pytest.mark.parametrize("n", [0, 1, 9])
def test_likelihood_is_the_largest_gaussian(sigma: float, n: int) -> None:
    shape = (31, 150)  # two tiles
    points = [cells(n, shape, 1), cells(n, shape, 2, whole=True)]
    out = likelihood_maps(points, shape, sigma)
    assert out.shape == (2, *shape)
    assert out.dtype == np.float32
    for found, frame in zip(out, points, strict=True):
        np.testing.assert_allclose(found, literal_likelihood(frame, shape, sigma), atol=1e-6)
    assert out.max() <= 1


def test_a_cell_on_a_pixel_has_likelihood_one_and_no_frames_give_no_maps() -> None:
    out = likelihood_maps([np.array([[5.0, 3.0]])], (8, 9))[0]
    assert np.unravel_index(out.argmax(), out.shape) == (3, 5)
    assert out.max() == 1
    assert out[3, 5 - 4] == pytest.approx(math.exp(-16 / 162))
    assert likelihood_maps([], (8, 9)).shape == (0, 8, 9)


@pytest.mark.parametrize("kind", ["peak", "parallel"])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("n", [0, 1, 12])
def test_motion_maps_are_the_literal_ones(kind: str, whole: bool, n: int) -> None:
    shape = (40, 140)
    ends = cells(n, shape, 3, whole)
    pairs = np.c_[ends + np.random.default_rng(4).normal(0, 6, ends.shape), ends]
    before = pairs.copy()
    out = motion_maps(pairs, shape, sigma_px=6.0, z=5.0, kind=kind)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, literal_motion(pairs, shape, 6.0, 5.0, kind), atol=1e-6)
    assert np.array_equal(pairs, before)


@pytest.mark.parametrize("kind", ["peak", "parallel"])
def test_cells_at_equal_distances_are_averaged(kind: str) -> None:
    # Two in a row, three around a pixel at distance 5 (5-0, 3-4, 4-3), and two at one place: the merge of two cells.
    pairs = np.array(
        [
            [4, 9, 8, 10], [14, 13, 12, 10],
            [33, 20, 30, 20], [39, 22, 38, 24], [34, 11, 39, 17], [50, 15, 52, 15], [55, 17, 52, 15],
        ],
        float,
    )  # fmt: skip
    literal = literal_motion(pairs, (32, 60), 6.0, 5.0, kind)
    np.testing.assert_allclose(motion_maps(pairs, (32, 60), kind=kind), literal, atol=1e-6)
    distances = np.square(pairs[2:5, 2:] - [35, 20]).sum(1)
    assert distances.tolist() == [25, 25, 25]


def test_motion_is_cut_at_fifty_px_and_as_long_as_its_gaussian() -> None:
    out = motion_maps(np.array([[70.0, 10.0, 75.0, 10.0]]), (20, 160), sigma_px=30.0)
    length = np.sqrt((out.astype(float) ** 2).sum(0))
    assert (length[:, 25:126] > 0).all()
    assert not length[:, :25].any()
    assert not length[:, 126:].any()
    gaussian = literal_likelihood(np.array([[75.0, 10.0]]), (20, 160), 30.0)
    np.testing.assert_allclose(length, gaussian * (length > 0), atol=1e-6)
    # At the peak the vector says where the cell was: 5 px to the left.
    y, x, z = out[:, 10, 75]
    assert (5 * x / z, 5 * y / z) == pytest.approx((-5, 0), abs=1e-5)


def test_an_unknown_kind_of_motion_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of peak, parallel, got 'flow'"):
        motion_maps(np.zeros((1, 4)), (8, 8), kind="flow")


@pytest.mark.parametrize("radius", [0.0, 5.0, 18.0])
@pytest.mark.parametrize("n", [0, 7])
def test_discs_are_the_literal_ones(radius: float, n: int) -> None:
    shape = (33, 170)
    points = cells(n, shape, 5, whole=True)
    expected = np.zeros(shape, bool)
    for y, x in itertools.product(*map(range, shape)):
        expected[y, x] = any((x - px) ** 2 + (y - py) ** 2 <= radius**2 for px, py in points)
    out = disc_mask(points, shape, radius)
    assert np.array_equal(out, expected)
    assert out.any() == (n > 0)


def test_a_batch_is_its_maps_and_rows_of_infinity_are_no_cells() -> None:
    shape, sizes = (24, 30), (3, 0, 5)
    several = [cells(n, shape, n) for n in sizes]
    pairs = [np.c_[p[::-1], p] for p in several]
    points_b = torch.full((3, 5, 2), torch.inf)
    pairs_b = torch.full((3, 5, 4), torch.inf)
    for i, n in enumerate(sizes):
        points_b[i, :n], pairs_b[i, :n] = torch.from_numpy(several[i]), torch.from_numpy(pairs[i])
    likelihood, discs = draw_likelihood(points_b, shape, 4.0), draw_discs(points_b, shape, 6.0)
    motion = draw_motion(pairs_b, shape, 4.0, 5.0)
    for i in range(3):
        np.testing.assert_allclose(likelihood[i], likelihood_maps([several[i]], shape, 4.0)[0], atol=1e-6)
        np.testing.assert_allclose(motion[i], motion_maps(pairs[i], shape, 4.0), atol=1e-6)
        assert np.array_equal(discs[i], disc_mask(several[i], shape, 6.0))
    assert draw_likelihood(points_b[:, :0], shape, 4.0).sum() == 0
    assert draw_motion(pairs_b[:0], shape, 4.0, 5.0).shape == (0, 3, *shape)
    assert not draw_discs(points_b[:, :0], shape, 4.0).any()


@pytest.mark.parametrize("code", range(8))
@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_maps_of_turned_points_are_the_turned_maps(code: int, shape: tuple[int, int]) -> None:
    points = cells(6, shape, code, whole=True)
    pairs = np.c_[points + np.random.default_rng(code).normal(0, 4, points.shape), points]
    moved = turned_points(points, code, shape)
    moved_pairs = turned_points(pairs.reshape(-1, 2, 2), code, shape).reshape(-1, 4)
    new_shape = shape[::-1] if code & 4 else shape

    likelihood = torch.from_numpy(likelihood_maps([points], shape)[0])
    torch.testing.assert_close(turned(likelihood, code), torch.from_numpy(likelihood_maps([moved], new_shape)[0]))
    mask = torch.from_numpy(disc_mask(points, shape, 7.0))
    assert torch.equal(turned(mask, code), torch.from_numpy(disc_mask(moved, new_shape, 7.0)))
    for kind in ("peak", "parallel"):
        motion = torch.from_numpy(motion_maps(pairs, shape, kind=kind))
        again = torch.from_numpy(motion_maps(moved_pairs, new_shape, kind=kind))
        torch.testing.assert_close(turned_motion(motion, code), again, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(turned_motion(turned_motion(motion, code), code, back=True), motion)
    assert torch.equal(turned_back(turned(likelihood, code), code), likelihood)


def test_the_eight_turns_differ() -> None:
    image = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    assert len({tuple(turned(image, code).flatten().tolist()) for code in range(8)}) == 8


def lineage() -> pd.DataFrame:
    """Mother 1 (frames 0-2) divides into 2 and 3 (from 3 on); 3 divides at once into 4 (5 on); 9 comes in at 2."""
    rows = [(f, 1, 10.0 + f, 5.0, -1) for f in (0, 1, 2)]
    rows += [(f, 2, 20.0 + f, 6.0, 1) for f in (3, 4, 5)]
    rows += [(f, 3, 30.0 + f, 7.0, 1) for f in (3, 4)]
    rows += [(5, 4, 45.0, 8.0, 3)]
    rows += [(f, 9, 90.0, float(f), -1) for f in (2, 3)]
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


@pytest.mark.parametrize("first_only", [False, True])
def test_daughters_point_at_their_mother(first_only: bool) -> None:
    points = lineage()
    if first_only:
        points.loc[points["id"].duplicated(), "parent"] = -1
    one = true_pairs(points)
    assert set(one["interval"]) == {1}
    to_three = one[one["frame"] == 2][["x0", "y0", "x1", "y1"]].to_numpy().tolist()
    assert to_three == [[12, 5, 23, 6], [12, 5, 33, 7], [90, 2, 90, 3]]
    assert len(one) == 2 + 2 * 2 + 1 + 1 + 1  # cell 1, 2 and 3 with their first rows, 3's second, 4, 9
    four = true_pairs(points, 4)
    expected = [[0, 4, 10, 5, 24, 6], [1, 4, 11, 5, 25, 6], [0, 4, 10, 5, 34, 7], [1, 4, 11, 5, 45, 8]]
    assert four.to_numpy().tolist() == expected
    assert four["frame"].dtype == np.int64
    empty = true_pairs(points.iloc[:0])
    assert list(empty.columns) == ["frame", "interval", "x0", "y0", "x1", "y1"]
    assert empty.empty


def test_true_pairs_refuse_circles_and_no_interval() -> None:
    points = lineage()
    points.loc[points["id"] == 1, "parent"] = 2
    with pytest.raises(ValueError, match="its own ancestor"):
        true_pairs(points, 5)
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        true_pairs(points, 0)


def noisy(seed: int, shape: tuple[int, int] = (80, 90)) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    clean = likelihood_maps([cells(14, shape, seed)], shape, 5.0)[0]
    return (clean * rng.uniform(0.7, 1.2) + rng.normal(0, 0.05, shape)).astype(np.float32)


@pytest.mark.parametrize("threshold", [80 / 255, 125 / 255])
@pytest.mark.parametrize("distance", [1, 2, 3])
def test_peaks_without_plateaus_are_those_of_scikit_image(threshold: float, distance: int) -> None:
    feature = pytest.importorskip("skimage.feature")
    rng = np.random.default_rng(distance)
    image = np.zeros(60 * 70, np.uint8)
    image[rng.permutation(image.size)[:200]] = np.arange(50, 250)  # no two alike
    image = image.reshape(60, 70)
    expected = feature.peak_local_max(
        image, distance, threshold_abs=threshold * 255, exclude_border=False, p_norm=np.inf
    )[:, ::-1]
    found = peaks((image + 0.5) / 255 * (image > 0), threshold, distance)
    assert len(found) > 40
    assert sorted(found.tolist()) == sorted(expected.astype(float).tolist())


def literal_peaks(values: NDArray[np.float32], threshold: float, distance: int) -> list[tuple[float, float]]:
    image = (np.clip(values, 0, 1) * 255).astype(int)
    height, width = image.shape
    top = set()
    for y, x in itertools.product(range(height), range(width)):
        near = image[max(0, y - distance) : y + distance + 1, max(0, x - distance) : x + distance + 1]
        if image[y, x] == near.max() and image[y, x] > threshold * 255:
            top.add((y, x))
    found = []
    while top:
        group, waiting = [], [min(top)]
        top.remove(waiting[0])
        while waiting:
            y, x = waiting.pop()
            group.append((x, y))
            touching = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & top
            top -= touching
            waiting += sorted(touching)
        found.append(tuple(np.mean(group, 0)))
    return found


@pytest.mark.parametrize("threshold", [80 / 255, 125 / 255])
@pytest.mark.parametrize("distance", [1, 2])
def test_peaks_are_the_literal_ones(threshold: float, distance: int) -> None:
    for seed in range(3):
        values = noisy(seed, (40, 50))
        values[20:23, 10:16] = 1.3  # clamped: a plateau
        expected = literal_peaks(values, threshold, distance)
        found = peaks(values, threshold, distance)
        np.testing.assert_allclose(found, expected)
        assert [12.5, 21] in found.tolist()


def test_peaks_give_back_the_cells_of_a_likelihood_map() -> None:
    grid = np.stack(np.meshgrid(np.arange(20, 140, 30), np.arange(15, 100, 28)), -1).reshape(-1, 2).astype(float)
    edge = np.array([[0.0, 50.0], [149.0, 109.0]])  # at the border too
    truth = np.concatenate([grid, edge])
    found = peaks(likelihood_maps([truth], (110, 150))[0])
    assert sorted(found.tolist()) == sorted(truth.tolist())


def test_smoothing_joins_the_bumps_of_a_rough_map() -> None:
    truth = np.array([[20.0, 15.0], [60.0, 30.0]])
    rough = likelihood_maps([truth], (45, 80))[0] * np.random.default_rng(0).uniform(0.5, 1, (45, 80))
    before = rough.copy()
    assert len(peaks(rough, threshold=0.3)) > 2
    found = peaks(rough, threshold=0.3, smooth_px=3.0)
    np.testing.assert_allclose(found, truth, atol=1.5)
    assert np.array_equal(rough, before)


@pytest.mark.parametrize("shape", [(20, 30), (0, 5), (1, 1)])
def test_an_empty_map_has_no_peaks(shape: tuple[int, int]) -> None:
    assert peaks(np.zeros(shape, np.float32)).shape == (0, 2)
    found = mpm_peaks(np.zeros((3, *shape), np.float32))
    assert [x.shape for x in found] == [(0, 2), (0, 2), (0,)]


def test_peaks_refuse_what_is_no_map() -> None:
    values = np.zeros((5, 5), np.float32)
    with pytest.raises(ValueError, match=r"expected \(H, W\), got \(1, 5, 5\)"):
        peaks(values[None])
    values[2, 2] = np.nan
    with pytest.raises(ValueError, match="found NaN"):
        peaks(values)
    with pytest.raises(ValueError, match="found NaN"):
        mpm_peaks(np.stack([values] * 3))
    with pytest.raises(ValueError, match=r"motion: expected \(3, H, W\), got \(5, 5\)"):
        mpm_peaks(values)


@pytest.mark.parametrize("kind", ["peak", "parallel"])
def test_mpm_peaks_give_back_cells_and_where_they_were(kind: str) -> None:
    ends = np.stack(np.meshgrid(np.arange(25, 190, 40), np.arange(25, 150, 40)), -1).reshape(-1, 2).astype(float)
    begins = ends + np.random.default_rng(0).uniform(-12, 12, ends.shape)
    motion = motion_maps(np.c_[begins, ends], (170, 210), kind=kind)
    before = motion.copy()
    found = mpm_peaks(motion, smooth_px=2.0)
    order, truth = np.lexsort(found.positions.T), np.lexsort(ends.T)
    np.testing.assert_allclose(found.positions[order], ends[truth], atol=0.01)
    np.testing.assert_allclose(found.previous[order], begins[truth], atol=0.01)
    assert ((found.magnitudes > 0.5) & (found.magnitudes < 1)).all()
    assert np.array_equal(motion, before)
    again = mpm_peaks(motion, smooth_px=2.0, magnitude=smoothed_magnitude(motion, 2.0))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_mpm_magnitude_is_smoothed_and_thresholded() -> None:
    from scipy.ndimage import gaussian_filter

    motion = np.random.default_rng(0).normal(size=(3, 30, 40)).astype(np.float32)
    length = np.sqrt((motion**2).sum(0))
    np.testing.assert_allclose(smoothed_magnitude(motion), gaussian_filter(length, 5, mode="constant"), atol=1e-5)
    np.testing.assert_allclose(smoothed_magnitude(motion, 0), length, atol=1e-6)
    weak = 0.05 * motion_maps(np.array([[10.0, 10.0, 12.0, 10.0]]), (30, 40))
    assert len(mpm_peaks(weak, smooth_px=0).positions) == 0
    assert len(mpm_peaks(weak, 0.01, smooth_px=0).positions) == 1


def test_a_flat_vector_points_at_most_fifty_z_away() -> None:
    motion = motion_maps(np.array([[10.0, 10.0, 12.0, 10.0]]), (30, 40))
    motion[2] = -0.1
    found = mpm_peaks(motion, smooth_px=0, z=2.0)
    assert np.hypot(*(found.previous - found.positions).T) == pytest.approx(100)


@given(st.integers(0, 10_000), st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]))
def test_the_background_is_numpys_least_squares(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 25, 2).tolist())
    image = (rng.uniform(0, 200, shape) + np.arange(shape[1]) ** 1.5).astype(dtype)
    y, x = (axis.ravel().astype(float) for axis in np.indices(shape))
    design = np.stack([np.ones_like(x), x, y, x**2, x * y, y**2], 1)
    expected = design @ np.linalg.lstsq(design, image.ravel().astype(float), rcond=None)[0]
    out = quadratic_background(image)
    assert out.shape == shape
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.ravel(), expected, rtol=1e-4, atol=2e-3)


def test_the_background_of_a_quadratic_surface_is_itself() -> None:
    y, x = np.indices((1040, 1392)) / 1000
    surface = 0.4 + 0.1 * x - 0.2 * y + 0.05 * x**2 - 0.07 * x * y + 0.03 * y**2
    np.testing.assert_allclose(quadratic_background(surface), surface, atol=1e-6)


@pytest.mark.parametrize("image", [np.zeros((2, 3, 4)), np.zeros((0, 3)), np.full((3, 3), np.nan)])
def test_the_background_of_no_image_is_refused(image: Array) -> None:
    with pytest.raises(ValueError, match="image: expected"):
        quadratic_background(image)


def test_a_large_frame_is_fast() -> None:
    shape = (1040, 1392)
    points = cells(230, shape, 0)
    likelihood = likelihood_maps([points], shape)[0]

    def seconds(call: Callable[[], object]) -> float:
        took = []
        for _ in range(3):
            start = time.process_time()
            call()
            took.append(time.process_time() - start)
        return min(took)

    assert seconds(lambda: peaks(likelihood)) < 0.06
    assert seconds(lambda: quadratic_background(likelihood)) < 0.06
    assert seconds(lambda: likelihood_maps([points], shape)) < 0.3
    assert seconds(lambda: motion_maps(np.c_[points, points], shape)) < 1.5


def test_real_cells_survive_drawing_and_finding(real_data: Path) -> None:
    folder = real_data / "tracking" / "c2c12_bmp2_seq9"
    if not folder.is_dir():
        pytest.skip("no real data: tracking/c2c12_bmp2_seq9")
    points = pd.read_csv(folder / "tracks.csv")
    shape, links = (1040, 1392), true_pairs(points, 5)
    now = points.loc[points["frame"] == 7, ["x", "y"]].to_numpy(float)
    found = peaks(likelihood_maps([now], shape)[0])
    assert len(found) == len(now) == 230
    assert np.linalg.norm(found[:, None] - now[None], axis=2).min(0).max() < 1
    pairs = links.loc[links["frame"] == 2, ["x0", "y0", "x1", "y1"]].to_numpy()
    seen = mpm_peaks(motion_maps(pairs, shape), smooth_px=3.0)
    assert len(seen.positions) == len(pairs)
    nearest = np.linalg.norm(seen.positions[:, None] - pairs[None, :, 2:], axis=2).argmin(1)
    assert np.linalg.norm(seen.previous - pairs[nearest, :2], axis=1).max() < 1
