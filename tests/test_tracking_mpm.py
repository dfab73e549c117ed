"""Tracks from motion maps: known cells come back exactly, every step against a literal loop, what is wrong is said."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tracking_maps import SHAPE, Array, assert_same_tracks, drawn, maps_of, truth_of

from cellweak_core.files import DataError
from cellweak_core.tracking.mpm_tracker import MpmTracker, climb
from cellweak_core.tracking.mpm_tracking import track_mpm

# --- known cells


def test_crossing_cells_keep_their_ids() -> None:
    # Their paths cross in space; between frames 1 and 2 each jumps past where the other was.
    truth = truth_of([(t, i, x, y, -1) for t in range(5) for i, x, y in ((1, 40 + 25 * t, 60), (2, 140 - 25 * t, 84))])
    assert_same_tracks(track_mpm([0, 1, 2, 3, 4], maps_of(truth, [0, 1, 2, 3, 4])), truth)


@pytest.mark.parametrize("linking", ["nearest", "assignment"])
@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_division_has_two_daughters_wherever_it_falls(first: int, linking: str) -> None:
    rows = [(t, 1, 60.0, 50.0 + 3 * t, -1) for t in range(first)] + [(t, 9, 150.0, 60.0, -1) for t in range(5)]
    rows += [(t, i, 60.0 + s * (13 + 2 * t), 50.0 + 3 * t, 1) for t in range(first, 5) for i, s in ((2, -1), (3, 1))]
    truth = truth_of(rows)
    assert_same_tracks(track_mpm(range(5), maps_of(truth, [0, 1, 2, 3, 4]), linking=linking), truth)


def test_frames_may_be_steps_apart() -> None:
    frames = [3, 12, 21]
    truth = truth_of([(f, i, 30.0 + 60 * i + f, 80.0 - 2 * f, -1) for f in frames for i in (0, 1)])
    tracks = track_mpm(frames, maps_of(truth, frames))
    assert_same_tracks(tracks, truth)
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
    assert_same_tracks(track_mpm(range(3), maps_of(truth, [0, 1, 2])), truth, off_px=5.5)
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
        measured = scores.tracking_scores(shown, tracks, frame_step=interval)
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


def test_settings_that_cannot_be() -> None:
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
