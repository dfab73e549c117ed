"""What the migration networks minimise: the log-cosh error, and a Gaussian prior on their filters.

    log cosh d  =  d^2 / 2 for small d,  |d| - log 2 for large ones

Source: Gupta et al. 2020, Sec. 3: "logarithmic hyperbolic cosine error" and "L2 regularization" on each convolution.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional


def log_cosh(prediction: Tensor, target: Tensor) -> Tensor:
    """`mean[log cosh(y_hat - y)]`, computed as `|d| + softplus(-2 |d|) - log 2`, which no d overflows.

    Args:
        prediction: Any shape, here sigmoids `(n,)`.
        target: As the prediction.

    Returns:
        A scalar; of nothing NaN, as torch's mean.

    Raises:
        ValueError: Two shapes, which torch would broadcast.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"expected one shape, got {tuple(prediction.shape)} and {tuple(target.shape)}")
    d = (prediction - target).abs()
    return (d + functional.softplus(-2 * d) - math.log(2)).mean()


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters for `torch.optim.Adam`, whose `weight_decay` adds `weight_decay w` to a gradient: L2.

    Only filters of convolutions are decayed. It is the maximum a posteriori of a prior: with filters w ~ N(0, s^2)
    the mean loss over N images goes together with `-log p(w) / N = |w|^2 / (2 N s^2) + const`, whose slope is
    `w / (N s^2)`. So `weight_decay = 1 / (N s^2)`; Keras' `l2(r)` is `r |w|^2`, a `weight_decay` of `2 r`.

    Args:
        network: Any.
        weight_decay: 0 is no prior.

    Returns:
        Filters, with it, and all else without.

    Raises:
        ValueError: Below 0.
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay: expected 0 or more, got {weight_decay}")
    filters = {id(module.weight): module.weight for module in network.modules() if isinstance(module, nn.Conv2d)}
    others = [parameter for parameter in network.parameters() if id(parameter) not in filters]
    return [
        {"params": list(filters.values()), "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
