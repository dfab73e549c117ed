"""The screens of the chapter: a person's crops or fields, or two that are made.

    data_dir   crops + table ------------------------------> Crops (pixels stay on the disk)
               BBBC021's image table + fields --nuclei, windows--> crops in the output folder --> Crops
    nothing    a chemical screen and a gene screen are drawn --> crops in the output folder --> Crops
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import DataError
from ..screens.aggregation import mechanisms_of_treatments
from ..screens.constructs import load_constructs
from ..screens.crops import TABLES, Crops, load_crops, write_crops
from ..screens.fields import FILE, cut_crops, read_fields
from ..screens.profiles import Profiles, load_profiles
from ..screens.simulate import CHANNELS, Plan, simulate_screen
from ..screens.simulate_genes import GenePlan, simulate_gene_screen

IMAGES = (".tif", ".tiff", ".png")
CONSTRUCTS = ("construct", "gene", "pert_type")
LEAST_PX = 32
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


def load_wells(data_dir: str | Path, kind: str, controls: Sequence[str] = ("DMSO",)) -> Profiles:
    """Profiles of wells, or of constructs' wells.

    Args:
        data_dir: As `kind_of`.
        kind: Of `kind_of`, "profiles" or "constructs".
        controls: Compounds that are controls.
    """
    root = Path(data_dir)
    if kind == "constructs":
        return load_constructs(root if root.is_file() else next(iter(sorted(root.glob("*.parquet")))))
    return load_profiles(root, controls=controls)


def simulated(out: str | Path, plan: Plan, genes: GenePlan, seed: int) -> tuple[Crops, Crops, dict[str, Any]]:
    """The chemical and the gene screen, drawn and laid on the disk as anyone's would be.

    Returns:
        Both, and the options to open them again.
    """
    options: dict[str, Any] = {"channels": list(CHANNELS), "axes": "NCHW"}
    found = []
    for name, made in (("screen", simulate_screen(plan, seed)), ("genes", simulate_gene_screen(genes, seed))):
        found.append(load_crops(write_crops(made, Path(out) / "work" / name), **options))
    return found[0], found[1], options


def check(
    data_dir: str | Path,
    *,
    channels: Sequence[str] = (),
    controls: Sequence[str] = ("DMSO",),
    axes: str = "",
    held_out: Sequence[object] = ("2",),
) -> Iterator[str]:
    """Reads a screen's tables and says what is there; of fields the table only.

    Args:
        data_dir: As `load`.
        channels: As `load`.
        controls: As `load`.
        axes: As `load`.
        held_out: As `comparison.treatment_labels`.

    Yields:
        Lines for people.

    Raises:
        DataError: As `load`.
    """
    from .comparison import treatment_labels

    root, kind = Path(data_dir), kind_of(data_dir)
    if kind in ("profiles", "constructs"):
        wells = load_wells(root, kind, controls)
        plates, found = wells.metadata["plate"].nunique(), int(wells.control.sum())
        yield f"{wells.name}: {len(wells.metadata)} wells of {plates} plates, {wells.features.shape[1]} features"
        compounds = wells.metadata.loc[~wells.control, "compound"].nunique()
        yield f"{compounds} compounds or constructs; {found} control wells"
        yield f"digest {wells.digest}"
        return
    if kind == "fields":
        fields, names = read_fields(root, controls=controls)
        plates = fields["plate"].nunique()
        yield f"{root.name}: {len(fields)} fields of {plates} plates, channels {', '.join(names)}"
        return
    crops = load_crops(root, channels=channels, controls=controls, axes=axes)
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
    try:
        require_trainable(crops)
        labels = treatment_labels(cells, held_out)
    except DataError as error:  # new cells for a trained network need no replicates
        yield f"nothing can be trained ({error}); `-p weights` embeds"
        yield f"digest {crops.digest}"
        return
    yield (
        f"{int((labels.train >= 0).sum())} cells of {len(np.unique(labels.train[labels.train >= 0]))} treatments "
        f"train, {int((labels.checked >= 0).sum())} are held out"
    )
    yield f"digest {crops.digest}"


def require_trainable(crops: Crops) -> None:
    """Refuse a screen that cannot be trained on, or in which nothing can be asked: the numbers are about mechanisms.

    Raises:
        DataError: Crops that are not square, or of fewer than 32 px; no treated cell has a mechanism,
            or a treatment has two.
    """
    cells, (height, width) = crops.cells, crops.size
    if height != width or width < LEAST_PX:
        raise DataError(
            f"{crops.name}: crops of {width}x{height} px, expected square ones of {LEAST_PX} px or more (they are "
            "turned by quarters); cut them again, or pad them with 0"
        )
    if "moa" not in cells or cells.loc[~crops.control, "moa"].isna().all():
        raise DataError(
            f"{crops.name}: no treated cell has a mechanism (column moa), so there is nothing to match by; add the "
            "column for the treatments whose mechanism is known"
        )
    try:
        mechanisms_of_treatments(cells[~crops.control])
    except DataError as error:
        raise DataError(f"{crops.name}: {error}") from error
