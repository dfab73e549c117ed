"""One loop for every training: Lightning Fabric for the device, a checkpoint to go on from.

    step 0 .. every .. 2*every .. KILLED        the checkpoint holds weights, optimisers and random states,
              [ckpt]    [ckpt]   -> resume      so that the resumed run ends with the same weights, bit for bit
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .files import CellweakWarning, atomic_path

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Stateful(Protocol):
    """Anything with a state to save: modules, optimisers, schedulers."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state."""

    def load_state_dict(self, state: Any) -> Any:  # noqa: ANN401 - torch's own signature
        """Take the state."""


def make_fabric(device: str = "auto", precision: str = "32-true") -> Fabric:
    """A Lightning Fabric for one device: the same code on a CPU and a GPU, in float32 or bf16.

    Several GPUs serve independent trainings, one each (`parallel.map_runs` on a Dask cluster): the papers' networks
    are too small to gain from being spread.

    Args:
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".
        precision: "32-true" or "bf16-mixed".

    Raises:
        ValueError: An unknown device, or one that this machine does not have.
    """
    import logging

    from lightning_fabric import Fabric

    known = ("auto", "cpu", "cuda", "mps")
    if device not in known:
        raise ValueError(f"device: expected one of {', '.join(known)}, got {device!r}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for and torch finds no GPU here; use 'auto' or 'cpu'")
    elif device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device: 'mps' was asked for and torch finds no Apple GPU here; use 'auto' or 'cpu'")
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # its greeting is no part of a page
    return Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]


def random_source(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A seeded generator, so that no loop depends on the global random state of another."""
    return torch.Generator(device=device).manual_seed(seed)


def derived_seed(*parts: int) -> int:
    """A seed of its own for each draw: a run's seed, a step, what is drawn. Alike parts give alike seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def with_defaults(run: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run: its own, and the defaults for the rest.

    Raises:
        ValueError: A name that has no default.
    """
    unknown = sorted(set(run) - set(defaults))
    if unknown:
        raise ValueError(f"run: unknown {', '.join(unknown)}; expected any of {', '.join(defaults)}")
    return {**defaults, **run}


def shared_tensor(array: ArrayLike) -> Tensor:
    """A tensor on the array's own memory, not to be written to.

    Arrays that parallel runs share are read-only, of which torch warns once per process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writ", UserWarning)
        return torch.as_tensor(np.asarray(array))


SCHEDULES = ("constant", "cosine", "steps", "fractions")


def learning_rate(i: int, steps: int, schedule: str, drop_every: int = 10_000) -> float:
    """Factor of the learning rate at step `i` of `steps`.

    Args:
        i: Counted from 0.
        steps: Steps in all.
        schedule: "constant", "cosine" (a warm-up over 5 % of the steps and half a cosine down), "steps" (a tenth
            after every `drop_every` steps) or "fractions" (DeepProfiler's: a tenth after 40, 70 and 90 % of the
            steps).
        drop_every: See "steps".

    Raises:
        ValueError: An unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if schedule == "cosine":
        return min(1.0, (i + 1) / (0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * i / steps))
    if schedule == "fractions":
        return 0.1 ** sum(10 * i >= tenths * steps for tenths in (4, 7, 9))
    return 0.1 ** (i // drop_every) if schedule == "steps" else 1.0


@torch.no_grad()
def average_into(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics towards the network's, in place."""
    for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def _state(item: Stateful | torch.Generator) -> Any:  # noqa: ANN401
    return item.get_state() if isinstance(item, torch.Generator) else item.state_dict()


def _restore(item: Stateful | torch.Generator, state: Any) -> None:  # noqa: ANN401
    if isinstance(item, torch.Generator):
        item.set_state(state.cpu())
    else:
        item.load_state_dict(state)


def _load(checkpoint: Path, version: str, n_steps: int, names: set[str]) -> dict[str, Any] | None:
    """What an interrupted call left, or None (with a warning) where it cannot be gone on from."""
    try:
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises a different one for every way in which a file can be damaged
        warnings.warn(f"{checkpoint}: not readable ({error}); training anew", CellweakWarning, stacklevel=3)
        return None
    if saved["version"] == version and saved["step"] <= n_steps and saved["state"].keys() == names:
        return saved
    warnings.warn(f"{checkpoint} is of other parameters or data: training anew", CellweakWarning, stacklevel=3)
    return None


def run_steps(
    step: Callable[[int], Mapping[str, float | Tensor]],
    n_steps: int,
    *,
    state: Mapping[str, Stateful | torch.Generator],
    checkpoint: Path | None = None,
    every: int = 250,
    log_every: int = 1,
    version: str = "",
    desc: str = "",
) -> dict[str, list[float]]:
    """Run `step(0) .. step(n_steps - 1)`, save the state now and then, and go on from it when called again.

    Args:
        step: One training step; returns what to log, as scalars.
        n_steps: Steps in all, those of an interrupted call included.
        state: All that a step changes and that must survive: modules, optimisers, random sources.
        checkpoint: Where to save; None keeps nothing. A file of another `version`, of more steps, or that cannot be
            read is trained over, with a warning.
        every: Steps between checkpoints.
        log_every: Steps between logged values (the first and the last step are always logged).
        version: What the checkpoint belongs to (a digest of parameters and data).
        desc: The progress bar's label.

    Returns:
        `{"step": [...], name: [...]}`, one entry per logged step.

    Raises:
        FullDiskError: No room for the checkpoint; the one before it is whole.
    """
    from tqdm.auto import tqdm

    start, history = 0, dict[str, list[float]]()
    if checkpoint is not None and checkpoint.is_file():
        saved = _load(checkpoint, version, n_steps, set(state))
        if saved is not None:
            for name, item in state.items():
                _restore(item, saved["state"][name])
            torch.set_rng_state(saved["rng"])
            if torch.cuda.is_available() and saved["cuda_rng"]:
                torch.cuda.set_rng_state_all(saved["cuda_rng"])
            start, history = saved["step"], saved["history"]

    def save(done: int) -> None:
        assert checkpoint is not None
        content = {
            "version": version,
            "step": done,
            "history": history,
            "state": {name: _state(item) for name, item in state.items()},
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        with atomic_path(checkpoint) as part, part.open("wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                # torch tells of a full disk as of an archive that ends early; what Python met lies behind it
                cause = error.__context__
                while cause is not None and not isinstance(cause, OSError):
                    cause = cause.__context__
                raise cause or error from None

    for i in tqdm(range(start, n_steps), desc=desc, initial=start, total=n_steps, disable=None if desc else True):
        values = step(i)
        if i % log_every == 0 or i == n_steps - 1:
            history.setdefault("step", []).append(float(i + 1))
            for name, value in values.items():
                history.setdefault(name, []).append(float(value))
        if checkpoint is not None and (i + 1) % every == 0 and i + 1 < n_steps:
            save(i + 1)
    if checkpoint is not None and start < n_steps:
        save(n_steps)
    return history
