"""Log-cosh held against its definition in float64, and L2 on filters against the prior that it stands for."""

import numpy as np
import pytest
import torch
from torch import nn

from cellweak_core.migration.losses import log_cosh, parameter_groups
from cellweak_core.training import random_source


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_cosh_is_its_definition(dtype: torch.dtype) -> None:
    a, b = 5 * torch.randn(2, 50, generator=random_source(0), dtype=torch.float64)
    wanted = np.mean([np.log(np.cosh(p - q)) for p, q in zip(a.numpy(), b.numpy(), strict=True)])
    found = log_cosh(a.to(dtype), b.to(dtype))
    assert found.dtype == dtype
    assert float(found) == pytest.approx(wanted, rel=1e-6 if dtype == torch.float32 else 1e-14)


def test_log_cosh_of_what_a_definition_in_float32_cannot() -> None:
    for d in (200.0, 1e4, 1e30):
        x = torch.tensor([d], requires_grad=True)
        loss = log_cosh(x, torch.zeros(1))
        assert loss.item() == pytest.approx(d - np.log(2))
        loss.backward()
        assert x.grad is not None
        assert float(x.grad) == 1
    assert float(log_cosh(torch.zeros(3), torch.zeros(3))) == pytest.approx(0, abs=1e-7)


def test_slope_is_tanh() -> None:
    d = torch.linspace(-4, 4, 81, dtype=torch.float64, requires_grad=True)
    log_cosh(d, torch.zeros_like(d)).backward()
    np.testing.assert_allclose(d.grad, np.tanh(d.detach().numpy()) / 81, atol=1e-15)


def test_small_errors_are_half_squares_and_large_ones_absolute() -> None:
    assert float(log_cosh(torch.tensor([1e-2]), torch.zeros(1))) == pytest.approx(0.5e-4, rel=2e-3)
    assert float(log_cosh(torch.tensor([30.0]), torch.zeros(1))) == pytest.approx(30 - np.log(2))


def test_shapes_and_nothing() -> None:
    with pytest.raises(ValueError, match=r"got \(3,\) and \(3, 1\)"):
        log_cosh(torch.zeros(3), torch.zeros(3, 1))
    assert torch.isnan(log_cosh(torch.zeros(0), torch.zeros(0)))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 4, 1)
    ).double()


def test_only_filters_decay() -> None:
    own = network()
    filters, others = parameter_groups(own, 0.1)
    assert [id(p) for p in filters["params"]] == [id(own[0].weight), id(own[3].weight)]
    assert filters["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    assert {id(p) for group in (filters, others) for p in group["params"]} == {id(p) for p in own.parameters()}
    with pytest.raises(ValueError, match="0 or more"):
        parameter_groups(own, -1)


def test_decay_is_the_slope_of_a_gaussian_prior() -> None:
    # Adam's steps with weight_decay 1 / (N s^2), and those on mean loss - log p(w) / N without it
    n, s, source = 12, 0.4, random_source(1)
    x = torch.randn(n, 1, 6, 6, generator=source, dtype=torch.float64)
    y = torch.randn(n, generator=source, dtype=torch.float64)
    ours, literal = network(), network()
    adam = torch.optim.Adam(parameter_groups(ours, 1 / (n * s**2)), 0.01)
    other = torch.optim.Adam(literal.parameters(), 0.01)
    start = ours[0].weight.detach().clone()
    for _ in range(5):
        adam.zero_grad()
        log_cosh(ours(x)[:, 0], y).backward()
        adam.step()
        other.zero_grad()
        prior = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), s)
        log_p = sum(prior.log_prob(literal[k].weight).sum() for k in (0, 3))
        (log_cosh(literal(x)[:, 0], y) - log_p / n).backward()
        other.step()
    assert (ours[0].weight - start).abs().max() > 0.01
    for a, b in zip(ours.parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
