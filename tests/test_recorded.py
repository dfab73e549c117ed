"""Recorded runs are numbers and plots of measurements: nobody's pixels, nobody's paths, and how they were made."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cellweak_core.files import DataError
from cellweak_core.results import load_results

RECORDED = Path(__file__).resolve().parents[1] / "book" / "recorded"

# Plots of what was measured. Other figures of a chapter (1, 2, 3a, 3b, 7, 11, 12) show images.
MEASUREMENTS = ("fig_3c", "fig_3d", "fig_5", "fig_6", "fig_8", "fig_9a", "fig_9b", "fig_10", "setting_b", "simulator")
ALLOWED = (
    r"README\.md",
    r"results\.json",
    r"[a-z0-9_]+\.csv",
    r"tables/[a-z0-9_]+\.csv",
    rf"figures/({'|'.join(MEASUREMENTS)})\.(png|svg)",
)
# A slash, a drive or a home at the start of a word: not that of 0/0, px/min or https://.
ABSOLUTE = re.compile(r"(?:^|[\s\"'=(,;:\[])(?:file://)?(?:/[^\s/]|~/|[A-Za-z]:[\\/][^/])")
VERSIONS = {"python", "cellweak", "torch", "numpy"}


def texts(content: object) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from texts(value)
    elif isinstance(content, str):
        yield content


def faults(run: Path) -> list[str]:
    """What one folder of recorded results must not have, or lacks."""
    found = []
    for path in sorted(path for path in run.rglob("*") if not path.is_dir()):
        name = path.relative_to(run).as_posix()
        if not any(re.fullmatch(pattern, name) for pattern in ALLOWED):
            found.append(f"{name}: neither numbers nor a plot of measurements")
        elif path.suffix in (".csv", ".md") and (path_found := ABSOLUTE.search(path.read_text(encoding="utf-8"))):
            found.append(f"{name}: an absolute path {path_found[0]!r}")
    file = run / "results.json"
    if not file.exists():
        return found
    try:
        rows, provenance = load_results(file)
    except DataError as error:
        return [*found, str(error)]
    content = json.loads(file.read_text(encoding="utf-8"))
    found += [f"results.json: an absolute path in {text!r}" for text in texts(content) if ABSOLUTE.search(text)]
    found += [] if len(rows) else ["results.json: no row"]
    found += [
        f"results.json: {row['item']}, {row['row']}: n is {row.get('n')!r}"
        for row in content["rows"]
        if not isinstance(row.get("n"), int) or row["n"] < 0 or (row["n"] == 0 and row["value"] is not None)
    ]
    if not isinstance(provenance.get("seed"), int):
        found.append("results.json: provenance has no seed")
    if not re.fullmatch(r"[0-9a-f]{40}", str(provenance.get("git_commit"))):
        found.append("results.json: provenance has no commit")
    if missing := VERSIONS - set(provenance.get("versions", ())):
        found.append(f"results.json: provenance has no version of {', '.join(sorted(missing))}")
    return found


def test_every_recorded_run_is_numbers_and_plots_with_how_they_were_made() -> None:
    runs = sorted(path for path in RECORDED.iterdir() if path.is_dir())
    assert runs
    assert {run.name: faults(run) for run in runs} == {run.name: [] for run in runs}
    assert [path.name for path in RECORDED.iterdir() if not path.is_dir()] == []


ROW = {"chapter": "rosettes", "item": "Fig. 10", "row": "GAN", "column": "0.2", "value": 0.8, "low": None, "high": None,
       "n": 20, "unit": "", "data": "authors' images", "note": "0/0 in 1 of 3; see https://example.org/a"}  # fmt: skip
PROVENANCE = {"seed": 0, "git_commit": "0123456789" * 4, "versions": dict.fromkeys(VERSIONS, "1.0"),
              "parameters": {"data_dir": "rosettes"}, "platform": "Linux x86_64, Python 3.11.7"}  # fmt: skip


def recorded(folder: Path, row: object = None, **provenance: object) -> Path:
    (folder / "figures").mkdir()
    (folder / "figures" / "fig_10.svg").write_text("<svg/>")
    content = {"rows": [{**ROW, **(row if isinstance(row, dict) else {})}], "provenance": {**PROVENANCE, **provenance}}
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_a_good_record_has_no_faults(tmp_path: Path) -> None:
    assert faults(recorded(tmp_path)) == []


@pytest.mark.parametrize(
    "name",
    ["figures/fig_11.png", "figures/fig_3a.svg", "figures/fig_10.jpg", "figures/fig_10/a.png", "fig_10.png",
     "notebook.ipynb", "weights/a.safetensors", "tables/fig_1.png", "readme.png"],
)  # fmt: skip
def test_pictures_notebooks_and_weights_are_found(tmp_path: Path, name: str) -> None:
    path = recorded(tmp_path) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert faults(tmp_path) == [f"{name}: neither numbers nor a plot of measurements"]


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        ({"parameters": {"data_dir": "/home/ann/rosettes"}}, "an absolute path in '/home/ann/rosettes'"),
        ({"read": ["see ~/rosettes"]}, "an absolute path in 'see ~/rosettes'"),
        ({"read": "C:\\data"}, "an absolute path in"),
        ({"read": "from=file:///data"}, "an absolute path in"),
        ({"/data/a.png": 1}, "an absolute path in '/data/a.png'"),
        ({"seed": None}, "no seed"),
        ({"git_commit": None}, "no commit"),
        ({"versions": {}}, "no version of cellweak, numpy, python, torch"),
    ],
)
def test_what_a_provenance_lacks_or_tells_too_much_is_found(
    tmp_path: Path, provenance: dict[str, object], message: str
) -> None:
    (fault,) = faults(recorded(tmp_path, **provenance))
    assert message in fault


@pytest.mark.parametrize("row", [{"n": None}, {"n": -1}, {"n": 0}])
def test_a_row_without_n_is_found(tmp_path: Path, row: dict[str, object]) -> None:
    (fault,) = faults(recorded(tmp_path, row))
    assert "n" in fault


def test_a_file_cut_short_and_a_path_in_a_table_are_found(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "fig_12.csv").write_text("file,p\n/home/ann/a.png,0.5\n")
    (tmp_path / "results.json").write_text('{"rows": [')
    table, cut = faults(tmp_path)
    assert table.startswith("tables/fig_12.csv: an absolute path")
    assert "results.json" in cut
