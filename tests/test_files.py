import errno
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from cellweak_core import files


def test_atomic_path_replaces_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    with files.atomic_path(path) as part:
        part.write_text("one")
        assert not path.exists()
        assert part.parent == path.parent
        assert part.name == f".a.txt.{os.getpid()}.part"
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_atomic_path_keeps_the_old_content_on_error(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with files.atomic_path(path) as part:
            part.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, [0] * 1000)
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            content = files.read_json(path)
            seen.add((content[0], len(content), len(set(content))))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        files.write_json(path, [number] * 1000)
    done.set()
    reader.join()
    assert seen
    assert all(length == 1000 and kinds == 1 for _, length, kinds in seen)


def test_full_disk_names_the_folder_and_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "a.json"
    files.write_json(path, "old")
    with pytest.raises(files.FullDiskError, match=r"cannot write in .*small disk.*bytes free") as caught:
        files.write_json(path, "x" * 10**6)
    assert caught.value.errno == errno.ENOSPC
    assert files.read_json(path) == "old"
    assert list(small_disk.iterdir()) == [path]


def test_full_disk_is_told_by_weights_too(small_disk: Path) -> None:
    from safetensors.torch import save_file

    def write() -> None:
        with files.atomic_path(small_disk / "a.safetensors") as part:
            save_file({"a": torch.zeros(10**6)}, part)

    with pytest.raises(files.FullDiskError, match="cannot write in"):
        write()
    assert list(small_disk.iterdir()) == []


def test_full_disk_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_json(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(files.FullDiskError, match="No space left on device"):
        files.write_json(tmp_path / "a.json", "new")
    assert files.read_json(tmp_path / "a.json") == "old"


def test_file_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, "old")
    code = f"from cellweak_core import files; files.write_json({str(path)!r}, 'x' * 100_000)"
    limit = (10_000, 10_000)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert "FullDiskError" in done.stderr
    assert "File too large" in done.stderr
    assert files.read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "no")
    assert files.full_disk_error(error, tmp_path) is error


def test_json_round_trip(tmp_path: Path) -> None:
    content = {
        "nan": math.nan, "inf": [math.inf, 1.5], "path": Path("a/b"), "scalar": np.float32(0.5), 3: (True, None),
        "array": np.arange(3), "tensor": torch.tensor([[1.0, math.nan]]), "text": "µm",
    }  # fmt: skip
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == {
        "nan": None, "inf": [None, 1.5], "path": "a/b", "scalar": 0.5, "3": [True, None],
        "array": [0, 1, 2], "tensor": [[1.0, None]], "text": "µm",
    }  # fmt: skip
    assert "NaN" not in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not whole JSON"), (b'{"rows": [1, 2', "line 1"), (b'"\xff"', "UTF-8")],
)
def test_read_json_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "cut.json").write_bytes(content)
    with pytest.raises(files.DataError, match=message) as caught:
        files.read_json(tmp_path / "cut.json")
    assert "cut.json" in str(caught.value)
    with pytest.raises(files.DataError, match=r"nothing\.json is not there"):
        files.read_json(tmp_path / "nothing.json")


def test_tree_digest_is_its_formula(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    contents = {"b/2.txt": b"two", "a.txt": b"one"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    lines = sorted(f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in contents.items())
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    paths = [tmp_path / name for name in contents]
    assert files.tree_digest(paths, tmp_path) == files.tree_digest(paths[::-1], tmp_path) == expected
    (tmp_path / "a.txt").write_bytes(b"One")
    assert files.tree_digest(paths, tmp_path) != expected
    with pytest.raises(files.DataError, match="is not under"):
        files.tree_digest(paths, tmp_path / "b")


def test_data_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CELLWEAK_DATA", str(tmp_path))
    assert files.data_home() == tmp_path
    monkeypatch.delenv("CELLWEAK_DATA")
    assert files.data_home().name == "cellweak"


def test_import_is_quick_and_light() -> None:
    code = (
        "import sys, json, cellweak_core; cellweak_core.files; "
        "heavy = ('torch', 'pandas', 'matplotlib', 'dask', 'pooch'); "
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_unknown_submodule_is_an_attribute_error() -> None:
    import cellweak_core

    with pytest.raises(AttributeError, match="no_such_module"):
        _ = cellweak_core.no_such_module
