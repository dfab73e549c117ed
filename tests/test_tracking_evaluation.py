"""Pooling, counting and difficulty, on hand-drawn films."""

import numpy as np
import pandas as pd
import pytest

from cellweak_core.tracking import tracking_scores
from cellweak_core.tracking.evaluation import Film, counted, lineage_of, link_difficulty, pooled
from cellweak_core.tracking.intervals import bootstrap_scores


def cells(rows: list[tuple[int, int, float, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["frame", "id", "x", "y", "parent"])


# A (1) and B (2) in frames 0-3; C (3) in 0-1 divides into D (4) and E (5) in 2-3, as in the chapter's known answers.
TRUTH = cells(
    [(t, 1, 10, 10 + t, -1) for t in range(4)]
    + [(t, 2, 60, 10 + t, -1) for t in range(4)]
    + [(t, 3, 110, 10 + t, -1) for t in (0, 1)]
    + [(t, 4, 105, 10 + t, 3) for t in (2, 3)]
    + [(t, 5, 115, 10 + t, 3) for t in (2, 3)]
)


def test_one_film_scores_as_itself() -> None:
    truth, tracks, _ = pooled([Film(TRUTH, TRUTH, range(4), "a")])
    scores = tracking_scores(truth, tracks)
    assert (scores["n_links_found"], scores["n_links"]) == (11, 11)


def test_two_films_add_their_counts_and_no_link_joins_them() -> None:
    swapped = TRUTH.copy()
    late = swapped["frame"] >= 2
    swapped.loc[late, "id"] = swapped.loc[late, "id"].replace({1: 2, 2: 1})
    truth, tracks, _ = pooled([Film(TRUTH, TRUTH, range(4), "a"), Film(TRUTH, swapped, range(4), "a")])
    scores = tracking_scores(truth, tracks)
    assert (scores["n_links_found"], scores["n_links"]) == (20, 22)  # 11/11 and 9/11
    assert scores["te_micro"] == pytest.approx((14 + 10) / 28)


def test_every_second_frame_is_a_film_of_neighbours() -> None:
    films = [Film(TRUTH, TRUTH[TRUTH["frame"].isin(frames)], frames, "a") for frames in ((0, 2), (1, 3))]
    scores = tracking_scores(*pooled(films)[:2])
    # in each: A, B and the two daughters
    assert (scores["n_links"], scores["n_links_found"]) == (8, 8)
    assert scores["n_parent_links"] == 4


def test_a_mother_outside_the_film_is_no_parent() -> None:
    truth, _, _ = pooled([Film(TRUTH, TRUTH[TRUTH["frame"] >= 2], (2, 3), "a")])
    assert set(truth["parent"]) == {-1}


def test_lineages_keep_one_name_in_all_films() -> None:
    _, _, groups = pooled([Film(TRUTH, TRUTH, range(4), "a"), Film(TRUTH, TRUTH, (0, 2), "a")])
    assert sorted(set(groups.values())) == ["a: 1", "a: 2", "a: 3"]
    assert lineage_of(TRUTH) == {1: 1, 2: 2, 3: 3, 4: 3, 5: 3}


def test_intervals_of_copies_are_as_wide_as_of_one() -> None:
    lost = TRUTH[TRUTH["id"] != 2]
    one = pooled([Film(TRUTH, lost, range(4), "a")])
    many = pooled([Film(TRUTH, lost, range(4), "a")] * 5)
    wide, same = (
        bootstrap_scores(truth, tracks, 400, 0, groups=groups).set_index("metric").loc["aa"]
        for truth, tracks, groups in (one, many)
    )
    assert wide["n_groups"] == same["n_groups"] == 3
    assert (wide["low"], wide["high"]) == pytest.approx((same["low"], same["high"]))
    assert wide["low"] < wide["value"] < wide["high"]


def test_counts_become_shares_with_intervals() -> None:
    one = counted(np.array([[8, 2, 0], [6, 0, 4]], float), ["t0", "t1"], 200, 0)
    assert one["precision"] == pytest.approx(14 / 16)
    assert one["recall"] == pytest.approx(14 / 18)
    assert one["f1"] == pytest.approx(28 / 34)
    assert one["n"] == 18
    assert one["recall_low"] == pytest.approx(0.6)
    assert one["recall_high"] == pytest.approx(1.0)


def test_difficulty_is_displacement_over_the_nearest_neighbour() -> None:
    truth = cells([(0, 1, 0, 0, -1), (0, 2, 10, 0, -1), (1, 1, 5, 0, -1), (1, 2, 10, 2, -1)])
    difficulty, divided, recovered = link_difficulty(truth, truth)
    assert difficulty.tolist() == pytest.approx([0.5, 0.2])
    assert not divided.any()
    assert recovered.all()


def test_difficulty_marks_divisions_and_what_was_lost() -> None:
    followed = TRUTH.assign(id=TRUTH["id"].replace({4: 3}), parent=-1)  # D goes on as C, E comes from nowhere
    _, divided, recovered = link_difficulty(TRUTH, followed)
    assert divided.sum() == 2
    assert recovered[divided].sum() == 1
    assert recovered[~divided].all()
