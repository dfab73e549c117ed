"""The sliding window: one forward pass per window, whole windows in batches, and convolutions shared; 32 px, stride 4.

    python benchmarks/sliding.py [--rounds 7] [--threads 1 2] [--full] [--out FILE.json]

The three take turns, so that what else the machine does falls on all of them; ratios are medians over the rounds.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cellweak_core.rosettes.networks import CentredBatchNorm, Classifier
from cellweak_core.rosettes.sliding import naive_windows, sliding_probability

SIZE, STRIDE = 32, 4
SMALL, LARGE = 128, 1024  # px
STRIP_ROWS = 4  # window rows of the large image that stand for all in the naive loop


def classifier() -> Classifier:
    """The paper's network with random weights and statistics."""
    torch.manual_seed(0)
    model = Classifier()
    for module in model.modules():
        if isinstance(module, CentredBatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.3, 1)
    return model.eval()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def small(rounds: int) -> dict[str, float]:
    """One 128-px image: seconds, ratios to the naive loop and the largest difference from it."""
    model, image = classifier(), picture(SMALL, SMALL)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "naive": lambda: naive_windows(model, image, SIZE, STRIDE),
        "batches": lambda: sliding_probability(model, image, SIZE, STRIDE, share=False),
        "shared": lambda: sliding_probability(model, image, SIZE, STRIDE),
    }
    maps = {name: way() for name, way in ways.items()}  # warms up too
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(seconds(way))
    measured = {}
    for name, taken in times.items():
        measured[f"{name} s"] = statistics.median(taken)
        if name != "naive":
            measured[f"{name} ratio"] = statistics.median(
                slow / fast for slow, fast in zip(times["naive"], taken, strict=True)
            )
            measured[f"{name} largest difference"] = float(np.abs(maps[name] - maps["naive"]).max())
    return measured


def large(full: bool) -> dict[str, float]:
    """One 1024-px image: seconds and added peak memory of the shared way, seconds of the naive loop."""
    model, image = classifier(), picture(LARGE, LARGE)
    strip = image if full else image[: SIZE + STRIDE * (STRIP_ROWS - 1)]
    sliding_probability(model, image[:64, :64], SIZE, STRIDE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shared_s, found = [], np.empty(0)
    for _ in range(3):
        start = time.perf_counter()
        found = sliding_probability(model, image, SIZE, STRIDE)
        shared_s.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    expected = naive_windows(model, strip, SIZE, STRIDE)
    naive_s = (time.perf_counter() - start) * found.size / expected.size
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return {
        "windows": found.size,
        "naive windows timed": expected.size,
        "naive s": naive_s,
        "shared s": statistics.median(shared_s),
        "shared ratio": naive_s / statistics.median(shared_s),
        "shared largest difference": float(np.abs(found[: len(expected)] - expected).max()),
        "shared added peak memory MB": (peak - before) / unit,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, torch.get_num_threads()}))
    parser.add_argument("--full", action="store_true", help="the naive loop over all of the 1024-px image (minutes)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/sliding.json"))
    parser.add_argument("--child", choices=["small", "large"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        torch.set_num_threads(options.threads[0])
        print(json.dumps(small(options.rounds) if options.child == "small" else large(options.full)))
        return
    measured = {}
    print("  image threads   naive s batches s  shared s   ratio difference MB")
    for threads in options.threads:
        for part, px in (("small", SMALL), ("large", LARGE)):
            # A process of its own: peak memory never falls within one.
            command = [sys.executable, __file__, "--child", part, "--threads", str(threads)]
            command += ["--rounds", str(options.rounds)] + ["--full"] * options.full
            child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            row = measured[f"{px} px, {threads} threads"] = json.loads(child.stdout)
            batches = f"{row['batches s']:9.4f}" if "batches s" in row else f"{'':9}"
            memory = f"+{row['shared added peak memory MB']:.0f}" if part == "large" else ""
            print(
                f"{px:7d} {threads:7d} {row['naive s']:9.3f} {batches} {row['shared s']:9.4f} "
                f"{row['shared ratio']:7.1f} {row['shared largest difference']:10.1e} {memory}",
                flush=True,
            )
    print(f"ratio: naive to shared; the bound is 10. The naive {LARGE} px: ", end="")
    print("all windows." if options.full else f"{STRIP_ROWS} rows of windows, scaled to all.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
