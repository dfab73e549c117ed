import json
import math
import platform
import subprocess
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure

from cellweak_core import published, results
from cellweak_core.files import DataError, FullDiskError
from cellweak_core.training import make_fabric


def make(folder: Path, **given: object) -> results.Results:
    parameters = {"learning_rate": 1e-3, "device": "cpu", "fractions": [0.1, 1.0]}
    return results.Results("rosettes", folder, **{"parameters": parameters, "seed": 3, "data": "simulated", **given})


@pytest.mark.parametrize(
    ("item", "panel", "slug"),
    [
        ("Fig. 10", "", "fig_10"),
        ("Fig. 1", "a", "fig_1a"),
        ("Table 2", "", "table_2"),
        ("Fig. 1a right", "", "fig_1a_right"),
    ],
)
def test_item_slug(item: str, panel: str, slug: str) -> None:
    assert results.item_slug(item, panel) == slug


@pytest.mark.parametrize("item", ["", "../../etc", "10"])
def test_item_slug_makes_no_paths(item: str) -> None:
    if item == "../../etc":
        assert "/" not in results.item_slug(item)
    else:
        with pytest.raises(ValueError, match="expected a published item"):
            results.item_slug(item)


def test_rows_last_one_wins_and_round_trip(tmp_path: Path) -> None:
    run = make(tmp_path / "out")
    run.add("Fig. 10", "GAN", "0.2", 0.5, n=20, unit="")
    run.add("Fig. 10", "GAN", "0.2", 0.8, low=0.7, high=0.9, n=20, unit="", note="bootstrap over embryos")
    run.add("Fig. 10", "GAN", "0.2", 0.6, n=20, unit="", data="authors' images")
    run.add("Fig. 9", "GAN", "recall", math.nan, n=0, unit="", note="no rosette in the test set: 0/0")
    run.record(training_s=1.5)
    rows, provenance = results.load_results(run.finish())
    assert rows["value"].tolist()[:2] == [0.8, 0.6]
    assert math.isnan(rows["value"][2])
    assert rows.equals(run.rows)
    assert results.load_results(tmp_path / "out")[0].equals(rows)
    assert provenance["parameters"] == {"learning_rate": 1e-3, "device": "cpu", "fractions": [0.1, 1.0]}
    assert (provenance["seed"], provenance["data"], provenance["training_s"]) == (3, "simulated", 1.5)
    assert provenance["versions"]["torch"] == torch.__version__
    assert provenance["wall_time_s"] >= 0
    assert provenance["peak_memory_mb"] > 10
    assert provenance["started_utc"] <= provenance["finished_utc"]
    assert provenance["device"].startswith("cpu")
    assert "NaN" not in (tmp_path / "out" / "results.json").read_text()


@pytest.mark.parametrize(
    "bad", [{"value": math.nan}, {"n": None}, {"n": 1.5}, {"low": 2.0, "high": 1.0}, {"value": "much"}]
)
def test_add_refuses_at_once(tmp_path: Path, bad: dict[str, object]) -> None:
    run = make(tmp_path)
    with pytest.raises((DataError, TypeError)):
        run.add("Fig. 10", "GAN", "0.2", **{"value": 1.0, "n": 3, "unit": "", **bad})
    assert len(run.rows) == 0


def test_table_figure_weights(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.add("Table 2", "GAN", "accuracy", 0.8, n=3, unit="")
    assert run.table("Table 2", run.rows) == tmp_path / "tables" / "table_2.csv"
    with mpl.rc_context({"svg.hashsalt": "0"}):
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([0, 1])
        png = run.figure("Fig. 1", figure, panel="a")
        svg = png.with_suffix(".svg").read_bytes()
        run.figure("Fig. 1", figure, panel="a")
    assert png == tmp_path / "figures" / "fig_1a.png"
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.with_suffix(".svg").read_bytes() == svg
    assert b"<dc:date>" not in svg

    from safetensors.torch import load_file

    model = torch.nn.Linear(3, 2)
    state = {**model.state_dict(), "tied": model.weight, "turned": model.weight.T}
    loaded = load_file(run.weights("classifier", state))
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert not list(tmp_path.rglob("*.part"))


def test_full_disk_leaves_earlier_results(small_disk: Path) -> None:
    run = make(small_disk)
    run.add("Table 2", "GAN", "accuracy", 0.8, n=3, unit="")
    path = run.finish()
    earlier = path.read_bytes()
    with pytest.raises(FullDiskError, match="small disk"):
        run.weights("large", {"w": torch.zeros(10**6)})
    (small_disk / "filler").write_bytes(b"x" * 200_000)
    run.record(long=["x" * 100_000])
    with pytest.raises(FullDiskError):
        run.finish()
    assert path.read_bytes() == earlier


@pytest.mark.parametrize("content", ["", '{"rows": [', "[]", '{"rows": []}', '{"rows": [{"a": 1}], "provenance": {}}'])
def test_load_results_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(DataError, match=r"results\.json"):
        results.load_results(tmp_path)


def test_beside_paper(tmp_path: Path) -> None:
    paper = published.load("rosettes", kind="result")
    known = paper[paper["value"].notna()].iloc[0]
    run = make(tmp_path)
    run.add(known["item"], known["row"], known["column"], 0.123, n=7, unit=known["unit"])
    run.add(known["item"], "a new method", known["column"], 0.9, n=7, unit="")
    table = run.beside_paper(known["item"])
    key = (table["row"] == known["row"]) & (table["column"] == known["column"])
    assert table.loc[key, "value_run"].tolist() == [0.123]
    assert table.loc[key, "value_paper"].tolist() == [known["value"]]
    new = table[table["row"] == "a new method"]
    assert new["value_paper"].isna().all()
    assert new["value_run"].tolist() == [0.9]
    whole = run.beside_paper()
    assert len(whole) == len(paper) + 1
    assert whole["item"].drop_duplicates().tolist() == paper["item"].drop_duplicates().tolist()


def test_beside_paper_keeps_the_papers_order_and_puts_the_runs_own_behind(tmp_path: Path) -> None:
    keys = ["item", "row", "column"]
    for chapter in published.CHAPTERS:
        paper = published.load(chapter, kind="result")
        first, last = paper.iloc[0], paper.iloc[-1]
        run = results.Results(chapter, tmp_path, {}, 3, "simulated")
        for item, row, column in (
            (last["item"], last["row"], last["column"]), ("Ours", "z", "b"), (first["item"], "z", "b"),
            ("Ours", "a", "b"), (first["item"], "a", "c"), (first["item"], first["row"], first["column"]),
        ):  # fmt: skip
            run.add(item, row, column, 0.5, n=7, unit="")
        table = run.beside_paper()
        of_paper = table["unit_paper"].notna()
        ranked = [item for name in paper["item"].drop_duplicates() for item in paper[paper["item"] == name].index]
        assert table.loc[of_paper, keys].to_numpy().tolist() == paper.loc[ranked, keys].to_numpy().tolist()
        own = table.loc[table["item"] == first["item"], keys].to_numpy().tolist()
        assert own[-2:] == [[first["item"], "z", "b"], [first["item"], "a", "c"]]
        assert table.loc[table["item"] == "Ours", "row"].tolist() == ["z", "a"]
        assert table["item"].iloc[-1] == "Ours"
        assert table["value_run"].notna().sum() == 6


def test_provenance_line_and_git(tmp_path: Path) -> None:
    provenance = make(tmp_path).provenance()
    line = results.provenance_line(provenance)
    assert "data: simulated; seed 3" in line
    assert f"torch {torch.__version__}" in line
    assert results.provenance_line({"data": "x", "seed": 0}) == "data: x; seed 0; cellweak unknown"
    assert "abcdefabcd with local changes" in results.provenance_line({"git_commit": "abcdefabcdef", "git_dirty": True})


@pytest.mark.parametrize(
    ("asked", "cuda", "mps", "name"),
    [
        ("auto", False, True, "cpu"),  # as make_fabric, which takes Apple's GPU only when asked to
        ("auto", True, True, "a GPU"),
        ("cpu", True, True, "cpu"),
        ("mps", True, True, "mps"),
        ("cuda", True, False, "a GPU"),
    ],
)
def test_the_device_told_is_the_device_taken(
    monkeypatch: pytest.MonkeyPatch, asked: str, cuda: bool, mps: bool, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    taken: list[str] = []
    monkeypatch.setattr("lightning_fabric.Fabric", lambda accelerator, **_: taken.append(accelerator))
    make_fabric(asked)
    told = results._device(asked)
    assert told.startswith(name)
    assert taken == [{"a GPU": "cuda"}.get(name, name)]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"data_dir": "/home/ann/sets/mine", "output_dir": "/home/ann/out"}, {"data_dir": "mine"}),
        ({"data_dir": "sets/mine/"}, {"data_dir": "mine"}),
        ({"data_dir": "sets/mine/other/.."}, {"data_dir": "mine"}),
        ({"data_dir": "~/mine"}, {"data_dir": "mine"}),
        ({"data_dir": Path("mine")}, {"data_dir": "mine"}),
        ({"data_dir": "", "output_dir": ""}, {"data_dir": ""}),
        ({"steps": 3}, {"steps": 3}),
    ],
)
def test_provenance_names_no_path_of_this_machine(
    tmp_path: Path, given: dict[str, object], kept: dict[str, object]
) -> None:
    before = dict(given)
    run = make(tmp_path, parameters=given)
    assert run.provenance()["parameters"] == kept
    assert given == before
    assert str(tmp_path) not in run.finish().read_text()


def test_the_platform_is_system_machine_and_python(tmp_path: Path) -> None:
    told = str(make(tmp_path).provenance()["platform"])
    assert told == f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    assert platform.release() not in told


def test_git_state_of_another_projects_repository_is_not_ours(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    package = tmp_path / ".venv" / "cellweak_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert results._git_state(package) == (None, None)
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    subprocess.run(["git", "-C", str(tmp_path), *author, "commit", "-q", "-m", "x"], check=True)
    commit, dirty = results._git_state(package)
    assert commit is not None
    assert dirty is False
    (package / "__init__.py").write_text("changed")
    assert results._git_state(package) == (commit, True)


def test_results_json_is_plain(tmp_path: Path) -> None:
    run = make(tmp_path, data_digest="ab")
    run.add("Fig. 5", "GAN", "sd", 0.285, n=64, unit="")
    content = json.loads(run.finish().read_text())
    assert set(content) == {"rows", "provenance"}
    assert content["rows"][0]["n"] == 64
    assert content["provenance"]["data_digest"] == "ab"


def test_every_parameter_that_names_a_file_is_known(tmp_path: Path) -> None:
    """A new one would stand in results.json with the path of this machine."""
    from cellweak_core import chapters

    told = ("file", "folder", ".safetensors", "results.json")
    own = {
        one.name for chapter in chapters.chapters() for one in chapters.parameters(chapter)
        if one.type == "str" and one.default == "" and any(word in one.help for word in told)
    }  # fmt: skip
    assert own <= {*results.FILES, "output_dir"}
    given = {name: f"/home/someone/{name}.x" for name in results.FILES}
    run = results.Results("cytogan", tmp_path, given, 0, "simulated")
    assert run.provenance()["parameters"] == {name: f"{name}.x" for name in results.FILES}
