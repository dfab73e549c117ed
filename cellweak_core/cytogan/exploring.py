"""Fig. 3: a direction of noise space from a measured property, what it changes, and pictures with their measurements.

    noise --G--> cells --measure--> property --> direction --> much - little + base = result
                                                          --> base + strength direction, measured beside each picture
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .changes import mean_changes, measured_changes
from .encoding import generate, noise
from .latent import Direction, Floats, algebra, direction, noise_mean
from .pictures import rgb
from .properties import UNITS, measure

if TYPE_CHECKING:
    import pandas as pd

Pictures = NDArray[np.uint8]
STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # in steps of `latent.Direction`: one is "much minus little"
FIG_3 = ("tubulin intensity", "nucleus area")  # the rows of the final paper's Fig. 4


@dataclass(frozen=True)
class Explored:
    """One direction, its measured effect, and what to look at.

    Attributes:
        found: The direction.
        means: Of `changes.mean_changes`, one step down and one up, over all base vectors.
        sums: `(n_shown, 4, H, W, 3)`: much and little (mean noise of the upper and lower quarter, with as much of the
            base's noise at right angles as makes them as long as it), a base, and base + much - little (the means).
        sum_captions: The property of each.
        along: `(n_shown, 5, H, W, 3)`: each base by `STRENGTHS`.
        along_captions: The property of each.
    """

    found: Direction
    means: pd.DataFrame
    sums: Pictures
    sum_captions: list[list[str]]
    along: Pictures
    along_captions: list[list[str]]


def explored(
    trained: Mapping[str, Any],
    name: str,
    way: str,
    *,
    mapping: str = "draft",
    n_noise: int = 1000,
    n_base: int = 100,
    n_shown: int = 3,
    n_resamples: int = 2000,
    seed: int = 0,
    device: str = "auto",
) -> Explored:
    """Find a direction from one sample of noise, and measure it on another.

    Args:
        trained: A generator whose channels are named DNA, actin and tubulin.
        name: Of `properties.UNITS`.
        way: Of `latent.WAYS`.
        mapping: As `pictures.rgb`.
        n_noise: Vectors that the direction is found from.
        n_base: Other vectors that it is measured on.
        n_shown: Of those, how many are shown.
        n_resamples: Of the intervals.
        seed: Of both.
        device: As `encoding.generate`.

    Raises:
        DataError: As `latent.direction` and `changes.measured_changes`: a property that does not vary, or that cannot
            be measured in half of the cells; channels without these names.
    """
    channels = trained["architecture"]["channels"]

    def made(z: Floats) -> NDArray[np.float32]:
        return generate(trained, z, device=device)

    def measured(images: Any) -> pd.DataFrame:  # noqa: ANN401 - as `measure`
        return measure(images, channels)

    z = noise(trained, n_noise, seed).astype(float)
    table = measured(made(z))
    values = table[name].to_numpy(float)
    found = direction(z, values, way, name, seed=seed)
    # a property that no cell differs in has no unit to measure its change by
    sd = {str(one): float(table[one].std()) for one in table if table[one].std() > 0}
    base = noise(trained, n_base, seed + 1).astype(float)
    changed = measured_changes(
        made, lambda images: measured(images)[list(sd)], base, found, (-found.step, found.step), sd, seed
    )
    changed["strength"] = np.sign(changed["strength"])  # in steps
    shown, there = base[:n_shown], np.isfinite(values)
    much, little = (noise_mean(z[there], values[there], side) for side in (1, -1))
    sums = np.stack([
        np.stack([_filled_up(much, one), _filled_up(little, one), one, one + much - little]) for one in shown
    ])  # fmt: skip
    along = np.stack([algebra(shown, found, strength * found.step) for strength in STRENGTHS], axis=1)
    return Explored(
        found, mean_changes(changed, n_resamples, seed), *_looked_at(sums, made, measured, channels, mapping, name),
        *_looked_at(along, made, measured, channels, mapping, name),
    )  # fmt: skip


def _filled_up(mean: Floats, base: Floats) -> Floats:
    """A mean of many vectors, which is short and makes no cell, with noise at right angles, as long as `base`."""
    own = mean / max(float(np.linalg.norm(mean)), 1e-12)
    across = base - (base @ own) * own
    room = max(0.0, float(base @ base - mean @ mean))
    return mean + across * np.sqrt(room) / max(float(np.linalg.norm(across)), 1e-12)


def _looked_at(
    z: Floats, made: Any, measured: Any, channels: Sequence[str], mapping: str, name: str  # noqa: ANN401 - functions
) -> tuple[Pictures, list[list[str]]]:
    """Pictures `(n, m, H, W, 3)` of noise `(n, m, d)`, and the property of each."""
    images = made(z.reshape(-1, z.shape[-1]))
    texts = [_text(value, UNITS[name]) for value in measured(images)[name]]
    n, m = z.shape[:2]
    shown = rgb(images, channels, mapping)
    return shown.reshape(n, m, *shown.shape[1:]), [texts[row * m : (row + 1) * m] for row in range(n)]


def _text(value: float, unit: str) -> str:
    if not np.isfinite(value):
        return "no nucleus"
    return f"{value:.0f} {unit}" if unit == "px" else f"{value:.2f}"


def means_of(found: Mapping[tuple[str, str], Explored]) -> pd.DataFrame:
    """Measured changes of all directions, as `figures.effects` takes them: `mean_changes` with a column `direction`.

    Args:
        found: By property and way.
    """
    import pandas as pd

    tables = [one.means.assign(direction=f"{name}, by {way}") for (name, way), one in found.items()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["direction"])


def effects(found: Mapping[tuple[str, str], Explored]) -> pd.DataFrame:
    """Directions down; R2, and the change of each property by one step up, along it and by chance, across, as text."""
    import pandas as pd

    rows = list[dict[str, str]]()
    for (name, way), one in found.items():
        up = one.means[one.means["strength"] > 0]
        for along, own in up.groupby("along", sort=False):
            row = {"direction": f"{name}, by {way}", "along": "it" if along == name else str(along)}
            row["R2"] = f"{one.found.r2:.2f}" if along == name else ""
            for change in own.to_dict("records"):
                row[str(change["property"])] = f"{change['value']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]"
            rows.append(row | {"n": str(int(own["n"].max()))})
    return pd.DataFrame(rows)
