"""Features brought to one scale by the controls: per plate by percentiles, or all together by mean and deviation.

Source: Ljosa et al. 2013 (per plate, the 1st percentile of DMSO is 0 and the 99th is 1). The z-score over all controls
is what a whitening expects; z-scores per plate from a few wells followed by whitening amplify noise: one or the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError

from .checks import matrix, names

Floats = NDArray[np.float64]


def standardize(features: ArrayLike, is_control: ArrayLike) -> Floats:
    """z-scores by all controls together.

    Args:
        features: `(n, d)`.
        is_control: `(n,)` bool.

    Returns:
        `(n, d)` float64; a feature in which controls do not vary is only centred.

    Raises:
        DataError: Fewer than two controls; values that are not numbers.
        ValueError: Shapes that do not go together.
    """
    x, control = _checked(features, is_control)
    if control.sum() < 2:
        raise DataError(f"controls: {int(control.sum())} of {len(x)} profiles, expected two or more to scale by")
    mean, deviation = x[control].mean(0), x[control].std(0)
    return (x - mean) / np.where(_varies(deviation, x[control]), deviation, 1)


def percentile_scale(
    features: ArrayLike, is_control: ArrayLike, plates: ArrayLike, low: float = 1.0, high: float = 99.0
) -> Floats:
    """Plate by plate, the controls' percentiles become 0 and 1.

    Args:
        features: `(n, d)`.
        is_control: `(n,)` bool.
        plates: `(n,)` the plate of each.
        low: Percentile that becomes 0.
        high: Percentile that becomes 1.

    Returns:
        `(n, d)` float64; a feature that is constant in a plate's controls is only shifted there.

    Raises:
        DataError: A plate with fewer than two controls, named; values that are not numbers.
        ValueError: Shapes or percentiles that do not go together.
    """
    x, control = _checked(features, is_control)
    plate_of = names(plates, "plates", len(x))
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles: expected 0 <= low < high <= 100, got {low} and {high}")
    out = np.empty_like(x)
    for plate in dict.fromkeys(plate_of.tolist()):
        rows = plate_of == plate
        own = x[rows & control]
        if len(own) < 2:
            raise DataError(
                f"plate {plate}: {len(own) or 'no'} controls, expected two or more to scale it by; leave it out, or "
                "scale all plates together"
            )
        bottom, top = np.percentile(own, [low, high], axis=0)
        out[rows] = (x[rows] - bottom) / np.where(_varies(top - bottom, own), top - bottom, 1)
    return out


def uncorrelated(features: ArrayLike, most: float = 0.95) -> NDArray[np.int64]:
    """Which features to keep so that no two correlate too much: in order, each kept unless a kept one is like it.

    Args:
        features: `(n, d)`.
        most: Largest absolute Pearson correlation of two that are kept.

    Returns:
        Indices, rising; constant features are not kept.

    Raises:
        ValueError: `most` is not above 0 and at most 1, or not a table of numbers.
        DataError: Values that are not numbers.
    """
    if not 0 < most <= 1:
        raise ValueError(f"most: expected above 0 and at most 1, got {most}")
    x = matrix(features, "features")
    centred = x - x.mean(0)
    length = np.linalg.norm(centred, axis=0)
    varies = _varies(length, x)
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=varies)
    alike = np.abs(unit.T @ unit) > most
    kept = list[int]()
    for k in np.flatnonzero(varies):
        if not alike[k, kept].any():
            kept.append(int(k))
    return np.array(kept, np.int64)


def _checked(features: ArrayLike, is_control: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    control = np.asarray(is_control, bool)
    if control.ndim != 1:
        raise ValueError(f"is_control: expected (n,), got shape {control.shape}")
    return matrix(features, "features", len(control)), control


def _varies(spread: Floats, values: Floats) -> NDArray[np.bool_]:
    """Whether a spread is more than rounding at the size of the values."""
    return spread > 1e-12 * np.abs(values).max(0, initial=0)
