import errno
import os
import sys
from pathlib import Path

import nbformat
import pytest

from cellweak_core import chapters, kernels, parameter_cells, results
from cellweak_core.chapters import ChapterError, ParameterError
from cellweak_core.files import DataError, FullDiskError


def outputs(notebook: Path) -> str:
    cells = nbformat.read(notebook, as_version=4).cells
    return "\n".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))


def test_chapters_are_the_runnable_pages(tiny_book: Path) -> None:
    (one,) = chapters.chapters()
    assert (one.name, one.title, one.path) == ("tiny", "A tiny chapter", tiny_book / "tiny.md")
    with pytest.raises(ParameterError, match=r"no chapter 'tinny'.*there are: tiny\. Did you mean 'tiny'\?"):
        chapters.chapter("tinny")


def test_parameters_have_type_default_help(tiny_book: Path) -> None:
    known = {parameter.name: parameter for parameter in chapters.parameters("tiny")}
    assert list(known)[:5] == ["data_dir", "output_dir", "device", "seed", "n_jobs"]
    assert known["learning_rate"] == chapters.Parameter("learning_rate", "float", 1e-3, "step of Adam")
    assert str(chapters.Parameter("lr", "list[float]", [1e-5, -2.5e-6], "")) == "lr: list[float] = [1.0e-05, -2.5e-06]"
    assert str(known["fractions"]) == "fractions: list[float] = [0.1, 1.0]  # of the labels"


def test_a_changed_chapter_is_read_again(tiny_book: Path) -> None:
    assert len(chapters.parameters("tiny")) == 12
    path = tiny_book / "tiny.md"
    path.write_text(path.read_text().replace("die: bool", "gone: int = 1  # new\ndie: bool"))
    os.utime(path, ns=(1, 1))
    assert len(chapters.parameters("tiny")) == 13


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x = 1", "expected `name: type = value"),
        ("x: int = 1.5", "Input should be a valid integer"),
        ("x: complex = 1", "type 'complex'"),
        ("x: float = 1 / 3", "malformed"),
        ("x: __import__('os').system('true') = 1", "type"),
        ("import os", "expected `name: type = value"),
    ],
)
def test_a_parameters_cell_is_flat_and_never_executed(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parameter_cells.parse_cell(f"seed: int = 0  # of all\n{line}\n", "book/tiny.md, parameters cell")
    assert "book/tiny.md, parameters cell, line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1.0}, r"unknown parameter 'learning_rat'\. Did you mean 'learning_rate'\?"),
        ({"learning_rate": "1e-4"}, r"expected float, given '1e-4' \(str\); write 1\.0e-4"),
        ({"learning_rate": "2.5E-4"}, r"write 2\.5e-4"),
        ({"fractions": [0.1, "1e-1"]}, r"fractions\[1\]: expected list\[float\], given '1e-1' \(str\); write 1\.0e-1"),
        ({"fractions": 0.1}, "fractions: expected list"),
        ({"learning_rate": True}, "expected float, given True"),
        ({"learning_rate": None}, "expected float, given None"),
        ({"steps": True}, "expected int, given True"),
        ({"steps": 3.0}, "expected int, given 3.0"),
        ({"steps": "3"}, "expected int, given '3'"),
        ({"deep": 1}, "expected bool, given 1"),
        ({"device": 0}, "expected str, given 0"),
    ],
)
def test_checked_refuses_and_lists_what_there_is(tiny_book: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        chapters.checked("tiny", values)
    assert "  learning_rate: float = 0.001  # step of Adam" in str(caught.value)


def test_checked_takes_an_int_for_a_float(tiny_book: Path) -> None:
    good = chapters.checked("tiny", {"learning_rate": 1, "fractions": [1, 0.5], "deep": True})
    assert good == {"learning_rate": 1.0, "fractions": [1.0, 0.5], "deep": True}
    assert isinstance(good["learning_rate"], float)
    assert isinstance(good["fractions"][0], float)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("float", "1e-4", 1e-4), ("float", "x", "x"), ("int", "3", 3), ("bool", "true", True), ("str", "0", "0"),
        ("list[float]", "[1, 2.5]", [1, 2.5]), ("int", "[", "["),
    ],
)  # fmt: skip
def test_values_typed_on_the_command_line(kind: str, text: str, value: object) -> None:
    assert parameter_cells.from_text(kind, text) == value


def test_read_values(tiny_book: Path) -> None:
    (tiny_book / "parameters" / "tiny-paper.yml").write_text("steps: 5\nlearning_rate: 1e-4\n")
    assert chapters.read_values("tiny-paper") == {"steps": 5, "learning_rate": "1e-4"}
    with pytest.raises(ParameterError, match=r"nope\.yml is not there; the book has: tiny-paper"):
        chapters.read_values("nope.yml")
    for name in ("tiny-paper", "tiny-paper.yml", "paper", Path("paper")):
        assert chapters.read_values(name, "tiny") == {"steps": 5, "learning_rate": "1e-4"}
    (tiny_book / "parameters" / "paper.yml").write_text("steps: 6")
    assert chapters.read_values("paper", "tiny") == {"steps": 6}  # a name the book has as it is
    (tiny_book / "parameters" / "paper.yml").unlink()
    with pytest.raises(ParameterError, match="parameter file paper is not there; the book has: tiny-paper"):
        chapters.read_values("paper", "other")
    for text, message in (("- 1", "expected lines"), ("a: [", "not YAML"), ("a: !!python/name:os.system", "not YAML")):
        Path("bad.yml").write_text(text)
        with pytest.raises(ParameterError, match=message):
            chapters.read_values("bad.yml")


def test_find_data(tiny_book: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "rosettes").mkdir(parents=True)
    assert chapters.find_data("rosettes") == tmp_path / "data" / "rosettes"
    assert chapters.find_data(tmp_path / "data") == tmp_path / "data"
    Path("file").write_text("")
    with pytest.raises(DataError, match="expected a folder, found a file"):
        chapters.find_data("file")
    with pytest.raises(DataError, match=r"nowhere is not there \(looked at .*nowhere and .*data/nowhere\)"):
        chapters.find_data("nowhere")


def test_run_leaves_a_whole_notebook(tiny_book: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine").mkdir(parents=True)
    notebook = chapters.run(
        "tiny", {"learning_rate": 1, "seed": 4}, data_dir="mine", output_dir="out {1}", progress=False
    )
    assert notebook == Path("out {1}/notebook.ipynb")
    assert sorted(path.name for path in notebook.parent.iterdir()) == [
        ".lock", "checkpoint.json", "notebook.ipynb", "results.json", "tables"
    ]  # fmt: skip
    content = nbformat.read(notebook, as_version=4)
    injected = next(c.source for c in content.cells if "injected-parameters" in c.metadata.tags)
    assert 'output_dir = "out {1}"' in injected
    assert "papermill" not in str(content.metadata)
    assert "first step 0" in outputs(notebook)
    assert "%|" not in outputs(notebook)  # no progress bar in a page
    rows, provenance = results.load_results(notebook.parent)
    assert len(rows) == 1
    assert provenance["parameters"] == {
        "data_dir": "mine", "device": "auto", "seed": 4,
        "n_jobs": 1, "learning_rate": 1.0, "fractions": [0.1, 1.0], "deep": False, "steps": 3, "pause_s": 0.0,
        "fail": False, "die": False,
    }  # fmt: skip


def test_a_failing_cell_shows_its_error_and_keeps_earlier_outputs(tiny_book: Path) -> None:
    whole = {path: path.read_bytes() for path in [chapters.run("tiny", {}, output_dir="out", progress=False)]}
    whole |= {path: path.read_bytes() for path in [Path("out/results.json"), Path("out/tables/table_1.csv")]}
    with pytest.raises(ChapterError, match="ValueError: the cell's own error") as caught:
        chapters.run("tiny", {"fail": True}, output_dir="out", progress=False)
    assert "notebook.failed.ipynb" in str(caught.value)
    assert "the cell's own error" in Path("out/notebook.failed.ipynb").read_text()
    assert {path: path.read_bytes() for path in whole} == whole
    chapters.run("tiny", {}, output_dir="out", progress=False)
    assert not Path("out/notebook.failed.ipynb").exists()
    assert not Path("out/.notebook.part.ipynb").exists()


def test_a_dead_kernel_is_told(tiny_book: Path) -> None:
    with pytest.raises(ChapterError, match=r"its Python process died.*resumes"):
        chapters.run("tiny", {"die": True}, output_dir="out", progress=False)
    assert not Path("out/notebook.ipynb").exists()
    assert Path("out/notebook.failed.ipynb").exists()


def test_nothing_runs_when_the_input_is_wrong(tiny_book: Path) -> None:
    with pytest.raises(ParameterError):
        chapters.run("tiny", {"stepz": 1}, output_dir="out")
    with pytest.raises(DataError, match="is not there"):
        chapters.run("tiny", {}, data_dir="nowhere", output_dir="out")
    assert not Path("out").exists()


def test_two_runs_do_not_share_a_folder(tiny_book: Path) -> None:
    from filelock import FileLock

    Path("out").mkdir()
    with FileLock("out/.lock"), pytest.raises(ChapterError, match="another run is writing there"):
        chapters.run("tiny", {}, output_dir="out")


def test_full_disk_while_the_notebook_is_written(tiny_book: Path, small_disk: Path) -> None:
    chapters.run("tiny", {}, output_dir=small_disk / "out", progress=False)
    earlier = (small_disk / "out" / "notebook.ipynb").read_bytes()
    (small_disk / "filler").write_bytes(b"x" * 230_000)
    with pytest.raises((FullDiskError, ChapterError), match="No space left on device"):
        chapters.run("tiny", {"steps": 9}, output_dir=small_disk / "out", progress=False)
    assert (small_disk / "out" / "notebook.ipynb").read_bytes() == earlier
    (small_disk / "filler").unlink()
    assert "first step" in outputs(chapters.run("tiny", {"steps": 9}, output_dir=small_disk / "out", progress=False))


def test_full_disk_without_a_small_disk(tiny_book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nbformat, "write", full)
    with pytest.raises(FullDiskError, match=r"cannot write in out: No space left on device \([\d,]+ bytes free\)"):
        chapters.run("tiny", {}, output_dir="out", progress=False)
    assert not Path("out/notebook.ipynb").exists()


def test_the_kernel_is_this_interpreter(tiny_book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = (tiny_book / "tiny.md").read_text()
    (tiny_book / "tiny.md").write_text(source.replace('print("first', 'import sys\nprint(sys.executable, "first'))
    assert sys.executable in outputs(chapters.run("tiny", {}, output_dir="out", progress=False))


def test_kernel_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("PYTHONWARNINGS", "error::SyntaxWarning")
    environment = kernels.kernel_environment("tcp://host:8786")
    assert environment["CELLWEAK_SCHEDULER"] == "tcp://host:8786"
    assert environment["TQDM_DISABLE"] == "1"
    assert "inline" in environment["MPLBACKEND"]
    assert environment["PYTHONWARNINGS"].endswith(",error::SyntaxWarning")
    assert "TQDM_DISABLE" not in os.environ
