"""Global association: gains against their formulas, the programme against every explanation of five tracklets."""

import numpy as np
import pytest

from cellweak_core.tracking.gda import Detections, explained_tracks, sure_links, tracklets_of
from cellweak_core.tracking.global_association import Hypothesis, Tracklets, best_explanation, hypotheses


def random_tracklets(seed: int, n: int) -> Tracklets:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 6, n)
    xy = rng.uniform(10, 50, (2, n, 2))
    return Tracklets(first, first + rng.integers(0, 3, n), xy[0], xy[1], *rng.uniform(100, 200, (2, n)))


def exact_covers(choices: list[Hypothesis], n: int) -> list[float]:
    """Sums of gains of all ways to explain every end and beginning once."""
    rows = [{*h.ends, *(n + j for j in h.beginnings)} for h in choices]

    def go(uncovered: set[int], gain: float) -> list[float]:
        if not uncovered:
            return [gain]
        first = min(uncovered)
        fits = [(r, h) for r, h in zip(rows, choices, strict=True) if first in r and r <= uncovered]
        return [total for r, h in fits for total in go(uncovered - r, gain + h.gain)]

    return go(set(range(2 * n)), 0.0)


@pytest.mark.parametrize("seed", range(10))
def test_programme_finds_the_best_of_all_explanations(seed: int) -> None:
    n = 5
    choices = hypotheses(random_tracklets(seed, n), 8, (60, 60), division_share=0.6, unexplained=0.001)
    accepted = best_explanation(choices, n)
    ends = sorted([i for h in accepted for i in h.ends])
    beginnings = sorted([j for h in accepted for j in h.beginnings])
    assert ends == beginnings == list(range(n))
    assert np.isclose(sum(h.gain for h in accepted), max(exact_covers(choices, n)))


def test_hypotheses_by_literal_formulas() -> None:
    tracklets = Tracklets(
        np.array([0, 4, 4, 7]),
        np.array([3, 9, 5, 9]),
        np.array([[50.0, 50], [58, 50], [50, 60], [58, 54]]),
        np.array([[50.0, 50], [20, 20], [50, 60], [90, 7]]),
        np.array([100.0, 90, 60, 50]),
        np.array([120.0, 90, 80, 50]),
    )
    found = {(h.kind, h.ends, h.beginnings): h.gain for h in hypotheses(tracklets, 10, (100, 100), 20, 4, 15, 2, 15)}
    true = [np.log(1 - 0.3**length) for length in (4, 6, 2, 3)]
    expected = {
        ("initiation", (), (0,)): 0.5 * true[0],  # in the first frame
        ("initiation", (), (1,)): np.log(np.exp(-4 / 2)) + 0.5 * true[1],
        ("termination", (2,), ()): np.log(np.exp(-4 / 2)) + 0.5 * true[2],
        ("termination", (3,), ()): 0.5 * true[3],
        ("false positive", (2,), (2,)): 2 * np.log(0.3),
        ("translation", (0,), (1,)): -8 / 15 + np.log(90 / 120) + 0.5 * (true[0] + true[1]),
        ("translation", (2,), (3,)): -10 / 15 + np.log(50 / 80) + 0.5 * (true[2] + true[3]),
        ("translation", (0,), (3,)): -np.hypot(8, 4) / 15 + np.log(50 / 120) + 0.5 * (true[0] + true[3]),
        ("division", (0,), (1, 2)): np.log(0.05 * 60 / 90) - (8 + 10) / 30 + 0.5 * (true[0] + true[1] + true[2]),
    }
    for key, gain in expected.items():
        assert np.isclose(found[key], gain), key
    joined = [key for key in found if key[0] in ("translation", "division")]
    assert sorted(joined) == sorted(
        [("translation", (0,), (j,)) for j in (1, 2, 3)] + [("translation", (2,), (3,)), ("division", (0,), (1, 2))]
    )


def test_hypotheses_refuse_what_is_no_likelihood() -> None:
    with pytest.raises(ValueError, match="false_share: expected a likelihood"):
        hypotheses(random_tracklets(0, 2), 8, (60, 60), false_share=1.0)
    with pytest.raises(ValueError, match="time_scale: expected a positive"):
        hypotheses(random_tracklets(0, 2), 8, (60, 60), time_scale=0)
    assert hypotheses(random_tracklets(0, 0), 8, (60, 60)) == []
    assert best_explanation([], 0) == []


def test_doubtful_links_are_left_to_the_programme() -> None:
    frame = np.array([0, 0, 1, 1, 1, 2])
    xy = np.array([[10.0, 10], [50, 10], [11, 10], [52, 10], [46, 10], [11, 11]])
    detections = Detections(frame, xy, np.full(6, 100.0))
    assert sure_links(detections, 15).tolist() == [2, -1, 5, -1, -1, -1]
    assert sure_links(detections, 3).tolist() == [2, 3, 5, -1, -1, -1]
    tracklets, members = tracklets_of(detections, sure_links(detections, 15))
    assert members == [[0, 2, 5], [1], [3], [4]]
    assert tracklets.last_frame.tolist() == [2, 0, 1, 1]


def test_explained_tracks_fill_gaps_divide_and_leave_out_what_is_false() -> None:
    frame = np.array([0, 1, 1, 1, 4, 5, 5])
    xy = np.array([[10.0, 10], [10, 10], [40, 40], [99, 99], [16, 13], [12, 13], [20, 13]])
    detections = Detections(frame, xy, np.full(7, 100.0))
    members = [[0, 1], [2], [3], [4], [5], [6]]
    accepted = [
        Hypothesis("translation", (0,), (3,), 0.0),
        Hypothesis("division", (3,), (4, 5), 0.0),
        Hypothesis("false positive", (2,), (2,), 0.0),
    ]
    tracks = explained_tracks(detections, members, accepted, 6, 15.0)
    first = tracks[tracks["id"] == 1]
    assert first[["frame", "x", "y"]].to_numpy().tolist() == [
        [0, 10, 10], [1, 10, 10], [2, 12, 11], [3, 14, 12], [4, 16, 13],
    ]  # fmt: skip
    assert np.allclose(first["score"][1:], [1, *[np.exp(-np.hypot(6, 3) / 15)] * 3])
    daughters = tracks[tracks["frame"] == 5]
    assert daughters["parent"].tolist() == [1, 1]
    assert not (tracks["x"] == 99).any()
    assert len(tracks) == 8
