"""The wing's losses, evaluated literally and against torch's own distributions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from cellweak_core.cytogan import losses
from cellweak_core.training import random_source


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=random_source(seed))


def test_l1_reconstruction_is_the_mean_difference() -> None:
    x, again = random(2, 1, 3, 2), random(2, 1, 3, 2, seed=1)
    total = 0.0
    for a, b in zip(x.flatten().tolist(), again.flatten().tolist(), strict=True):
        total += abs(a - b)
    assert losses.l1_reconstruction(x, again).item() == pytest.approx(total / 12, rel=1e-12)


def test_boundary_losses_are_the_papers() -> None:
    real, fake, k = 0.7, 0.4, 0.3
    given = [torch.tensor(v, dtype=torch.float64) for v in (real, fake, k)]
    assert losses.boundary_discriminator_loss(*given).item() == pytest.approx(real - k * fake)
    assert losses.next_k(given[2], *given[:2], gamma=0.75, gain=0.1).item() == pytest.approx(
        k + 0.1 * (0.75 * real - fake)
    )
    assert losses.convergence_measure(*given[:2]).item() == pytest.approx(real + abs(0.75 * real - fake))


@pytest.mark.parametrize(("real", "fake", "k", "expected"), [(9.0, 0.0, 0.9, 1.0), (0.0, 9.0, 0.1, 1e-8)])
def test_k_stays_between_its_bounds(real: float, fake: float, k: float, expected: float) -> None:
    found = losses.next_k(torch.tensor(k), torch.tensor(real), torch.tensor(fake), gain=1.0)
    assert found.item() == pytest.approx(expected)


def test_k_rests_where_the_losses_are_balanced() -> None:
    k = torch.tensor(0.4, dtype=torch.float64)
    real = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    moved = losses.next_k(k, real, 0.5 * real, gamma=0.5)
    assert moved.item() == k.item()
    assert not moved.requires_grad
    assert losses.convergence_measure(real, 0.5 * real, gamma=0.5).item() == pytest.approx(0.8)


def test_encoder_wants_to_be_taken_for_the_generator() -> None:
    logits = random(6)
    expected = -sum(math.log(1 - 1 / (1 + math.exp(-d))) for d in logits.tolist()) / 6
    assert losses.encoder_loss(logits).item() == pytest.approx(expected, rel=1e-12)
    sure = torch.tensor([80.0], requires_grad=True)
    losses.encoder_loss(sure).backward()
    assert sure.grad is not None
    assert sure.grad.item() == pytest.approx(1)  # it learns most where it fails


def test_squared_error_is_summed_over_pixels_between_0_and_1() -> None:
    x, again = random(3, 2, 2, 2), random(3, 2, 2, 2, seed=1)
    total = 0.0
    for i in range(3):
        for a, b in zip(x[i].flatten().tolist(), again[i].flatten().tolist(), strict=True):
            total += ((a + 1) / 2 - (b + 1) / 2) ** 2
    assert losses.squared_error(x, again).item() == pytest.approx(total / 3, rel=1e-12)


def test_kl_divergence_is_torchs() -> None:
    mean, log_sd = random(5, 4), random(5, 4, seed=1)
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = kl_divergence(Normal(mean, log_sd.exp()), standard).sum(1).mean()
    assert losses.kl_divergence(mean, log_sd).item() == pytest.approx(expected.item(), rel=1e-12)
    literal = 0.0
    for i in range(5):
        for j in range(4):
            m, s = mean[i, j].item(), math.exp(log_sd[i, j].item())
            literal -= 0.5 * (1 + math.log(s**2) - m**2 - s**2)
    assert losses.kl_divergence(mean, log_sd).item() == pytest.approx(literal / 5, rel=1e-12)
    assert losses.kl_divergence(torch.zeros(3, 2), torch.zeros(3, 2)).item() == 0


def scalar(x: Tensor) -> Tensor:
    return x.square().mean()


LOSSES = {
    "l1": losses.l1_reconstruction,
    "boundary": lambda x, y: losses.boundary_discriminator_loss(scalar(x), scalar(y), torch.tensor(0.2)),
    "convergence": lambda x, y: losses.convergence_measure(scalar(x), scalar(y)),
    "encoder": lambda x, y: losses.encoder_loss((x + y).flatten(1).sum(1)),
    "squared error": losses.squared_error,
    "kl": lambda x, y: losses.kl_divergence(x.flatten(1), y.flatten(1)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 4])
def test_loss_keeps_type_and_input_and_of_no_image_is_not_a_number(name: str, dtype: torch.dtype, n: int) -> None:
    x, y = (random(n, 2, 3, 3, seed=s).to(dtype).requires_grad_() for s in (0, 1))
    before = x.detach().clone(), y.detach().clone()
    found = LOSSES[name](x, y)
    assert found.shape == ()
    assert found.dtype == dtype
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    if n == 0:
        assert torch.isnan(found)
        return
    assert torch.isfinite(found)
    found.backward()
    for given in (x, y):
        assert given.grad is not None
        assert torch.isfinite(given.grad).all()
        assert given.grad.abs().sum() > 0


def test_losses_stay_finite_at_the_ends() -> None:
    for value in (-200.0, 200.0):
        assert np.isfinite(losses.encoder_loss(torch.tensor([value])).item())
