"""Training steps of the cytogan models: real cells per second, a plain float32 loop against ours.

    python benchmarks/cytogan.py [--models lsgan began ...] [--px 64] [--batch 0] [--rounds 3] [--width 1]
                                 [--compile] [--device cpu] [--out FILE.json]

The plain loop has the same networks, weights and losses: images enlarged and then convolved, float32, contiguous,
`loss.backward()` through all weights. Ours: convolutions of enlarged images at their own size, channels last, gradients
of the network that learns only, fused Adam, bf16 where it is faster than float32 on this machine, which a matrix
product tells. `--compile` adds ours through torch.compile, where that works.
The ways take turns; ratios are medians over the rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from embedding import machine
from torch import Tensor, nn

from cellweak_core.cytogan.layers import EnlargedConv
from cellweak_core.cytogan.steps import Parts, assembled, step
from cellweak_core.cytogan.variants import architecture_of, settings
from cellweak_core.training import make_fabric

BOUND = 1.8
MODELS = ("dcgan", "lsgan", "wgan", "began", "bigan", "vae", "autoencoder")
CHANNELS = ("DNA", "actin", "tubulin")


class Enlarged(nn.Module):
    """`EnlargedConv` as it is written down."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=2)
        return F.conv2d(enlarged, self.conv.weight, self.conv.bias, padding=self.conv.padding)


class PlainParts(Parts):
    """The loop that one writes first."""

    def update(self, name: str, loss: Tensor) -> None:
        for network in self.networks.values():
            network.zero_grad()
        loss.backward()
        self.optimisers[name].step()


def written_out(module: nn.Module) -> None:
    """Replace every fast convolution, in place."""
    for name, child in list(module.named_children()):
        if isinstance(child, EnlargedConv):
            module.add_module(name, Enlarged(child))
        else:
            written_out(child)


def parts(model: str, way: str, options: argparse.Namespace) -> Parts:
    """Networks, optimisers and precision of a way: plain, float32, bf16 or compiled."""
    run = {"model": model, "width": options.width} | ({"batch_size": options.batch} if options.batch else {})
    chosen = settings(run)
    architecture = architecture_of(chosen, CHANNELS, options.px)
    torch.manual_seed(0)
    fabric = make_fabric(options.device, "bf16-mixed" if way.startswith("bf16") else "32-true")
    made = assembled(chosen, architecture, fabric)
    if way == "plain":
        written_out(made.networks.to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
        adam = {
            name: torch.optim.Adam(network.parameters(), chosen[f"lr_{name}"], (chosen["beta1"], 0.999))
            for name, network in made.networks.items()
        }
        return PlainParts(made.settings, made.networks, adam, made.balance, fabric)
    if way.endswith("compiled"):
        for network in made.networks.values():
            network.compile()
    return made


def seconds(call: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def bf16_gain(device: str, n: int = 2048) -> float:
    """How many times as fast a bf16 matrix product is as one of float32, the best of five each."""
    best = []
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(n, n, device=device, dtype=dtype)
        best.append(min(seconds(lambda a=a: (a @ a).sum().item(), device) for _ in range(5)))
    return best[0] / best[1]


def compiled(model: str, way: str, options: argparse.Namespace, real: Tensor) -> tuple[Parts | None, str]:
    """A way through torch.compile after its first step, or why there is none."""
    try:
        made = parts(model, way, options)
        step(made, real)
    except Exception as error:  # compilers fail in as many ways as there are machines
        return None, f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return made, ""


def measured(model: str, ways: list[str], options: argparse.Namespace) -> dict[str, object]:
    """Cells per second of each way, ratios to the plain one."""
    batch = options.batch or settings({"model": model})["batch_size"]
    plain = 2 * torch.rand(batch, len(CHANNELS), options.px, options.px, device=options.device) - 1
    real = {way: plain if way == "plain" else plain.contiguous(memory_format=torch.channels_last) for way in ways}
    row: dict[str, object] = {"batch": batch}
    made: dict[str, Parts] = {}
    for way in ways:
        if way.endswith("compiled"):
            found, why = compiled(model, way, options, real[way])
            if found is None:
                row[f"{way}, why not"] = why
                continue
            made[way] = found
        else:
            made[way] = parts(model, way, options)
            step(made[way], real[way])  # first calls choose their algorithms
    times: dict[str, list[float]] = {way: [] for way in made}
    for _ in range(options.rounds):
        for way, one in made.items():
            times[way].append(seconds(lambda one=one, x=real[way]: step(one, x), options.device))
    for way, taken in times.items():
        row[f"{way}, cells/s"] = batch / statistics.median(taken)
        if way != "plain":
            pairs = zip(times["plain"], taken, strict=True)
            row[f"{way}, ratio"] = statistics.median(slow / fast for slow, fast in pairs)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--batch", type=int, default=0, help="real cells of a step; 0 takes each model's own")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/cytogan.json"))
    options = parser.parse_args()
    gain = bf16_gain(options.device)
    ours = "bf16" if gain > 1 else "float32"
    ways = ["plain", "float32", "bf16"] + ([f"{ours} compiled"] if options.compile else [])
    report: dict[str, object] = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else options.device, "machine": machine(),
        "threads": torch.get_num_threads(), "px": options.px, "width": options.width, "rounds": options.rounds,
        "bf16 product / float32 product": gain, "ours": ours, "bound": BOUND,
    }  # fmt: skip
    print(f"a bf16 product is {gain:.1f} times as fast as one of float32: ours is {ours}; at least {BOUND} times")
    for model in options.models:
        row = measured(model, ways, options)
        report[model] = row
        shown = ", ".join(
            f"{way} {row[f'{way}, cells/s']:.1f} ({row[f'{way}, ratio']:.2f} times)"
            if f"{way}, ratio" in row
            else f"{way}: {row[f'{way}, why not']}"
            for way in ways[1:]
        )
        print(f"{model}, {row['batch']} cells: plain {row['plain, cells/s']:.1f} cells/s, {shown}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
