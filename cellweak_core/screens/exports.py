"""Features of cells as Parquet in pycytominer's convention, and profiles as AnnData (`.h5ad`), which scanpy reads.

    Parquet: the cells' table --> Metadata_*        each kind of features (n, d) --> NAME_0, NAME_1 ... float32
    AnnData: features (n, d)  --> X          metadata, row for row --> obs          names of the features --> var

Source: Virshup et al. 2024 (anndata).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cellweak_core.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

METADATA = "Metadata_"  # pycytominer's convention


def write_cells(path: str | Path, cells: pd.DataFrame, values: Mapping[str, ArrayLike]) -> Path:
    """Cells and their features as one Parquet file.

    Args:
        path: The file to write; missing parent folders are made.
        cells: `(n,)` rows: plate, well, compound and what else is known.
        values: `(n, d)` each, by name, such as a layer's.

    Returns:
        The file: columns `Metadata_*` and, in the order given, NAME_0, NAME_1 ... float32.

    Raises:
        ValueError: Another number of rows than of cells.
        FullDiskError: No room for it.
    """
    import pandas as pd

    arrays = {name: np.asarray(one, np.float32) for name, one in values.items()}
    for name, one in arrays.items():
        if one.ndim != 2 or len(one) != len(cells):
            raise ValueError(f"{name}: expected ({len(cells)}, d), a row for each cell, got shape {one.shape}")
    names = [f"{name}_{k}" for name, one in arrays.items() for k in range(one.shape[1])]
    columns = pd.DataFrame(np.concatenate(list(arrays.values()), 1), columns=names)
    table = cells.reset_index(drop=True).add_prefix(METADATA)
    with atomic_path(path) as part:
        pd.concat([table, columns], axis=1).to_parquet(part, index=False)
    return Path(path)


def write_anndata(
    path: str | Path,
    features: ArrayLike,
    metadata: pd.DataFrame,
    names: Sequence[str] = (),
    about: Mapping[str, str | int | float] | None = None,
) -> Path:
    """Profiles and what is known of them as one `.h5ad` file.

    Args:
        path: The file to write; missing parent folders are made.
        features: `(n, d)`, of cells, sites, wells or treatments.
        metadata: Row for row. Numbers and truth values stay, all else is text, empty where nothing is known.
        names: Of the features, no two alike; numbers where none are given.
        about: What else is to be said of all, such as the layer and how it was whitened (AnnData's `uns`).

    Returns:
        The file.

    Raises:
        ImportError: anndata, or what it needs, is not installed; says how to install it.
        ValueError: Sizes that do not go together, or two features of one name.
        FullDiskError: No room for it.
    """
    import pandas as pd

    x = np.asarray(features)
    called = list(names) or [str(k) for k in range(x.shape[-1] if x.ndim else 0)]
    if x.shape != (len(metadata), len(called)):
        raise ValueError(
            f"features: expected ({len(metadata)}, {len(called)}), as there are rows of metadata and names, got shape "
            f"{x.shape}"
        )
    if len(set(called)) != len(called):
        raise ValueError("names: two features have the same; expected another for each")
    library = require_anndata()
    obs = metadata.reset_index(drop=True)
    for name in obs:
        if obs[name].dtype.kind not in "biuf":
            obs[name] = _texts(obs[name])
    # Texts as Python's objects: readers of AnnData older than pandas' own type of text open them too. And a table
    # without a column makes anndata ask pandas for an option that is about to go.
    obs.index = _objects([str(k) for k in range(len(obs))])
    var = pd.DataFrame({"feature": np.arange(len(called))}, index=_objects(called))
    annotated = library.AnnData(x, obs=obs, var=var, uns=dict(about or {}))
    with atomic_path(path) as part:
        annotated.write_h5ad(part)
    return Path(path)


def _texts(column: pd.Series) -> pd.Series:
    import pandas as pd

    known = column.dropna().astype(str)
    texts = known.astype(object).reindex(column.index)
    return pd.Series(pd.Categorical(texts, categories=_objects(sorted(set(known)))), index=column.index)


def _objects(names: Sequence[str]) -> pd.Index:
    import pandas as pd

    return pd.Index(list(names), dtype=object)


def require_anndata() -> Any:  # noqa: ANN401 - a module without types
    """The library, or an ImportError that says how to install it: to be asked before long work."""
    try:
        return import_module("anndata")
    except ImportError as error:
        raise ImportError(
            f"anndata is not installed ({error}): pip install 'cellweak[anndata]'; where that wants an older pandas "
            "than is here, pip install zarr, and pip install --no-deps anndata array-api-compat h5py legacy-api-wrap "
            "natsort scverse-misc session-info2"
        ) from error
