"""Peak memory of embedding a screen, and of its site profiles, against the number of cells: it streams.

    python benchmarks/embedding_streaming.py [--cells 10000 1000000] [--px 32] [--width 2] [--out FILE.json]

The same file of 10,000 crops stands under many names (links), each with its own table, as a screen of so many shards.
A narrow network embeds them to Parquet, and site profiles are taken from the files. Each size runs in a process of its
own, because peak memory never falls within one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

SHARD = 10_000
BOUND = 1.1


def laid(root: Path, n: int, px: int) -> None:
    """`n` cells in shards of 10,000: one file of pixels, a table for each."""
    folder = root / "crops"
    folder.mkdir(parents=True)
    pixels = root / "pixels.npy"
    rng = np.random.default_rng(0)
    stored = np.lib.format.open_memmap(pixels, "w+", np.uint16, (SHARD, 3, px, px))
    for start in range(0, SHARD, 1000):
        stored[start : start + 1000] = rng.integers(0, 60_000, (1000, 3, px, px), dtype=np.uint16)
    stored.flush()
    for k in range(n // SHARD):
        plate = f"Week{k % 10}_{k:04d}"
        os.link(pixels, folder / f"{plate}.npy")
        wells = [f"{chr(65 + w // 24)}{w % 24 + 1:02d}" for w in range(96)]
        table = pd.DataFrame({"plate": plate, "well": np.resize(wells, SHARD), "site": 1})
        table["compound"] = np.where(table["well"].str[0] == "A", "DMSO", "compound " + table["well"])
        table.to_csv(folder / f"{plate}.csv", index=False)


def child(root: Path, width: int) -> dict[str, float]:
    """Embed all and profile all; seconds and peak memory in MB."""
    from cellweak_core.embeddings.embedding import embed, untrained
    from cellweak_core.embeddings.evaluation import site_profiles

    start = time.perf_counter()
    files = embed(root, untrained(3, 0, width), root / "features", reading={"axes": "NCHW"}, device="cpu")
    embedded = time.perf_counter() - start
    values, table = site_profiles(files, "res4a")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"cells": int(table["n"].sum()), "sites": len(values), "s": embedded, "peak MB": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[10_000, 1_000_000], help=f"multiples of {SHARD}")
    parser.add_argument("--px", type=int, default=32)
    parser.add_argument("--width", type=int, default=2, help="channels of the first stage; 64 in the paper")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/embedding_streaming.json"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.width)))
        return
    report = []
    for n in options.cells:
        with tempfile.TemporaryDirectory() as name:
            laid(Path(name), n, options.px)
            own = [sys.executable, __file__, "--child", name, "--width", str(options.width)]
            done = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True)
        report.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{report[-1]['cells']:,} cells: {report[-1]['peak MB']:.0f} MB, {report[-1]['s']:.0f} s", flush=True)
    ratio = report[-1]["peak MB"] / report[0]["peak MB"]
    print(f"peak memory of the largest over the smallest: {ratio:.3f} (at most {BOUND})")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"runs": report, "ratio": ratio, "bound": BOUND, "width": options.width}
    options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
