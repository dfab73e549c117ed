"""From the window scores of an image to one score: an image is labelled, its window is not.

    window logits 13x13  --pool-->  one logit  <--binary cross-entropy-->  "there is a rosette somewhere"
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _flat(logits: Tensor) -> Tensor:
    if logits.ndim < 2 or 0 in logits.shape[1:]:
        raise ValueError(f"logits: expected (N, ...) with at least one window per image, got {tuple(logits.shape)}")
    return logits.flatten(1)


def log_sum_exp(logits: Tensor, sharpness: float = 1.0) -> Tensor:
    """`(1/r) log(mean_w exp(r z_w))`: the mean for small r, the maximum for large r.

    Source: Pinheiro and Collobert 2015, Eq. 2, for weakly labelled images.

    Args:
        logits: `(N, ...)` window logits z.
        sharpness: r > 0.

    Returns:
        `(N,)`.

    Raises:
        ValueError: No window, or r not positive.
    """
    if sharpness <= 0:
        raise ValueError(f"sharpness: expected a number above 0, got {sharpness}")
    flat = _flat(logits)
    return (torch.logsumexp(sharpness * flat, 1) - math.log(flat.shape[1])) / sharpness


def noisy_or(logits: Tensor) -> Tensor:
    """Logit of `1 - prod_w (1 - sigmoid(z_w))`: any window is enough, windows are independent.

    It is `log(expm1(s))` with `s = sum_w softplus(z_w)`, taken from `log s` where s is small and from s where it is
    large, so that neither a rosette nor its absence gets so sure that the gradient dies.

    Args:
        logits: `(N, ...)` window logits.

    Returns:
        `(N,)`.
    """
    flat = _flat(logits)
    # log softplus(z) is z to the last digit below -20, where softplus itself runs out of small numbers.
    log_softplus = torch.where(flat < -20, flat, F.softplus(flat.clamp_min(-20)).log())
    log_total = torch.logsumexp(log_softplus, 1)
    total = F.softplus(flat).sum(1)
    # log(expm1(s)) = log s + s/2 + O(s^2) = s + log(1 - exp(-s)); the clamp keeps the unused branch finite.
    return torch.where(log_total < -8, log_total + total / 2, total + torch.log(-torch.expm1(-total.clamp_min(1e-4))))


def maximum(logits: Tensor) -> Tensor:
    """The best window's logit, `(N,)`."""
    return _flat(logits).amax(1)


def mean(logits: Tensor) -> Tensor:
    """The mean of the window logits, `(N,)`."""
    return _flat(logits).mean(1)


def pool(logits: Tensor, how: str = "log_sum_exp", sharpness: float = 1.0) -> Tensor:
    """Pool by name: log_sum_exp, noisy_or, maximum or mean.

    Raises:
        ValueError: Another name.
    """
    named: dict[str, Callable[[Tensor], Tensor]] = {
        "log_sum_exp": lambda z: log_sum_exp(z, sharpness),
        "noisy_or": noisy_or,
        "maximum": maximum,
        "mean": mean,
    }
    if how not in named:
        raise ValueError(f"pooling: expected one of {', '.join(named)}, got {how!r}")
    return named[how](logits)
