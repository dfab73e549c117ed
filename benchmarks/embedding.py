"""Embedding of single-cell crops, from the disk to Parquet: a plain float32 loop against `embeddings.embed`.

    python benchmarks/embedding.py [--cells 2000] [--px 68] [--rounds 3] [--device cpu] [--out FILE.json]

Both read the same crops (uint16, memory-mapped), run the same MONAI ResNet-18 of the paper's width and write features
of one layer. The plain way: batches one after another, float32, contiguous, the whole network with a hook on the layer.
Ours: read ahead, channels last, bf16, no further than the layer. Measured for `res4a`, the paper's layer, where ours
computes less, and for `pool5`, where both compute everything. Both run once before time is taken, then each round runs
both, one after the other. The share of the peak is of a large matrix product's speed measured in this process, bf16.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cellweak_core.embeddings.embedding import embed, load_embedded, restored, untrained
from cellweak_core.screens.crops import load_crops

BOUND, PAPER_CELLS_PER_S = 2.5, 100
BATCH = 128
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")


def laid(folder: Path, n: int, px: int) -> None:
    """Crops of noise round a bright middle, and their table."""
    import pandas as pd

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:px, :px] - px / 2
    light = np.exp(-(x**2 + y**2) / (2 * (px / 5) ** 2)) * 20_000
    crops = np.lib.format.open_memmap(folder / "crops.npy", "w+", np.uint16, (n, 3, px, px))
    for start in range(0, n, 256):
        part = crops[start : start + 256]
        part[:] = light * rng.uniform(0.3, 1, (len(part), 3, 1, 1)) + rng.integers(0, 4000, part.shape)
    crops.flush()
    compound = np.where(np.arange(n) % 10, "a", "DMSO")
    pd.DataFrame({"plate": "W1_1", "well": [f"A{k % 24:02d}" for k in range(n)], "compound": compound}).to_csv(
        folder / "cells.csv", index=False
    )


def plain(folder: Path, network: nn.Module, layer: str, device: str, out: Path) -> float:
    """Seconds of the loop that one writes first."""
    import pandas as pd

    start = time.perf_counter()
    crops = load_crops(folder, axes="NCHW")
    seen: list[Tensor] = []
    body = network.body
    at = {"res4a": body.layer3[0], "pool5": body.layer4[1]}[layer]
    hook = at.register_forward_hook(lambda _module, _given, x: seen.append(x.mean((2, 3)).cpu()))
    with torch.no_grad():
        for first in range(0, len(crops), BATCH):
            network(crops.batch(np.arange(first, min(first + BATCH, len(crops)))).to(device))
    hook.remove()
    values = torch.cat(seen).numpy()
    columns = pd.DataFrame(values, columns=[f"{layer}_{k}" for k in range(values.shape[1])])
    pd.concat([crops.cells.add_prefix("Metadata_"), columns], axis=1).to_parquet(out)
    return time.perf_counter() - start


def machine() -> dict[str, object]:
    """What the numbers depend on beside the code: versions, and what the processor can."""
    information = Path("/proc/cpuinfo")  # Linux has it
    text = information.read_text() if information.is_file() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in lines.items()}
    flags = known.get("flags", known.get("Features", "")).split()
    return {
        "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
        "processor": known.get("model name", platform.processor()), "flags": [one for one in FLAGS if one in flags],
        "torch uses": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def peak_flops(device: str, n: int = 4096) -> float:
    """Operations a second of a bf16 matrix product, the best of five."""
    a = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        (a @ a).sum().item()
        best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best


def operations(network: nn.Module, layer: str, px: int) -> int:
    """Floating-point operations of one cell, up to the layer."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.layers(torch.zeros(1, 3, px, px), [layer])
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--px", type=int, default=68)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/embedding.json"))
    options = parser.parse_args()
    device = options.device
    trained = untrained(3, 0)
    peak = peak_flops(device)
    report: dict[str, object] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(), "cells": options.cells, "px": options.px, "rounds": options.rounds,
        "peak, bf16 operations/s": peak, "machine": machine(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        laid(root, options.cells, options.px)
        for layer in ("res4a", "pool5"):
            network = restored(trained).to(device)

            def ours(out: Path, layer: str = layer) -> list[Path]:
                return embed(root, trained, out, reading={"axes": "NCHW"}, layers=[layer], device=device)

            # the disk's cache, the first call's choices
            plain(root, network, layer, device, root / "warm.parquet")
            ours(root / f"{layer} warm")
            times: dict[str, list[float]] = {"plain": [], "ours": []}
            for k in range(options.rounds):
                times["plain"].append(plain(root, network, layer, device, root / "plain.parquet"))
                start = time.perf_counter()
                files = ours(root / f"{layer} {k}")
                times["ours"].append(time.perf_counter() - start)
            exact, _ = load_embedded([root / "plain.parquet"], layer)
            found, _ = load_embedded(files, layer)
            cosine = (exact * found).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
            rate = {key: options.cells / float(np.median(value)) for key, value in times.items()}
            ratios = np.array(times["plain"]) / np.array(times["ours"])
            work = operations(restored(trained), layer, options.px)
            own = {
                "plain, cells/s": rate["plain"], "ours, cells/s": rate["ours"],
                "ratio, median": float(np.median(ratios)), "ratio, lowest": float(ratios.min()), "bound": BOUND,
                "smallest cosine": float(cosine.min()), "operations a cell": work,
                "ours / the paper's 100 cells/s": rate["ours"] / PAPER_CELLS_PER_S,
                "share of the peak": rate["ours"] * work / peak,
            }  # fmt: skip
            report[layer] = own
            print(
                f"{layer}: {own['ours, cells/s']:.0f} cells/s, plain {own['plain, cells/s']:.0f}: "
                f"{own['ratio, median']:.2f} times (at least {BOUND}); smallest cosine {own['smallest cosine']:.5f}; "
                f"{own['share of the peak']:.1%} of the peak",
                flush=True,
            )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
