"""What `cellweak check migration` says of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import DataError
from .data import MOST_REPORTED, Films
from .labels import MODES, UNKNOWN, runs
from .motion import jumps
from .splits import TEST, grouped
from .supervision import supervised

if TYPE_CHECKING:
    import pandas as pd


def lines(
    films: Films, supervision: Mapping[str, Any], n_folds: int, test_share: float, seed: int = 0, by: str = "cell"
) -> Iterator[str]:
    """Reads every frame and says what is there.

    Args:
        films: As loaded.
        supervision: Options of `supervision.supervised`.
        n_folds: As `splits.grouped`.
        test_share: As `splits.grouped`.
        seed: As `splits.grouped`.
        by: As `splits.grouped`.

    Yields:
        Lines for people.

    Raises:
        DataError: Broken frames, up to ten named at once.
    """
    broken = []
    for name, film in films.frames.items():
        n, channels, height, width = film.shape
        yield (
            f"film {name}: {n} frame{'s' * (n != 1)} of {width}x{height} pixels, {film.dtype}, {channels} "
            f"channel{'s' * (channels != 1)}; axes {film.letters.replace('1', '')}"
            + ("" if (films.points["sequence"] == name).any() else "; no cells in it")
        )
        for t in range(n):
            try:
                film[t]
            except DataError as error:
                broken.append(str(error))
    if broken:
        more = [f"... and {len(broken) - MOST_REPORTED} more"] if len(broken) > MOST_REPORTED else []
        raise DataError("\n".join([*broken[:MOST_REPORTED], *more]))
    points = films.points
    lengths = points.groupby("cell").size()
    yield (
        f"{len(lengths)} cells, {len(points)} positions; {lengths.min()} to {lengths.max()} frames of a cell, "
        f"median {lengths.median():g}"
    )
    if films.labelled:
        yield from _labels(points)
    elif supervision.get("modes_from") != "labels":
        yield "no labels (column label): modes are taken from the motion"
    yield from _split(points, supervision, n_folds, test_share, seed, by)
    yield f"digest {films.digest}"


def _labels(points: pd.DataFrame) -> Iterator[str]:
    counts = points["label"].value_counts()
    yield "labels: " + ", ".join(f"{counts.get(word, 0)} frames {word}" for word in (*MODES, UNKNOWN))
    found = runs(points)
    switching = int(found.groupby("cell")["switch_after"].any().sum()) if len(found) else 0
    yield f"{found['cell'].nunique()} cells with a mode, {switching} of them switch"
    breaks = jumps(points)
    if len(breaks):
        first = breaks.iloc[0]
        what = f"{int(first['missing'])} frames missing" if first["missing"] else f"a step of {first['step_px']:.3g} px"
        where = f"in {first['cell']} before frame {first['frame']}"
        yield f"{len(breaks)} jumps or gaps in tracks, the first {where}: {what}"


def _split(
    points: pd.DataFrame, supervision: Mapping[str, Any], n_folds: int, test_share: float, seed: int, by: str
) -> Iterator[str]:
    """How cells would be split, or why nothing can be trained; new cells for trained networks need neither."""
    try:
        found = supervised(points, **supervision)
        yield from found.said
        fold_of = grouped(points, found.targets, n_folds, test_share, seed, by)
    except DataError as error:
        yield f"nothing can be trained ({error}); `-p weights` predicts"
        return
    tested = points["cell"][fold_of == TEST].nunique()
    learnt = points["cell"][fold_of >= 0].nunique()
    sizes = np.bincount(fold_of[fold_of >= 0], minlength=n_folds)
    yield f"{learnt} cells in {n_folds} folds of {sizes.min()} to {sizes.max()} frames, {tested} cells for the test"
