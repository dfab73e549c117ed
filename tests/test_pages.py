"""The pages made from data, and the copy of the book that is rendered."""

import ast
import importlib
import inspect
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cellweak_core import published
from cellweak_core.files import DataError
from cellweak_core.markdown import counted
from cellweak_core.pages import api, errata, scoreboard, stage
from cellweak_core.tables import rows_frame

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cellweak_core"


def number(item: str, row: str, column: str, value: float, data: str = "simulated", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"chapter": "embeddings", "item": item, "row": row, "column": column, "value": value, "low": None,
            "high": None, "n": 103, "unit": "percent", "data": data, "note": "", **more}  # fmt: skip


def write_run(folder: Path, rows: list[dict[str, Any]], data: str = "simulated", figures: tuple[str, ...] = ()) -> Path:
    (folder / "figures").mkdir(parents=True)
    for name in figures:
        (folder / "figures" / name).write_bytes(b"")
    provenance = {"data": data, "seed": 0, "versions": {}, "wall_time_s": 2.0}
    (folder / "results.json").write_text(json.dumps({"rows": rows, "provenance": provenance}))
    return folder


def make_run(tmp_path: Path, **arguments: Any) -> scoreboard.Run:  # noqa: ANN401
    return scoreboard.load_run(write_run(tmp_path / "embeddings", **arguments))


# --- scoreboard


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


# --- errata


def test_deviations_are_collected_to_the_end_of_their_paragraph() -> None:
    text = "Words.\nDeviation: one,\n  and more.\n\nNo Deviation: here.\n- Deviation: two\n- other\n"
    text += "**Deviation:** three"
    assert errata.deviations_in(text) == ["one, and more.", "two", "three"]


def test_a_heading_s_label_ends_a_deviation() -> None:
    text = "- Deviation: one,\n  (f)=2 in it.\n(rosettes-recorded)=\n## Next\n"
    assert errata.deviations_in(text) == ["one, (f)=2 in it."]


def test_no_label_of_the_book_shows_on_the_errata_page() -> None:
    chapters = [path for path in (ROOT / "book").glob("*.md") if stage.is_chapter(path)]
    assert re.findall(r"\([\w-]+\)=\s", errata.errata(chapters, PACKAGE)) == []


def test_deviations_of_docstrings_and_comments_say_where(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "wing").mkdir(parents=True)
    (package / "wing" / "steps.py").write_text(
        '"""Module.\n\nDeviation: of the module."""\n\n\ndef step():\n    """Do.\n\n    Deviation: slope_x 0.2,\n'
        '    not 0.01.\n\n    Args:\n        x: y\n    """\n'
        '    # Deviation: in a comment,\n    # two lines.\n    return "# Deviation: no"\n'
    )
    found = errata.in_module(package / "wing" / "steps.py", tmp_path)
    assert [(d.chapter, d.where) for d in found] == [
        ("wing", "`package.wing.steps`"),
        ("wing", "`package.wing.steps.step`"),
        ("wing", "a comment in `package.wing.steps`"),
    ]
    assert [d.text for d in found] == ["of the module.", r"slope\_x 0.2, not 0.01.", "in a comment, two lines."]


def test_errata_are_sorted_by_chapter_and_keep_the_chapters_myst(tmp_path: Path) -> None:
    chapter = tmp_path / "rosettes.md"
    chapter.write_text("# T\n\nDeviation: as {eq}`eq-a` says.\n\n```{code-cell}\n# x\nDeviation: not text\n```\n")
    package = tmp_path / "package"
    package.mkdir()
    (package / "shared.py").write_text('"""S.\n\nDeviation: shared.\n"""\n')
    text = errata.errata([chapter], package)
    assert "## Rosettes\n\n1. as {eq}`eq-a` says. ({doc}`chapter rosettes </book/rosettes>`)" in text
    assert "## What several chapters share\n\n1. shared. (`package.shared`)" in text
    assert "not text" not in text
    empty = tmp_path / "empty"
    empty.mkdir()
    assert errata.errata([], empty) == "No deviation is on record.\n"


# --- api


def test_the_api_page_names_every_public_function_of_the_package() -> None:
    text = api.api(PACKAGE)
    missing = []
    for name in api.modules(PACKAGE):
        module = importlib.import_module(name)
        for member, value in vars(module).items():
            if member.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if (inspect.isfunction(value) or inspect.isclass(value)) and f"\n### `{member}`\n" not in text:
                missing.append(f"{name}.{member}")
    assert not missing


def test_every_public_module_is_on_the_page_that_has_something_public() -> None:
    names = api.modules(PACKAGE)
    assert "cellweak_core.results" in names
    assert "cellweak_core.published" in names
    assert not any(part.startswith("_") for name in names for part in name.split("."))


SOURCE = '''"""A module.

a --> b
  \\\\--> c
"""

def f(x: "Tensor", /, n: int = 2, *parts: str, wide_name_of_an_argument: float = 1.0, other: bool = False,
      **rest) -> "Tensor":
    """Does x_1 to ``y``.

    More of it
    on two lines:

    - one
      goes on
    - two

    Args:
        x: (N, C) float,
            zero to one.
        n: how many.

    Returns:
        (N,) the *sum*.

    Raises:
        ValueError: never.

    Example:
        >>> f(1)
        2
    """

class C:
    """A class."""

    def __init__(self, a: int) -> None:
        ...

    def go(self) -> int:
        """Go."""

    def _hidden(self): ...

def _private(): ...
'''


def test_signatures_and_docstrings_are_rendered(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    docstring, (function, cls) = api.public_entries(path)
    assert "```text\na --> b\n" in api.render_docstring(docstring)
    assert function.signature.splitlines() == [
        "f(", "    x: Tensor,", "    /,", "    n: int = 2,", "    *parts: str,",
        "    wide_name_of_an_argument: float = 1.0,", "    other: bool = False,", "    **rest,", ") -> Tensor",
    ]  # fmt: skip
    ast.parse(f"def {function.signature}: pass")
    text = api.render_docstring(function.docstring)
    assert "Does x\\_1 to `y`." in text
    assert "- one goes on\n- two\n" in text
    assert "*Args*\n\n- `x`: (N, C) float, zero to one.\n" in text
    assert "- `n`: how many." in text
    assert "*Returns*\n\n- (N,) the \\*sum\\*.\n" in text
    assert "- `ValueError`: never." in text
    assert "```python\n>>> f(1)\n2\n```" in text
    assert cls.signature == "C(a: int)"
    assert [member.name for member in cls.members] == ["go"]


# --- staging


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["(tiny)=\n", "# Tiny\n", "\n", "Text."]},
        {"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "source": "a = 1",
         "outputs": [], "execution_count": 1},
        {"cell_type": "code", "metadata": {}, "source": "", "outputs": [], "execution_count": None},
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}  # fmt: skip


@pytest.fixture
def small_book(tmp_path: Path) -> Path:
    """A repository with one executed chapter named ``embeddings`` and one page."""
    book = tmp_path / "book"
    (book / "recorded").mkdir(parents=True)
    (book / "_static").mkdir()
    (book / "index.md").write_text("# Index\n")
    (book / "embeddings.md").write_text("---\nkernelspec:\n  name: python3\n---\n\n# Tiny\n")
    (book / "references.bib").write_text("")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n- caption: A\n  chapters:\n  - file: book/embeddings\n"
    )
    (tmp_path / "_config.yml").write_text("title: t\n")
    (tmp_path / "cellweak_core").mkdir()
    folder = write_run(tmp_path / "runs" / "embeddings", [number("Table 2", "Ours - Baseline CNN", "NSC", 91.0)],
                       figures=("fig_7.png",))  # fmt: skip
    (folder / "notebook.ipynb").write_text(json.dumps(NOTEBOOK))
    return tmp_path


def test_staging_replaces_the_chapter_by_its_executed_notebook(small_book: Path) -> None:
    out = small_book / "stage"
    (out / "book").mkdir(parents=True)
    (out / "book" / "old.md").write_text("left over")
    assert stage.stage(small_book, small_book / "runs", out) == ["embeddings"]
    assert not (out / "book" / "old.md").exists()
    assert not (out / "book" / "embeddings.md").exists()
    staged = json.loads((out / "book" / "embeddings.ipynb").read_text())
    title = staged["cells"][0]["source"]
    assert title.startswith("(tiny)=\n# Tiny\n\n:::{container} cw-run\n{download}`executed notebook <_downloads/")
    assert title.endswith("\n\nText.")
    assert staged["cells"][1]["metadata"]["tags"] == ["injected-parameters", "hide-input"]
    downloads = out / "book" / "_downloads"
    assert json.loads((downloads / "embeddings.ipynb").read_text()) == NOTEBOOK
    assert (downloads / "embeddings-results.json").is_file()
    generated = {path.stem: path.read_text() for path in (out / "book" / "_generated").glob("*.md")}
    assert set(generated) == {"scoreboard", "papers", "errata", "api", "front"}
    assert "simulated" in generated["scoreboard"]
    assert "{figure} _static/front.png" in generated["front"]
    assert (out / "book" / "_static" / "front.png").is_file()
    assert {path.name for path in out.iterdir()} == {"book", "_config.yml", "_toc.yml"}


def test_the_title_page_prefers_the_weak_heat_maps_and_says_what_they_show(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    (out / "_static").mkdir(parents=True)
    write_run(runs / "rosettes", [], figures=("fig_1.png", "fig_11.png", "setting_b_heat_map.png"))
    (runs / "rosettes" / "figures" / "setting_b_heat_map.png").write_bytes(b"the one")
    text = stage._front([runs], out)
    assert (out / "_static" / "front.png").read_bytes() == b"the one"
    [shown] = re.findall(r"^:alt: (.+)$", text, flags=re.M)
    assert "embryos" in shown
    assert "probability at every place" in text.split("\n\n")[1]
    assert "{doc}`Rosettes </book/rosettes>`" in text


def test_the_title_page_does_without_a_picture(small_book: Path) -> None:
    (small_book / "runs" / "embeddings" / "figures" / "fig_7.png").unlink()
    stage.stage(small_book, small_book / "runs", small_book / "stage")
    assert (small_book / "stage" / "book" / "_generated" / "front.md").read_text() == ""


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("absent", "not there: the chapter has not been executed"),
        ("truncated", "notebook.ipynb"),
        ("error", "cell 2 failed"),
        ("pending", "cell 2 was not executed"),
        ("list", "expected a Jupyter notebook"),
    ],
)
def test_a_chapter_that_is_not_whole_stops_the_book(small_book: Path, damage: str, message: str) -> None:
    path = small_book / "runs" / "embeddings" / "notebook.ipynb"
    content: Any = json.loads(path.read_text())
    if damage == "absent":
        path.unlink()
    elif damage == "truncated":
        path.write_text(path.read_text()[:100])
    else:
        if damage == "error":
            content["cells"][1]["outputs"] = [{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]
        elif damage == "pending":
            content["cells"][1]["execution_count"] = None
        path.write_text(json.dumps([] if damage == "list" else content))
    old = small_book / "stage"
    old.mkdir()
    (old / "earlier").write_text("whole")
    with pytest.raises(DataError, match=message):
        stage.stage(small_book, small_book / "runs", old)
    assert (old / "earlier").read_text() == "whole"


def test_a_page_of_the_contents_that_is_missing_is_named(small_book: Path) -> None:
    (small_book / "book" / "index.md").unlink()
    with pytest.raises(DataError, match=r"book/index\.md"):
        stage.stage(small_book, small_book / "runs", small_book / "stage")


def test_a_notebook_without_a_title_is_refused() -> None:
    with pytest.raises(DataError, match="# Title"):
        stage.with_note({"cells": []}, "note")


# --- the repository's own book


def test_every_page_of_the_contents_exists() -> None:
    pages = stage.toc_pages(ROOT / "_toc.yml")
    assert pages[0] == "book/index"
    assert len(pages) == len(set(pages))
    assert [page for page in pages if not (ROOT / f"{page}.md").is_file()] == []


def test_every_page_of_the_book_is_in_the_contents() -> None:
    pages = set(stage.toc_pages(ROOT / "_toc.yml"))
    assert {f"book/{path.stem}" for path in (ROOT / "book").glob("*.md")} == pages


def test_every_citation_has_its_entry() -> None:
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", (ROOT / "book" / "references.bib").read_text(), flags=re.M))
    cited = {paper.citation_key for paper in published.PAPERS.values()}
    for path in (ROOT / "book").glob("*.md"):
        for group in re.findall(r"\{cite(?::[a-z]+)?\}`([^`]+)`", path.read_text()):
            cited |= {key.strip() for key in group.split(",")}
    assert cited <= keys
