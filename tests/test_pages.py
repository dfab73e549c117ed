"""The pages made from data, and the copy of the book that is rendered."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from page_runs import number, write_run

from cellweak_core import published
from cellweak_core.embeddings import data
from cellweak_core.files import DataError
from cellweak_core.pages import api, errata, stage
from cellweak_core.screens import metadata

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cellweak_core"


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


def test_the_screen_of_your_data_is_laid_out_and_read_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "book" / "your_data.md").read_text()
    [code] = [one for one in re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S) if "my_screen" in one]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    said = list(data.check("my_screen", held_out=["2"]))
    quoted = re.search(r"says, among other things,\n`(.+)` and `(.+)`\.\n", text)
    assert quoted
    assert set(quoted.groups()) <= set(said)


def test_your_data_names_every_column_that_a_screen_is_read_by() -> None:
    text = (ROOT / "book" / "your_data.md").read_text().lower()
    names = [name for known, others in metadata.KNOWN.items() for name in (known, *others)]
    assert [name for name in names if f"`{name.lower()}`" not in text] == []


def test_every_citation_has_its_entry() -> None:
    keys = set(re.findall(r"^@\w+\{([^,\s]+),", (ROOT / "book" / "references.bib").read_text(), flags=re.M))
    cited = {paper.citation_key for paper in published.PAPERS.values()}
    for path in (ROOT / "book").glob("*.md"):
        for group in re.findall(r"\{cite(?::[a-z]+)?\}`([^`]+)`", path.read_text()):
            cited |= {key.strip() for key in group.split(",")}
    assert cited <= keys
