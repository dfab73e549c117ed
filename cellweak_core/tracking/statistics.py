"""Curves by which simulated sequences are set beside real ones: light, shapes, crowding, motion, divisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from cellweak_core.tracking.background import quadratic_background
from cellweak_core.tracking.linking import assign

QUANTILES = np.array([0.001, 0.01, *np.linspace(0.05, 0.95, 19), 0.99, 0.999])
INTERVALS = (1, 5, 9)  # frames; the paper's 5, 25 and 45 minutes
GATES_PX = (20.0, 40.0, 60.0)  # how far a cell may have moved in these intervals, as the authors' script has it
_RADIUS_PX = 40


def statistics(
    points: pd.DataFrame, frames: Sequence[np.ndarray] | np.ndarray | None = None, shape: tuple[int, int] | None = None
) -> pd.DataFrame:
    """What a sequence looks like and how its cells move, as curves.

    Args:
        points: frame, id, x, y, parent (-1 = none); frame k is `frames[k]`.
        frames: grey levels (T, Y, X) from 0 to 255, or None for the curves of positions alone.
        shape: (Y, X) pixels; needed without frames.

    Returns:
        Columns curve, x, y. Of the frames: `grey` and `contrast`, quantile functions of the grey level and of its
        difference to the quadratic background (y) against the quantile (x); `spectrum`, power per pixel of that
        difference (squared grey levels) against cycles per pixel; `profile` and `profile_sd`, its mean and standard
        deviation over cells against the distance from the annotated position, pixels. Of the points:
        `displacement_1`, `_5`, `_9`, quantile functions of the distance a cell moves within so many frames, pixels;
        `displacement`, its root mean square against the interval; `nearest_neighbour`, quantile function of that
        distance; `density`, cells per 100,000 pixels, at x 0; `division_rate`, divisions per 1,000 cells and frames,
        at x 0; `assignment`, the share of same-cell links that plain assignment of the annotated positions recovers,
        against the interval.

    Raises:
        ValueError: neither frames nor shape, or frames that are not (T, Y, X).
    """
    if frames is not None:
        first = np.asarray(frames[0])
        if first.ndim != 2:
            raise ValueError(f"frames: expected (T, Y, X), given frames of shape {first.shape}.")
        shape = (first.shape[0], first.shape[1])
    if shape is None:
        raise ValueError("shape: expected (Y, X) where there are no frames, given None.")
    curves = _of_points(points, shape)
    if frames is not None:
        curves = {**_of_frames(points, frames), **curves}
    rows = [(name, float(x), float(y)) for name, (xs, ys) in curves.items() for x, y in zip(xs, ys, strict=True)]
    return pd.DataFrame(rows, columns=["curve", "x", "y"])


def compare(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """How far two sets of curves lie apart.

    Args:
        one: of `statistics`.
        other: the same of another sequence.

    Returns:
        One row per curve that both have: curve, one, other (means of y over the x they share), difference (mean
        absolute; of `spectrum` the mean absolute log10 ratio).
    """
    both = one.merge(other, on=["curve", "x"], suffixes=("_one", "_other")).dropna()
    rows = []
    for name, part in both.groupby("curve", sort=False):
        a, b = part["y_one"].to_numpy(float), part["y_other"].to_numpy(float)
        difference = np.abs(np.log10((a + 1e-9) / (b + 1e-9))) if name == "spectrum" else np.abs(a - b)
        rows.append((name, a.mean(), b.mean(), difference.mean()))
    return pd.DataFrame(rows, columns=["curve", "one", "other", "difference"])


_Curves = dict[str, tuple[Iterable[float], Iterable[float]]]


def _of_frames(points: pd.DataFrame, frames: Sequence[np.ndarray] | np.ndarray) -> _Curves:
    grey, contrast, spectra = [], [], []
    sums, squares = np.zeros(_RADIUS_PX + 1), np.zeros(_RADIUS_PX + 1)
    cells = 0
    lag = np.arange(-_RADIUS_PX, _RADIUS_PX + 1)
    ring = np.rint(np.hypot(lag[:, None], lag)).astype(int)
    in_ring = np.bincount(ring.ravel())[: _RADIUS_PX + 1]
    for k in range(len(frames)):
        image = np.asarray(frames[k], np.float64)
        rest = image - quadratic_background(image)
        grey.append(np.quantile(image, QUANTILES))
        contrast.append(np.quantile(rest, QUANTILES))
        spectra.append(_spectrum(rest))
        for x, y in np.rint(points.loc[points["frame"] == k, ["x", "y"]].to_numpy(float)).astype(int).tolist():
            rows, columns = slice(y - _RADIUS_PX, y + _RADIUS_PX + 1), slice(x - _RADIUS_PX, x + _RADIUS_PX + 1)
            patch = rest[max(rows.start, 0) : rows.stop, max(columns.start, 0) : columns.stop]
            if patch.shape == ring.shape:
                sums += np.bincount(ring.ravel(), patch.ravel())[: _RADIUS_PX + 1]
                squares += np.bincount(ring.ravel(), np.square(patch).ravel())[: _RADIUS_PX + 1]
                cells += 1
    curves: _Curves = {
        "grey": (QUANTILES, np.mean(grey, 0)),
        "contrast": (QUANTILES, np.mean(contrast, 0)),
        "spectrum": (np.arange(33) / 64, np.mean(spectra, 0)),
    }
    if cells:
        mean = sums / (cells * in_ring)
        spread = np.sqrt(np.maximum(squares / (cells * in_ring) - mean**2, 0))
        distances = np.arange(_RADIUS_PX + 1)
        curves |= {"profile": (distances, mean), "profile_sd": (distances, spread)}
    return curves


def _of_points(points: pd.DataFrame, shape: tuple[int, int]) -> _Curves:
    from scipy.spatial import cKDTree

    by_frame = {
        int(part["frame"].iloc[0]): part[["id", "x", "y"]].to_numpy(float) for _, part in points.groupby("frame")
    }
    curves: _Curves = {}
    recovered, spread = [], []
    for interval, gate in zip(INTERVALS, GATES_PX, strict=True):
        moved, links, right = [np.zeros(0)], 0, 0
        for k, now in by_frame.items():
            then = by_frame.get(k + interval)
            if then is None:
                continue
            _, i, j = np.intersect1d(now[:, 0], then[:, 0], return_indices=True)
            moved.append(np.hypot(*(now[i, 1:] - then[j, 1:]).T))
            links += len(i)
            right += _assigned(now, then, gate)
        distances = np.concatenate(moved)
        quantiles = np.quantile(distances, QUANTILES) if len(distances) else np.full(len(QUANTILES), np.nan)
        curves[f"displacement_{interval}"] = (QUANTILES, quantiles)
        spread.append(np.sqrt(np.square(distances).mean()) if len(distances) else np.nan)
        recovered.append(right / links if links else np.nan)
    crowds = [cells[:, 1:] for cells in by_frame.values() if len(cells) > 1]
    gaps = np.concatenate([np.zeros(0), *(cKDTree(xy).query(xy, 2)[0][:, 1] for xy in crowds)])
    born = points.groupby("id").agg(frame=("frame", "min"), parent=("parent", "first"))
    born = born[(born["parent"] >= 0) & (born["frame"] > points["frame"].min())]
    n_frames = max(len(by_frame), 1)
    return curves | {
        "displacement": (INTERVALS, spread),
        "nearest_neighbour": (QUANTILES, np.quantile(gaps, QUANTILES) if len(gaps) else QUANTILES * np.nan),
        "density": ([0], [len(points) / n_frames / (shape[0] * shape[1]) * 1e5]),
        "division_rate": ([0], [1e3 * born["parent"].nunique() / len(points) if len(points) else np.nan]),
        "assignment": (INTERVALS, recovered),
    }


def _assigned(now: np.ndarray, then: np.ndarray, gate_px: float) -> int:
    """Same-cell links that plain assignment recovers between two frames, rows id, x, y."""
    i, j, _ = assign(now[:, 1:], then[:, 1:], gate_px)
    return int((now[i, 0] == then[j, 0]).sum())


def _spectrum(rest: np.ndarray) -> np.ndarray:
    """Mean power per ring of spatial frequency, per pixel; the Hann window taken out."""
    h, w = rest.shape
    window = np.hanning(h)[:, None] * np.hanning(w)
    power = np.abs(np.fft.rfft2(rest * window)) ** 2 / np.square(window).sum()
    ring = np.rint(64 * np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w))).astype(int)
    return (np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()))[:33]
