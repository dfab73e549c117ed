"""What the algebra of noise vectors changes in the picture, measured over several base vectors.

    base z --G--> measured       z + strength direction --G--> measured       difference / SD over samples
                                 z + strength chance    --G--> measured       a direction that means nothing, as long

A direction is worth its name where the property that it was found from changes, over base vectors that it was not
chosen by, more than along a direction drawn by chance, and other properties change less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..files import DataError
from ..uncertainty import group_weights, percentile_interval
from .latent import Direction, Floats, shifted

if TYPE_CHECKING:
    import pandas as pd

CHANCE = "a direction by chance"


def measured_changes(
    generate: Callable[[Floats], ArrayLike],
    measure: Callable[[ArrayLike], pd.DataFrame],
    base: ArrayLike,
    found: Direction,
    strengths: Sequence[float],
    sd: Mapping[str, float],
    seed: int = 0,
    keep_norm: bool = False,
) -> pd.DataFrame:
    """Every property of every base vector before and after, along the direction and along one by chance.

    Args:
        generate: `(n, d)` noise to images `(n, C, H, W)` in [-1, 1].
        measure: Images to a table of properties, as `properties.measure`.
        base: `(n, d)`; none of those that the direction was found from.
        found: Of `latent.direction`.
        strengths: In units of noise space; both signs are worth a look.
        sd: Standard deviation of each property over samples, its unit of change.
        seed: Of the directions by chance, one for each base vector, at right angles to `found`.
        keep_norm: As `algebra`.

    Returns:
        A row for each base vector, strength, property and direction: `base`, `strength`, `along` (the direction's name,
        or `CHANCE`), `property`, `before`, `after`, `change` (in SD; NaN where no nucleus is found).

    Raises:
        ValueError: Fewer than two dimensions.
        DataError: A property without SD.
    """
    import pandas as pd

    z = np.asarray(base, float)
    if z.ndim != 2 or z.shape[1] < 2:
        raise ValueError(f"base: expected (n, d) with d of 2 or more, got {z.shape}")
    chance = np.random.default_rng(seed).normal(size=z.shape)
    chance -= np.outer(chance @ found.vector, found.vector)
    chance /= np.linalg.norm(chance, axis=1, keepdims=True)
    before = measure(generate(z))
    missing = [name for name in map(str, before) if not sd.get(name, 0) > 0]
    if missing:
        raise DataError(f"sd: expected a number above 0 for each property, none for {', '.join(missing)}")
    tables = list[pd.DataFrame]()
    for strength in strengths:
        for along in (found.name, CHANCE):
            vectors = chance if along == CHANCE else found.vector
            after = measure(generate(shifted(z, vectors, float(strength), keep_norm)))
            for name in map(str, before):
                was, became = before[name].to_numpy(float), after[name].to_numpy(float)
                one = {"base": np.arange(len(z)), "strength": float(strength), "along": along, "property": name,
                       "before": was, "after": became, "change": (became - was) / sd[name]}  # fmt: skip
                tables.append(pd.DataFrame(one))
    return pd.concat(tables, ignore_index=True)


def mean_changes(changes: pd.DataFrame, n_resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean change of each property over the base vectors, with a 95 % interval from resampling them.

    Args:
        changes: Of `measured_changes`.
        n_resamples: Of the interval.
        seed: Of the resamples.

    Returns:
        A row for each `along`, `strength` and `property`: `value`, `low`, `high` (SD), `share`: of base vectors in
        which the property grew, `n`: base vectors in which it was measured before and after. NaN where in none.
    """
    import pandas as pd

    rows = list[dict[str, object]]()
    for (along, strength, name), own in changes.groupby(["along", "strength", "property"], sort=False):
        change = own["change"].to_numpy(float)
        change = change[np.isfinite(change)]
        low = high = float("nan")
        if len(change):
            weights = group_weights(np.arange(len(change)), n_resamples, seed)
            low, high = percentile_interval(weights @ change / len(change))
        some = len(change) > 0
        rows.append({
            "along": along, "strength": strength, "property": name, "value": change.mean() if some else np.nan,
            "low": low, "high": high, "share": (change > 0).mean() if some else np.nan, "n": len(change),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["along", "strength", "property", "value", "low", "high", "share", "n"])
