"""MyST text made from data: cells and docstrings escaped, tables the book can number."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .tables import format_value

if TYPE_CHECKING:
    import pandas as pd

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|$~^@])")


def escape(text: str) -> str:
    r"""Text that MyST shows as it stands: ``a_b*`` becomes ``a\_b\*``, a line break becomes a space."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def prose(text: str) -> str:
    """One paragraph of a docstring as MyST: ````code```` stays code, everything else is escaped.

    Args:
        text: reStructuredText as Google docstrings use it; of a role only its name is kept.
    """
    text = re.sub(r":[a-z:]+:`~?([^`<>]+)`", r"``\1``", text)
    parts = re.split(r"(``.+?``|`[^`]+`)", " ".join(text.split()))
    return "".join(
        f"`{part.strip('`')}`" if part.startswith("`") and part.strip("`") else _SPECIAL.sub(r"\\\1", part)
        for part in parts
    )


def counted(n: Any, note: str) -> str:  # noqa: ANN401 - an integer or a table's missing value
    """An n with what it counts, as the row's note says: a paper's n are often trainings, a run's test images.

    >>> counted(20, "mean of 20; n counts runs; Sec. 3"), counted(1, "n counts trainings"), counted(5, "")
    (' (n = 20 runs)', ' (n = 1 training)', ' (n = 5)')
    """
    if str(n) in ("None", "nan", "<NA>"):  # a missing value of pandas refuses to be compared
        return ""
    found = re.search(r"n counts ([^;]+)", note)
    what = f" {found[1].strip()}" if found else ""
    return f" (n = {int(n)}{what.removesuffix('s') if int(n) == 1 else what})"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return format_value(value)
    return escape("" if value is None else str(value))


def myst_table(
    frame: "pd.DataFrame",
    caption: str = "",
    name: str = "",
    raw: Sequence[str] = (),
) -> str:
    """A frame as a MyST table that the book numbers and that ``{numref}`` can point at.

    Args:
        frame: one line per row, the index left out; floats go through ``format_value``, text is escaped.
        caption: MyST text (citations and maths work); without one the table has no number.
        name: the label for cross-references, unique in the whole book.
        raw: columns whose cells are MyST already.
    """
    right = [str(kind)[:3].lower() in ("int", "uin", "flo") for kind in frame.dtypes]
    verbatim = set(raw)
    lines = [
        "| " + " | ".join(escape(str(column)) for column in frame.columns) + " |",
        "|" + "|".join("---:" if number else ":---" for number in right) + "|",
    ]
    for row in frame.itertuples(index=False, name=None):
        cells = [
            str(value) if column in verbatim else _cell(value)
            for column, value in zip(frame.columns, row, strict=True)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join(lines)
    if not caption:
        return f"{table}\n"
    label = f":name: {name}\n" if name else ""
    return f":::{{table}} {' '.join(caption.split())}\n{label}\n{table}\n:::\n"
