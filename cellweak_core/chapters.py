"""Chapters as programs: find them, check their parameters, run them with papermill.

book/NAME.md -> (jupytext) -> parameters checked -> (papermill) -> OUT/.notebook.part.ipynb
                                                     all cells done -> OUT/notebook.ipynb
                                                     a cell failed  -> OUT/notebook.failed.ipynb
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .files import DataError, atomic_path, data_home, full_disk_error
from .kernels import kernel_manager
from .parameter_cells import Parameter, ParameterError, check_values, near, parse_cell

__all__ = [
    "Chapter", "ChapterError", "Parameter", "ParameterError", "book_dir", "chapter", "chapters", "checked",
    "current_values", "find_data", "parameters", "read_values", "run",
]  # fmt: skip

USERS_ERRORS = (DataError.__name__, ParameterError.__name__)  # as a kernel names them
PART, DONE, FAILED, LOG = ".notebook.part.ipynb", "notebook.ipynb", "notebook.failed.ipynb", ".kernel.log"


class ChapterError(RuntimeError):
    """A chapter stopped before its end; the message shows the cell and its error."""


@dataclass(frozen=True)
class Chapter:
    """A text notebook of the book that can be run."""

    name: str
    title: str
    path: Path


def book_dir() -> Path:
    """The chapters' folder: ``$CELLWEAK_BOOK``, the checkout's ``book``, or the copy in the wheel."""
    if folder := os.environ.get("CELLWEAK_BOOK"):
        return Path(folder).expanduser()
    package = Path(__file__).parent
    beside = package.parent / "book"
    return beside if beside.is_dir() else package / "_book"


@cache
def _read(path: Path, _modified_ns: int) -> Any:  # noqa: ANN401 - nbformat publishes no types
    import jupytext

    return jupytext.read(path)


def _notebook(path: Path) -> Any:  # noqa: ANN401
    return _read(path, path.stat().st_mtime_ns)


def _parameters_cell(path: Path) -> str | None:
    tagged = [c for c in _notebook(path).cells if "parameters" in c.metadata.get("tags", [])]
    return tagged[0].source if tagged else None


def chapters() -> list[Chapter]:
    """Every text notebook of the book that has a kernel and a cell tagged ``parameters``, by name."""
    found = []
    for path in sorted(book_dir().glob("*.md")):
        head = path.read_text(encoding="utf-8")[:4000]
        if not (head.startswith("---") and "jupytext" in head and "kernelspec" in head):
            continue
        if _parameters_cell(path) is None:
            continue
        prose = "\n".join(cell.source for cell in _notebook(path).cells if cell.cell_type == "markdown")
        heads = [line[2:].strip() for line in prose.splitlines() if line.startswith("# ")]
        title = heads[0] if heads else path.stem
        found.append(Chapter(path.stem, title, path))
    return found


def chapter(name: str) -> Chapter:
    """The chapter called ``name``.

    Raises:
        ParameterError: there is none; the message lists those there are.
    """
    there = {one.name: one for one in chapters()}
    if name not in there:
        names = ", ".join(there) or "none"
        raise ParameterError(f"no chapter {name!r} in {book_dir()}; there are: {names}{near(name, there)}")
    return there[name]


def parameters(one: Chapter | str) -> list[Parameter]:
    """The parameters of a chapter, in the order of its parameters cell.

    Raises:
        DataError: a line of the cell is not ``name: type = value  # help``.
    """
    one = chapter(one) if isinstance(one, str) else one
    return parse_cell(_parameters_cell(one.path) or "", f"{one.path}, parameters cell")


def defaults(one: Chapter | str) -> dict[str, Any]:
    """The value of each parameter of a chapter where none is given."""
    return {parameter.name: parameter.default for parameter in parameters(one)}


def checked(one: Chapter | str, values: Mapping[str, object]) -> dict[str, Any]:
    """Values that the chapter may be run with, see ``parameter_cells.check_values``."""
    one = chapter(one) if isinstance(one, str) else one
    return check_values(one.name, parameters(one), values)


def find_data(data_dir: str | os.PathLike[str]) -> Path:
    """A data folder: a path, or a bare name in ``$CELLWEAK_DATA``.

    Raises:
        DataError: it is not there; says where it was looked for.
    """
    given = Path(data_dir).expanduser()
    tried = [given] + ([data_home() / given] if len(given.parts) == 1 else [])
    for path in tried:
        if path.is_dir():
            return path
        if path.exists():
            raise DataError(f"data folder {path}: expected a folder, found a file")
    places = " and ".join(str(path.absolute()) for path in tried)
    raise DataError(
        f"data folder {given} is not there (looked at {places}). "
        "Check --data and $CELLWEAK_DATA, or bring a public set with `cellweak fetch`"
    )


def read_values(name: str | os.PathLike[str], chapter: str = "") -> dict[str, object]:
    """Parameters from a YAML file: a path, or a name under the book's ``parameters``.

    Args:
        name: ``rosettes-real.yml``, ``rosettes-real``, or, with the chapter, ``real``.
        chapter: whose parameters are meant.

    Raises:
        ParameterError: not there, or not a YAML mapping.
    """
    import yaml

    path, folder = Path(name).expanduser(), book_dir() / "parameters"
    for known in (
        path,
        folder / path.name,
        folder / f"{path.name}.yml",
        folder / f"{chapter}-{path.name}.yml",
    ):
        if known.is_file() and (known == path or len(path.parts) == 1):
            path = known
            break
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(one.stem for one in folder.glob("*.yml"))) or "none"
        raise ParameterError(f"parameter file {path} is not there; the book has: {there}") from None
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ParameterError(f"parameter file {path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParameterError(f"parameter file {path}: expected lines `name: value`, found {values!r}")
    return values


def current_values(one: Chapter | str, namespace: Mapping[str, object]) -> dict[str, object]:
    """A chapter's parameters as they stand in its ``globals()``, for the provenance."""
    return {parameter.name: namespace[parameter.name] for parameter in parameters(one)}


def run(
    one: Chapter | str,
    values: Mapping[str, object],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Path:
    """Execute a chapter.

    Args:
        one: the chapter, or its name.
        values: its parameters that differ from the defaults.
        data_dir: a data folder, or a name in ``$CELLWEAK_DATA``; None keeps the chapter's own (simulates).
        output_dir: where everything goes; None keeps the chapter's own. A run that was killed resumes there.
        scheduler: address of a Dask scheduler for the chapter's parallel work.
        progress: show papermill's bar, one step per cell.

    Returns:
        The executed notebook, which exists under this name only when every cell succeeded.

    Raises:
        ParameterError: unknown parameter or wrong type, before anything runs.
        DataError: the data folder is not there.
        ChapterError: a cell failed or the kernel died; the notebook so far is ``notebook.failed.ipynb``.
        OSError: the disk is full.
    """
    import nbformat
    from filelock import FileLock, Timeout

    one = chapter(one) if isinstance(one, str) else one
    asked = {**values, **({} if data_dir is None else {"data_dir": os.fspath(data_dir)}),
             **({} if output_dir is None else {"output_dir": os.fspath(output_dir)})}  # fmt: skip
    given = checked(one, asked)
    own = defaults(one)
    if given.get("data_dir"):
        given["data_dir"] = str(find_data(given["data_dir"]))
    folder = Path(given.get("output_dir") or own.get("output_dir") or f"runs/{one.name}")
    if "output_dir" in own:
        given["output_dir"] = str(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", blocking=False), (folder / LOG).open("wb") as log:
            notebook = _execute(one, given, folder, kernel_manager(log, scheduler), progress)
            with atomic_path(folder / DONE) as part:
                nbformat.write(notebook, part)
            (folder / FAILED).unlink(missing_ok=True)
            (folder / LOG).unlink(missing_ok=True)
    except Timeout:
        message = f"{folder}: another run is writing there; wait for it, or give another --out"
        raise ChapterError(message) from None
    except OSError as error:
        raise full_disk_error(error, folder) from error
    return folder / DONE


def _execute(one: Chapter, given: dict[str, Any], folder: Path, manager: type, progress: bool) -> Any:  # noqa: ANN401
    """Run the cells. The notebook in the making is a hidden file: papermill marks a killed one completed."""
    import copy
    import logging

    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    notebook = copy.deepcopy(_notebook(one.path))
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    part = folder / PART
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        done = papermill.execute_notebook(
            notebook,
            str(part).replace("{", "{{").replace("}", "}}"),  # papermill formats the name
            parameters=given,
            kernel_name="python3",
            progress_bar={"desc": one.name} if progress else False,
            kernel_manager_class=manager,
        )
    except PapermillExecutionError as error:
        os.replace(part, folder / FAILED)
        if error.ename in USERS_ERRORS:  # the person's files or parameters: a message, the cells are not to blame
            raise ChapterError(
                f"{error.evalue}\nchapter {one.name} stopped there; the full traceback is in {folder / FAILED}"
            ) from error
        raise ChapterError(f"chapter {one.name} failed, see {folder / FAILED}\n{error}") from error
    except DeadKernelError as error:
        os.replace(part, folder / FAILED)
        raise ChapterError(
            f"chapter {one.name}: its Python process died, most often for want of memory; see "
            f"{folder / FAILED} and {folder / LOG}. The same command resumes from the last checkpoint"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    # Times and paths of this machine belong in results.json, not in a page.
    for metadata in (done.metadata, *(cell.metadata for cell in done.cells)):
        metadata.pop("papermill", None)
    return done
