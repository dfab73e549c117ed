"""Variational dropout by surgery: any network becomes its dropout version, and its weights keep their names.

    conv --> batch norm --> ReLU --> conv ...       becomes       conv --> drop --> batch norm --> ReLU --> conv ...
                                                                            rate .1                          .12

Source: Gupta et al. 2020, Sec. 3: the rate is 0.1 at the first layer and grows by 0.02 with each that follows; dropout
stays on when the network predicts (Gal and Ghahramani 2016). What is dropped is an element of a convolution's output,
as Keras does it in the authors' code; the text's "each weight" has a rate of its own nowhere.
Deviation: per layer the rate of the migration networks would pass 1 in a DenseNet; where the last convolution's rate
would pass the cap (0.5), all convolutions of a stage share one, and it grows from stage to stage.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..training import derived_seed, random_source
from ..uncertainty import dropout_active

N = TypeVar("N", bound=nn.Module)
LEVELS = 2**16  # a rate is a whole number of 1 / 65,536
FIRST, GROWTH, CAP = 0.1, 0.02, 0.5


def kept(n: int, rate: float, source: torch.Generator | None, device: torch.device) -> Tensor:
    """Which of n elements stay, `(n,)` bool: each is dropped with probability `rate`, rounded to 1 / 65,536.

    Sixteen bits an element: on a CPU several times as fast as torch's own dropout, which would take longer than the
    convolutions.

    Args:
        n: Elements.
        rate: 0 to 1, 1 itself left out.
        source: On the device; None is torch's own.
        device: Of the result.
    """
    words = torch.empty(-(-n // 4), dtype=torch.int64, device=device).random_(-(2**63), None, generator=source)
    return words.view(torch.int16)[:n] >= round(rate * LEVELS) - LEVELS // 2


def scaled(x: Tensor, keep: Tensor, rate: float, out: Tensor | None = None) -> Tensor:
    """`x keep / (1 - rate)`, in one pass over the memory; `keep` 0 or 1 of any shape that broadcasts."""
    # The factor is no part of the mask, where bf16 would round it, in every layer to the same side.
    factor = 1 / (1 - round(rate * LEVELS) / LEVELS)
    return torch.addcmul(x.new_zeros(()), x, keep.to(x.dtype), value=factor, out=out)


class Dropout(nn.Dropout):
    """Element-wise dropout, `x m / (1 - p)` with m ~ Bernoulli(1 - p), whose masks can be given (see `Masks`)."""

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.masks: Masks | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        if not self.training or not self.p or not x.numel():
            return x
        if self.masks is not None:
            return self.masks.applied(x, self.p)
        if x.is_cuda:
            return super().forward(x)
        like = torch.empty_like(x)  # dense, in the order of x's memory
        return scaled(x, kept(x.numel(), self.p, None, x.device).as_strided(x.shape, like.stride()), self.p)


class DropoutConv(nn.Conv2d):
    """A convolution whose output is dropped out; `weight` and `bias` have the names of the plain one's.

    Made of an `nn.Conv2d`, or of a subclass that it then belongs to as well, by `with_dropout`.

    Attributes:
        dropout: Of its output.
    """

    dropout: Dropout

    def forward(self, x: Tensor) -> Tensor:
        """As the plain convolution, then dropped out."""
        masks, plain = self.dropout.masks, super().forward
        return self.dropout(plain(x) if masks is None or not self.dropout.p else masks.convolved(plain, x))


def stages(network: nn.Module) -> list[list[str]]:
    """The names of a network's convolutions, stage by stage, in the order in which they are registered.

    A stage is a child of the innermost module that holds all convolutions: the stem and the four layers of a ResNet;
    the stem, the blocks and the transitions of MONAI's DenseNet; each convolution of a flat `nn.Sequential`.
    """
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    shared = 0  # parts of the names that lead to the innermost module
    while len({tuple(name.split(".")[: shared + 1]) for name in names}) == 1 < len(names):
        shared += 1
    return [list(own) for _, own in groupby(names, key=lambda name: name.split(".")[: shared + 1])]


def growing(network: nn.Module, first: float = FIRST, growth: float = GROWTH, cap: float = CAP) -> dict[str, float]:
    """The rate of each convolution by its name.

    The k-th (from 0) has `first + k growth`; where the last one's would pass `cap`, the convolutions of the k-th of
    `stages` have it, and none more than `cap`. A projection beside a residual block is counted as the others are.

    Args:
        network: Any.
        first: Rate of the first one.
        growth: From each to the next.
        cap: The highest rate, below 1.

    Raises:
        ValueError: Rates out of order, or a network without a convolution (`nn.Conv2d`).
    """
    if not (0 <= first <= cap < 1 and growth >= 0):
        raise ValueError(f"expected 0 <= first <= cap < 1 and growth of 0 or more, got {first}, {cap}, {growth}")
    staged = stages(network)
    if not staged:
        raise ValueError("network: expected one with convolutions (nn.Conv2d) to drop out behind, found none")
    names = [name for own in staged for name in own]
    if first + (len(names) - 1) * growth <= cap + 1e-9:
        staged = [[name] for name in names]
    return {name: min(cap, first + k * growth) for k, own in enumerate(staged) for name in own}


def with_dropout(network: N, first: float = FIRST, growth: float = GROWTH, cap: float = CAP) -> N:
    """The dropout version of a network: a copy in which each convolution is a `DropoutConv`.

    Args:
        network: Any with convolutions, left as it is; of one that is a dropout version already the rates are set anew.
        first: See `growing`.
        growth: See `growing`.
        cap: See `growing`.

    Returns:
        The copy, whose `state_dict` has the names and values of the network's.

    Raises:
        ValueError: As `growing`; a lazy convolution, which has no weights yet.
    """
    rate_of, copied = growing(network, first, growth, cap), copy.deepcopy(network)
    for name, module in list(copied.named_modules()):
        if not isinstance(module, nn.Conv2d):
            continue
        if isinstance(module, nn.modules.lazy.LazyModuleMixin):
            raise ValueError(f"network: {name or 'it'} is lazy; run the network once, so that it has its weights")
        if not isinstance(module, DropoutConv):
            module.__class__ = _dropped(type(module))
        module.dropout = Dropout(rate_of[name])
        module.dropout.train(module.training)
    return copied


_made: dict[type, type] = {nn.Conv2d: DropoutConv}


def _dropped(of: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """`DropoutConv` that is a convolution of this class too."""
    if of not in _made:
        _made[of] = type(f"Dropout{of.__name__}", (DropoutConv, of), {"__module__": __name__})
    return _made[of]


def rates(network: nn.Module) -> dict[str, float]:
    """The rate of each `DropoutConv` by its name; of a network without any, an empty table."""
    return {name: m.dropout.p for name, m in network.named_modules() if isinstance(m, DropoutConv)}


class Masks:
    """What some Monte Carlo samples drop: the same for every image, as y_t = sigmoid(f(x; theta_t)) has it.

    Sample t is one draw of the weights, theta_t, for all images. Its masks come from a generator of their own, seeded
    by (seed, t), in the order in which the convolutions are called, each `(H, W, C)` of `kept`: what an image is
    predicted to be depends neither on the images beside it nor on how many are in a batch, and drawing is shared.

    Args:
        seed: Of all samples.
        device: Of the images.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.device = seed, torch.device(device)
        self._sources: list[torch.Generator] = []
        self._first: tuple[Tensor, Tensor] | None = None
        self._calls = 0

    def draw(self, samples: Sequence[int]) -> None:
        """Of the passes that follow, each of `len(samples) n` images: all n for the first sample, for the second ..."""
        self._sources, self._calls = [random_source(derived_seed(self.seed, t), self.device) for t in samples], 0

    def convolved(self, plain: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The convolution; the first one of a pass, which no mask lies before, is kept for passes of equal images."""
        self._calls += 1
        if self._calls > 1:
            return plain(x)
        if self._first is None or self._first[0].shape != x.shape or not torch.equal(self._first[0], x):
            self._first = x, plain(x)
        return self._first[1]

    def applied(self, x: Tensor, rate: float) -> Tensor:
        """`(s n, C, H, W)` of s samples, dropped out."""
        c, h, w = x.shape[1:]
        keep = torch.stack([kept(c * h * w, rate, source, x.device) for source in self._sources])
        keep = keep.view(-1, 1, h, w, c).permute(0, 1, 4, 2, 3)
        own = x.unflatten(0, (len(self._sources), -1))
        # In place but for what is kept: fresh memory is as dear as the product
        in_place = self._calls > 1 and not torch.is_grad_enabled()
        return scaled(own, keep, rate, own if in_place else None).flatten(0, 1)


@contextmanager
def sampling(network: nn.Module, masks: Masks | None = None) -> Iterator[None]:
    """Dropout on, batch normalisation by the statistics of the training; modes and masks are put back afterwards.

    Args:
        network: Any; other dropout layers of torch's are on as well.
        masks: Of its `DropoutConv`; None draws anew for each image.
    """
    own = [module for module in network.modules() if isinstance(module, Dropout)]
    before = [module.masks for module in own]
    with dropout_active(network):
        for module in own:
            module.masks = masks
        try:
            yield
        finally:
            for module, given in zip(own, before, strict=True):
                module.masks = given
