"""Spot the real cell: real and generated cells in one random order, numbered, and the answer to be folded away.

Source: the final paper's Turing test, 50 real cells and 50 of LSGAN's before three expert biologists, who took 30 % of
the generated ones for real (their labels file has 118 real and 120 generated entries; here both are equally many).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from .properties import in_range


@dataclass(frozen=True)
class Spotting:
    """Cells in the order of their numbers, 1 to 2n.

    Attributes:
        images: `(2n, C, H, W)` float32 in [-1, 1].
        real: `(2n,)` which are real.
    """

    images: NDArray[np.float32]
    real: NDArray[np.bool_]

    @property
    def numbers(self) -> list[str]:
        """What stands beside each picture."""
        return [str(k + 1) for k in range(len(self.real))]


def shuffled(real: ArrayLike, generated: ArrayLike, n: int = 50, seed: int = 0) -> Spotting:
    """As many real as generated cells, drawn without repeats, in one random order.

    Args:
        real: `(n_real, C, H, W)` float in [-1, 1], scaled as the generator's training cells were: held out, best.
        generated: `(n_generated, C, H, W)`.
        n: Of each.
        seed: Of what is drawn, and the order.

    Raises:
        ValueError: `n` below 1, or images of two shapes.
        DataError: Fewer than `n` of one kind, pixels outside [-1, 1].
    """
    kinds = in_range(real, "real"), in_range(generated, "generated")
    if n < 1 or kinds[0].shape[1:] != kinds[1].shape[1:]:
        raise ValueError(
            f"expected n of 1 or more and images of one shape, got {n}, {kinds[0].shape[1:]} and {kinds[1].shape[1:]}"
        )
    if min(map(len, kinds)) < n:
        raise DataError(f"n: {n} of each asked for, {len(kinds[0])} real and {len(kinds[1])} generated given")
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([one[rng.permutation(len(one))[:n]] for one in kinds])
    order = rng.permutation(2 * n)
    return Spotting(drawn[order], order < n)


def answer(spot: Spotting) -> str:
    """Which are real, in words."""
    sides = {"Real": spot.real, "Generated": ~spot.real}
    return "\n\n".join(
        f"{name}: {', '.join(str(k + 1) for k in np.flatnonzero(own).tolist())}." for name, own in sides.items()
    )


def folded(spot: Spotting, title: str = "Which are real?") -> str:
    """The answer as a MyST dropdown, closed until a reader opens it."""
    return f":::{{dropdown}} {title}\n{answer(spot)}\n:::"


def taken_for_real(spot: Spotting, said_real: Iterable[int]) -> dict[str, float]:
    """How a reader did.

    Args:
        spot: What was looked at.
        said_real: Numbers of the cells that were said to be real.

    Returns:
        `value`: share of generated cells that were taken for real, `low`, `high`: its 95 % interval (Wilson), `n`:
        generated cells, `found`: share of real cells that were found. Whoever guesses has 0.5 of both.

    Raises:
        ValueError: A number that no cell has.
    """
    from scipy.stats import binomtest

    said = np.zeros(len(spot.real), bool)
    for number in said_real:
        if not 1 <= number <= len(said):
            raise ValueError(f"said_real: no cell {number}, expected 1 to {len(said)}")
        said[number - 1] = True
    n = int((~spot.real).sum())
    test = binomtest(int(said[~spot.real].sum()), n)
    low, high = test.proportion_ci(method="wilson")
    found = float(said[spot.real].mean())
    return {"value": float(test.statistic), "low": float(low), "high": float(high), "n": n, "found": found}
