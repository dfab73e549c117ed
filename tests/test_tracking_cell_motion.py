"""Tracks from separate maps of position and motion (CMF): known cells, and where a motion map says that they were."""

import numpy as np
import pytest
from tracking_maps import SHAPE, Array, assert_same_tracks, drawn, maps_of, truth_of

from cellweak_core.tracking.cell_motion import earlier_positions, track_cell_motion


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
    assert_same_tracks(tracks, truth)
    assert tracks["score"].dropna().between(0.9, 1).all()
    assert tracks["score"].isna().sum() == 3
    rough = np.random.default_rng(0).normal(0, 0.03, SHAPE)
    assert len(track_cell_motion(frames, lambda k: position(k) + rough, predict)) > len(truth)
    assert_same_tracks(track_cell_motion(frames, lambda k: position(k) + rough, predict, smooth_px=4), truth, off_px=3)
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
