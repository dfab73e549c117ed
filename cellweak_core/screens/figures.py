"""What the wings on screens draw of treatments alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..plotting import sentence, style, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(panels: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """True against predicted mechanisms, in counts of treatments; the diagonal is right.

    Args:
        panels: By title ("NSC", "NSCB"): `(n,)` true and `(n,)` predicted mechanisms, None where a treatment was not
            asked.

    Raises:
        ValueError: No panel; arrays of different lengths.
    """
    if not panels:
        raise ValueError("panels: expected one or more pairs of true and predicted mechanisms, got none")
    pairs: dict[str, list[tuple[str, str]]] = {}
    for title, (true, predicted) in panels.items():
        both = np.asarray(true, object), np.asarray(predicted, object)
        if both[0].shape != both[1].shape or both[0].ndim != 1:
            raise ValueError(
                f"{title}: expected (n,) true and (n,) predicted, got {both[0].shape} and {both[1].shape}"
            )  # fmt: skip
        pairs[title] = [(str(a), str(b)) for a, b in zip(*both, strict=True) if isinstance(b, str)]
    names = sorted({name for found in pairs.values() for pair in found for name in pair}, key=str.lower)
    if not names:
        return sentence("No treatment was asked for its mechanism.")
    with style():
        n, side = len(panels), len(names)
        words = 0.065 * max(map(len, names)) + 0.1  # room for names, in
        size = max(1.2, min(0.3 * side, (7.2 - words) / n))
        figure, axes = subplots(1, n, figsize=(n * size + words + 0.6, size + words + 0.75), squeeze=False, sharey=True)
        for axis, (title, found) in zip(axes[0], pairs.items(), strict=True):
            counts = np.zeros((side, side), int)
            for true_name, predicted_name in found:
                counts[names.index(true_name), names.index(predicted_name)] += 1
            right = int(np.trace(counts))
            share = counts / np.maximum(1, counts.sum(1, keepdims=True))
            axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if share[row, column] > 0.6 else "black"
                    axis.text(column, row, str(count), ha="center", va="center", fontsize=7.5, color=colour)
            axis.set_xticks(range(side), names, rotation=90, fontsize=7.5)
            axis.set_yticks(range(side), names, fontsize=7.5)
            axis.grid(False)
            axis.tick_params(length=0)
            axis.set_title(f"{title}: {right} of {len(found)}")
            axis.set_xlabel("mechanism of the nearest", fontsize=9)
        axes[0, 0].set_ylabel("true mechanism", fontsize=9)
    return figure
