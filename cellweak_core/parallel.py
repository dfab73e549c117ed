"""Independent work: folds, seeds, fractions, shards; each result one file, done work skipped.

    runs ---> joblib (processes here, or Dask workers anywhere) ---> one file per result ---> list of results
                                                         ^ a killed call leaves these, the next one starts from them
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .files import CellweakWarning, atomic_path

Result = dict[str, Any]
ATTEMPTS = 3  # at what a cluster loses
Task = Callable[[Mapping[str, Any], Mapping[str, Any], Path], Mapping[str, Any]]


def save_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write one result as a single safetensors file: arrays as tensors, all else as JSON in its header.

    Raises:
        TypeError: A value is neither an array nor JSON.
    """
    from safetensors.torch import save_file

    tensors, plain = {}, {}
    for name, value in result.items():
        # Copies, because safetensors refuses two names for one piece of memory (a last row beside its table).
        if isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.array(value, order="C"))
        elif isinstance(value, Tensor):
            tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        else:
            plain[name] = value
    with atomic_path(path) as part:
        save_file(tensors, part, metadata={"json": json.dumps(plain, allow_nan=True)})


def load_result(path: Path) -> Result:
    """Read what `save_result` wrote; arrays come back as torch tensors."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        result = dict(json.loads(file.metadata()["json"]))
        result.update({name: file.get_tensor(name) for name in file.keys()})
    return result


def _imported(path: Path) -> Iterator[Path]:
    """The files beside a Python file, or in this package, that it imports, wherever in it the import stands."""
    core = Path(__file__).parent
    for node in ast.walk(ast.parse(path.read_bytes())):
        names, folder = list[str](), path.parent
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = [node.module] if node.module else []
            folder = path.parents[max(0, node.level - 1)]
            # `from .room import thing` and `from . import room` look alike: both readings are tried.
            names = [*module, *(".".join([*module, alias.name]) for alias in node.names)]
        for name in names:
            inside = name.split(".")
            base = core.parent if inside[0] == core.name else folder
            file = base.joinpath(*inside)
            yield from (f for f in (file.with_suffix(".py"), file / "__init__.py") if f.is_file())


def code_digest(func: Task) -> str:
    """Digest of the code a task can reach: its own file and all of this package that it imports, directly or not.

    A figure or a table is not reached from a training, so that a change there leaves finished trainings valid.
    """
    source = getattr(sys.modules[func.__module__], "__file__", None)  # a notebook has none
    waiting, reached = [Path(source).resolve()] if source else [], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [found.resolve() for found in _imported(path)]
    digest = hashlib.sha256(func.__qualname__.encode())
    for path in sorted(reached | {Path(__file__).resolve()}, key=lambda p: (p.name, p)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


class Shared(dict[str, Any]):
    """What all runs read; Dask sends it to a worker once only if weak references to it can be made."""


def _shared_digest(shared: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(shared):
        value = shared[name]
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray) and value.dtype != object:
            digest.update(f"{name}{value.dtype}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).view(np.uint8).data)
            continue
        try:
            plain = value.tolist() if isinstance(value, np.ndarray) else value
            digest.update(f"{name}{json.dumps(plain, sort_keys=True)}".encode())
        except TypeError as error:
            # A printed form would do for a key only if it told all values apart: a table's leaves out its middle.
            raise TypeError(f"shared[{name!r}]: expected an array or JSON, got {type(value).__name__}") from error
    return digest.hexdigest()


@contextmanager
def _backend(n_jobs: int, scheduler: str) -> Iterator[None]:
    import joblib

    if not scheduler:
        n_jobs = joblib.effective_n_jobs(n_jobs)
        threads = max(1, (os.cpu_count() or 1) // n_jobs)
        with (
            warnings.catch_warnings(),
            joblib.parallel_config(backend="loky", n_jobs=n_jobs, inner_max_num_threads=threads),
        ):
            # Harmless, as the worker is started again, and it shows where on this machine joblib lies
            warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
            yield
        return
    from distributed import Client

    with Client(scheduler) as client, joblib.parallel_config(backend="dask", client=client):
        yield


_watching = False


def _end_with(parent: int) -> None:
    """End this worker process once its parent is gone: a killed run must not go on training behind the next one."""
    global _watching
    if _watching or os.getpid() == parent:
        return
    _watching = True
    import threading
    import time

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call(func: Task, run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> tuple[Result, str]:
    try:
        return dict(func(run, shared, checkpoint)), ""
    except Exception as error:
        # One failed run must not throw away the others': it is reported when the rest is done.
        import traceback

        return {}, f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-4)}"


def map_runs(
    func: Task,
    runs: Sequence[Mapping[str, Any]],
    *,
    folder: Path | str,
    shared: Mapping[str, Any] | None = None,
    n_jobs: int = 1,
    scheduler: str | None = None,
    version: str = "",
    desc: str = "",
) -> list[Result]:
    """Call `func(run, shared, checkpoint)` for every run, in parallel, and keep each result as a file.

    A result is found again by its run, the shared data, `version` and the code it was made by, so that a second call
    does only what is missing, and a changed core or data set recomputes.

    Args:
        func: Module-level function; returns a mapping of arrays and JSON values. `checkpoint` is a path of its own
            for `training.run_steps`, removed once the result is saved.
        runs: JSON-able parameters, one mapping per call.
        folder: Where the results lie.
        shared: Arrays and JSON values that all runs read (large arrays memory-mapped between processes and
            read-only there, see `training.shared_tensor`; sent once to each Dask worker).
        n_jobs: Processes; 1 stays in this one. -1 takes every core.
        scheduler: Address of a Dask scheduler ("tcp://host:8786"); default the environment's `CELLWEAK_SCHEDULER`.
        version: More that the results depend on.
        desc: The progress bar's label.

    Returns:
        The results, in the order of `runs`; arrays as torch tensors.

    Raises:
        RuntimeError: Runs failed; the message shows the first error. The other results are kept.
        OSError: The scheduler is not there; or a result cannot be written (`FullDiskError`).
        Exception: The cluster's own, once it lost runs in all of `ATTEMPTS`; each time before there is a warning.
        TypeError: A run or a shared value has no digest: it is neither JSON nor an array.
    """
    import joblib
    from tqdm.auto import tqdm

    folder, shared = Path(folder), Shared(shared or {})
    scheduler = os.environ.get("CELLWEAK_SCHEDULER", "") if scheduler is None else scheduler
    made_of = f"{code_digest(func)}{_shared_digest(shared)}{version}"
    keys = [
        hashlib.sha256((made_of + json.dumps(dict(run), sort_keys=True)).encode()).hexdigest()[:20] for run in runs
    ]
    paths = [folder / f"{key}.safetensors" for key in keys]
    found: dict[int, Result] = {}
    for i, path in enumerate(paths):
        if path.is_file():
            try:
                found[i] = load_result(path)
            except Exception as error:  # a damaged file is computed again, and said so
                warnings.warn(f"{path}: not readable ({error}); computed again", CellweakWarning, stacklevel=2)
    same = {path: i for i, path in reversed(list(enumerate(paths)))}  # equal runs are computed once, by the first
    todo = [i for i in sorted(same.values()) if i not in found]
    failed: dict[int, str] = {}
    bar = tqdm(total=len(runs), initial=len(found), desc=desc, disable=None if desc else True)

    def keep(i: int, result: Result, error: str) -> None:
        bar.update()
        if error:
            failed[i] = error
            return
        try:
            save_result(paths[i], result)
        except TypeError as unfit:  # a value that no file holds is this run's failure, not the others'
            failed[i] = f"TypeError: {unfit}"
            return
        found[i] = load_result(paths[i])
        paths[i].with_suffix(".ckpt").unlink(missing_ok=True)

    here = 0 if scheduler else os.getpid()

    def numbered(i: int, shared: Mapping[str, Any]) -> tuple[int, Result, str]:
        if here:
            _end_with(here)
        return (i, *_call(func, runs[i], shared, paths[i].with_suffix(".ckpt")))

    def results() -> Generator[tuple[int, Result, str]]:
        """What the workers return, in any order; a generator, so that its `try` does not see the errors of `keep`."""
        for attempt in range(1, ATTEMPTS + 1):
            left = [i for i in todo if i not in found and i not in failed]
            # A client each time, as the last one may be what broke; outside `try`: a missing scheduler is told at once
            with _backend(n_jobs, scheduler):
                try:
                    pool = joblib.Parallel(return_as="generator_unordered")
                    yield from pool(joblib.delayed(numbered)(i, shared) for i in left)
                    return
                except Exception as error:
                    # A worker that dies on a cluster at times takes the whole call with it ("already forgotten")
                    if not scheduler or attempt == ATTEMPTS:
                        raise
                    lost = sum(i not in found and i not in failed for i in left)
                    message = (
                        f"{desc or func.__qualname__}: {scheduler} lost {lost} of {len(runs)} runs, which are asked "
                        f"again, time {attempt + 1} of {ATTEMPTS} ({type(error).__name__}: {error})"
                    )
            warnings.warn(message, CellweakWarning, stacklevel=3)

    if n_jobs == 1 and not scheduler:
        for i in todo:
            keep(i, *_call(func, runs[i], shared, paths[i].with_suffix(".ckpt")))
    elif todo:
        asked = results()
        try:
            for i, result, message in asked:
                keep(i, result, message)
        finally:
            with warnings.catch_warnings():
                # After an error of this machine joblib counts what it cancelled, as if that were the news
                warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning)
                asked.close()
    bar.close()
    if failed:
        first = min(failed)
        raise RuntimeError(
            f"{desc or func.__qualname__}: {len(failed)} of {len(runs)} runs failed ({len(found)} are kept in "
            f"{folder}); the first, {dict(runs[first])}:\n{failed[first]}"
        )
    return [found[same[path]] for path in paths]
