"""Resampled groups and Monte Carlo dropout."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cellweak_core.uncertainty import (
    drawn_seeds,
    dropout_active,
    group_weights,
    mc_dropout,
    percentile_interval,
    summary,
)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_members_of_a_group_are_drawn_together(groups: list[str], seed: int) -> None:
    weights = group_weights(groups, 7, seed)
    assert weights.shape == (7, len(groups))
    names = sorted(set(groups))
    for row in weights:
        counts = [{w for w, g in zip(row.tolist(), groups, strict=True) if g == name} for name in names]
        assert all(len(c) == 1 for c in counts)
        assert sum(c.pop() for c in counts) == len(names)  # as many groups are drawn as there are


@given(st.permutations(list("aaabbcccc")))
def test_the_order_of_the_images_does_not_matter(groups: list[str]) -> None:
    ordered = dict(zip("aaabbcccc", group_weights(list("aaabbcccc"), 5, 3).T.tolist(), strict=True))
    assert [ordered[g] for g in groups] == group_weights(groups, 5, 3).T.tolist()


def test_one_group_is_always_drawn_once() -> None:
    np.testing.assert_array_equal(group_weights(["only"] * 4, 10, 0), np.ones((10, 4)))


def test_weights_are_those_of_their_seed() -> None:
    np.testing.assert_array_equal(group_weights(range(9), 20, 1), group_weights(range(9), 20, 1))
    assert (group_weights(range(9), 20, 1) != group_weights(range(9), 20, 2)).any()


def test_no_observation_cannot_be_resampled() -> None:
    with pytest.raises(ValueError, match="at least one observation"):
        group_weights([], 5, 0)


def test_as_many_seeds_are_drawn_as_there_are_each_as_often_as_another() -> None:
    drawn = drawn_seeds(4, 5000, 3)
    assert drawn.shape == (5000, 4)
    assert (drawn.sum(1) == 4).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.06)  # four standard errors of the mean
    assert drawn.var() == pytest.approx(4 * 1 / 4 * 3 / 4, rel=0.05)  # binomial: with replacement
    np.testing.assert_array_equal(drawn, drawn_seeds(4, 5000, 3))
    np.testing.assert_array_equal(drawn_seeds(1, 3, 0), np.ones((3, 1)))


def test_seeds_are_drawn_apart_from_groups_and_from_other_streams() -> None:
    seeds = drawn_seeds(8, 5000, 0)
    for other in (group_weights(range(8), 5000, 0), drawn_seeds(8, 5000, 0, 1), drawn_seeds(8, 5000, 1)):
        along = np.corrcoef(seeds[:, 0], other[:, 0])[0, 1]
        assert abs(along) < 0.06  # four standard errors; of one stream 1


def test_interval_is_the_central_share() -> None:
    low, high = percentile_interval(np.arange(101), 0.9)
    assert (low, high) == pytest.approx((5, 95))


def test_interval_leaves_out_what_is_undefined() -> None:
    assert percentile_interval([1, 1, math.nan, 3]) == percentile_interval([1, 1, 3])
    assert all(math.isnan(v) for v in percentile_interval([1, math.nan, math.nan]))
    assert all(math.isnan(v) for v in percentile_interval([]))


@pytest.mark.parametrize("level", [0, 1, 95])
def test_interval_of_no_share(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        percentile_interval([1, 2], level)


def test_interval_covers_the_truth_where_images_of_an_embryo_are_copies() -> None:
    rng = np.random.default_rng(0)
    n_embryos, n_copies, hits, naive_hits, n_trials = 30, 8, 0, 0, 150
    embryo = np.repeat(np.arange(n_embryos), n_copies)
    by_embryo, by_image = (group_weights(g, 300, 5) for g in (embryo, np.arange(len(embryo))))
    for _ in range(n_trials):
        values = np.repeat(rng.normal(size=n_embryos), n_copies)
        low, high = percentile_interval(by_embryo @ values / by_embryo.sum(1))
        hits += low <= 0 <= high
        low, high = percentile_interval(by_image @ values / by_image.sum(1))
        naive_hits += low <= 0 <= high
    assert 0.87 <= hits / n_trials <= 0.99
    assert naive_hits / n_trials < 0.7  # why whole embryos are resampled


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.5), nn.Flatten(), nn.Dropout(0.5))


def test_dropout_is_on_and_the_rest_in_evaluation_mode() -> None:
    model = network()
    model[1].eval()
    before = [m.training for m in model.modules()]
    with dropout_active(model):
        assert [m.training for m in model] == [False, False, True, False, True]
    assert [m.training for m in model.modules()] == before
    with pytest.raises(KeyError), dropout_active(model):
        raise KeyError
    assert [m.training for m in model.modules()] == before


def test_passes_differ_and_average_to_the_prediction() -> None:
    model = network()
    images = torch.randn(2, 1, 5, 5)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    passes = mc_dropout(model, images, 1500)
    assert passes.shape == (1500, 2, 36)
    assert not passes.requires_grad
    assert passes.var(0).min() > 0
    torch.testing.assert_close(passes.mean(0), model.eval()(images).detach(), atol=0.35, rtol=0)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_passes_without_dropout_are_equal_and_one_is_allowed() -> None:
    model = nn.Linear(3, 2)
    passes = mc_dropout(model, torch.randn(4, 3), 2)
    assert torch.equal(passes[0], passes[1])
    assert mc_dropout(model, torch.randn(4, 3), 1).shape == (1, 4, 2)
    with pytest.raises(ValueError, match="n_passes"):
        mc_dropout(model, torch.randn(4, 3), 0)


def test_summary() -> None:
    assert summary([1, 2, 3]) == (2, 1)
    mean, sd = summary([4])
    assert mean == 4
    assert math.isnan(sd)
    assert all(math.isnan(v) for v in summary([]))
