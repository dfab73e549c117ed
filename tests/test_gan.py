"""Eq. 1, Eq. 2 and the gradient penalty, evaluated literally."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.gan import (
    critic_loss,
    cross_entropy_discriminator_loss,
    generator_loss,
    gradient_penalty,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_losses,
    non_saturating_generator_loss,
    smoothed_labels,
)
from cellweak_core.training import random_source


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


def test_penaltys_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)]
    critic = nn.Sequential(*layers).double()
    real, fake = (torch.randn(4, 2, 4, 4, dtype=torch.float64) for _ in range(2))

    def penalty() -> Tensor:
        return gradient_penalty(critic, real, fake, random_source(3))

    penalty().backward()
    step = 1e-6
    for parameter in critic.parameters():
        # The bias of a linear score moves no slope: neither way gives it a gradient.
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        values = parameter.data.view(-1)
        for k in range(len(values)):
            was = values[k].item()
            values[k] = was + step
            above = penalty().item()
            values[k] = was - step
            below = penalty().item()
            values[k] = was
            assert found.view(-1)[k].item() == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)


def sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


@pytest.mark.parametrize("smooth", [True, False])
def test_discriminator_losses_are_means_over_both_batches(smooth: bool) -> None:
    real, fake = scores(6, 4), scores(3, 5)
    labels = smoothed_labels(6, generator=random_source(0)).double() if smooth else None
    targets = [0.0] * 3 + (labels.tolist() if labels is not None else [1.0] * 6)
    pairs = list(zip(fake.tolist() + real.tolist(), targets, strict=True))
    entropy = sum(y * math.log(sigmoid(d)) + (1 - y) * math.log(1 - sigmoid(d)) for d, y in pairs) / -9
    squares = sum((d - y) ** 2 for d, y in pairs) / 9
    assert cross_entropy_discriminator_loss(real, fake, labels).item() == pytest.approx(entropy, rel=1e-12)
    assert least_squares_discriminator_loss(real, fake, labels).item() == pytest.approx(squares, rel=1e-12)


def test_generator_losses_are_the_equations() -> None:
    fake = scores(7, 6)
    entropy = -sum(math.log(sigmoid(d)) for d in fake.tolist()) / 7
    squares = sum((d - 1) ** 2 for d in fake.tolist()) / 7
    assert non_saturating_generator_loss(fake).item() == pytest.approx(entropy, rel=1e-12)
    assert least_squares_generator_loss(fake).item() == pytest.approx(squares, rel=1e-12)


def test_cross_entropy_of_equal_batches_is_half_of_the_game() -> None:
    real, fake = scores(5, 7), scores(5, 8)
    game, _ = minimax_losses(real, fake)
    assert 2 * cross_entropy_discriminator_loss(real, fake).item() == pytest.approx(game.item(), rel=1e-12)


def test_non_saturating_loss_teaches_where_the_games_own_has_no_slope() -> None:
    lost = torch.full((4,), -30.0, requires_grad=True)
    (slope,) = torch.autograd.grad(non_saturating_generator_loss(lost), lost)
    (game,) = torch.autograd.grad(minimax_losses(torch.zeros(4), lost)[1], lost)
    assert slope.tolist() == pytest.approx([-0.25] * 4)
    assert game.abs().max() < 1e-12


def test_labels_are_smoothed_within_their_bounds_and_repeat() -> None:
    labels = smoothed_labels(2000, generator=random_source(1))
    assert labels.shape == (2000,)
    assert labels.dtype == torch.float32
    assert 0.8 <= labels.min() < 0.81
    assert 0.99 < labels.max() <= 1
    assert labels.mean().item() == pytest.approx(0.9, abs=0.01)
    assert torch.equal(labels, smoothed_labels(2000, generator=random_source(1)))
    assert smoothed_labels(3, low=1).tolist() == [1, 1, 1]
    assert smoothed_labels(0).shape == (0,)
    with pytest.raises(ValueError, match=r"low: expected 0 to 1, got 1\.2"):
        smoothed_labels(3, low=1.2)


def test_labels_of_another_number_are_refused() -> None:
    for loss in (cross_entropy_discriminator_loss, least_squares_discriminator_loss):
        with pytest.raises(ValueError, match=r"real_labels: expected \(3,\), got \(2,\)"):
            loss(torch.zeros(3), torch.zeros(3), torch.ones(2))
