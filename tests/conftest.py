"""One thread and no deadlines for every test; a book with one tiny chapter, and a disk that is full."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # the processes that tests start too

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # sums in one order, and no fight for cores between tests that run side by side
settings.register_profile("cellweak", deadline=None, max_examples=25)  # shared machines are slow now and then
settings.load_profile("cellweak")

TINY = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A tiny chapter

```{code-cell} ipython3
:tags: [parameters]

data_dir: str = ""  # folder of data; empty simulates
output_dir: str = "runs/tiny"  # where everything goes
device: str = "auto"  # auto, cpu or cuda
seed: int = 0  # of every generator
n_jobs: int = 1  # processes
learning_rate: float = 1.0e-3  # step of Adam
fractions: list[float] = [0.1, 1.0]  # of the labels
deep: bool = False  # more layers
steps: int = 3  # of training
pause_s: float = 0.0  # between steps, s
fail: bool = False  # stop with an error
die: bool = False  # as if out of memory
```

```{code-cell} ipython3
import os, signal, time
from pathlib import Path

from tqdm import tqdm

from cellweak_core import chapters, files, results

checkpoint = Path(output_dir) / "checkpoint.json"
first = files.read_json(checkpoint)["step"] if checkpoint.exists() else 0
run = results.Results("tiny", output_dir, chapters.current_values("tiny", globals()), seed, "simulated")
for step in tqdm(range(first, steps)):
    files.write_json(checkpoint, {"step": step + 1})
    time.sleep(pause_s)
print("first step", first)
```

```{code-cell} ipython3
if die:
    os.kill(os.getpid(), signal.SIGKILL)
if fail:
    raise ValueError("the cell's own error")
```

```{code-cell} ipython3
run.add("Table 1", "method", "steps from", first, n=1, unit="")
run.table("Table 1", run.rows)
run.finish()
```
"""


@pytest.fixture
def tiny_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``$CELLWEAK_BOOK``: a book whose chapter ``tiny`` trains in steps with a checkpoint."""
    book = tmp_path / "book"
    (book / "parameters").mkdir(parents=True)
    (book / "tiny.md").write_text(TINY)
    (book / "prose.md").write_text("# Only prose\n")
    monkeypatch.setenv("CELLWEAK_BOOK", str(book))
    monkeypatch.setenv("CELLWEAK_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return book


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 256 KiB; skips where nobody may mount one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if not (mount and sys.platform == "linux") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """``$CELLWEAK_DATA`` as it is outside the tests; skips where it holds no real sets."""
    folder = os.environ.get("CELLWEAK_DATA", "")
    if not (folder and (Path(folder) / "rosettes" / "dataset").is_dir()):
        pytest.skip("no real data: set CELLWEAK_DATA")
    return Path(folder).resolve()
