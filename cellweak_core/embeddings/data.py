"""The screens of the chapter: what a person's holds (`screens.opening` opens it), or two that are made.

    data_dir   crops + table, or fields --`screens.opening`--> Crops
               profiles or constructs ------------------------> Profiles of wells
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
from ..screens.crops import Crops, load_crops
from ..screens.fields import read_fields
from ..screens.labels import treatment_labels
from ..screens.opening import described, drawn, kind_of
from ..screens.profiles import Profiles, load_profiles
from ..screens.simulate import Plan, simulate_screen
from ..screens.simulate_genes import GenePlan, simulate_gene_screen

LEAST_PX = 32


def load_wells(data_dir: str | Path, kind: str, controls: Sequence[str] = ("DMSO",)) -> Profiles:
    """Profiles of wells, or of constructs' wells.

    Args:
        data_dir: As `screens.opening.kind_of`.
        kind: Of `screens.opening.kind_of`, "profiles" or "constructs".
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
    screen, options = drawn(simulate_screen(plan, seed), Path(out) / "work" / "screen")
    other, _ = drawn(simulate_gene_screen(genes, seed), Path(out) / "work" / "genes")
    return screen, other, options


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
        data_dir: As `screens.opening.load`.
        channels: As `screens.opening.load`.
        controls: As `screens.opening.load`.
        axes: As `screens.opening.load`.
        held_out: As `screens.labels.treatment_labels`.

    Yields:
        Lines for people.

    Raises:
        DataError: As `screens.opening.load`.
    """
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
    yield from described(crops)
    try:
        require_trainable(crops)
        labels = treatment_labels(crops.cells, held_out)
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
