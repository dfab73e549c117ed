"""Tables: the one schema of every number, CSV in and out, and HTML for a page."""

import difflib
import html
import math
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import DataError, atomic_path

if TYPE_CHECKING:
    import pandas as pd

ROW_COLUMNS = ("chapter", "item", "row", "column", "value", "low", "high", "n", "unit", "data", "note")
_TEXT = ("chapter", "item", "row", "column", "unit", "data", "note")
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@cache
def _schema() -> Any:  # noqa: ANN401 - pandera publishes no types here
    import pandera.pandas as pa

    columns = {name: pa.Column(str, nullable=False) for name in _TEXT}
    for name in ("chapter", "item", "row", "column", "data"):
        columns[name] = pa.Column(str, pa.Check(lambda s: s != "", error="must not be empty"))
    columns |= {name: pa.Column(float, nullable=True) for name in ("value", "low", "high")}
    columns["n"] = pa.Column("Int64", pa.Check.ge(0), nullable=True)
    checks = [
        pa.Check(lambda f: f["value"].notna() | (f["note"] != ""), error="no value, and no note that says why"),
        pa.Check(lambda f: f["n"].notna() | (f["note"] != ""), error="no n, and no note that says why"),
        pa.Check(lambda f: ~(f["low"] > f["high"]), error="low above high: an interval runs from low to high"),
    ]
    return pa.DataFrameSchema({name: columns[name] for name in ROW_COLUMNS}, checks=checks, strict=True, coerce=True)


def rows_frame(rows: "Sequence[Mapping[str, object]] | pd.DataFrame") -> "pd.DataFrame":
    """Rows of the one schema for every number, checked.

    Args:
        rows: mappings or a frame with the columns of ``ROW_COLUMNS``; ``low``, ``high``, ``unit`` and
            ``note`` may be left out.

    Returns:
        A frame with exactly ``ROW_COLUMNS``; text as ``str``, ``value``, ``low``, ``high`` as float,
        ``n`` as nullable integer.

    Raises:
        DataError: a column is missing or unknown, a value or an n is missing without a note, or an interval
            is upside down; the message names the row.
    """
    import pandas as pd
    from pandera.errors import SchemaErrors

    frame = pd.DataFrame(rows) if len(rows) else pd.DataFrame(columns=list(ROW_COLUMNS))
    defaults: dict[str, str | float] = {"low": math.nan, "high": math.nan, "unit": "", "note": ""}
    frame = frame.assign(**{name: value for name, value in defaults.items() if name not in frame})
    missing = [name for name in ROW_COLUMNS if name not in frame]
    unknown = [str(name) for name in frame.columns if name not in ROW_COLUMNS]
    if missing or unknown:
        raise DataError(f"rows of numbers: missing columns {missing}, unknown columns {unknown}; "
                        f"expected {', '.join(ROW_COLUMNS)}")  # fmt: skip
    frame = frame[list(ROW_COLUMNS)].reset_index(drop=True)
    for name in _TEXT:
        frame[name] = frame[name].fillna("").astype(str)
    try:
        return _schema().validate(frame, lazy=True)
    except SchemaErrors as error:
        case = error.failure_cases.iloc[0]
        column = "" if case["schema_context"] == "DataFrameSchema" else f"column {case['column']!r}: "
        found = str(case["check"]).replace("coerce_dtype('float64')", "expected a number")
        found = found.replace("coerce_dtype('Int64')", "expected a whole number")
        where = frame if pd.isna(case["index"]) else frame.iloc[int(case["index"])].to_dict()
        raise DataError(f"rows of numbers: {column}{found}, in {where}") from error


def _column(text: "pd.Series", dtype: str, path: Path) -> "pd.Series":
    """One column of text as ``dtype``; the first cell that does not fit is an error with its line."""
    import pandas as pd

    kind, nullable = dtype.removesuffix("?"), dtype.endswith("?")
    stripped = text.str.strip()
    empty = stripped == ""
    if kind == "str":
        values, good = text, pd.Series(True, index=text.index)
    elif kind == "bool":
        values = stripped.str.lower().map(TRUTH).astype("boolean")
        good = values.notna()
    elif kind in ("int", "float"):
        values = pd.to_numeric(stripped, errors="coerce").astype(float)
        good = values.notna() if kind == "float" else values.notna() & (values % 1 == 0)
        good |= stripped.str.lower() == "nan" if nullable else False
    else:
        raise ValueError(f"dtype of column {text.name!r}: expected int, float, str or bool, given {dtype!r}")
    bad = ~good & ~empty if nullable else ~good | empty
    if bad.any():
        at = int(bad.to_numpy().argmax())
        found = repr(text.iloc[at]) if stripped.iloc[at] else "an empty cell"
        raise DataError(
            f"{path}, line {at + 2}, column {text.name!r}: expected {kind}, found {found}"
            + (f" (and {int(bad.sum()) - 1} more)" if bad.sum() > 1 else "")
        )
    if kind == "int":
        return values.astype("Int64" if nullable else "int64")
    return values.astype("bool") if kind == "bool" and not nullable else values


def read_csv(
    path: str | os.PathLike[str], required: Mapping[str, str], optional: Mapping[str, str] | None = None
) -> "pd.DataFrame":
    """Read a CSV file whose columns are declared.

    Args:
        path: a CSV file (``.gz`` too), UTF-8, with one header line.
        required: column name to ``int``, ``float``, ``str`` or ``bool``; with a trailing ``?`` cells may be
            empty.
        optional: the same for columns that may be absent.

    Returns:
        The file's columns in the file's order; columns not declared stay text.

    Raises:
        DataError: file missing or empty, columns missing, a cell that does not fit; names the file, the line
            (the header is line 1), the column, what was expected and what was found.
    """
    import pandas as pd

    path = Path(path)
    expected = f"expected the columns {', '.join(required)}"
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there; {expected}") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; {expected}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read as CSV in UTF-8: {error}; save it as CSV UTF-8 (in Excel a file type of its own)"
        ) from error
    except (pd.errors.ParserError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8: {error}; {expected}") from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first column for an index
        found = ", ".join(frame.columns)
        raise DataError(f"{path}: the rows have more cells than the header; {expected}, found {found}")
    frame.columns = frame.columns.str.strip()
    for name in required:
        if name not in frame:
            near = difflib.get_close_matches(name, frame.columns, n=1, cutoff=0.5)
            hint = f"; rename {near[0]!r}?" if near else ""
            hint = separator_hint(frame) or hint
            raise DataError(f"{path}: column {name!r} is missing; {expected}, found {', '.join(frame.columns)}{hint}")
    for name, dtype in {**required, **(optional or {})}.items():
        if name in frame:
            frame[name] = _column(frame[name], dtype, path)
    return frame


def separator_hint(frame: "pd.DataFrame") -> str:
    """What to do about a table that was read as one column because it is separated by something else, or nothing."""
    name = str(frame.columns[0]) if len(frame.columns) == 1 else ""
    mark = "semicolons" if ";" in name else "tabs" if "\t" in name else ""
    return f"; separate the columns by commas, not {mark}" if mark else ""


def write_csv(frame: "pd.DataFrame", path: str | os.PathLike[str]) -> Path:
    """Write a frame as CSV without its index, whole or not at all."""
    with atomic_path(path) as part:
        frame.to_csv(part, index=False, lineterminator="\n")
    return Path(path)


def html_table(frame: "pd.DataFrame", caption: str | None = None, classes: Sequence[str] = ()) -> str:
    """A frame as an HTML table, every cell escaped, in a box that scrolls sideways by itself.

    Args:
        frame: cells are shown with ``str``; floats through ``format_value``.
        caption: plain text above the table.
        classes: CSS classes beside ``cw-table``.
    """
    shown = frame.to_html(
        index=False, border=0, na_rep="", escape=True, classes=["cw-table", *classes], justify="unset",
        float_format=lambda value: format_value(value),
    )  # fmt: skip
    if caption:
        head, rest = shown.split(">", 1)
        shown = f"{head}>\n<caption>{html.escape(caption)}</caption>{rest}"
    return f'<div class="cw-scroll">\n{shown}\n</div>'


def _digits(value: float) -> str:
    """Three significant digits, never fewer than the whole part; ``1.2e-06`` when very small."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    size = math.floor(math.log10(abs(value)))
    if size < -4:
        return f"{value:.2g}"
    return f"{value:.{0 if value == int(value) else max(0, 2 - size)}f}"


def format_value(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    n: int | None = None,
    count: int | None = None,
) -> str:
    """A number for people: ``0.934 [0.910, 0.951] (n = 20)``; ``87.0 % (80/92)`` where a count is given.

    Args:
        value: the number; None or NaN gives a dash.
        low: lower end of the interval, if there is one.
        high: upper end of the interval.
        unit: printed after the number, ``percent`` as ``%``.
        n: how many it rests on.
        count: how many of the n, for a share. Never guessed from the value: an accuracy of 85 % over 20 runs
            is not 17 of 20.
    """

    def known(number: float | None) -> bool:
        # `number != number` is true for NaN and NA-like objects need the first test
        return number is not None and str(number) != "<NA>" and not math.isnan(float(number))

    if not known(value):
        return "-"
    assert value is not None
    unit = "%" if unit == "percent" else unit
    text = _digits(float(value))
    if low is not None and high is not None and known(low) and known(high):
        text += f" [{_digits(float(low))}, {_digits(float(high))}]"
    text += f" {unit}" if unit else ""
    if n is None or not known(n) or int(n) == 0:
        return text
    if count is not None:
        return f"{text} ({count}/{int(n)})"
    return f"{text} (n = {int(n)})"
