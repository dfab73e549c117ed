from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core.files import DataError
from cellweak_core.migration import data
from cellweak_core.migration.labels import MODES, UNKNOWN
from cellweak_core.migration.motion import MEASURES, directions, jump_limit, jumps, labelled, modes, told


def track(name: str, xy: Sequence[Sequence[float]], frames: Sequence[int] | None = None) -> pd.DataFrame:
    at = range(len(xy)) if frames is None else frames
    table = pd.DataFrame(np.asarray(xy, float), columns=["x", "y"])
    return table.assign(sequence="f", cell=f"f/{name}", frame=list(at))


def steady(n: int = 20, speed: float = 2.0) -> list[tuple[float, float]]:
    return [(speed * t, 5.0) for t in range(n)]


def bursts(n: int = 20) -> list[tuple[float, float]]:
    """Stands for two frames, bursts forth and comes back likewise: on average as fast as the steady one."""
    x, out = 0.0, []
    for t in range(n):
        x += 6.0 * (-1) ** (t // 3) if t % 3 == 2 else 0.0
        out.append((x, 5.0))
    return out


def walks(n_cells: int = 4, n: int = 25, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.concat([track(str(k), rng.normal(0, 1 + k, (n, 2)).cumsum(0)) for k in range(n_cells)], ignore_index=True)


def literally(points: pd.DataFrame, window: int) -> np.ndarray:
    """The measures of tracks without jumps, by loops over positions by cell and frame."""
    at = {(cell, t): np.array([x, y]) for cell, t, x, y in points[["cell", "frame", "x", "y"]].itertuples(index=False)}
    out = []
    for cell, t in points[["cell", "frame"]].itertuples(index=False):
        window_of = [(cell, s) for s in range(t - window, t + window + 1)]
        if not all(key in at for key in window_of):
            out.append([np.nan] * 3)
            continue
        path = [at[key] for key in window_of]
        steps = [float(np.sqrt(((b - a) ** 2).sum())) for a, b in pairwise(path)]
        mean = sum(steps) / len(steps)
        variance = sum((s - mean) ** 2 for s in steps) / len(steps)
        net = float(np.sqrt(((path[-1] - path[0]) ** 2).sum()))
        out.append([mean, net / sum(steps), variance**0.5 / mean])
    return np.array(out)


@pytest.mark.parametrize("window", [1, 3, 5])
def test_measures_are_their_formulas(window: int) -> None:
    points = walks()
    points = points[(points["cell"] != "f/2") | (points["frame"] != 11)]  # a gap
    found = modes(points, window)
    expected = literally(points, window)
    np.testing.assert_allclose(found[list(MEASURES)], expected, rtol=1e-12)
    for k, name in enumerate(MEASURES):
        assert found.attrs["thresholds"][name] == pytest.approx(np.nanmedian(expected[:, k]))


def test_a_steady_cell_is_continuous_and_one_that_bursts_discontinuous() -> None:
    points = pd.concat([track("a", steady()), track("b", bursts())], ignore_index=True)
    found = modes(points)
    inner = points["frame"].between(3, 16)
    a, b = points["cell"] == "f/a", points["cell"] == "f/b"
    assert (found["label"][a & inner] == MODES[0]).all()
    assert (found["label"][b & inner] == MODES[1]).all()
    assert (found["label"][~inner] == UNKNOWN).all()
    np.testing.assert_allclose(found.loc[a & inner, list(MEASURES)], np.tile([2.0, 1.0, 0.0], (14, 1)), atol=1e-12)
    # two bursts of 6 px, there and back, in six steps: sd sqrt(8), mean 2
    np.testing.assert_allclose(found.loc[b & inner, list(MEASURES)], np.tile([2, 0, 2**0.5], (14, 1)), atol=1e-12)


def test_one_measure_divides_the_frames_in_halves() -> None:
    points = walks()
    for name in MEASURES:
        found = modes(points, by=(name,))
        counts = found["label"].value_counts()
        assert counts[MODES[0]] == counts[MODES[1]] == 4 * 19 // 2
        high = found[name] >= found.attrs["thresholds"][name]
        assert ((found["label"] == (MODES[1] if name == "burstiness" else MODES[0])) == high).all()


def test_measures_that_disagree_are_unknown() -> None:
    found = modes(walks())
    limits = found.attrs["thresholds"]
    bursty = found["burstiness"] >= limits["burstiness"]
    straight = found["persistence"] >= limits["persistence"]
    known = found["speed"].notna()
    assert ((found["label"] == MODES[1]) == (known & bursty & ~straight)).all()
    assert ((found["label"] == MODES[0]) == (known & ~bursty & straight)).all()
    assert (found["label"][known & (bursty == straight)] == UNKNOWN).all()
    assert (known & (bursty == straight)).any()


def test_given_thresholds_and_quantiles() -> None:
    points = walks()
    assert (modes(points, by=("speed",), thresholds={"speed": 1e9})["label"] != MODES[0]).all()
    found = modes(points, by=("speed",), quantile=0.25)
    assert found.attrs["thresholds"]["speed"] == pytest.approx(found["speed"].quantile(0.25))


def test_rows_in_any_order_and_with_any_index() -> None:
    points = walks()
    found = modes(points)
    order = np.random.default_rng(1).permutation(len(points))
    mixed = points.iloc[order].set_axis(order + 100)
    pd.testing.assert_frame_equal(modes(mixed), found.iloc[order].set_axis(order + 100))
    pd.testing.assert_frame_equal(points, walks())  # not changed


def test_modes_do_not_hang_on_where_or_how_large() -> None:
    points = walks()
    found = modes(points)
    for moved in (points.assign(x=points["x"] + 50), points.assign(x=points["y"], y=-points["x"]),
                  points.assign(x=points["x"] * 3, y=points["y"] * 3)):  # fmt: skip
        assert (modes(moved)["label"] == found["label"]).all()


def test_a_jump_splits_a_track() -> None:
    xy = np.array([(2.0 * t + t % 3, 5.0) for t in range(30)])
    xy[15:] += 400
    points = pd.concat([track("a", xy), track("b", steady(30, 3.0))], ignore_index=True)
    found = modes(points)
    of_a = found[points["cell"] == "f/a"]
    # windows within frames 0..14 and 15..29 only
    assert of_a.index[of_a["speed"].notna()].tolist() == [*range(3, 12), *range(18, 27)]
    assert (found.attrs["jumps"], found.attrs["gaps"]) == (1, 0)
    (row,) = jumps(points).to_dict("records")
    assert (row["cell"], row["frame"], row["missing"]) == ("f/a", 15, 0)
    assert row["step_px"] == pytest.approx(np.hypot(xy[15, 0] - xy[14, 0], 400))
    whole = modes(points, jump_factor=1e6)
    assert whole["speed"].notna().sum() == 2 * 24
    assert "split at 1 jumps (more than 9 px" in "\n".join(told(found))


def test_missing_frames_split_a_track() -> None:
    points = track("a", steady(19), [*range(9), *range(12, 22)])
    found = modes(points, by=("speed",))
    assert points["frame"][found["speed"].notna()].tolist() == [3, 4, 5, 15, 16, 17, 18]
    assert jumps(points)[["frame", "missing"]].to_numpy().tolist() == [[12, 3]]
    assert (found.attrs["jumps"], found.attrs["gaps"]) == (0, 1)


def test_a_jump_does_not_raise_its_own_limit() -> None:
    points = track("a", [*steady(10), (500.0, 5.0)])
    assert jump_limit(points) == 6.0
    assert jumps(points)["frame"].tolist() == [10]
    assert jump_limit(track("a", [(1.0, 1.0)] * 10)) == np.inf  # nothing moves
    assert jump_limit(track("a", [(1.0, 1.0)])) == np.inf


def test_bursts_are_no_jumps() -> None:
    points = pd.concat([track(str(k), bursts(40)) for k in range(5)], ignore_index=True)
    assert len(jumps(points)) == 0


def test_a_cell_that_stands_still_has_measures() -> None:
    found = modes(pd.concat([track("a", [(3.0, 3.0)] * 9), track("b", steady(9))], ignore_index=True))
    np.testing.assert_array_equal(found.loc[4, list(MEASURES)].to_numpy(float), [0, 0, 0])


def test_tracks_too_short_are_an_error_for_people() -> None:
    with pytest.raises(DataError, match="no cell is tracked for 7 frames in a row"):
        modes(pd.concat([track("a", steady(6)), track("b", steady(1))]))
    assert modes(track("a", steady(7)))["speed"].notna().sum() == 1


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="by: expected some of speed, persistence, burstiness, got"):
        modes(walks(), by=("area",))
    with pytest.raises(ValueError, match="by: expected"):
        modes(walks(), by=())
    with pytest.raises(ValueError, match="window of 1 or more"):
        modes(walks(), window=0)
    with pytest.raises(ValueError, match="quantile between 0 and 1"):
        modes(walks(), quantile=1.0)


def directions_literally(points: pd.DataFrame, lead: int) -> np.ndarray:
    """Displacements by a loop over rows, each path walked from row to row."""
    at = {(cell, t): (x, y) for cell, t, x, y in points[["cell", "frame", "x", "y"]].itertuples(index=False)}
    limit, out = jump_limit(points), []
    for cell, t in points[["cell", "frame"]].itertuples(index=False):
        path = [(s, *at[cell, s]) for s in range(t, t + lead + 1) if (cell, s) in at]
        whole = path[-1][0] == t + lead and all(
            ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 <= limit * (s1 - s0)
            for (s0, x0, y0), (s1, x1, y1) in pairwise(path)
        )
        out.append([path[-1][1] - path[0][1], path[-1][2] - path[0][2]] if whole else [np.nan, np.nan])
    return np.array(out)


@pytest.mark.parametrize("lead", [1, 3, 7])
def test_directions_are_the_literal_ones_in_any_order(lead: int) -> None:
    points = walks()
    points.loc[(points["cell"] == "f/1") & (points["frame"] >= 12), "x"] += 300
    points = points[(points["cell"] != "f/2") | ~points["frame"].isin([11, 12])]
    order = np.random.default_rng(2).permutation(len(points))
    mixed = points.iloc[order].set_axis(order + 100)
    before = mixed.copy()
    found = directions(mixed, lead)
    np.testing.assert_allclose(found, directions_literally(mixed, lead), atol=1e-12)
    pd.testing.assert_frame_equal(mixed, before)
    # each cell loses its last frames, one of them also those before its jump
    lost = np.isnan(found).any(1)
    assert lost[(mixed["cell"] == "f/0").to_numpy()].sum() == lead
    assert lost[(mixed["cell"] == "f/1").to_numpy()].sum() == 2 * lead


def test_directions_of_two_cells_a_gap_and_a_jump() -> None:
    gap = track("b", [(1.0, 2.0 * t) for t in (0, 1, 3, 4)], [0, 1, 3, 4])
    jump = track("c", [(0.0, 0.0), (2.0, 0.0), (4.0, 0.0), (90.0, 0.0), (92.0, 0.0)])
    points = pd.concat([track("a", steady(3)), gap, jump], ignore_index=True)
    nan = [np.nan, np.nan]
    of_two = [[4, 0], nan, nan, nan, [0, 4], nan, nan, [4, 0], nan, nan, nan, nan]
    np.testing.assert_array_equal(directions(points, 2), of_two)
    # a jump across missing frames is one as well; a walk across them is none
    far = track("d", [(0.0, 0.0), (2.0, 0.0), (14.0, 0.0), (33.0, 0.0)], [0, 1, 3, 6])
    both = pd.concat([track("a", steady(30)), far], ignore_index=True)
    assert jump_limit(both) == 6.0
    np.testing.assert_array_equal(directions(both, 3)[30:], [[14, 0], nan, nan, nan])  # 12 px in 2, 19 px in 3 frames
    assert directions(points[:0]).shape == (0, 2)
    for lead in (0, -1):
        with pytest.raises(ValueError, match=f"lead: expected 1 frame or more, got {lead}"):
            directions(points, lead)


def test_labelled_points_and_what_is_told() -> None:
    points = walks()
    found = labelled(points, by=("speed",))
    assert (found["label"] == modes(points, by=("speed",))["label"]).all()
    assert "label" not in points
    said = list(told(found))
    limit = found.attrs["thresholds"]["speed"]
    assert said[0] == f"modes from motion, windows of +-3 frames; thresholds: speed {limit:.3g} px/frame"
    assert said[1] == "38 frames continuous, 38 frames discontinuous, 24 frames unknown"
    assert len(said) == 2


def test_the_real_tracks_have_as_many_windows_as_were_counted(real_data: Path) -> None:
    points = data.load(real_data / "migration" / "t98g_phase").points
    long = points.groupby("cell")["frame"].transform("size") >= 30
    assert points["cell"][long].nunique() == 61
    # gaps and jumps taken as nothing: 1,868 frames, as where each cell loses three frames at either end
    counted = points[long].groupby("cell").size() - 6
    assert counted.sum() == 1868
    found = modes(points[long])
    assert found["speed"].notna().sum() == literal_windows(points[long], jump_limit(points[long]))
    assert 0.5 < found["speed"].median() < 10


def literal_windows(points: pd.DataFrame, limit: float) -> int:
    """How many frames have all neighbours to three frames before and behind, and no step beyond the limit."""
    at = {(cell, t): (x, y) for cell, t, x, y in points[["cell", "frame", "x", "y"]].itertuples(index=False)}
    n = 0
    for cell, t in at:
        keys = [(cell, s) for s in range(t - 3, t + 4)]
        if all(key in at for key in keys):
            xy = np.array([at[key] for key in keys])
            n += bool((np.hypot(*np.diff(xy, axis=0).T) <= limit).all())
    return n
