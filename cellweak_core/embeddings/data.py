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
from ..screens.crops import Crops, load_crops, write_crops
from ..screens.fields import cut_crops, read_fields
from ..screens.simulate import CHANNELS, Plan, simulate_screen
from ..screens.simulate_genes import GenePlan, simulate_gene_screen

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
    held_out: Sequence[object] = (),
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
        DataError: As `load`; no mechanism to ask for, no treated cell to train on.
    """
    from .comparison import treatment_labels

    root = Path(data_dir)
    if not any((root / name).exists() for name in HAS_CROPS) and root.is_dir():
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
        yield f"{len(bare)} plates without a control cell, such as {bare[0]}: whitening takes the controls of all plates"
    if "moa" in treated and treated["moa"].notna().any():
        per = treated.dropna(subset="moa").groupby("moa")["compound"].nunique()
        alone = ", ".join(map(str, per.index[per < 2]))
        yield f"{len(per)} mechanisms" + (f"; of one compound only, so never asked: {alone}" if alone else "")
    else:
        yield "no mechanisms (column moa): NSC and NSCB have nothing to ask; networks are trained, cells embedded"
    labels = treatment_labels(cells, held_out)
    yield (
        f"{int((labels.train >= 0).sum())} cells of {len(np.unique(labels.train[labels.train >= 0]))} treatments "
        f"train, {int((labels.checked >= 0).sum())} are held out"
    )
    yield f"digest {crops.digest}"


def require_mechanisms(crops: Crops) -> None:
    """Refuse a screen in which nothing can be asked: the paper's numbers are all about mechanisms.

    Raises:
        DataError: No treated cell has a mechanism.
    """
    cells = crops.cells
    if "moa" not in cells or cells.loc[~crops.control, "moa"].isna().all():
        raise DataError(
            f"{crops.name}: no treated cell has a mechanism (column moa), so there is nothing to match by; add the "
            "column for the treatments whose mechanism is known"
        )
