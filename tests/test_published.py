"""The published numbers: their form, their completeness, and a spot check against the papers."""

from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from cellweak_core import published

# Numbers of tables and figures of each paper. The CytoGAN draft announces one table and three figures.
TABLES_FIGURES = {
    "migration": (0, 1),
    "tracking": (5, 11),
    "embeddings": (2, 7),
    "rosettes": (0, 12),
    "cytogan": (1, 3),
}
PANELS = {
    "migration": ("Fig. 1a left", "Fig. 1a right", "Fig. 1b", "Fig. 1c"),
    "embeddings": ("Fig. 5a", "Fig. 5b"),
    "rosettes": (
        *(f"Fig. {figure}{panel}" for figure in (3, 11) for panel in "abcd"),
        *(f"Fig. {figure}{panel}" for figure in (5, 6, 9, 12) for panel in "ab"),
    ),
}
# (item, row, column, value), typed from the papers and not from the tables under test.
SPOT_CHECKS = {
    "migration": [
        ("Fig. 1a right", "DenseNet", "TP rate", 87.91),
        ("Fig. 1a right", "DenseNet", "Uncertain rate", 10.83),
        ("Fig. 1a right", "DenseNet", "FN rate", 1.26),
        ("Text 2", "sequences after filtering", "all", 137),
        ("Text 2", "split", "test sequences", 31),
        ("Text 2", "augmentation", "variations per image", 72),
        ("Text 3", "patch", "height", 227),
        ("Text 3", "Bayesian uncertainty", "Monte Carlo samples T", 50),
        ("Text 3", "dropout", "growth per layer", 0.02),
    ],
    "tracking": [
        ("Table 1", "A-Graph", "Control, TE", 0.448),
        ("Table 1", "Ours", "Average, AA", 0.960),
        ("Table 1", "MPM", "FGF2, TE", 0.803),
        ("Table 2", "Ours (25 min)", "FGF2, F1", 0.911),
        ("Table 3", "BF-prop (25 min)", "FGF2, recall", 0.753),
        ("Table 3", "BF-prop (5 min)", "BMP2 dense, precision", 0.992),
        ("Table 4", "BF", "BMP2 dense, TE", 0.914),
        ("Table 4", "T", "FGF2+BMP2, AA", 0.982),
        ("Table 5", "Ours", "TE", 0.804),
        ("Text 4.1", "data set", "annotated cells", 135859),
    ],
    "embeddings": [
        ("Table 1", "ImageNet Pretrained", "Replicate Acc.", 42.8),
        ("Table 1", "Mixup (alpha = 0.2)", "Gene Acc.", 78.4),
        ("Table 2", "Product similarity network", "NSCB", 95),
        ("Table 2", "Illumination Correction", "Drop", -15),
        ("Table 2", "Factor Analysis", "Speed", 0.15),
        ("Table 2", "ImageNet pretrained network", "Dim.", 4608),
        ("Table 2", "Ours - Mixup", "NSC", 95),
        ("Fig. 5a", "mixup", "gene accuracy", 78.3),
        ("Fig. 5b", "Baseline CNN", "auxiliary task accuracy", 64.1),
        ("Fig. 6", "ImageNet Inception", "dimensions", 7630),
    ],
    "rosettes": [
        ("Fig. 5a", "Conventional classifier", "sd of the conv1 weights", 0.285),
        ("Fig. 5b", "GAN-based classifier", "sd of the conv1 weights", 0.192),
        ("Fig. 9a", "GAN-based classifier", "accuracy", 86),
        ("Fig. 9b", "GAN-based classifier", "accuracy", 82),
        ("Fig. 10", "GAN-based classifier", "accuracy @ 100 %", 84),
        ("Fig. 10", "GAN-based classifier", "accuracy @ 20 %", 76),
        ("Text 2.1.2", "unlabelled data", "patches", 11250),
        ("Text 3.2.1", "training set", "non-rosettes", 175),
        ("Recorded runs 32_batch3", "GAN-transfer, test d3 (2017-07-20), 1:3", "accuracy @ 20 %", 0.8196),
        (
            "Recorded runs 32_batch3",
            "conventional, test d2 (2017-07-15), 1:1",
            "precision of non-rosette @ 100 %",
            0.9697,
        ),
        ("Fig. 3c", "WGAN generator", "loss @ step 10000", -9.88),
    ],
    "cytogan": [
        ("Table 1", "DCGAN", "MOA accuracy", 51),
        ("Table 1", "LSGAN", "MOA accuracy", 68),
        ("Table 1", "Deep Transfer (Ando 2017)", "MOA accuracy", 96),
        ("Text 3", "data set", "drugs", 113),
        ("Text 3", "data set", "concentrations", 8),
        ("Final text", "LSGAN", "fakes taken for real", 30),
        ("Recorded runs README 2017-10-14", "LSGAN", "MOA accuracy", 63),
        ("Recorded runs README 2017-10-27", "BiGAN", "MOA accuracy, whitened", 72),
    ],
}


def number(table: pd.DataFrame, item: str, row: str, column: str) -> float:
    found = table[(table["item"] == item) & (table["row"] == row) & (table["column"] == column)]
    assert len(found) == 1, f"{item}, {row}, {column}: {len(found)} rows"
    return float(found["value"].iloc[0])


def raw_rows(chapter: str) -> list[dict[str, str]]:
    with resources.files(published).joinpath(f"{chapter}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return published.load()


@pytest.mark.parametrize("chapter", published.CHAPTERS)
def test_files_have_the_columns_in_order_and_no_ragged_row(chapter: str) -> None:
    with resources.files(published).joinpath(f"{chapter}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == published.COLUMNS
    assert rows
    assert {len(row) for row in rows} == {len(header)}
    assert all(cell == cell.strip() for row in rows for cell in row)


def test_no_number_stands_twice(table: pd.DataFrame) -> None:
    key = ["chapter", "item", "row", "column", "data"]
    assert table[table.duplicated(key, keep=False)].empty


def test_every_row_says_what_and_where(table: pd.DataFrame) -> None:
    for column in ("chapter", "item", "row", "column", "unit", "data", "place", "kind"):
        assert (table[column] != "").all(), column
    assert set(table["kind"]) == set(published.KINDS)
    assert tuple(table["chapter"].unique()) == published.CHAPTERS


def test_numbers_are_there_except_in_figures(table: pd.DataFrame) -> None:
    drawn = table["kind"] == "figure"
    empty = table[["value", "low", "high"]].isna()
    assert empty[drawn].all(axis=None)
    # A printed range ("10-15") has no value of its own.
    printed_range = ~empty["low"] & ~empty["high"] & table["note"].str.startswith("range as printed")
    assert (~empty["value"] | printed_range)[~drawn].all()
    assert (empty["low"] == empty["high"]).all()
    for column in ("value", "low", "high"):
        assert all(math.isfinite(number) for number in table[column].dropna())
    assert (table["n"].dropna() > 0).all()


def test_intervals_hold_their_value_and_say_how_they_were_made(table: pd.DataFrame) -> None:
    with_interval = table[table["low"].notna()]
    assert (with_interval["low"] <= with_interval["high"]).all()
    with_value = with_interval[with_interval["value"].notna()]
    assert len(with_value) > 400
    assert (with_value["low"] <= with_value["value"]).all()
    assert (with_value["value"] <= with_value["high"]).all()
    for _, row in with_value.iterrows():
        found = re.match(r"low\.\.high is the mean ± 1 sd .*?, sd ([\d.]+)", row["note"])
        assert found, row["note"]
        assert (row["high"] - row["low"]) / 2 == pytest.approx(float(found[1]), abs=1e-9)


def test_percentages_and_fractions_stay_in_range(table: pd.DataFrame) -> None:
    # Bounds of a mean ± sd may leave the range; the number itself may not.
    assert table.loc[table["unit"] == "percent", "value"].dropna().between(0, 100).all()
    assert table.loc[table["unit"] == "fraction", "value"].dropna().between(0, 1).all()


@pytest.mark.parametrize("chapter", published.CHAPTERS)
def test_counts_in_notes_agree_with_the_value(chapter: str) -> None:
    with_counts = [row for row in raw_rows(chapter) if re.match(r"\d+/\d+\b", row["note"])]
    assert bool(with_counts) == (chapter == "embeddings")
    for row in with_counts:
        hits, total = (int(count) for count in re.match(r"(\d+)/(\d+)", row["note"]).groups())
        exact = hits / total * (100 if row["unit"] == "percent" else 1)
        decimals = len(row["value"].partition(".")[2])
        # Caicedo 2018 truncates some percentages and rounds others.
        assert abs(exact - float(row["value"])) < 10.0**-decimals, row
        assert int(row["n"]) == total


@pytest.mark.parametrize("chapter", published.CHAPTERS)
def test_every_table_and_figure_is_listed_without_a_gap(chapter: str) -> None:
    listed = published.items(chapter)["item"]
    n_tables, n_figures = TABLES_FIGURES[chapter]
    for word, count in (("Table", n_tables), ("Fig.", n_figures)):
        numbers = listed.str.extract(rf"^{re.escape(word)} (\d+)")[0].dropna().astype(int)
        assert sorted(set(numbers)) == list(range(1, count + 1))
    assert set(PANELS.get(chapter, ())) <= set(listed)


@pytest.mark.parametrize("chapter", published.CHAPTERS)
def test_spot_check_against_the_paper(chapter: str) -> None:
    table = published.load(chapter)
    for item, row, column, expected in SPOT_CHECKS[chapter]:
        assert number(table, item, row, column) == expected


def test_spreads_of_the_headline_numbers() -> None:
    migration, rosettes = published.load("migration"), published.load("rosettes")
    for table, item, column, sd in (
        (migration, "Fig. 1a right", "TP rate", 13.22),
        (migration, "Fig. 1a right", "Uncertain rate", 11.28),
        (migration, "Fig. 1a right", "FN rate", 4.18),
        (rosettes, "Fig. 10", "accuracy @ 100 %", 4),
        (rosettes, "Fig. 10", "accuracy @ >40 %", 4.5),
        (rosettes, "Fig. 10", "accuracy @ 20 %", 7),
    ):
        result = table[table["kind"] == "result"]
        row = result[(result["item"] == item) & (result["column"] == column)].iloc[0]
        assert (row["high"] - row["low"]) / 2 == pytest.approx(sd)


def test_printed_averages_that_are_wrong_are_annotated() -> None:
    table = published.load("tracking").query("item == 'Table 1'")
    annotated = set()
    for method in table["row"].unique():
        for metric in ("AA", "TE"):
            values = [
                number(table, "Table 1", method, f"{condition}, {metric}")
                for condition in ("BMP2", "FGF2", "Control", "FGF2+BMP2")
            ]
            average = table[(table["row"] == method) & (table["column"] == f"Average, {metric}")].iloc[0]
            disagrees = abs(sum(values) / 4 - average["value"]) > 0.0005 + 1e-9
            assert disagrees == ("disagrees" in average["note"]), (method, metric)
            if disagrees:
                stated = re.search(r"columns, ([\d.]+)", average["note"])
                assert float(stated[1]) == pytest.approx(sum(values) / 4, abs=5e-4)
                annotated.add((method, metric))
    assert {("GDA", "AA"), ("GDA", "TE"), ("Ours", "TE")} <= annotated


def test_f1_follows_from_precision_and_recall_except_in_the_copied_row() -> None:
    table = published.load("tracking")
    for condition in ("BMP2 sparse", "BMP2 medium", "BMP2 dense", "Control", "FGF2", "FGF2+BMP2"):
        short = {
            metric: number(table, "Table 3", "BF-prop (5 min)", f"{condition}, {metric}")
            for metric in ("precision", "recall", "F1")
        }
        harmonic = 2 * short["precision"] * short["recall"] / (short["precision"] + short["recall"])
        assert short["F1"] == pytest.approx(harmonic, abs=0.0015)
        column = f"{condition}, precision"
        assert number(table, "Table 3", "BF-prop (25 min)", column) == short["F1"]
        long = table[(table["row"] == "BF-prop (25 min)") & (table["column"] == column)].iloc[0]
        implied = float(re.search(r"recall and F1 imply ([\d.]+)", long["note"])[1])
        recall = number(table, "Table 3", "BF-prop (25 min)", f"{condition}, recall")
        f1 = number(table, "Table 3", "BF-prop (25 min)", f"{condition}, F1")
        assert 2 * implied * recall / (implied + recall) == pytest.approx(f1, abs=0.0015)


def test_drop_is_the_difference_except_where_misprinted() -> None:
    table = published.load("embeddings").query("item == 'Table 2'")
    drops = table[table["column"] == "Drop"]
    assert len(drops) == 6
    for _, drop in drops.iterrows():
        nsc, nscb = (number(table, "Table 2", drop["row"], column) for column in ("NSC", "NSCB"))
        assert (drop["value"] != nscb - nsc) == ("misprint" in drop["note"]), drop["row"]


def test_recorded_precision_and_recall_carry_the_class_they_belong_to() -> None:
    columns = published.load("rosettes", kind="recorded")["column"]
    about = columns[columns.str.contains("precision|recall")]
    assert len(about) == 2 * 120
    assert about.str.match(r"(precision|recall) of non-rosette @ \d+ %$").all()


def test_load_fixes_the_types() -> None:
    table = published.load("cytogan", kind="figure")
    assert tuple(table.columns) == published.COLUMNS
    assert (table["kind"] == "figure").all()
    assert list(table.index) == list(range(len(table)))
    numeric = {"value": "float64", "low": "float64", "high": "float64", "n": "Int64"}
    for frame in (table, published.load()):
        for column, dtype in frame.dtypes.items():
            assert dtype == numeric.get(column, "string"), column
            assert dtype != "string" or not frame[column].isna().any()


def test_load_selects() -> None:
    assert len(published.load()) == sum(len(published.load(chapter)) for chapter in published.CHAPTERS)
    assert len(published.load()) == sum(len(published.load(kind=kind)) for kind in published.KINDS)


def test_load_names_the_choices_there_are() -> None:
    with pytest.raises(ValueError, match=r"chapter must be one of migration, tracking.*got 'migraton'"):
        published.load("migraton")
    with pytest.raises(ValueError, match=r"kind must be one of result, .*, figure; got 'plot'"):
        published.load(kind="plot")
    with pytest.raises(ValueError, match="cytogan"):
        published.items("biogan")


def test_items_come_in_the_order_of_the_paper() -> None:
    listed = list(published.items("rosettes")["item"])
    assert listed[0] == "Fig. 1"
    assert listed.index("Fig. 9b") < listed.index("Fig. 10") < listed.index("Fig. 11a")
    assert listed.index("Abstract") < listed.index("Text 2.1.1") < listed.index("Text 3.2.1")
    assert listed[-1].startswith("Recorded runs")
    assert next(iter(published.items("tracking")["item"])) == "Table 1"


def test_items_count_the_numbers(table: pd.DataFrame) -> None:
    items = published.items()
    assert not items.duplicated(["chapter", "item"]).any()
    assert items["numbers"].sum() == table[["value", "low"]].notna().any(axis=1).sum()
    tracking = items[items["chapter"] == "tracking"].set_index("item")["numbers"]
    # Seven methods x five pairs; 3 x 6; 2 intervals x 3 metrics x 6; 2 x 12; 4 x 2.
    assert [tracking[f"Table {i}"] for i in range(1, 6)] == [70, 18, 36, 24, 8]
    assert tracking["Fig. 3"] == 0


def test_papers_are_complete_and_in_the_bibliography() -> None:
    bibliography = (Path(__file__).parents[1] / "book" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,]+),", bibliography, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    assert tuple(published.PAPERS) == published.CHAPTERS
    for paper in published.PAPERS.values():
        assert paper.citation_key in keys
        assert str(paper.year) in paper.citation_key
        assert paper.authors_short.split()[0].lower() in paper.citation_key
    assert bibliography.count("{") == bibliography.count("}")


def test_import_does_not_load_pandas() -> None:
    code = "import sys, cellweak_core.published; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
