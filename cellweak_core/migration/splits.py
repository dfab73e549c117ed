"""Cells that are tested, and folds of the others: all frames of a cell on one side, both modes on every side.

    cells     a b c d | e f g h i j k l m n o p q r s t           -1 = test; 0 .. n_folds-1 = fold
              test    | fold 0 | fold 1 | ...                     -2 = a row without a target
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..files import DataError
from .labels import MODES, SWITCHING, UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int64]

TEST, NONE = -1, -2
GROUPS = {"cell": "cells", "sequence": "films"}
MIDDLE = 0.5  # targets from here on are discontinuous


def grouped(
    points: pd.DataFrame, targets: ArrayLike, n_folds: int = 5, test_share: float = 0.25, seed: int = 0,
    by: str = "cell",
) -> Ints:  # fmt: skip
    """Independent test cells, and grouped stratified folds of the others.

    Gupta 2020, Sec. 2: relative class frequencies "are approximately balanced in each fold", images of a cell are not
    in both training and validation, and whole sequences are kept for independent testing (31 of 133, a share of 0.23).
    A cell's mode is that of most of its frames. Of each mode the same share of cells is drawn for the test, and where
    two or more cells switch, one at least of them; the rest goes to scikit-learn's `StratifiedGroupKFold`, which
    balances frames.

    Args:
        points: Of `data.Films`.
        targets: `(n,)` of `labels.ramps`, NaN where there is none.
        n_folds: Two or more.
        test_share: Of each mode's cells, below 1; at least one cell of each is tested, and none at 0.
        seed: Of the draw and of the folds.
        by: "cell", or "sequence": all cells of a film on one side, so that no patch shows a neighbour that trained.

    Returns:
        `(n,)`: fold 0 to n_folds - 1, -1 for the rows of test cells, -2 for rows without a target.

    Raises:
        ValueError: Another number of targets than rows, `n_folds` or `test_share`.
        DataError: No row has a target, there is one mode only, or a mode has fewer cells than are needed for one in
            each fold and in the test.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    values = np.asarray(targets, np.float64)
    if values.shape != (len(points),):
        raise ValueError(f"targets: expected one for each of {len(points)} rows, got shape {values.shape}")
    if n_folds < 2 or not 0 <= test_share < 1:
        raise ValueError(f"expected n_folds of 2 or more and test_share in [0, 1), got {n_folds} and {test_share}")
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise DataError("no frame has a label: all are unknown; label some frames of both modes")
    if by not in GROUPS:
        raise ValueError(f"by: expected {' or '.join(GROUPS)}, got {by!r}")
    cells, of_row = np.unique(points[by].to_numpy(str)[known], return_inverse=True)
    share = np.bincount(of_row, values[known] >= MIDDLE) / np.bincount(of_row)
    mode = (share >= 0.5).astype(int)
    counts = np.bincount(mode, minlength=2)
    if not counts.all():
        has = MODES[int(counts.argmax())]
        raise DataError(
            f"all {len(cells)} {GROUPS[by]} are {has} in most of their frames, and both modes are needed: label frames "
            "of the other mode too"
        )
    rng = np.random.default_rng(seed)
    tested = np.zeros(len(cells), bool)
    for k, n in enumerate(counts.tolist()):
        n_test = max(1, int(np.floor(test_share * n + 0.5))) if test_share else 0
        if n - n_test < n_folds:
            raise DataError(_too_few(k, n, n_test, n_folds, GROUPS[by]))
        tested[rng.choice(np.flatnonzero(mode == k), n_test, replace=False)] = True
    switching = (share > 0) & (share < 1)
    if test_share and switching.sum() > 1 and not tested[switching].any():
        # of few switching cells none may be drawn, and then no figure has one
        chosen = rng.choice(np.flatnonzero(switching))
        tested[rng.choice(np.flatnonzero(tested & (mode == mode[chosen])))] = False
        tested[chosen] = True
    out = np.full(len(points), NONE, np.int64)
    out[known[tested[of_row]]] = TEST
    others = np.flatnonzero(~tested[of_row])
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for fold, (_, held) in enumerate(folds.split(others, mode[of_row[others]], of_row[others])):
        out[known[others[held]]] = fold
    require_apart(out, points["cell"])
    return out


def sides(fold_of: ArrayLike, cells: ArrayLike) -> Ints:
    """The part of each row's cell, so that a frame without a target is predicted by networks that never saw its cell.

    Args:
        fold_of: `(n,)` of `grouped`.
        cells: `(n,)` cell of each row.

    Returns:
        `(n,)`: as `fold_of`, and -2 only for cells none of whose frames has a target.

    Raises:
        ValueError, DataError: As `require_apart`.
    """
    require_apart(fold_of, cells)
    parts, names = np.asarray(fold_of, np.int64), np.asarray(cells).astype(str)
    known = parts != NONE
    part_of = dict(zip(names[known].tolist(), parts[known].tolist(), strict=True))
    return np.array([part_of.get(name, NONE) for name in names.tolist()], np.int64)


def _too_few(mode: int, n: int, n_test: int, n_folds: int, what: str) -> str:
    left = n - n_test
    fix = f"make n_folds {left}, or label more {what}" if left >= 2 else f"label more {what}"
    tested = f", {n_test} of them for the test" if n_test else ""
    found = f"{n} {what if n != 1 else what[:-1]} {'are' if n != 1 else 'is'} {MODES[mode]} in most frames{tested}"
    return f"{found}; {n_folds} folds need {n_folds} besides those of the test: {fix}"


def require_apart(fold_of: ArrayLike, cells: ArrayLike) -> None:
    """Refuses folds that share a cell: a network would be asked for what it has seen.

    Args:
        fold_of: `(n,)` as `grouped` returns it; -2 is in no part.
        cells: `(n,)` cell of each row.

    Raises:
        ValueError: Another number of cells than of folds.
        DataError: A cell in two parts.
    """
    parts, names = np.asarray(fold_of), np.asarray(cells).astype(str)
    if parts.shape != names.shape:
        raise ValueError(f"cells: expected one for each of {parts.shape} rows, got {names.shape}")
    used = parts != NONE
    pairs = np.unique(np.stack([names[used], parts[used].astype(str)]), axis=1) if used.any() else np.empty((2, 0), str)
    found, times = np.unique(pairs[0], return_counts=True)
    if (times > 1).any():
        cell = found[int((times > 1).argmax())]
        own = sorted(pairs[1][pairs[0] == cell], key=int)
        listed = " and ".join("the test" if part == str(TEST) else f"fold {part}" for part in own)
        raise DataError(f"cell {cell} is in {listed}; all frames of a cell belong on one side (splits.grouped)")


def examples(points: pd.DataFrame, cells: ArrayLike | None = None) -> dict[str, str]:
    """A cell for each kind that the paper's Fig. 1b shows: continuous, discontinuous, and one that is both.

    The cell with the smallest share of discontinuous frames, that with the largest, and that nearest to one half which
    has both modes; of equals the one with more known frames, then the first by name. Nothing about predictions counts.

    Args:
        points: With labels.
        cells: Among which; None for all.

    Returns:
        By kind ("continuous", "discontinuous", "switching"), a cell each; a kind that no cell has is missing.
    """
    known = points[points["label"] != UNKNOWN]
    if cells is not None:
        known = known[known["cell"].isin(np.asarray(cells).astype(str))]
    shares = (known["label"] == MODES[1]).groupby(known["cell"]).agg(["mean", "size"]).reset_index()
    shares["middle"] = (shares["mean"] - MIDDLE).abs()
    both = shares[(shares["mean"] > 0) & (shares["mean"] < 1)]
    kinds = {
        MODES[0]: (shares[shares["mean"] < MIDDLE], "mean", True),
        MODES[1]: (shares[shares["mean"] > MIDDLE], "mean", False),
        SWITCHING: (both, "middle", True),
    }  # fmt: skip
    out, taken = dict[str, str](), set[str]()
    for kind, (table, by, rising) in kinds.items():
        own = table[~table["cell"].isin(taken)].sort_values([by, "size", "cell"], ascending=[rising, False, True])
        if len(own):
            out[kind] = str(own["cell"].iloc[0])
            taken.add(out[kind])
    return out


def overview(points: pd.DataFrame, fold_of: ArrayLike) -> pd.DataFrame:
    """Cells and frames of each mode in each part.

    Args:
        points: With labels.
        fold_of: Of `grouped`.

    Returns:
        "part", "cells", "switching cells", and the frames of each mode and of unknown mode; those of cells that are in
        no part last.
    """
    import pandas as pd

    where = sides(fold_of, points["cell"])
    rows = list[dict[str, object]]()
    for part in sorted({int(one) for one in where}, key=lambda k: (k == NONE, k)):
        own = points[where == part]
        kinds = own[own["label"] != UNKNOWN].groupby("cell")["label"].nunique()
        counts = own["label"].value_counts()
        rows.append({
            "part": {TEST: "test", NONE: "in none"}.get(part, f"fold {part}"), "cells": own["cell"].nunique(),
            "switching cells": int((kinds > 1).sum()),
            **{f"frames {word}": int(counts.get(word, 0)) for word in (*MODES, UNKNOWN)},
        })  # fmt: skip
    return pd.DataFrame(rows)
