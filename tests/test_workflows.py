"""What the GPU workflow lets out: pages and figures of simulated data, of real data numbers only."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "gpu-book.yml").read_text())["jobs"]


def test_of_a_real_run_only_numbers_are_kept(jobs: dict[str, Any]) -> None:
    kept = {
        step["if"]: [Path(line).name for line in step["with"]["path"].split("\n") if line]
        for step in jobs["execute"]["steps"]
        if "upload-artifact" in step.get("uses", "")
    }
    assert kept == {
        "always() && matrix.run != 'paper'": ["results.json", "tables"],
        "always() && matrix.run == 'paper'": ["*.ipynb", "results.json", "tables", "figures"],
    }


def test_what_is_rendered_and_deployed_is_the_papers_size_on_simulated_data(jobs: dict[str, Any]) -> None:
    publishers = {name for name, job in jobs.items() if "pages" in str(job.get("steps"))}
    assert publishers == {"render", "deploy"}
    for name in publishers:
        assert jobs[name]["if"] == "needs.chapters.outputs.publish == 'true'"
        assert "chapters" in jobs[name]["needs"]


@pytest.mark.parametrize(
    ("wanted", "files", "runs", "publish"),
    [
        ("paper", ("a-paper", "a-real", "b-paper"), {"a": "paper", "b": "paper"}, "true"),
        ("real", ("a-paper", "a-real", "b-paper"), {"a": "real", "b": "paper"}, "false"),
        ("paper", ("a-paper", "b-real"), {"a": "paper", "b": "real"}, "false"),
    ],
)
def test_one_real_chapter_keeps_the_book_in(
    jobs: dict[str, Any], tmp_path: Path, wanted: str, files: tuple[str, ...], runs: dict[str, str], publish: str
) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    (tmp_path / "book" / "parameters").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "book" / f"{name}.md").write_text("---\nkernelspec:\n  name: python3\n---\n")
    for name in files:
        (tmp_path / "book" / "parameters" / f"{name}.yml").write_text("")
    (script,) = [step["run"] for step in jobs["chapters"]["steps"] if step.get("id") == "list"]
    environment = {"PATH": "/usr/bin:/bin", "WANTED": wanted, "GITHUB_OUTPUT": "out"}
    subprocess.run([bash, "-e", "-c", script], cwd=tmp_path, env=environment, check=True, timeout=30)
    out = dict(line.split("=", 1) for line in (tmp_path / "out").read_text().splitlines())
    assert {one["chapter"]: one["run"] for one in json.loads(out["matrix"])["include"]} == runs
    assert out["publish"] == publish


@pytest.mark.parametrize("name", ["ci", "gpu-book"])
def test_workflows_call_the_make_targets_that_a_person_calls(name: str) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    scripts = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = [target for script in scripts for target in re.findall(r"^make (\S+)", script, flags=re.M)]
    told = re.findall(r"make (\w+)", (ROOT / "Makefile").read_text().split("help:")[1].split("\n\n")[0])
    assert called
    assert set(called) <= {*told, "html"}  # scaling_out.md tells of html
