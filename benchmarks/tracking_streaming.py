"""Tracking a sequence of 1392x1040 frames by motion maps: peak memory and seconds per frame as the sequence grows.

    python benchmarks/tracking_streaming.py [--frames 50 200] [--width 0] [--out FILE.json]

Each length in a process of its own, because peak memory never falls within one. The maps show 230 moving cells and cost
next to nothing (width 0), or come from a U-Net of that width on random frames. Checkpoints are written as in use.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cellweak_core.tracking.mpm_tracking import track_mpm
from cellweak_core.tracking.networks import UNet, padded

SHAPE = 1040, 1392
N_CELLS = 230
REACH, SIGMA, Z = 25, 6.0, 5.0


def positions(k: int) -> np.ndarray:
    """Where the cells are in frame k: each goes round its own place of a grid, `(230, 2)` x, y."""
    place = np.stack(np.meshgrid(np.arange(20), np.arange(12)), -1).reshape(-1, 2)[:N_CELLS] * (68, 85) + 50
    turn = 0.1 * k + np.arange(N_CELLS)
    return np.rint(place + 12 * np.stack([np.cos(turn), np.sin(turn)], 1))


def drawn_map(k: int) -> np.ndarray:
    """The motion map of frames k - 1 and k, `(3, H, W)`."""
    out = np.zeros((3, *SHAPE), np.float32)
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1].astype(np.float32)
    height = np.exp(-(columns**2 + rows**2) / (2 * SIGMA**2))
    for (x0, y0), (x1, y1) in zip(positions(k - 1), positions(k), strict=True):
        vector = np.stack([y0 - y1 - rows, x0 - x1 - columns, np.full_like(rows, Z)])
        window = np.s_[:, int(y1) - REACH : int(y1) + REACH + 1, int(x1) - REACH : int(x1) + REACH + 1]
        out[window] += vector * (height / np.linalg.norm(vector, axis=0))
    return out


def network_map(width: int) -> Callable[[int], np.ndarray]:
    """Maps of an untrained U-Net on random frames, scaled so that there are peaks."""
    torch.manual_seed(0)
    net = UNet(2, 3, width).eval()

    @torch.inference_mode()
    def predict(k: int) -> np.ndarray:
        random = np.random.default_rng(k)
        pair = torch.from_numpy(random.random((1, 2, *SHAPE), np.float32))
        out = padded(net, pair)[0]
        return (out / out.norm(dim=0).max()).numpy()

    return predict


def measure(n_frames: int, width: int) -> dict[str, float]:
    """Peak memory in MB and seconds of one run."""
    predict = network_map(width) if width else drawn_map
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tracks = track_mpm(range(n_frames), predict, Path(folder) / "tracks.safetensors", every=50)
        seconds = time.perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return {
        "frames": n_frames,
        "rows": len(tracks),
        "tracks": int(tracks["id"].nunique()),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "s per frame": seconds / (n_frames - 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--width", type=int, default=0, help="channels of the U-Net; 0 draws the maps")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/tracking_streaming.json"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child, options.width)))
        return
    print("frames     rows tracks  peak MB  s per frame")
    rows = []
    for n_frames in options.frames:
        command = [sys.executable, __file__, "--child", str(n_frames), "--width", str(options.width)]
        child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(child.stdout)
        rows.append(row)
        shown = f"{row['tracks']:6d} {row['peak MB']:8.0f} {row['s per frame']:12.3f}"
        print(f"{n_frames:6d} {row['rows']:8d} {shown}", flush=True)
    ratio = rows[-1]["peak MB"] / rows[0]["peak MB"]
    print(f"peak memory, {options.frames[-1]} to {options.frames[0]} frames: {ratio:.3f}; the bound is 1.1")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"rows": rows, "peak memory ratio": ratio}, indent=1))


if __name__ == "__main__":
    main()
