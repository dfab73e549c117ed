"""Overexpressed constructs of known genes on replicate plates: a stand-in where no images of variants are public.

`ta_orf_l1000_wells.parquet` of Rohban et al. 2017 (github.com/carpenterlab/2017_Rohban_eLife, BSD-3) is *expression*
(978 L1000 genes), not images: 324 constructs of 189 genes on three plates, 158 wells of controls.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellweak_core.files import DataError

from .metadata import read_table
from .normalization import standardize
from .profiles import Profiles, load_profiles
from .whitening import TVN

TREATED = "trt"  # how pert_type of a treated well begins, in the words of the Connectivity Map
STEPS = ("raw", "centred", "whitened")


def load_constructs(path: str | Path) -> Profiles:
    """Reads wells of constructs.

    Args:
        path: A CSV or Parquet file with the columns plate, well, construct, gene, pert_type and features.

    Returns:
        Profiles with `compound` (the construct), `gene`, and `control` where pert_type does not begin with "trt".

    Raises:
        DataError: A column is missing; as `load_profiles`.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"{file} is not there; expected a table of wells (CSV or Parquet)")
    frame = read_table(file)
    missing = [name for name in ("construct", "gene", "pert_type") if name not in frame]
    if missing:
        raise DataError(f"{file}: no column {', '.join(missing)}; found {', '.join(map(str, frame.columns[:12]))} ...")
    is_control = ~frame["pert_type"].astype(str).str.startswith(TREATED)
    controls = sorted(set(frame.loc[is_control, "construct"].astype(str)))
    if both := sorted(set(controls) & set(frame.loc[~is_control, "construct"].astype(str))):
        raise DataError(f"{file}: {', '.join(both)} is a control in some wells and treated in others (pert_type)")
    if not controls:
        raise DataError(f"{file}: no control; every pert_type begins with {TREATED!r}")
    return load_profiles(file, controls=controls, columns={"compound": "construct"}, metadata=["gene"])


def construct_features(profiles: Profiles, steps: str = "whitened", n_components: int = 200) -> NDArray[np.float64]:
    """Features of wells by one of three recipes, each the one before and a step more.

    Args:
        profiles: Of wells.
        steps: "raw"; "centred": plate by plate less the mean of its controls, then z-scores by all controls;
            "whitened": then principal components of all wells, then `TVN` with regularisation 1.
        n_components: Of the principal components.

    Returns:
        `(n, d)` float64.

    Raises:
        ValueError: Another word for `steps`.
        DataError: A plate without controls, named.
    """
    if steps not in STEPS:
        raise ValueError(f"steps: expected one of {', '.join(STEPS)}, got {steps!r}")
    x, control = profiles.features.copy(), profiles.control
    if steps == "raw":
        return x
    plates = profiles.metadata["plate"].to_numpy(object)
    for plate in dict.fromkeys(plates.tolist()):
        rows = plates == plate
        if not (rows & control).any():
            raise DataError(f"plate {plate}: no controls to centre it on; leave it out")
        x[rows] -= x[rows & control].mean(0)
    x = standardize(x, control)
    if steps == "centred":
        return x
    from sklearn.decomposition import PCA

    x = PCA(min(n_components, *x.shape), svd_solver="full").fit_transform(x)
    return TVN(1.0).fit(x[control]).transform(x)
