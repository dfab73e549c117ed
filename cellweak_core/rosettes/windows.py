"""Setting (a) as a list of runs: starts x fractions x repeats, on one test day, as the paper; its results as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..files import DataError
from ..parallel import map_runs
from .classifiers import STARTS
from .data import RosetteData, crop_windows
from .detectors import restored, train_detector, window_logits
from .evaluation import curve_metrics
from .simulate import labelled_windows as simulated_windows
from .weak import WEAK_METHODS

Run = dict[str, Any]
Result = Mapping[str, Any]
SIZE_PX = 32  # of a window, as the paper


def with_needed(fractions: Sequence[float]) -> list[float]:
    """The fractions, largest first, with the two that Fig. 9 needs (all and a fifth of the labels).

    Raises:
        ValueError: One is not above 0 and at most 1.
    """
    if any(not 0 < f <= 1 for f in fractions):
        raise ValueError(f"fractions: expected numbers above 0 and at most 1, got {list(fractions)}")
    return sorted({*map(float, fractions), 1.0, 0.2}, reverse=True)


def window_runs(common: Run, fractions: Sequence[float], n_repeats: int, seed: int, per_batch: int) -> list[Run]:
    """Setting (a): every start, fraction and repeat, in batches of networks trained side by side.

    Args:
        common: What all share, see `classifiers.train_classifiers`.
        fractions: Shares of the training labels.
        n_repeats: Trainings of each (20 in the paper).
        seed: Of the first repeat; the others follow. The two starts share their seeds: the same labels for both.
        per_batch: Networks per batch.

    Returns:
        One run per batch; the first repeat's weights are kept for all and for a fifth of the labels.
    """
    members = [(s, f, seed + k) for f in with_needed(fractions) for k in range(n_repeats) for s in STARTS]
    runs = []
    for at in range(0, len(members), per_batch):
        batch = members[at : at + per_batch]
        keep = [i for i, (_, f, s) in enumerate(batch) if s == seed and f in (1.0, 0.2)]
        starts, shares, seeds = (list(column) for column in zip(*batch, strict=True))
        runs.append({**common, "starts": starts, "fractions": shares, "seeds": seeds, "keep_weights": keep})
    return runs


def window_table(runs: Sequence[Run], results: Sequence[Result], target: NDArray[np.int64]) -> pd.DataFrame:
    """Setting (a), one row per training and evaluation: start, fraction, seed, n_labels, step, accuracy, ..."""
    frames = []
    for run, result in zip(runs, results, strict=True):
        curves = curve_metrics(result["curve_probabilities"].numpy(), target)
        for k, start in enumerate(run["starts"]):
            frame = pd.DataFrame({"step": result["curve_step"].numpy(), **{m: v[k] for m, v in curves.items()}})
            frame.insert(0, "classifier", STARTS[start])
            frame.insert(1, "fraction", run["fractions"][k])
            frame.insert(2, "seed", run["seeds"][k])
            frame.insert(3, "n_labels", int(result["n_labels"][k]))
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def kept_weights(runs: Sequence[Run], results: Sequence[Result], start: str, fraction: float) -> dict[str, Any]:
    """The state dict kept for a start and fraction.

    Raises:
        KeyError: None was kept.
    """
    for run, result in zip(runs, results, strict=True):
        for k in run["keep_weights"]:
            if (run["starts"][k], run["fractions"][k]) == (start, fraction):
                prefix = f"member{k}."
                return {n.removeprefix(prefix): v for n, v in result.items() if n.startswith(prefix)}
    raise KeyError(f"no weights kept for start {start!r} with {fraction:.0%} of the labels")


def final(table: pd.DataFrame) -> pd.DataFrame:
    """The last evaluation of each training of `window_table`."""
    return table[table["step"] == table["step"].max()]


def by_fraction(table: pd.DataFrame) -> pd.DataFrame:
    """Fig. 10: mean, standard deviation and number of trainings per classifier and fraction, at the last step."""
    last = final(table)
    frame = last.groupby(["classifier", "fraction"], as_index=False).agg(
        mean=("accuracy", "mean"), sd=("accuracy", "std"), n_runs=("accuracy", "size"), n_labels=("n_labels", "first")
    )
    return frame.sort_values(["classifier", "fraction"], ascending=[True, False], ignore_index=True)


def labelled_windows(
    data: RosetteData,
    shared: Mapping[str, Any],
    detector: Run,
    test_fold: int,
    n_rosette: int,
    n_other: int,
    folder: Path,
    seed: int,
) -> tuple[RosetteData, str]:
    """Windows with labels for setting (a), from the best source the data have.

    Ready ones (a folder `windows/`, or images that are windows already); simulated ones, whose rosettes are known; else
    the places that a weak detector points out, trained on the image labels of the other days.

    Args:
        data: Labelled images.
        shared: What `detectors.train_detector` needs, for the last source.
        detector: A run of it, without method, fraction and fold.
        test_fold: The test day's fold.
        n_rosette: Rosette windows, at most.
        n_other: Other windows, at most.
        folder: Where the detector's result is kept.
        seed: Of the choice.

    Returns:
        The windows, and one line on where they come from.

    Raises:
        ValueError: Ready windows of another size.
    """
    if data.windows is not None:
        height, width = data.windows.images.shape[1:]
        if (height, width) != (SIZE_PX, SIZE_PX):
            found = f"expected {SIZE_PX}x{SIZE_PX} px, got {width}x{height}"
            raise ValueError(f"windows/: {found}; crop them, or rename the folder to leave them out")
        return data.windows, "ready windows of the data set"
    if data.images.shape[1:] == (SIZE_PX, SIZE_PX):
        return data, "the images are windows"
    if data.truth is not None:
        # A rosette needs a window's half and the window's random shift around it to be cut out.
        edge = SIZE_PX // 2 + SIZE_PX // 8
        inside = data.images.shape[1] - edge
        there = sum(int(((c >= edge) & (c < inside)).all(1).sum()) for c in data.truth)
        return simulated_windows(data, min(n_rosette, there), n_other, SIZE_PX, seed), "simulated windows"
    method = {**WEAK_METHODS["context"], "fraction": 1.0, "seed": seed, "test_fold": test_fold, "keep_weights": True}
    run = {**detector, **method}
    [result] = map_runs(train_detector, [run], folder=folder, shared=shared)
    maps = window_logits(restored(run, result), data.images, run["normalise"], n_turns=run["n_turns"]).numpy()
    return detected_windows(data, maps, n_rosette, n_other, SIZE_PX, seed), "windows pointed out by a weak detector"


def of_day(windows: RosetteData, day: str) -> NDArray[np.bool_]:
    """Which windows are of the test day, `(N,)`.

    Raises:
        DataError: The test day, or the rest, lacks a class.
    """
    at_test, target = (windows.table["day"] == day).to_numpy(), windows.table["target"].to_numpy()
    for where, rows in ((f"day {day}, to test on", at_test), ("the other days, to train on", ~at_test)):
        found = {name: int((target[rows] == label).sum()) for label, name in ((1, "rosette"), (0, "other"))}
        if not all(found.values()):
            raise DataError(
                f"{windows.name}: windows of {where}: {found['rosette']} with and {found['other']} without a rosette; "
                "both are needed: choose another test_day, or add windows"
            )
    return at_test


def detected_windows(
    data: RosetteData, maps: NDArray[np.float32], n_rosette: int, n_other: int, size: int, seed: int
) -> RosetteData:
    """Windows for setting (a) where nobody labelled any: a weak detector points them out.

    A rosette image gives the window under its highest logit; an image without rosettes gives a random window. The
    places are the detector's opinion, not an observer's, and results on them must say so.

    Args:
        data: Labelled images.
        maps: `(N, h, w)` window logits of all of them, by a detector that never saw the test day's labels.
        n_rosette: At most this many rosette windows, in random order.
        n_other: At most this many others.
        size: Side of a window in px.
        seed: Of the choice.

    Returns:
        Windows `(n, size, size)` with the table rows of their images.
    """
    rng = np.random.default_rng(seed)
    target = data.table["target"].to_numpy()
    _, height, width = data.images.shape
    chosen = [rng.permutation(np.flatnonzero(target == label))[:n] for label, n in ((1, n_rosette), (0, n_other))]
    corners = []
    for label, indices in zip((1, 0), chosen, strict=True):
        for i in indices:
            if label:
                best = np.unravel_index(int(maps[i].argmax()), maps[i].shape)
                y, x = (
                    map_centre(int(k), n, side) for k, n, side in zip(best, maps[i].shape, (height, width), strict=True)
                )
            else:
                y, x = rng.uniform(size / 2, (height - size / 2, width - size / 2))
            top, left = (int(np.clip(round(c - size / 2), 0, s - size)) for c, s in ((y, height), (x, width)))
            corners.append((i, left, top))
    at = np.array(corners, int).reshape(-1, 3)
    source = data.take(at[:, 0])
    name = f"{data.name}, detected windows"
    return RosetteData(crop_windows(data.images, at, size), source.table, data.positive_class, name, data.digest)


def map_centre(k: int, n: int, side_px: int, stride_px: int = 8) -> float:
    """Where the centre of cell `k` of `n` of a map of window logits lies in its image, px along one axis."""
    # Convolutions of stride 2 leave what does not fill a stride at the right and lower border.
    return (side_px // stride_px * stride_px - stride_px * (n - 1)) / 2 + stride_px * k


def enlarged(cells: NDArray[np.float32], image_shape: Sequence[int], stride_px: int = 8) -> NDArray[np.float32]:
    """A map of window scores laid over its image: every cell fills its stride, NaN beyond the outermost windows.

    Args:
        cells: `(h, w)`.
        image_shape: `(H, W)` in px.
        stride_px: Step between windows.
    """
    out = np.full(tuple(image_shape), np.nan, np.float32)
    height, width = (n * stride_px for n in cells.shape)
    top, left = ((side // stride_px * stride_px - n) // 2 for side, n in zip(image_shape, (height, width), strict=True))
    out[top : top + height, left : left + width] = cells.repeat(stride_px, 0).repeat(stride_px, 1)
    return out
