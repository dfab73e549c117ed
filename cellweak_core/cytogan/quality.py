"""Everything that a figure of generated cells cannot hide, in one table, beside the same of real cells held out.

    training cells ----+
    held-out cells ----+--> the sample "real, held out": what as many real cells score
    generated cells ---+--> each generator's sample

All in one feature space, in units of the training cells' standard deviation there. The samples are cut down to one
size: Frechet's distance, recall and the mechanisms reached depend on how many cells there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from ..uncertainty import group_weights
from .evaluation import Floats, among, diversity, frechet_distance, kernel_distance, standardised
from .neighbours import mechanisms_reached, memorised, nearer

HELD_OUT = "real, held out"
METRICS = (
    "Frechet distance", "kernel distance", "precision", "recall", "mechanisms reached", "nearer than held out",
    "copies", "diversity",
)  # fmt: skip
SHIFTED = {"Frechet distance": np.inf, "mechanisms reached": 1.0}  # and the largest value that there is


def quality(
    training: ArrayLike,
    held_out: ArrayLike,
    generated: ArrayLike,
    mechanisms: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    n: int = 0,
    k: int = 3,
    n_resamples: int = 100,
    seed: int = 0,
) -> dict[str, Any]:
    """Distances from the training cells, precision, recall, diversity and copying of one sample.

    Args:
        training: `(n_t, d)` features of the cells that the generator was trained on.
        held_out: `(n_h, d)` of real cells that it was not, of other wells.
        generated: `(m, d)`; or the held-out cells again, whose numbers are what can be reached.
        mechanisms: `(n_t,)` of the training cells; without them "mechanisms reached" is left out.
        groups: `(n_t,)` well of each training cell: resampled as a whole; without it each cell by itself.
        n: Cells of `generated` and of `held_out` that count, drawn by `seed`; 0 for as many as the smaller one has.
        k: As `precision_recall`.
        n_resamples: Of the intervals.
        seed: Of the draws.

    Returns:
        For each of `METRICS`: `METRIC` a float, and `METRIC|draws` `(n_resamples,)`, its values in resamples of the
        sample and of the training cells; the neighbours stay those that were found. Those of `SHIFTED` are brought to
        have their mean at the float, but not out of their range: a resample with its repeats is farther from all else
        and misses more. `n`, and `p` of `memorised`. "diversity" is relative to the held-out cells'; "nearer than held
        out" and "copies" are `memorised`'s.

    Raises:
        DataError: As `frechet_distance`; more cells asked for than there are; another number of mechanisms or groups.
    """
    real, other, sample = standardised(training, held_out, generated)
    size = n or min(len(other), len(sample))
    if size > min(len(other), len(sample)):
        raise DataError(f"n: {size} cells asked for, {len(other)} held out and {len(sample)} generated; give fewer")
    rng = np.random.default_rng([seed, len(METRICS)])  # not the resamples'
    # the held-out cells judged by themselves are one sample, and stay the same cells
    chosen = np.sort(rng.permutation(len(other))[:size])
    same = sample.shape == other.shape and np.array_equal(sample, other)
    sample = sample[chosen if same else np.sort(rng.permutation(len(sample))[:size])]
    other = other[chosen]
    own = np.arange(len(real)) if groups is None else np.asarray(groups)
    for name, one in (("mechanisms", mechanisms), ("groups", groups)):
        if one is not None and len(np.asarray(one, object)) != len(real):
            raise DataError(f"{name}: expected {len(real)}, one for each training cell, got {len(np.asarray(one))}")
    of_real, of_sample, of_other = (
        group_weights(of, n_resamples, seed + j) for j, of in enumerate((own, np.arange(size), np.arange(size)))
    )
    inside, reached = among(sample, real, k), among(real, sample, k)
    copied = memorised(real, other, sample)
    scale = diversity(other)
    if not scale:
        raise DataError("held_out: all cells are alike; nothing can be more or less diverse")
    values: dict[str, tuple[float, Floats]] = {
        "Frechet distance": (frechet_distance(real, sample), frechet_distance(real, sample, of_real, of_sample)),
        "kernel distance": (kernel_distance(real, sample), kernel_distance(real, sample, of_real, of_sample)),
        "precision": (inside.mean(), _share(inside, of_sample)),
        "recall": (reached.mean(), _share(reached, of_real)),
        "nearer than held out": (
            copied["nearer"], nearer(copied["distance"], copied["held_out_distance"], of_sample, of_other),
        ),
        "copies": (copied["copies"], _share(copied["distance"] < copied["near"], of_sample)),
        "diversity": (diversity(sample) / scale, diversity(sample, of_sample) / scale),
    }  # fmt: skip
    if mechanisms is not None:
        own_rows = copied["row"]
        values["mechanisms reached"] = (
            mechanisms_reached(mechanisms, own_rows), mechanisms_reached(mechanisms, own_rows, of_sample),
        )  # fmt: skip
    out: dict[str, Any] = {"n": size, "p": copied["p"]}
    for name in METRICS:
        if name in values:
            value, draws = float(values[name][0]), np.asarray(values[name][1])
            if name in SHIFTED and np.isfinite(draws).any():
                draws = np.clip(draws - np.nanmean(draws) + value, 0, SHIFTED[name])
            out |= {name: value, f"{name}|draws": draws}
    return out


def _share(mark: NDArray[np.bool_], weights: Floats) -> Floats:
    return (weights @ mark) / weights.sum(1)
