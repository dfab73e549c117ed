"""The statistics of sequences, and how near the simulator's are to the recorded ones of a real sequence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core.images import read_grey
from cellweak_core.tables import read_csv
from cellweak_core.tracking.motion import Motion, annotate, walk
from cellweak_core.tracking.simulate import CULTURES, simulate
from cellweak_core.tracking.statistics import QUANTILES, compare, statistics

RECORDED = Path(__file__).resolve().parents[1] / "book" / "recorded" / "tracking-images" / "statistics.csv"


def recorded() -> pd.DataFrame:
    return read_csv(RECORDED, {"curve": "str", "x": "float", "y": "float"})


def curve(table: pd.DataFrame, name: str) -> np.ndarray:
    return table.loc[table["curve"] == name, "y"].to_numpy(float)


def lattice(n_frames: int = 12, step: float = 3.0) -> pd.DataFrame:
    """Nine cells 100 px apart that all move by (step, 4/3 step) a frame."""
    rows = [
        (t, 3 * j + i, 100 * i + step * t, 100 * j + step * t * 4 / 3, -1)
        for t in range(n_frames)
        for j in range(3)
        for i in range(3)
    ]
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


def test_cells_that_march_have_known_curves() -> None:
    found = statistics(lattice(), shape=(300, 400))
    for interval in (1, 5, 9):
        np.testing.assert_allclose(curve(found, f"displacement_{interval}"), 5 * interval)
    np.testing.assert_allclose(curve(found, "displacement"), [5, 25, 45])
    np.testing.assert_allclose(curve(found, "nearest_neighbour"), 100)
    np.testing.assert_allclose(curve(found, "density"), 9 / 120_000 * 1e5)
    np.testing.assert_array_equal(curve(found, "division_rate"), 0)
    np.testing.assert_array_equal(curve(found, "assignment"), 1)
    assert set(found["curve"]) == {"displacement_1", "displacement_5", "displacement_9", "displacement",
                                   "nearest_neighbour", "density", "division_rate", "assignment"}  # fmt: skip


def test_a_division_is_counted_once_and_only_if_it_was_seen() -> None:
    table = pd.DataFrame(
        [(0, 1, 10, 10, -1), (0, 4, 80, 80, 3), (1, 2, 5, 10, 1), (1, 5, 15, 10, 1), (1, 4, 80, 80, 3)],
        columns=["frame", "id", "x", "y", "parent"],
    )
    found = statistics(table, shape=(100, 100))
    np.testing.assert_allclose(curve(found, "division_rate"), 1000 * 1 / 5)
    np.testing.assert_array_equal(curve(found, "assignment")[0], 1.0)
    assert np.isnan(curve(found, "assignment")[1:]).all()


def test_two_cells_that_swap_places_are_lost_to_assignment() -> None:
    table = pd.DataFrame(
        [(0, 1, 0, 0, -1), (0, 2, 10, 0, -1), (1, 1, 10, 0, -1), (1, 2, 0, 0, -1)],
        columns=["frame", "id", "x", "y", "parent"],
    )
    assert curve(statistics(table, shape=(50, 50)), "assignment")[0] == 0


def test_no_cells_at_all() -> None:
    found = statistics(lattice(0).astype(float), np.full((2, 64, 64), 80.0))
    assert curve(found, "density") == [0]
    assert np.isnan(curve(found, "division_rate")).all()
    assert np.isnan(curve(found, "displacement_1")).all()
    assert "profile" not in set(found["curve"])


def test_white_noise_and_a_disc_have_known_curves() -> None:
    y, x = np.mgrid[:200, :240]
    sky = 80 + 10 * (x / 240) - 20 * np.square(y / 200 - 0.5)
    noise = np.random.default_rng(0).normal(0, 3, (2, 200, 240))
    nobody = lattice(1)[:0]
    found = statistics(nobody, sky + noise)
    np.testing.assert_allclose(curve(found, "spectrum")[4:], 9, rtol=0.15)
    np.testing.assert_allclose(np.interp([0.05, 0.5, 0.95], QUANTILES, curve(found, "contrast")), [-4.93, 0, 4.93],
                               atol=0.1)  # fmt: skip
    np.testing.assert_allclose(curve(found, "grey")[QUANTILES == 0.5], np.median(sky + noise), atol=0.1)
    disc = np.zeros((1, 400, 400)) + 50 * (np.hypot(*(np.mgrid[:400, :400] - 200)) < 10.5)
    one = pd.DataFrame({"frame": [0], "id": [0], "x": [200.2], "y": [199.8], "parent": [-1]})
    profile = curve(statistics(one, disc), "profile")
    assert np.abs(profile[:10] - 50).max() < 1.5
    assert np.abs(profile[12:]).max() < 1.5


def test_what_is_measured_is_not_changed() -> None:
    points, images = lattice(3), np.random.default_rng(0).integers(0, 255, (3, 90, 90)).astype(np.uint8)
    before = points.copy(), images.copy()
    statistics(points, images)
    pd.testing.assert_frame_equal(points, before[0])
    np.testing.assert_array_equal(images, before[1])


def test_curves_of_nothing_and_of_colour_are_refused() -> None:
    with pytest.raises(ValueError, match="shape: expected \\(Y, X\\)"):
        statistics(lattice())
    with pytest.raises(ValueError, match=r"frames: expected \(T, Y, X\), given frames of shape \(64, 64, 3\)"):
        statistics(lattice(), np.zeros((1, 64, 64, 3)))


def test_a_sequence_is_like_itself() -> None:
    table = recorded()
    assert (compare(table, table)["difference"] == 0).all()
    other = table.assign(y=table["y"] + 1.0)
    shifted = compare(table, other).set_index("curve")
    assert shifted.loc["grey", "difference"] == pytest.approx(1)
    assert shifted.loc["grey", "other"] - shifted.loc["grey", "one"] == pytest.approx(1)


# BMP2 beside sequence 9 of Ker et al. 2018.


@pytest.fixture(scope="module")
def beside() -> pd.DataFrame:
    data = simulate("BMP2", 2, (1040, 1392), 7)
    found = statistics(data.points, [data.source.raw(t) for t in range(2)])
    return compare(recorded(), found[~found["curve"].str.startswith("displacement")]).set_index("curve")


def test_simulated_frames_look_like_the_real_ones(beside: pd.DataFrame) -> None:
    assert beside.loc["grey", "difference"] < 3  # grey levels, over all quantiles
    assert beside.loc["contrast", "difference"] < 3
    assert beside.loc["spectrum", "difference"] < 0.2  # decades
    assert beside.loc["profile", "difference"] < 3
    assert beside.loc["profile_sd", "difference"] < 4


def test_simulated_cells_move_and_crowd_as_the_real_ones() -> None:
    shape = (1040, 1392)
    tables = [annotate(walk(40, shape, 210, Motion(), np.random.default_rng(seed)), shape) for seed in range(3)]
    measured = [statistics(table, shape=shape) for table in tables]
    real = recorded()
    compared = {"displacement_1": (0.5, 0.95, 0.99), "displacement_5": (0.25, 0.5, 0.95),
                "displacement_9": (0.25, 0.5, 0.95), "nearest_neighbour": (0.25, 0.5, 0.75)}  # fmt: skip
    for name, quantiles in compared.items():
        simulated = np.mean([curve(one, name) for one in measured], 0)
        for q in quantiles:
            a, b = (np.interp(q, QUANTILES, values) for values in (simulated, curve(real, name)))
            assert a == pytest.approx(b, rel=0.15), (name, q)
    rate = np.mean([curve(one, "division_rate") for one in measured])
    assert rate == pytest.approx(curve(real, "division_rate")[0], rel=0.35)
    # assignment of true positions is nearly perfect from frame to frame and loses links at longer intervals, as on
    # the real positions
    ceiling = np.mean([curve(one, "assignment") for one in measured], 0)
    assert (np.abs(ceiling - curve(real, "assignment")) < [0.001, 0.005, 0.012]).all()
    assert (np.diff(ceiling) < 0).all()


@pytest.mark.parametrize("condition", CULTURES)
def test_tracking_is_neither_trivial_nor_impossible(condition: str) -> None:
    motion = CULTURES[condition].motion
    tables = [annotate(walk(40, (256, 256), 25, motion, np.random.default_rng(seed)), (256, 256)) for seed in range(4)]
    shares = np.mean([curve(statistics(table, shape=(256, 256)), "assignment") for table in tables], 0)
    assert shares[0] > 0.99
    assert 0.95 < shares[1] < 1
    assert 0.80 < shares[2] < 0.99


def test_the_recorded_statistics_are_those_of_the_real_sequence(real_data: Path) -> None:
    folder = real_data / "tracking"
    if not (folder / "c2c12_bmp2_seq9" / "img").is_dir():
        pytest.skip("no real data: no tracking/c2c12_bmp2_seq9")
    images = [read_grey(folder / "c2c12_bmp2_seq9" / "img" / f"{t:04d}.png") for t in range(10)]
    of_frames = statistics(pd.read_csv(folder / "c2c12_bmp2_seq9" / "tracks.csv"), images)
    points = pd.read_csv(folder / "c2c12_bmp2_seq9_full_tracks.csv.gz")
    of_points = statistics(points[points["frame"] > 580], shape=(1040, 1392))
    found = pd.concat([of_frames[~of_frames["curve"].isin(of_points["curve"])], of_points], ignore_index=True)
    expected = recorded()
    assert found["curve"].tolist() == expected["curve"].tolist()
    np.testing.assert_allclose(found["x"], expected["x"], atol=1e-6)
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-4, atol=1e-4)
