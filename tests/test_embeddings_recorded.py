"""The chapter's sentences on the recorded runs hold in their rows."""

from pathlib import Path

import pandas as pd
import pytest

from cellweak_core.results import load_results

BOOK = Path(__file__).resolve().parents[1] / "book"
CROPS = BOOK / "recorded" / "embeddings-crops"
MIXUP, RECURRENT = "mixup alpha=0.2 - baseline", "recurrent t=5 - baseline"


def rows_of(run: str) -> pd.DataFrame:
    return load_results(BOOK / "recorded" / run)[0].set_index(["item", "row", "column"])


def section(start: str, end: str) -> str:
    text = (BOOK / "embeddings.md").read_text(encoding="utf-8")
    return " ".join(text.split(start)[1].split(end)[0].split())


def test_each_sentence_has_its_numbers() -> None:
    rows, text = rows_of("embeddings-crops"), section("What it says:", "### Classical features")
    printed = {
        ("Table 2", "Ours - Baseline CNN", "NSC"): "52.8", ("Table 2", "Ours - Baseline CNN", "NSCB"): "52.8",
        ("Table 2", "untrained network", "NSC"): "29.1", ("Table 2", "untrained network", "NSCB"): "28.3",
        ("Table 2", "Autoencoders", "NSC"): "34.0", ("Table 2", "Autoencoders", "NSCB"): "34.1",
        ("Difference", MIXUP, "NSCB"): "-0.7", ("Difference", MIXUP, "NSC"): "+4.9",
        ("Difference", RECURRENT, "NSC"): "-17.9", ("Difference", RECURRENT, "NSCB"): "-17.8",
        ("Fig. 5b", "recurrent, t = 3", "NSCB"): "40.4", ("Fig. 5b", "recurrent, t = 5", "NSCB"): "35.0",
        ("Fig. 5b", "recurrent, t = 8", "NSCB"): "30.7", ("Fig. 5b", "none", "auxiliary accuracy"): "17.0",
        ("Fig. 5b", "mixup, alpha = 0.2", "auxiliary accuracy"): "12.2",
        ("Fig. 7", "res4b", "NSCB, TVN"): "54.3", ("Fig. 7", "res4a", "NSCB, TVN"): "52.8",
        ("Fig. 7", "embedding", "NSCB, TVN"): "41.1", ("Fig. 7", "res4b", "NSCB, none"): "49.1",
        ("Fig. 7", "res4a", "NSCB, none"): "50.2", ("Fig. 7", "embedding", "NSCB, none"): "39.6",
    }  # fmt: skip
    for key, number in printed.items():
        assert number.lstrip("-") in text, key
        assert float(rows.loc[key, "value"]) == pytest.approx(float(number), abs=0.0501), key
    ends = rows.loc[("Difference", MIXUP, "NSCB")]
    assert f"[{ends['low']:+.1f}, {ends['high']:+.1f}]" in text
    ends = rows.loc[("Difference", MIXUP, "NSC")]
    assert f"[{ends['low']:+.1f}, {ends['high']:+.1f}]" in text
    best = rows.loc["Fig. 7"].xs("NSCB, TVN", level="column")["value"].astype(float).idxmax()
    assert best == "res4b"


def test_ranking_is_what_the_sentence_says() -> None:
    table, text = pd.read_csv(CROPS / "tables" / "precision.csv"), section("What it says:", "### Classical features")
    means = table.groupby(["network", "asked"])["map"].agg(["mean", "min", "max"])
    for key, number in {
        ("mixup alpha=0.2", "mAP"): ".471", ("baseline", "mAP"): ".434",
        ("mixup alpha=0.2", "mAP, other batch"): ".457", ("baseline", "mAP, other batch"): ".432",
    }.items():  # fmt: skip
        assert number in text
        assert means.loc[key, "mean"] == pytest.approx(float(number), abs=0.00051)
    assert means.loc[("mixup alpha=0.2", "mAP"), "min"] > means.loc[("baseline", "mAP"), "max"]
    other = [(name, "mAP, other batch") for name in ("mixup alpha=0.2", "baseline")]
    assert means.loc[other[0], "min"] < means.loc[other[1], "max"]  # there they overlap
    rows = rows_of("embeddings-crops").loc["Precision"]
    for key, value in means["mean"].items():  # the rows are of the seeds' table
        name = {"mixup alpha=0.2": "Ours - Mixup", "baseline": "Ours - Baseline CNN"}.get(key[0])
        if name:
            assert float(rows.loc[(name, key[1]), "value"]) == pytest.approx(value, abs=0.0001)
    for asked in ("mAP", "mAP, other batch"):
        gain, low, high = (float(rows.loc[(MIXUP, asked), end]) for end in ("value", "low", "high"))
        words = ", ".join(f"{end:+.3f}".replace("0.", ".") for end in (low, high))
        assert f"{gain:+.3f} [{words}]".replace("0.", ".") in text
    measured = pd.read_csv(CROPS / "tables" / "measured.csv").set_index(["transform", "column"])["value"]
    assert measured["z + TVN", "NSC"] == pytest.approx(53.4, abs=0.05)
    assert measured["z + TVN", "NSCB"] == pytest.approx(41.3, abs=0.05)
    assert measured["TVN", "NSC"] == pytest.approx(47.6, abs=0.05)
    assert measured["TVN", "NSCB"] == pytest.approx(46.7, abs=0.05)


def test_classical_counts_are_the_known_ones() -> None:
    """What the recipes give on BBBC021's published profiles, and constructs on expression, count by count."""
    rows = rows_of("embeddings-profiles")

    def right(row: str, metric: str) -> str:
        return str(rows.loc[("Recipes", row, metric), "note"]).split(" right")[0]

    white = "z-score by all controls, TVN 1, mean of wells"
    assert (right(white, "NSC"), right(white, "NSCB")) == ("96 of 103", "70 of 92")
    plain = "z-score by all controls, mean of wells"
    assert (right(plain, "NSC"), right(plain, "NSCB")) == ("89 of 103", "63 of 92")
    assert right("chosen batch by batch on the others", "NSCB") == "58 of 92"
    assert right("the best of 108 in hindsight", "NSCB") == "73 of 92"
    expression = rows_of("embeddings-expression")
    notes = expression.loc["Table 1, expression"]["note"]
    assert notes["whitened", "Replicate Acc."].startswith("136 of 934")
    assert notes["whitened", "Gene Acc."].startswith("43 of 235")


def test_what_falls_over_weeks_is_what_the_sentence_says() -> None:
    rows, text = rows_of("embeddings-cpu").loc["Table 2"], section("What it says:", "### Classical features")
    for name, value in (("Illumination Correction", "12.1"), ("Factor Analysis", "11.4")):
        drop = rows.loc[(name, "Drop")]
        assert float(drop["value"]) == pytest.approx(-float(value), abs=0.0501)
        assert f"{value} " in text
        assert f"[{drop['low']:.1f}, {drop['high']:.1f}]" in text
        assert drop["high"] < 0
    learnt = rows_of("embeddings-crops").loc["Table 2"].xs("Drop", level="column")
    everyone = pd.concat([learnt, rows.xs("Drop", level="column").drop(["Illumination Correction", "Factor Analysis"])])
    assert (everyone["low"].astype(float) < 0).all()
    assert (everyone["high"].astype(float) > 0).all()
    assert -everyone["value"].astype(float).min() == pytest.approx(5.5, abs=0.05)
    for name, numbers in (("CNNs", ("31.1", "34.8")), ("Ours - Baseline CNN", ("32.4", "33.7"))):
        for metric, number in zip(("NSC", "NSCB"), numbers, strict=True):
            assert number in text
            assert float(rows.loc[(name, metric), "value"]) == pytest.approx(float(number), abs=0.0501)
