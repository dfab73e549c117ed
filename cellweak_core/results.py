"""What a chapter leaves behind: rows, tables, figures, weights, and how they were made.

OUTPUT/results.json    {"rows": [...], "provenance": {...}}
OUTPUT/tables/table_2.csv   figures/fig_10.png   figures/fig_10.svg   weights/NAME.safetensors
"""

import datetime as dt
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import DataError, atomic_path, read_json, write_json
from .tables import ROW_COLUMNS, rows_frame, write_csv

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

FILES = ("data_dir", "weights", "cnn", "gan", "imagenet")  # parameters of chapters that name files or folders
_PACKAGES = ("cellweak", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def item_slug(item: str, panel: str = "") -> str:
    """File name of a published item: ``"Fig. 10"`` gives ``fig_10``, with panel ``"a"`` ``fig_10a``."""
    slug = re.sub(r"[^a-z0-9]+", "_", item.lower()).strip("_") + panel.lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise ValueError(f"item: expected a published item such as 'Fig. 10', given {item!r}, panel {panel!r}")
    return slug


def file_slug(name: str) -> str:
    """File name of a model or method: ``"mixup alpha=0.2"`` gives ``mixup-alpha-0.2``."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit and whether the tree differs from it; None where the package is not in its own repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # else: some other project's repository around us
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _device(asked: object) -> str:
    """The own name of the device that ``training.make_fabric`` takes; torch is asked only if the run imported it."""
    torch = sys.modules.get("torch")
    if torch is not None and asked in ("auto", "cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    if torch is not None and asked == "mps" and torch.backends.mps.is_available():
        return "mps"
    return f"cpu ({platform.machine()})"


def _without_paths(parameters: Mapping[str, object]) -> dict[str, object]:
    """Parameters as others may read them: a path of this machine tells them nothing and may name a person.

    Of ``FILES`` the file's or folder's own name stays; ``output_dir`` changes no number and goes.
    """
    kept = {name: value for name, value in parameters.items() if name != "output_dir"}
    for name in FILES:
        if given := kept.get(name):
            kept[name] = Path(os.path.abspath(Path(str(given)).expanduser())).name
    return kept


def _peak_memory_mb() -> float | None:
    """Largest resident memory of this process or of any child that has ended, in MB."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


class Results:
    """The output folder of one run of a chapter.

    Args:
        chapter: the chapter's name, as in the published tables.
        output_dir: folder for everything; made when first written to.
        parameters: the run's parameters, for the provenance, which keeps no path of them.
        seed: the run's seed.
        data: ``simulated`` (or ``simulated, WHAT``), or the real set's name; the default for every row.
        data_digest: checksum of the data, if they are real.
    """

    def __init__(
        self,
        chapter: str,
        output_dir: str | os.PathLike[str],
        parameters: Mapping[str, object],
        seed: int,
        data: str,
        data_digest: str | None = None,
    ) -> None:
        self.chapter, self.data = chapter, data
        self.output_dir = Path(output_dir)
        self._rows: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        self._facts: dict[str, object] = {}
        self._asked_device = parameters.get("device", "auto")
        self._start = (dt.datetime.now(dt.UTC), time.perf_counter())
        self._given = {
            "parameters": _without_paths(parameters), "seed": int(seed), "data": data, "data_digest": data_digest
        }  # fmt: skip

    def add(
        self,
        item: str,
        row: str,
        column: str,
        value: float,
        *,
        n: int,
        unit: str,
        low: float | None = None,
        high: float | None = None,
        data: str | None = None,
        note: str = "",
    ) -> None:
        """Keep one number; the same (item, row, column, data) again replaces it.

        Args:
            item: the published item, ``"Fig. 10"``.
            row: the method.
            column: the condition or metric.
            value: the number; NaN only with a note that says why.
            n: how many independent things it rests on.
            unit: ``""`` for a plain number.
            low: lower end of an interval; ``note`` says how it was made.
            high: upper end.
            data: another data set than the run's own.
            note: anything a reader must know.

        Raises:
            DataError: not a row of the schema.
        """
        values = (self.chapter, item, row, column, value, low, high, n, unit, data or self.data, note)
        record = dict(zip(ROW_COLUMNS, values, strict=True))
        if not isinstance(n, int) and int(n) != n:
            raise DataError(f"{item}, {row}, {column}: n must be a whole number, given {n!r}")
        rows_frame([record])
        self._rows[item, row, column, str(record["data"])] = record

    def record(self, **facts: object) -> None:
        """Add facts to the provenance, for example how long each training took."""
        self._facts.update(facts)

    @property
    def rows(self) -> "pd.DataFrame":
        """All rows kept so far."""
        return rows_frame(list(self._rows.values()))

    def table(self, item: str, frame: "pd.DataFrame", panel: str = "") -> Path:
        """Write the table behind a published item to ``tables/``."""
        return write_csv(frame, self.output_dir / "tables" / f"{item_slug(item, panel)}.csv")

    def figure(self, item: str, fig: "Figure", panel: str = "") -> Path:
        """Write a figure to ``figures/``, PNG (160 dpi) and SVG; returns the PNG. Closes nothing."""
        png = self.output_dir / "figures" / f"{item_slug(item, panel)}.png"
        for path, metadata in ((png.with_suffix(".svg"), {"Date": None}), (png, {"Software": None})):
            with atomic_path(path) as part:
                fig.savefig(part, format=path.suffix[1:], dpi=160, bbox_inches="tight", metadata=metadata)
        return png

    def weights(
        self, name: str, state_dict: "Mapping[str, Tensor]", metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write a model's weights to ``weights/NAME.safetensors``, with texts that go with them in its header."""
        from safetensors.torch import save_file

        path = self.output_dir / "weights" / f"{name}.safetensors"
        # clone: safetensors refuses tensors that share memory, as tied weights do
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state_dict.items()}
        with atomic_path(path) as part:
            save_file(tensors, part, dict(metadata or {}))
        return path

    def beside_paper(self, item: str | None = None) -> "pd.DataFrame":
        """This run's rows beside the paper's, see ``beside_paper``; of one item if ``item`` is given."""
        table = beside_paper(self.rows, self.chapter)
        return table if item is None else table[table["item"] == item].reset_index(drop=True)

    def provenance(self) -> dict[str, object]:
        """How the numbers came about, up to now."""
        started, clock = self._start
        commit, dirty = _git_state(Path(__file__).parent)
        return {
            **self._given,
            "git_commit": commit,
            "git_dirty": dirty,
            "versions": _versions(),
            "device": _device(self._asked_device),
            "cpu_count": os.cpu_count(),
            "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "started_utc": started.isoformat(timespec="seconds"),
            "finished_utc": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "wall_time_s": round(time.perf_counter() - clock, 2),
            "peak_memory_mb": _peak_memory_mb(),
            **self._facts,
        }

    def finish(self) -> Path:
        """Write ``results.json``: the rows and the provenance."""
        content = {"rows": self.rows.to_dict(orient="records"), "provenance": self.provenance()}
        return write_json(self.output_dir / "results.json", content)


def load_results(path: str | os.PathLike[str]) -> "tuple[pd.DataFrame, dict[str, Any]]":
    """Rows and provenance of a ``results.json``, or of the one in a folder.

    Raises:
        DataError: not there, cut short, or not what ``Results.finish`` writes.
    """
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    content = read_json(path)
    if not isinstance(content, dict) or not {"rows", "provenance"} <= content.keys():
        raise DataError(f"{path}: expected the keys 'rows' and 'provenance', as results.json has them")
    try:
        return rows_frame(content["rows"]), content["provenance"]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def beside_paper(rows: "pd.DataFrame", chapter: str) -> "pd.DataFrame":
    """The paper's numbers on the left, a run's on the right, joined on (item, row, column).

    Args:
        rows: rows of the one schema.
        chapter: whose published table to take (only what the paper calls a result).

    Returns:
        Columns item, row, column, then value, low, high, n, unit, data, note, each with the endings
        ``_paper`` and ``_run``. What only one side has is there too, empty on the other. Items, and the rows of each,
        in the paper's order; behind them what only the run has, in its own.
    """
    import pandas as pd

    from .published import load

    keys = ["item", "row", "column"]
    paper = load(chapter)
    paper = paper.loc[paper["kind"] == "result", list(ROW_COLUMNS)].drop(columns="chapter")
    run = rows.loc[rows["chapter"] == chapter, list(ROW_COLUMNS)].drop(columns="chapter")
    paper = paper.rename(columns={name: f"{name}_paper" for name in paper.columns if name not in keys})
    run = run.rename(columns={name: f"{name}_run" for name in run.columns if name not in keys})
    # not an outer merge, which sorts by the keys
    order = pd.concat([paper[keys], run[keys]]).drop_duplicates()
    both = order.merge(paper, on=keys, how="left").merge(run, on=keys, how="left")
    rank = {item: at for at, item in enumerate(both["item"].drop_duplicates())}
    return both.sort_values("item", key=lambda items: items.map(rank), kind="stable", ignore_index=True)


def provenance_line(provenance: Mapping[str, Any]) -> str:
    """One line that says how numbers were made, for under a table or figure."""
    versions = provenance.get("versions", {})
    commit = provenance.get("git_commit")
    parts = [
        f"data: {provenance.get('data')}",
        f"seed {provenance.get('seed')}",
        f"commit {commit[:10]}{' with local changes' if provenance.get('git_dirty') else ''}" if commit else
        f"cellweak {versions.get('cellweak', 'unknown')}",
        f"torch {versions['torch']}" if "torch" in versions else "",
        str(provenance.get("device", "")),
        f"{provenance['wall_time_s']:.0f} s" if provenance.get("wall_time_s") is not None else "",
        f"peak {provenance['peak_memory_mb']:.0f} MB" if provenance.get("peak_memory_mb") else "",
        str(provenance.get("finished_utc", ""))[:10],
    ]  # fmt: skip
    return "; ".join(part for part in parts if part)
