"""From window probabilities to what a reader sees: boxes, heat maps, confidence groups (Figs. 11 and 12)."""

from __future__ import annotations

from collections.abc import Sequence

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


def centre_map(probability_map: np.ndarray, image_shape: Sequence[int], size: int = 32, stride: int = 4) -> np.ndarray:
    """Every window's probability drawn at the window's centre, one stride wide, to lay over the image (Fig. 11).

    Deviation: the rosettes paper does not say how its Fig. 11 lays the windows' probabilities over the image. Here each
    stands at its window's centre; averaged over the up to 64 windows that cover a pixel, no peak would reach the
    probability that its box has.

    Args:
        probability_map: `(ny, nx)` probabilities of `sliding_probability`.
        image_shape: `(H, W)` of the image in px.
        size: Side of a window in px.
        stride: Step between windows in px, at most `size`.

    Returns:
        `(H, W)` float32, NaN in the border where no window has its centre.

    Raises:
        ValueError: If the windows do not fit into the image.
    """
    probabilities = _as_map(probability_map)
    need_y, need_x = (stride * (count - 1) + size for count in probabilities.shape)
    if len(image_shape) != 2 or need_y > image_shape[0] or need_x > image_shape[1]:
        raise ValueError(
            f"image_shape: {probabilities.shape} windows of {size} px at stride {stride} need (H, W) of at "
            f"least ({need_y}, {need_x}), got {tuple(image_shape)}"
        )
    heat = np.full(tuple(image_shape), np.nan, np.float32)
    first, (ny, nx) = (size - stride) // 2, probabilities.shape
    cells = probabilities.repeat(stride, 0).repeat(stride, 1)
    heat[first : first + stride * ny, first : first + stride * nx] = cells
    return heat


def at_rosettes(
    probability_maps: Sequence[np.ndarray], centres: Sequence[np.ndarray], size: int = 32, stride: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each image's most probable window holds a rosette's centre, and how many of its windows do.

    Args:
        probability_maps: `(ny, nx)` probabilities of each image.
        centres: `(k, 2)` x, y of each image's rosettes, px.
        size: Side of a window in px.
        stride: Step between windows in px.

    Returns:
        `(N,)` bool, and `(N,)` the share of windows that hold one: what a window taken at random would reach.
    """
    hit, chance = np.zeros(len(probability_maps), bool), np.zeros(len(probability_maps))
    for k, (each, places) in enumerate(zip(probability_maps, centres, strict=True)):
        probabilities = _as_map(each)
        y, x = (stride * np.arange(count)[:, None] for count in probabilities.shape)
        at_x, at_y = np.asarray(places, float).reshape(-1, 2).T
        holds_y = (at_y >= y) & (at_y < y + size)  # (ny, k)
        holds_x = (at_x >= x) & (at_x < x + size)  # (nx, k)
        holds = (holds_y[:, None] & holds_x[None]).any(-1)
        hit[k], chance[k] = holds.flat[int(probabilities.argmax())], holds.mean()
    return hit, chance


def strongest(scores: np.ndarray, groups: Sequence[str], n: int) -> np.ndarray:
    """Positions of the n highest scores, one of each group first: images of one embryo are near-copies.

    >>> strongest(np.array([0.9, 0.8, 0.7, 0.6]), ["a", "a", "b", "a"], 3).tolist()
    [0, 2, 1]
    """
    frame = pd.DataFrame({"score": np.asarray(scores, float), "group": list(groups)})
    frame = frame.sort_values("score", ascending=False, kind="stable")
    frame["turn"] = frame.groupby("group").cumcount()
    return frame.sort_values("turn", kind="stable").index.to_numpy()[:n]


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
