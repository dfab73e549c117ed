"""Losses of generative adversarial networks, as the papers' equations print them.

Each is a mean over the batch; of an empty batch it is NaN, as torch's mean.

        z ~ N(0, 1) --> generator --> fake --\
                                              critic --> one score per image
                              real images ---/
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def minimax_losses(real_logits: Tensor, fake_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Discriminator's and generator's loss of the original GAN game, both to be minimised.

    `min_G max_D E[log D(x)] + E[log(1 - D(G(z)))]`, with `D = sigmoid(logit)`.
    Source: Wang et al., Eq. 1 (Goodfellow et al. 2014). The papers train with `critic_loss` instead.

    Args:
        real_logits: `(N,)` scores of real images.
        fake_logits: `(M,)` scores of generated images.

    Returns:
        Two scalars: the discriminator's (the negative of the game's value) and the generator's loss.
    """
    fake_term = F.logsigmoid(-fake_logits).mean()
    return -(F.logsigmoid(real_logits).mean() + fake_term), fake_term


def smoothed_labels(
    n: int, low: float = 0.8, device: torch.device | str = "cpu", generator: torch.Generator | None = None
) -> Tensor:
    """Labels of real images for a discriminator that shall not grow too sure: U(low, 1) each, `(n,)` float32.

    One-sided: generated images keep their 0 (Salimans et al. 2016, Sec. 3.4), and the generator is told 1.

    Raises:
        ValueError: `low` is not in [0, 1].
    """
    if not 0 <= low <= 1:
        raise ValueError(f"low: expected 0 to 1, got {low}")
    return low + (1 - low) * torch.rand(n, generator=generator, device=device)


def _on_both(pointwise: Callable[..., Tensor], real: Tensor, fake: Tensor, real_labels: Tensor | None) -> Tensor:
    """Mean over both batches together, generated first: `pointwise(scores, labels)`, fakes labelled 0."""
    labels = torch.ones_like(real) if real_labels is None else real_labels.to(real.dtype)
    if labels.shape != real.shape:
        raise ValueError(f"real_labels: expected {tuple(real.shape)}, got {tuple(labels.shape)}")
    return pointwise(torch.cat([fake, real]), torch.cat([torch.zeros_like(fake), labels]))


def cross_entropy_discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, real_labels: Tensor | None = None
) -> Tensor:
    """`-mean[y log D + (1 - y) log(1 - D)]` over both batches together, y = 0 for generated images.

    Source: Radford et al. 2016 (DCGAN); of as many real as generated images with labels 1 it is half of
    `minimax_losses`'.

    Args:
        real_logits: `(N,)` scores of real images, `D = sigmoid(score)`.
        fake_logits: `(M,)` scores of generated images.
        real_labels: `(N,)` in [0, 1], see `smoothed_labels`; 1 where None.

    Raises:
        ValueError: Another number of labels.
    """
    return _on_both(F.binary_cross_entropy_with_logits, real_logits, fake_logits, real_labels)


def non_saturating_generator_loss(fake_logits: Tensor) -> Tensor:
    """`-E[log D(G(z))]`, whose slope is steep where the discriminator is sure (Goodfellow et al. 2014, Sec. 3)."""
    return -F.logsigmoid(fake_logits).mean()


def least_squares_discriminator_loss(
    real_scores: Tensor, fake_scores: Tensor, real_labels: Tensor | None = None
) -> Tensor:
    """`mean[(D - y)^2]` over both batches together, y = 0 for generated images.

    Source: Mao et al. 2017, Eq. 2 with a = 0, b = 1, where each batch has its own mean, and half of it.

    Args:
        real_scores: `(N,)`, unbounded.
        fake_scores: `(M,)`.
        real_labels: As `cross_entropy_discriminator_loss`.

    Raises:
        ValueError: Another number of labels.
    """
    return _on_both(F.mse_loss, real_scores, fake_scores, real_labels)


def least_squares_generator_loss(fake_scores: Tensor) -> Tensor:
    """`E[(D(G(z)) - 1)^2]` (Mao et al. 2017, Eq. 2 with c = 1, without its half)."""
    return (fake_scores - 1).square().mean()


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The Wasserstein critic's loss without its penalty: `E[D(G(z))] - E[D(x)]`.

    Source: Wang et al., Eq. 2 (Arjovsky et al. 2017); no hinge, no sigmoid: the scores are unbounded.
    """
    return fake_scores.mean() - real_scores.mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """The Wasserstein generator's loss, `-E[D(G(z))]` (Wang et al., Eq. 2)."""
    return -fake_scores.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """The term `R` of Eq. 2: how far the critic's slope is from one between real and generated images.

    `E[(||grad_x D(x_hat)||_2 - 1)^2]`, `x_hat = e x + (1 - e) G(z)`, one `e ~ U(0, 1)` per pair.
    Source: Gulrajani et al. 2017, Algorithm 1, which Wang et al. cite for `R`. To be multiplied by its weight.

    Args:
        critic: Maps `(N, ...)` to `(N,)`.
        real: `(N, C, H, W)`.
        fake: As `real`; no gradient flows into it.
        generator: Source of `e`, on the device of `real`.

    Returns:
        A scalar, differentiable in the critic's parameters.

    Raises:
        ValueError: The two batches differ in shape.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real and fake: expected one shape, got {tuple(real.shape)} and {tuple(fake.shape)}")
    mix = torch.rand(len(real), *[1] * (real.ndim - 1), generator=generator, device=real.device, dtype=real.dtype)
    between = (mix * real.detach() + (1 - mix) * fake.detach()).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # The small constant keeps the square root's derivative finite where the slope is exactly zero.
    norm = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()
    return (norm - 1).square().mean()
