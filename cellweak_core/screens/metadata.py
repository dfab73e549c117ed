"""What is known of a well, a site or a cell: one set of column names, whatever a file calls them.

    Metadata_Plate | Image_Metadata_Plate | plate | ...  --> plate         compound DMSO --> control
    Metadata_Well, concentration_um, week, mechanism ...  --> well, concentration, batch, moa
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellweak_core.files import DataError

if TYPE_CHECKING:
    import pandas as pd

PREFIXES = ("Image_Metadata_", "Metadata_")
# What the columns are called here, and under which other names they are found.
KNOWN = {
    "plate": ("plate", "Assay_Plate_Barcode", "plate_name"),
    "well": ("well", "well_position", "Well_Position"),
    "site": ("site", "field", "fov"),
    "batch": ("batch", "week"),
    "replicate": ("replicate",),
    "compound": ("compound", "perturbation", "pert_iname", "gene"),
    "concentration": ("concentration", "concentration_um", "dose", "mmoles_per_liter"),
    "moa": ("moa", "mechanism"),
    "control": ("control", "is_control"),
}


def read_table(path: Path) -> pd.DataFrame:
    """A CSV (`.gz` too) or Parquet file.

    Raises:
        DataError: It cannot be read, or has no rows.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, low_memory=False)
    except (OSError, ValueError, EOFError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise DataError(f"{path} cannot be read as {path.suffix.lstrip('.')}: {str(error).splitlines()[0]}") from error
    if not len(frame):
        raise DataError(f"{path}: no rows")
    return frame


def renamed(frame: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    """The table with the names of `KNOWN`.

    Args:
        frame: As read.
        columns: Which column is which, where the names do not tell.
        path: Names the file in errors.

    Raises:
        DataError: A name in `columns` is none of `KNOWN`, or the file has no such column.
    """
    unknown = sorted(set(columns) - set(KNOWN))
    if unknown:
        raise DataError(f"columns: {', '.join(unknown)} is none of {', '.join(KNOWN)}")
    plain = {
        name: next((name.removeprefix(p) for p in PREFIXES if name.startswith(p)), name) for name in map(str, frame)
    }
    new = {}
    for known, others in KNOWN.items():
        wanted = [columns[known]] if known in columns else list(others)
        found = [
            name for name, short in plain.items()
            if name in wanted or (known not in columns and short.lower() in [other.lower() for other in wanted])
        ]  # fmt: skip
        if known in columns and not found:
            raise DataError(f"{path}: no column {columns[known]!r} to be {known}")
        if found:
            new[found[0]] = known
    clash = [known for old, known in new.items() if known in frame and old != known]
    return frame.drop(columns=clash).rename(columns=new)


def completed(metadata: pd.DataFrame, controls: Sequence[str], path: Path, key: Sequence[str]) -> pd.DataFrame:
    """Metadata with every column that the steps behind need.

    Args:
        metadata: Of `renamed`.
        controls: Values of `compound` that are controls, where no column says which rows are.
        path: Names the file in errors.
        key: Columns that are one row's own, those of them that are there; none where rows may repeat.

    Returns:
        With `control` (bool), `batch` (the plate's name up to the first "_" where no column says it), `concentration`
        (0 where there is none).

    Raises:
        DataError: No plate, well or compound; two rows of one key; a row without a compound; no control.
    """
    missing = [name for name in ("plate", "well", "compound") if name not in metadata]
    if missing:
        raise DataError(
            f"{path}: no column for {', '.join(missing)}; expected names such as Metadata_Plate, or say which they are "
            "(columns={'compound': ...})"
        )
    out = metadata.copy()
    own = [name for name in key if name in out]
    twice = out.duplicated(own) if own else out["plate"].isin([])
    if twice.any():
        row = int(twice.to_numpy().argmax())
        where = ", ".join(f"{name} {out[name].iloc[row]}" for name in own)
        raise DataError(f"{path}, line {row + 2}: {where} is there twice; keep one row for each")
    if out["compound"].isna().any():
        row = int(out["compound"].isna().to_numpy().argmax())
        raise DataError(f"{path}, line {row + 2}: no compound; name it, or {controls[0]} where nothing was added")
    if "control" not in out:
        out["control"] = out["compound"].isin(list(controls))
    out["control"] = out["control"].astype(bool)
    if not out["control"].any():
        raise DataError(
            f"{path}: no control; none of the compounds is {' or '.join(controls)}. Give controls=, such as "
            f"{sorted(map(str, out['compound'].unique()))[:5]}"
        )
    if "batch" not in out:
        out["batch"] = out["plate"].astype(str).str.split("_").str[0]
    if "concentration" not in out:
        out["concentration"] = 0.0
    return out
