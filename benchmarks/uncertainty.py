"""T = 50 Monte Carlo passes: the loop that one writes first against `migration.prediction.predict`.

    python benchmarks/uncertainty.py [--images 8] [--px 227] [--samples 50] [--width 1] [--rounds 3] [--threads 2]
                                     [--device cpu] [--network NAME]... [--out FILE.json]

Both predict the same patches (uint16) by the same weights. The plain way: `nn.Dropout` after each convolution, float32,
contiguous, each image by itself, T times. Ours: batches of images and samples, masks shared by images, channels last,
bf16, the first convolution once. Both run before time is taken (the plain way on one image), then each round runs both,
one after the other. Means and variances of the two are compared image by image in units of their Monte Carlo error.
The weights are random; batch normalisation has the statistics of the patches, without which nothing would vary.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from embedding import machine, peak_flops
from torch import nn

from cellweak_core.migration.augmentation import normalised
from cellweak_core.migration.dropout import DropoutConv
from cellweak_core.migration.networks import NETWORKS, build
from cellweak_core.migration.prediction import parts_of, predict
from cellweak_core.uncertainty import dropout_active

BOUND, Z_BOUND = 3.0, 4.0
CHANNELS = 3


def laid(n: int, px: int) -> np.ndarray:
    """Patches of noise round a bright middle of their own width."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:px, :px] - px / 2
    width = rng.uniform(px / 10, px / 3, (n, CHANNELS, 1, 1))
    light = 20_000 * np.exp(-(x**2 + y**2) / (2 * width**2))
    return (light + rng.integers(0, 4000, light.shape)).astype(np.uint16)


def settled(name: str, width: float, patches: np.ndarray) -> tuple[dict[str, object], nn.Module]:
    """A network in the form of a training's result, and as a module."""
    architecture = {"network": name, "n_channels": CHANNELS, "width": width}
    torch.manual_seed(0)
    network = build(architecture).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # what the next batch has, and nothing of before
    with torch.no_grad():
        network(normalised(torch.from_numpy(patches[:8]).float()))
    weights = {f"model.{key}": value for key, value in network.state_dict().items()}
    return {"architecture": architecture, **weights}, network.eval()


def written_first(network: nn.Module) -> nn.Module:
    """The same network of torch's own parts: convolutions, each followed by `nn.Dropout`."""
    own = copy.deepcopy(network)
    for name, module in list(own.named_modules()):
        if isinstance(module, DropoutConv):
            conv = nn.Conv2d(
                module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding,
                bias=module.bias is not None,
            )  # fmt: skip
            conv.load_state_dict(module.state_dict())
            own.set_submodule(name, nn.Sequential(conv, nn.Dropout(module.dropout.p)))
    return own.eval()


@torch.no_grad()
def plain(network: nn.Module, patches: np.ndarray, n_samples: int, device: str) -> np.ndarray:
    """Samples `(T, n)`."""
    out = np.zeros((n_samples, len(patches)))
    with dropout_active(network):
        for i in range(len(patches)):
            x = normalised(torch.from_numpy(patches[i : i + 1]).to(device).float())
            for t in range(n_samples):
                out[t, i] = network(x).sigmoid().item()
    return out


def compared(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Largest differences of two sets of samples `(T, n)`, in their standard errors."""
    t = len(a)
    first, second = parts_of(a), parts_of(b)
    error = np.sqrt((first["epistemic"] + second["epistemic"]) / t)
    spread = np.log(first["epistemic"] / second["epistemic"])
    # A variance of T numbers has the relative error sqrt((kurtosis - 1) / T); sigmoids near 0 or 1 have long tails
    kurtosis = [((y - y.mean(0)) ** 4).mean(0) / y.var(0) ** 2 for y in (a, b)]
    relative = np.sqrt((kurtosis[0] + kurtosis[1] - 2) / t)
    return {
        "mean, largest |z|": float(np.abs((first["mean"] - second["mean"]) / error).max()),
        "variance, largest |z|": float(np.abs(spread / relative).max()),
        "smallest epistemic sd": float(np.sqrt(first["epistemic"].min())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--px", type=int, default=227)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/uncertainty.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, t = options.device, options.samples
    patches = laid(options.images, options.px)
    report: dict[str, object] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "threads": options.threads,
        "images": options.images, "px": options.px, "samples": t, "width": options.width, "rounds": options.rounds,
        "peak, bf16 operations/s": peak_flops(device), "machine": machine(),
    }  # fmt: skip
    for name in options.network or NETWORKS[:3]:
        trained, network = settled(name, options.width, patches)
        first = written_first(network).to(device)
        rows = np.arange(len(patches))
        plain(first, patches[:1], 2, device)
        predict(patches, rows, trained, t, device=device)
        times: dict[str, list[float]] = {"plain": [], "ours": []}
        for _ in range(options.rounds):
            start = time.perf_counter()
            theirs = plain(first, patches, t, device)
            times["plain"].append(time.perf_counter() - start)
            start = time.perf_counter()
            ours = predict(patches, rows, trained, t, device=device, keep=True)["samples"]
            times["ours"].append(time.perf_counter() - start)
        ratios = np.array(times["plain"]) / np.array(times["ours"])
        each = {key: float(np.median(value)) / options.images for key, value in times.items()}
        own = {
            "plain, s an image": each["plain"], "ours, s an image": each["ours"],
            "ratio, median": float(np.median(ratios)), "ratio, lowest": float(ratios.min()), "bound": BOUND,
            **compared(ours, theirs), "bound of |z|": Z_BOUND,
        }  # fmt: skip
        report[name] = own
        print(
            f"{name}: {own['ours, s an image']:.2f} s an image, plain {own['plain, s an image']:.2f}: "
            f"{own['ratio, median']:.2f} times (at least {BOUND}); means within {own['mean, largest |z|']:.1f}, "
            f"variances within {own['variance, largest |z|']:.1f} standard errors (at most {Z_BOUND})",
            flush=True,
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
