"""The chapter's sentences on the recorded real run hold in its rows."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cellweak_core.results import load_results
from cellweak_core.tracking.reporting import detector_f1

BOOK = Path(__file__).resolve().parents[1] / "book"
EVERY, FIFTH = "every frame", "every 5. frame"


@pytest.fixture(scope="module")
def value() -> "dict[tuple[str, str, str], float]":
    rows = load_results(BOOK / "recorded" / "tracking-c2c12")[0]
    keys = zip(rows["item"], rows["row"], rows["column"], strict=True)
    return dict(zip(keys, rows["value"].astype(float), strict=True))


def assert_printed(text: str, value: Any, printed: dict[tuple[str, str, str], str]) -> None:  # noqa: ANN401
    """Each number stands in the text, and is the row's."""
    for key, number in printed.items():
        assert number in text, key
        assert value[key] == pytest.approx(float(number), abs=0.0005001), key


def test_each_sentence_has_its_numbers(value: "dict[tuple[str, str, str], float]") -> None:
    text = (BOOK / "tracking.md").read_text(encoding="utf-8").split("What it says:")[1].split("## Tracks of")[0]
    printed = {
        ("By part", "Ours", f"left to right, {EVERY}, AA"): ".978",
        ("By part", "Ours", f"left to right, {EVERY}, TE"): ".972",
        ("By part", "Ours", f"left to right, {FIFTH}, AA"): ".990",
        ("By part", "Ours", f"left to right, {FIFTH}, TE"): ".989",
        ("By part", "MPM", f"left to right, {EVERY}, AA"): ".989",
        ("By part", "MPM", f"left to right, {FIFTH}, AA"): ".995",
        ("By part", "Ours", f"right to left, {EVERY}, AA"): ".884",
        ("By part", "MPM", f"right to left, {EVERY}, AA"): ".895",
        ("By part", "assignment", f"left to right, {EVERY}, AA"): ".982",
        ("Table 3", "BF-prop (5 min)", "BMP2, precision"): ".976",
        ("Table 3", "BF-prop (5 min)", "BMP2, recall"): ".875",
        ("Difference", "Ours minus assignment", f"{FIFTH}, AA"): "+.032",
        ("Difference", "Ours minus laptrack", f"{FIFTH}, AA"): "+.040",
        ("Difference", "Ours minus assignment", f"{EVERY}, AA"): "+.020",
        ("Difference", "Ours minus laptrack", f"{EVERY}, AA"): "+.023",
        ("Difference", "BF minus assignment", f"{EVERY}, AA"): "-.036",
        ("Difference", "BF minus assignment", f"{FIFTH}, AA"): "-.035",
        ("Peers", "Ours", f"{EVERY}, AA"): ".920",
        ("Peers", "MPM", f"{EVERY}, AA"): ".931",
        ("Peers", "Ours", f"{FIFTH}, AA"): ".924",
        ("Peers", "MPM", f"{FIFTH}, AA"): ".935",
        ("Peers", "assignment", f"{EVERY}, link F1"): ".939",
        ("Peers", "Ours", f"{EVERY}, link F1"): ".914",
        ("Peers", "assignment", f"{FIFTH}, link F1"): ".930",
        ("Peers", "Ours", f"{FIFTH}, link F1"): ".898",
        ("Peers", "MPM", f"{EVERY}, link precision"): ".918",
        ("Peers", "Ours", f"{EVERY}, link precision"): ".907",
        ("Peers", "assignment", f"{EVERY}, link precision"): ".981",
    }
    assert_printed(text, value, printed)


def test_the_real_f1_beside_the_simulated_one_is_the_recorded(value: "dict[tuple[str, str, str], float]") -> None:
    text = (BOOK / "tracking.md").read_text(encoding="utf-8").split("## Links read out")[1].split("## Tracks (")[0]
    printed = {("Table 3", f"BF-prop ({when})", "BMP2, F1"): f1 for when, f1 in (("5 min", ".923"), ("25 min", ".913"))}
    assert_printed(text, value, printed)


def test_each_comparison_holds(value: "dict[tuple[str, str, str], float]") -> None:
    rows = load_results(BOOK / "recorded" / "tracking-c2c12")[0].set_index(["item", "row", "column"])
    for part in ("left to right", "right to left"):
        for other in ("assignment", "laptrack"):
            column = f"{part}, {FIFTH}, AA"
            assert value["By part", "Ours", column] > value["By part", other, column]
    for when in (EVERY, FIFTH):
        assert value["Peers", "assignment", f"{when}, link F1"] > value["Peers", "Ours", f"{when}, link F1"]
        for other in ("assignment", "laptrack"):
            assert rows.loc[("Difference", f"Ours minus {other}", f"{when}, AA"), "low"] > 0
    # The paper's BMP2 numbers: TE is reached, AA within the interval.
    assert value["By part", "Ours", f"left to right, {EVERY}, TE"] > 0.970
    aa = rows.loc["By part", "Ours", f"left to right, {EVERY}, AA"]
    assert aa["low"] < 0.982 < aa["high"]


def test_fluorescent_cells_have_their_numbers() -> None:
    table = load_results(BOOK / "recorded" / "tracking-gowt1")[0].set_index(["item", "row", "column"])
    rows = table["value"]
    text = (BOOK / "tracking.md").read_text(encoding="utf-8").split("### Fluorescent cells")[1].split("## Tracks of")[0]
    printed = {
        ("Table 2", "Nishimura 2019", "GOWT1, F1"): ".778",
        ("Table 2", "Ours (5 min)", "GOWT1, F1"): ".929",
        ("Table 2", "Ours (25 min)", "GOWT1, F1"): ".891",
        ("Peers", "Ours", f"{EVERY}, AA"): ".773",
        ("Peers", "assignment", f"{EVERY}, AA"): ".945",
        ("Peers", "A-Graph", f"{EVERY}, AA"): ".951",
        ("Peers", "A-Graph", f"{EVERY}, link precision"): ".864",
    }
    assert_printed(text, rows, printed)
    seeds = pd.read_csv(BOOK / "recorded" / "tracking-gowt1" / "tables" / "by_seed.csv")
    own = seeds.set_index(["method", "interval", "seed"])
    for (method, seed), (aa, precision) in {
        ("Ours", 0): (".444", ".296"), ("Ours", 1): (".992", None), ("Ours", 2): (".882", None),
        ("assignment", 0): (".998", None), ("assignment", 1): (".907", None), ("assignment", 2): (".929", None),
        ("BF", 0): (".991", None), ("BF", 2): (".146", None), ("MPM", 0): (None, ".850"),
    }.items():  # fmt: skip
        for name, number in (("aa", aa), ("link_precision", precision)):
            assert number is None or (number in text and own.loc[(method, 1, seed), name] == float(number))
    means = seeds.groupby(["method", "interval"])["aa"].mean()
    for (method, interval), mean in means.items():
        where = EVERY if interval == 1 else FIFTH
        assert mean == pytest.approx(float(rows["Peers", method, f"{where}, AA"]), abs=0.02)  # links pooled there
    assert all("3 seeds" in note for note in table.loc["Peers"].xs(f"{EVERY}, AA", level="column")["note"])
    gain = pd.read_csv(BOOK / "recorded" / "tracking-gowt1" / "tables" / "gain.csv")
    own = gain[(gain["method"] == "assignment") & (gain["interval"] == 1) & ~gain["daughters"]]
    near = own.set_index("low_edge")["n"]
    assert round(100 * near[0.0] / near.sum()) == 99


def test_even_light_helps_most_where_the_light_is_uneven() -> None:
    table = detector_f1(pd.read_csv(BOOK / "recorded" / "tracking-light" / "detector.csv"))
    printed = [float(text.split()[0]) for text in table["F1 (sd)"]]
    assert printed == [0.940, 0.956, 0.602, 0.924]
    text = (BOOK / "tracking.md").read_text(encoding="utf-8")
    assert all(f"{value:.3f}".lstrip("0") in text for value in printed)
    assert set(table["seeds"]) == {3}


def test_there_are_few_divisions() -> None:
    gain = pd.read_csv(BOOK / "recorded" / "tracking-c2c12" / "tables" / "gain.csv")
    divided = gain[gain["daughters"]]
    assert divided.groupby("interval")["n"].unique().map(list).to_dict() == {1: [24], 5: [78]}  # of three seeds
    assert divided["recovered"].between(0.3, 0.5).all()
