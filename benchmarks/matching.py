"""Whitening and matching of many profiles: seconds, peak memory, and the whitening against pycytominer's.

    python benchmarks/matching.py [--profiles 100000] [--features 512] [--rounds 3] [--out FILE.json]

    controls --> TVN --> all profiles        Spherize (PCA) on the same controls and profiles        NSC, NSCB in blocks

A tenth of the profiles are controls, the rest treatments of 500 compounds and 50 mechanisms in 40 batches, drawn around
their mechanism's centre. Each part runs in a process of its own, because peak memory never falls within one.
"""

import argparse
import importlib.metadata
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from cellweak_core import screens

PARTS = ("TVN", "pycytominer", "NSC", "NSCB")
BOUND_MB = 4096
USED = ("numpy", "scipy", "pandas", "pycytominer")


def drawn(n: int, d: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Profiles `(n, d)` float64 with correlated noise, and their table; a tenth are controls."""
    rng = np.random.default_rng(0)
    compound = rng.integers(0, 500, n)
    moa = compound % 50
    features = rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) / np.sqrt(d)) + 3.0
    features += 0.5 * rng.normal(size=(50, d))[moa]
    table = pd.DataFrame({"compound": compound, "moa": moa, "batch": rng.integers(0, 40, n)}).astype(str)
    return features, table.assign(control=np.arange(n) % 10 == 0)


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds: what else the machine does only makes it slower."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def measure(part: str, n: int, d: int, rounds: int) -> dict[str, float]:
    """Seconds and peak memory in MB of one part, and what it found."""
    features, table = drawn(n, d)
    control = table["control"].to_numpy()
    found: dict[str, float] = {}
    if part == "TVN":
        seconds = fastest(lambda: screens.TVN(1.0).fit(features[control]).transform(features), rounds)
    elif part == "pycytominer":
        from pycytominer.operations import Spherize

        names = [f"f{k}" for k in range(d)]  # tables are how it is called, not what it does
        controls, all_rows = (pd.DataFrame(x, columns=names) for x in (features[control], features))
        seconds = fastest(lambda: Spherize(method="PCA", epsilon=1e-6).fit(controls).transform(all_rows), rounds)
    else:
        exclude = "compound" if part == "NSC" else "compound+batch"
        start = time.perf_counter()
        one = screens.match_treatments(features, table, exclude)
        seconds = time.perf_counter() - start
        found |= {"accuracy": one["accuracy"], "total": one["total"]}
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return {"s": seconds, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3, help="of the whitenings, the fastest counts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/matching.json"))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(measure(options.part, options.profiles, options.features, options.rounds)))
        return
    sizes = ["--profiles", str(options.profiles), "--features", str(options.features), "--rounds", str(options.rounds)]
    measured = {}
    print(f"{options.profiles} profiles x {options.features} features")
    for part in PARTS:
        command = [sys.executable, __file__, "--part", part, *sizes]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured[part] = json.loads(child.stdout)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in measured[part].items())
        print(f"{part:12s} {shown}", flush=True)
    ratio = measured["pycytominer"]["s"] / measured["TVN"]["s"]
    peak = max(one["peak MB"] for name, one in measured.items() if name != "pycytominer")
    print(f"whitening: {ratio:.2f} times as fast as pycytominer's; peak memory {peak:.0f} MB, at most {BOUND_MB}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in USED}}
    report = {
        "profiles": options.profiles, "features": options.features, "rounds": options.rounds, "parts": measured,
        "whitening ratio": ratio, "peak MB": peak, "bound MB": BOUND_MB, "versions": versions,
    }  # fmt: skip
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
