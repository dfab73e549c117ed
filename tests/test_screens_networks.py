"""Networks of a training's result: their own weights, whatever they came as, and nobody else's randomness."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cellweak_core.screens.networks import rebuilt, require_images, weights_of


def build(architecture: Mapping[str, Any]) -> nn.Sequential:
    return nn.Sequential(nn.Linear(architecture["n"], 2), nn.Dropout())


def test_a_network_comes_back_from_tensors_and_from_read_only_arrays() -> None:
    weight, bias = torch.randn(2, 3), np.array([1.0, 2.0], np.float32)
    bias.setflags(write=False)
    result = {"architecture": {"n": 3}, "model.0.weight": weight, "model.0.bias": bias, "loss": bias}
    assert set(weights_of(result)) == {"0.weight", "0.bias"}
    state = torch.random.get_rng_state()
    network = rebuilt(result, build)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not network.training
    assert torch.equal(network[0].weight, weight)
    assert network[0].bias.tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="size mismatch"):
        rebuilt({**result, "architecture": {"n": 4}}, build)


def test_images_of_another_shape_are_refused_by_both_shapes() -> None:
    require_images(torch.zeros(0, 3, 8, 8), 3, 8)
    for shape in ((1, 2, 8, 8), (1, 3, 8, 9), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"expected \(n, 3, 8, 8\), got \(.*\)"):
            require_images(torch.zeros(shape), 3, 8)
