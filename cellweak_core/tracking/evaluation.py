"""Scores of a comparison: copies pooled over offsets, seeds and splits, intervals over lineages.

    every 5th frame: offsets 0 .. 4 are five films of the same cells     seeds: the same film tracked again
    pooled: one long film of films; resampled: a lineage with all of its copies
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..uncertainty import group_weights, percentile_interval
from .compared import compare_tracks
from .comparison import Found
from .intervals import bootstrap_scores, paired_differences
from .scores import detection_scores, link_scores, ratio, tracking_scores

LINK_GATE_PX, DETECTION_GATE_PX = 20.0, 10.0


@dataclass(frozen=True)
class Film:
    """Truth and tracks of some frames, as a copy to be pooled.

    Attributes:
        truth: With id and parent, all frames.
        tracks: Of the frames in `frames`.
        frames: Numbers of the frames that were tracked and are annotated, increasing.
        cells: Name of the sequence; its lineages are one group in all its films.
        step: Between consecutive frames; two that are farther apart have a frame between them that nobody annotated,
            and no link. 0: neighbours are consecutive whatever their numbers.
    """

    truth: pd.DataFrame
    tracks: pd.DataFrame
    frames: Sequence[int]
    cells: str
    step: int = 0


def pooled(films: Iterable[Film]) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, str]]:
    """One table of truth and one of tracks for all films, and the lineage of each cell in it.

    Frames are numbered anew, with a gap between films that no link spans; ids are made unique. A mother who is in none
    of a film's frames is no parent there.
    """
    truths, tracks, groups = list[pd.DataFrame](), list[pd.DataFrame](), dict[int, str]()
    first_frame = 0
    # Of cells and of tracks apart: so the cells have the same ids whatever the tracks are.
    first_ids = {"truth": 1, "tracks": 1}
    for film in films:
        order = range(len(film.frames)) if not film.step else [(t - film.frames[0]) // film.step for t in film.frames]
        place = {frame: first_frame + k for k, frame in zip(order, film.frames, strict=True)}
        family = lineage_of(film.truth)
        for what, table, out in (("truth", film.truth, truths), ("tracks", film.tracks, tracks)):
            part = table[table["frame"].isin(place)]
            new = {old: first_ids[what] + k for k, old in enumerate(pd.unique(part["id"]))}
            columns = {
                "frame": part["frame"].map(place),
                "id": part["id"].map(new),
                "parent": part["parent"].map(new).fillna(-1).astype(int),
            }
            out.append(part.assign(**columns)[["frame", "id", "x", "y", "parent"]])
            if what == "truth":
                groups |= {new[old]: f"{film.cells}: {family[old]}" for old in new}
            first_ids[what] += len(new)
        first_frame += (order[-1] + 1 if len(order) else 0) + 2
    types = {"frame": int, "id": int, "parent": int}
    return pd.concat(truths).astype(types), pd.concat(tracks).astype(types), groups


def lineage_of(truth: pd.DataFrame) -> dict[int, int]:
    """The first ancestor of every cell that the table has."""
    parents = {int(i): int(p) for i, p in zip(truth["id"], truth["parent"], strict=True) if p >= 0}
    out = {}
    for cell in pd.unique(truth["id"]):
        ancestor, seen = int(cell), set[int]()
        while ancestor in parents and ancestor not in seen:
            seen.add(ancestor)
            ancestor = parents[ancestor]
        out[int(cell)] = ancestor
    return out


def films(found: Found, method: str, test: str, seed: int, interval: int) -> list[Film]:
    """A method's films of one test, one for each offset."""
    truth = found.split.tests[test].points
    assert truth is not None
    n, known = len(found.split.tests[test].source), set(found.split.tests[test].annotated)
    tables = found.tracks[method, test, seed, interval]
    cells = f"{found.split.name}, {test}"
    return [
        Film(truth, table, [t for t in range(offset, n, interval) if t in known], cells, interval)
        for offset, table in enumerate(tables)
    ]


def scores(
    parts: Sequence[tuple[Found, str]], method: str, seeds: Sequence[int], interval: int, n_resamples: int, seed: int
) -> pd.DataFrame:
    """Tracking scores of a method over tests, seeds and offsets together, with intervals.

    Args:
        parts: What was found, and the test.
        method: Of `comparison.ALL_METHODS`.
        seeds: Of the trainings.
        interval: Frames between tracked ones.
        n_resamples: Bootstrap resamples.
        seed: Of the draws.

    Returns:
        As `intervals.bootstrap_scores`, and the columns n_seeds and sd_seeds (standard deviation of aa and te_micro
        over the seeds, NaN otherwise).
    """
    copies = [film for found, test in parts for s in seeds for film in films(found, method, test, s, interval)]
    truth, tracks, groups = pooled(copies)
    shape = parts[0][0].split.tests[parts[0][1]].source.shape
    table = bootstrap_scores(truth, tracks, n_resamples, seed, LINK_GATE_PX, image_shape=shape, groups=groups)
    per_seed = []
    for s in seeds:
        one = pooled([film for found, test in parts for film in films(found, method, test, s, interval)])
        per_seed.append(tracking_scores(*one[:2], LINK_GATE_PX, image_shape=shape))
    spread = {m: float(np.std([x[m] for x in per_seed], ddof=1)) if len(seeds) > 1 else np.nan for m in table["metric"]}
    return table.assign(n_seeds=len(seeds), sd_seeds=table["metric"].map(spread))


def differences(
    parts: Sequence[tuple[Found, str]],
    method: str,
    over: str,
    seeds: Sequence[int],
    interval: int,
    n_resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Scores of one method minus those of another over tests, seeds and offsets together, on the same cells.

    Returns:
        As `intervals.paired_differences`.
    """
    places = [(found, test, s) for found, test in parts for s in seeds]
    (truth, tracks, groups), (_, other, _) = (
        pooled([film for found, test, s in places for film in films(found, name, test, s, interval)])
        for name in (method, over)
    )
    return paired_differences(truth, tracks, other, n_resamples, seed, LINK_GATE_PX, groups=groups)


def detections(
    parts: Sequence[tuple[Found, str]], network: str, seeds: Sequence[int], interval: int, n_resamples: int, seed: int
) -> dict[str, float]:
    """Detection precision, recall and F1 over the frames that the network sees as the later one, pooled.

    Returns:
        `precision`, `recall`, `f1`, `low`, `high` (95 % of f1, resampled frames), `n` (true cells that count).
    """
    counts, groups = [], []
    for found, test in parts:
        data = found.split.tests[test]
        assert data.points is not None
        for s in seeds:
            table = found.detections[network, test, s, interval]
            # The same frames for every network and interval: those that the longest interval reaches.
            longest = max(d for name, t, _, d in found.detections if t == test)
            for t in (t for t in data.annotated if t >= longest):
                at = data.points["frame"] == t
                seen = table[table["frame"] == t]
                one = detection_scores(data.points[at], seen, DETECTION_GATE_PX, data.source.shape)
                counts.append([one["tp"], one["fp"], one["fn"]])
                groups.append(f"{found.split.name} {test} {t}")
    return counted(np.array(counts, float), groups, n_resamples, seed)


def associations(
    parts: Sequence[tuple[Found, str]], seeds: Sequence[int], interval: int, n_resamples: int, seed: int
) -> dict[str, float]:
    """Precision, recall and F1 of propagation's links (Table 3), pooled as `detections`."""
    counts, groups = [], []
    for found, test in parts:
        data = found.split.tests[test]
        assert data.points is not None
        for s in seeds:
            association = found.associations[test, s, interval]
            for t in (t for t in data.annotated if t + interval in data.annotated):
                of = {n: association[n][association[n][:, 0] == t, 1:] for n in ("earlier", "later", "links")}
                links = pd.DataFrame(of["links"], columns=["from_index", "to_index", "score", "state"])
                links = links.assign(frame_from=t, frame_to=t + interval)
                ends = ({t: of["earlier"]}, {t + interval: of["later"]})
                one = link_scores(data.points, *ends, links, interval, LINK_GATE_PX, data.source.shape)
                counts.append([one["tp"], one["fp"], one["fn"]])
                groups.append(f"{found.split.name} {test} {t}")
    return counted(np.array(counts, float), groups, n_resamples, seed)


def counted(counts: NDArray[np.float64], groups: Sequence[str], n_resamples: int, seed: int) -> dict[str, float]:
    """Precision, recall and F1 of counts (tp, fp, fn) `(n, 3)`, with 95 % intervals over groups of rows, or NaN."""
    if not len(groups):  # no frame that is annotated
        nothing = {f"{name}{end}": np.nan for name in ("precision", "recall", "f1") for end in ("", "_low", "_high")}
        return {"n": 0.0, "n_groups": 0.0, **nothing}
    tp, fp, fn = counts.sum(0)
    weights = group_weights(groups, n_resamples, seed) @ counts
    out = {"n": float(tp + fn), "n_groups": float(len(set(groups)))}
    for name, part, whole in (
        ("precision", weights[:, 0], weights[:, 0] + weights[:, 1]),
        ("recall", weights[:, 0], weights[:, 0] + weights[:, 2]),
        ("f1", 2 * weights[:, 0], 2 * weights[:, 0] + weights[:, 1] + weights[:, 2]),
    ):
        value = {"precision": (tp, tp + fp), "recall": (tp, tp + fn), "f1": (2 * tp, 2 * tp + fp + fn)}[name]
        out[name] = float(ratio(*value))
        out[f"{name}_low"], out[f"{name}_high"] = percentile_interval(ratio(part, whole))
    return out


def by_difficulty(
    parts: Sequence[tuple[Found, str]],
    methods: Sequence[str],
    seeds: Sequence[int],
    interval: int,
    edges: Sequence[float],
    n_resamples: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of true links recovered against how hard they are: displacement over the nearest neighbour's distance.

    Args:
        parts: What was found, and the test.
        methods: To compare.
        seeds: Of the trainings.
        interval: Frames between tracked ones.
        edges: Of the bins of the quotient.
        n_resamples: Bootstrap resamples of the lineages.
        seed: Of the draws.

    Returns:
        Columns method, interval, low_edge, high_edge, recovered (share), low, high (95 %), n (links of all seeds and
        offsets), n_groups (lineages), and daughters (links from a mother: a bin of their own with NaN edges).
    """
    rows = []
    for method in methods:
        truth, tracks, groups = pooled(
            [film for found, test in parts for s in seeds for film in films(found, method, test, s, interval)]
        )
        links = link_difficulty(truth, tracks)
        family = links["id"].map(groups).to_numpy(str)
        difficulty, divided = links["difficulty"].to_numpy(), links["divided"].to_numpy()
        bins = [(low, high, ~divided & (difficulty >= low) & (difficulty < high)) for low, high in pairwise(edges)]
        for low, high, at in [*bins, (np.nan, np.nan, divided)]:
            hits, names = links["recovered"].to_numpy(float)[at], family[at]
            one: dict[str, Any] = {"method": method, "interval": interval, "low_edge": low, "high_edge": high}
            one |= {"recovered": np.nan, "low": np.nan, "high": np.nan}
            if len(hits):
                weights = group_weights(names, n_resamples, seed)
                one["low"], one["high"] = percentile_interval(ratio(weights @ hits, weights.sum(1)))
                one["recovered"] = float(hits.mean())
            rows.append(one | {"n": len(hits), "n_groups": len(set(names)), "daughters": bool(np.isnan(low))})
    return pd.DataFrame(rows)


def link_difficulty(truth: pd.DataFrame, tracks: pd.DataFrame) -> pd.DataFrame:
    """How hard each true link is, and whether it was recovered.

    Returns:
        Columns id (the later cell's), difficulty (displacement over the nearest neighbour's distance), divided (from
        mother to daughter), recovered. The neighbour is the one nearest to the cell in the earlier frame; alone there,
        the quotient is 0.
    """
    from scipy.spatial import cKDTree

    found = compare_tracks(truth, tracks, LINK_GATE_PX, None, 10.0, 1, False)
    true = found.truth
    later = np.flatnonzero(true.previous >= 0)
    before = true.previous[later]
    nearest = np.full(len(true.frame), np.inf)
    for frame in np.unique(true.frame):
        at = np.flatnonzero(true.frame == frame)
        if len(at) > 1:
            nearest[at] = cKDTree(true.xy[at]).query(true.xy[at], 2)[0][:, 1]
    moved = np.linalg.norm(true.xy[later] - true.xy[before], axis=1)
    columns = {"difficulty": moved / np.maximum(nearest[before], 1e-9), "divided": true.divided[later]}
    return pd.DataFrame({"id": true.ids[true.cell[later]], **columns, "recovered": found.recovered[later]})
