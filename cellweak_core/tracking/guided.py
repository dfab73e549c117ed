"""Guided back-propagation: every ReLU passes back only what is positive, where it was open.

    forward    y = max(x, 0)
    backward   dx = dy . [x > 0] . [dy > 0]        an ordinary ReLU: dy . [x > 0]

Source: Springenberg et al. 2015 ("guided backpropagation"), as Nishimura et al. 2020, Sec. 3.3, use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class GuidedReLU(torch.autograd.Function):
    """A ReLU whose gradient is cut where it is negative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - torch gives its context no type
        """`max(x, 0)`."""
        y = x.clamp_min(0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:  # noqa: ANN401
        """`dy . [x > 0] . [dy > 0]`."""
        (y,) = ctx.saved_tensors  # y > 0 exactly where x > 0
        return grad[0].clamp_min(0) * (y > 0)


@contextmanager
def guided(net: nn.Module) -> Iterator[nn.Module]:
    """Inside the block `net` is in evaluation mode and every `nn.ReLU` of it is guided; both are undone afterwards.

    Batch normalisation, pooling and up-sampling keep their ordinary gradients, as in the authors' code.

    Args:
        net: Any network of `nn.ReLU` modules.

    Yields:
        The same network.

    Raises:
        ValueError: It holds no `nn.ReLU`, so that nothing would be guided.
    """
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise ValueError(f"net: expected a network of nn.ReLU modules, found none in {type(net).__name__}")
    training = {module: module.training for module in net.modules()}
    net.eval()
    for relu in relus:
        # An attribute of the instance hides the class's method; deleting it brings the method back.
        relu.forward = GuidedReLU.apply  # type: ignore[method-assign]
    try:
        yield net
    finally:
        for relu in relus:
            del relu.forward
        for module, mode in training.items():
            module.training = mode
