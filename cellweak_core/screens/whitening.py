"""Typical variation normalised: what controls do is noise, and noise is made round and small.

    controls --mean, covariance--> W;  TVN   profiles -> (profiles - mean) W      covariance of the controls = identity
    controls of each batch -------> CORAL    each batch's second moments -> those of all batches together

Source: Ando et al. 2017 (TVN, CORAL on top of it); Caicedo et al. 2018, Sec. 4.3; regularisation and order as in the
authors' notebook (profiling-evaluation.ipynb, cells 11 to 14).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellweak_core.files import DataError

from .checks import matrix, names

Floats = NDArray[np.float64]
FORMS = ("pca", "zca")


class TVN:
    """Whitening on controls: (x - mean) V diag(1 / sqrt(s + regularization)), and V' behind it in the form "zca".

    V and s are eigenvectors and eigenvalues of the controls' covariance. A direction in which they do not vary at all
    (constant features, fewer controls than features) has s = 0: a regularisation above 0 keeps it, at a weight of
    1 / sqrt(regularization), 0 drops it.

    Args:
        regularization: Added to every eigenvalue, in units of the squared features; 1 in the paper's notebook.
        form: "pca" (the paper's: the result's axes are the eigenvectors') or "zca" (turned back: they are the
            features').

    Attributes:
        mean: `(d,)` of the controls, after `fit`.
        weights: `(d, d)`, after `fit`.

    Raises:
        ValueError: Another form, or a regularisation below 0.
    """

    def __init__(self, regularization: float = 1.0, form: str = "pca") -> None:
        if form not in FORMS:
            raise ValueError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")
        if not regularization >= 0:
            raise ValueError(f"regularization: expected 0 or above, got {regularization}")
        self.regularization, self.form = float(regularization), form
        self.mean: Floats | None = None
        self.weights: Floats | None = None

    def fit(self, controls: ArrayLike) -> Self:
        """Learn from control profiles.

        Args:
            controls: `(n, d)`, n of 2 or more; n may be below d.

        Raises:
            DataError: Fewer than two, or values that are not numbers.
        """
        x = matrix(controls, "controls")
        if len(x) < 2:
            raise DataError(f"controls: {len(x)} profiles, expected two or more to see how controls vary")
        self.mean = x.mean(0)
        centred = x - self.mean
        # Of the controls themselves: squaring them into a covariance first would halve the digits. Many controls come
        # down to a triangle with the same right-hand sides.
        few = centred if len(x) <= x.shape[1] else np.linalg.qr(centred, mode="r")
        _, singular, directions = np.linalg.svd(few, full_matrices=True)
        variance = np.zeros(x.shape[1])
        variance[: len(singular)] = singular**2 / (len(x) - 1)
        # what rounding alone leaves of a constant, at the size of the values themselves
        noise = max(singular.max(initial=0), np.abs(x).max() * np.sqrt(len(x)))
        rank = singular > noise * max(x.shape) * np.finfo(float).eps
        variance[: len(singular)][~rank] = 0
        scale = np.zeros_like(variance)
        kept = variance + self.regularization > 0
        scale[kept] = 1 / np.sqrt(variance[kept] + self.regularization)
        self.weights = directions.T * scale
        if self.form == "zca":
            self.weights = self.weights @ directions
        return self

    def transform(self, features: ArrayLike) -> Floats:
        """Whiten profiles.

        Args:
            features: `(n, d)`.

        Returns:
            `(n, d)` float64.

        Raises:
            RuntimeError: Not fitted.
            DataError: Another number of features, or values that are not numbers.
        """
        if self.mean is None or self.weights is None:
            raise RuntimeError("TVN: call fit(controls) before transform")
        return (matrix(features, "features", n_features=len(self.mean)) - self.mean) @ self.weights


class CORAL:
    """Batches aligned by their controls' second moments: x (C_batch + r I)^(-1/2) (C_all + r I)^(1/2).

    C are uncentred second moments X'X / n of the controls (Sun et al. 2016 centre them; after `TVN` their mean is near
    zero anyway): Deviation of the paper's notebook, kept.

    Args:
        regularization: r, added to the diagonal, 1 in the paper's notebook.

    Raises:
        ValueError: r is not above 0: a batch has fewer controls than features.
    """

    def __init__(self, regularization: float = 1.0) -> None:
        if not regularization > 0:
            raise ValueError(f"regularization: expected above 0, got {regularization}")
        self.regularization = float(regularization)
        self.weights: dict[object, Floats] = {}

    def fit(self, controls: ArrayLike, batches: ArrayLike) -> Self:
        """Learn one matrix for each batch.

        Args:
            controls: `(n, d)`.
            batches: `(n,)` the batch of each.

        Raises:
            ValueError: Another number of batches than of controls.
            DataError: No controls, or values that are not numbers.
        """
        x = matrix(controls, "controls")
        batch = names(batches, "batches", len(x))
        if not len(x):
            raise DataError("controls: no profiles, expected at least one in each batch")
        eye = self.regularization * np.eye(x.shape[1])
        everywhere = _power(x.T @ x / len(x) + eye, 0.5)
        self.weights = {}
        for name in dict.fromkeys(batch.tolist()):
            own = x[batch == name]
            self.weights[name] = _power(own.T @ own / len(own) + eye, -0.5) @ everywhere
        return self

    def transform(self, features: ArrayLike, batches: ArrayLike) -> Floats:
        """Align profiles.

        Args:
            features: `(n, d)`.
            batches: `(n,)` the batch of each.

        Returns:
            `(n, d)` float64.

        Raises:
            RuntimeError: Not fitted.
            ValueError: Another number of batches than of profiles.
            DataError: A batch without controls, named; another number of features, values that are not numbers.
        """
        if not self.weights:
            raise RuntimeError("CORAL: call fit(controls, batches) before transform")
        x = matrix(features, "features", n_features=len(next(iter(self.weights.values()))))
        batch = names(batches, "batches", len(x))
        without = [str(name) for name in dict.fromkeys(batch.tolist()) if name not in self.weights]
        if without:
            raise DataError(f"batch {', '.join(without)}: no controls there to align it by; leave it out")
        out = np.empty_like(x)
        for name in dict.fromkeys(batch.tolist()):
            out[batch == name] = x[batch == name] @ self.weights[name]
        return out


def _power(symmetric: Floats, exponent: float) -> Floats:
    values, vectors = np.linalg.eigh(symmetric)
    return (vectors * values**exponent) @ vectors.T
