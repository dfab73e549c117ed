"""The chapter's sentences on the recorded real run hold in its rows."""

from pathlib import Path

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


def test_each_sentence_has_its_numbers(value: "dict[tuple[str, str, str], float]") -> None:
    text = (BOOK / "tracking.md").read_text(encoding="utf-8").split("What it says:")[1].split("## Tracks of")[0]
    printed = {
        ("By part", "Ours", f"left to right, {EVERY}, AA"): ".989",
        ("By part", "Ours", f"left to right, {EVERY}, TE"): ".989",
        ("By part", "Ours", f"left to right, {FIFTH}, AA"): ".992",
        ("By part", "Ours", f"right to left, {EVERY}, AA"): ".869",
        ("By part", "assignment", f"left to right, {EVERY}, AA"): ".989",
        ("Difference", "Ours minus assignment", f"{FIFTH}, AA"): "+.054",
        ("Difference", "Ours minus laptrack", f"{FIFTH}, AA"): "+.070",
        ("Difference", "Ours minus assignment", f"{EVERY}, AA"): "+.028",
        ("Difference", "Ours minus laptrack", f"{EVERY}, AA"): "+.032",
        ("Difference", "BF minus assignment", f"{EVERY}, AA"): "-.051",
        ("Difference", "BF minus assignment", f"{FIFTH}, AA"): "-.056",
        ("Peers", "Ours", f"{EVERY}, AA"): ".915",
        ("Peers", "MPM", f"{EVERY}, AA"): ".909",
        ("Peers", "Ours", f"{FIFTH}, AA"): ".911",
        ("Peers", "MPM", f"{FIFTH}, AA"): ".912",
    }
    for key, number in printed.items():
        assert number in text, key
        assert value[key] == pytest.approx(float(number), abs=0.0005001), key
    for method, number in (("MPM", ".78"), ("Ours", ".77"), ("assignment", ".85")):
        assert number in text
        assert value["Peers", method, f"{EVERY}, link precision"] == pytest.approx(float(number), abs=0.005)


def test_each_comparison_holds(value: "dict[tuple[str, str, str], float]") -> None:
    for part in ("left to right", "right to left"):
        for other in ("assignment", "laptrack"):
            column = f"{part}, {FIFTH}, AA"
            assert value["By part", "Ours", column] > value["By part", other, column]
    for when in (EVERY, FIFTH):
        assert value["Peers", "assignment", f"{when}, link F1"] > value["Peers", "Ours", f"{when}, link F1"]
    # The paper's BMP2 numbers.
    assert value["By part", "Ours", f"left to right, {EVERY}, AA"] > 0.982
    assert value["By part", "Ours", f"left to right, {EVERY}, TE"] > 0.970


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
    assert divided["recovered"].between(0.3, 0.45).all()
