"""From window probabilities to what a reader sees: boxes, heat maps, confidence groups (Figs. 11 and 12)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd


def boxes(probability_map: np.ndarray, threshold: float = 0.9, size: int = 32, stride: int = 4) -> pd.DataFrame:
    """Every window whose probability exceeds the threshold (Wang et al., Sec. 3.4: the red boxes of Fig. 11).

    Args:
        probability_map: `(ny, nx)` probabilities of `sliding_probability`.
        threshold: A window at exactly this probability is no box.
        size: Side of a window in px.
        stride: Step between windows in px.

    Returns:
        Columns x, y (upper left corner, px), size (px), probability; the most probable first, ties as read.
    """
    probabilities = _as_map(probability_map)
    i, j = np.nonzero(probabilities > threshold)
    found = pd.DataFrame({"x": stride * j, "y": stride * i, "size": size, "probability": probabilities[i, j]})
    return found.sort_values("probability", ascending=False, kind="stable", ignore_index=True)


def non_maximum_suppression(boxes: pd.DataFrame, iou: float = 0.3) -> pd.DataFrame:
    """The boxes left when each, from the most probable down, removes those that overlap it too much.

    Not in the paper, whose Fig. 11 shows every window over the threshold.

    Args:
        boxes: Columns x, y, size (px) and probability, as `boxes` makes them.
        iou: Boxes whose intersection over union with a kept one exceeds this are dropped.

    Returns:
        The kept rows, the most probable first.
    """
    missing = sorted({"x", "y", "size", "probability"} - set(boxes.columns))
    if missing:
        raise ValueError(f"boxes: expected columns x, y, size, probability; missing: {', '.join(missing)}")
    ranked = boxes.sort_values("probability", ascending=False, kind="stable", ignore_index=True)
    low = ranked[["x", "y"]].to_numpy(dtype=np.float64)
    side = ranked["size"].to_numpy(dtype=np.float64)
    high = low + side[:, None]
    kept, rest = [], np.arange(len(ranked))
    while len(rest):
        best, rest = rest[0], rest[1:]
        kept.append(best)
        common = np.minimum(high[rest], high[best]) - np.maximum(low[rest], low[best])
        intersection = common.clip(0).prod(axis=1)
        rest = rest[intersection / (side[rest] ** 2 + side[best] ** 2 - intersection) <= iou]
    return ranked.iloc[kept].reset_index(drop=True)


def heatmap(
    probability_map: np.ndarray,
    image_shape: Sequence[int],
    size: int = 32,
    stride: int = 4,
    reduce: Literal["mean", "max"] = "mean",
) -> np.ndarray:
    """Every pixel's mean (or highest) probability over the windows that cover it, to lay over the image.

    Args:
        probability_map: `(ny, nx)` probabilities of `sliding_probability`.
        image_shape: `(H, W)` of the image in px.
        size: Side of a window in px.
        stride: Step between windows in px.
        reduce: "mean" or "max".

    Returns:
        `(H, W)` float32, NaN where no window comes.

    Raises:
        ValueError: If the windows do not fit into the image, or `reduce` is neither.
    """
    probabilities = _as_map(probability_map)
    if reduce not in ("mean", "max"):
        raise ValueError(f'reduce: expected "mean" or "max", got {reduce!r}')
    need_y, need_x = (stride * (count - 1) + size for count in probabilities.shape)
    if len(image_shape) != 2 or need_y > image_shape[0] or need_x > image_shape[1]:
        raise ValueError(
            f"image_shape: {probabilities.shape} windows of {size} px at stride {stride} need (H, W) of at "
            f"least ({need_y}, {need_x}), got {tuple(image_shape)}"
        )
    windows = np.zeros(tuple(image_shape))
    heat = np.full(windows.shape, 0.0 if reduce == "mean" else -np.inf)
    combine = np.add if reduce == "mean" else np.maximum
    for (i, j), probability in np.ndenumerate(probabilities):
        at = np.s_[stride * i : stride * i + size, stride * j : stride * j + size]
        windows[at] += 1
        heat[at] = combine(heat[at], probability)
    if reduce == "mean":
        np.divide(heat, windows, out=heat, where=windows > 0)
    return np.where(windows > 0, heat, np.nan).astype(np.float32)


def _as_map(probability_map: np.ndarray) -> np.ndarray:
    probabilities = np.asarray(probability_map, dtype=np.float64)
    if probabilities.ndim != 2 or not probabilities.size:
        raise ValueError(f"probability_map: expected (ny, nx), not empty, got shape {probabilities.shape}")
    return probabilities


def confidence_groups(
    image_probabilities: np.ndarray, high: float = 0.9, moderate: float = 0.8
) -> dict[str, np.ndarray]:
    """Which images the paper's Fig. 12 calls rosettes of high and of moderate confidence.

    Source: Wang et al., Sec. 3.5: "a probability value larger than 0.9" and "between 0.80 and 0.9".

    Args:
        image_probabilities: `(N,)`, one per image; an image's NaN puts it into no group.
        high: Above it is "high".
        moderate: Above it, up to `high`, is "moderate".

    Returns:
        Indices "high" and "moderate", the most probable first, ties in order.

    Raises:
        ValueError: If the probabilities are not one per image, or the limits not in order.
    """
    probabilities = np.asarray(image_probabilities, dtype=np.float64)
    if probabilities.ndim != 1:
        raise ValueError(f"image_probabilities: expected (N,), got shape {probabilities.shape}")
    if not moderate < high:
        raise ValueError(f"moderate: expected less than high = {high}, got {moderate}")
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    return {"high": order[ranked > high], "moderate": order[(ranked > moderate) & (ranked <= high)]}
