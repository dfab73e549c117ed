import gzip
import math
from pathlib import Path

import pandas as pd
import pytest

from cellweak_core import tables
from cellweak_core.files import DataError

ROW = {
    "chapter": "rosettes", "item": "Fig. 10", "row": "GAN", "column": "accuracy", "value": 0.9, "low": 0.8,
    "high": 0.95, "n": 20, "unit": "", "data": "simulated", "note": "",
}  # fmt: skip


def test_rows_frame_has_the_schema() -> None:
    frame = tables.rows_frame([ROW, {**ROW, "value": 1, "n": 3.0}])
    assert tuple(frame.columns) == tables.ROW_COLUMNS
    assert frame["value"].tolist() == [0.9, 1.0]
    assert frame["n"].tolist() == [20, 3]
    assert tables.rows_frame(frame).equals(frame)
    assert tuple(tables.rows_frame([]).columns) == tables.ROW_COLUMNS


def test_interval_unit_and_note_may_be_left_out() -> None:
    short = {key: value for key, value in ROW.items() if key not in ("low", "high", "unit", "note")}
    frame = tables.rows_frame([short])
    assert frame.loc[0, ["unit", "note"]].tolist() == ["", ""]
    assert frame[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": math.nan}, "no value, and no note"),
        ({"n": None}, "no n, and no note"),
        ({"n": -1}, "greater_than_or_equal_to"),
        ({"n": 2.5}, "whole number"),
        ({"value": "high"}, "column 'value': expected a number"),
        ({"low": 1.0, "high": 0.5}, "low above high"),
        ({"item": ""}, "column 'item': must not be empty"),
        ({"colour": "red"}, "unknown columns \\['colour'\\]"),
    ],
)
def test_rows_frame_refuses(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        tables.rows_frame([{**ROW, **change}])


def test_a_note_excuses_a_missing_value() -> None:
    frame = tables.rows_frame([{**ROW, "value": math.nan, "note": "one class only: undefined"}])
    assert math.isnan(frame.loc[0, "value"])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_read_csv(tmp_path: Path) -> None:
    text = "\ufefffile, frame,x,good,day,extra\na.png,1,2.5,yes,,01\nb.png,2,-1e3,0,20170711,02\n"
    path = tmp_path / "points.csv"
    path.write_text(text, encoding="utf-8")
    required = {"file": "str", "frame": "int", "x": "float", "good": "bool"}
    frame = tables.read_csv(path, required, optional={"day": "int?", "absent": "float"})
    assert frame["frame"].tolist() == [1, 2]
    assert frame["x"].tolist() == [2.5, -1000.0]
    assert frame["good"].tolist() == [True, False]
    assert frame["day"].isna().tolist() == [True, False]
    assert frame["extra"].tolist() == ["01", "02"]
    with gzip.open(tmp_path / "points.csv.gz", "wt", encoding="utf-8") as file:
        file.write(text)
    assert tables.read_csv(tmp_path / "points.csv.gz", required)["file"].tolist() == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,x\n1,2\n1.5,3\n", r"line 3, column 'frame': expected int, found '1\.5'"),
        ("frame,x\n1,2\n\n", "line 3, column 'frame': expected int, found an empty cell"),
        ("frame,x\n1,two\n2,zwei\n", r"line 2, column 'x': expected float, found 'two' \(and 1 more\)"),
        ("frame,x\n1,nan\n", "expected float, found 'nan'"),
        ("Frame,x\n1,2\n", "column 'frame' is missing; expected the columns frame, x, found Frame, x; rename 'Frame'"),
        ("frame;x\n1;2\n", "separate the columns by commas, not semicolons"),
        ("frame\tx\n1\t2\n", "separate the columns by commas, not tabs"),
        ("frame,x\n1,2,\n3,4,\n", "the rows have more cells than the header; expected the columns frame, x"),
        ("", "is empty; expected the columns frame, x"),
        ("frame,x\n1,2\n1,2,3,4\n", "cannot be read as CSV.*line 3"),
    ],
)
def test_read_csv_names_file_line_column(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "points.csv", text)
    with pytest.raises(DataError, match=message) as caught:
        tables.read_csv(path, {"frame": "int", "x": "float"})
    assert str(path) in str(caught.value)


def test_read_csv_other_trouble(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"points\.csv is not there"):
        tables.read_csv(tmp_path / "points.csv", {"x": "float"})
    (tmp_path / "latin.csv").write_bytes("x\nµ\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv .*save it as CSV UTF-8"):
        tables.read_csv(tmp_path / "latin.csv", {"x": "str"})
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"x\n" + b"1\n" * 1000)[:20])
    with pytest.raises(DataError, match=r"cut\.csv\.gz cannot be read"):
        tables.read_csv(tmp_path / "cut.csv.gz", {"x": "int"})


def test_write_csv_round_trip(tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["a,b", 'c"d'], "x": [0.1 + 0.2, math.nan]})
    path = tables.write_csv(frame, tmp_path / "tables" / "a.csv")
    again = tables.read_csv(path, {"name": "str", "x": "float?"})
    assert again["name"].tolist() == frame["name"].tolist()
    assert again["x"][0] == frame["x"][0]


def test_html_table_is_escaped_and_scrolls() -> None:
    frame = pd.DataFrame({"<b>": ["<script>", "a & b"], "x": [0.123456, math.nan]})
    text = tables.html_table(frame, caption="1 < 2", classes=["wide"])
    assert text.startswith('<div class="cw-scroll">')
    assert text.endswith("</div>")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<caption>1 &lt; 2</caption>" in text
    assert "0.123<" in text
    assert "nan" not in text.lower()
    assert 'class="dataframe cw-table wide"' in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((0.934, 0.91, 0.951, "", 20), "0.934 [0.910, 0.951] (n = 20)"),
        ((86.9565, None, None, "percent", 92, 80), "87.0 % (80/92)"),
        ((85, None, None, "%", 20), "85 % (n = 20)"),
        ((50, None, None, "%", None), "50 %"),
        ((1234.5,), "1234"),
        ((0.000123,), "0.000123"),
        ((1.23e-7,), "1.2e-07"),
        ((0,), "0"),
        ((-0.0456, None, None, "um"), "-0.0456 um"),
        ((math.nan,), "-"),
        ((None,), "-"),
        ((pd.NA,), "-"),
        ((2.0, math.nan, math.nan, "", pd.NA), "2"),
    ],
)
def test_format_value(given: tuple[object, ...], shown: str) -> None:
    assert tables.format_value(*given) == shown
