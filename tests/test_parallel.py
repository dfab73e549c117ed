"""Runs that are kept as files: order, what makes them stale, failures, other processes, kills."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cellweak_core import parallel
from cellweak_core.files import CellweakWarning, FullDiskError
from cellweak_core.parallel import Shared, code_digest, load_result, map_runs, save_result
from cellweak_core.training import shared_tensor

Json = Mapping[str, Any]


def called(run: Json) -> None:
    """One more file in the run's log folder, so that calls are counted across processes."""
    if "log" in run:
        Path(run["log"], f"{run['x']}-{time.time_ns()}").touch()


def square(run: Json, shared: Json, checkpoint: Path) -> Json:
    called(run)
    offset = float(np.asarray(shared["offset"]).sum()) if "offset" in shared else 0.0
    return {"square": run["x"] ** 2 + offset, "row": np.arange(run["x"]), "tensor": torch.full((2,), run["x"])}


def large(run: Json, shared: Json, checkpoint: Path) -> Json:
    return {"bytes": np.full(140_000, run["x"], np.uint8)}  # one of them fits on the small disk


def half_fails(run: Json, shared: Json, checkpoint: Path) -> Json:
    called(run)
    if run["x"] % 2 and not Path(run["log"], "mended").exists():
        raise ZeroDivisionError(f"odd {run['x']}")
    return {"x": run["x"]}


def interrupted(run: Json, shared: Json, checkpoint: Path) -> Json:
    called(run)
    if run["x"] == 1 and not Path(run["log"], "go on").exists():
        raise KeyboardInterrupt
    return {"x": run["x"]}


def unfit(run: Json, shared: Json, checkpoint: Path) -> Json:
    return {"x": {1, 2} if run["x"] == 1 else 1}


def keeps_a_checkpoint(run: Json, shared: Json, checkpoint: Path) -> Json:
    tried = int(checkpoint.read_text()) if checkpoint.exists() else 0
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(str(tried + 1))
    if tried < run["x"]:
        raise RuntimeError(f"try {tried}")
    return {"tried": tried}


def looks_at_images(run: Json, shared: Json, checkpoint: Path) -> Json:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = shared_tensor(shared["images"])
    return {"sum": int(images.sum()), "writeable": bool(np.asarray(shared["images"]).flags.writeable), "x": run["x"]}


def runs(*xs: int, log: Path | None = None) -> list[Json]:
    return [{"x": x, **({"log": str(log)} if log else {})} for x in xs]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


def calls(log: Path) -> list[int]:
    return sorted(int(p.name.split("-")[0]) for p in log.iterdir() if "-" in p.name)


def test_results_come_in_the_order_of_the_runs_and_once_only(tmp_path: Path, log: Path) -> None:
    results = map_runs(square, runs(3, 1, 2, log=log), folder=tmp_path / "kept")
    assert [r["square"] for r in results] == [9, 1, 4]
    assert results[0]["row"].tolist() == [0, 1, 2]
    assert results[0]["tensor"].tolist() == [3, 3]
    again = map_runs(square, runs(2, 3, 4, log=log), folder=tmp_path / "kept")
    assert [r["square"] for r in again] == [4, 9, 16]
    assert calls(log) == [1, 2, 3, 4]
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_no_run_is_no_result(tmp_path: Path) -> None:
    assert map_runs(square, [], folder=tmp_path) == []
    assert map_runs(square, [], folder=tmp_path, n_jobs=2) == []


def test_equal_runs_are_computed_once(tmp_path: Path, log: Path) -> None:
    assert [r["square"] for r in map_runs(square, runs(2, 3, 2, log=log), folder=tmp_path / "kept")] == [4, 9, 4]
    assert calls(log) == [2, 3]


def test_what_makes_a_result_stale(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, ones = tmp_path / "kept", np.ones(3)

    def n_calls(**options: Any) -> int:  # noqa: ANN401
        before = len(calls(log))
        map_runs(square, runs(1, log=log), folder=kept, **options)
        return len(calls(log)) - before

    first: dict[str, Any] = {"shared": {"offset": ones, "name": "a"}}
    assert n_calls(**first) == 1
    assert n_calls(**first) == 0
    assert n_calls(shared={"name": "a", "offset": torch.ones(3, dtype=torch.float64)}) == 0
    assert n_calls(shared={"offset": ones, "name": "b"}) == 1
    assert n_calls(shared={"offset": ones + np.array([0, 0, 1e-9]), "name": "a"}) == 1
    assert n_calls(shared={"offset": ones.astype(np.float32), "name": "a"}) == 1
    assert n_calls(shared={"offset": ones[None], "name": "a"}) == 1
    assert n_calls(**first, version="2") == 1
    assert n_calls(**first, version="2", n_jobs=1, desc="other words") == 0
    monkeypatch.setattr(parallel, "code_digest", lambda func: "other code")
    assert n_calls(**first) == 1


def test_code_digest_follows_what_the_task_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "task_of_a_test.py").write_text(
        "from room_of_a_test import x\n\n\ndef task(run, shared, checkpoint):\n    return {}\n"
    )
    (tmp_path / "room_of_a_test.py").write_text("def late():\n    import cellar_of_a_test\n\n\nx = 1\n")
    for name in ("cellar_of_a_test.py", "figures.py"):
        (tmp_path / name).write_text("y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import task_of_a_test  # type: ignore[import-not-found]

    digests = [code_digest(task_of_a_test.task)]
    for name in ("figures.py", "cellar_of_a_test.py", "room_of_a_test.py", "task_of_a_test.py"):
        with (tmp_path / name).open("a") as file:
            file.write("# more\n")
        digests.append(code_digest(task_of_a_test.task))
    assert digests[0] == digests[1]  # nothing imports it
    assert len(set(digests[1:])) == 4
    monkeypatch.delattr(task_of_a_test, "__file__")  # a notebook's module has none
    assert code_digest(task_of_a_test.task) != digests[0]


def test_object_arrays_count_by_value_and_tables_are_refused(tmp_path: Path) -> None:
    import pandas as pd

    days = [np.array(["0711", "0715"], object) for _ in range(2)]
    assert parallel._shared_digest({"day": days[0]}) == parallel._shared_digest({"day": days[1]})
    assert parallel._shared_digest({"day": days[0]}) != parallel._shared_digest({"day": days[0][::-1]})
    with pytest.raises(TypeError, match=r"shared\['table'\]: expected an array or JSON, got DataFrame"):
        map_runs(square, runs(1), folder=tmp_path, shared={"table": pd.DataFrame({"a": [1]})})


@pytest.mark.parametrize("content", [b"", b"not safetensors at all"])
def test_a_damaged_result_is_computed_again(tmp_path: Path, log: Path, content: bytes) -> None:
    map_runs(square, runs(1, 2, log=log), folder=tmp_path / "kept")
    file = sorted((tmp_path / "kept").iterdir())[0]
    file.write_bytes(content)
    with pytest.warns(CellweakWarning, match=f"{file.name}: not readable"):
        results = map_runs(square, runs(1, 2, log=log), folder=tmp_path / "kept")
    assert [r["square"] for r in results] == [1, 4]
    assert len(calls(log)) == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_failing_run_is_reported_and_the_others_kept(tmp_path: Path, log: Path, n_jobs: int) -> None:
    kept = tmp_path / "kept"
    message = r"(?s)2 of 4 runs failed \(2 are kept[^;]*; the first, {'x': 1.*odd 1"
    with pytest.raises(RuntimeError, match=message) as error:
        map_runs(half_fails, runs(0, 1, 2, 3, log=log), folder=kept, n_jobs=n_jobs)
    assert "in half_fails" in str(error.value)
    (log / "mended").touch()
    assert [r["x"] for r in map_runs(half_fails, runs(0, 1, 2, 3, log=log), folder=kept)] == [0, 1, 2, 3]
    assert calls(log) == [0, 1, 1, 2, 3, 3]


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, log: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        map_runs(interrupted, runs(0, 1, 2, log=log), folder=tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 1
    (log / "go on").touch()
    assert [r["x"] for r in map_runs(interrupted, runs(0, 1, 2, log=log), folder=tmp_path / "kept")] == [0, 1, 2]
    assert calls(log) == [0, 1, 1, 2]


def test_a_full_disk_stops_the_runs_and_keeps_what_is_done(small_disk: Path) -> None:
    with pytest.raises(FullDiskError, match="No space left"):
        map_runs(large, runs(0, 1, 2), folder=small_disk)
    assert len(list(small_disk.iterdir())) == 1


def test_a_result_that_no_file_holds_fails_its_run_only(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)1 of 3 runs failed \(2 are kept.*TypeError: .*not JSON serializable"):
        map_runs(unfit, runs(0, 1, 2), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_checkpoints_survive_failures_and_go_with_success(tmp_path: Path) -> None:
    for left in (2, 1):
        with pytest.raises(RuntimeError):
            map_runs(keeps_a_checkpoint, runs(0, 1, 2), folder=tmp_path)
        assert len(list(tmp_path.glob("*.ckpt"))) == left
    assert [r["tried"] for r in map_runs(keeps_a_checkpoint, runs(0, 1, 2), folder=tmp_path)] == [0, 1, 2]
    assert list(tmp_path.glob("*.ckpt")) == []


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    shared = {"images": np.full((20, 256, 256), 3, np.uint8)}  # large enough for joblib to map it into memory
    one = map_runs(looks_at_images, runs(0, 1, 2, 3), folder=tmp_path / "one", shared=shared)
    two = map_runs(looks_at_images, runs(0, 1, 2, 3), folder=tmp_path / "two", shared=shared, n_jobs=2)
    assert [(r["x"], r["sum"]) for r in one] == [(r["x"], r["sum"]) for r in two]
    assert not any(r["writeable"] for r in two)
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}


@pytest.mark.slow
def test_a_dask_cluster_does_what_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    shared = {"images": np.full((3, 100, 100), 2, np.uint8)}
    one = map_runs(looks_at_images, runs(0, 1, 2), folder=tmp_path / "one", shared=shared)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp", host="127.0.0.1"
    ) as cluster:
        many = map_runs(
            looks_at_images, runs(0, 1, 2), folder=tmp_path / "dask", shared=shared, scheduler=cluster.scheduler_address
        )
        monkeypatch.setenv("CELLWEAK_SCHEDULER", cluster.scheduler_address)
        from_environment = map_runs(square, runs(0, 1, 2), folder=tmp_path / "dask")
    assert [(r["x"], r["sum"]) for r in many] == [(r["x"], r["sum"]) for r in one]
    assert [r["square"] for r in from_environment] == [0, 1, 4]


def _always_dying(jobs: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from (func(*args, **named) for func, args, named in list(jobs)[:0])
    raise RuntimeError("already forgotten")


def test_what_a_cluster_lost_is_asked_again_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies can take joblib's whole call with it; what it had done is kept."""
    asked = list[int]()

    class Dying:
        def __init__(self, **_: object) -> None:
            pass

        def __call__(self, jobs: Any) -> Iterator[Any]:  # noqa: ANN401
            given = list(jobs)
            asked.append(len(given))
            for k, (func, args, named) in enumerate(given):
                if k == 1 and len(asked) < 3:
                    raise RuntimeError("already forgotten")
                yield func(*args, **named)

    monkeypatch.setattr("joblib.Parallel", Dying)
    monkeypatch.setattr(parallel, "_backend", lambda *_: nullcontext())
    where = "tcp://127.0.0.1:1"
    with pytest.warns(CellweakWarning, match=r"square: tcp://127.0.0.1:1 lost \d of 4 runs, .* again, time") as said:
        found = map_runs(square, runs(0, 1, 2, 3), folder=tmp_path / "a", scheduler=where)
    assert [r["square"] for r in found] == [0, 1, 4, 9]
    assert asked == [4, 3, 2]
    assert [str(one.message).split(" lost ")[1][0] for one in said] == ["3", "2"]
    monkeypatch.setattr("joblib.Parallel", lambda **_: _always_dying)
    with (
        pytest.warns(CellweakWarning, match="asked again, time [23] of 3"),
        pytest.raises(RuntimeError, match="already forgotten"),
    ):
        map_runs(square, runs(5, 6), folder=tmp_path / "c", scheduler=where)
    monkeypatch.setattr("joblib.Parallel", Dying)
    asked.clear()
    with pytest.raises(RuntimeError, match="already forgotten"):  # on one machine it is told at once
        map_runs(square, runs(0, 1, 2), folder=tmp_path / "b", n_jobs=2)
    assert asked == [3]


def test_what_dask_sends_once_can_be_referred_to_weakly() -> None:
    import pickle
    import weakref

    shared = Shared(a=1)
    assert weakref.ref(shared)() is shared
    assert pickle.loads(pickle.dumps(shared)) == {"a": 1}


def test_killed_in_the_middle_the_next_call_does_the_rest(tmp_path: Path) -> None:
    (tmp_path / "killed_work.py").write_text(
        textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from cellweak_core.parallel import map_runs

        def work(run, shared, checkpoint):
            with open("calls", "a") as file:
                file.write(f"{run['x']} ")
            if run["x"] == 2 and not Path("once").exists():
                Path("once").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return {"x": run["x"]}

        if __name__ == "__main__":
            import killed_work
            print([r["x"] for r in map_runs(killed_work.work, [{"x": x} for x in range(4)], folder="kept")])
        """)
    )
    command = [sys.executable, "-W", "error", "killed_work.py"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CELLWEAK_SCHEDULER": ""}
    first, second = (
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert first.returncode == -signal.SIGKILL
    assert second.stdout == "[0, 1, 2, 3]\n", second.stderr
    assert (tmp_path / "calls").read_text().split() == ["0", "1", "2", "2", "3"]
    assert len(list((tmp_path / "kept").iterdir())) == 4


@pytest.mark.slow
def test_workers_end_with_a_killed_parent_and_the_next_call_does_the_rest(tmp_path: Path) -> None:
    (tmp_path / "orphaned_work.py").write_text(
        textwrap.dedent("""
        import os, signal, time
        from pathlib import Path
        from cellweak_core.parallel import map_runs

        def work(run, shared, checkpoint):
            if run["x"] == 0:
                Path("calls of 0").open("a").write("0 ")
            elif run["x"] == 1 and not Path("once").exists():
                while not any(Path("kept").glob("*.safetensors")):
                    time.sleep(0.05)
                Path("once").touch()
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(20)
                Path("orphan").touch()
            return {"x": run["x"]}

        if __name__ == "__main__":
            import orphaned_work
            runs = [{"x": x} for x in range(3)]
            print([r["x"] for r in map_runs(orphaned_work.work, runs, folder="kept", n_jobs=2)])
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CELLWEAK_SCHEDULER": ""}
    command = [sys.executable, "orphaned_work.py"]
    first, second = (  # each call returns once the last worker has let go of the standard output
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert first.returncode == -signal.SIGKILL
    assert second.stdout == "[0, 1, 2]\n", second.stderr
    assert (tmp_path / "calls of 0").read_text() == "0 "
    assert not (tmp_path / "orphan").exists()


def test_a_result_is_read_as_it_was_saved(tmp_path: Path) -> None:
    table = torch.arange(6.0).view(1, 2, 3)
    result = {
        "table": table,
        "last": table[:, -1],  # the same memory
        "scalar": np.array(2.5),
        "mirrored": np.arange(4)[::-1],
        "channels_last": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "learnt": torch.nn.Parameter(torch.ones(2)),
        "none": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
        "text": "é",
        "nan": float("nan"),
        "nested": {"a": [1, None]},
    }
    save_result(tmp_path / "r.safetensors", result)
    read = load_result(tmp_path / "r.safetensors")
    assert read.keys() == result.keys()
    for name in ("table", "last", "scalar", "mirrored", "channels_last", "none", "flags"):
        value = np.asarray(result[name])
        np.testing.assert_array_equal(read[name].numpy(), value)
        assert read[name].shape == value.shape
        assert read[name].numpy().dtype == value.dtype
    assert read["learnt"].tolist() == [1, 1]
    assert (read["text"], read["nested"]) == ("é", {"a": [1, None]})
    assert np.isnan(read["nan"])


def test_a_result_of_words_alone(tmp_path: Path) -> None:
    save_result(tmp_path / "r.safetensors", {"a": 1})
    assert load_result(tmp_path / "r.safetensors") == {"a": 1}
