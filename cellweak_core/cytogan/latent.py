"""Ways through noise space, and directions in it that mean something.

    z1 ---slerp: along the sphere, where noise lies---> z2
     \\__linear: through the inside, where it does not__/     |z| sinks to about 1 / sqrt(2) of its own half way

    z (n, d), a property measured on G(z) --regression | means of quarters--> direction;  G(z + strength direction)

Source: Sec. 3, para 6 (interpolation; White 2016) and 7 (vector algebra; Radford et al. 2016). The draft names a Fig. 3
that it does not have; the final paper's Fig. 4 takes noise vectors chosen by hand.
Deviation: cytogan's directions come from measured properties here, and what they change is measured too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from ..screens.checks import matrix

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
WAYS = ("regression", "quarters")
PENALTIES = np.logspace(-2, 5, 15)  # of the ridge; the best is chosen by leaving one out
LEAST = 20  # noise vectors to find a direction from
_PARALLEL, _OPPOSITE = 1e-7, 1e-6  # rad


def slerp(first: ArrayLike, second: ArrayLike, t: ArrayLike) -> Floats:
    """Spherical interpolation: `sin((1 - t) w) / sin w * first + sin(t w) / sin w * second`, w the angle between them.

    White 2016, Sec. 2.1; the authors' code, experiments/visualize.py. Of two vectors in one direction, where sin w is
    0, it is its limit, `linear`. Opposite ones have no shortest way and are refused.

    Args:
        first: `(d,)`, t = 0.
        second: `(d,)`, t = 1.
        t: `(n,)` in [0, 1].

    Returns:
        `(n, d)`.

    Raises:
        ValueError: Two shapes, a vector of length 0, opposite vectors, t outside [0, 1].
    """
    a, b, at = _ends(first, second, t)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if not min(lengths):
        raise ValueError("slerp: a vector of length 0 has no direction; draw another")
    u, v = a / lengths[0], b / lengths[1]
    # between 0 and pi like arccos(u.v), whose digits are lost near both ends
    angle = float(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))
    if np.pi - angle < _OPPOSITE:
        raise ValueError("slerp: the two vectors are opposite, all ways between them are equally long; draw another")
    if angle < _PARALLEL:
        return linear(a, b, at)
    return (np.sin((1 - at) * angle)[:, None] * a + np.sin(at * angle)[:, None] * b) / np.sin(angle)


def linear(first: ArrayLike, second: ArrayLike, t: ArrayLike) -> Floats:
    """`(1 - t) first + t second`, the default of the authors' code; arguments as `slerp`."""
    a, b, at = _ends(first, second, t)
    return (1 - at)[:, None] * a + at[:, None] * b


def _ends(first: ArrayLike, second: ArrayLike, t: ArrayLike) -> tuple[Floats, Floats, Floats]:
    a, b, at = np.asarray(first, float), np.asarray(second, float), np.atleast_1d(np.asarray(t, float))
    if a.ndim != 1 or a.shape != b.shape or at.ndim != 1 or not np.isfinite([*a, *b]).all():
        raise ValueError(f"expected two finite vectors (d,) and t (n,), got {a.shape}, {b.shape} and {at.shape}")
    if not ((at >= 0) & (at <= 1)).all():
        raise ValueError(f"t: expected 0 to 1, got {at.min()} to {at.max()}")
    return a, b, at


def prior_norms(d: int, level: float = 0.95) -> tuple[float, float]:
    """Where the lengths of `level` of all vectors of d normal numbers lie: near sqrt(d), and hardly ever lower."""
    from scipy.stats import chi

    low, high = chi(d).interval(level)
    return float(low), float(high)


def step_lengths(images: ArrayLike) -> Floats:
    """Euclidean distance of each image `(n, ...)` from the one before, `(n - 1,)`: even ones are a smooth way."""
    shown = np.asarray(images, float)
    return np.linalg.norm(np.diff(shown.reshape(len(shown), -1), axis=0), axis=1)


def path_norms(firsts: ArrayLike, seconds: ArrayLike, t: ArrayLike) -> pd.DataFrame:
    """Lengths of the noise vectors on both ways between pairs: what Fig. 2's pictures do not show.

    Args:
        firsts: `(n, d)` noise vectors.
        seconds: `(n, d)`, pair by pair.
        t: `(m,)` in [0, 1].

    Returns:
        A row for each way ("slerp", "linear"), pair and t: `way`, `pair`, `t`, `norm`.

    Raises:
        ValueError: As `slerp`; two numbers of vectors.
    """
    import pandas as pd

    at = np.atleast_1d(np.asarray(t, float))
    pairs = list(zip(np.asarray(firsts, float), np.asarray(seconds, float), strict=True))
    ways = {"slerp": slerp, "linear": linear}
    return pd.DataFrame([
        {"way": name, "pair": k, "t": float(one), "norm": float(length)}
        for name, way in ways.items() for k, (a, b) in enumerate(pairs)
        for one, length in zip(at, np.linalg.norm(way(a, b, at), axis=1), strict=True)
    ], columns=["way", "pair", "t", "norm"])  # fmt: skip


@dataclass(frozen=True)
class Direction:
    """A direction in noise space along which a property grows.

    Attributes:
        name: Of the property.
        way: One of `WAYS`.
        vector: `(d,)` of length 1.
        step: Length of the way from the mean noise vector of the lower to that of the upper quarter, along `vector`.
        r2: Of the property in noise vectors that the direction was not found from, by a line through `z . vector`; 0
            or below: the direction says nothing.
        sd: Standard deviation of the property over all samples.
        n: Samples in which it was measured.
    """

    name: str
    way: str
    vector: Floats
    step: float
    r2: float
    sd: float
    n: int


def direction(
    z: ArrayLike, values: ArrayLike, way: str = "regression", name: str = "", held_out: float = 0.25, seed: int = 0
) -> Direction:
    """The direction of noise space along which a property grows.

    Args:
        z: `(n, d)` noise vectors.
        values: `(n,)` the property of the images made from them; those that are not finite (no nucleus) are left out.
        way: "regression": the coefficients of a ridge regression of the property on z. "quarters": mean of the vectors
            in the property's upper quarter minus that in its lower, as the paper adds and subtracts vectors.
        name: Of the property.
        held_out: Share of the samples that R2 is taken in.
        seed: Of the split.

    Raises:
        ValueError: Another way; shapes that do not go together; a share not between 0 and 1.
        DataError: Fewer than `LEAST` samples, more than half without a value, a property that does not vary.
    """
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.model_selection import train_test_split

    if way not in WAYS:
        raise ValueError(f"way: expected one of {', '.join(WAYS)}, got {way!r}")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out: expected a share between 0 and 1, got {held_out}")
    value = np.asarray(values, float)
    noise = matrix(z, "z", len(value) if value.ndim == 1 else -1)
    if value.shape != (len(noise),):
        raise ValueError(f"values: expected ({len(noise)},), one for each noise vector, got {value.shape}")
    there = np.isfinite(value)
    what = name or "the property"
    if there.sum() < max(LEAST, len(value) / 2):
        raise DataError(
            f"{what}: measured in {int(there.sum())} of {len(value)} generated cells, expected at least {LEAST} and "
            "half of them; draw more, or train longer"
        )
    noise, value = noise[there], value[there]
    if not np.ptp(value) > 1e-9 * np.abs(value).max():
        raise DataError(f"{what}: {value[0]:g} in all generated cells, so nothing can change it")
    x, x_held, y, y_held = train_test_split(noise, value, test_size=held_out, random_state=seed)
    low, high = (noise_mean(x, y, side) for side in (-1, 1))
    vector = RidgeCV(alphas=PENALTIES).fit(x, y).coef_ if way == "regression" else high - low
    length = float(np.linalg.norm(vector))
    if not length:
        raise DataError(f"{what}: does not depend on the noise at all")
    vector = np.asarray(vector, float) / length
    line = LinearRegression().fit(x @ vector[:, None], y)
    r2 = float(line.score(x_held @ vector[:, None], y_held)) if len(y_held) > 1 else float("nan")
    step = float((high - low) @ vector)
    return Direction(name, way, vector, step, r2, float(value.std(ddof=1)), len(value))


def noise_mean(z: Floats, values: Floats, side: int) -> Floats:
    """Mean of the noise vectors whose property lies in its upper (side 1) or lower (-1) quarter, `(d,)`."""
    order = np.argsort(values, kind="stable")
    quarter = max(1, len(values) // 4)
    return z[order[-quarter:] if side > 0 else order[:quarter]].mean(0)


def algebra(base: ArrayLike, found: Direction, strength: ArrayLike, keep_norm: bool = False) -> Floats:
    """`z + strength * direction`: the vector algebra of Fig. 3.

    Args:
        base: `(n, d)` noise vectors.
        found: Of `direction`.
        strength: A number, or `(n,)`; in units of noise space. `found.step` is one "much minus little".
        keep_norm: Bring every result back to its base's length, so that it stays where noise lies.

    Returns:
        `(n, d)`.

    Raises:
        ValueError: Shapes that do not go together.
    """
    z = np.asarray(base, float)
    if z.ndim != 2 or z.shape[1] != len(found.vector):
        raise ValueError(f"base: expected (n, {len(found.vector)}), got {z.shape}")
    return shifted(z, found.vector, strength, keep_norm)


def shifted(z: Floats, vectors: Floats, strength: ArrayLike, keep_norm: bool = False) -> Floats:
    """`algebra` along `vectors`, `(d,)` or one for each base vector, `(n, d)`."""
    moved = z + np.broadcast_to(np.asarray(strength, float), len(z))[:, None] * vectors
    if keep_norm:
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        moved = moved * np.linalg.norm(z, axis=1, keepdims=True) / np.where(length > 0, length, 1)
    return moved
