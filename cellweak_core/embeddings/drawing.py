"""What the wing's pictures share: crops as colour images, a look for every name, a sentence instead of a figure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..composites import Array, Order, channel_limits, composite  # noqa: F401 - for the wing's other files
from ..plotting import COLOURS, bare, mosaic, require  # noqa: F401 - the last two too

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTROL = "#B9B9B9"  # controls in every figure
INK, FAINT = "#333333", "#777777"
UNKNOWN, OTHERS = "not known", "others"  # drawn as grey crosses
MARKERS = "os^DvP"
MOST = 24  # names that can be told apart; len(COLOURS) and len(MARKERS) meet again after as many


class Look(NamedTuple):
    """How a name is drawn."""

    colour: str
    marker: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A colour and a marker for each name; no two share both, and neighbours in the list share neither.

    Args:
        names: Different ones, in the order of the legend. Those after the `MOST`-th share one grey look.
    """
    found = {name: Look(COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]) for k, name in enumerate(names[:MOST])}
    found |= dict.fromkeys(names[MOST:], Look("#444444", "x"))
    grey = {UNKNOWN: Look("#8C8C8C", "x"), OTHERS: Look("#444444", "x")}
    return {name: grey.get(name, look) for name, look in found.items()}


def as_people_sort(name: object) -> list[tuple[bool, int, str]]:
    """Key for `sorted`: week 2 before week 10, and capitals beside small letters."""
    parts = re.split(r"([0-9]+)", str(name).lower())
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def named(labels: Sequence[object], control: ArrayLike) -> tuple[list[str], Array]:
    """Names for a legend.

    Args:
        labels: `(n,)` mechanisms or genes; None or NaN where not known.
        control: `(n,)` bool; these have no name.

    Returns:
        The names of the others, at most `MOST` and sorted as people do, `UNKNOWN` last; and `(n,)` the name of each
        row: rare ones are `OTHERS` where there are more names, "" for controls.
    """
    import pandas as pd

    controls = np.asarray(control, bool)
    unknown = pd.isna(np.asarray(labels, object))
    texts: Array = np.array([UNKNOWN if no else str(one) for one, no in zip(labels, unknown, strict=True)], object)
    texts[controls] = ""
    counts = pd.Series(texts[~controls], dtype=object).value_counts()
    kept = list(counts.index)
    if len(kept) > MOST:
        kept = kept[: MOST - 1]
        texts[~np.isin(texts.astype(str), ["", *kept])] = OTHERS
        kept.append(OTHERS)
    last = (UNKNOWN, OTHERS)
    return sorted(kept, key=lambda name: (name in last, as_people_sort(name))), texts


def show(axis: Axes, image: Array, title: str = "", **look: Any) -> None:  # noqa: ANN401 - imshow's
    """An image without ticks."""
    axis.imshow(image, **look)
    axis.set_title(title, fontsize=9)
    bare(axis)


def arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, line: str = "-") -> None:
    """Between two places of an axis, in its data's units."""
    look = {"arrowstyle": "-|>,head_width=0.22,head_length=0.4", "color": colour, "linestyle": line, "linewidth": 1.2}
    axis.annotate("", xy=end, xytext=start, arrowprops={**look, "shrinkA": 0, "shrinkB": 0})


def key(colours: Mapping[str, Look], size: float = 6.0) -> list[Any]:
    """Handles of a legend."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], linestyle="", marker=one.marker, color=one.colour, markersize=size, label=name)
        for name, one in colours.items()
    ]
