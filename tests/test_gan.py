"""Eq. 1, Eq. 2 and the gradient penalty, evaluated literally."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.gan import critic_loss, generator_loss, gradient_penalty, minimax_losses


def scores(n: int, seed: int) -> Tensor:
    return 3 * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_minimax_is_equation_1() -> None:
    real, fake = scores(7, 0), scores(5, 1)
    real_term = sum(math.log(1 / (1 + math.exp(-d))) for d in real.tolist()) / 7
    fake_term = sum(math.log(1 - 1 / (1 + math.exp(-d))) for d in fake.tolist()) / 5
    discriminator, generator = minimax_losses(real, fake)
    assert discriminator.item() == pytest.approx(-(real_term + fake_term), rel=1e-12)
    assert generator.item() == pytest.approx(fake_term, rel=1e-12)


def test_minimax_at_equilibrium_is_log_4() -> None:
    discriminator, generator = minimax_losses(torch.zeros(3), torch.zeros(4))
    assert discriminator.item() == pytest.approx(math.log(4))
    assert generator.item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize("sure", [-100.0, 100.0])
def test_minimax_stays_finite_when_the_discriminator_is_sure(sure: float) -> None:
    real, fake = torch.full((3,), sure, requires_grad=True), torch.full((3,), -sure, requires_grad=True)
    discriminator, generator = minimax_losses(real, fake)
    (discriminator + generator).backward()
    assert torch.isfinite(discriminator)
    assert torch.isfinite(generator)
    assert real.grad is not None
    assert torch.isfinite(real.grad).all()


def test_wasserstein_losses_are_equation_2() -> None:
    real, fake = scores(6, 2), scores(9, 3)
    assert critic_loss(real, fake).item() == pytest.approx(sum(fake.tolist()) / 9 - sum(real.tolist()) / 6, rel=1e-12)
    assert generator_loss(fake).item() == pytest.approx(-sum(fake.tolist()) / 9, rel=1e-12)


def test_penalty_of_a_linear_critic_is_its_length_minus_one_squared() -> None:
    weight = torch.tensor([3.0, 0, 0, 4], dtype=torch.float64, requires_grad=True)
    images = torch.randn(5, 1, 2, 2, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ weight, images, torch.zeros_like(images))
    assert penalty.item() == pytest.approx((5 - 1) ** 2, rel=1e-9)
    penalty.backward()
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    assert weight.grad is not None
    np.testing.assert_allclose(weight.grad.numpy(), 2 * 4 * np.array([3, 0, 0, 4]) / 5, rtol=1e-9)


def test_penalty_of_a_quadratic_critic_by_loops() -> None:
    rng = np.random.default_rng(0)
    curve, real, fake = rng.normal(size=(1, 3, 2)), rng.normal(size=(4, 1, 3, 2)), rng.normal(size=(4, 1, 3, 2))
    source = torch.Generator().manual_seed(5)

    def critic(x: Tensor) -> Tensor:
        return (torch.from_numpy(curve) * x**2).sum((1, 2, 3))

    got = gradient_penalty(critic, torch.from_numpy(real), torch.from_numpy(fake), source)
    mix = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64).numpy()
    total = 0.0
    for k in range(4):
        slope = 0.0
        for i in range(3):
            for j in range(2):
                between = mix[k, 0, 0, 0] * real[k, 0, i, j] + (1 - mix[k, 0, 0, 0]) * fake[k, 0, i, j]
                slope += (2 * curve[0, i, j] * between) ** 2
        total += (math.sqrt(slope) - 1) ** 2
    assert got.item() == pytest.approx(total / 4, rel=1e-9)


def test_penalty_of_a_flat_critic_is_one_and_its_gradient_finite() -> None:
    weight = torch.zeros(4, requires_grad=True)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ weight, torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert weight.grad is not None
    assert torch.isfinite(weight.grad).all()


def test_penalty_teaches_the_critic_only() -> None:
    critic = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0))
    real, fake = torch.randn(3, 1, 2, 2, requires_grad=True), torch.randn(3, 1, 2, 2, requires_grad=True)
    gradient_penalty(critic, real, fake).backward()
    assert real.grad is None
    assert fake.grad is None
    assert critic[1].weight.grad.abs().sum() > 0


def test_penalty_draws_from_its_own_source() -> None:
    real, fake = torch.randn(3, 1, 2, 2), torch.randn(3, 1, 2, 2)

    def penalty(seed: int) -> float:
        source = torch.Generator().manual_seed(seed)
        return gradient_penalty(lambda x: x.square().sum((1, 2, 3)), real, fake, source).item()

    before = torch.get_rng_state()
    assert penalty(1) == penalty(1) != penalty(2)
    assert torch.equal(torch.get_rng_state(), before)


def test_penalty_of_unlike_batches_names_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and \(3, 1, 4, 4\)"):
        gradient_penalty(lambda x: x.sum((1, 2, 3)), torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, 4, 4))
