"""Networks of a training's result: their own weights, whatever they came as, files too; nobody else's randomness."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cellweak_core.files import DataError
from cellweak_core.screens.networks import load_weights, rebuilt, require_images, save_weights, weights_of


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


def test_weights_come_back_from_a_file_with_what_they_need(tmp_path: Path) -> None:
    weight, bias = torch.randn(3, 2).T, np.array([1.0, 2.0], np.float32)  # not contiguous
    result = {"architecture": {"n": 3}, "model.0.weight": weight, "model.0.bias": bias, "loss": bias}
    path = save_weights(tmp_path / "new" / "a.safetensors", result, {"architecture": {"n": 3}, "classes": ["b", "µ"]})
    assert path == tmp_path / "new" / "a.safetensors"
    found = load_weights(path, ["architecture", "classes"], "own", build)
    assert set(found) == {"architecture", "classes", "model.0.weight", "model.0.bias"}
    assert (found["architecture"], found["classes"]) == ({"n": 3}, ["b", "µ"])
    assert torch.equal(found["model.0.weight"], weight)
    assert found["model.0.bias"].tolist() == [1, 2]
    assert set(load_weights(path, ["architecture"], "own")) == set(found) - {"classes"}


def test_files_that_are_no_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    result = {"model.0.weight": torch.zeros(2, 3), "model.0.bias": torch.zeros(2)}
    path = save_weights(tmp_path / "a.safetensors", result, {"architecture": {"n": 4}})
    assert load_weights(path, ["architecture"], "own")["architecture"] == {"n": 4}  # fits, as long as nobody builds it
    text = tmp_path / "text"
    text.write_text("no weights")
    for file, names, given in ((path, ["classes"], None), (path, ["architecture"], build), (text, [], None),
                               (tmp_path / "absent", [], None)):  # fmt: skip
        words = rf"{file.name}: cannot be read as weights of the own chapter \(.+\)$"
        with pytest.raises(DataError, match=words) as said:
            load_weights(file, names, "own", given)
        assert "\n" not in str(said.value)


def test_images_of_another_shape_are_refused_by_both_shapes() -> None:
    require_images(torch.zeros(0, 3, 8, 8), 3, 8)
    for shape in ((1, 2, 8, 8), (1, 3, 8, 9), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"expected \(n, 3, 8, 8\), got \(.*\)"):
            require_images(torch.zeros(shape), 3, 8)
