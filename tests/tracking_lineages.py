"""Truth and tracks by hand and at random, and their scores evaluated one observation at a time."""

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

COLUMNS = ["frame", "id", "x", "y", "parent"]


def table(*cells: tuple) -> pd.DataFrame:
    """A table from (id, frames, x, parent): each cell stays at (x, 50)."""
    rows = [(frame, i, float(x), 50.0, parent) for i, frames, x, parent in cells for frame in frames]
    kinds = {"frame": "int64", "id": "int64", "x": "float64", "y": "float64", "parent": "int64"}
    return pd.DataFrame(rows, columns=COLUMNS).astype(kinds)


A, B, C, D, E = 1, 2, 3, 4, 5
TRUTH = table(
    (A, range(4), 0, -1), (B, range(4), 100, -1), (C, (0, 1), 200, -1), (D, (2, 3), 190, C), (E, (2, 3), 210, C)
)  # fmt: skip
SWAP = [(11, (0, 1), 0, -1), (11, (2, 3), 100, -1), (12, (0, 1), 100, -1), (12, (2, 3), 0, -1)]
FAMILY = [(13, (0, 1), 200, -1), (14, (2, 3), 190, 13), (15, (2, 3), 210, 13)]
A_AND_B = [(11, range(4), 0, -1), (12, range(4), 100, -1)]
KNOWN = {  # the case: tracks, AA, AA of the same cell only, TE micro, TE macro
    "perfect": ([*A_AND_B, *FAMILY], 11 / 11, 9 / 9, 1.0, 1.0),
    "A and B swap": ([*SWAP, *FAMILY], 9 / 11, 7 / 9, 10 / 14, 0.8),
    "the mother's id goes on": ([*A_AND_B, (13, range(2), 200, -1), (13, (2, 3), 190, -1), (15, (2, 3), 210, -1)],
                                10 / 11, 9 / 9, 1.0, 1.0),
    "E never detected": ([*A_AND_B, *FAMILY[:2]], 9 / 11, 8 / 9, 12 / 14, 0.8),
    "A missing, then a new id": ([(11, (0, 1), 0, -1), (16, (3,), 0, -1), A_AND_B[1], *FAMILY],
                                 9 / 11, 7 / 9, 12 / 14, 0.9),
}  # fmt: skip


def slow_matching(truth: np.ndarray, found: np.ndarray, gate: float, most: bool) -> list[tuple[int, int]]:
    """One frame, dense: every pair outside the gate forbidden; without a partner at the cost of the gate, or never."""
    if not len(truth) or not len(found):
        return []
    n, m = len(truth), len(found)
    distance = np.linalg.norm(truth[:, None] - found[None], axis=2)
    cost = np.full((n, m + n), 1e9)
    cost[:, :m] = np.where(distance <= gate, distance, 1e9)
    cost[np.arange(n), m + np.arange(n)] = 1e5 if most else gate
    return [(i, j) for i, j in zip(*linear_sum_assignment(cost), strict=True) if j < m]


def slow_scores(truth: pd.DataFrame, tracks: pd.DataFrame, gate: float, most: bool = False) -> dict[str, float]:
    """Facts, one observation at a time."""
    match = {}
    for frame in truth["frame"].unique():
        a, b = truth[truth["frame"] == frame], tracks[tracks["frame"] == frame]
        pairs = slow_matching(a[["x", "y"]].to_numpy(), b[["x", "y"]].to_numpy(), gate, most)
        match |= {(a["id"].iloc[i], frame): b["id"].iloc[j] for i, j in pairs}
    parents = dict(zip(tracks["id"], tracks["parent"], strict=True))
    frames = {i: sorted(of["frame"]) for i, of in truth.groupby("id")}
    same = [(i, s, i, t) for i, fs in frames.items() for s, t in pairwise(fs) if t == s + 1]
    mothers = {i: p for i, p in zip(truth["id"], truth["parent"], strict=True) if p >= 0}
    division = [(p, fs[0] - 1, i, fs[0]) for i, fs in frames.items() for p in [mothers.get(i)]
                if p is not None and fs[0] - 1 in frames[p]]  # fmt: skip

    def ends(link: tuple) -> tuple:
        return match.get((link[0], link[1])), match.get((link[2], link[3]))

    found_same = sum(a is not None and a == b for a, b in map(ends, same))
    found_division = 0
    heirs = set()
    for link in division:
        a, b = ends(link)
        if a is None or b is None:
            continue
        if parents[b] == a:
            found_division += 1
        elif a == b and link[0] not in heirs:
            heirs.add(link[0])
            found_division += 1
    best = {i: max([0, *(sum(match.get((i, t)) == k for t in fs) for k in parents)]) for i, fs in frames.items()}
    return {
        "n_links": len(same) + len(division),
        "n_parent_links": len(division),
        "n_same_cell_links_found": found_same,
        "n_parent_links_found": found_division,
        "n_matched": len(match),
        "n_covered": sum(best.values()),
        "te_macro": float(np.mean([best[i] / len(fs) for i, fs in frames.items()])),
    }


def lineage(seed: int, n_frames: int = 7, n_cells: int = 6, size_px: float = 90.0) -> pd.DataFrame:
    """Crowded random walks with divisions and gaps."""
    random = np.random.default_rng(seed)
    rows, alive, fresh = [], {i + 1: (random.uniform(0, size_px, 2), -1) for i in range(n_cells)}, n_cells + 1
    for frame in range(n_frames):
        for i, (xy, parent) in list(alive.items()):
            if random.random() > 0.05:
                rows.append((frame, i, *xy, parent))
            alive[i] = xy + random.normal(0, 4, 2), parent
            if random.random() < 0.12 and any(row[1] == i for row in rows):
                del alive[i]
                alive |= {fresh + k: (xy + random.normal(0, 6, 2), i) for k in range(2)}
                fresh += 2
    return pd.DataFrame(rows, columns=COLUMNS)


def tracker(truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Tracks of that truth with errors of every kind."""
    random = np.random.default_rng(seed + 1000)
    tracks = truth[random.random(len(truth)) > 0.1].reset_index(drop=True)
    tracks[["x", "y"]] += random.normal(0, 4, (len(tracks), 2))
    ids = truth["id"].unique()
    for _ in range(4):
        a, b = random.choice(ids, 2)
        later = tracks["frame"] >= random.integers(0, 7)
        of_a, of_b = later & (tracks["id"] == a), later & (tracks["id"] == b)
        tracks.loc[of_a, "id"], tracks.loc[of_b, "id"] = b, a
    tracks["parent"] = tracks.groupby("id")["parent"].transform("last")
    tracks.loc[(tracks["id"] % 5 == 0) | (tracks["parent"] == tracks["id"]), "parent"] = -1
    noise = [(random.integers(0, 7), 900 + k, *random.uniform(0, 90, 2), -1) for k in range(5)]
    return pd.concat([tracks, pd.DataFrame(noise, columns=COLUMNS)], ignore_index=True)
