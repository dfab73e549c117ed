"""Figures of tracks: strips of frames, trajectories in space and time, and links recovered by difficulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting import sentence, style, subplots
from .drawing import CELL, COLOUR, DASHED, TRACK_COLOURS, Array, show

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TAIL = 6  # frames


def strips(images: Sequence[Array], rows: Mapping[str, pd.DataFrame], frames: Sequence[int], title: str = "") -> Figure:
    """Figs. 6, 7 and 10: frames in columns, in each row the tracks of one method, one colour for each track.

    Args:
        images: One for each frame and row, row by row; or one for each frame, used in all rows.
        rows: Tracks (frame, id, x, y, parent) by name.
        frames: Their numbers.
        title: Above all.
    """
    if not rows or not frames:
        return sentence("None of these methods is in this run.")
    with style():
        height = 7.2 / len(frames) * len(rows) + (0.45 if title else 0.2)
        figure, axes = subplots(len(rows), len(frames), figsize=(7.6, min(height, 12)), squeeze=False)
        own = len(images) >= len(rows) * len(frames)
        for i, (name, tracks) in enumerate(rows.items()):
            colours = track_colours(tracks)
            for k, t in enumerate(frames):
                axis = axes[i, k]
                show(axis, images[i * len(frames) + k] if own else images[k], "" if i else f"frame {t}")
                _tails(axis, tracks, t, colours)
            axes[i, 0].set_ylabel(name, fontsize=9)
        if title:
            figure.suptitle(title, fontsize=9.5)
    return figure


def track_colours(tracks: pd.DataFrame) -> dict[int, str]:
    """One colour for each track, those that begin one after the other being different."""
    ids = list(dict.fromkeys(tracks.sort_values(["frame", "id"])["id"]))
    return {int(one): TRACK_COLOURS[k % len(TRACK_COLOURS)] for k, one in enumerate(ids)}


def _tails(axis: Axes, tracks: pd.DataFrame, t: int, colours: Mapping[int, str]) -> None:
    """The tracks that are there in frame t, with the way of the last frames; a daughter's begins at her mother."""
    recent = tracks[(tracks["frame"] <= t) & (tracks["frame"] > t - TAIL)]
    last = {int(str(one)): part.iloc[-1] for one, part in tracks[tracks["frame"] <= t].groupby("id")}
    for one, part in recent.groupby("id"):
        part = part.sort_values("frame")
        if part["frame"].iloc[-1] != t:
            continue
        colour, xy = colours[int(str(one))], part[["x", "y"]].to_numpy(float)
        mother = last.get(int(part["parent"].iloc[0])) if "parent" in part else None
        born = tracks.loc[tracks["id"] == one, "frame"].min() > t - TAIL
        if mother is not None and born:
            xy = np.concatenate([[[mother["x"], mother["y"]]], xy])
        axis.plot(*xy.T, "-", color=colour, linewidth=1.6)
        axis.plot(*xy[-1], "o", color=colour, markersize=5, markeredgecolor="black", markeredgewidth=0.6)


def trajectories(
    image: Array,
    tracks: pd.DataFrame,
    images: Sequence[Array] = (),
    frames: Sequence[int] = (),
    rows: Mapping[str, pd.DataFrame] | None = None,
    box: tuple[int, int, int, int] | None = None,
) -> Figure:
    """Fig. 11: trajectories in x, y and time, on the last frame, and an enlarged square over time.

    Args:
        image: The last frame.
        tracks: Of all frames.
        images: Squares of `frames`; none leaves the third part out.
        frames: Their numbers.
        rows: Tracks in the square's pixels, one entry.
        box: The square: top, bottom, left, right.
    """
    if not len(tracks):
        return sentence("No tracks were found.")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    with style():
        figure = plt.figure(figsize=(7.6, 5.4 if len(images) else 3.6))
        parts: Any = figure.subfigures(2, 1, height_ratios=[3.5, 1.75]) if len(images) else [figure]
        space: Any = parts[0].add_subplot(1, 2, 1, projection="3d")
        flat = parts[0].add_subplot(1, 2, 2)
        show(flat, image, f"(b) all tracks, on frame {int(tracks['frame'].max())}")
        colours = track_colours(tracks)
        for one, part in tracks.sort_values("frame").groupby("id"):
            colour = colours[int(str(one))]
            space.plot(part["x"], part["y"], part["frame"], color=colour, linewidth=1.4)
            flat.plot(part["x"], part["y"], color=colour, linewidth=1.4)
            if part["frame"].iloc[-1] == tracks["frame"].max():
                flat.plot(part["x"].iloc[-1], part["y"].iloc[-1], "o", color=colour, markersize=3)
        space.set(xlabel="x (px)", ylabel="y (px)", zlabel="frame")
        space.set_title(f"(a) {tracks['id'].nunique()} trajectories, time upwards", fontsize=8.5)
        space.invert_yaxis()
        space.set_box_aspect(None, zoom=0.82)
        if box is not None:
            top, bottom, left, right = box
            flat.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=CELL))
        if len(images) and rows:
            axes = parts[1].subplots(1, len(images), squeeze=False)[0]
            enlarged = next(iter(rows.values()))
            for axis, square, t in zip(axes, images, frames, strict=True):
                show(axis, square, f"frame {t}")
                _tails(axis, enlarged, t, colours)
            axes[0].set_ylabel("(c) red square", fontsize=8.5)
    return figure


def gain_by_difficulty(table: pd.DataFrame) -> Figure:
    """Links recovered against displacement over the nearest neighbour's distance, a row of plots for each interval.

    Args:
        table: Of `evaluation.by_difficulty`, one interval or several together.
    """
    table = table[(table["n"] > 0)]
    intervals = sorted(table.loc[~table["daughters"].astype(bool), "interval"].unique())
    if not intervals:
        return sentence("No true links to compare in this run.")
    with style():
        shape = {"figsize": (7.8, 0.8 + 3.2 * len(intervals)), "width_ratios": [3, 1.3], "sharey": True}
        figure, axes = subplots(len(intervals), 2, squeeze=False, **shape)
        for (axis, side), interval in zip(axes, intervals, strict=True):
            part = table[table["interval"] == interval]
            divided = part["daughters"].astype(bool)
            _by_displacement(axis, part[~divided])
            _of_divisions(side, part[divided], list(dict.fromkeys(part["method"])))
            when = "every frame" if interval == 1 else f"every {interval}. frame"
            axis.set_title(when, fontsize=8.5)
        axes[-1, 0].set_xlabel("displacement / distance of the nearest neighbour")
        handles = {label: handle for handle, label in zip(*axes[0, 0].get_legend_handles_labels(), strict=True)}
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def _by_displacement(axis: Axes, moved: pd.DataFrame) -> None:
    edges = moved[["low_edge", "high_edge"]].drop_duplicates().sort_values("low_edge").to_numpy()
    place = {float(low): k for k, (low, _) in enumerate(edges)}
    methods = list(dict.fromkeys(moved["method"]))
    for k, name in enumerate(methods):
        part = moved[moved["method"] == name].sort_values("low_edge")
        # A little apart, so that equal values can be seen.
        x = part["low_edge"].map(place) + 0.3 * (k / max(len(methods) - 1, 1) - 0.5)
        line, colour = "--" if name in DASHED else "-", COLOUR.get(name, "#7F7F7F")
        axis.errorbar(
            x, part["recovered"], yerr=_reach(part), fmt=line, marker="o", color=colour, markersize=4, label=name,
            elinewidth=0.8,
        )  # fmt: skip
    counts, end = moved.groupby("low_edge")["n"].max(), moved["high_edge"].max()
    labels = [(f"over {a:g}" if b == end and a > 0 else f"{a:g} to {b:g}") + f"\n{counts[a]} links" for a, b in edges]
    axis.set_xticks(range(len(edges)), labels, fontsize=8)
    axis.set_ylabel("true links recovered")
    axis.set_ylim(0, 1.05)
    axis.set_xlim(-0.5, len(edges) - 0.5)


def _of_divisions(axis: Axes, divided: pd.DataFrame, methods: list[str]) -> None:
    n = int(divided["n"].max()) if len(divided) else 0
    axis.set_title(f"mother to daughter: {n} links", fontsize=8.5)
    axis.grid(False, axis="x")
    if not n:
        axis.set_xticks([])
        axis.text(0.5, 0.5, "no division\nin this data", ha="center", va="center", transform=axis.transAxes)
        return
    part = divided.set_index("method").loc[methods]
    axis.bar(range(len(methods)), part["recovered"], color=[COLOUR.get(m, "#7F7F7F") for m in methods])
    axis.errorbar(range(len(methods)), part["recovered"], yerr=_reach(part), fmt="none", color="black", elinewidth=0.8)
    axis.set_xticks(range(len(methods)), methods, rotation=90, fontsize=8)


def _reach(part: pd.DataFrame) -> Array:
    """Interval below and above each share, `(2, n)`; none where there is none."""
    value = part["recovered"].to_numpy(float)
    reach = np.stack([value - part["low"].to_numpy(float), part["high"].to_numpy(float) - value])
    return np.nan_to_num(reach).clip(0)
