"""Tracks from motion maps: known cells come back exactly, a literal loop, interruptions, one map in memory, CMF."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from cellweak_core.files import CellweakWarning, DataError
from cellweak_core.tracking.cell_motion import earlier_positions, track_cell_motion
from cellweak_core.tracking.mpm_tracker import MpmTracker, climb
from cellweak_core.tracking.mpm_tracking import track_mpm

Array = NDArray[np.float64]
SHAPE = 160, 200


def drawn(pairs: list[tuple[float, ...]], shape: tuple[int, int] = SHAPE, sigma: float = 6, z: float = 5) -> Array:
    """The map of pairs x0, y0, x1, y1, evaluated at every pixel: the nearest cell's vector to its earlier position."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    best, out = np.zeros(shape), np.zeros((3, *shape))
    for x0, y0, x1, y1 in pairs:
        height = np.exp(-((columns - x1) ** 2 + (rows - y1) ** 2) / (2 * sigma**2))
        vector = np.stack([y0 - rows, x0 - columns, np.full(shape, z)])
        vector *= height / np.linalg.norm(vector, axis=0)
        out, best = np.where(height > best, vector, out), np.maximum(height, best)
    return out


def truth_of(rows: list[tuple[int, int, float, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


def maps_of(truth: pd.DataFrame, frames: list[int]) -> Callable[[int], Array]:
    """`predict`: the true map of each pair; a cell without a past in the frame before is drawn where it stands."""

    def predict(k: int) -> Array:
        before = {r.id: (r.x, r.y) for r in truth[truth["frame"] == frames[k - 1]].itertuples()}
        now = truth[truth["frame"] == frames[k]]
        return drawn([(*before.get(r.id, before.get(r.parent, (r.x, r.y))), r.x, r.y) for r in now.itertuples()])

    return predict


def same(tracks: pd.DataFrame, truth: pd.DataFrame, off_px: float = 1.5) -> None:
    """Every true row has its own row of the tracks, and ids and parents map one to one."""
    assert tracks["frame"].value_counts().to_dict() == truth["frame"].value_counts().to_dict()
    ids = dict[int, int]()
    for row in truth.itertuples():
        there = tracks[tracks["frame"] == row.frame]
        distance = np.hypot(there["x"] - row.x, there["y"] - row.y)
        assert distance.min() < off_px
        found = there.loc[distance.idxmin()]
        assert ids.setdefault(row.id, int(found["id"])) == found["id"]
        assert found["parent"] == ids.get(row.parent, -1)
    assert len(set(ids.values())) == len(ids) == tracks["id"].nunique()


# --- known cells


def test_crossing_cells_keep_their_ids() -> None:
    # Their paths cross in space; between frames 1 and 2 each jumps past where the other was.
    truth = truth_of([(t, i, x, y, -1) for t in range(5) for i, x, y in ((1, 40 + 25 * t, 60), (2, 140 - 25 * t, 84))])
    same(track_mpm([0, 1, 2, 3, 4], maps_of(truth, [0, 1, 2, 3, 4])), truth)


@pytest.mark.parametrize("linking", ["nearest", "assignment"])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_division_has_two_daughters_wherever_it_falls(first: int, linking: str) -> None:
    rows = [(t, 1, 60.0, 50.0 + 3 * t, -1) for t in range(first)] + [(t, 9, 150.0, 60.0, -1) for t in range(5)]
    rows += [(t, i, 60.0 + s * (13 + 2 * t), 50.0 + 3 * t, 1) for t in range(first, 5) for i, s in ((2, -1), (3, 1))]
    truth = truth_of(rows)
    same(track_mpm(range(5), maps_of(truth, [0, 1, 2, 3, 4]), linking=linking), truth)


def test_frames_may_be_steps_apart() -> None:
    frames = [3, 12, 21]
    truth = truth_of([(f, i, 30.0 + 60 * i + f, 80.0 - 2 * f, -1) for f in frames for i in (0, 1)])
    tracks = track_mpm(frames, maps_of(truth, frames))
    same(tracks, truth)
    assert tracks["frame"].unique().tolist() == frames


def test_of_three_peaks_on_one_track_the_two_of_largest_start_are_daughters() -> None:
    tracker = MpmTracker()
    first = drawn([(100, 80, 100, 80)])
    tracker.update(1, np.linalg.norm(first, axis=0), first)
    # They come from 6, 3 and 4 px beside the cell: the climb leads all to it, the first starts lowest.
    second = drawn([(106, 80, 60, 80), (97, 80, 100, 40), (100, 84, 140, 80)])
    tracker.update(2, np.linalg.norm(second, axis=0), second)
    tracks = tracker.tracks()
    rows = {(r.frame, r.x, r.y): (r.id, r.parent) for r in tracks.itertuples()}
    assert rows[0, 100, 80] == rows[1, 100, 80] == (1, -1)
    assert rows[2, 60, 80][1] == -1
    assert rows[2, 100, 40][1] == rows[2, 140, 80][1] == 1
    assert tracks["id"].nunique() == 4
    assert tracks["score"].isna().sum() == 2  # the first row of all, and of the track that begins

    tracker = MpmTracker(linking="assignment")
    tracker.update(1, np.linalg.norm(first, axis=0), first)
    tracker.update(2, np.linalg.norm(second, axis=0), second)
    assert (tracker.tracks()["parent"] == 1).sum() == 2


def test_a_missed_detection_an_empty_frame_and_no_cells() -> None:
    truth = truth_of([(t, i, 50.0 + 70 * i, 80.0, -1) for t in range(4) for i in (0, 1)])
    missed = truth[(truth["frame"] != 2) | (truth["id"] != 1)]
    tracks = track_mpm(range(4), maps_of(missed, [0, 1, 2, 3]))
    assert tracks.groupby("id")["frame"].apply(list).tolist() == [[0, 1, 2, 3], [0, 1], [3]]
    empty = track_mpm(range(4), maps_of(truth[truth["frame"] != 2], [0, 1, 2, 3]))
    assert empty.groupby("id")["frame"].apply(list).tolist() == [[0, 1], [0, 1], [3], [3]]
    assert (empty["parent"] == -1).all()
    # Frame 0 is known by the first map alone; with nothing in frame 1, nothing is.
    late = track_mpm(range(4), maps_of(truth[truth["frame"] > 1], [0, 1, 2, 3]))
    assert late["frame"].value_counts().to_dict() == {2: 2, 3: 2}
    nothing = track_mpm(range(4), lambda k: np.zeros((3, *SHAPE)))
    assert len(nothing) == 0
    assert nothing.columns.tolist() == ["frame", "id", "x", "y", "parent", "score"]


def test_one_frame_is_too_few() -> None:
    with pytest.raises(DataError, match="needs two frames at least, found 1"):
        track_mpm([0], lambda k: np.zeros((3, *SHAPE)))


def test_cells_at_the_border_are_kept_and_leave_it_without_wrapping_round() -> None:
    truth = truth_of([(t, i, x, y, -1) for t in range(3) for i, x, y in ((1, 0, 30 + 2 * t), (2, 199, 159 - 2 * t))])
    same(track_mpm(range(3), maps_of(truth, [0, 1, 2])), truth, off_px=5.5)
    # A cell that came in over the left border has no past; at -10 the opposite border would be read.
    tracker = MpmTracker()
    for t, pairs in ((1, [(190, 80, 190, 80)]), (2, [(-10, 80, 8, 80), (190, 80, 190, 80)])):
        vectors = drawn([tuple(map(float, p)) for p in pairs])
        tracker.update(t, np.linalg.norm(vectors, axis=0), vectors)
    assert tracker.tracks().groupby("id")["frame"].apply(list).tolist() == [[0, 1, 2], [2]]
    first = MpmTracker()
    vectors = drawn([(-10.0, 80.0, 8.0, 80.0)])
    first.update(1, np.linalg.norm(vectors, axis=0), vectors)
    assert first.tracks()["frame"].tolist() == [1]


def test_the_score_is_the_magnitude_at_the_peak() -> None:
    truth = truth_of([(t, i, 50.0 + 70 * i, 80.0, -1) for t in range(3) for i in (0, 1)])
    predict = maps_of(truth, [0, 1, 2])
    tracks = track_mpm(range(3), lambda k: predict(k) * np.where(np.arange(200) < 85, 0.5, 0.9))
    scores = tracks[tracks["frame"] > 0].groupby("x")["score"].apply(list).to_dict()
    assert scores == {50.0: pytest.approx([0.5, 0.5]), 120.0: pytest.approx([0.9, 0.9])}
    assert tracks[tracks["frame"] == 0]["score"].isna().all()


@pytest.mark.parametrize("seed", range(3))
def test_true_maps_give_the_truth_back(seed: int) -> None:
    maps = pytest.importorskip("cellweak_core.tracking.maps")
    scores = pytest.importorskip("cellweak_core.tracking.scores")
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(30, 270, 40), np.arange(30, 230, 40)), -1).reshape(-1, 2).astype(float)
    rows = list[tuple[int, int, float, float, int]]()
    for t in range(8):
        for i, (x, y) in enumerate(grid):
            away = [(x, y, i, -1)] if t < 4 or i % 5 else [(x - 11, y, 100 + i, i), (x + 11, y, 200 + i, i)]
            rows += [(t, j, u + random.uniform(-4, 4), v + random.uniform(-4, 4), p) for u, v, j, p in away]
    truth = truth_of(rows)
    for interval in (1, 2):
        frames = list(range(0, 8, interval))
        shown = truth[truth["frame"].isin(frames)]
        pairs = maps.true_pairs(shown, interval)
        of = {f: p[["x0", "y0", "x1", "y1"]].to_numpy() for f, p in pairs.groupby("frame")}
        tracks = track_mpm(frames, lambda k, of=of, frames=frames: maps.motion_maps(of[frames[k - 1]], (260, 300)))
        measured = scores.tracking_scores(shown, tracks)
        for name in ("aa", "aa_same_cell", "te_micro", "te_macro", "link_precision", "link_recall", "detection_f1"):
            assert measured[name] == 1.0, name


# --- the steps, literally


def climbed(magnitude: Array, x: int, y: int) -> tuple[int, int]:
    """One start, one step at a time: down, up, left, right."""
    while True:
        around = [(y, x), (y + 1, x), (y - 1, x), (y, x - 1), (y, x + 1)]
        around = [(r, c) for r, c in around if 0 <= r < magnitude.shape[0] and 0 <= c < magnitude.shape[1]]
        best = max(around, key=lambda p: magnitude[p])
        if magnitude[best] == magnitude[y, x]:
            return x, y
        y, x = best


@pytest.mark.parametrize("seed", range(3))
def test_climbs_equal_single_ones(seed: int) -> None:
    random = np.random.default_rng(seed)
    magnitude = gaussian_filter(random.random((40, 50)), 1.5 * seed)
    columns, rows = random.integers(0, 50, 200), random.integers(0, 40, 200)
    before = columns.copy(), rows.copy()
    tops = climb(magnitude, columns, rows)
    assert list(zip(*tops, strict=True)) == [climbed(magnitude, x, y) for x, y in zip(columns, rows, strict=True)]
    np.testing.assert_array_equal((columns, rows), before)
    flat = climb(np.ones((5, 5)), np.array([2]), np.array([3]))
    assert (flat[0].tolist(), flat[1].tolist()) == ([2], [3])
    assert [len(v) for v in climb(magnitude, np.empty(0, int), np.empty(0, int))] == [0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_links_equal_a_literal_loop_over_noisy_maps(seed: int) -> None:
    random = np.random.default_rng(seed)

    def noisy(before: Array, after: Array) -> Array:
        return drawn([*np.hstack([before, after])]) + gaussian_filter(random.normal(0, 0.6, (3, *SHAPE)), (0, 2, 2))

    cells = random.uniform(5, 155, (25, 2)) + np.array([20, 0])
    moved = [cells + random.normal(0, 4, cells.shape) for _ in range(2)]
    last, now = noisy(moved[0], cells), noisy(cells + random.normal(0, 3, cells.shape), moved[1])
    tracker = MpmTracker(threshold=0.2)
    for t, vectors in ((1, last), (2, now)):
        tracker.update(t, np.linalg.norm(vectors, axis=0), vectors)
    magnitude = [np.linalg.norm(v, axis=0).astype(np.float32) for v in (last, now)]
    smooth = [gaussian_filter(m, 5, mode="constant") for m in magnitude]
    peaks = []
    for height in smooth:
        padded = np.pad(height, 1)
        peaks.append([
            (x, y) for y in range(SHAPE[0]) for x in range(SHAPE[1])
            if height[y, x] > 0.2 and height[y, x] == padded[y : y + 3, x : x + 3].max()
        ])  # fmt: skip
    np.testing.assert_array_equal(tracker.points[1], peaks[0])
    np.testing.assert_array_equal(tracker.points[2], peaks[1])
    expected = []
    for j, (x, y) in enumerate(peaks[1]):
        v = now[:, y, x]
        bx, by = round(x + 5 * v[1] / v[2]), round(y + 5 * v[0] / v[2])
        if not (0 <= bx < SHAPE[1] and 0 <= by < SHAPE[0]) or magnitude[0][by, bx] < 0.1:
            continue
        cx, cy = climbed(magnitude[0], bx, by)
        distances = [np.hypot(cx - px, cy - py) for px, py in peaks[0]]
        if magnitude[0][cy, cx] > 0.2 and min(distances) < 10:
            expected.append((int(np.argmin(distances)), j, magnitude[1][y, x], magnitude[0][by, bx]))
    assert len(expected) > 5
    np.testing.assert_allclose(tracker.links[1], expected, rtol=1e-6)


# --- what is wrong is said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:2], r"frame 2: expected a magnitude map \(160, 200\) and vectors \(3, 160, 200\)"),
        (lambda v: v[:, :-1], r"frame 2: expected a magnitude map .* got \(159, 200\)"),
        (lambda v: np.where(np.arange(200) == 3, np.nan, v), "frame 2: 160 pixels of the map are not finite"),
    ],
)
def test_maps_that_cannot_be(change: Callable[[Array], Array], message: str) -> None:
    good = drawn([(50, 50, 52, 50)])
    with pytest.raises(ValueError, match=message):
        track_mpm(range(3), lambda k: good if k == 1 else change(good))


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="linking: expected one of nearest, assignment, got 'greedy'"):
        MpmTracker(linking="greedy")
    with pytest.raises(ValueError, match="every: expected at least 1"):
        track_mpm([0, 1], lambda k: np.zeros((3, *SHAPE)), every=0)
    tracker = MpmTracker(5)
    with pytest.raises(ValueError, match="frame: expected a number after 5, got 5"):
        tracker.update(5, np.zeros(SHAPE), np.zeros((3, *SHAPE)))
    with pytest.raises(ValueError, match="state: expected one with the options"):
        MpmTracker(threshold=0.3).load_state_dict(tracker.state_dict())


def test_maps_may_be_tensors_are_not_changed_and_not_kept() -> None:
    vectors = torch.from_numpy(drawn([(50, 50, 52, 50)])).float()
    magnitude = vectors.norm(dim=0)
    before = vectors.clone(), magnitude.clone()
    tracker = MpmTracker()
    tracker.update(1, magnitude, vectors)
    assert torch.equal(vectors, before[0])
    assert torch.equal(magnitude, before[1])
    magnitude.zero_()
    assert tracker.magnitude is not None
    assert tracker.magnitude.max() > 0.9


# --- interrupted and gone on with

SMALL = 48, 64
N_FRAMES = 1000


def small_map(k: int) -> NDArray[np.float32]:
    """Three cells that go round, one of which is missing now and then."""
    cells = []
    for i, (x, y) in enumerate(((12, 12), (50, 14), (30, 36))):
        if i or k % 37:
            at = [(x + 5 * np.cos(t / 9 + i), y + 5 * np.sin(t / 9 + i)) for t in (k - 1, k)]
            cells.append((*at[0], *at[1]))
    return drawn(cells, SMALL, sigma=4).astype(np.float32)


def counted(stop_at: int = -1) -> tuple[list[int], Callable[[int], NDArray[np.float32]]]:
    """`small_map`, the frames that were asked for, and a stop."""
    asked = list[int]()

    def predict(k: int) -> NDArray[np.float32]:
        asked.append(k)
        if k == stop_at:
            raise KeyboardInterrupt
        return small_map(k)

    return asked, predict


@pytest.fixture(scope="module")
def uninterrupted() -> pd.DataFrame:
    return track_mpm(range(N_FRAMES), small_map)


def test_interrupted_at_700_it_goes_on_there(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    asked, predict = counted(stop_at=700)
    with pytest.raises(KeyboardInterrupt):
        track_mpm(range(N_FRAMES), predict, checkpoint, every=300)
    assert asked == list(range(1, 701))
    asked, predict = counted()
    resumed = track_mpm(range(N_FRAMES), predict, checkpoint, every=300)
    assert asked == [699, *range(700, N_FRAMES)]  # the last map again, to see that it is the same sequence
    pd.testing.assert_frame_equal(resumed, uninterrupted, check_exact=True)
    asked, predict = counted()
    pd.testing.assert_frame_equal(track_mpm(range(N_FRAMES), predict, checkpoint), uninterrupted, check_exact=True)
    assert asked == [N_FRAMES - 1]
    assert [p.name for p in tmp_path.iterdir()] == ["tracks.safetensors"]


def test_killed_at_700_it_goes_on_there(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    program = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_tracking_mpm as tests
def predict(k):
    if k == 700:
        os.kill(os.getpid(), signal.SIGKILL)
    return tests.small_map(k)
tests.track_mpm(range(tests.N_FRAMES), predict, Path({str(checkpoint)!r}), every=50)
"""
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    asked, predict = counted()
    resumed = track_mpm(range(N_FRAMES), predict, checkpoint)
    assert asked == [699, *range(700, N_FRAMES)]
    pd.testing.assert_frame_equal(resumed, uninterrupted, check_exact=True)


def test_a_checkpoint_of_something_else_is_tracked_over(tmp_path: Path) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    frames = range(12)
    expected = track_mpm(frames, small_map)

    def tracked_anew(frames: range, predict: Callable[[int], Array], **options: object) -> list[int]:
        track_mpm(range(12), small_map, checkpoint, version="a")
        asked = list[int]()
        with pytest.warns(CellweakWarning, match="tracking anew"):
            tracks = track_mpm(frames, lambda k: asked.append(k) or predict(k), checkpoint, **options)  # type: ignore[arg-type, func-returns-value]
        checkpoint.unlink()
        again = track_mpm(frames, predict, **{k: v for k, v in options.items() if k != "version"})  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(tracks, again)
        return asked

    assert tracked_anew(frames, small_map, version="b") == list(range(1, 12))  # other weights
    assert tracked_anew(frames, small_map, version="a", threshold=0.2) == list(range(1, 12))  # other parameters
    assert tracked_anew(range(0, 24, 2), small_map, version="a") == list(range(1, 12))  # other frames
    assert tracked_anew(range(9), small_map, version="a") == list(range(1, 9))  # fewer frames
    # Other images under the same name: only the last map tells.
    assert tracked_anew(frames, lambda k: small_map(k + 5), version="a") == [11, *range(1, 12)]
    assert tracked_anew(frames, lambda k: np.pad(small_map(k), ((0, 0), (0, 8), (0, 8))), version="a")[0] == 11

    track_mpm(frames, small_map, checkpoint)
    for damaged in (checkpoint.read_bytes()[:-100], b"", b"no tensors"):
        checkpoint.write_bytes(damaged)
        with pytest.warns(CellweakWarning, match="cannot be gone on from"):
            pd.testing.assert_frame_equal(track_mpm(frames, small_map, checkpoint), expected)


def test_a_sequence_that_has_grown_is_gone_on_with(tmp_path: Path, uninterrupted: pd.DataFrame) -> None:
    checkpoint = tmp_path / "tracks.safetensors"
    track_mpm(range(20), small_map, checkpoint)
    asked, predict = counted()
    longer = track_mpm(range(30), predict, checkpoint)
    assert asked == [19, *range(20, 30)]
    pd.testing.assert_frame_equal(longer, uninterrupted[uninterrupted["frame"] < 30])


def test_only_the_last_map_is_held() -> None:
    tracker = MpmTracker()
    for k in range(1, 40):
        vectors = small_map(k)
        tracker.update(k, np.linalg.norm(vectors, axis=0), vectors)
    held = [v for v in tracker.state_dict().values() if isinstance(v, np.ndarray)]
    assert sum(v.nbytes for v in held) < 48 * 64 * 4 + 40 * 3 * (2 + 4) * 8 + 1
    twin = MpmTracker()
    twin.load_state_dict(tracker.state_dict())
    pd.testing.assert_frame_equal(twin.tracks(), tracker.tracks())


# --- separate maps of position and motion


def test_separate_maps_give_the_truth_back() -> None:
    rows = [(t, 1, 50.0 + 15 * t, 50.0, -1) for t in range(4)] + [(t, 2, 110.0 - 15 * t, 80.0, -1) for t in range(4)]
    rows += [(t, 3, 160.0, 120.0, -1) for t in range(2)]
    rows += [(t, i, 160.0 + s * 6 * t, 120.0, 3) for t in (2, 3) for i, s in ((4, -1), (5, 1))]
    truth = truth_of(rows)
    frames = [10, 15, 20, 25]
    truth["frame"] = np.array(frames)[truth["frame"]]
    predict = maps_of(truth, frames)

    def position(k: int) -> Array:
        here = truth[truth["frame"] == frames[k]]
        pairs = [(x, y, x, y) for x, y in here[["x", "y"]].to_numpy()]
        return np.linalg.norm(drawn(pairs, sigma=9), axis=0)

    tracks = track_cell_motion(frames, position, predict)
    same(tracks, truth)
    assert tracks["score"].dropna().between(0.9, 1).all()
    assert tracks["score"].isna().sum() == 3
    alone = track_cell_motion(frames, position, predict, max_daughters=1)
    assert (alone["parent"] == -1).all()
    assert len(track_cell_motion(frames, lambda k: np.zeros(SHAPE), predict)) == 0
    assert track_cell_motion(frames[:1], position, predict)["frame"].tolist() == [10, 10, 10]


def test_the_motion_map_says_where_a_cell_was() -> None:
    points = np.array([[50.0, 40.0], [120.4, 90.0]])
    vectors = drawn([(60, 45, 50, 40), (118, 70, 120.4, 90)])
    np.testing.assert_allclose(earlier_positions(points, vectors)[0], (60, 45))
    np.testing.assert_allclose(earlier_positions(points, vectors)[1], (118.4, 70))  # read at the pixel (120, 90)
    shifted = np.stack([np.full(SHAPE, -3.0), np.full(SHAPE, 2.0)])
    np.testing.assert_allclose(earlier_positions(points, shifted), points + np.array([2, -3]))
    for silent in (0.01 * vectors, vectors * np.array([1, 1, -1])[:, None, None]):
        np.testing.assert_array_equal(earlier_positions(points, silent), points)
    assert earlier_positions(np.empty((0, 2)), vectors).shape == (0, 2)
    with pytest.raises(ValueError, match=r"motion_map: expected \(3, H, W\) or \(2, H, W\), got \(160, 200\)"):
        earlier_positions(points, vectors[0])
    with pytest.raises(ValueError, match="motion_map: 2 of 2 vectors are not finite"):
        earlier_positions(points, np.full((3, *SHAPE), np.nan))
