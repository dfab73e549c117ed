"""Candidates, scores, the one-to-one association and its pseudo-labels, against loops and all permutations."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellweak_core.tracking.association import Links, Similarity, associate, candidates, gate_px
from cellweak_core.tracking.pseudo import joined, pseudo_labels
from cellweak_core.tracking.whole_image import similarity
from cellweak_core.training import random_source

Array = NDArray[np.float64]


def full(scores: Array) -> tuple[NDArray[np.int64], Array]:
    """Every pair a candidate: `scores` (m, n), frame t+1 by frame t."""
    return np.argwhere(np.ones_like(scores, bool)), scores.ravel()


def linked(scores: Array, **options: float) -> Links:
    return associate(*full(scores), scores.shape[1], scores.shape[0], **options)


def pairs_of(links: Links) -> set[tuple[int, int]]:
    return set(zip(links.to_index.tolist(), links.from_index.tolist(), strict=True))


# ---- gates and candidates


def test_gates_of_the_authors_intervals() -> None:
    assert [gate_px(i) for i in (1, 3, 5, 9, 13)] == [20, 30, 40, 60, 80]
    with pytest.raises(ValueError, match="interval: expected more than 0"):
        gate_px(0)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 1000))
def test_candidates_lie_within_the_gate(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole numbers, so that some lie exactly at the gate, which is outside.
    before, after = rng.integers(0, 12, (n, 2)).astype(float), rng.integers(0, 12, (m, 2)).astype(float)
    found = candidates(before, after, 5)
    expected = [(i, j) for i in range(m) for j in range(n) if ((after[i] - before[j]) ** 2).sum() < 25]
    assert [tuple(row) for row in found.tolist()] == expected
    assert found.shape == (len(expected), 2)
    assert found.dtype == np.int64


@pytest.mark.parametrize("gate", [0, -1.0, np.nan, np.inf])
def test_a_gate_is_a_positive_number(gate: float) -> None:
    with pytest.raises(ValueError, match="gate: expected a positive number"):
        candidates(np.zeros((1, 2)), np.zeros((1, 2)), gate)


# ---- similarity


def test_similarity_is_the_sum_over_the_disc() -> None:
    height, width = 40, 44
    likelihood, response = torch.rand(2, height, width, dtype=torch.float64, generator=random_source(0))
    peaks = np.array([[20.0, 20.0], [21.5, 18.25], [0.0, 0.0], [43.0, 39.0], [3.3, 38.9]])
    scores = Similarity(likelihood, peaks)(response, np.arange(5))
    for (px, py), score in zip(peaks, scores, strict=True):
        error = total = 0.0
        for y in range(height):
            for x in range(width):
                if (x - px) ** 2 + (y - py) ** 2 <= 12**2:
                    value = float(likelihood[y, x])
                    seen = float(response[y, x]) if value > 50 / 255 else 0.0
                    error += (value - seen) ** 2
                    total += value**2
        assert score == pytest.approx(1 - error / total, abs=1e-12)
        assert score == pytest.approx(similarity(likelihood, response, np.array([px, py])), abs=1e-12)


def test_similarity_takes_the_chosen_peaks_in_their_order() -> None:
    maps = torch.rand(2, 30, 30, dtype=torch.float64, generator=random_source(1))
    score = Similarity(maps[0], np.array([[5.0, 5.0], [20.0, 9.0], [14.0, 25.0]]))
    every = score(maps[1], np.arange(3))
    np.testing.assert_array_equal(score(maps[1], np.array([2, 0])), every[[2, 0]])
    assert score(maps[1], np.zeros(0, np.int64)).shape == (0,)


def test_similarity_of_the_same_map_is_1_of_nothing_0() -> None:
    likelihood = torch.full((30, 30), 0.6)
    peaks = np.array([[15.0, 15.0]])
    score = Similarity(likelihood, peaks)
    assert score(likelihood, np.array([0]))[0] == pytest.approx(1)
    assert score(torch.zeros(30, 30), np.array([0]))[0] == pytest.approx(0)
    assert score(torch.ones(30, 30), np.array([0]))[0] == pytest.approx(1 - (0.4 / 0.6) ** 2)


def test_similarity_where_the_map_is_empty_is_0() -> None:
    peaks = np.array([[5.0, 5.0]])
    assert Similarity(torch.zeros(20, 20), peaks)(torch.ones(20, 20), np.array([0]))[0] == 0
    assert similarity(torch.zeros(20, 20), torch.ones(20, 20), peaks[0]) == 0
    assert Similarity(torch.zeros(20, 20), np.zeros((0, 2)))(torch.ones(20, 20), np.zeros(0, np.int64)).shape == (0,)


# ---- association


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10_000))
def test_the_largest_sum_of_all_permutations(m: int, n: int, seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(-0.6, 1, (m, n))
    best = 0.0
    for columns in permutations(range(m + n), m):  # columns beyond n: no partner
        best = max(best, sum(scores[i, j] for i, j in enumerate(columns) if j < n))
    links = linked(scores)
    assert links.score.sum() == pytest.approx(best, abs=1e-5)
    assert (links.score > 0).all()
    assert len(set(links.to_index.tolist())) == len(set(links.from_index.tolist())) == len(links.score)
    np.testing.assert_allclose(links.score, scores[links.to_index, links.from_index], atol=1e-6)


def test_states_of_a_hand_drawn_case() -> None:
    #            t:  0     1     2     3
    scores = np.array(
        [
            [0.90, 0.80, 0.00, 0.00],  # both want 0: the sum gives it to the next, .80 + .95 > .90 + .70
            [0.95, 0.70, 0.00, 0.00],
            [0.00, 0.00, 0.40, 0.00],  # below th_conf
            [0.00, 0.00, 0.00, -0.2],  # worse than nothing
        ]
    )
    links = linked(scores)
    assert pairs_of(links) == {(0, 1), (1, 0), (2, 2)}
    assert links.state.tolist() == [1, 1, 2]
    assert links.state_t.tolist() == [1, 1, 2, 0]
    assert links.state_t1.tolist() == [1, 1, 2, 0]
    assert linked(scores, confidence=0.3).state.tolist() == [1, 1, 1]
    assert linked(np.array([[0.5]])).state.tolist() == [2]  # above th_conf, not at it


def test_only_candidates_are_linked() -> None:
    links = associate(np.array([[0, 1], [1, 1]]), np.array([0.6, 0.7]), 3, 2)
    assert pairs_of(links) == {(1, 1)}
    assert links.state_t.tolist() == [0, 1, 0]
    assert links.state_t1.tolist() == [0, 1]


@given(st.integers(0, 10_000))
def test_the_order_of_cells_and_candidates_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-0.2, 1, (5, 4))
    rows, columns, order = rng.permutation(5), rng.permutation(4), rng.permutation(20)
    found, values = full(scores[rows][:, columns])
    links = associate(found[order], values[order], 4, 5)
    expected = {
        (int(np.flatnonzero(rows == i)[0]), int(np.flatnonzero(columns == j)[0])) for i, j in pairs_of(linked(scores))
    }
    assert pairs_of(links) == expected


@given(st.integers(0, 10_000))
def test_rounding_breaks_no_tie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, (4, 4)) / 2
    assert pairs_of(linked(scores)) == pairs_of(linked(scores + rng.uniform(-1e-9, 1e-9, scores.shape)))


@pytest.mark.parametrize(("n_t", "n_t1"), [(0, 0), (3, 0), (0, 3), (2, 2)])
def test_no_candidates_no_links(n_t: int, n_t1: int) -> None:
    links = associate(np.zeros((0, 2), np.int64), np.zeros(0), n_t, n_t1)
    assert len(links.score) == 0
    assert links.state_t.tolist() == [0] * n_t
    assert links.state_t1.tolist() == [0] * n_t1
    assert len(links.table(0, 1)) == 0
    assert links.table(0, 1)["frame_from"].dtype == np.int64


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="scores: expected 1, one for each candidate, got 2"):
        associate(np.array([[0, 0]]), np.zeros(2), 1, 1)
    with pytest.raises(ValueError, match="scores: expected finite numbers, found 1"):
        associate(np.array([[0, 0]]), np.array([np.nan]), 1, 1)


def test_nothing_is_changed() -> None:
    found, scores = full(np.array([[0.4, -0.2], [0.1, 0.9]]))
    before = found.copy(), scores.copy()
    associate(found, scores, 2, 2)
    np.testing.assert_array_equal(found, before[0])
    np.testing.assert_array_equal(scores, before[1])


def test_table_of_links() -> None:
    links = linked(np.array([[0.9, 0.0], [0.0, 0.3]]))
    table = links.table(7, 12)
    assert table.columns.tolist() == ["frame_from", "frame_to", "from_index", "to_index", "score", "state"]
    assert table.values.tolist() == [[7, 12, 0, 0, 0.9, 1]]
    assert links.table(7, 12, sure_only=False)["state"].tolist() == [1, 2]


# ---- pseudo-labels


def test_each_cell_of_the_later_frame_is_taught_or_ignored() -> None:
    before = np.array([[10.0, 1.0], [20.0, 2.0], [30.0, 3.0]])
    after = np.array([[11.0, 1.5], [21.0, 2.5], [99.0, 9.0], [31.0, 3.5]])
    scores = np.zeros((4, 3))
    scores[0, 0], scores[1, 1], scores[3, 2] = 0.9, 0.4, 0.8  # sure, unsure, sure; cell 2 has no partner
    labels = pseudo_labels(linked(scores), before, after, frame=4, interval=5)
    assert labels.pairs.tolist() == [[4, 5, 10, 1, 11, 1.5], [4, 5, 30, 3, 31, 3.5]]
    # Discs of Gamma lie where the map's peaks are: at the later frame.
    assert labels.ignored.tolist() == [[4, 5, 21, 2.5], [4, 5, 99, 9]]


def test_pseudo_labels_of_empty_frames() -> None:
    none = np.zeros((0, 2))
    labels = pseudo_labels(associate(np.zeros((0, 2), np.int64), np.zeros(0), 0, 2), none, np.ones((2, 2)))
    assert labels.pairs.shape == (0, 6)
    assert labels.ignored.shape == (2, 4)
    nothing = pseudo_labels(associate(np.zeros((0, 2), np.int64), np.zeros(0), 0, 0), none, none)
    assert nothing.ignored.shape == (0, 4)


def test_pseudo_labels_of_several_pairs_are_joined() -> None:
    labels = [
        pseudo_labels(linked(np.array([[0.9, 0], [0, 0.2]])), np.eye(2), np.eye(2) * 2, frame, interval)
        for frame, interval in ((0, 1), (1, 1), (0, 5))
    ]
    both = joined(labels)
    assert both.pairs[:, :2].tolist() == both.ignored[:, :2].tolist() == [[0, 1], [1, 1], [0, 5]]
    assert joined([]).pairs.shape == (0, 6)
    assert joined([]).ignored.shape == (0, 4)


def test_pseudo_labels_of_other_cells_are_refused() -> None:
    with pytest.raises(ValueError, match="peaks_t1: expected the 1 cells that were linked, got 2"):
        pseudo_labels(linked(np.array([[0.9]])), np.zeros((1, 2)), np.zeros((2, 2)))
