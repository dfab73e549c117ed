"""AA, TE and the other scores of 780 frames and 85,576 positions, against traccuracy's recall of edges alone.

    python benchmarks/tracking_scores.py [--rounds 5] [--out FILE.json]

Tables in, scores out, on one process each. The two take turns, so that what else the machine does falls on both; the
ratio is the median over the rounds. traccuracy is imported where it is installed; otherwise $CELLWEAK_PEERS_PYTHON may
name a Python that has it. The truth is the annotation of sequence 9 of Ker et al. 2018 in $CELLWEAK_DATA, or, without
it, simulated cells of about that number.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

GATE_PX = 20.0
REAL = "tracking/c2c12_bmp2_seq9_full_tracks.csv.gz"
COLUMNS = ["frame", "id", "x", "y", "parent"]


def true_table() -> tuple[pd.DataFrame, str]:
    path = Path(os.environ.get("CELLWEAK_DATA", "")) / REAL
    if os.environ.get("CELLWEAK_DATA") and path.is_file():
        return pd.read_csv(path)[COLUMNS], "sequence 9 of Ker et al."
    from cellweak_core.tracking.motion import Motion, annotate, walk

    shape = (1040, 1392)
    return annotate(walk(780, shape, 50, Motion(), np.random.default_rng(0)), shape)[COLUMNS], "simulated cells"


def perturbed(truth: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A tracker's work: positions shaken, lost and invented, ids exchanged, tracks broken, parents forgotten."""
    random = np.random.default_rng(seed)
    table = truth[random.random(len(truth)) > 0.03].reset_index(drop=True)
    table[["x", "y"]] += random.normal(0, 3, (len(table), 2))
    ids, cut = table["id"].unique(), random.integers(table["frame"].min(), table["frame"].max(), 200)
    for a, b, frame in zip(random.choice(ids, 200), random.choice(ids, 200), cut, strict=True):  # swaps and breaks
        later = table["frame"] >= frame
        of_a, of_b = later & (table["id"] == a), later & (table["id"] == b)
        table.loc[of_a, "id"], table.loc[of_b, "id"] = b, a
    mothers = table.groupby("id")["parent"].transform("first")
    table["parent"] = mothers.where(random.random(int(table["id"].max()) + 1)[table["id"]] > 0.1, -1)
    n = len(table) // 30
    noise = pd.DataFrame({"frame": random.choice(table["frame"], n), "id": table["id"].max() + 1 + np.arange(n)})
    noise = noise.assign(x=random.uniform(0, 1392, n), y=random.uniform(0, 1040, n), parent=-1)
    return pd.concat([table, noise], ignore_index=True).sample(frac=1, random_state=seed)


def graph(table: pd.DataFrame) -> Any:  # noqa: ANN401 - traccuracy may not be here
    """The graph for traccuracy: rows are nodes, links join consecutive frames."""
    import networkx as nx
    from traccuracy import TrackingGraph

    frame, ids, parent = (table[name].tolist() for name in ("frame", "id", "parent"))
    at = {place: row for row, place in enumerate(zip(ids, frame, strict=True))}
    born = table.groupby("id")["frame"].min().to_dict()
    nodes = zip(frame, table["x"].tolist(), table["y"].tolist(), strict=True)
    drawn = nx.DiGraph()
    drawn.add_nodes_from((row, {"t": t, "x": x, "y": y}) for row, (t, x, y) in enumerate(nodes))
    for row, (t, cell) in enumerate(zip(frame, ids, strict=True)):
        before = at.get((parent[row] if born[cell] == t else cell, t - 1))
        if before is not None:
            drawn.add_edge(before, row)
    return TrackingGraph(drawn, location_keys=("x", "y"))


def peer(truth: pd.DataFrame, tracks: pd.DataFrame) -> dict[str, float]:
    """Recall of edges by traccuracy, and the seconds it takes."""
    from traccuracy import run_metrics
    from traccuracy.matchers import PointMatcher
    from traccuracy.metrics import BasicMetrics

    start = time.perf_counter()
    results, _ = run_metrics(graph(truth), graph(tracks), PointMatcher(GATE_PX), [BasicMetrics()])
    taken = time.perf_counter() - start
    return {"s": taken, "recall": float(results[0]["results"]["Edge Recall"])}


def ours(truth: pd.DataFrame, tracks: pd.DataFrame) -> dict[str, float]:
    from cellweak_core.tracking import tracking_scores

    start = time.perf_counter()
    scores = tracking_scores(truth, tracks, GATE_PX)
    taken = time.perf_counter() - start
    return {"s": taken, "recall": scores["link_recall"], "aa": scores["aa"], "te_micro": scores["te_micro"]}


def peer_elsewhere(python: str, truth: Path, tracks: Path) -> dict[str, float]:
    command = [python, __file__, "--peer", str(truth), str(tracks)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/tracking_scores.json"))
    parser.add_argument("--peer", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        tables = [pd.read_csv(path) for path in options.peer]
        peer(*(table.head(1000) for table in tables))  # warms up: numba compiles on first use
        print(json.dumps(peer(*tables)))
        return
    python = os.environ.get("CELLWEAK_PEERS_PYTHON", "")
    inside = find_spec("traccuracy") is not None
    truth, name = true_table()
    tracks = perturbed(truth, seed=0)
    measured: dict[str, list[dict[str, float]]] = {"cellweak": [], "traccuracy": []}
    small = truth.head(1000)
    ours(small, small)
    if inside:
        peer(small, small)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "truth.csv", Path(folder) / "tracks.csv"
        for table, path in zip((truth, tracks), files, strict=True):
            table.to_csv(path, index=False)
        for _ in range(options.rounds):
            measured["cellweak"].append(ours(truth, tracks))
            if inside:
                measured["traccuracy"].append(peer(truth, tracks))
            elif python:
                measured["traccuracy"].append(peer_elsewhere(python, *files))
    fast, slow = measured["cellweak"], measured["traccuracy"]
    fast_s, recall = statistics.median(row["s"] for row in fast), fast[0]["recall"]
    print(f"{name}: {truth['frame'].nunique()} frames, {len(truth):,} positions, {len(tracks):,} predicted")
    print(f"cellweak    {fast_s:6.3f} s  all scores; recall of links {recall:.6f}, AA {fast[0]['aa']:.6f}, "
          f"TE {fast[0]['te_micro']:.6f}")  # fmt: skip
    if slow:
        slow_s, expected = statistics.median(row["s"] for row in slow), slow[0]["recall"]
        ratio = statistics.median(b["s"] / a["s"] for a, b in zip(fast, slow, strict=True))
        print(f"traccuracy  {slow_s:6.3f} s  recall of edges {expected:.6f}; the two differ by {recall - expected:.1e}")
        print(f"ratio {ratio:.1f}; the bound is 8")
    else:
        print("traccuracy  not here, so no ratio: pip install traccuracy==0.4.3, or name a Python that has it in "
              "$CELLWEAK_PEERS_PYTHON")  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"data": name, "rounds": measured}, indent=1))


if __name__ == "__main__":
    main()
