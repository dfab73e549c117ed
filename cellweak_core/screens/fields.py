"""From a screen's images to crops of its cells: one plate at a time, each plate one pair of files.

```
BBBC021_v1_image.csv + TIFF fields (1280x1024, a file for each channel)
    --illumination function of the plate and channel--> corrected --Otsu on DNA--> nuclei --window around each-->
crops/PLATE.npy (n, C, H, W) uint16, crops/PLATE.csv (plate, well, site, compound, ..., x, y)       read by `load_crops`
```
Any table in CellProfiler's manner will do: columns `Image_FileName_X` and `Image_PathName_X` for each channel X.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellweak_core.files import DataError, atomic_path, sha256
from cellweak_core.images import read_grey
from cellweak_core.parallel import map_runs
from cellweak_core.regions import segment_nuclei
from cellweak_core.tables import write_csv

from .illumination import corrected, illumination_function
from .metadata import TEXT, at_row, completed, holds, read_table, renamed
from .profiles import bbbc021_table, with_mechanisms
from .windows import windows

if TYPE_CHECKING:
    import pandas as pd

FILE, FOLDER = "Image_FileName_", "Image_PathName_"
DNA = ("DAPI", "DNA", "Hoechst", "OrigDAPI", "OrigDNA")
MOST_REPORTED = 10
# A nucleus of MCF7 at BBBC021's 0.65 um a pixel: smaller ones are debris, larger ones clumps.
NUCLEUS_PX2, SPLIT_PX = (150, 10_000), 10


def read_fields(
    path: str | Path, *, controls: Sequence[str] = ("DMSO",), columns: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The fields of a screen and where their images lie.

    Args:
        path: A folder with one table of images (`BBBC021_v1_image.csv` or another) and the images, at the paths of the
            table or directly in a folder of the path's last name.
        controls: As `metadata.completed`.
        columns: As `metadata.renamed`.

    Returns:
        One row for each field: plate, well, site, batch, compound, concentration, control, moa where it is known, and
        for each channel a column of that name with the image's path; and the channels' names, DNA first.

    Raises:
        DataError: No table or several, no channel or none of DNA, images that are not there (up to ten are named).
    """
    root = Path(path)
    table = _table_of(root)
    frame = read_table(table)
    found = [str(name).removeprefix(FILE) for name in frame if str(name).startswith(FILE)]
    dna = next((name for name in found if name in DNA), None)
    if dna is None:
        raise DataError(
            f"{table}: no channel of DNA among {', '.join(found) or 'no columns ' + FILE + '...'}; expected one called "
            f"{', '.join(DNA)}"
        )
    channels = (dna, *(name for name in found if name != dna))
    missing, paths = list[str](), dict[str, list[Path]]()
    for name in channels:
        folders = frame[f"{FOLDER}{name}"] if f"{FOLDER}{name}" in frame else [""] * len(frame)
        places = zip(map(str, folders), map(str, frame[f"{FILE}{name}"]), strict=True)
        paths[name] = [_image(root, folder, file) for folder, file in places]
        empty = frame[f"{FILE}{name}"].isna()
        if empty.any():
            raise DataError(f"{at_row(table, int(empty.to_numpy().argmax()))}, column {FILE}{name}: no file name")
        missing += [str(one) for one in paths[name] if not one.is_file()]
    if missing:
        more = f"\n... and {len(missing) - MOST_REPORTED} more" if len(missing) > MOST_REPORTED else ""
        raise DataError("images that are not there:\n" + "\n".join(missing[:MOST_REPORTED]) + more)
    known = renamed(_plain(frame, dna), dict(columns or {}), table)
    known = known[[name for name in map(str, known) if not name.startswith((FILE, FOLDER))]]
    if "site" not in known and {"plate", "well"} <= set(known):
        known["site"] = _sites(known, frame[f"{FILE}{dna}"])
    if bbbc021_table(root, "moa") is not None and "moa" not in known:
        known = with_mechanisms(known, root)
    fields = completed(known, controls, table, ("plate", "well", "site"))
    return fields.assign(**{name: [str(one) for one in paths[name]] for name in channels}), channels


def cut_plate(
    fields: pd.DataFrame, channels: Sequence[str], out: str | Path, size_px: int = 96, border: str = "pad"
) -> tuple[Path, Path]:
    """Crops of one plate's cells, written as a shard of `load_crops`.

    Args:
        fields: Rows of `read_fields`, of one plate.
        channels: As `read_fields`; the first is DNA.
        out: Folder of the screen's crops; the shard goes to `crops/`.
        size_px: Side of the crops, px.
        border: Of a cell nearer to the field's edge than half a crop: "pad" (zero outside, the paper's) or "drop".

    Returns:
        The files of pixels and of cells.

    Raises:
        ValueError: Another border.
        DataError: Several plates, a plate's name that is none of a file, an image that cannot be read or has another
            size.
    """
    import pandas as pd

    if border not in ("pad", "drop"):
        raise ValueError(f"border: expected pad or drop, got {border!r}")
    plates = fields["plate"].unique()
    if len(plates) != 1:
        raise DataError(f"fields: expected those of one plate, got {', '.join(map(str, plates)) or 'none'}")
    if Path(str(plates[0])).name != plates[0]:
        raise DataError(f"plate {plates[0]!r}: its crops go to a file of its name, which takes no /; rename it")
    pixels = Path(out) / "crops" / f"{plates[0]}.npy"
    cells = pixels.with_suffix(".csv")
    lights = {name: illumination_function(read_grey(one) for one in fields[name]) for name in channels}
    crops: list[NDArray[np.generic]] = [np.zeros((0, len(channels), size_px, size_px), np.uint16)]
    rows = []
    for field in fields.to_dict("records"):
        planes = [corrected(read_grey(field[name]), lights[name]) for name in channels]
        if len({plane.shape for plane in planes}) > 1:
            raise DataError(f"{field[channels[0]]}: the channels of a field have the sizes {[p.shape for p in planes]}")
        nuclei = segment_nuclei(planes[0], split_px=SPLIT_PX, min_area_px=NUCLEUS_PX2[0])
        centres = nuclei.centres[nuclei.areas <= NUCLEUS_PX2[1]]
        if border == "drop":
            height, width = planes[0].shape
            half = size_px / 2
            inside = (centres >= half).all(1) & (centres <= (width - half, height - half)).all(1)
            centres = centres[inside]
        stack = np.rint(np.clip(np.stack(planes), 0, np.iinfo(np.uint16).max)).astype(np.uint16)
        crops.append(windows(stack, centres, size_px))
        known = {name: value for name, value in field.items() if name not in channels}
        rows += [{**known, "x": x, "y": y} for x, y in centres.tolist()]
    pixels.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(pixels) as part, part.open("wb") as file:
        np.save(file, np.concatenate(crops))
    names = [name for name in fields if name not in channels]
    return pixels, write_csv(pd.DataFrame(rows, columns=[*names, "x", "y"]), cells)


def cut_crops(
    path: str | Path, out: str | Path, *, size_px: int = 96, border: str = "pad", n_jobs: int = 1, **reading: object
) -> Path:
    """Crops of a whole screen, a plate at a time; a killed call goes on with the plates that are not there yet.

    Args:
        path: As `read_fields`.
        out: Folder for `load_crops`.
        size_px: As `cut_plate`.
        border: As `cut_plate`.
        n_jobs: Plates at a time, as `parallel.map_runs`, which runs them.
        reading: Options of `read_fields`.

    Returns:
        `out`.

    Raises:
        DataError: As `read_fields`; no cell in the whole screen; crops in `out` of other plates or cut otherwise since.
        RuntimeError: As `map_runs`; the plates without an error are kept.
    """
    fields, channels = read_fields(path, **reading)  # type: ignore[arg-type]
    shards = Path(out) / "crops"
    plates = {str(name): part for name, part in fields.groupby("plate", sort=True)}
    strangers = sorted(one.stem for one in shards.glob("*.npy") if one.stem not in plates)
    if strangers:
        raise DataError(f"{shards}: has crops of other plates ({', '.join(strangers)}); give another folder")
    given = {"channels": list(channels), "out": str(Path(out).absolute()), "size_px": size_px, "border": border}
    runs = [{**given, "plate": name} for name in plates]
    shared = {name: part.to_csv(index=False) for name, part in plates.items()}
    done = map_runs(_cut, runs, folder=Path(out) / "work", shared=shared, n_jobs=n_jobs, desc="plates")
    # a plate that was cut before is not cut again, so its files may since have gone, or been cut otherwise
    other = [name for name, one in zip(plates, done, strict=True) if _what(shards / f"{name}.npy") != one]
    if other:
        raise DataError(
            f"{shards}: the crops of {', '.join(other)} are gone or were cut otherwise since; give another folder, or "
            f"delete {Path(out)} to cut anew"
        )
    if not sum(int(one["cells"]) for one in done):
        raise DataError(
            f"{path}: no nuclei in any of {len(fields)} fields; is {channels[0]} the DNA channel, bright on dark?"
        )
    return Path(out)


def _cut(run: Mapping[str, Any], shared: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """A plate, as a task of `map_runs`; the crops lie where `load_crops` looks, the result says what they are."""
    import pandas as pd

    text = {name: "str" for name in TEXT}
    fields = pd.read_csv(io.StringIO(shared[run["plate"]]), dtype=text, keep_default_na=False, na_values=[""])
    return _what(cut_plate(fields, run["channels"], run["out"], run["size_px"], run["border"])[0])


def _what(pixels: Path) -> dict[str, Any]:
    """What a shard is: its cells, their shape, and its table, in which the fields and the border show."""
    cells = pixels.with_suffix(".csv")
    if not (pixels.is_file() and cells.is_file()):
        return {}
    n, *shape = np.load(pixels, mmap_mode="r").shape
    return {"cells": n, "shape": list(shape), "table": sha256(cells)}


def _table_of(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(f"{root} is not there; expected a folder with a table of images and the images")
    own = bbbc021_table(root, "image")
    if own is not None:
        return own
    tables = [one for one in sorted(root.iterdir()) if one.name.endswith((".csv", ".csv.gz"))]
    if len(tables) != 1:
        found = ", ".join(one.name for one in tables) or f"none; {holds(root)}"
        raise DataError(f"{root}: expected one table of images (CSV), found {found}")
    return tables[0]


def _plain(frame: pd.DataFrame, dna: str) -> pd.DataFrame:
    """BBBC021 names its plate and well after the channel."""
    return frame.rename(columns={f"Image_Metadata_{what}_{dna}": what.lower() for what in ("Plate", "Well")})


def _sites(known: pd.DataFrame, files: pd.Series) -> pd.Series:
    """The number behind "_s" in the files' names where all have one (BBBC021), else the order of a well's rows."""
    numbers = files.str.extract(r"_s(\d+)_", expand=False)
    if numbers.notna().all():
        return numbers.astype(int)
    return known.groupby(["plate", "well"]).cumcount() + 1


def _image(root: Path, folder: str, file: str) -> Path:
    """The image at the table's path, or in a folder of its last name, or beside the table."""
    parts = [part for part in folder.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    tried = [root.joinpath(*parts, file), root.joinpath(*parts[-1:], file), root / file]
    return next((one for one in tried if one.is_file()), tried[0])
