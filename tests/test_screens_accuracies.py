"""Replicate and gene accuracy: hand-laid wells, a literal second implementation, and the real constructs' counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellweak_core import screens
from cellweak_core.files import DataError
from cellweak_core.screens.accuracies import accuracy_interval, gene_accuracy, replicate_accuracy
from cellweak_core.screens.constructs import STEPS, construct_features, load_constructs


def on_circle(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


def wells(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["compound", "gene", "plate"])


# a and b are constructs of gene X, c and d of Y, e is Z's only one and has no replicate
NINE = wells(
    ("a", "X", "1"), ("a", "X", "2"), ("b", "X", "1"), ("b", "X", "2"),
    ("c", "Y", "1"), ("c", "Y", "2"), ("d", "Y", "1"), ("d", "Y", "2"), ("e", "Z", "1"),
)  # fmt: skip
AT = on_circle(0, 1, 20, 23, 90, 92, 110, 140, 130)


def test_a_replicate_lies_on_another_plate() -> None:
    found = replicate_accuracy(AT, NINE)
    # d on plate 1 is nearer to c, and on plate 2 to e; e, which has no replicate, is asked and wrong
    assert found["predicted"].tolist() == ["a", "a", "b", "b", "c", "c", "c", "e", "d"]
    assert found["neighbour"].tolist() == [1, 0, 3, 2, 5, 4, 5, 8, 7]
    assert found["right"].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0]
    assert (found["correct"], found["total"], found["accuracy"]) == (6, 9, 6 / 9)


def test_wells_without_a_replicate_may_be_left_unasked_or_out() -> None:
    kept = replicate_accuracy(AT, NINE, "keep")
    assert (kept["correct"], kept["total"], kept["predicted"][8]) == (6, 8, None)
    dropped = replicate_accuracy(AT, NINE, "drop")  # without e, d on plate 2 finds its own
    assert (dropped["correct"], dropped["total"], dropped["neighbour"].tolist()[-2:]) == (7, 8, [6, -1])


def test_the_nearest_construct_has_the_same_gene() -> None:
    found = gene_accuracy(AT, NINE)
    assert found["constructs"]["compound"].tolist() == ["a", "b", "c", "d", "e"]
    assert found["constructs"]["n"].tolist() == [2, 2, 2, 2, 1]
    assert found["predicted"].tolist() == ["X", "X", "Y", "Z", None]  # e, at 130, lies nearest to d, at 125
    assert found["right"].tolist() == [1, 1, 1, 0, -1]
    assert (found["correct"], found["total"]) == (3, 4)
    assert (gene_accuracy(AT, NINE, "drop")["correct"], gene_accuracy(AT, NINE, "drop")["total"]) == (4, 4)
    assert (gene_accuracy(AT, NINE, "ask")["correct"], gene_accuracy(AT, NINE, "ask")["total"]) == (3, 5)


def test_controls_are_neither_asked_nor_neighbours() -> None:
    control = wells(*[("DMSO", "none", plate) for plate in "12" for _ in range(3)]).assign(control=True)
    table = pd.concat([NINE.assign(control=False), control], ignore_index=True)
    features = np.concatenate([AT, on_circle(0, 20, 90, 0, 20, 110)])
    with_controls, without = replicate_accuracy(features, table), replicate_accuracy(AT, NINE)
    assert with_controls["predicted"].tolist() == without["predicted"].tolist() + [None] * 6
    assert (with_controls["correct"], with_controls["total"]) == (without["correct"], without["total"])
    assert gene_accuracy(features, table)["predicted"].tolist() == gene_accuracy(AT, NINE)["predicted"].tolist()
    with pytest.raises(DataError, match="all wells are controls"):
        gene_accuracy(features[9:], control)


def test_controls_need_neither_a_gene_nor_a_direction() -> None:
    control = wells(*[("DMSO", "", plate) for plate in "12"]).assign(control=True, gene=None)
    table = pd.concat([control, NINE.assign(control=False)], ignore_index=True)
    features = np.concatenate([np.zeros((2, 2)), AT])
    replicates, genes = replicate_accuracy(features, table), gene_accuracy(features, table)
    expected = replicate_accuracy(AT, NINE)
    assert replicates["predicted"].tolist() == [None] * 2 + expected["predicted"].tolist()
    assert replicates["right"].tolist() == [-1] * 2 + expected["right"].tolist()
    assert genes["predicted"].tolist() == gene_accuracy(AT, NINE)["predicted"].tolist()
    for accuracy in (replicate_accuracy, gene_accuracy):
        with pytest.raises(DataError, match=r"row \d is all zero"):
            accuracy(np.where(np.arange(11)[:, None] < 4, 0, features), table)
        for n in (10, 12):
            with pytest.raises(ValueError, match=r"expected numbers \(11, n_features\), got float64 of shape"):
                accuracy(np.resize(features, (n, 2)), table)


def literal(features: np.ndarray, table: pd.DataFrame, truth: str, apart: str, unmatched: str) -> tuple[int, int]:
    records, n = table.to_dict("records"), len(table)

    def matched(q: int) -> bool:
        mine = records[q]
        return any(other[truth] == mine[truth] and other[apart] != mine[apart] for other in records)

    correct = total = 0
    for q in range(n):
        if unmatched != "ask" and not matched(q):
            continue
        best, at = -2.0, -1
        for k in range(n):
            if records[k][apart] == records[q][apart] or (unmatched == "drop" and not matched(k)):
                continue
            cosine = features[q] @ features[k] / np.sqrt((features[q] @ features[q]) * (features[k] @ features[k]))
            if cosine > best:
                best, at = cosine, k
        if at >= 0:
            total += 1
            correct += records[at][truth] == records[q][truth]
    return correct, total


@given(st.integers(0, 10**6), st.sampled_from(["ask", "keep", "drop"]))
def test_it_is_the_definition(seed: int, unmatched: str) -> None:
    rng = np.random.default_rng(seed)
    construct = rng.integers(0, 6, 24)
    table = wells(*[(f"c{c}", f"g{c // 2}", f"p{rng.integers(0, 3)}") for c in construct])
    features = rng.normal(size=(24, 4)) + 2 * np.random.default_rng(seed + 1).normal(size=(6, 4))[construct]
    found = replicate_accuracy(features, table, unmatched)
    assert (found["correct"], found["total"]) == literal(features, table, "compound", "plate", unmatched)
    values, constructs = screens.aggregate(features, table, ("compound",))
    found = gene_accuracy(features, table, unmatched)
    assert (found["correct"], found["total"]) == literal(values, constructs, "gene", "compound", unmatched)
    order = rng.permutation(24)
    again = gene_accuracy(features[order], table.iloc[order], unmatched)
    assert (again["correct"], again["total"]) == (found["correct"], found["total"])


def test_nothing_to_ask_is_no_number() -> None:
    alone = wells(("a", "X", "1"), ("b", "Y", "2"))
    for found in (replicate_accuracy(on_circle(0, 9), alone, "keep"), gene_accuracy(on_circle(0, 9), alone)):
        assert found["total"] == 0
        assert np.isnan(found["accuracy"])
    assert gene_accuracy(on_circle(0), alone[:1], "ask")["total"] == 0


@pytest.mark.parametrize(
    ("table", "unmatched", "error", "said"),
    [
        (NINE, "no", ValueError, "unmatched: expected one of drop, keep, ask, got 'no'"),
        (NINE[:8], "ask", ValueError, r"expected numbers \(8, n_features\)"),
        (NINE.drop(columns="compound"), "ask", DataError, "column 'compound' is missing"),
        (NINE.assign(plate="1"), "ask", DataError, "1 plates with treated wells, expected two"),
    ],
)
def test_wells_that_cannot_be_asked_are_refused(table: pd.DataFrame, unmatched: str, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        replicate_accuracy(AT, table, unmatched)


def test_a_construct_has_one_gene() -> None:
    with pytest.raises(DataError, match=r"b: several genes, X, Y \(column gene\); a construct has one"):
        gene_accuracy(AT, NINE.assign(gene=[*"XXXYYYYYZ"]))
    with pytest.raises(DataError, match="column 'gene' is empty in row 3"):
        gene_accuracy(AT, NINE.assign(gene=[*"XXX", None, *"YYYYZ"]))
    with pytest.raises(DataError, match="column 'gene' is missing"):
        gene_accuracy(AT, NINE.drop(columns="gene"))


def test_an_interval_is_over_whole_groups() -> None:
    groups = np.repeat([f"c{k}" for k in range(10)], 5)
    truth = np.array(["m"] * 50, object)
    predicted = np.where(np.repeat(np.arange(10) < 5, 5), "m", "other").astype(object)
    low, high = accuracy_interval(predicted, truth, groups)
    alone = accuracy_interval(predicted, truth, np.arange(50))
    # five of ten groups right: a binomial of 10, not of 50
    assert (low, high) == (0.2, 0.8)
    assert low < alone[0] < 0.5 < alone[1] < high
    assert accuracy_interval(predicted, truth, groups, seed=1) == accuracy_interval(predicted, truth, groups, seed=1)
    # what is not asked counts neither as a row nor as a group
    more = [np.concatenate([one, np.array(extra, object)]) for one, extra in (
        (predicted, [None] * 5), (truth, ["m"] * 5), (groups, ["c0", "x", "y", "z", "w"]))]  # fmt: skip
    assert accuracy_interval(*more) == (low, high)


def test_an_interval_takes_matched_treatments_and_numbers_as_names() -> None:
    rng = np.random.default_rng(0)
    compound = np.repeat(np.arange(12), 3)
    table = pd.DataFrame({"compound": compound, "moa": compound // 3})
    found = screens.match_treatments(np.eye(4)[compound // 3] + rng.normal(0, 0.6, (36, 4)), table)
    low, high = accuracy_interval(found["predicted"], table["moa"], table["compound"])
    assert 0 <= low < found["accuracy"] < high <= 1
    assert np.isnan(accuracy_interval([None], ["m"], ["c"])).all()
    with pytest.raises(ValueError, match="for each of 1 rows, got 2 and 1"):
        accuracy_interval(["m"], ["m", "m"], ["c"])


def construct_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = ["EMPTY", "EMPTY", "B1", "B2", "B3"]
    return pd.DataFrame({
        "plate": np.repeat(["P_1", "P_2"], 5), "well": [f"A{k:02d}" for k in range(5)] * 2, "construct": names * 2,
        "gene": ["none", "none", "NA", "NA", "TP53"] * 2, "pert_type": ["ctl_vector"] * 2 + ["trt_oe"] * 3 + [
            "ctl_vector"] * 2 + ["trt_oe"] * 3, **{f"L1000_{k}": rng.normal(size=10) for k in range(7)},
    })  # fmt: skip


def test_constructs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wells.csv"
    construct_table().to_csv(path, index=False)
    profiles = load_constructs(path)
    assert profiles.names == tuple(f"L1000_{k}" for k in range(7))
    assert profiles.control.tolist() == [True, True, False, False, False] * 2
    assert profiles.metadata["compound"].tolist()[:3] == ["EMPTY", "EMPTY", "B1"]
    assert profiles.metadata["gene"].tolist()[2:5] == ["NA", "NA", "TP53"]
    centred = construct_features(profiles, "centred")
    own = profiles.control & (profiles.metadata["plate"] == "P_1").to_numpy()
    np.testing.assert_allclose(centred[own].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(centred[profiles.control].std(0), 1)
    assert construct_features(profiles, "whitened", 3).shape == (10, 3)
    np.testing.assert_array_equal(construct_features(profiles, "raw"), profiles.features)
    with pytest.raises(ValueError, match="steps: expected one of raw, centred, whitened, got 'no'"):
        construct_features(profiles, "no")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pert_type": "trt_oe"}, "no control; every pert_type begins with 'trt'"),
        ({"construct": "B1"}, "B1 is a control in some wells and treated in others"),
        ({"pert_type": None}, "no column pert_type; found plate, well"),
    ],
)
def test_broken_tables_of_constructs_are_refused(tmp_path: Path, change: dict, said: str) -> None:
    table = construct_table()
    for name, value in change.items():
        table = table.drop(columns=name) if value is None else table.assign(**{name: value})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=said):
        load_constructs(tmp_path / "t.csv")


def test_a_plate_without_controls_cannot_be_centred(tmp_path: Path) -> None:
    construct_table().iloc[[0, 1, 2, 3, 4, 7, 8, 9]].to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="plate P_2: no controls to centre it on"):
        construct_features(load_constructs(tmp_path / "t.csv"), "centred")
    with pytest.raises(DataError, match=r"no\.csv is not there"):
        load_constructs(tmp_path / "no.csv")


def test_the_real_constructs_give_their_counts(real_data: Path) -> None:
    profiles = load_constructs(real_data / "screens" / "ta_orf_l1000_wells.parquet")
    assert (profiles.features.shape, int(profiles.control.sum())) == ((1092, 978), 158)
    counts = {}
    for steps in STEPS:
        x = construct_features(profiles, steps)
        replicates, genes = replicate_accuracy(x, profiles.metadata), gene_accuracy(x, profiles.metadata)
        assert (replicates["total"], genes["total"], len(genes["constructs"])) == (934, 235, 324)
        counts[steps] = (replicates["correct"], genes["correct"])
    # 4.4 / 3.8 %, 8.8 / 12.8 %, 14.6 / 18.3 %
    assert counts == {"raw": (41, 9), "centred": (82, 30), "whitened": (136, 43)}
    low, high = accuracy_interval(genes["predicted"], genes["constructs"]["gene"], genes["constructs"]["gene"])
    assert 0.10 < low < 43 / 235 < high < 0.27


def test_random_features_are_the_floor(real_data: Path) -> None:
    profiles = load_constructs(real_data / "screens" / "ta_orf_l1000_wells.parquet")
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=(1092, 50)) for _ in range(20)]
    replicates = np.mean([replicate_accuracy(x, profiles.metadata)["accuracy"] for x in draws])
    genes = np.mean([gene_accuracy(x, profiles.metadata)["accuracy"] for x in draws])
    # about two of 620 wells elsewhere are right by chance, and less than one of 323 constructs
    assert replicates == pytest.approx(2 / 620, abs=0.001)
    assert 0 < genes < 0.01
