"""The simulator: its ground truth, its optics, and how near it is to the released images."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cellweak_core.images import denoise
from cellweak_core.rosettes import mesh as meshes
from cellweak_core.rosettes import simulate as sim
from cellweak_core.rosettes.data import RosetteData, load, split_by_day, split_by_embryo
from cellweak_core.rosettes.junctions import MEETING_RADIUS_PX, find_rosettes
from cellweak_core.rosettes.optics import Optics, tile_grid, untile, view


@pytest.fixture(scope="module")
def data() -> RosetteData:
    return sim.simulate(9, range(70, 111, 8), (9, 11, 13), seed=4)


def cells_meeting(mesh: np.ndarray, x: float, y: float, radius: float) -> int:
    yy, xx = np.mgrid[: mesh.shape[0], : mesh.shape[1]]
    near = mesh[np.hypot(yy - y, xx - x) <= radius]
    return len(set(near.tolist()) - {-1})


def wheel(n: int, size: int = 41, middle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A mesh of n equal sectors about the image's middle, pushed apart by a disc-shaped cell; and its spread."""
    yy, xx = np.mgrid[:size, :size] - size // 2
    angle = (np.arctan2(yy, xx) + 0.1) % (2 * np.pi)
    mesh = (angle * n / (2 * np.pi)).astype(np.int16)
    radius = np.hypot(yy, xx)
    mesh[radius < middle] = n
    return mesh, radius.astype(np.float32)


def test_every_rosette_has_five_cells_or_more_within_its_radius(data: RosetteData) -> None:
    centres = [(i, *xy) for i, found in enumerate(data.truth) for xy in found]
    assert len(centres) >= 15
    for i, x, y in centres:
        assert cells_meeting(data.mesh[i], x, y, MEETING_RADIUS_PX) >= 5
        assert 8 <= x < 120
        assert 8 <= y < 120
    for found, counts in zip(data.truth, data.cells, strict=True):
        assert len(found) == len(counts)
        assert (counts >= 5).all()


def test_labels_follow_the_truth(data: RosetteData) -> None:
    target = data.table["target"].to_numpy()
    has = np.array([len(found) > 0 for found in data.truth])
    np.testing.assert_array_equal(target == 1, has)
    assert (data.table["label"].to_numpy()[target == 0] == "non_rosette").all()
    assert (data.table["label"].to_numpy()[target == -1] == "").all()
    assert min((target == 1).mean(), (target == 0).mean(), (target == -1).mean()) > 0.05
    strict = sim.simulate(2, (90, 100), (9, 11), seed=4, near_misses="non_rosette")
    assert set(strict.table["target"]) <= {0, 1}


@pytest.mark.parametrize(("n", "found"), [(3, 0), (4, 0), (5, 1), (6, 1), (8, 1)])
def test_a_wheel_is_a_rosette_from_five_spokes_on(n: int, found: int) -> None:
    centres, cells, near_miss = find_rosettes(*wheel(n))
    assert len(centres) == found
    assert not near_miss
    if found:
        np.testing.assert_allclose(centres[0], [20, 20], atol=1)
        assert cells[0] == n


def test_a_wheel_with_a_hub_or_at_the_border_or_in_the_dark_is_a_near_miss() -> None:
    centres, _, near_miss = find_rosettes(*wheel(6, middle=2.9))
    assert len(centres) == 0
    assert near_miss
    centres, _, near_miss = find_rosettes(*wheel(6, middle=5))
    assert len(centres) == 0
    assert not near_miss
    mesh, spread = wheel(6)
    centres, _, near_miss = find_rosettes(mesh[15:], spread[15:])
    assert len(centres) == 0
    assert near_miss
    bright = 100 * np.exp(-spread / 3)
    assert len(find_rosettes(mesh, spread, bright)[0]) == 1
    centres, _, near_miss = find_rosettes(mesh, spread, 0.5 * bright)
    assert (len(centres), near_miss) == (0, True)
    centres, _, near_miss = find_rosettes(mesh, spread, 0 * bright)
    assert (len(centres), near_miss) == (0, False)


def test_specks_round_a_point_are_no_rosette() -> None:
    mesh, spread = wheel(6)
    mesh[spread > 5] = 7
    assert len(find_rosettes(mesh, spread)[0]) == 0


def test_same_seed_same_data_and_embryos_do_not_depend_on_their_number() -> None:
    one = sim.simulate(2, (80, 90), (9, 13), 64, seed=1)
    again = sim.simulate(2, (80, 90), (9, 13), 64, seed=1)
    other = sim.simulate(2, (80, 90), (9, 13), 64, seed=2)
    np.testing.assert_array_equal(one.images, again.images)
    np.testing.assert_array_equal(one.raw, again.raw)
    assert one.table.equals(again.table)
    assert one.digest == again.digest != other.digest
    more = sim.simulate(5, (80, 90), (9, 13), 64, seed=1)
    np.testing.assert_array_equal(more.images[:8], one.images)


def test_laid_out_like_the_paper(data: RosetteData) -> None:
    table = data.table
    assert data.images.shape == (9 * 6 * 3, 128, 128)
    assert data.images.dtype == np.uint8
    assert data.raw.dtype == np.uint16
    assert table["day"].nunique() == 3
    assert table.groupby("embryo")["day"].nunique().max() == 1
    assert table["embryo"].nunique() == 9
    assert not table["file"].duplicated().any()
    assert table[table["target"] == 1]["minute"].mean() > table[table["target"] == 0]["minute"].mean()
    lean = sim.simulate(1, (90,), (9,), 48, keep_raw=False, keep_mesh=False)
    assert lean.raw is None
    assert lean.mesh is None
    assert lean.images.shape == (1, 48, 48)


def test_splits_of_simulated_data_share_no_group(data: RosetteData) -> None:
    for train, test in (split_by_day(data.table, "20170715"), split_by_embryo(data.table, 0.3, 0)):
        assert len(test)
        assert not set(data.table["group"][train]) & set(data.table["group"][test])


def test_denoised_is_quieter_than_raw(data: RosetteData) -> None:
    outside = data.mesh[:, 4:-4, 4:-4] < 0
    raw_levels = (data.raw[:, 4:-4, 4:-4].astype(float) - 2500) * 256 / 1700
    fine = [x - ndimage.uniform_filter(x, (0, 5, 5)) for x in (raw_levels, data.images[:, 4:-4, 4:-4].astype(float))]
    assert fine[0][outside].std() > 3 * fine[1][outside].std()
    assert denoise(data.raw[0]).shape == data.images[0].shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_days": 0}, "n_days"),
        ({"n_embryos": 0}, "nothing to simulate"),
        ({"minutes": ()}, "nothing to simulate"),
        ({"minutes": (90, 80)}, "increasing"),
        ({"image_size": 16}, "image_size"),
        ({"near_misses": "rosette"}, "near_misses"),
    ],
)
def test_bad_arguments_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sim.simulate(**{"n_embryos": 1, "minutes": (80,), "slices": (9,), **change})


@pytest.fixture(scope="module")
def cells() -> meshes.Cells:
    return meshes.grow(np.array([100.0]), (-30, -10), np.random.default_rng(0))[0]


@pytest.mark.parametrize("size", [48, 50])
def test_mesh_and_spread_are_the_nearest_cells_literally(cells: meshes.Cells, size: int) -> None:
    optics = Optics(warp_px=0)
    _, mesh, spread = view(cells, (-25.0, -20.0), np.array([-20.0]), size, optics, np.random.default_rng(0))
    cos, sin = np.cos(cells.angle), np.sin(cells.angle)
    for y in range(0, size, 5):
        for x in range(0, size, 5):
            u, v = x - 25.0, y - 20.0
            p = np.array([cos * u + sin * v, cos * v - sin * u, -20.0])
            g = np.array([np.linalg.norm(p - s) - r for s, r in zip(cells.centres, cells.radii, strict=True)])
            order = np.argsort(g)
            if g[order[1]] - g[order[0]] > 0.01:
                assert mesh[y, x] in (order[0], -1)
            # a tile considers its nearest cells only: exact where five cells are near, too large elsewhere
            expected = g[order[4]] - g[order[0]]
            assert spread[y, x] >= expected - 0.01
            if expected < 9:  # find_rosettes asks below 7
                assert spread[y, x] == pytest.approx(expected, abs=0.01)


def test_membranes_shine_between_cells(cells: meshes.Cells) -> None:
    optics = Optics(haze=0)
    levels, mesh, _ = view(cells, (-40.0, -40.0), np.array([-25.0, -20.0, -15.0]), 80, optics, np.random.default_rng(0))
    assert levels.shape == (3, 80, 80)
    edge = ndimage.maximum_filter(mesh, 3) != ndimage.minimum_filter(mesh, 3)
    inside = ndimage.distance_transform_edt(~edge) > 5
    assert levels[1][edge].mean() > levels[1][inside & (mesh >= 0)].mean() + 40


def test_a_blurred_plane_is_gaussian_in_distance() -> None:
    """The formula of `optics`: a Gaussian blur with covariance S turns a plane into a Gaussian of variance n'Sn."""
    sxy, sz = 1.3, 4.0
    rng = np.random.default_rng(0)
    normal = np.array([0.6, 0.0, 0.8])
    points = rng.normal(size=(200_000, 3)) * [sxy, sxy, sz]  # the blur's samples, seen from a point of the plane
    variance = (points @ normal).var()
    assert variance == pytest.approx(sxy**2 * (1 - normal[2] ** 2) + sz**2 * normal[2] ** 2, rel=0.02)


@given(st.integers(32, 70))
@settings(max_examples=10)
def test_tiles_go_back_to_their_places(size: int) -> None:
    x, y, per_side = tile_grid(size)
    np.testing.assert_array_equal(untile(x, per_side, size), np.broadcast_to(np.arange(size), (size, size)))
    np.testing.assert_array_equal(untile(y, per_side, size), np.broadcast_to(np.arange(size)[:, None], (size, size)))


def test_gathered_cells_meet_at_the_centre_and_others_stay_out() -> None:
    rng = np.random.default_rng(1)
    axes = np.array([118.0, 78.0, 75.0])
    radii = rng.uniform(16, 20, 90)
    centres = rng.uniform(-0.6, 0.6, (90, 3)) * axes
    for n in (5, 6, 7):
        event = meshes._Gathering(0, 10, np.zeros(3), n, 1.0, 0.5, np.zeros(n))
        placed = centres
        for minute in range(9):
            placed = meshes._gather(placed, radii, [event], minute)
        g = np.linalg.norm(placed, axis=1) - radii
        order = np.argsort(g)
        np.testing.assert_allclose(g[order[:n]], 0.5, atol=1e-6)
        assert g[order[n]] > 0.5 + 5


def test_embryos_grow_by_division_and_keep_their_volume() -> None:
    stages = meshes.grow(np.array([61.0, 85.0, 110.0]), (-30, -10), np.random.default_rng(0))
    numbers = [len(c.radii) for c in stages]
    assert numbers[0] < numbers[1] < numbers[2]
    volumes = [float((c.radii.astype(float) ** 3).sum()) for c in stages]
    np.testing.assert_allclose(volumes, volumes[0], rtol=1e-4)
    for c in stages:
        inside = np.sqrt(((c.centres / c.axes) ** 2).sum(1))
        assert (inside < 1).mean() > 0.97


def test_windows_of_rosettes_hold_a_centre_and_others_none(data: RosetteData) -> None:
    windows = sim.labelled_windows(data, 10, 30, seed=1)
    assert windows.images.shape == (40, 32, 32)
    assert windows.mesh.shape == windows.raw.shape == windows.images.shape
    assert windows.table["target"].tolist() == [1] * 10 + [0] * 30
    assert windows.table["label"].tolist() == ["rosette"] * 10 + ["non_rosette"] * 30
    for i, found in enumerate(windows.truth):
        if i < 10:
            assert (np.abs(found - 16) <= 5).all(axis=1).any()
            x, y = min(found, key=lambda p: np.hypot(*(p - 16)))
            assert cells_meeting(windows.mesh[i], x, y, MEETING_RADIUS_PX) >= 5
        else:
            assert len(found) == 0
            assert (windows.mesh[i] >= 0).mean() >= 0.5
    np.testing.assert_array_equal(windows.images, sim.labelled_windows(data, 10, 30, seed=1).images)
    assert set(windows.table["group"]) <= set(data.table["group"])


def test_windows_that_cannot_be_cut_are_refused(data: RosetteData) -> None:
    with pytest.raises(ValueError, match="n_rosette: 100000 asked for"):
        sim.labelled_windows(data, 100_000, 0)
    full = data.take(np.flatnonzero(data.table["target"] == 1))
    with pytest.raises(ValueError, match="n_other"):
        sim.labelled_windows(full, 0, 5, size=128)
    real = sim.simulate(1, (90,), (9,), 48)
    with pytest.raises(ValueError, match="only simulated data"):
        sim.labelled_windows(RosetteData(real.images, real.table, "rosette", "x", ""), 1, 1)


def test_statistics_of_noise_and_of_a_wave_are_known() -> None:
    rng = np.random.default_rng(0)
    noise = sim.statistics(np.clip(rng.normal(128, 20, (6, 64, 64)), 0, 255).astype(np.uint8))
    assert noise["histogram"]["y"].sum() == pytest.approx(1)
    np.testing.assert_allclose(noise["spectrum"]["y"][2:], 1, atol=0.35)  # white: equal power everywhere
    assert noise["autocorrelation"]["y"][0] == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(noise["autocorrelation"]["y"][1:], 0, atol=0.02)
    assert noise["mean"]["y"].median() == pytest.approx(127.5, abs=1)
    assert noise["sd"]["y"].median() == pytest.approx(20, abs=1)
    assert noise["correlation_length"]["y"].max() < 1
    x = np.arange(64)
    wave = np.broadcast_to(128 + 100 * np.sin(2 * np.pi * x / 8), (2, 64, 64)).astype(np.uint8)
    curves = sim.statistics(wave)
    assert curves["spectrum"]["x"][curves["spectrum"]["y"].idxmax()] == pytest.approx(1 / 8)
    gap = sim.distance(noise, noise)
    assert (gap["difference"] == 0).all()
    assert sim.distance(noise, curves).set_index("curve")["difference"]["sd"] > 30
    with pytest.raises(ValueError, match="expected \\(N, H, W\\)"):
        sim.statistics(np.zeros((0, 64, 64), np.uint8))


def test_simulated_images_lie_near_the_released_ones(data: RosetteData, real_data: Path) -> None:
    released = load(real_data / "rosettes", max_unlabelled=180).unlabelled_images()
    simulated = sim.simulate(15, range(61, 111, 16), (9, 11, 13), seed=0, keep_raw=False, keep_mesh=False)
    gap = sim.distance(sim.statistics(simulated.images), sim.statistics(released)).set_index("curve")["difference"]
    assert gap["histogram"] < 0.10
    assert gap["spectrum"] < 0.15
    assert gap["autocorrelation"] < 0.05
    assert gap["mean"] < 6
    assert gap["sd"] < 4
    assert gap["correlation_length"] < 1
    assert gap["ridge_share"] < 0.01
