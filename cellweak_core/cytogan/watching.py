"""Looks at a training while it runs: curves, how different generated cells are, and when to stop.

    losses of each step --sum on the device--> a mean every `log_every` steps --not a number?--> stop: diverged
    fixed noise --G--> cells --mean distance of two / that of real cells--> low many times in a row? --> stop: collapsed
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..files import CellweakWarning


class StoppedError(Exception):
    """A training that is not worth going on with; `train` returns what there is."""


def pairwise_distance(images: Tensor) -> Tensor:
    """Mean Euclidean distance of two different images, a scalar; `evaluation.diversity` of pixels, on the device.

    Args:
        images: `(n, C, H, W)`, n of 2 or more.
    """
    return torch.pdist(images.float().flatten(1)).mean()


class Watch:
    """Curves and alarms of one training; its state goes into the checkpoint.

    Args:
        settings: Of `variants.settings`.
        alarmed: Whether low diversity stops the training.
    """

    def __init__(self, settings: Mapping[str, Any], alarmed: bool) -> None:
        self.settings, self.alarmed = settings, alarmed
        self.curves: dict[str, list[float]] = {}
        self.sums: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}  # weights of the last look at which all was well
        self.facts: dict[str, int] = {"kept": 0, "low": 0, "collapsed_at": 0, "diverged_at": 0, "summed": 0}
        self.seconds, self._since = 0.0, time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        now = time.perf_counter()
        self.seconds, self._since = self.seconds + now - self._since, now
        return {
            "curves": self.curves, "sums": self.sums, "kept": self.kept, "facts": self.facts, "seconds": self.seconds
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the clock too."""
        for name in ("curves", "sums", "kept", "facts", "seconds"):
            setattr(self, name, state[name])
        self._since = time.perf_counter()

    def seen(self, done: int, values: Mapping[str, Tensor]) -> None:
        """Take in a step's losses.

        Args:
            done: Steps that are done.
            values: Scalars on the device, where they stay until a point of the curves is due.

        Raises:
            StoppedError: A loss is not a number, or without bound.
        """
        for name, value in values.items():
            self.sums[name] = self.sums[name].to(value.device) + value if name in self.sums else value.clone()
        self.facts["summed"] += 1
        if done % self.settings["log_every"] and done != self.settings["steps"]:
            return
        names = list(self.sums)
        means = (torch.stack([self.sums[name] for name in names]) / self.facts["summed"]).tolist()
        self.sums, self.facts["summed"] = {}, 0
        self.curves.setdefault("step", []).append(float(done))
        for name, mean in zip(names, means, strict=True):
            self.curves.setdefault(name, []).append(mean)
        lost = [name for name, mean in zip(names, means, strict=True) if not math.isfinite(mean)]
        if lost:
            self._diverged(done, lost[0].replace("_", " "))

    def _diverged(self, done: int, what: str) -> None:
        self.facts["diverged_at"] = done
        self._warn(
            f"{what} is no longer a number at step {done}: the training has diverged and stops. The weights of step "
            f"{self.facts['kept']} are kept; try lower learning rates"
        )
        raise StoppedError

    def look(self, done: int, networks: nn.Module, diversity: Tensor | None) -> None:
        """Take in a look at the generated cells, and keep the weights.

        Args:
            done: Steps that are done.
            networks: Whose weights are kept, if they are numbers.
            diversity: Mean distance of two generated cells as a share of real ones', a scalar; None of a model that
                generates none.

        Raises:
            StoppedError: Diversity was low `collapse_checks` times in a row; the weights are not numbers.
        """
        weights = networks.state_dict()
        if not all(value.isfinite().all() for value in weights.values()):
            self._diverged(done, "a weight")
        self.keep(done, networks)
        if diversity is None:
            return
        share, limit = float(diversity), self.settings["collapse_below"]
        self.curves.setdefault("diversity_step", []).append(float(done))
        self.curves.setdefault("diversity", []).append(share)
        low = self.alarmed and done > self.settings["collapse_after"] and share < limit
        self.facts["low"] = self.facts["low"] + 1 if low else 0
        if self.facts["low"] < self.settings["collapse_checks"]:
            return
        self.facts["collapsed_at"] = done
        first = done - (self.facts["low"] - 1) * self.settings["check_every"]
        self._warn(
            f"mode collapse: from step {first} to {done} generated cells differed by less than {limit:.0%} of what "
            f"real cells differ by (now {share:.1%}), as if the generator made one cell only. The training stops at "
            f"step {done} of {self.settings['steps']}; try another seed, a lower learning rate or LSGAN, or set "
            "collapse_below to 0 to go on regardless"
        )
        raise StoppedError

    def keep(self, done: int, networks: nn.Module) -> None:
        """Remember the weights."""
        self.kept = {name: value.detach().clone() for name, value in networks.state_dict().items()}
        self.facts["kept"] = done

    def _warn(self, message: str) -> None:
        seed = self.settings["seed"]
        warnings.warn(f"{self.settings['model']}, seed {seed}: {message}", CellweakWarning, stacklevel=3)
