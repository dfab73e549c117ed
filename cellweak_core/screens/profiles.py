"""Ready profiles: one table of features and what is known of each row.

```
profiles.csv | .csv.gz | .parquet     plate, well, compound, concentration, moa ... + features --+
BBBC021: BBBC021_v1_image.csv         plate, well -> compound, concentration                   --+--> Profiles
         BBBC021_v1_moa.csv           compound, concentration -> mechanism                     --+
         *_per_well_mean.csv          plate, well + features                                   --+
```
Columns that begin with `Metadata_` (pycytominer) or `Image_Metadata_` (CellProfiler) are metadata, so are those whose
plain names stand in `metadata.KNOWN`, counters (`COUNTERS`), what `metadata=` names, and all text. Every other column
is a feature; one of text that is mostly numbers is a feature with a broken cell, and refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellweak_core.files import DataError, tree_digest

from .metadata import KNOWN, PREFIXES, as_text, at_row, completed, holds, read_table, renamed

if TYPE_CHECKING:
    import pandas as pd

BBBC021 = "BBBC021_v1_{}.csv"
CELLS = "crops.npy and cells.csv, or a table of images and the images"  # what other readers take
# Numbers that tables have beside their features and that say nothing of a cell.
COUNTERS = ("imagenumber", "tablenumber", "objectnumber", "unnamed: 0", "index", "entrez")


@dataclass(frozen=True)
class Profiles:
    """Profiles and their metadata, row for row.

    Attributes:
        features: `(n, d)` float64, finite.
        names: Of the features, d.
        metadata: Columns plate, well, batch, compound, concentration (0 where there is none), control (bool), and moa
            where it is known; others as in the file.
        name: Of the data set.
        digest: SHA-256 over the files' names and contents; "" for made ones.
    """

    features: NDArray[np.float64]
    names: tuple[str, ...]
    metadata: pd.DataFrame
    name: str
    digest: str = ""

    @property
    def control(self) -> NDArray[np.bool_]:
        """Which rows are controls, `(n,)`."""
        return self.metadata["control"].to_numpy(bool)


def load_profiles(
    path: str | Path,
    *,
    controls: Sequence[str] = ("DMSO",),
    columns: Mapping[str, str] | None = None,
    metadata: Sequence[str] = (),
    constant: str = "keep",
) -> Profiles:
    """Reads a table of profiles, or BBBC021's own tables with one of features.

    Args:
        path: A CSV (`.gz` too) or Parquet file, or a folder that holds one; where it has no compounds, they and their
            mechanisms come from `BBBC021_v1_image.csv` and `BBBC021_v1_moa.csv` beside it.
        controls: Values of `compound` that are controls, where no column says which rows are.
        columns: Which column of the file is one of `KNOWN`, such as {"compound": "construct"}, where the names do not
            tell.
        metadata: Further columns that are no features.
        constant: "keep" or "drop" features that have one value in all rows.

    Returns:
        The profiles. `batch` is the plate's name up to the first "_" where no column says it.

    Raises:
        DataError: No such file, several tables, no features, columns missing, no controls, a plate and well twice,
            wells that BBBC021's tables do not know, values that are not numbers; names file, row and column.
        ValueError: `constant` is neither word.
    """
    if constant not in ("keep", "drop"):
        raise ValueError(f"constant: expected keep or drop, got {constant!r}")
    root = Path(path)
    table, files = _table_of(root)
    frame = read_table(table)
    named = renamed(frame, dict(columns or {}), table)
    absent = [name for name in metadata if name not in frame]
    if absent:
        raise DataError(f"{table}: no column {', '.join(absent)} to be metadata")
    known_rows = named[[name for name in map(str, named) if name in metadata or _is_metadata(name, named, table)]]
    known_rows = known_rows.reset_index(drop=True)
    features = named.drop(columns=known_rows.columns)
    if not features.shape[1]:
        known = ", ".join(map(str, known_rows))
        raise DataError(f"{table}: no column of numbers beside the metadata ({known}); nothing to match by")
    values = features.to_numpy(np.float64)
    _refuse_broken(values, list(map(str, features)), table)
    if "compound" not in known_rows and bbbc021_table(table.parent, "image"):
        known_rows, extra = _with_treatments(known_rows, table.parent, table)
        files += extra
    rows = completed(known_rows, controls, table, ("plate", "well", "site"))
    kept = np.ones(values.shape[1], bool) if constant == "keep" else np.ptp(values, axis=0) > 0
    names = tuple(str(name) for name in features.columns[kept])
    return Profiles(values[:, kept], names, rows, root.name.split(".")[0], tree_digest(files, table.parent))


def _table_of(root: Path) -> tuple[Path, list[Path]]:
    if root.is_file():
        return root, [root]
    if not root.is_dir():
        raise DataError(f"{root} is not there; expected a table of profiles (CSV or Parquet), or a folder with one")
    tables = sorted(p for p in root.iterdir() if p.name.endswith((".csv", ".csv.gz", ".parquet")))
    tables = [p for p in tables if not p.name.startswith("BBBC021_v1_")]
    if len(tables) != 1:
        hint = "; name the file itself" if tables else f"; {holds(root)}. For cells it takes {CELLS}"
        found = ", ".join(p.name for p in tables) or "none"
        raise DataError(f"{root}: expected one table of profiles (CSV or Parquet), found {found}{hint}")
    return tables[0], [tables[0]]


def _is_metadata(name: str, frame: pd.DataFrame, path: Path) -> bool:
    import pandas as pd

    if name in KNOWN or name.startswith(PREFIXES) or name.lower() in COUNTERS:
        return True
    if frame[name].dtype.kind in "fiu":
        return False
    numbers = pd.to_numeric(frame[name], errors="coerce")
    broken = numbers.isna() & frame[name].notna()
    if frame[name].dtype.kind != "b" and broken.sum() < numbers.notna().sum():
        row = int(broken.to_numpy().argmax())
        raise DataError(
            f"{at_row(path, row)}, column {name!r}: expected a number, found {str(frame[name].iloc[row])!r} "
            f"({int(broken.sum())} such cells); mend them, or name the column in metadata= if it is no feature"
        )
    return True


def _refuse_broken(values: NDArray[np.float64], names: Sequence[str], path: Path) -> None:
    broken = ~np.isfinite(values)
    if broken.any():
        row, column = np.argwhere(broken)[0].tolist()
        wrong = broken.any(0)
        raise DataError(
            f"{at_row(path, row)}, column {names[column]!r}: no number ({int(broken.sum())} such cells in "
            f"{int(wrong.sum())} columns); remove those columns, or the rows"
        )


def bbbc021_table(root: Path, what: str) -> Path | None:
    """BBBC021's own table "image" or "moa", where the folder has it."""
    plain = root / BBBC021.format(what)
    return next((p for p in (plain, plain.with_name(f"{plain.name}.gz")) if p.is_file()), None)


def _with_treatments(metadata: pd.DataFrame, root: Path, table: Path) -> tuple[pd.DataFrame, list[Path]]:
    """BBBC021's compound and concentration of every well, and their mechanism."""
    image = bbbc021_table(root, "image")
    assert image is not None
    names = {
        "Image_Metadata_Plate_DAPI": "plate", "Image_Metadata_Well_DAPI": "well", "Replicate": "replicate",
        "Image_Metadata_Compound": "compound", "Image_Metadata_Concentration": "concentration",
    }  # fmt: skip
    fields = read_table(image)
    missing = [name for name in names if name not in fields]
    if missing:
        raise DataError(f"{image}: columns {', '.join(missing)} are missing")
    absent = [name for name in ("plate", "well") if name not in metadata]
    if absent:
        raise DataError(f"{table}: no column for {', '.join(absent)}; expected names such as Image_Metadata_Plate")
    texts = {name: as_text(fields[old]) for old, name in names.items() if name in ("plate", "well", "compound")}
    wells = fields[list(names)].rename(columns=names).assign(**texts).drop_duplicates()
    metadata = metadata.assign(plate=as_text(metadata["plate"]), well=as_text(metadata["well"]))
    twice = wells.duplicated(["plate", "well"])
    if twice.any():
        one = wells[twice].iloc[0]
        raise DataError(f"{image}: plate {one['plate']}, well {one['well']} has two treatments")
    own = metadata.drop(columns=[n for n in ("replicate", "compound", "concentration", "moa") if n in metadata])
    joined = own.merge(wells, on=["plate", "well"], how="left", validate="many_to_one")
    lost = joined["compound"].isna()
    if lost.any():
        one = joined[lost].iloc[0]
        raise DataError(
            f"{table}: plate {one['plate']}, well {one['well']} is not in {image.name} ({int(lost.sum())} such wells); "
            "remove them, or use the tables that belong together"
        )
    moa = bbbc021_table(root, "moa")
    return with_mechanisms(joined, root), [image, *([moa] if moa else [])]


def with_mechanisms(metadata: pd.DataFrame, root: Path) -> pd.DataFrame:
    """The metadata with the mechanisms of BBBC021's table as `moa`; empty where a treatment is not in it.

    Raises:
        DataError: The table is not there, or has a treatment twice.
    """
    path = bbbc021_table(root, "moa")
    if path is None:
        raise DataError(f"{root}: {BBBC021.format('moa')} is missing; it says which mechanism a treatment has")
    table = read_table(path)
    absent = [name for name in ("compound", "concentration", "moa") if name not in table]
    if absent or not {"compound", "concentration"} <= set(metadata):
        where = f"{path}: columns {', '.join(absent)} are" if absent else "metadata: compound or concentration is"
        raise DataError(f"{where} missing; mechanisms are found by compound and concentration")
    table = table[["compound", "concentration", "moa"]].assign(compound=as_text(table["compound"]))
    twice = table.duplicated(["compound", "concentration"])
    if twice.any():
        one = table[twice].iloc[0]
        raise DataError(f"{path}: {one['compound']} at {one['concentration']:g} is there twice; keep one line")
    return metadata.merge(table, on=["compound", "concentration"], how="left", validate="many_to_one")
