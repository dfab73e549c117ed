"""Many small classifiers: one after another, or as one batch by torch.func.vmap; milliseconds per network and step.

    python benchmarks/ensemble.py [--device cuda] [--out FILE.json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cellweak_core.rosettes.classifiers import Ensemble
from cellweak_core.rosettes.networks import Classifier

BATCH = 32


def trainer(models: list[Classifier], x: Tensor, y: Tensor) -> Callable[[], None]:
    """One training step of these networks as one ensemble."""
    ensemble = Ensemble(models).to(x.device).train()
    optimiser = torch.optim.Adam(ensemble.parameters(), 1e-4)

    def step() -> None:
        loss = F.cross_entropy(ensemble(x).flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def seconds(step: Callable[[], None], device: str) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(width: int, fc: int, members: int, device: str, rounds: int) -> dict[str, float]:
    """Both ways in turn, medians of the rounds."""
    torch.manual_seed(0)
    models = [Classifier(width=width, fc=fc) for _ in range(members)]
    x = torch.randn(members, BATCH, 1, 32, 32, device=device)
    y = torch.randint(0, 2, (members, BATCH), device=device)
    batched = trainer(models, x, y)
    singles = [trainer([m], x[k : k + 1], y[k : k + 1]) for k, m in enumerate(models)]

    def one_by_one() -> None:
        for single in singles:
            single()

    times: dict[str, list[float]] = {"one by one": [], "as one batch": []}
    for i in range(rounds + 1):  # the first round warms up
        for name, step in (("one by one", one_by_one), ("as one batch", batched)):
            taken = seconds(step, device)
            if i:
                times[name].append(taken)
    ms = {name: 1e3 * statistics.median(values) / members for name, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    return {"width": width, "fc": fc, "members": members, **ms, "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/ensemble.json"))
    options = parser.parse_args()
    print(f"device {options.device}, {torch.get_num_threads()} threads, batch {BATCH}; above 1: one batch is faster")
    rows = []
    for width, fc, members in ((4, 32, 16), (8, 64, 32), (16, 128, 16), (32, 256, 8)):
        row = compare(width, fc, members, options.device, options.rounds)
        rows.append(row)
        print(
            f"width {width:2d} fc {fc:3d} x {members:2d} networks: one by one {row['one by one']:.2f} ms, "
            f"as one batch {row['as one batch']:.2f} ms per network and step, ratio {row['ratio']:.2f}",
            flush=True,
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"device": options.device, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
