"""Every published item of every paper, and how far it is regenerated.

published/*.csv ─┐
_build/runs/*/results.json ─┼─> one row per item: not yet | on simulated data | on real data
book/recorded/*/results.json ┘   and one row per number: the paper's, this run's, the recorded real run's
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..markdown import counted, escape, myst_table
from ..published import PAPERS, items, load
from ..results import load_results, provenance_line
from ..tables import format_value

if TYPE_CHECKING:
    import pandas as pd

# What a paper claims. Settings (learning rates) and the authors' own logs are not results to regenerate.
REGENERATED_KINDS = ("result", "figure")
KEY = ["chapter", "item", "row", "column"]
FEW = 3  # numbers of an item that stand in its row; of more their count does, and all are listed below
SIDES = {"paper": "the paper", "simulated": "this run, simulated", "real": "recorded run, real data"}


@dataclass(frozen=True)
class Run:
    """One run of a chapter: its folder's name, rows of the one schema, provenance, and the items it drew."""

    name: str
    chapter: str
    rows: "pd.DataFrame"
    provenance: Mapping[str, Any]
    drawn: tuple[str, ...]

    @property
    def on_simulated(self) -> bool:
        """Whether the run made its own data."""
        return is_simulated(str(self.provenance.get("data", "")))


def is_simulated(data: str) -> bool:
    """Whether a data name of the one schema means simulated data, and not somebody's folder of a like name.

    >>> is_simulated("simulated"), is_simulated("simulated, windows"), is_simulated("simulated_2024")
    (True, True, False)
    """
    return data == "simulated" or data.startswith("simulated, ")


def item_key(item: str) -> tuple[str, str, str]:
    """An item's kind, number and panel, from its printed name or from a file's name.

    >>> item_key("Fig. 1a left"), item_key("fig_1a"), item_key("Text 4.1")
    (('fig', '1', 'a'), ('fig', '1', 'a'), ('text', '4_1', ''))
    """
    slug = re.sub(r"[^a-z0-9]+", "_", item.lower()).strip("_")
    found = re.match(r"(fig|table|text)(?:ure)?_(\d+(?:_\d+)*)([a-z]?)(?![a-z0-9])", slug)
    return (found[1], found[2], found[3]) if found else (slug, "", "")


def same_item(published: str, run: str) -> bool:
    """Whether a run's item answers a published one: a figure without panel answers all of its panels.

    >>> same_item("Fig. 3a", "Fig. 3"), same_item("Fig. 3", "Fig. 3b"), same_item("Fig. 3a", "Fig. 3b")
    (True, True, False)
    """
    left, right = item_key(published), item_key(run)
    return left[:2] == right[:2] and (left[2] == right[2] or not left[2] or not right[2])


def load_run(folder: Path) -> Run:
    """Read one run's folder.

    Args:
        folder: holds ``results.json`` and, if any were drawn, ``figures/`` and ``tables/``. Pictures that
            show somebody's images are not kept with a recorded run: provenance names them under ``figures``.
    """
    rows, provenance = load_results(folder / "results.json")
    drawn = {path.stem for kind in ("figures", "tables") for path in (folder / kind).glob("*.*")}
    drawn |= {str(name) for name in provenance.get("figures", ())}
    chapter = str(rows["chapter"].iloc[0]) if len(rows) else folder.name.split("-")[0]
    return Run(folder.name, chapter, rows, provenance, tuple(sorted(drawn)))


def load_runs(folder: Path) -> list[Run]:
    """Every run that lies in a folder of runs, by name."""
    return [load_run(path.parent) for path in sorted(folder.glob("*/results.json"))]


def _answered(item: str, run: Run, *, simulated: bool) -> bool:
    rows = run.rows[[is_simulated(data) == simulated for data in run.rows["data"]]]
    if any(same_item(item, name) for name in set(rows["item"])):
        return True
    return run.on_simulated == simulated and any(same_item(item, name) for name in run.drawn)


def item_states(runs: Sequence[Run]) -> "pd.DataFrame":
    """One row per published item: its tables, then its figures, then the numbers in its text.

    Args:
        runs: the book's own runs and the recorded ones.

    Returns:
        Columns chapter, item, what, numbers (how many the paper prints), simulated (bool), real (bool).
    """
    import pandas as pd

    published = load()
    wanted = published[published["kind"].isin(REGENERATED_KINDS)]
    states = []
    for listed in items().itertuples():
        chapter, item = str(listed.chapter), str(listed.item)
        rows = wanted[(wanted["chapter"] == chapter) & (wanted["item"] == item)]
        if not len(rows):
            continue
        own = [run for run in runs if run.chapter == chapter]
        columns = list(dict.fromkeys(rows["column"]))
        states.append({
            "chapter": chapter,
            "item": item,
            "what": ", ".join(columns[:3]) + (" …" if len(columns) > 3 else ""),
            "numbers": int(rows[["value", "low"]].notna().any(axis=1).sum()),
            "simulated": any(_answered(item, run, simulated=True) for run in own),
            "real": any(_answered(item, run, simulated=False) for run in own),
        })  # fmt: skip
    return pd.DataFrame(states, columns=["chapter", "item", "what", "numbers", "simulated", "real"])


def _shown(rows: "pd.DataFrame") -> dict[tuple[str, ...], str]:
    """Numbers as text by key; of the same key the last counts."""
    return {
        tuple(row[name] for name in KEY): format_value(row["value"], row["low"], row["high"], row["unit"])
        + counted(row["n"], row["note"])
        for row in rows[rows["value"].notna()].to_dict(orient="records")
    }


def numbers(runs: Sequence[Run]) -> "pd.DataFrame":
    """One row per number that a paper prints as a result: the paper's, on simulated, on real data.

    Args:
        runs: in order of preference, the last one wins.

    Returns:
        Text columns chapter, item, row, column, paper, simulated, real; empty where there is no number.
    """
    import pandas as pd

    published = load(kind="result")
    printed = published[published["value"].notna()]
    paper = _shown(printed)
    found: dict[bool, dict[tuple[str, ...], str]] = {True: {}, False: {}}
    for run in runs:
        for simulated, texts in found.items():
            texts |= _shown(run.rows[[is_simulated(data) == simulated for data in run.rows["data"]]])
    lines = []
    for row in printed.drop_duplicates(KEY).to_dict(orient="records"):
        key = tuple(row[name] for name in KEY)
        lines.append({
            **{name: row[name] for name in KEY},
            "paper": paper[key],
            "simulated": found[True].get(key, ""),
            "real": found[False].get(key, ""),
        })  # fmt: skip
    return pd.DataFrame(lines, columns=[*KEY, *SIDES])


def _state_text(simulated: bool, real: bool) -> str:
    done = [name for name, is_done in (("simulated", simulated), ("real\N{NO-BREAK SPACE}data", real)) if is_done]
    return " + ".join(done) if done else "*not\N{NO-BREAK SPACE}yet*"


def papers_table(states: "pd.DataFrame", titles: Mapping[str, str]) -> str:
    """The papers with their state, as MyST.

    Args:
        states: of ``item_states``.
        titles: chapter to MyST text that names paper and chapter.
    """
    import pandas as pd

    lines = []
    for chapter, own in states.groupby("chapter", sort=False):
        lines.append({
            "chapter": titles.get(str(chapter), escape(str(chapter))),
            "items": len(own),
            "on simulated data": int(own["simulated"].sum()),
            "on real data": int(own["real"].sum()),
            "not yet": int((~own["simulated"] & ~own["real"]).sum()),
        })  # fmt: skip
    return myst_table(pd.DataFrame(lines), raw=["chapter"])


def scoreboard(runs: Sequence[Run], titles: Mapping[str, str]) -> str:
    """The scoreboard as MyST: a table of items per chapter, its numbers folded below.

    Args:
        runs: the book's own runs first, then the recorded ones.
        titles: chapter to MyST text that names it.
    """
    states, every_number = item_states(runs), numbers(runs)
    parts = [papers_table(states, titles)]
    for chapter in titles:
        own_items = states[states["chapter"] == chapter]
        own_numbers = every_number[every_number["chapter"] == chapter]
        parts += [f"## {chapter.capitalize()}\n\n{titles[chapter]}\n", _items_table(own_items, own_numbers)]
        if len(own_numbers):
            table = own_numbers.drop(columns="chapter").rename(columns=SIDES)
            title = f"The {len(table)} numbers that the paper prints as results, one by one"
            parts.append(f"::::{{dropdown}} {title}\n\n{myst_table(table)}\n::::\n")
        made = [run for run in runs if run.chapter == chapter]
        parts += [f"- `{run.name}`: {escape(provenance_line(run.provenance))}" for run in made]
        parts.append("")
    return "\n".join(parts)


def _items_table(states: "pd.DataFrame", own_numbers: "pd.DataFrame") -> str:
    """One chapter's items: the paper's numbers and the runs' where they are few, else how many each side has."""
    import pandas as pd

    lines = []
    for state in states.to_dict(orient="records"):
        beside = own_numbers[own_numbers["item"] == state["item"]]
        lines.append({
            "item": state["item"].replace(" ", "\N{NO-BREAK SPACE}", 1),
            "what": state["what"],
            "state": _state_text(state["simulated"], state["real"]),
            **{name: _few(beside, column) for column, name in SIDES.items()},
        })  # fmt: skip
    return myst_table(pd.DataFrame(lines), raw=["state"])


def _few(beside: "pd.DataFrame", column: str) -> str:
    """The numbers of one item on one side; a place without one keeps a dash, so that sides can be read across."""
    if (beside[column] == "").all():
        return ""
    if len(beside) > FEW:
        return f"{(beside[column] != '').sum()} numbers"
    return "; ".join(text or "-" for text in beside[column])


def chapter_titles(toc: Sequence[str]) -> dict[str, str]:
    """Chapter to a line that names it: a link where the book has the chapter, and the paper it regenerates.

    Args:
        toc: the pages of the book, ``book/rosettes``.
    """
    pages = {Path(page).name for page in toc}
    return {
        name: (f"{{doc}}`{name.capitalize()} </book/{name}>`" if name in pages else name.capitalize())
        + f": {escape(paper.title)}, {{cite:t}}`{paper.citation_key}`"
        for name, paper in PAPERS.items()
    }
