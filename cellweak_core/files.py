"""Files that appear whole or not at all, checksums, and the errors people read."""

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """Something in a user's files is not as expected.

    The message is for people: which file and row, what was expected, what was found, how to fix it.
    """


class CellweakWarning(UserWarning):
    """Something a person should know, though the work goes on."""


# A full disk, a spent quota, a file-size limit: the same cause to the person who waits for a result.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def data_home() -> Path:
    """Folder where data sets lie: ``$CELLWEAK_DATA``, or the user's cache."""
    if folder := os.environ.get("CELLWEAK_DATA"):
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("cellweak")


class FullDiskError(OSError):
    """A full disk, with the folder, the free bytes and the way out in the message."""


def full_disk_error(error: OSError, folder: str | os.PathLike[str]) -> OSError:
    """The same error, saying which folder is full and how many bytes are free there.

    Args:
        error: what the operating system raised; anything but a full disk comes back unchanged.
        folder: where the file was going to be written.
    """
    if error.errno not in FULL_DISK or isinstance(error, FullDiskError):
        return error
    free_bytes = shutil.disk_usage(folder).free
    return FullDiskError(
        error.errno,
        f"cannot write in {folder}: {error.strerror} ({free_bytes:,} bytes free). "
        "Earlier files there are untouched; make room or choose another folder, then run the same command",
    )


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its name once the block is done.

    A reader, or a run that is killed, never sees half a file: the new content is flushed to the disk
    before it replaces the old one in a single step.

    Args:
        path: the file to write; missing parent folders are made.

    Yields:
        The path to write to, ``.NAME.PID.part`` in the same folder.

    Raises:
        FullDiskError: the disk is full; earlier content of ``path`` is untouched.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        # safetensors is written in Rust and has the operating system's number in its message only
        rust = re.search(r"os error (\d+)", str(error))
        cause = OSError(int(rust[1]), os.strerror(int(rust[1]))) if rust else error
        if isinstance(cause, OSError) and cause.errno in FULL_DISK:
            raise full_disk_error(cause, path.parent) from error
        raise


def _plain(value: object) -> object:
    """``value`` in JSON's own types; what is not a number becomes null, as JSON has no NaN."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays alike
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | os.PathLike[str], obj: object) -> Path:
    """Write ``obj`` as indented JSON, whole or not at all; NaN and infinity become null."""
    text = json.dumps(_plain(obj), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")
    return Path(path)


def read_json(path: str | os.PathLike[str]) -> Any:  # noqa: ANN401 - JSON has no type
    """Read a JSON file.

    Raises:
        DataError: the file is not there, empty, cut short, or no JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected JSON in UTF-8, found other bytes at {error.start}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not whole JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "Delete the file and make it again"
        ) from error


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(paths: Iterable[str | os.PathLike[str]], root: str | os.PathLike[str]) -> str:
    r"""SHA-256 over the sorted lines ``relative path\0sha256\n``: one number for a set of files.

    Args:
        paths: files under ``root``, in any order.
        root: folder that the paths are taken relative to, so that the digest is the same on every machine.

    Raises:
        DataError: a path is not under ``root``.
    """
    root = Path(root)
    lines = []
    for path in map(Path, paths):
        if not path.is_relative_to(root):
            raise DataError(f"{path} is not under {root}")
        lines.append(f"{path.relative_to(root).as_posix()}\0{sha256(path)}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
