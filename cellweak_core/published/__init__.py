"""Every number the five papers print, as tidy tables: one CSV file per chapter.

A row is one number:

    chapter, item, row, column, value, low, high, n, unit, data, note, place, kind

- ``item``: the table or figure as the paper names it ("Table 2", "Fig. 5b"), or where the text prints the
  number ("Abstract", "Text 3.2.2"). A number the text prints about a figure stands under that figure.
- ``row``, ``column``: the method, and the condition or metric.
- ``value``: in the unit the paper prints; 87.91 per cent stays 87.91 with unit "percent".
- ``low``, ``high``: an interval; ``note`` says how it was made. A printed range has these and no ``value``.
- ``n``: the count behind the number. Where the numerator is known too, ``note`` begins with it ("80/92").
- ``data``: the real data set. ``note``: contradictions and misprints. ``place``: where exactly it stands.
- ``kind``: "result", measured and printed; "recorded", found in the authors' repository; "setting", a
  hyperparameter or the size of a data set; "figure", drawn or announced without a number (no ``value``).

A number here is never corrected, only annotated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHAPTERS", "COLUMNS", "KINDS", "PAPERS", "Paper", "items", "load"]

CHAPTERS = ("migration", "tracking", "embeddings", "rosettes", "cytogan")
KINDS = ("result", "recorded", "setting", "figure")
COLUMNS = (
    "chapter", "item", "row", "column", "value", "low", "high", "n", "unit", "data", "note", "place", "kind",
)  # fmt: skip


@dataclass(frozen=True)
class Paper:
    """A paper of the book.

    Attributes:
        title: Title as published.
        authors_short: First author, and "et al.".
        year: Year of publication.
        venue: Conference or journal.
        citation_key: Key in ``book/references.bib``.
    """

    title: str
    authors_short: str
    year: int
    venue: str
    citation_key: str


PAPERS = {
    "migration": Paper(
        "Weakly-supervised prediction of cell migration modes in confocal microscopy images "
        "using Bayesian deep learning",
        "Gupta et al.", 2020, "ISBI", "gupta2020bayesian",
    ),
    "tracking": Paper(
        "Weakly-supervised cell tracking via backward-and-forward propagation",
        "Nishimura et al.", 2020, "ECCV", "nishimura2020weakly",
    ),
    "embeddings": Paper(
        "Weakly supervised learning of single-cell feature embeddings",
        "Caicedo et al.", 2018, "CVPR", "caicedo2018weakly",
    ),
    "rosettes": Paper(
        "Cellular structure image classification with small targeted training samples",
        "Wang et al.", 2019, "IEEE Access", "wang2019cellular",
    ),
    "cytogan": Paper(
        "CytoGAN: generative modeling of cell images",
        "Goldsborough et al.", 2017, "bioRxiv", "goldsborough2017cytogan",
    ),
}  # fmt: skip


def load(chapter: str | None = None, *, kind: str | None = None) -> pd.DataFrame:
    """Read the published numbers.

    Args:
        chapter: One of ``CHAPTERS``; None reads all of them, in that order.
        kind: One of ``KINDS``; None keeps all of them.

    Returns:
        Table with the columns ``COLUMNS`` and a fresh index, in the order of the files. ``value``, ``low``
        and ``high`` are float64 (NaN where nothing is printed), ``n`` is nullable Int64, all others are
        strings (empty where there is nothing to say).

    Raises:
        ValueError: If ``chapter`` or ``kind`` is not one of those there are.

    Example:
        >>> table_2 = load("embeddings").query("item == 'Table 2' and column == 'NSCB'").set_index("row")
        >>> float(table_2.loc["Ours - Baseline CNN", "value"]), int(table_2.loc["Ours - Baseline CNN", "n"])
        (86.0, 92)
    """
    import pandas as pd  # here, so that importing the package stays quick

    _check_choice("chapter", chapter, CHAPTERS)
    _check_choice("kind", kind, KINDS)
    tables = []
    for name in CHAPTERS if chapter is None else (chapter,):
        with resources.files(__name__).joinpath(f"{name}.csv").open(encoding="utf-8") as file:
            tables.append(pd.read_csv(file, dtype="string", keep_default_na=False))
    table = pd.concat(tables, ignore_index=True)
    for column in ("value", "low", "high"):
        table[column] = pd.to_numeric(table[column].replace("", pd.NA)).astype("float64")
    table["n"] = pd.to_numeric(table["n"].replace("", pd.NA)).astype("Int64")
    if kind is not None:
        table = table[table["kind"] == kind].reset_index(drop=True)
    return table


def items(chapter: str | None = None) -> pd.DataFrame:
    """List the published items.

    Args:
        chapter: One of ``CHAPTERS``; None lists all of them.

    Returns:
        One row per chapter and item with the columns ``chapter``, ``item``, ``numbers`` (how many of its
        rows hold a number; a printed range counts as one) and ``kinds`` (those that occur,
        comma-separated). Tables come first and figures second, by number, then the abstract, the text by
        section, drafts and recorded runs.

    Raises:
        ValueError: If ``chapter`` is not one of those there are.
    """
    import pandas as pd

    table = load(chapter)
    rows = [
        {
            "chapter": name,
            "item": item,
            "numbers": int(group[["value", "low"]].notna().any(axis=1).sum()),
            "kinds": ", ".join(kind for kind in KINDS if (group["kind"] == kind).any()),
        }
        for (name, item), group in table.groupby(["chapter", "item"], sort=False)
    ]
    rows.sort(key=lambda row: (CHAPTERS.index(str(row["chapter"])), _item_order(str(row["item"]))))
    strings = {column: "string" for column in ("chapter", "item", "kinds")}
    return pd.DataFrame(rows, columns=["chapter", "item", "numbers", "kinds"]).astype(strings)


def _item_order(item: str) -> tuple[int, tuple[int, ...], str]:
    """Sort key that puts "Fig. 10" after "Fig. 9b" and "Text 3.10" after "Text 3.9"."""
    match = re.match(r"(Table|Fig\.|Text) ([\d.]+)(.*)$", item)
    if match:
        group = {"Table": 0, "Fig.": 1, "Text": 3}[match[1]]
        return group, tuple(int(part) for part in match[2].split(".")), match[3]
    if item == "Abstract":
        return 2, (), ""
    return (5 if item.startswith("Recorded runs") else 4), (), item


def _check_choice(name: str, given: str | None, choices: tuple[str, ...]) -> None:
    """Raise a ValueError that names the choices there are."""
    if given is not None and given not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {given!r}")
