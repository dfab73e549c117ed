"""What is known of a well, a site or a cell: one set of column names, whatever a file calls them.

    Metadata_Plate | Image_Metadata_Plate | plate | ...  --> plate         compound DMSO --> control
    Metadata_Well, concentration_um, week, mechanism ...  --> well, concentration, batch, moa
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cellweak_core.files import DataError
from cellweak_core.tables import TRUTH, separator_hint

from .checks import well_of

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
TEXT = ("plate", "well", "batch", "compound", "moa")
MOST_NAMED = 5  # in a message


def read_table(path: Path, may_be_empty: bool = False) -> pd.DataFrame:
    """A CSV (`.gz` too) or Parquet file. Only an empty cell is no value: "NA" may be a gene.

    Raises:
        DataError: It cannot be read, or has no rows.
    """
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path, low_memory=False, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, EOFError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise DataError(f"{path} cannot be read as {path.suffix.lstrip('.')}: {str(error).splitlines()[0]}") from error
    if hint := separator_hint(frame):
        raise DataError(f"{path}: one column only{hint}")
    if not len(frame) and not may_be_empty:
        raise DataError(f"{path}: no rows")
    return frame


def holds(folder: Path) -> str:
    """What a folder has in it, for people."""
    if not folder.is_dir():
        return "it is not there"
    names = sorted(one.name for one in folder.iterdir() if not one.name.startswith("."))
    more = " ..." if len(names) > MOST_NAMED else ""
    return f"it holds {', '.join(names[:MOST_NAMED])}{more}" if names else "it is empty"


def at_row(path: Path, row: int) -> str:
    """Where a row is, for people: a CSV file has lines, a Parquet file rows."""
    return f"{path}, row {row}" if path.suffix == ".parquet" else f"{path}, line {row + 2}"


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
        if known in columns:
            found = [name for name in plain if name == columns[known]]
            if not found:
                raise DataError(f"{path}: no column {columns[known]!r} to be {known}")
        else:
            # the name itself goes before the others, those in their order
            found = [n for other in others for n, short in plain.items() if short.lower() == other.lower()]
        if found:
            new[found[0]] = known
    given = [known for old, known in new.items() if known in columns and known in frame and old != known]
    return frame.drop(columns=given).rename(columns=new)


def completed(
    metadata: pd.DataFrame, controls: Sequence[str], path: Path, key: Sequence[str], need_control: bool = True
) -> pd.DataFrame:
    """Metadata with every column that the steps behind need.

    Args:
        metadata: Of `renamed`.
        controls: Values of `compound` that are controls, where no column says which rows are.
        path: Names the file in errors.
        key: Columns that are one row's own, those of them that are there; none where rows may repeat.
        need_control: Whether there must be one.

    Returns:
        plate, well, batch, compound and moa as text, `concentration` (0 where the column is missing or empty all over,
        and for controls without one), `control` (bool), `batch` (the plate's name up to the first "_" where no column
        says it).

    Raises:
        DataError: No plate, well or compound; an empty cell there; two rows of one key; a treatment without a
            concentration where others have one; `control` that is neither true nor false; no control; a compound or a
            mechanism that is spelled in two ways.
    """
    missing = [name for name in ("plate", "well", "compound") if name not in metadata]
    if missing:
        raise DataError(
            f"{path}: no column for {', '.join(missing)}; expected names such as Metadata_Plate. Rename those of the "
            "file, or say which they are (columns={'compound': ...})"
        )
    out = metadata.copy()
    for name in TEXT:
        if name in out:
            out[name] = as_text(out[name])
    for name in ("plate", "well"):
        _refuse_empty(out, name, path)
    _refuse_empty(out, "compound", path, f", or {controls[0]} where nothing was added")
    own = [name for name in key if name in out]
    if own and (twice := out.duplicated(own)).any():
        row = int(twice.to_numpy().argmax())
        where = ", ".join(f"{name} {out[name].iloc[row]}" for name in own)
        raise DataError(f"{at_row(path, row)}: {where} is there twice; keep one row for each")
    out["control"] = _truth(out["control"], path) if "control" in out else out["compound"].isin(list(controls))
    require_one_spelling(out, path)
    if need_control:
        require_control(out, controls, path)
    if "batch" not in out or out["batch"].isna().all():
        out["batch"] = out["plate"].str.split("_").str[0]
    _refuse_empty(out, "batch", path)
    out["concentration"] = _doses(out, path)
    return out


def _refuse_empty(metadata: pd.DataFrame, name: str, path: Path, hint: str = "") -> None:
    empty = metadata[name].isna().to_numpy()
    if empty.any():
        raise DataError(f"{at_row(path, int(empty.argmax()))}: no {name}; name it{hint}")


def require_control(metadata: pd.DataFrame, controls: Sequence[str], path: Path) -> None:
    """Refuses metadata without a control.

    Raises:
        DataError: There is none; says which compounds there are.
    """
    if metadata["control"].any():
        return
    known = sorted(metadata["compound"].unique())
    if set(known) & set(controls):
        raise DataError(f"{path}: no control; the column control is false in every row. Mend it, or leave it out")
    listed = f"{', '.join(known[:MOST_NAMED])}{' ...' if len(known) > MOST_NAMED else ''}"
    raise DataError(
        f"{path}: no control; none of the compounds is {' or '.join(controls)}. Give controls=, on the command line "
        f"-p controls '[\"NAME\"]', of the compounds there are: {listed}"
    )


def require_one_spelling(metadata: pd.DataFrame, path: Path) -> None:
    """Refuses compounds and mechanisms that are told apart by capitals or spaces only: they would count as two.

    Args:
        metadata: Of `completed`.
        path: Names the file in the error.

    Raises:
        DataError: Two such names, with a plate and well of each.
    """
    for name in ("compound", "moa"):
        if name not in metadata:
            continue
        first = metadata.drop_duplicates(name).dropna(subset=name)
        alike = first[name].str.split().str.join(" ").str.casefold()
        if (twice := alike.duplicated(keep=False)).any():
            of = first[alike == alike[twice].iloc[0]]
            own = " and ".join(f"{row[name]!r}{well_of(row)}" for _, row in of.iterrows())
            raise DataError(f"{path}: {name} {own} differ in capitals or spaces only; spell them alike")


def as_text(column: pd.Series) -> pd.Series:
    """Names as text, the same whether a file's other rows made pandas read numbers: 101, 101.0 and "101" are one."""
    import pandas as pd

    if column.dtype.kind == "f":
        whole = column.dropna() % 1 == 0
        column = column.astype("Int64") if whole.all() else column
    texts = [None if pd.isna(name) else str(name) for name in column]
    return pd.Series(texts, index=column.index, dtype="str")


def _truth(column: pd.Series, path: Path) -> pd.Series:
    import pandas as pd

    known = as_text(column).str.strip().str.lower().map(TRUTH)
    if known.isna().any():
        row = int(known.isna().to_numpy().argmax())
        found = "an empty cell" if pd.isna(column.iloc[row]) else repr(str(column.iloc[row]))
        raise DataError(f"{at_row(path, row)}, column control: expected true or false, found {found}")
    return known.astype(bool)


def _doses(metadata: pd.DataFrame, path: Path) -> pd.Series:
    import pandas as pd

    if "concentration" not in metadata or metadata["concentration"].isna().all():
        return pd.Series(0.0, index=metadata.index)
    doses = pd.to_numeric(metadata["concentration"], errors="coerce")
    doses = doses.mask(metadata["control"] & doses.isna(), 0.0).astype(float)
    if doses.isna().any():
        row = int(doses.isna().to_numpy().argmax())
        found = metadata["concentration"].iloc[row]
        what = "an empty cell" if pd.isna(found) else repr(str(found))
        raise DataError(f"{at_row(path, row)}, column concentration: expected a number, found {what}")
    return doses
