"""Backward-and-forward propagation: the whole images for each cell against windows, a pair of 1392x1040 frames, CPU.

    python benchmarks/propagation.py [--width 64] [--slow-cells 3] [--threads 2] [--steps 500] [--out FILE.json]

Both ways use the same weights: a network of 12 channels, trained shortly on positions, whose channels are then filled
up to the paper's 64 with empty ones, so that it costs what the paper's network costs and answers like a trained one.
All cells go the fast way; a few go the slow way, which keeps one forward of the whole images (as the authors' code) and
runs a backward and a masked forward for each cell. On a crop, with 12 channels, all cells go both ways.
Images: the real pair under $CELLWEAK_DATA/tracking where it is, else 230 drawn blobs.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cellweak_core.images import read_grey
from cellweak_core.tracking.association import Links, Similarity, associate, gate_px
from cellweak_core.tracking.folded import FoldedNet, forward_whole
from cellweak_core.tracking.inference import restored
from cellweak_core.tracking.networks import CoDetectionNet
from cellweak_core.tracking.propagation import Propagation, checked_images, mirrored, propagate
from cellweak_core.tracking.relevance import normaliser, relevance_windows
from cellweak_core.tracking.training import train_codetection
from cellweak_core.tracking.whole_image import propagate_whole, relevance_maps, respond

SHAPE, N_CELLS = (1040, 1392), 230
NARROW = 12
CROP = (slice(200, 712), slice(300, 812))  # of both ways for all cells
REACH_PX = 64  # of the approximation that is timed beside
BOUND = 25

Frames = NDArray[np.float32]
Points = list[NDArray[np.float64]]


def data() -> tuple[Frames, Points, str]:
    """Frames (T, H, W) in [0, 1], positions of each, and what they are."""
    folder = Path(os.environ.get("CELLWEAK_DATA", "")) / "tracking" / "c2c12_bmp2_seq9"
    if os.environ.get("CELLWEAK_DATA") and folder.is_dir():
        import pandas as pd

        table = pd.read_csv(folder / "tracks.csv")
        paths = sorted((folder / "img").glob("*.png"))
        frames = np.stack([read_grey(path) for path in paths]).astype(np.float32) / 255
        points = [table.loc[table["frame"] == t, ["x", "y"]].to_numpy(float) for t in range(len(paths))]
        return frames, points, "real pair of C2C12 cells"
    rng = np.random.default_rng(0)
    positions = [rng.uniform(5, (SHAPE[1] - 5, SHAPE[0] - 5), (N_CELLS, 2))]
    for _ in range(3):
        positions.append(np.clip(positions[-1] + rng.normal(0, 3, (N_CELLS, 2)), 0, (SHAPE[1] - 1, SHAPE[0] - 1)))
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    frames = 0.3 + rng.normal(0, 0.02, (4, *SHAPE))
    for frame, cells in zip(frames, positions, strict=True):
        for x, y in cells:
            frame += 0.4 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 50)
    return frames.clip(0, 1).astype(np.float32), positions, f"drawn pair of {N_CELLS} blobs"


def trained(steps: int, file: Path) -> None:
    """Train the narrow network on positions of all frames."""
    frames, points, _ = data()
    rows = np.concatenate([np.column_stack([np.full(len(p), t), p]) for t, p in enumerate(points)])
    run = {"width": NARROW, "steps": steps, "crop_px": 128, "batch_size": 6, "lr": 3e-3, "schedule": "cosine"}
    result = train_codetection(run | {"device": "cpu"}, {"images": frames, "points": rows}, file.with_suffix(".ckpt"))
    torch.save(restored(result).state_dict(), file)


def widened(weights: dict[str, torch.Tensor], width: int) -> CoDetectionNet:
    """The same function in a network of `width`: empty channels behind those of each part of a concatenation."""
    net = CoDetectionNet(width)
    for name, wide in net.state_dict().items():
        narrow = weights[name]
        if not wide.ndim:
            continue
        wide.fill_(1.0 if name.endswith("running_var") else 0.0)
        at = [torch.arange(narrow.shape[0])]
        if wide.ndim == 4:
            # The first convolution behind a concatenation reads two halves.
            two = name == "down2.1.0.weight" or (name.startswith("up") and ".conv.0." in name)
            half = narrow.shape[1] // (2 if two else 1)
            at.append(torch.cat([torch.arange(half) + k * (wide.shape[1] // 2) for k in range(2 if two else 1)]))
        wide[torch.meshgrid(*at, indexing="ij")] = narrow
    return net.eval()


def clocks() -> NDArray[np.float64]:
    """Wall clock and processor time, s: on a busy machine with one thread the second is the fair one."""
    return np.array([time.perf_counter(), time.process_time()])


def seconds(call: Callable[[], Any]) -> tuple[NDArray[np.float64], Any]:
    start = clocks()
    result = call()
    return clocks() - start, result


def linked(found: Propagation, scores: NDArray[np.float64] | None = None) -> Links:
    return associate(
        found.candidates, found.scores if scores is None else scores, len(found.peaks_t), len(found.peaks_t1)
    )


def triples(links: Links) -> set[tuple[int, int, int]]:
    return set(zip(links.to_index.tolist(), links.from_index.tolist(), links.state.tolist(), strict=True))


def fast(net: CoDetectionNet, folder: Path, reach_px: int | None) -> dict[str, float]:
    """All cells in windows."""
    frames, points, _ = data()
    pair, gate = frames[:2], gate_px(1)
    taken, found = seconds(lambda: propagate(net, pair, points[0], points[1], gate=gate, reach_px=reach_px))
    np.savez(folder / f"fast_{reach_px}.npz", **vars(found))
    wall, processor = taken / len(points[1])
    return {"cells": len(points[1]), "s per cell": wall, "processor s per cell": processor}


def slow(net: CoDetectionNet, folder: Path, n_cells: int) -> dict[str, float]:
    """A few cells the authors' way; their masked pairs take the labels that all cells gave, as both ways must."""
    frames, points, _ = data()
    found = Propagation(**np.load(folder / "fast_None.npz"))
    cells = np.random.default_rng(0).choice(len(points[1]), n_cells, replace=False).tolist()
    images, background = checked_images(net, frames[:2], None)
    maps = relevance_maps(net, images, points[1], cells)
    backward, forward, expected = [], [], {}
    for cell in cells:
        taken, relevance = seconds(lambda: next(maps))
        backward.append(taken)
        expected[cell] = torch.stack([g / normaliser(g) for g in relevance])
    maps.close()  # type: ignore[attr-defined]
    differences = [0.0]
    with torch.inference_mode():
        folded = FoldedNet(net)
        levels = forward_whole(folded, mirrored(images), (0, 1), with_gates=True)
        for cell, relevance, top, left in relevance_windows(folded, levels, points[1], np.array(cells), 1):
            whole = torch.zeros_like(images)
            whole[:, top : top + relevance.shape[1], left : left + relevance.shape[2]] = relevance
            scaled = torch.stack([g / normaliser(g) for g in whole])
            differences.append(float((scaled - expected[cell]).abs().max()))
    scores = found.scores.copy()
    similarity = Similarity(torch.from_numpy(found.likelihood[0]), points[0])
    for cell in cells:
        start = clocks()
        masked = torch.where(torch.from_numpy(found.labels == cell + 1), images, background)
        with torch.no_grad():
            response = respond(net, masked)[0]
        rows = found.candidates[:, 0] == cell
        scores[rows] = similarity(response / response.max(), found.candidates[rows, 1])
        forward.append(clocks() - start)
    # The first backward follows the forward that all share.
    back, forth = np.mean(backward[1:], 0), np.mean(forward, 0)
    wall, processor = back + forth
    return {
        "cells": n_cells,
        "processor s once a pair": float(backward[0][1] - back[1]),
        "processor s backward": float(back[1]),
        "processor s forward": float(forth[1]),
        "s per cell": float(wall),
        "processor s per cell": float(processor),
        "links that differ": len(triples(linked(found, scores)) ^ triples(linked(found))),
        "largest score difference": float(np.abs(scores - found.scores).max()),
        "largest difference of normalised relevance": max(differences),
    }


def both(net: CoDetectionNet) -> dict[str, float]:
    """All cells of a crop both ways, and with a finite reach."""
    frames, points, _ = data()
    pair = frames[:2, *CROP]
    (top, left), (height, width) = (s.start for s in CROP), pair.shape[1:]
    peaks = [p[((p >= [left, top]) & (p < [left + width, top + height])).all(1)] - [left, top] for p in points[:2]]
    slow_s, whole = seconds(lambda: propagate_whole(net, pair, *peaks, gate=gate_px(1)))
    fast_s, exact = seconds(lambda: propagate(net, pair, *peaks, gate=gate_px(1)))
    near_s, near = seconds(lambda: propagate(net, pair, *peaks, gate=gate_px(1), reach_px=REACH_PX))
    report: dict[str, float] = {
        "cells": len(peaks[1]),
        "links": len(linked(whole).score),
        "processor s ratio": (slow_s / fast_s)[1],
    }
    report["median score"] = float(np.median(linked(whole).score))
    for name, found in (("exact", exact), (f"reach {REACH_PX} px", near)):
        report[f"{name}: links that differ"] = len(triples(linked(found)) ^ triples(linked(whole)))
        report[f"{name}: largest score difference"] = float(np.abs(found.scores - whole.scores).max())
        report[f"{name}: labels that differ"] = int((found.labels != whole.labels).sum())
    return report | {f"reach {REACH_PX} px: processor s / exact": (near_s / fast_s)[1]}


def child(options: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(options.threads)
    weights = torch.load(options.weights, weights_only=True)
    net = widened(weights, NARROW if options.child == "both" else options.width)
    if options.child == "both":
        report = both(net)
    elif options.child == "slow":
        report = slow(net.requires_grad_(False), options.weights.parent, options.slow_cells)
    else:
        report = fast(net, options.weights.parent, REACH_PX if options.child == "near" else None)
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return report | {"peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--slow-cells", type=int, default=3, help="at least 2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=500, help="of the training, a few minutes")
    parser.add_argument("--weights", type=Path, help="of a trained network of 12 channels, instead of training one")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/propagation.json"))
    parser.add_argument("--child", choices=["fast", "near", "slow", "both"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options)))
        return
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "weights.pt"
        torch.set_num_threads(options.threads)
        if options.weights is None:
            trained(options.steps, weights)
        else:
            torch.save(torch.load(options.weights, weights_only=True), weights)
        measured = {"data": data()[2], "width": options.width, "threads": options.threads}
        for part in ("both", "fast", "near", "slow"):
            # A process of its own: peak memory never falls within one.
            command = [sys.executable, __file__, "--child", part, "--weights", str(weights)]
            for option in ("width", "threads", "slow_cells"):
                command += [f"--{option.replace('_', '-')}", str(getattr(options, option))]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            measured[part] = json.loads(run.stdout.splitlines()[-1])
            print(part, *(f"{key} {value:.4g}" for key, value in measured[part].items()), sep="\n    ", flush=True)
    for clock in ("s per cell", "processor s per cell"):
        fast_s, near_s, slow_s = (measured[part][clock] for part in ("fast", "near", "slow"))
        measured[f"ratio, {clock}"] = slow_s / fast_s
        print(f"{measured['data']}, width {options.width}, {clock}: ", end="")
        print(
            f"{slow_s:.1f} by whole images, {fast_s:.2f} in windows, "
            f"{slow_s / fast_s:.0f} times less (bound {BOUND}); reach {REACH_PX} px: {slow_s / near_s:.0f} times"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
