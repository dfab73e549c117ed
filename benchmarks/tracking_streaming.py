"""A trained tracker on a film of 1392x1040 PNG files: peak memory and seconds per frame as the film grows.

    python benchmarks/tracking_streaming.py [--frames 50 200] [--width 2] [--out FILE.json]

    frame_0000.png ... --open_frames--> two frames --U-Net--> map --MpmTracker--> tracks   (tracker.track_sequence)

Each length in a process of its own, because peak memory never falls within one; and once more where glibc gives every
large block back as soon as it is free ("held"), since what it keeps for later differs by 100 MB or more between runs,
whatever their length. The film shows 230 moving cells; the U-Net is untrained, its output scaled so that there are
peaks on them. Checkpoints are written as in use.
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
import torch
from PIL import Image

from cellweak_core.tracking.frames import FrameSource, open_frames
from cellweak_core.tracking.inference import predict
from cellweak_core.tracking.networks import UNet
from cellweak_core.tracking.tracker import track_sequence

SHAPE = 1040, 1392
N_CELLS = 230
REACH, SIGMA = 20, 6.0  # of a cell's blob, px
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # bytes; glibc otherwise raises it to the largest block it has seen


def positions(k: int) -> np.ndarray:
    """Where the cells are in frame k: each goes round its own place of a grid, `(230, 2)` x, y."""
    place = np.stack(np.meshgrid(np.arange(20), np.arange(12)), -1).reshape(-1, 2)[:N_CELLS] * (68, 85) + 50
    turn = 0.1 * k + np.arange(N_CELLS)
    return np.rint(place + 12 * np.stack([np.cos(turn), np.sin(turn)], 1)).astype(int)


def drawn_frame(k: int) -> np.ndarray:
    """Frame k, bright blobs on even ground, uint8 `(H, W)`."""
    image = np.full(SHAPE, 80.0)
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    blob = 120 * np.exp(-(columns**2 + rows**2) / (2 * SIGMA**2))
    for x, y in positions(k):
        image[y - REACH : y + REACH + 1, x - REACH : x + REACH + 1] += blob
    return image.clip(0, 255).astype(np.uint8)


def untrained(source: FrameSource, width: int) -> UNet:
    """A U-Net of random weights whose maps are near 0 on the ground and near 1 on cells, with short vectors."""
    torch.manual_seed(1)  # some seeds see nothing at this width
    net = UNet(2, 3, width).eval()
    pair = np.stack([source[0], source[1]])
    with torch.no_grad():
        net.out.weight[:2] *= 0.01
        net.out.bias -= torch.from_numpy(np.median(predict(net, pair), axis=(1, 2)))
        height = float(np.quantile(np.linalg.norm(predict(net, pair), axis=0), 0.98))
        net.out.weight /= height
        net.out.bias /= height
    return net


def measure(film: Path, n_frames: int, width: int) -> dict[str, float]:
    """Peak memory in MB and seconds of one run."""
    source = open_frames(film)
    if len(source) != n_frames:
        raise ValueError(f"film: expected {n_frames} frames, found {len(source)}")
    net = untrained(source, width)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tracks = track_sequence(net, source, Path(folder) / "tracks.safetensors")
        seconds = time.perf_counter() - start
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return {
        "frames": n_frames,
        "rows": len(tracks),
        "tracks": int(tracks["id"].nunique()),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        "s per frame": seconds / (n_frames - 1),
    }


def run(film: str, n_frames: int, width: int, extra: dict[str, str]) -> dict[str, float]:
    """`measure` in a process of its own, with further environment variables."""
    command = [sys.executable, __file__, "--child", film, "--frames", str(n_frames), "--width", str(width)]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **extra})
    return json.loads(child.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--width", type=int, default=2, help="channels of the U-Net; 64 in the paper")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/tracking_streaming.json"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    lengths = sorted(options.frames)
    if options.child:
        print(json.dumps(measure(options.child, lengths[0], options.width)))
        return
    print("frames     rows tracks  peak MB  held MB  s per frame")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        written = 0
        for n_frames in lengths:
            for k in range(written, n_frames):
                Image.fromarray(drawn_frame(k)).save(Path(folder) / f"frame_{k:04d}.png", compress_level=1)
            written = n_frames
            row, held = (run(folder, n_frames, options.width, extra) for extra in ({}, GIVES_BACK))
            rows.append({**row, "held MB": held["peak MB"]})
            shown = f"{row['tracks']:6d} {row['peak MB']:8.0f} {held['peak MB']:8.0f} {row['s per frame']:12.3f}"
            print(f"{n_frames:6d} {row['rows']:8d} {shown}", flush=True)
    ratio, held_ratio = (rows[-1][name] / rows[0][name] for name in ("peak MB", "held MB"))
    shown = f"{ratio:.3f}, held {held_ratio:.3f}"
    print(f"peak memory, {lengths[-1]} to {lengths[0]} frames: {shown}; the bound of the second is 1.1")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    measured = {"rows": rows, "peak memory ratio": ratio, "held memory ratio": held_ratio}
    options.out.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
