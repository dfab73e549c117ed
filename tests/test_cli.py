import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from cellweak_core import __version__, cli
from cellweak_core.files import DataError, read_json

CELLWEAK = [sys.executable, "-c", "from cellweak_core.cli import app; app()"]


def call(*arguments: str, status: int = 0) -> str:
    """Stdout and stderr of the command in this process."""
    result = CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def test_version_and_help() -> None:
    assert call("--version") == f"cellweak {__version__}\n"
    text = call("run", "--help")
    for option in ("--parameter", "--file", "--data", "--out", "--scheduler"):
        assert option in text


def test_chapters_lists_parameters_with_their_help(tiny_book: Path) -> None:
    text = call("chapters")
    assert "tiny: A tiny chapter" in text
    assert "learning_rate: float = 0.001  # step of Adam" in text
    assert "prose" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny", "-p", "stepz", "1"], "unknown parameter 'stepz'. Did you mean 'steps'?"),
        (["run", "tiny", "-p", "steps", "many"], "parameter steps: expected int, given 'many'"),
        (["run", "tiny", "-p", "deep", "yes please"], "parameter deep: expected bool"),
        (["run", "tiny", "-p", "steps"], "-p steps: expected a name and a value"),
        (["run", "tinny"], "no chapter 'tinny'"),
        (["run", "tiny", "-f", "lr.yml"], "given '1e-4' (str); write 1.0e-4"),
        (["run", "tiny", "-f", "nope"], "parameter file nope is not there"),
        (["fetch", "roses"], "no data set 'roses'; there are: rosettes, bbbc021, gowt1"),
    ],
)
def test_wrong_input_is_a_message_and_status_2(tiny_book: Path, arguments: list[str], message: str) -> None:
    Path("lr.yml").write_text("learning_rate: 1e-4\n")
    text = call(*arguments, status=2)
    assert message in text
    assert "Traceback" not in text
    assert not Path("runs").exists()


def test_a_data_folder_that_is_not_there(tiny_book: Path) -> None:
    for arguments in (["run", "tiny", "--data", "nowhere"], ["check", "rosettes", "--data", "nowhere"]):
        (tiny_book / "rosettes.md").write_text((tiny_book / "tiny.md").read_text())
        assert "data folder nowhere is not there" in call(*arguments, status=1)


def test_check_calls_the_wings_checker(tiny_book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    def check(folder: Path) -> list[str]:
        if not any(folder.iterdir()):
            raise DataError(f"{folder}: no images")
        return ["2 images", "1 class"]

    (tiny_book / "rosettes.md").write_text((tiny_book / "tiny.md").read_text())
    Path("mine").mkdir()
    monkeypatch.setattr(cli, "find_spec", lambda name: name)
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: SimpleNamespace(check=check))
    assert "mine: no images" in call("check", "rosettes", "--data", "mine", status=1)
    Path("mine/a.png").write_text("")
    assert call("check", "rosettes", "--data", "mine") == "2 images\n1 class\n"
    monkeypatch.undo()


def test_check_of_a_chapter_without_data(tiny_book: Path) -> None:
    assert "reads no data of yours" in call("check", "tiny", "--data", ".", status=1)


def test_run_merges_files_and_parameters(tiny_book: Path) -> None:
    Path("a.yml").write_text("steps: 5\nseed: 1\n")
    call("run", "tiny", "-f", "a.yml", "-p", "seed", "2", "-p", "learning_rate", "1e-4", "--out", "out")
    given = read_json("out/results.json")["provenance"]["parameters"]
    assert (given["steps"], given["seed"], given["learning_rate"]) == (5, 2, 1e-4)


def test_a_run_leaves_the_folder_that_make_publishes_alone(tiny_book: Path) -> None:
    text = (tiny_book / "tiny.md").read_text().replace('= "runs/tiny"', '= "_build/runs/tiny"')
    (tiny_book / "tiny.md").write_text(text)
    (tiny_book / "parameters" / "tiny-real.yml").write_text("steps: 4\n")
    call("run", "tiny", "-f", "real")
    assert Path("runs/tiny/notebook.ipynb").exists()
    assert read_json("runs/tiny/results.json")["provenance"]["parameters"]["steps"] == 4
    call("run", "tiny", "-p", "output_dir", "mine")
    assert Path("mine/notebook.ipynb").exists()
    assert not Path("_build").exists()


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*CELLWEAK, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def steps_done() -> int:
    return int(read_json("out/checkpoint.json")["step"]) if Path("out/checkpoint.json").exists() else 0


def kernel_pids(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="follows processes by /proc")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_resumes_and_earlier_outputs_stay(tiny_book: Path, sign: signal.Signals) -> None:
    call("run", "tiny", "--out", "out")
    earlier = {path: path.read_bytes() for path in (Path("out/notebook.ipynb"), Path("out/results.json"))}
    process = start("run", "tiny", "--out", "out", "-p", "steps", "2000", "-p", "pause_s", "0.05")
    try:
        wait_until(lambda: steps_done() > 5, "the run to begin")
        kernels = kernel_pids(process.pid)
        process.send_signal(sign)
        text, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == {signal.SIGINT: 130}.get(sign, -sign)
    if sign == signal.SIGINT:
        assert "interrupted; earlier outputs are whole, the same command resumes" in text
        assert "Traceback" not in text
    assert kernels
    wait_until(lambda: not any(map(alive, kernels)), "the kernel to end", 15)
    assert {path: path.read_bytes() for path in earlier} == earlier
    at = steps_done()
    assert 5 < at < 2000
    call("run", "tiny", "--out", "out", "-p", "steps", str(at + 2))
    (first,) = re.findall(r"first step (\d+)", Path("out/notebook.ipynb").read_text())
    assert int(first) == at
    assert not Path("out/.notebook.part.ipynb").exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_first_run_looks_unfinished(tiny_book: Path) -> None:
    process = start("run", "tiny", "--out", "out", "-p", "steps", "2000", "-p", "pause_s", "0.05")
    wait_until(lambda: steps_done() > 2, "the run to begin")
    process.kill()
    process.communicate()
    assert [path.name for path in Path("out").iterdir() if not path.name.startswith(".")] == ["checkpoint.json"]


def test_a_failing_cell_is_shown_and_status_1(tiny_book: Path) -> None:
    text = call("run", "tiny", "-p", "fail", "true", "--out", "out", status=1)
    assert "the cell's own error" in text
    assert 'raise ValueError("the cell\'s own error")' in text
    assert not Path("out/notebook.ipynb").exists()
    assert nbformat.read("out/notebook.failed.ipynb", as_version=4).cells


def test_a_message_for_people_is_not_buried_in_a_traceback(tiny_book: Path) -> None:
    (tiny_book / "tiny.md").write_text(
        (tiny_book / "tiny.md").read_text().replace(
            'raise ValueError("the cell\'s own error")', 'raise files.DataError("a.png: broken\\nb.png: broken too")'
        )
    )
    text = call("run", "tiny", "-p", "fail", "true", "--out", "out", status=1)
    at = text.index("cellweak: ")
    assert text[at:].splitlines() == [
        "cellweak: a.png: broken",
        "b.png: broken too",
        f"chapter tiny stopped there; the full traceback is in {Path('out/notebook.failed.ipynb')}",
    ]
    assert "Traceback" not in text
    assert "Traceback" in Path("out/notebook.failed.ipynb").read_text()


def test_fetch_lists_sizes_and_conditions() -> None:
    text = call("fetch")
    for word in ("rosettes", "bbbc021", "gowt1", "about 100 MB", "NO LICENCE FILE", "53 MB"):
        assert word in text


def test_fetch_asks_before_data_without_a_licence(tiny_book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellweak_core import downloads

    fetched = []
    monkeypatch.setattr(downloads, "fetch", lambda name, to: fetched.append(name) or Path("there"))
    assert "NO LICENCE FILE" in call("fetch", "rosettes", status=1)  # no terminal: no consent
    assert fetched == []
    assert call("fetch", "rosettes", "--yes").endswith("there\n")
    call("fetch", "gowt1")
    assert fetched == ["rosettes", "gowt1"]
