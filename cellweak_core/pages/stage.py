"""The copy of the book that jupyter-book renders: chapters replaced by their executed notebooks.

book/*.md ──copied──────────────┐
_build/runs/CHAPTER/notebook.ipynb ─┼─> _build/stage/ ──jupyter-book──> _build/html/
published, runs, recorded, core ─┘   (_generated/*.md: scoreboard, papers, errata, api, front)
"""

import argparse
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import DataError, read_json
from ..markdown import escape
from ..results import provenance_line
from .api import api
from .errata import errata
from .scoreboard import Run, chapter_titles, item_states, load_runs, papers_table, scoreboard

# The title page's picture, the first of these that a run has drawn, with what it shows.
FRONT = {
    "rosettes/figures/setting_b_heat_map.png": (
        "Images of embryos with bright membranes, and below each a map of how probable a rosette is at every place",
        "A network that was told which images have a rosette, and started from simulated embryos, shows where rosettes "
        "are. Above, images of a day it has not seen, circles round the true centres where they are known; below, its "
        "probability at every place.",
    ),
    "*/figures/*.png": ("A figure that the book regenerates", "One of the figures that the book regenerates."),
}


def toc_pages(toc: Path) -> list[str]:
    """Every page that a ``_toc.yml`` names, the root first, without endings."""
    import yaml

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (str(node[key]) for key in ("root", "file") if key in node)
            for key, value in node.items():
                if key not in ("root", "file"):
                    yield from walk(value)
        elif isinstance(node, list):
            for part in node:
                yield from walk(part)

    return list(walk(yaml.safe_load(toc.read_text(encoding="utf-8"))))


def is_chapter(page: Path) -> bool:
    """Whether a page is executed: its front matter names a kernel."""
    front = re.match(r"---\n(.*?)\n---\n", page.read_text(encoding="utf-8"), flags=re.S)
    return bool(front and re.search(r"^kernelspec:", front[1], flags=re.M))


def executed(notebook: Path) -> dict[str, Any]:
    """An executed notebook, checked to be whole.

    Raises:
        DataError: it is not there, not a notebook, or a cell of it failed or did not run.
    """
    if not notebook.is_file():
        raise DataError(f"{notebook}: not there: the chapter has not been executed; `make book` executes it")
    content = read_json(notebook)
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise DataError(f"{notebook}: expected a Jupyter notebook with cells; delete it and run `make book`")
    for number, cell in enumerate(content["cells"], 1):
        failed = any(output.get("output_type") == "error" for output in cell.get("outputs", ()))
        pending = (
            cell.get("cell_type") == "code"
            and "".join(cell.get("source", ())).strip()
            and cell.get("execution_count") is None
        )
        if failed or pending:
            what = "failed" if failed else "was not executed"
            raise DataError(f"{notebook}: cell {number} {what}; delete the file and run `make book` again")
    return content


def _run_note(name: str, run: Run | None) -> str:
    """The line under a chapter's title: downloads, and how this page was made."""
    links = [f"{{download}}`executed notebook <_downloads/{name}.ipynb>`"]
    if run is not None:
        links.append(f"{{download}}`results.json <_downloads/{name}-results.json>`")
        links.append(escape(provenance_line(run.provenance)))
    return ":::{container} cw-run\n" + " · ".join(links) + "\n:::\n"


def with_note(content: dict[str, Any], note: str) -> dict[str, Any]:
    """A copy of a notebook with a line below its title, and its parameters folded.

    Args:
        content: the notebook as JSON.
        note: MyST to stand below the first heading.
    """
    cells, placed = [], False
    for cell in content["cells"]:
        source = "".join(cell.get("source", ""))
        if not placed and cell["cell_type"] == "markdown" and re.search(r"^# ", source, flags=re.M):
            source = re.sub(r"^(# .*)$", lambda found: f"{found[1]}\n\n{note}", source, count=1, flags=re.M)
            placed = True
        tags = list(cell.get("metadata", {}).get("tags", ()))
        if {"parameters", "injected-parameters"} & set(tags) and "hide-input" not in tags:
            tags.append("hide-input")
        metadata = {**cell.get("metadata", {}), **({"tags": tags} if tags else {})}
        cells.append({**cell, "source": source, "metadata": metadata})
    if not placed:
        raise DataError("a chapter begins with a heading: no line `# Title` found in its text cells")
    return {**content, "cells": cells}


def _front(folders: list[Path], out: Path) -> str:
    for folder in folders:
        for pattern, (shown, caption) in FRONT.items():
            for picture in sorted(folder.glob(pattern)):
                shutil.copyfile(picture, out / "_static" / "front.png")
                name = picture.parent.parent.name.split("-")[0]
                return (
                    f"```{{figure}} _static/front.png\n:name: fig-front\n:alt: {shown}\n:width: 100%\n\n"
                    f"{caption} From the chapter {{doc}}`{name.capitalize()} </book/{name}>`.\n```\n"
                )
    return ""


def stage(root: Path, runs_dir: Path, out: Path) -> list[str]:
    """Make the copy that jupyter-book renders, afresh.

    Args:
        root: the repository: ``_toc.yml``, ``_config.yml``, ``book/``, ``cellweak_core/``.
        runs_dir: one folder per executed chapter.
        out: where the copy goes; what was there is replaced.

    Returns:
        The chapters that were staged.

    Raises:
        DataError: a chapter of the table of contents is not executed, or a page is missing.
    """
    book, pages = root / "book", toc_pages(root / "_toc.yml")
    missing = [page for page in pages if not (root / f"{page}.md").is_file()]
    if missing:
        raise DataError(f"_toc.yml names pages that are not there: {', '.join(f'{m}.md' for m in missing)}")
    chapters = [root / f"{page}.md" for page in pages if is_chapter(root / f"{page}.md")]
    notebooks = {path.stem: executed(runs_dir / path.stem / "notebook.ipynb") for path in chapters}
    runs, recorded = load_runs(runs_dir), load_runs(book / "recorded")

    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(book, out / "book", ignore=shutil.ignore_patterns("parameters", ".*"))
    for name in ("_config.yml", "_toc.yml"):
        shutil.copyfile(root / name, out / name)
    staged, generated, downloads = out / "book", out / "book" / "_generated", out / "book" / "_downloads"
    for folder in (generated, downloads, staged / "_static"):
        folder.mkdir(exist_ok=True)
    by_name = {run.name: run for run in runs}
    for path in chapters:
        name, run = path.stem, by_name.get(path.stem)
        (staged / path.name).unlink()
        content = with_note(notebooks[name], _run_note(name, run))
        (staged / f"{name}.ipynb").write_text(json.dumps(content), encoding="utf-8")
        shutil.copyfile(runs_dir / name / "notebook.ipynb", downloads / f"{name}.ipynb")
        if run is not None:
            shutil.copyfile(runs_dir / name / "results.json", downloads / f"{name}-results.json")

    package, every, titles = root / "cellweak_core", [*runs, *recorded], chapter_titles(pages)
    for name, text in {
        "scoreboard": scoreboard(every, titles),
        "papers": papers_table(item_states(every), titles),
        "errata": errata(chapters, package),
        "api": api(package),
        "front": _front([runs_dir, book / "recorded"], staged),
    }.items():
        (generated / f"{name}.md").write_text(text, encoding="utf-8")
    return [path.stem for path in chapters]


def main() -> None:
    """``python -m cellweak_core.pages.stage``: what ``make book`` calls before jupyter-book."""
    parser = argparse.ArgumentParser(description="Stage the book for jupyter-book.")
    parser.add_argument("--root", type=Path, default=Path("."), help="the repository")
    parser.add_argument("--runs", type=Path, default=Path("_build/runs"), help="one folder per chapter")
    parser.add_argument("--out", type=Path, default=Path("_build/stage"), help="where the copy goes")
    given = parser.parse_args()
    try:
        chapters = stage(given.root, given.runs, given.out)
    except DataError as error:
        raise SystemExit(f"error: {error}") from error
    print(f"staged {given.out} with the executed chapters: {', '.join(chapters) or 'none'}")


if __name__ == "__main__":
    main()
