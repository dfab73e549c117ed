"""Pooling against its formulas in float64, where scores are sure, and its gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cellweak_core.rosettes.pooling import log_sum_exp, maximum, mean, noisy_or, pool

NAMES = ("log_sum_exp", "noisy_or", "maximum", "mean")
logits = st.lists(st.floats(-12, 12), min_size=1, max_size=30)


def row(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


@given(logits, st.floats(0.05, 20))
def test_log_sum_exp_is_its_formula(z: list[float], r: float) -> None:
    literal = math.log(sum(math.exp(r * v) for v in z) / len(z)) / r
    assert log_sum_exp(row(z), r).item() == pytest.approx(literal, abs=1e-9)


@given(logits)
def test_noisy_or_is_one_minus_the_product(z: list[float]) -> None:
    none = math.prod(1 - 1 / (1 + math.exp(-v)) for v in z)
    p = noisy_or(row(z)).sigmoid().item()
    assert p == pytest.approx(1 - none, abs=1e-12)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=20))
def test_noisy_or_logit(z: list[float]) -> None:
    total = sum(math.log1p(math.exp(v)) for v in z)
    assert noisy_or(row(z)).item() == pytest.approx(total + math.log(-math.expm1(-total)), rel=1e-6, abs=1e-6)


def test_noisy_or_where_its_two_branches_meet() -> None:
    z = torch.linspace(-25, 5, 3001, dtype=torch.float64)[:, None].requires_grad_()
    out = noisy_or(z)
    torch.testing.assert_close(out.detach(), z[:, 0].detach(), atol=1e-7, rtol=0)  # one window is its own image
    (slope,) = torch.autograd.grad(out.sum(), z)
    torch.testing.assert_close(slope, torch.ones_like(slope), atol=1e-4, rtol=0)


def test_sure_scores_pool_to_what_they_say_and_still_learn() -> None:
    n = 169
    for fill, expected in ((-100.0, -100 + math.log(n)), (100.0, 100.0 * n)):
        z = torch.full((2, 13, 13), fill, requires_grad=True)
        out = noisy_or(z)
        torch.testing.assert_close(out.detach(), torch.full((2,), expected))
        (slope,) = torch.autograd.grad(out.sum(), z)
        assert slope.sum() > 1.9
        assert torch.isfinite(slope).all()
    one = torch.full((1, n), -100.0)
    one[0, 7] = 100
    assert noisy_or(one).item() == pytest.approx(100, rel=1e-6)


@pytest.mark.parametrize("how", NAMES)
@pytest.mark.parametrize("fill", [-100.0, 0.0, 100.0])
def test_extreme_scores_stay_finite(how: str, fill: float) -> None:
    z = torch.full((3, 4, 5), fill)
    z[1, 2, 2] = 100
    z[2, 1, 1] = -100
    z.requires_grad_()
    out = pool(z, how, 5.0)
    out.sum().backward()
    assert out.shape == (3,)
    assert torch.isfinite(out).all()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()
    assert (z.grad >= 0).all()
    assert (z.grad.flatten(1).sum(1) > 0.5).all()  # no image stops learning


@pytest.mark.parametrize("how", NAMES)
def test_gradients_are_those_of_finite_differences(how: str) -> None:
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pool(x, how, 2.0), z)


@pytest.mark.parametrize("how", NAMES)
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=12), st.randoms())
def test_the_order_of_windows_does_not_matter_and_more_is_more(how: str, z: list[float], random: object) -> None:
    shuffled = sorted(z, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert pool(row(shuffled), how, 2.0).item() == pytest.approx(pool(row(z), how, 2.0).item(), abs=1e-9)
    assert pool(row([v + 1 for v in z]), how, 2.0) > pool(row(z), how, 2.0)


def test_one_window_is_its_image() -> None:
    z = torch.tensor([[-3.0], [0.5], [40.0]])
    for how in NAMES:
        torch.testing.assert_close(pool(z, how, 3.0), z[:, 0], atol=1e-5, rtol=1e-5)


def test_log_sum_exp_lies_between_mean_and_maximum() -> None:
    z = torch.randn(5, 20, dtype=torch.float64)
    torch.testing.assert_close(log_sum_exp(z, 1e-6), mean(z), atol=1e-5, rtol=0)
    torch.testing.assert_close(log_sum_exp(z, 1e4), maximum(z), atol=1e-3, rtol=0)
    assert (mean(z) < log_sum_exp(z, 3.0)).all()
    assert (log_sum_exp(z, 3.0) < maximum(z)).all()


def test_maximum_and_mean() -> None:
    z = torch.tensor([[[1.0, 2], [3, 6]], [[-1, -2], [-3, -6]]])
    assert maximum(z).tolist() == [6, -1]
    assert mean(z).tolist() == [3, -3]


def test_pooling_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="expected one of log_sum_exp, noisy_or, maximum, mean, got 'median'"):
        pool(torch.zeros(1, 2), "median")
    with pytest.raises(ValueError, match="sharpness"):
        log_sum_exp(torch.zeros(1, 2), 0)
    for shape in ((3,), (3, 0), (3, 0, 4)):
        with pytest.raises(ValueError, match="at least one window"):
            noisy_or(torch.zeros(shape))


def test_no_image_pools_to_no_score() -> None:
    for how in NAMES:
        assert pool(torch.zeros(0, 4, 4), how).shape == (0,)
