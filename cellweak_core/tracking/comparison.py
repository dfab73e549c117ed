"""Every method on one split, from images and positions to tracks.

    positions --> co-detection CNN --propagation--> pseudo-labels --> MPM (ours), MPM without the mask
    true links --> MPM, CMF             positions --> A-Graph, Fogbank, GDA, single-frame detector
    then on every test: detections, propagation, tracks; all of it kept, nothing done twice (`parallel.map_runs`)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..files import CellweakWarning, DataError
from ..parallel import map_runs
from . import trials
from .association import gate_px
from .frames import FrameSource
from .linking import PairLinks, chain, link_frames
from .maps import true_pairs
from .splits import Split
from .tracks import TRACK_COLUMNS, split_frames

OURS, UNMASKED, BF, ASSIGNMENT, LAPTRACK = "Ours", "Ours w/o ml", "BF", "assignment", "laptrack"
SUPERVISED = ("CMF", "MPM")
ALL_METHODS = (*trials.BASELINES, UNMASKED, OURS, *SUPERVISED, BF, ASSIGNMENT, LAPTRACK)
PAIRS_PER_RUN = 4  # of propagation, so that a killed run loses a few minutes at most

Run = dict[str, Any]
Key = tuple[str, str, int, int]  # method, test, seed, interval


@dataclass
class Found:
    """What came out of a split.

    Attributes:
        split: The split.
        tracks: By method, test, seed and interval: one table for each offset of the frames.
        detections: By network ("codetection" or "detector"), test, seed and interval: columns frame, x, y.
        associations: By test, seed and interval: `earlier`, `later`, `links` as `trials.propagate_pairs`.
        pseudo: The same for the training part, by seed and interval, with `pairs` and `ignored`.
        networks: By name and seed: `architecture`, `model.*`, `loss`, `step`.
        silent: Seeds whose propagation is sure of no link in the training part. There is nothing to train MPM on, so
            "Ours" has no network there and its tracks are empty: a failure counts as one.
    """

    split: Split
    tracks: dict[Key, list[pd.DataFrame]] = field(default_factory=dict)
    detections: dict[Key, pd.DataFrame] = field(default_factory=dict)
    associations: dict[tuple[str, int, int], dict[str, NDArray[Any]]] = field(default_factory=dict)
    pseudo: dict[tuple[int, int], dict[str, NDArray[Any]]] = field(default_factory=dict)
    networks: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    silent: list[int] = field(default_factory=list)


@dataclass
class _Work:
    """What the steps of a comparison share."""

    found: Found
    seeds: Sequence[int]
    intervals: Sequence[int]
    peak: Run
    folder: Path
    n_jobs: int
    shared: Run

    def done(self, func: Any, runs: Sequence[Run], desc: str) -> list[dict[str, Any]]:  # noqa: ANN401
        """The results of runs, those that are there already not made again."""
        if not runs:
            return []
        shared = self.needed(runs)
        return map_runs(func, runs, folder=self.folder, shared=shared, n_jobs=self.n_jobs, desc=desc)

    def needed(self, runs: Sequence[Run]) -> Run:
        """What runs read of the shared values: no more, or another method's network would make them run again."""
        names = {f"{run['part']}.images" for run in runs if "part" in run}
        starts = {f"{run[key]}:" for run in runs for key in ("network", "tuned") if key in run}
        if any("part" not in run for run in runs):  # trainings and tunings
            names |= {"train.images", "train.frames"}
            starts |= {"points.", "pairs.", "ignored."}
        return {k: v for k, v in self.shared.items() if k in names or k.startswith(tuple(starts))}

    def keep(self, name: str, seed: int, result: Mapping[str, Any]) -> None:
        """A trained network, for the next steps."""
        self.found.networks[name, seed] = result
        chosen = {k: v for k, v in result.items() if k == "architecture" or k.startswith("model.")}
        self.shared.update({f"{name} {seed}:{k}": v for k, v in chosen.items()})


def stacked(source: FrameSource) -> NDArray[Any]:
    """All frames for the tasks: 8-bit frames as they are, others as float32 in [0, 1]."""
    if source.dtype == np.uint8 and source.scale == 255:
        return np.stack([source.raw(t) for t in range(len(source))])
    return np.stack([source[t] for t in range(len(source))])


def compare(
    split: Split,
    common: Run,
    settings: Run,
    seeds: Sequence[int],
    intervals: Sequence[int],
    methods: Sequence[str],
    folder: Path,
    n_jobs: int,
    track_intervals: Sequence[int] = (1,),
) -> Found:
    """Train everything that the methods need, and apply it to every test.

    Args:
        split: Training and tests. Without identities in the training part the supervised methods are left out.
        common: Of all trainings, see `training.DEFAULTS`; `motion_steps` are those of MPM and CMF.
        settings: `smooth_px`, `mpm_smooth_px`, `mpm_threshold`, `linking`, `gap_px` (of laptrack; 0 closes no gap).
        seeds: One of each training for every seed.
        intervals: Frames between the images of co-detection; 1 must be among them.
        methods: Of `ALL_METHODS`.
        folder: Where results are kept.
        n_jobs: Processes.
        track_intervals: Tracking takes every so-manieth frame, at all offsets; some of `intervals`.

    Raises:
        DataError: A part has no two frames as far apart as the longest interval.
        CellweakWarning: Propagation is sure of no link in the training part of some seed, see `Found.silent`.
        ValueError: An unknown method, or intervals without 1.
    """
    unknown = sorted(set(methods) - set(ALL_METHODS))
    if unknown:
        raise ValueError(f"methods: expected names of {', '.join(ALL_METHODS)}; got {', '.join(unknown)}")
    if 1 not in intervals or not set(track_intervals) <= set(intervals):
        raise ValueError(f"intervals: expected 1 and {sorted(track_intervals)} among them, got {list(intervals)}")
    for name, data in (("training part", split.train), *split.tests.items()):
        _require_pairs(f"{split.name}, {name}", range(len(data.source)), "frames", intervals)
    _require_pairs(f"{split.name}, training part", split.train.annotated, "annotated frames", intervals)
    found, supervised = Found(split), split.train.linked
    methods = [m for m in methods if supervised or m not in SUPERVISED]
    assert split.train.points is not None
    shared: Run = {"train.images": stacked(split.train.source), "train.frames": np.asarray(split.train.annotated)}
    shared["points.given"] = split.train.points[["frame", "x", "y"]].to_numpy(float)
    shared |= {f"{name}.images": stacked(test.source) for name, test in split.tests.items()}
    device, motion_steps = common["device"], common["motion_steps"]
    base = {k: v for k, v in common.items() if k != "motion_steps"}
    motion = {**base, "steps": motion_steps, "interval": list(track_intervals)}
    peak = {"smooth_px": settings["smooth_px"], "device": device}
    work = _Work(found, seeds, intervals, peak, folder, n_jobs, shared)

    detector_runs = [{**base, "what": "detector", "points": "given", "seed": s} for s in seeds]
    if split.nuclei_only:
        # Table 5's first two steps: a detector from the stain's positions, then its own detections as positions.
        for run, result in zip(detector_runs, work.done(trials.train, detector_runs, "detector"), strict=True):
            work.keep("detector", run["seed"], result)
        own = [{"part": "train", "network": f"detector {s}", "interval": 0, **peak} for s in seeds]
        for s, result in zip(seeds, work.done(trials.detect, own, "training positions"), strict=True):
            shared[f"points.seed {s}"] = result["found"].numpy()
        detector_runs = []
    points = {s: f"seed {s}" if split.nuclei_only else "given" for s in seeds}

    first = [
        {**base, "what": "codetection", "points": points[s], "seed": s, "interval": d} for s in seeds for d in intervals
    ] + detector_runs
    if supervised:
        tables = [true_pairs(split.train.points, d) for d in track_intervals]
        shared["pairs.true"] = pd.concat(tables).to_numpy(float)
        first += [
            {**motion, "what": what, "points": "given", "pairs": "true", "masked": False, "seed": s}
            for s in seeds
            for what, name in (("mpm", "MPM"), ("cmf", "CMF"))
            if name in methods
        ]
    names = {"detector": "detector", "mpm": "MPM", "cmf": "CMF"}
    for run, result in zip(first, work.done(trials.train, first, "networks"), strict=True):
        name = f"codetection {run['interval']}" if run["what"] == "codetection" else names[run["what"]]
        work.keep(name, run["seed"], result)

    associated = _associate(work, ("train", *split.tests))
    for (part, s, d), result in associated.items():
        if part == "train":
            found.pseudo[s, d] = result
        else:
            found.associations[part, s, d] = result
    for s in seeds:
        for name in ("pairs", "ignored"):
            shared[f"{name}.pseudo {s}"] = np.concatenate([found.pseudo[s, d][name] for d in track_intervals])
    taught = {s: [d for d in track_intervals if len(found.pseudo[s, d]["pairs"])] for s in seeds}
    found.silent = [s for s in seeds if not taught[s]]
    if found.silent:
        warnings.warn(
            f"{split.name}, seed {', '.join(map(str, found.silent))}: propagation is sure of no link, so there is "
            "nothing to train MPM on and Ours has no tracks; train the co-detection CNN longer (`steps`), or check "
            "that the positions lie on the cells",
            CellweakWarning,
            stacklevel=2,
        )
    second = [
        {**motion, "what": "mpm", "points": "given", "pairs": f"pseudo {s}", "masked": name == OURS}
        | {"seed": s, "interval": taught[s]}
        for s in seeds
        for name in (OURS, UNMASKED)
        if name in methods and taught[s]
    ]
    for run, result in zip(second, work.done(trials.train, second, "networks on pseudo-labels"), strict=True):
        work.keep(OURS if run["masked"] else UNMASKED, run["seed"], result)

    _detections(work)
    _tracks(work, methods, track_intervals, {**peak, **settings, "z": common.get("z", 5.0)})
    for name in split.tests:
        for s in seeds:
            for d in track_intervals:
                _link(found, name, s, d, methods, settings)
    return found


def _require_pairs(where: str, frames: Sequence[int], what: str, intervals: Sequence[int]) -> None:
    known = set(frames)
    far = [d for d in intervals if not any(t + d in known for t in known)]
    if not far:
        return
    rest = [d for d in intervals if d not in far]
    hint = f"or -p intervals '{rest}' -p track_intervals '{rest}'" if 1 in rest else "neighbouring ones among them"
    raise DataError(f"{where}: {len(known)} {what}, none of them {far[-1]} apart; give more frames, {hint}")


def _associate(work: _Work, parts: Sequence[str]) -> dict[tuple[str, int, int], dict[str, NDArray[Any]]]:
    runs, keys = [], []
    for part in parts:
        n = len(work.shared[f"{part}.images"])
        for s in work.seeds:
            for d in work.intervals:
                one = {"part": part, "network": f"codetection {d} {s}", "interval": d, **work.peak}
                for start in range(0, n - d, PAIRS_PER_RUN):
                    runs.append({**one, "frames": list(range(start, min(start + PAIRS_PER_RUN, n - d)))})
                    keys.append((part, s, d))
    merged: dict[tuple[str, int, int], dict[str, list[NDArray[Any]]]] = {}
    for key, result in zip(keys, work.done(trials.propagate_pairs, runs, "propagation"), strict=True):
        for name, values in result.items():
            merged.setdefault(key, {}).setdefault(name, []).append(values.numpy())
    return {key: {name: np.concatenate(values) for name, values in of.items()} for key, of in merged.items()}


def _detections(work: _Work) -> None:
    found, runs, keys = work.found, list[Run](), list[Key]()
    for part in found.split.tests:
        for s in work.seeds:
            for name, d in [("detector", 0), *(("codetection", d) for d in work.intervals)]:
                network = f"{name} {d}" if d else name
                if (network, s) in found.networks:
                    runs.append({"part": part, "network": f"{network} {s}", "interval": d, **work.peak})
                    keys.append((name, part, s, d))
    for key, result in zip(keys, work.done(trials.detect, runs, "detection"), strict=True):
        table = pd.DataFrame(result["found"].numpy(), columns=["frame", "x", "y"])
        found.detections[key] = table.astype({"frame": int})


def _tracks(work: _Work, methods: Sequence[str], intervals: Sequence[int], settings: Run) -> None:
    found, shared, seeds = work.found, work.shared, work.seeds
    classical = [m for m in methods if m in trials.BASELINES]
    tuning = [{"method": m, "points": "given"} for m in classical]
    for run, result in zip(tuning, work.done(trials.tune, tuning, "baselines"), strict=True):
        shared.update({f"{run['method']} tuned:{k}": v for k, v in result.items()})
    options = {k: settings[k] for k in ("smooth_px", "mpm_smooth_px", "mpm_threshold", "linking", "z", "device")}
    runs, keys = list[Run](), list[Key]()
    for part in found.split.tests:
        n = len(shared[f"{part}.images"])
        for d in intervals:
            for offset in offsets(n, d):
                where = {"part": part, "interval": d, "offset": offset}
                for m in classical:
                    runs.append({**where, "method": m, "tuned": f"{m} tuned"})
                    keys.append((m, part, seeds[0], d))
                for m, s in [(m, s) for m in methods for s in seeds if (m, s) in found.networks]:
                    kind = "CMF" if m == "CMF" else "MPM"
                    runs.append({**where, **options, "method": kind, "network": f"{m} {s}"})
                    keys.append((m, part, s, d))
    for key, result in zip(keys, work.done(trials.track, runs, "tracking"), strict=True):
        found.tracks.setdefault(key, []).append(as_tracks(result["tracks"].numpy()))
    nothing = as_tracks(np.zeros((0, 6)))
    for m, part, s, d in product({OURS, UNMASKED} & set(methods), found.split.tests, found.silent, intervals):
        found.tracks[m, part, s, d] = [nothing for _ in offsets(len(shared[f"{part}.images"]), d)]
    for m in classical:  # nothing random in them: one result stands for every seed
        for part in found.split.tests:
            for s in seeds[1:]:
                for d in intervals:
                    found.tracks[m, part, s, d] = found.tracks[m, part, seeds[0], d]


def offsets(n_frames: int, interval: int) -> range:
    """First frames of the films that every `interval`-th frame makes: those that have a pair, and at least one."""
    return range(min(interval, max(1, n_frames - interval)))


def as_tracks(values: NDArray[np.floating]) -> pd.DataFrame:
    """`(n, 6)` numbers as a table of tracks."""
    return pd.DataFrame(values, columns=list(TRACK_COLUMNS)).astype({"frame": int, "id": int, "parent": int})


def pair_links(association: Mapping[str, NDArray[Any]], interval: int) -> list[PairLinks]:
    """The confident links of every pair, see `linking.PairLinks.confident`, in the order of frames."""
    out = []
    for t in np.unique(association["earlier"][:, 0]).astype(int):
        before, after, links = (association[n][association[n][:, 0] == t, 1:] for n in ("earlier", "later", "links"))
        sure = links[:, 3] == 1
        ends = links[sure, 0].astype(int), links[sure, 1].astype(int), links[sure, 2]
        dropped = links[links[:, 3] == 2, 1].astype(int)
        out.append(PairLinks(int(t), int(t + interval), before, after, *ends, dropped))
    return out


def _link(found: Found, part: str, seed: int, interval: int, methods: Sequence[str], settings: Run) -> None:
    """Tracks from detections and associations that are there: BF, plain assignment, laptrack."""
    association = found.associations[part, seed, interval]
    pairs = {one.frame_from: one for one in pair_links(association, interval)}
    n = len(found.split.tests[part].source)
    detected = _per_frame(found, part, seed, interval, n)
    for offset in offsets(n, interval):
        numbers = list(range(offset, n, interval))
        if BF in methods:
            chained = chain([pairs[t] for t in numbers[:-1] if t in pairs]) if pairs else as_tracks(np.zeros((0, 6)))
            found.tracks.setdefault((BF, part, seed, interval), []).append(chained)
        of_offset = [detected[t] for t in numbers]
        gate = gate_px(interval)
        if ASSIGNMENT in methods:
            tracks = link_frames(of_offset, gate, numbers)
            found.tracks.setdefault((ASSIGNMENT, part, seed, interval), []).append(tracks)
        if LAPTRACK in methods:
            from .peers import laptrack_tracks

            tracks = laptrack_tracks(of_offset, gate, numbers, gap_closing_px=settings["gap_px"])
            found.tracks.setdefault((LAPTRACK, part, seed, interval), []).append(tracks)


def _per_frame(found: Found, part: str, seed: int, interval: int, n: int) -> list[NDArray[np.float64]]:
    """Co-detection's cells of every frame: of L_t+d where there is such a pair, of L_t before."""
    association = found.associations[part, seed, interval]
    later = found.detections["codetection", part, seed, interval]
    _, arrays = split_frames(later, range(n))
    for t in range(min(interval, n)):
        if not (later["frame"] == t).any():
            # L_t is cut at a lower threshold for candidates; a link needs both ends, so this costs little.
            rows = association["earlier"]
            arrays[t] = rows[rows[:, 0] == t, 1:]
    return arrays
