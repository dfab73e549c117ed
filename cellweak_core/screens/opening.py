"""A person's screen, whatever it came as: crops or fields are opened, other tables are told apart.

    crops + table ------------------------------> Crops (pixels stay on the disk)
    BBBC021's image table + fields --nuclei, windows--> crops in the output folder --> Crops
    a simulated screen --> crops in a folder --> Crops
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import DataError
from .crops import TABLES, Crops, load_crops, write_crops
from .fields import FILE, cut_crops, read_fields

IMAGES = (".tif", ".tiff", ".png")
CONSTRUCTS = ("construct", "gene", "pert_type")
HAS_CROPS = ("crops.npy", "crops.npz", "crops.zarr", "crops")


def load(
    data_dir: str | Path,
    out: str | Path,
    *,
    channels: Sequence[str] = (),
    controls: Sequence[str] = ("DMSO",),
    axes: str = "",
    crop_px: int = 96,
    n_jobs: int = 1,
) -> tuple[Crops, dict[str, Any]]:
    """A person's screen.

    Args:
        data_dir: A folder of crops (`screens.crops`), or of fields (`screens.fields`), whose nuclei are then found and
            cut out into `out`.
        out: The run's output folder.
        channels: Names of the channels, DNA first; a table of fields names its own.
        controls: Compounds that are controls.
        axes: Of crops, "NHWC" or "NCHW"; "" finds out.
        crop_px: Side of the windows cut from fields.
        n_jobs: Plates cut at a time.

    Returns:
        The crops, and the options they were opened with (for workers that open them again).

    Raises:
        DataError: As `load_crops` and `cut_crops`.
    """
    root, options = Path(data_dir), dict[str, Any](controls=list(controls))
    if any((root / name).exists() for name in HAS_CROPS) or not root.is_dir():
        options |= {"channels": list(channels), "axes": axes}
        return load_crops(root, **options), options
    _, names = read_fields(root, controls=controls)
    if channels and tuple(channels) != names:
        raise DataError(f"channels: {', '.join(channels)} given, the table of fields has {', '.join(names)}")
    folder = cut_crops(
        root, Path(out) / "work" / "crops", size_px=crop_px, n_jobs=n_jobs, controls=list(controls)
    )
    options["channels"] = list(names)
    return load_crops(folder, **options), options


def kind_of(data_dir: str | Path) -> str:
    """What a folder or file holds: "crops", "fields", "profiles", "constructs" (wells of variants); "" of nothing.

    Raises:
        DataError: As `screens.load_profiles`, where there are neither crops nor images.
    """
    import pandas as pd

    if not str(data_dir):
        return ""
    root = Path(data_dir)
    if root.is_dir() and any((root / name).exists() for name in HAS_CROPS):
        return "crops"
    if root.is_dir() and any((root / name).exists() for name in TABLES) and not any(root.glob("*.parquet")):
        return "crops"  # whose pixels are missing: the reader says so
    if root.is_dir() and any(one.suffix.lower() in IMAGES for one in root.rglob("*")):
        return "fields"
    tables = [root] if root.is_file() else sorted(root.glob("*.parquet"))
    if len(tables) == 1 and tables[0].suffix == ".parquet":
        import pyarrow.parquet as pq

        return "constructs" if set(CONSTRUCTS) <= set(pq.read_schema(tables[0]).names) else "profiles"
    if root.is_file() and set(CONSTRUCTS) <= set(pd.read_csv(root, nrows=0)):
        return "constructs"
    tables = [*root.glob("*.csv"), *root.glob("*.csv.gz")] if root.is_dir() else []
    if tables and all(_names_images(one) or one.name.endswith(("moa.csv", "moa.csv.gz")) for one in tables):
        return "fields"  # whose images are missing: the reader names them
    return "profiles"


def _names_images(table: Path) -> bool:
    import pandas as pd

    return any(str(name).startswith(FILE) for name in pd.read_csv(table, nrows=0))


def drawn(made: Crops, folder: str | Path) -> tuple[Crops, dict[str, Any]]:
    """A simulated screen, laid on the disk as anyone's would be and opened there.

    Args:
        made: Of `simulate.simulate_screen` or `simulate_genes.simulate_gene_screen`.
        folder: As `crops.write_crops`.

    Returns:
        The crops, and the options to open them again.
    """
    options: dict[str, Any] = {"channels": list(made.channels), "axes": made.axes}
    return load_crops(write_crops(made, folder), **options), options


def described(crops: Crops) -> Iterator[str]:
    """What is there: cells, treatments, plates, mechanisms, and plates that lack a control.

    Yields:
        Lines for people.
    """
    cells = crops.cells
    height, width = crops.size
    shape = f"{width}x{height} pixels, channels {', '.join(crops.channels)}, {crops.axes}"
    yield f"{crops.name}: {len(crops)} cells of {shape}"
    treated = cells[~crops.control]
    treatments = treated.groupby(["compound", "concentration"]).size()
    yield (
        f"{treated['compound'].nunique()} compounds, {len(treatments)} treatments of {treatments.min()} to "
        f"{treatments.max()} cells (median {treatments.median():g}); {int(crops.control.sum())} control cells"
    )
    yield f"{cells['plate'].nunique()} plates in {cells['batch'].nunique()} batches"
    bare = sorted(set(cells["plate"]) - set(cells.loc[crops.control, "plate"]))
    if bare:
        yield f"{len(bare)} plates without a control cell, such as {bare[0]}: TVN takes the controls of all plates"
    if "moa" in treated and treated["moa"].notna().any():
        per = treated.dropna(subset="moa").groupby("moa")["compound"].nunique()
        alone = ", ".join(map(str, per.index[per < 2]))
        yield f"{len(per)} mechanisms" + (f"; of one compound only, so never asked: {alone}" if alone else "")
