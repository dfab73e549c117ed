"""What make does again, and what it leaves: with programs that only touch files."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A copy of the Makefile beside a chapter, with an environment whose programs only touch files."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for folder in ("book/parameters", "book/recorded", "cellweak_core/tiny", "cellweak_core/other",
                   "cellweak_core/pages", "cellweak_core/published", "env/bin", "tests"):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True)
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "book" / "tiny.md").write_text("---\nkernelspec:\n  name: python3\n---\n# T\n")
    (tmp_path / "book" / "index.md").write_text("# Index\n")
    for name in ("paper", "real"):
        (tmp_path / "book" / "parameters" / f"tiny-{name}.yml").write_text("steps: 9\n")
    core = ("images.py", "tiny/networks.py", "other/networks.py", "pages/stage.py", "published/tiny.csv")
    for name in (*(f"cellweak_core/{name}" for name in core), "_toc.yml", "_config.yml"):
        (tmp_path / name).write_text("")
    programs = {
        "cellweak": 'echo "$@" >> ran\n[ -f fail ] && { echo "the cell\'s own error" >&2; exit 1; }\n'
        "mkdir -p _build/runs/tiny; touch _build/runs/tiny/notebook.ipynb",
        "python": "true",
        "jupyter-book": "echo rendered >> rendered; [ ! -f warn ]",
    }
    for name, body in programs.items():
        program = tmp_path / "env" / "bin" / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # without what an outer `make test` hands down, its own variables among them
    outer = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "VENV", "RUN", "DATA")
    env = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", "VENV=env", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, env=env)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def newer(folder: Path, name: str) -> None:
    """As if the file had been changed after everything that is there."""
    later = time.time() + 2
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (later - 4, later - 4))
    os.utime(folder / name, (later - 2, later - 2))


@pytest.mark.parametrize(
    ("changed", "executed", "rendered"),
    [
        ("README", False, False),
        ("book/tiny.md", True, True),
        ("book/parameters/tiny-paper.yml", True, True),
        ("cellweak_core/images.py", True, True),
        ("cellweak_core/tiny/networks.py", True, True),
        ("cellweak_core/published/tiny.csv", True, True),
        ("cellweak_core/other/networks.py", False, True),
        ("cellweak_core/pages/stage.py", False, True),
        ("book/index.md", False, True),
        ("_config.yml", False, True),
    ],
)
def test_make_book_does_again_what_is_stale_and_only_that(
    made: Path, changed: str, executed: bool, rendered: bool
) -> None:
    (made / "README").write_text("")
    first = make(made, "book")
    assert first.returncode == 0, first.stderr
    assert first.stdout.rstrip().endswith(f"{made}/_build/html/index.html")
    assert (lines(made / "ran"), lines(made / "rendered")) == (1, 1)
    (made / "cellweak_core" / "published" / "__pycache__").mkdir()  # as Python leaves it, newer than the run
    newer(made, changed)
    assert make(made, "book").returncode == 0
    assert (lines(made / "ran"), lines(made / "rendered")) == (1 + executed, 1 + rendered)


def test_a_failed_chapter_fails_the_book_with_its_error_and_is_tried_again(made: Path) -> None:
    (made / "fail").write_text("")
    failed = make(made, "book")
    assert failed.returncode != 0
    assert "the cell's own error" in failed.stderr
    assert not (made / "rendered").exists()
    (made / "fail").unlink()
    assert make(made, "book").returncode == 0
    assert (lines(made / "ran"), lines(made / "rendered")) == (2, 1)


def test_a_warning_fails_the_book_until_it_is_gone(made: Path) -> None:
    (made / "warn").write_text("")
    assert make(made, "book").returncode != 0
    assert make(made, "book").returncode != 0
    (made / "warn").unlink()
    assert make(made, "book").returncode == 0
    assert (lines(made / "ran"), lines(made / "rendered")) == (1, 3)


def test_other_parameters_or_data_execute_again(made: Path) -> None:
    assert make(made, "book").returncode == 0
    assert make(made, "book", "RUN=paper").returncode == 0
    assert make(made, "book", "RUN=paper").returncode == 0
    assert make(made, "book", "RUN=paper", "DATA=sets").returncode == 0
    ran = (made / "ran").read_text().splitlines()
    assert len(ran) == 3
    assert ran[0] == "run tiny --out _build/runs/tiny"
    assert ran[1] == "run tiny -f book/parameters/tiny-paper.yml --out _build/runs/tiny"
    assert ran[2] == "run tiny -f book/parameters/tiny-paper.yml --data sets --out _build/runs/tiny"


def test_one_chapter_alone(made: Path) -> None:
    shutil.copyfile(made / "book" / "tiny.md", made / "book" / "other.md")
    shutil.copyfile(made / "book" / "parameters" / "tiny-paper.yml", made / "book" / "parameters" / "other-paper.yml")
    assert make(made, "runs", "CHAPTERS=tiny", "RUN=paper").returncode == 0
    assert (made / "ran").read_text().splitlines() == [
        "run tiny -f book/parameters/tiny-paper.yml --out _build/runs/tiny"
    ]


def test_a_real_run_gives_each_chapter_the_data_of_its_name(made: Path) -> None:
    notebook = "_build/runs/tiny/notebook.ipynb"
    assert make(made, notebook, "RUN=real").returncode == 0
    assert make(made, notebook, "RUN=real", "DATA=sets/mine").returncode == 0
    start, end = "run tiny -f book/parameters/tiny-real.yml --data", "--out _build/runs/tiny"
    assert (made / "ran").read_text().splitlines() == [f"{start} tiny {end}", f"{start} sets/mine {end}"]


def test_make_html_executes_nothing(made: Path) -> None:
    assert make(made, "html").returncode == 0
    assert (lines(made / "ran"), lines(made / "rendered")) == (0, 1)


def test_clean_removes_what_was_built_and_keeps_the_environment(made: Path) -> None:
    assert make(made, "book").returncode == 0
    assert make(made, "clean").returncode == 0
    assert not (made / "_build").exists()
    assert (made / "env" / "bin" / "python").exists()
