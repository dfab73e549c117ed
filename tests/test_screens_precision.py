"""Mean average precision: orders laid by hand, the definition in numpy, and what random order gives."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core import screens
from cellweak_core.files import DataError
from cellweak_core.screens import recipes
from cellweak_core.screens.precision import mean_average_precision


def on_circle(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


def table(moa: str, compound: str = "") -> pd.DataFrame:
    return pd.DataFrame({"compound": list(compound or "abcdefghij"[: len(moa)]), "moa": list(moa)})


SIX, BY_HAND = on_circle(0, 11, 30, 21, 41, 53), [
    (1 + 2 / 3) / 2,  # from 0: 11 +, 21 -, 30 +, as in the drawing
    (1 / 2 + 2 / 3) / 2,  # from 11: 21 -, 0 +, 30 +
    (1 / 3 + 2 / 5) / 2,  # from 30: 21 -, 41 -, 11 +, 53 -, 0 +
    (1 / 3 + 2 / 5) / 2,  # from 21: 30 -, 11 -, 41 +, 0 -, 53 +
    (1 / 2 + 2 / 3) / 2,  # from 41: 30 -, 53 +, 21 +
    (1 + 2 / 3) / 2,  # from 53: 41 +, 30 -, 21 +
]  # fmt: skip


def test_orders_laid_by_hand() -> None:
    found = mean_average_precision(SIX, table("XXXYYY"), null_size=10)
    np.testing.assert_allclose(found["average_precision"], BY_HAND)
    assert found["groups"]["moa"].tolist() == ["X", "Y"]
    assert found["groups"]["n"].tolist() == [3, 3]
    np.testing.assert_allclose(found["groups"]["mean_average_precision"], [np.mean(BY_HAND[:3])] * 2)
    assert found["mean_average_precision"] == pytest.approx(np.mean(BY_HAND))
    assert (found["total"], found["n_groups"]) == (6, 2)


def test_the_p_value_and_the_chance_are_those_of_all_orders() -> None:
    found = mean_average_precision(SIX, table("XXXYYY"), null_size=40_000)
    # two positives among five, in each of the ten orders that there are
    orders = np.array([np.mean([(k + 1) / (at + 1) for k, at in enumerate(two)])
                       for two in itertools.combinations(range(5), 2)])  # fmt: skip
    group = np.mean(BY_HAND[:3])
    np.testing.assert_allclose(found["groups"]["p_value"], (orders > group).mean(), atol=0.01)
    normalized = np.mean([(one - orders.mean()) / (1 - orders.mean()) for one in BY_HAND])
    assert found["normalized"] == pytest.approx(normalized)
    assert found["significant"] == 0


def literal(features: np.ndarray, rows: pd.DataFrame, rules: dict[str, list[str]]) -> np.ndarray:
    records = rows.to_dict("records")

    def pair(what: str, q: int, k: int) -> bool:
        a, b = records[q], records[k]
        same = all(a[name] == b[name] for name in rules[f"{what}_sameby"])
        return q != k and same and all(a[name] != b[name] for name in rules[f"{what}_diffby"])

    out = np.full(len(records), np.nan)
    for q in range(len(records)):
        ranked = []
        for k in range(len(records)):
            if pair("pos", q, k) or pair("neg", q, k):
                norms = np.linalg.norm(features[q]) * np.linalg.norm(features[k])
                ranked.append((features[q] @ features[k] / norms, pair("pos", q, k)))
        ranked.sort(key=lambda one: -one[0])
        hits = [positive for _, positive in ranked]
        if any(hits) and not all(hits):
            out[q] = np.mean([sum(hits[: at + 1]) / (at + 1) for at, hit in enumerate(hits) if hit])
    return out


MECHANISMS = {"pos_sameby": ["moa"], "pos_diffby": ["compound"], "neg_sameby": [], "neg_diffby": ["moa"]}
OVER_WEEKS = {**MECHANISMS, "pos_diffby": ["compound", "week's name"], "neg_diffby": ["moa", "week's name"]}
WITHIN = {"pos_sameby": ["moa", "week's name"], "pos_diffby": [], "neg_sameby": ["week's name"], "neg_diffby": ["moa"]}


@given(st.integers(0, 10**6), st.sampled_from([MECHANISMS, OVER_WEEKS, WITHIN]))
def test_it_is_the_definition(seed: int, rules: dict[str, list[str]]) -> None:
    rng = np.random.default_rng(seed)
    compound = rng.integers(0, 8, 24)
    # names that are no text, and one that SQL would not take
    rows = pd.DataFrame({"moa": compound // 2, "compound": compound, "week's name": rng.choice(["W 1", "W 2"], 24)})
    features = rng.normal(size=(24, 5))
    expected = literal(features, rows, rules)
    found = mean_average_precision(features, rows, null_size=5, **rules)
    np.testing.assert_allclose(found["average_precision"], expected, rtol=1e-6)
    assert found["total"] == np.isfinite(expected).sum()
    means = rows.assign(ap=expected).dropna().groupby(rules["pos_sameby"])["ap"].mean()
    groups = found["groups"].set_index(rules["pos_sameby"])["mean_average_precision"]
    np.testing.assert_allclose(groups.reindex(means.index), means, rtol=1e-6)
    assert found["mean_average_precision"] == pytest.approx(means.mean())


def test_perfect_order_is_one_and_significant() -> None:
    features = np.repeat(np.eye(5), 4, 0) + np.random.default_rng(0).normal(0, 0.01, (20, 5))
    rows = pd.DataFrame({"moa": np.repeat(list("VWXYZ"), 4), "compound": np.arange(20)})
    found = mean_average_precision(features, rows, null_size=999)
    assert (found["mean_average_precision"], found["normalized"], found["significant"]) == (1, 1, 5)
    assert found["groups"]["p_value"].tolist() == [1 / 1000] * 5
    shuffled = mean_average_precision(np.random.default_rng(1).normal(size=(20, 5)), rows, null_size=999)
    assert shuffled["significant"] == 0
    assert abs(shuffled["normalized"]) < 0.15


def test_one_seed_gives_the_same_p_values_whatever_was_asked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    features = np.random.default_rng(0).normal(size=(8, 3))
    first = mean_average_precision(features, table("XXXYYYZZ"), null_size=50)["groups"]
    mean_average_precision(features[:6], table("XXYYYY"), null_size=50)
    again = mean_average_precision(features, table("XXXYYYZZ"), null_size=50)["groups"]
    pd.testing.assert_frame_equal(first, again)
    assert not list(tmp_path.iterdir())  # nothing is left in the user's home


def test_profiles_without_a_positive_or_a_negative_are_not_asked() -> None:
    found = mean_average_precision(on_circle(0, 10, 30, 60), table("XXYZ"), null_size=10)
    assert np.isfinite(found["average_precision"]).tolist() == [True, True, False, False]
    assert found["groups"]["moa"].tolist() == ["X"]
    rows = table("XXXY").assign(week=list("1122"))
    found = mean_average_precision(on_circle(0, 10, 30, 60), rows, neg_sameby=["week"], null_size=10)
    # the two of week 1 have no negative there: their lists are positives only
    assert np.isfinite(found["average_precision"]).tolist() == [False, False, True, False]
    with pytest.raises(DataError, match="no profile has both a positive and a negative"):
        mean_average_precision(on_circle(0, 10, 30, 60), table("XXYZ").assign(w=list("1122")), neg_sameby=["w"])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (
            {"metadata": table("UVWXYZ")},
            DataError,
            "no two of 6 profiles share moa and differ in compound; it takes rep",
        ),
        ({"metadata": table("XXXXXX")}, DataError, "no two of 6 profiles differ in moa; it takes a second mechanism"),
        ({"metadata": table("XXXYYY", "aaabbb")}, DataError, "share moa and differ in compound"),
        ({"metadata": table("XXXYYY").drop(columns="moa")}, DataError, "column 'moa' is missing"),
        ({"metadata": table("XXXYYY").assign(moa=None)}, DataError, "column 'moa' is empty in row 0"),
        ({"features": np.zeros((6, 2))}, DataError, "row 0 is all zero"),
        ({"features": np.zeros((5, 2))}, ValueError, r"expected numbers \(6, n_features\)"),
        ({"pos_diffby": ["moa"]}, ValueError, "pos_sameby and pos_diffby: moa cannot be alike and different"),
        ({"pos_sameby": "moa"}, ValueError, "expected lists of columns"),
        ({"neg_diffby": []}, ValueError, "a column or more in pos_sameby and neg_diffby"),
        ({"null_size": 0}, ValueError, "null_size: expected 1 or more, got 0"),
    ],
)
def test_what_has_no_precision_is_refused(change: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        mean_average_precision(**{"features": SIX, "metadata": table("XXXYYY"), "null_size": 10, **change})


def test_the_real_mechanisms_are_found(real_data: Path) -> None:
    profiles = screens.load_profiles(real_data / "screens" / "bbbc021_profiles")
    values, rows = recipes.treatments(profiles, recipes.Recipe())
    found = mean_average_precision(values, rows, null_size=1000)
    assert (found["total"], found["n_groups"], found["significant"]) == (103, 12, 12)
    assert found["mean_average_precision"] == pytest.approx(0.7862, abs=5e-4)
    other = ("compound", "batch")
    weeks = mean_average_precision(values, rows, pos_diffby=other, neg_diffby=("moa", "batch"), null_size=1000)
    assert (weeks["total"], weeks["n_groups"]) == (92, 10)
    assert weeks["mean_average_precision"] == pytest.approx(0.7125, abs=5e-4)
