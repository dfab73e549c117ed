"""Matching of treatments: hand-laid neighbours, a literal second implementation, invariances, refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core.files import DataError
from cellweak_core.screens import match_treatments, matching
from cellweak_core.screens.checks import codes, directions


def table(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["compound", "moa", "batch"])


def on_circle(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


# a and b share a mechanism, c and d another; e is alone in its
FIVE = table([("a", "X", "1"), ("b", "X", "2"), ("c", "Y", "1"), ("d", "Y", "1"), ("e", "Z", "2")])


def test_a_compound_is_not_its_own_neighbour() -> None:
    rows = table([("a", "X", "1"), ("a", "X", "1"), ("b", "X", "1"), ("c", "Y", "1"), ("d", "Y", "1")])
    found = match_treatments(on_circle(0, 1, 20, 5, 90), rows)
    # The two concentrations of a lie nearest to each other, which does not count: next is c of another mechanism.
    assert found["neighbour"].tolist() == [3, 3, 3, 1, 2]
    assert found["predicted"].tolist() == ["Y", "Y", "Y", "X", "X"]
    assert (found["correct"], found["total"]) == (0, 5)


def test_a_mechanism_of_one_compound_is_not_asked() -> None:
    found = match_treatments(on_circle(0, 10, 100, 110, 4), FIVE)
    assert found["predicted"].tolist() == ["X", "X", "Y", "Y", None]
    assert found["neighbour"].tolist() == [1, 0, 3, 2, -1]
    assert (found["correct"], found["total"], found["accuracy"]) == (4, 4, 1.0)
    kept = match_treatments(on_circle(0, 10, 100, 110, 4), FIVE, unmatched="keep")
    assert kept["predicted"].tolist() == ["Z", "Z", "Y", "Y", None]  # e lies between a and b
    assert (kept["correct"], kept["total"]) == (2, 4)


def test_the_batch_excludes_neighbours_and_leaves_fewer_to_ask() -> None:
    found = match_treatments(on_circle(0, 10, 100, 110, 4), FIVE, exclude="compound+batch")
    # c and d lie in one batch and have no partner elsewhere, e has none at all: a and b are left.
    assert (found["correct"], found["total"]) == (2, 2)
    assert found["neighbour"].tolist() == [1, 0, -1, -1, -1]


def test_batches_of_several_differ_as_texts_do() -> None:
    rows = table([("a", "X", "Week1,Week2"), ("b", "X", "Week1")])
    assert match_treatments(on_circle(0, 5), rows, exclude="compound+batch")["correct"] == 2


def test_the_mean_over_compounds_weighs_compounds_alike() -> None:
    rows = table([("a", "X", "1")] * 3 + [("b", "X", "1"), ("c", "Y", "1"), ("d", "Y", "1")])
    found = match_treatments(on_circle(0, 1, 2, 40, 50, 95), rows)
    # a: b is nearest, three of three; b: c is nearer; c: b is nearer; d: c
    assert found["correct"] / found["total"] == 4 / 6
    assert found["accuracy_over_compounds"] == pytest.approx((1 + 0 + 0 + 1) / 4)


def literal(features: np.ndarray, rows: pd.DataFrame, exclude: str, unmatched: str) -> tuple[int, int]:
    records = rows.to_dict("records")

    def allowed(q: int, k: int) -> bool:
        a, b = records[q], records[k]
        return a["compound"] != b["compound"] and (exclude == "compound" or a["batch"] != b["batch"])

    n = range(len(records))
    asked = [q for q in n if any(allowed(q, k) and records[k]["moa"] == records[q]["moa"] for k in n)]
    pool = asked if unmatched == "drop" else list(n)
    correct = 0
    for q in asked:
        best, at = -np.inf, -1
        for k in pool:
            cosine = features[q] @ features[k] / np.sqrt((features[q] @ features[q]) * (features[k] @ features[k]))
            if allowed(q, k) and cosine > best:
                best, at = cosine, k
        correct += records[at]["moa"] == records[q]["moa"]
    return correct, len(asked)


@pytest.mark.parametrize("exclude", matching.EXCLUDE)
@pytest.mark.parametrize("unmatched", matching.UNMATCHED)
@given(seed=st.integers(0, 10_000))
def test_it_is_the_literal_loop_in_any_block(exclude: str, unmatched: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    compound = rng.integers(0, 8, n)
    rows = pd.DataFrame({
        "compound": compound.astype(str), "moa": (compound % 3).astype(str), "batch": rng.integers(0, 3, n).astype(str)
    })  # fmt: skip
    features = rng.normal(size=(n, 4))
    found = match_treatments(features, rows, exclude, unmatched)
    assert (found["correct"], found["total"]) == literal(features, rows, exclude, unmatched)
    moa = rows["moa"].to_numpy(object)
    asked = found["neighbour"] >= 0
    assert found["right"].dtype == np.int8
    assert found["right"].tolist() == np.where(asked, moa[found["neighbour"]] == moa, -1).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "BLOCK_BYTES", 1)  # one query at a time
        again = match_treatments(3.5 * features, rows, exclude, unmatched)
    np.testing.assert_array_equal(again["neighbour"], found["neighbour"])
    order = rng.permutation(n)
    permuted = match_treatments(features[order], rows.iloc[order], exclude, unmatched)
    assert (permuted["correct"], permuted["total"]) == (found["correct"], found["total"])


def test_nothing_to_ask_is_no_number() -> None:
    found = match_treatments(on_circle(0, 5), table([("a", "X", "1"), ("b", "Y", "1")]))
    assert found["total"] == found["correct"] == 0
    assert np.isnan(found["accuracy"])
    assert np.isnan(found["accuracy_over_compounds"])
    assert match_treatments(np.zeros((0, 3)), FIVE.iloc[:0])["total"] == 0


def test_inputs_stay_as_they_are() -> None:
    features, rows = on_circle(0, 10, 100, 110, 4), FIVE.copy()
    match_treatments(features, rows, exclude="compound+batch")
    np.testing.assert_array_equal(features, on_circle(0, 10, 100, 110, 4))
    pd.testing.assert_frame_equal(rows, FIVE)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"exclude": "batch"}, ValueError, "exclude: expected one of compound, compound"),
        ({"unmatched": "no"}, ValueError, "unmatched: expected one of drop, keep"),
        ({"features": on_circle(0, 1)}, ValueError, r"expected numbers \(5, n_features\), got float64"),
        ({"features": np.full((5, 2), "a")}, ValueError, "expected numbers"),
        ({"metadata": FIVE.drop(columns="moa")}, DataError, "column 'moa' is missing; found compound, batch"),
        ({"metadata": FIVE.assign(moa=["X", None, "Y", "Y", "Z"])}, DataError, "column 'moa' is empty in row 1"),
        ({"features": np.where(np.eye(5, 2) > 0, np.nan, 1.0)}, DataError, r"2 values are not numbers, .* row 0, fe"),
        ({"features": np.eye(5, 2)}, DataError, "row 2 is all zero"),
    ],
)
def test_what_cannot_be_matched_is_refused(change: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        match_treatments(**{"features": on_circle(0, 10, 100, 110, 4), "metadata": FIVE, **change})


def test_far_from_zero_the_number_of_rows_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    for n in (600, 4200):
        compound = rng.integers(0, 40, n)
        rows = pd.DataFrame({"compound": compound.astype(str), "moa": (compound % 4).astype(str)})
        features = 1e4 + 8 * np.eye(4)[compound % 4] + rng.normal(0, 0.1, (n, 4))
        assert match_treatments(features, rows)["accuracy"] > 0.99


@given(seed=st.integers(0, 10_000), n_apart=st.integers(1, 3), k=st.integers(1, 9))
def test_partners_and_nearest_are_the_literal_ones(seed: int, n_apart: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 20))
    truth, apart = rng.integers(-1, 3, n), [np.arange(n), *rng.integers(0, 3, (n_apart - 1, n))]
    shared = [rng.integers(0, 4, n), *apart[1:]]
    expected = [
        any(truth[a] == truth[b] and all(key[a] != key[b] for key in shared) for b in range(n)) for a in range(n)
    ]  # fmt: skip
    assert matching.has_partner(truth, *shared).tolist() == expected
    unit = directions(rng.integers(-2, 3, (n, 2)) + 0.5, n)  # with many equal cosines
    queries, candidates = (np.flatnonzero(rng.random(n) < 0.7) for _ in range(2))
    rows, cosines = matching.nearest(unit, queries, candidates, *apart, k=k)
    assert rows.shape == cosines.shape == (len(queries), k)
    for q, found, values in zip(queries, rows, cosines, strict=True):
        allowed = [c for c in candidates if all(key[c] != key[q] for key in apart)]
        best = sorted((-round(float(unit[q] @ unit[c]), 12), c) for c in allowed)[:k]
        np.testing.assert_allclose(values, [-one for one, _ in best] + [-np.inf] * (k - len(best)), atol=1e-9)
        assert (found >= 0).tolist() == [True] * len(best) + [False] * (k - len(best))
        assert set(found[found >= 0].tolist()) <= set(map(int, allowed))
        assert len(set(found[found >= 0].tolist())) == len(best)


def test_rows_that_are_not_needed_may_be_empty_or_zero() -> None:
    rows = pd.DataFrame({"gene": ["b", None, "a", "b"]})
    needed = np.array([True, False, True, True])
    assert codes(rows, "gene", needed).tolist() == [0, -1, 1, 0]
    with pytest.raises(DataError, match="column 'gene' is empty in row 1"):
        codes(rows, "gene")
    found = directions([[3, 4], [0, 0], [0, 2], [1, 0]], 4, needed)
    np.testing.assert_array_equal(found, [[0.6, 0.8], [0, 0], [0, 1], [1, 0]])
    for lacking in (None, ~needed):
        with pytest.raises(DataError, match="row 1 is all zero"):
            directions([[3, 4], [0, 0], [0, 2], [1, 0]], 4, lacking)
