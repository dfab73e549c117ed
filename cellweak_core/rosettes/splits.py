"""Splits that keep a day or an embryo on one side; random subsets of the labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cellweak_core.files import DataError

_TRIALS = 200  # random orders of the embryos, of which the best balanced is kept


def split_by_day(table: pd.DataFrame, test_day: str) -> tuple[np.ndarray, np.ndarray]:
    """Leaves one day out.

    Args:
        table: of a `RosetteData`; unlabelled rows are in neither part.
        test_day: one of the labelled rows' days.

    Returns:
        Positions in `table`: (train, test), int (n,) each, in the table's order.

    Raises:
        DataError: no labelled image of that day, or the rest lacks a class.
    """
    labelled = table["target"].to_numpy() >= 0
    days = sorted(set(table["day"][labelled]))
    if test_day not in days:
        raise DataError(f"no labelled image of day {test_day!r}; the days are {', '.join(days)}.")
    on_day = table["day"].to_numpy() == test_day
    train, test = np.flatnonzero(labelled & ~on_day), np.flatnonzero(labelled & on_day)
    _both_classes(table, train, f"without day {test_day}")
    return train, test


def split_by_embryo(table: pd.DataFrame, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random split by embryo, stratified: both classes are divided as nearly as whole embryos allow.

    Args:
        table: of a `RosetteData`; unlabelled rows are in neither part.
        test_fraction: share of the images of each class that is asked for in the test part, between 0 and 1.
        seed: of the random orders tried.

    Returns:
        Positions in `table`: (train, test), int (n,) each, in the table's order.

    Raises:
        DataError: fewer than two embryos, or no split leaves both classes for training.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction: expected between 0 and 1, given {test_fraction}.")
    target = table["target"].to_numpy()
    rows = np.flatnonzero(target >= 0)
    groups, of_row = np.unique(table["group"].to_numpy()[rows].astype(str), return_inverse=True)
    if len(groups) < 2:
        raise DataError(f"{len(groups)} embryo: at least two are needed to split by embryo.")
    counts = np.zeros((len(groups), 2))
    np.add.at(counts, (of_row, target[rows]), 1)
    share = counts / np.maximum(counts.sum(0), 1)
    rng = np.random.default_rng(seed)
    orders = np.stack([rng.permutation(len(groups)) for _ in range(_TRIALS)])
    # the first k embryos of an order are a candidate test part, for every k that leaves an embryo to train on
    off = np.abs(np.cumsum(share[orders], 1)[:, :-1] - test_fraction).sum(2)
    order, k = np.unravel_index(int(off.argmin()), off.shape)
    in_test = np.isin(of_row, orders[order, : k + 1])
    train, test = rows[~in_test], rows[in_test]
    _both_classes(table, train, "in the training part")
    return train, test


def embryo_folds(table: pd.DataFrame, n_folds: int, seed: int) -> np.ndarray:
    """Test folds of whole embryos, stratified: for images of one day only, where `split_by_day` cannot be.

    Every fold first gets what it needs, an embryo with images of both classes or one of each; the other embryos go,
    largest first, where they even out the classes' shares. Of some random orders the most even one is kept.

    Args:
        table: of a `RosetteData`.
        n_folds: two or more.
        seed: of the random orders.

    Returns:
        The fold of each row, 0 to n_folds - 1, int (N,); -1 for unlabelled rows. Every fold has both classes, and so
        has what is outside of it.

    Raises:
        DataError: too few embryos with images of each class.
    """
    if n_folds < 2:
        raise ValueError(f"n_folds: expected two or more, given {n_folds}.")
    target = table["target"].to_numpy()
    rows = np.flatnonzero(target >= 0)
    groups, of_row = np.unique(table["group"].to_numpy()[rows].astype(str), return_inverse=True)
    counts = np.zeros((len(groups), 2))
    np.add.at(counts, (of_row, target[rows]), 1)
    kinds = ((counts > 0).all(1), counts[:, 0] == 0, counts[:, 1] == 0)
    mixed, only_1, only_0 = (np.flatnonzero(kind) for kind in kinds)
    most = len(mixed) + min(len(only_1), len(only_0))
    if most < n_folds:
        raise DataError(
            f"{n_folds} folds by embryo need {n_folds} embryos with images of both classes (or pairs with one each), "
            f"and the {len(groups)} labelled embryos make {most}: {len(mixed)} with both, {len(only_1)} with rosettes "
            f"only, {len(only_0)} without any; label images of more embryos, or name the embryos apart."
        )
    share = counts / counts.sum(0)
    rng = np.random.default_rng(seed)
    best, best_off = np.zeros(0, int), np.inf
    for _ in range(_TRIALS // 10):
        pairs = zip(rng.permutation(only_1).tolist(), rng.permutation(only_0).tolist(), strict=False)
        cores = [[i] for i in mixed.tolist()] + [list(pair) for pair in pairs]
        fold_of = np.full(len(groups), -1)
        held = np.zeros((n_folds, 2))
        for k, core in enumerate(rng.permutation(len(cores))[:n_folds].tolist()):
            fold_of[cores[core]] = k
            held[k] = share[cores[core]].sum(0)
        left = rng.permutation(np.flatnonzero(fold_of < 0))
        for i in left[np.argsort(-share[left].sum(1), kind="stable")].tolist():
            # the sum of squares grows least where the embryo's own classes are rarest
            fold_of[i] = int((held @ share[i]).argmin())
            held[fold_of[i]] += share[i]
        off = float(((held - 1 / n_folds) ** 2).sum())
        if off < best_off:
            best, best_off = fold_of, off
    folds = np.full(len(table), -1)
    folds[rows] = best[of_row]
    return folds


def subset(train_idx: np.ndarray, table: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    """A random part of the training images: round(fraction * n) of each class, at least one.

    Args:
        train_idx: positions in `table`, int (n,).
        table: of a `RosetteData`.
        fraction: above 0, at most 1.
        seed: of the choice.

    Returns:
        Positions in `table`, int, sorted.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction: expected above 0 and at most 1, given {fraction}.")
    train_idx = np.asarray(train_idx, int)
    target = table["target"].to_numpy()[train_idx]
    rng = np.random.default_rng(seed)
    parts = []
    for c in np.unique(target):
        of_class = train_idx[target == c]
        parts.append(rng.permutation(of_class)[: max(1, int(np.floor(fraction * len(of_class) + 0.5)))])
    return np.sort(np.concatenate(parts)) if parts else train_idx


def _both_classes(table: pd.DataFrame, train: np.ndarray, where: str) -> None:
    present = set(table["target"].to_numpy()[train].tolist())
    if present != {0, 1}:
        raise DataError(f"{where}: {'only one class' if present else 'no image'} is left to train on; split otherwise.")
