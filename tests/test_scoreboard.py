"""The scoreboard: every published item, its state, and the numbers beside the paper's."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from page_runs import number, write_run

from cellweak_core import published
from cellweak_core.markdown import counted
from cellweak_core.pages import scoreboard
from cellweak_core.tables import rows_frame

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cellweak_core"


def make_run(tmp_path: Path, **arguments: Any) -> scoreboard.Run:  # noqa: ANN401
    return scoreboard.load_run(write_run(tmp_path / "embeddings", **arguments))



@pytest.mark.parametrize(
    ("published_item", "run_item", "same"),
    [
        ("Fig. 1a left", "fig_1a", True),
        ("Fig. 3", "Fig. 3b", True),
        ("Fig. 3a", "Fig. 3", True),
        ("Fig. 3a", "Fig. 3b", False),
        ("Fig. 1", "Fig. 10", False),
        ("Fig. 10", "fig_10", True),
        ("Table 2", "table_2", True),
        ("Table 2", "Fig. 2", False),
        ("Text 4.1", "text_4_1", True),
        ("Text 4.1", "Text 4.2", False),
        ("Abstract", "abstract", True),
    ],
)
def test_items_are_matched_by_number_and_panel(published_item: str, run_item: str, same: bool) -> None:
    assert scoreboard.same_item(published_item, run_item) is same


def test_without_runs_nothing_is_regenerated() -> None:
    states = scoreboard.item_states([])
    assert not states["simulated"].any()
    assert not states["real"].any()
    assert (scoreboard.numbers([])[["simulated", "real"]] == "").all(axis=None)


def test_every_published_item_has_one_row_on_the_scoreboard() -> None:
    states = scoreboard.item_states([])
    wanted = published.load()
    wanted = wanted[wanted["kind"].isin(scoreboard.REGENERATED_KINDS)]
    assert not states.duplicated(["chapter", "item"]).any()
    assert set(zip(states["chapter"], states["item"], strict=True)) == set(
        zip(wanted["chapter"], wanted["item"], strict=True)
    )
    printed = wanted[["value", "low"]].notna().any(axis=1)
    assert states["numbers"].sum() == printed.sum()


@pytest.mark.parametrize(
    ("data", "simulated"),
    [
        ("simulated", True),
        ("simulated, windows", True),
        ("simulated_2024", False),
        ("simulated windows", False),
        ("simulation", False),
        ("similar", False),
        ("", False),
    ],
)
def test_a_folder_called_like_simulated_data_is_real(data: str, simulated: bool) -> None:
    assert scoreboard.is_simulated(data) == simulated


def test_a_simulated_and_a_real_run_are_told_apart(tmp_path: Path) -> None:
    rows = [number("Table 2", "Ours - Baseline CNN", "NSC", 91.0),
            number("Table 2", "Ours - Baseline CNN", "NSC", 95.0, data="BBBC021")]  # fmt: skip
    run = make_run(tmp_path, rows=rows, figures=("fig_7.png",))
    states = scoreboard.item_states([run]).query("chapter == 'embeddings'").set_index("item")
    assert states.loc["Table 2", "simulated"]
    assert states.loc["Table 2", "real"]
    assert states.loc["Fig. 7", "simulated"]
    assert not states.loc["Fig. 7", "real"]
    assert not states.loc["Table 1", "simulated"]
    table = scoreboard.numbers([run])
    one = table[(table["item"] == "Table 2") & (table["row"] == "Ours - Baseline CNN") & (table["column"] == "NSC")]
    assert len(one) == 1
    assert one.iloc[0]["paper"].startswith("97")
    assert one.iloc[0]["simulated"].startswith("91")
    assert one.iloc[0]["real"].startswith("95")
    other = table[(table["item"] == "Table 1")]
    assert (other["simulated"] == "").all()


def test_another_chapters_run_counts_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=[number("Table 2", "Ours", "NSC", 1.0, chapter="tracking")])
    assert not scoreboard.item_states([run]).query("chapter == 'embeddings'")["simulated"].any()


def test_a_recorded_run_may_name_pictures_it_does_not_keep(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "embeddings-real", [number("Table 1", "a", "b", 1.0, data="BBBC021")], "BBBC021")
    content = json.loads((folder / "results.json").read_text())
    content["provenance"]["figures"] = ["fig_6"]
    (folder / "results.json").write_text(json.dumps(content))
    states = scoreboard.item_states([scoreboard.load_run(folder)]).query("chapter == 'embeddings'").set_index("item")
    assert states.loc["Fig. 6", "real"]
    assert not states.loc["Fig. 6", "simulated"]


def test_the_scoreboard_shows_every_chapter_and_how_runs_were_made(tmp_path: Path) -> None:
    run = make_run(tmp_path, rows=[number("Table 2", "Ours - Baseline CNN", "NSC", 91.0)])
    text = scoreboard.scoreboard([run], scoreboard.chapter_titles(["book/index", "book/embeddings"]))
    for chapter, paper in published.PAPERS.items():
        assert f"## {chapter.capitalize()}" in text
        assert f"{{cite:t}}`{paper.citation_key}`" in text
    assert "{doc}`Embeddings </book/embeddings>`" in text
    assert "{doc}`Tracking" not in text
    assert "- `embeddings`: data: simulated; seed 0" in text
    assert "simulated |" in text
    assert text.count(":::{dropdown}") == len(published.PAPERS) - sum(
        not len(published.load(chapter, kind="result")) for chapter in published.CHAPTERS
    )


def test_few_numbers_stand_in_the_items_row_with_what_their_n_counts(tmp_path: Path) -> None:
    note = "mean ± 1 sd of 6 trainings; n counts test windows; simulated windows"
    gan = {"chapter": "rosettes", "n": 55, "note": note}
    rows = [
        number("Fig. 10", "GAN-based classifier", "accuracy @ 100 %", 90.5, **gan),
        number("Fig. 10", "GAN-based classifier", "accuracy @ 20 %", 70.5, low=60.5, high=80.5, **gan),
        number("Table 2", "Ours - Baseline CNN", "NSC", 91.0),
    ]
    text = scoreboard.scoreboard([make_run(tmp_path, rows=rows)], scoreboard.chapter_titles([]))
    [fig_10] = [line for line in text.splitlines() if line.startswith("| Fig. 10 | accuracy")]
    paper, simulated, real = (cell.strip().replace("\\", "") for cell in fig_10.split("|")[4:7])
    assert paper == "84 [80, 88] % (n = 20 runs); 80 [75.5, 84.5] % (n = 20 runs); 76 [69, 83] % (n = 20 runs)"
    assert simulated == "90.5 % (n = 55 test windows); -; 70.5 [60.5, 80.5] % (n = 55 test windows)"
    assert real == ""
    [table_2] = [line for line in text.splitlines() if line.startswith("| Table 2 | NSC")]
    printed = len(published.load("embeddings", kind="result").query("item == 'Table 2' and value.notna()"))
    assert [cell.strip() for cell in table_2.split("|")[4:7]] == [f"{printed} numbers", "1 numbers", ""]


@pytest.mark.parametrize(
    ("n", "note", "text"),
    [
        (20, "sd 4; n counts runs; Sec. 3", " (n = 20 runs)"),
        (1, "n counts trainings", " (n = 1 training)"),
        (7, "a mean", " (n = 7)"),
        (None, "n counts runs", ""),
        (math.nan, "n counts runs", ""),
        (pd.NA, "n counts runs", ""),
    ],
)
def test_an_n_says_what_it_counts(n: object, note: str, text: str) -> None:
    assert counted(n, note) == text


def test_a_value_that_is_not_there_is_no_number(tmp_path: Path) -> None:
    rows = rows_frame([number("Table 2", "Ours - Baseline CNN", "NSC", math.nan, note="not computed")])
    run = scoreboard.Run("embeddings", "embeddings", rows, {"data": "simulated"}, ())
    table = scoreboard.numbers([run])
    assert set(table["simulated"]) == {""}
