"""The simulator of sequences: its lineages, its motion, its optics, and what its pictures show."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core.tracking.data import TrackingData
from cellweak_core.tracking.motion import MARGIN_PX, Motion, Walks, annotate, place, push, walk
from cellweak_core.tracking.phase import Camera, blob, debris, develop, develop_nuclei, illumination
from cellweak_core.tracking.shapes import GLOW, NUCLEI, PHASE, Look, draw_cells, individuals, texture
from cellweak_core.tracking.simulate import CONDITIONS, CULTURES, simulate

SHAPE = (200, 240)
EMPTY = Camera(specks=0, fibres=0, smudges=0, floaters=0)


def tracks(seed: int = 0, n_frames: int = 30, n_cells: int = 15, **motion: float) -> pd.DataFrame:
    return annotate(walk(n_frames, SHAPE, n_cells, Motion(**motion), np.random.default_rng(seed)), SHAPE)


@pytest.fixture(scope="module")
def data() -> TrackingData:
    return simulate("BMP2", 24, (200, 240), 3, n_cells=18, division_rate=0.02, camera=EMPTY)


def frames(data: TrackingData) -> np.ndarray:
    return np.stack([data.source.raw(t) for t in range(len(data.source))]).astype(float)


# Lineages.


def test_ids_are_unique_and_tracks_have_no_gaps(data: TrackingData) -> None:
    table = data.points
    assert not table.duplicated(["frame", "id"]).any()
    span = table.groupby("id")["frame"].agg(["min", "max", "size"])
    np.testing.assert_array_equal(span["max"] - span["min"] + 1, span["size"])
    assert table["id"].nunique() > 18
    assert table.equals(table.sort_values(["frame", "id"], ignore_index=True))


@pytest.mark.parametrize("interval_min", [5.0, 25.0, 45.0])
def test_every_parent_was_there_in_the_frame_before_and_gone_after(interval_min: float) -> None:
    walks = walk(20, SHAPE, 40, Motion(division_rate=0.01), np.random.default_rng(1), round(interval_min / 5))
    table = annotate(walks, SHAPE)
    assert (table.groupby("id")["parent"].nunique() == 1).all()  # on every row of a daughter
    daughters = table[table["parent"] >= 0].groupby("id").agg(frame=("frame", "min"), parent=("parent", "first"))
    assert len(daughters) >= 10
    last = table.groupby("id")["frame"].max()
    np.testing.assert_array_equal(last.loc[daughters["parent"]].to_numpy(), daughters["frame"].to_numpy() - 1)
    assert set(daughters.groupby("parent").size()) <= {1, 2}


def test_daughters_start_at_both_sides_of_their_mother() -> None:
    table = tracks(n_frames=60, n_cells=40, division_rate=0.02).set_index(["id", "frame"])
    pairs = 0
    for parent, part in table[table["parent"] >= 0].groupby("parent"):
        born = part.index.get_level_values("frame").min()
        ids = sorted(set(part.index.get_level_values("id")))
        if len(ids) < 2:
            continue
        one, two = (table.loc[(i, born), ["x", "y"]].to_numpy(float) for i in ids)
        mother = table.loc[(parent, born - 1), ["x", "y"]].to_numpy(float)
        assert 6 < np.hypot(*(one - two)) < 22
        assert np.hypot(*((one + two) / 2 - mother)) < 8
        pairs += 1
    assert pairs >= 10


def test_cells_enter_and_leave_at_the_border_only() -> None:
    table = tracks(n_frames=60, n_cells=30, division_rate=0.0)
    first, last = table.groupby("id").first(), table.groupby("id").last()
    late, early = first[first["frame"] > 0], last[last["frame"] < 59]
    assert min(len(late), len(early)) >= 3
    for part in (late, early):
        depth = np.minimum.reduce([part["x"], part["y"], SHAPE[1] - 1 - part["x"], SHAPE[0] - 1 - part["y"]])
        assert np.quantile(depth, 0.9) < 5
    assert (table["parent"] == -1).all()


def test_size_and_count_are_respected(data: TrackingData) -> None:
    assert data.source.shape == (200, 240)
    assert len(data.source) == len(data.nuclei) == 24
    assert (data.points["frame"] == 0).sum() == 18
    assert data.points["x"].between(0, 239).all()
    assert data.points["y"].between(0, 199).all()
    assert sorted(set(data.points["frame"])) == list(range(24))


def test_an_annotator_knows_only_what_the_image_shows() -> None:
    inside, outside = [50.0, 50.0], [-20.0, 50.0]
    stories = {  # cell: per frame where it is, None where it does not live
        0: [inside, outside, inside, inside],  # leaves, comes back as a new cell
        1: [inside, None, None, None],  # divides into 2 and 3, one of them out of sight
        2: [None, inside, inside, outside],
        3: [None, outside, inside, inside],
        4: [outside, None, None, None],  # divides out of sight
        5: [None, inside, inside, inside],
        6: [None, outside, outside, outside],
    }
    here = [[c for c in stories if stories[c][t] is not None] for t in range(4)]
    xy = [np.array([stories[c][t] for c in cells], float) for t, cells in enumerate(here)]
    zeros = [np.zeros(len(cells)) for cells in here]
    parent = np.array([-1, -1, 1, 1, -1, 4, 4])
    table = annotate(Walks([np.array(c) for c in here], xy, zeros, zeros, zeros, [0, 1, 2, 3], parent), SHAPE)
    known = [tuple(row) for row in table[["frame", "id", "parent"]].to_numpy().tolist()]
    assert known == [
        (0, 1, -1), (0, 2, -1),
        (1, 3, 2), (1, 4, -1),
        (2, 3, 2), (2, 4, -1), (2, 5, -1), (2, 6, -1),
        (3, 4, -1), (3, 5, -1), (3, 6, -1),
    ]  # fmt: skip


# Motion.


def test_a_lonely_walk_has_the_mean_square_displacement_of_its_process() -> None:
    motion = Motion(speed_px=1.5, persistence=8, spread=0, wobble_px=0, contact_px=1e-6, division_rate=0)
    walks = walk(31, (3000, 3000), 1500, motion, np.random.default_rng(0))
    xy = np.stack(walks.xy)
    middle = ((xy > 60) & (xy < 2940)).all((0, 2))
    keep = np.exp(-1 / 8)
    for lag in (1, 5, 9, 30):
        square = np.square(xy[lag:, middle] - xy[:-lag, middle]).sum(-1).mean()
        expected = 1.5**2 * sum(keep ** abs(i - j) for i in range(lag) for j in range(lag))
        assert square == pytest.approx(expected, rel=0.06)


def test_pushes_are_those_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    xy, strength = rng.uniform(0, 100, (30, 2)), rng.uniform(0, 1, 30)
    expected = np.zeros((30, 2))
    for i in range(30):
        for j in range(30):
            d = np.hypot(*(xy[i] - xy[j]))
            if i != j and d < 20:
                expected[i] += strength[i] * strength[j] * (1 - d / 20) * (xy[i] - xy[j]) / d
    before = xy.copy()
    np.testing.assert_allclose(push(xy, strength, 20.0), expected, atol=1e-12)
    np.testing.assert_array_equal(xy, before)
    assert push(np.zeros((0, 2)), np.zeros(0), 20.0).shape == (0, 2)
    assert np.isfinite(push(np.ones((3, 2)), np.ones(3), 20.0)).all()  # all at one place


def test_longer_intervals_are_every_so_many_frames_of_the_shortest() -> None:
    often = walk(31, SHAPE, 10, Motion(), np.random.default_rng(4))
    seldom = walk(7, SHAPE, 10, Motion(), np.random.default_rng(4), every=5)
    assert seldom.time == often.time[::5]
    for one, two in zip(seldom.xy, often.xy[::5], strict=True):
        np.testing.assert_array_equal(one, two)


def test_cells_divide_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    walks = walk(100, (1000, 1000), 400, Motion(division_rate=0.003, contact_px=1.0), rng)
    divisions = len(set(walks.parent.tolist()) - {-1})
    grown = sum((walks.parent[cells] == -1).sum() for cells in walks.cell[:-1])
    assert divisions / grown == pytest.approx(0.003, rel=0.2)
    none = walk(50, SHAPE, 10, Motion(division_rate=0), np.random.default_rng(0))
    assert (none.parent == -1).all()


@given(n=st.integers(0, 60), seed=st.integers(0, 10**6))
def test_as_many_places_as_asked_for_lie_in_the_image(n: int, seed: int) -> None:
    xy = place((120, 160), n, 37.0, np.random.default_rng(seed))
    inside = ((xy >= 0) & (xy <= [159, 119])).all(1)
    assert inside[:n].all()
    assert not inside[n:].any()
    assert ((xy >= -MARGIN_PX) & (xy <= [160 + MARGIN_PX, 120 + MARGIN_PX])).all()


# Optics.


def test_the_optics_are_their_equation() -> None:
    rng = np.random.default_rng(0)
    camera = Camera(transmission=0.6, halo_px=2.0, halo=0.9, blur_px=1e-3, noise=0.0)
    psi = rng.uniform(0, 0.6, (24, 24)).astype(np.float32)
    glow = rng.uniform(0, 0.3, (24, 24)).astype(np.float32)
    sky = np.full((24, 24), 80, np.float32)
    u = np.exp(1j * psi.astype(float)) - 1
    wide = np.zeros_like(u)
    kernel = np.exp(-0.5 * np.square(np.arange(-6, 7) / 2.0))
    kernel /= kernel.sum()
    mirror = np.pad(u, 6, mode="symmetric")
    for y in range(24):
        for x in range(24):
            for j in range(13):
                for i in range(13):
                    wide[y, x] += kernel[j] * kernel[i] * mirror[y + j, x + i]
    expected = 80 * (np.abs(u - 0.9 * wide - 0.6j) ** 2 / 0.36 + glow)
    given = psi.copy(), glow.copy(), sky.copy()
    image = develop(psi, glow, sky, camera, rng)
    assert image.dtype == np.uint8
    assert np.abs(image - expected).max() <= 0.51
    for before, after in zip(given, (psi, glow, sky), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("psi", "level"), [(0.0, 80), (0.2, 35.9), (np.arctan(0.6), 6.1), (2 * np.arctan(0.6), 80), (2.0, 255)]
)
def test_thin_is_dark_and_thick_is_bright(psi: float, level: float) -> None:
    camera = Camera(halo=0.0, noise=0.0)
    square = np.ones((32, 32), np.float32)
    dark = develop(np.float32(psi) * square, 0 * square, 80 * square, camera, np.random.default_rng(0))
    assert dark[16, 16] == pytest.approx(level, abs=0.6)
    # what is equally thick everywhere is invisible where the plate passes its light
    flat = develop(np.float32(psi) * square, 0 * square, 80 * square, Camera(noise=0.0), np.random.default_rng(0))
    assert (flat == 80).all()


def test_noise_grows_as_the_square_root_of_the_light() -> None:
    zero = np.zeros((300, 300), np.float32)
    for level in (40, 80, 160):
        image = develop(zero, zero, np.full_like(zero, level), Camera(noise=3.0), np.random.default_rng(0))
        assert image.std() == pytest.approx(3 * np.sqrt(level / 80), rel=0.03)
        assert image.mean() == pytest.approx(level, abs=0.2)


def test_the_empty_field_is_a_window_of_the_sensor() -> None:
    camera = Camera(background=(80, 20, 10, -30, 5, -10), sensor=(200, 300))
    whole = illumination((200, 300), camera, np.random.default_rng(0))
    for y, x in ((0, 0), (100, 150), (199, 299), (20, 250)):
        v, u = y / 200 - 0.5, x / 300 - 0.5
        expected = 80 + 20 * u + 10 * v - 30 * u * u + 5 * u * v - 10 * v * v
        assert whole[y, x] == pytest.approx(expected, rel=0.05)
    small = illumination((32, 32), camera, np.random.default_rng(0))
    assert whole.min() * 0.9 < small.min() <= small.max() < whole.max() * 1.1
    assert np.ptp(small) < np.ptp(whole)


def test_spots_are_cut_at_the_border() -> None:
    for x, y in ((0, 0), (9.6, 4.2), (-3, 5), (-50, 5), (200, 200), (5, 31)):
        spot = np.zeros((20, 30), np.float32)
        blob(spot, np.array([x, y]), 2.0, 0.7)
        yy, xx = np.mgrid[:20, :30]
        expected = 0.7 * np.exp(-(np.square(xx - x) + np.square(yy - y)) / 4)
        np.testing.assert_allclose(spot, expected, atol=0.7 * np.exp(-6))


def test_debris_is_as_dense_as_asked() -> None:
    assert not debris((64, 64), EMPTY, np.random.default_rng(0)).any()
    for name in ("specks", "fibres", "smudges"):
        phase = debris((200, 200), Camera(**{**dict.fromkeys(("specks", "fibres", "smudges"), 0.0), name: 20.0}),
                       np.random.default_rng(0))  # fmt: skip
        assert phase.any()
        assert np.isfinite(phase).all()


# Shapes.


def drawn(roundness: float = 0.0, youth: float = 0.0, angle: float = 0.3, seed: int = 0, **look: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    canvas = np.zeros((3, 161, 161), np.float32)
    one = (np.array([0]), np.array([[80.0, 80.0]]), np.array([angle]), np.array([roundness]), np.array([youth]))
    draw_cells(canvas, *one, 0.0, individuals(1, Look(**look), rng), texture(rng))
    return canvas


def test_a_cell_is_long_along_its_axis_and_round_in_mitosis() -> None:
    yy, xx = np.mgrid[:161, :161] - 80.0
    ratios = []
    for seed in range(12):
        for roundness, angle in ((0.0, 0.0), (0.0, 1.2), (1.0, 0.3)):
            phase = np.maximum(drawn(roundness, angle=angle, seed=seed)[PHASE], 0)
            along, across = xx * np.cos(angle) + yy * np.sin(angle), yy * np.cos(angle) - xx * np.sin(angle)
            ratio = np.sqrt((phase * along**2).sum() / (phase * across**2).sum())
            if roundness:
                assert 1.0 < ratio < 1.4
            else:
                ratios.append(ratio)
    assert np.median(ratios) > 1.4


def test_a_cell_in_mitosis_glows_and_its_daughters_are_smaller() -> None:
    ratios = []
    for seed in range(12):
        spread, mitotic, daughter = drawn(seed=seed), drawn(1.0, seed=seed), drawn(1.0, 1.0, seed=seed)
        assert mitotic[GLOW].max() > 1.0
        ratios.append(mitotic[GLOW].max() / spread[GLOW].max())
        areas = [(canvas[PHASE] > 0.05).sum() for canvas in (daughter, mitotic)]
        assert 0.5 < areas[0] / areas[1] < 0.75  # half the volume: 0.79 squared of the area
    assert min(ratios) > 1.1
    assert np.median(ratios) > 2


def test_drawing_is_additive_and_ends_at_the_border() -> None:
    rng = np.random.default_rng(0)
    cells, grain = individuals(40, Look(), rng), texture(rng)
    xy = rng.uniform(-100, 200, (40, 2))
    states = np.zeros(40), np.zeros(40), np.zeros(40), 3.0, cells, grain
    large, small = np.zeros((3, 400, 400), np.float32), np.zeros((3, 100, 100), np.float32)
    draw_cells(large, np.arange(40), xy + 150, *states)
    draw_cells(small, np.arange(40), xy, *states)
    np.testing.assert_allclose(small, large[:, 150:250, 150:250], atol=1e-2)
    assert np.isfinite(large).all()


def test_nuclei_lie_some_pixels_from_the_annotated_positions() -> None:
    distances = []
    for seed in range(20):
        light = drawn(seed=seed)[NUCLEI]
        yy, xx = np.mgrid[:161, :161]
        distances.append(np.hypot((light * xx).sum() / light.sum() - 80, (light * yy).sum() / light.sum() - 80))
    assert 0.5 < np.median(distances) < 3
    assert max(distances) < 6
    image = develop_nuclei(drawn(seed=1)[NUCLEI], np.random.default_rng(0))
    assert image.dtype == np.uint8
    assert image.max() > 60
    assert image[:20, :20].mean() == pytest.approx(18, abs=1)
    assert image[:20, :20].std() > 1


# Sequences.


def test_cells_are_dark_within_a_bright_halo(data: TrackingData) -> None:
    images, table = frames(data), data.points
    lonely = [
        (f, x, y)
        for f, part in table.groupby("frame")
        for x, y in part[["x", "y"]].round().astype(int).to_numpy()
        if 30 <= x < 210 and 30 <= y < 170
    ]
    patches = np.mean([images[f, y - 25 : y + 26, x - 25 : x + 26] for f, x, y in lonely], 0)
    yy, xx = np.mgrid[-25:26, -25:26]
    ring = np.hypot(yy, xx)
    far = patches[(ring > 23) & (ring < 26)].mean()
    assert patches[ring < 5].mean() < far - 8
    assert patches[(ring > 12) & (ring < 17)].mean() > far + 2


def test_a_mother_is_bright_before_she_divides(data: TrackingData) -> None:
    images, table = frames(data), data.points
    peaks: dict[bool, list[float]] = {True: [], False: []}
    mothers = set(table["parent"]) - {-1}
    last = table.groupby("id")["frame"].max()
    for frame, cell, x, y in table[["frame", "id", "x", "y"]].to_numpy().tolist():
        if 15 <= x < 225 and 15 <= y < 185 and (cell in mothers) == (last[cell] - frame < 2):
            column, row = int(x), int(y)
            peaks[cell in mothers].append(images[int(frame), row - 14 : row + 15, column - 14 : column + 15].max())
    assert len(peaks[True]) >= 6
    assert np.median(peaks[True]) > np.median(peaks[False]) + 40


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition(condition: str) -> None:
    data = simulate(condition, 2, 256, 0)
    expected = round(CULTURES[condition].density * 256**2)
    assert (data.points["frame"] == 0).sum() == expected
    assert data.linked
    assert data.name == f"simulated {condition}"
    assert data.source.dtype == data.nuclei.dtype == np.uint8
    assert data.source.scale == 255
    image = data.source[1]
    assert image.dtype == np.float32
    assert 0.15 < image.mean() < 0.45
    assert image.std() > 0.02
    kinds = {name: str(kind) for name, kind in data.points.dtypes.items()}
    assert kinds == {"frame": "int64", "id": "int64", "x": "float64", "y": "float64", "parent": "int64"}
    assert data.points.notna().all().all()


def test_conditions_differ_as_the_cultures_do() -> None:
    control, fgf2, both = (CULTURES[name] for name in ("Control", "FGF2", "FGF2+BMP2"))
    bmp2 = CULTURES["BMP2"]
    assert fgf2.density > both.density > bmp2.density > control.density
    rates = [culture.motion.division_rate for culture in (fgf2, both, bmp2, control)]
    assert rates == sorted(rates, reverse=True)
    speeds = [culture.motion.speed_px for culture in (fgf2, both, bmp2)]
    assert speeds == sorted(speeds, reverse=True)
    assert fgf2.look.size < both.look.size < bmp2.look.size
    assert control.look.elongation > max(other.look.elongation for other in (fgf2, both, bmp2))


def test_the_same_seed_gives_the_same_pixels_and_another_others() -> None:
    one, two, other = (simulate("BMP2", 3, 96, seed, n_cells=5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(frames(one), frames(two))
    np.testing.assert_array_equal(one.nuclei.stack(), two.nuclei.stack())
    pd.testing.assert_frame_equal(one.points, two.points)
    assert (frames(one) != frames(other)).mean() > 0.5
    assert not one.points.equals(other.points)


@pytest.mark.parametrize("n_cells", [0, 1, 2])
def test_few_cells_and_one_frame(n_cells: int) -> None:
    data = simulate("Control", 1, (40, 64), 0, n_cells=n_cells)
    assert len(data.points) == n_cells
    assert list(data.points.columns) == ["frame", "id", "x", "y", "parent"]
    assert data.source[0].shape == (40, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"condition": "FGF"}, "condition: expected one of Control, FGF2, BMP2, FGF2\\+BMP2, given 'FGF'"),
        ({"n_frames": 0}, "n_frames: expected 1 or more, given 0"),
        ({"size": 31}, "size: expected one side"),
        ({"size": (64, 64, 64)}, "size: expected one side"),
        ({"interval_min": 7}, "interval_min: expected a multiple of 5 minutes, given 7"),
        ({"interval_min": 0}, "interval_min: expected a multiple of 5 minutes, given 0"),
        ({"n_cells": -1}, "n_cells: expected 0 or more, given -1"),
        ({"division_rate": -0.1}, "division_rate: expected 0 or more, given -0.1"),
    ],
)
def test_what_cannot_be_simulated_says_so(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(**{"condition": "BMP2", "n_frames": 2, "size": 64, "seed": 0, **options})
