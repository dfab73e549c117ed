"""Losses of this wing's own; those of DCGAN, LSGAN and WGAN are in `gan`, as other chapters train with them too.

    BEGAN:  L(x) - k L(G(z)) for the discriminator, L(G(z)) for the generator;  k keeps  L(G(z)) / L(x)  at gamma
    BiGAN:  cross entropy of (x, E(x)) and (G(z), z); generator and encoder want the other answer
    VAE:    squared error + KL(code || N(0, 1))

Means over the batch; of an empty batch NaN, as torch's mean.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

K_LEAST = 1e-8  # and the start


def l1_reconstruction(images: Tensor, repeated: Tensor) -> Tensor:
    """`L(v) = mean |v - D(v)|` over pixels and images (Berthelot et al. 2017, Sec. 3.1 with eta = 1)."""
    return F.l1_loss(repeated, images)


def boundary_discriminator_loss(real: Tensor, fake: Tensor, k: Tensor) -> Tensor:
    """`L_D = L(x) - k L(G(z))` (Berthelot et al. 2017, Sec. 3.4); the generator's is `L(G(z))` itself.

    Args:
        real: `L(x)`, a scalar.
        fake: `L(G(z))`, a scalar.
        k: A scalar in [0, 1], see `next_k`.
    """
    return real - k * fake


def next_k(k: Tensor, real: Tensor, fake: Tensor, gamma: float = 0.75, gain: float = 1e-3) -> Tensor:
    """`k + gain (gamma L(x) - L(G(z)))`, clipped to [1e-8, 1] (Berthelot et al. 2017, Sec. 3.4).

    Args:
        k: A scalar.
        real: `L(x)`.
        fake: `L(G(z))`.
        gamma: The "diversity ratio" that `L(G(z)) / L(x)` is held at.
        gain: `lambda_k`.
    """
    return (k + gain * (gamma * real.detach() - fake.detach())).clamp(K_LEAST, 1.0)


def convergence_measure(real: Tensor, fake: Tensor, gamma: float = 0.75) -> Tensor:
    """`M = L(x) + |gamma L(x) - L(G(z))|`, which falls as a BEGAN converges (Berthelot et al. 2017, Sec. 3.4.1)."""
    return real + (gamma * real - fake).abs()


def encoder_loss(real_logits: Tensor) -> Tensor:
    """`-E[log(1 - D(x, E(x)))]`: a BiGAN's encoder wants its pairs to be taken for the generator's.

    Source: Donahue et al. 2017, Sec. 3.4, with labels inverted as for the generator.

    Args:
        real_logits: `(N,)` of real images with their codes.
    """
    return F.softplus(real_logits).mean()


def squared_error(images: Tensor, repeated: Tensor) -> Tensor:
    """Sum over pixels of the squared difference of pixels in [0, 1], mean over images.

    Args:
        images: `(n, C, H, W)` in [-1, 1], which is why a quarter of their squared difference is taken.
        repeated: As `images`.
    """
    return F.mse_loss(repeated, images, reduction="sum") / (4 * len(images))


def kl_divergence(mean: Tensor, log_sd: Tensor) -> Tensor:
    """`KL(N(mean, sd^2) || N(0, 1)) = -1/2 sum(1 + log sd^2 - mean^2 - sd^2)`, mean over images.

    Source: Kingma and Welling 2014, Appendix B.

    Args:
        mean: `(n, d)`.
        log_sd: `(n, d)`.
    """
    return -0.5 * (1 + 2 * log_sd - mean.square() - (2 * log_sd).exp()).sum(1).mean()
