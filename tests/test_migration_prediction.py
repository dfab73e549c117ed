"""Predictions against a literal loop over images and samples; equations; what a batch must not change; bad input."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.files import DataError
from cellweak_core.migration import networks, prediction
from cellweak_core.migration.augmentation import normalised
from cellweak_core.migration.dropout import DropoutConv, rates, with_dropout
from cellweak_core.migration.prediction import parts_of, predict, sampled
from cellweak_core.screens.cellnet import Pointwise
from cellweak_core.training import random_source

EXACT: dict[str, Any] = {"device": "cpu", "precision": "32-true"}
PX = 32


@cache
def trained(name: str, n_channels: int = 2, width: float = 0.07, **own: float) -> dict[str, Any]:
    """A network that has seen some patches, so that its batch normalisation has statistics of its own."""
    architecture = {"network": name, "n_channels": n_channels, "width": width, **own}
    torch.manual_seed(0)
    network = networks.build(architecture).train()
    with torch.no_grad():
        for k in range(20):
            network(normalised(pixels(8, n_channels, seed=k).float()))
    return {"architecture": architecture} | {f"model.{name}": value for name, value in network.state_dict().items()}


def pixels(n: int, channels: int = 2, px: int = PX, seed: int = 1) -> Tensor:
    return torch.randint(0, 4000, (n, channels, px, px), generator=random_source(seed)).to(torch.int16)


def literal(result: dict[str, Any], images: Tensor, n_samples: int, seed: int) -> np.ndarray:
    """y_t of each image alone, by the plain network: behind each convolution a mask of the sample's own generator."""
    network = networks.build(result["architecture"]).eval()
    network.load_state_dict({name.removeprefix("model."): v for name, v in result.items() if name != "architecture"})
    rate_of = rates(network)
    source = torch.Generator()

    def dropped(rate: float, y: Tensor) -> Tensor:
        _, c, h, w = y.shape
        words = torch.empty(-(-h * w * c // 4), dtype=torch.int64).random_(-(2**63), None, generator=source)
        below = (words.numpy().view(np.int16).astype(int) + 2**15)[: h * w * c] < round(rate * 2**16)
        m = torch.from_numpy(~below).view(h, w, c).permute(2, 0, 1)
        return torch.where(m, y / (1 - round(rate * 2**16) / 2**16), 0.0)

    for name, rate in rate_of.items():
        conv = network.get_submodule(name)
        plain = Pointwise if isinstance(conv, Pointwise) else nn.Conv2d
        conv.forward = lambda x, conv=conv, plain=plain, rate=rate: dropped(rate, plain.forward(conv, x))
    out = np.zeros((n_samples, len(images)))
    for t in range(n_samples):
        for i in range(len(images)):
            source.manual_seed(int(np.random.SeedSequence([seed, t]).generate_state(1, np.uint64)[0]) // 2)
            with torch.no_grad():
                out[t, i] = 1 / (1 + np.exp(-network(images[i : i + 1]).double().item()))
    return out


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_predictions_are_those_of_a_literal_loop_with_the_same_masks(name: str) -> None:
    result, patches = trained(name), pixels(6).numpy()
    rows = [4, 0, 3]
    found = predict(patches, rows, result, 5, batch_size=4, seed=3, keep=True, **EXACT)
    images = normalised(torch.from_numpy(patches[rows]).float())
    y = literal(result, images, 5, 3)
    assert found["samples"].shape == (5, 3)
    np.testing.assert_allclose(found["samples"], y, atol=2e-5)
    for i in range(3):
        mean = sum(y[t, i] for t in range(5)) / 5
        assert found["mean"][i] == pytest.approx(mean, abs=2e-5)
        assert found["epistemic"][i] == pytest.approx(sum((y[t, i] - mean) ** 2 for t in range(5)) / 5, abs=2e-5)
        assert found["aleatoric"][i] == pytest.approx(sum(y[t, i] * (1 - y[t, i]) for t in range(5)) / 5, abs=2e-5)
    assert found["epistemic"].min() > 1e-7


def test_parts_are_their_equations() -> None:
    y = np.random.default_rng(0).random((7, 4))
    found = parts_of(y)
    # Kwon et al. 2018 for the two probabilities (y, 1 - y): the first entry of either matrix
    for i in range(4):
        aleatoric, epistemic = np.zeros((2, 2)), np.zeros((2, 2))
        p = np.stack([y[:, i], 1 - y[:, i]], 1)
        for t in range(7):
            aleatoric += (np.diag(p[t]) - np.outer(p[t], p[t])) / 7
            epistemic += np.outer(p[t] - p.mean(0), p[t] - p.mean(0)) / 7
        assert found["aleatoric"][i] == pytest.approx(aleatoric[0, 0], abs=1e-14)
        assert found["epistemic"][i] == pytest.approx(epistemic[0, 0], abs=1e-14)
    np.testing.assert_allclose(found["epistemic"] + found["aleatoric"], found["mean"] * (1 - found["mean"]))
    with pytest.raises(ValueError, match="one or more"):
        parts_of(np.zeros((0, 3)))
    assert parts_of(np.zeros((2, 0)))["mean"].shape == (0,)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_batches_change_nothing(name: str) -> None:
    result, patches = trained(name), pixels(7).numpy()
    found = [
        predict(patches, range(7), result, 6, batch_size=size, keep=True, **EXACT)["samples"] for size in (1, 4, 7, 100)
    ]
    for own in found[1:]:
        np.testing.assert_allclose(own, found[0], atol=1e-5)
    assert found[0].std(0).min() > 1e-4
    # nor does it matter which rows are asked for, or with how many samples
    few = predict(patches, [5, 2], result, 3, keep=True, **EXACT)["samples"]
    np.testing.assert_allclose(few, found[0][:3, [5, 2]], atol=1e-5)


def test_same_seed_same_prediction_and_another_differs() -> None:
    result, patches = trained("vgg16"), pixels(3).numpy()
    state = torch.random.get_rng_state()
    first, again, other = (predict(patches, range(3), result, 4, seed=seed, **EXACT) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert "samples" not in first
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        assert values.dtype == np.float64
        assert not np.isclose(values, other[name], rtol=1e-6, atol=0).any()


def test_without_dropout_nothing_varies() -> None:
    result, patches = trained("resnet18", dropout=0.0, growth=0.0), pixels(3).numpy()
    found = predict(patches, range(3), result, 5, batch_size=3, **EXACT)
    assert (found["epistemic"] == 0).all()
    network = networks.build(result["architecture"]).eval()
    network.load_state_dict({name.removeprefix("model."): v for name, v in result.items() if name != "architecture"})
    with torch.no_grad():
        y = network(normalised(torch.from_numpy(patches).float())).sigmoid().double()
    np.testing.assert_allclose(found["mean"], y, atol=1e-6)
    np.testing.assert_allclose(found["aleatoric"], y * (1 - y), atol=1e-6)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_bf16_is_within_the_monte_carlo_error(name: str) -> None:
    result, patches = trained(name, width=0.15), pixels(6).numpy()
    exact, rough = (
        predict(patches, range(6), result, 50, device="cpu", precision=own) for own in ("32-true", "bf16-mixed")
    )
    error = np.sqrt(exact["epistemic"] / 50)
    assert (np.abs(exact["mean"] - rough["mean"]) < error).all()
    np.testing.assert_allclose(rough["epistemic"], exact["epistemic"], rtol=0.3)
    assert not np.array_equal(exact["mean"], rough["mean"])


def test_masks_shared_by_images_are_as_good_as_masks_of_their_own() -> None:
    # many samples of each kind, of torch's own dropout and of ours: two means and two variances that agree
    result, images = trained("vgg16"), normalised(pixels(4).float())
    network = networks.build(result["architecture"]).eval()
    network.load_state_dict({name.removeprefix("model."): v for name, v in result.items() if name != "architecture"})
    ours = sampled(network, images, 400, 100, seed=2)
    for module in network.modules():
        if isinstance(module, DropoutConv):
            module.dropout = nn.Dropout(module.dropout.p).train()
            module.dropout.masks = None
    torch.manual_seed(0)
    with torch.no_grad():
        theirs = network(images.repeat(400, 1, 1, 1)).sigmoid().double().view(400, 4).numpy()
    error = np.sqrt(ours.var(0) / 400 + theirs.var(0) / 400)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    np.testing.assert_allclose(ours.var(0), theirs.var(0), rtol=4 * (2 / 400 + 2 / 400) ** 0.5)


def test_any_network_is_sampled() -> None:
    torch.manual_seed(0)
    given = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(True), nn.Conv2d(4, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1)
    )
    network = with_dropout(given).train()
    x = torch.randn(5, 1, 12, 12, generator=random_source(0))
    found = sampled(network, x, 8, 3)
    assert found.shape == (8, 5)
    assert network.training
    assert found.std(0).min() > 1e-4
    np.testing.assert_allclose(sampled(network, x[3:4], 8, 50), found[:, 3:4], atol=1e-6)


def test_statistics_are_those_of_the_training() -> None:
    result, patches = trained("vgg16"), pixels(8).numpy()
    before = {name: value.clone() for name, value in result.items() if name != "architecture"}
    alone = predict(patches, [0], result, 4, **EXACT)
    patches[1:] = 30_000 - patches[1:]  # what is beside an image cannot tell through a batch's statistics
    beside = predict(patches, range(8), result, 4, batch_size=8, **EXACT)
    np.testing.assert_allclose(alone["mean"][0], beside["mean"][0], atol=1e-6)
    assert all(torch.equal(result[name], value) for name, value in before.items())


@pytest.mark.parametrize(("n_channels", "px"), [(1, 33), (3, 48)])
def test_channels_sizes_one_image_and_none(n_channels: int, px: int) -> None:
    result = trained("resnet50", n_channels)
    patches = pixels(2, n_channels, px).numpy()
    one = predict(patches, [1], result, 3, keep=True, **EXACT)
    assert one["samples"].shape == (3, 1)
    assert all(np.isfinite(values).all() for values in one.values())
    none = predict(patches, [], result, 3, keep=True, **EXACT)
    assert {name: values.shape for name, values in none.items()} == {
        "mean": (0,), "epistemic": (0,), "aleatoric": (0,), "samples": (3, 0)
    }  # fmt: skip
    assert predict(patches, [0], result, 1, **EXACT)["epistemic"][0] == 0


def test_portions_are_even() -> None:
    assert [len(own) for own in prediction._portions(50, 16)] == [13, 13, 13, 11]
    assert [list(own) for own in prediction._portions(3, 100)] == [[0, 1, 2]]


def test_bad_input() -> None:
    result, patches = trained("vgg16"), pixels(2).numpy()
    with pytest.raises(DataError, match=r"trained on 2 channels .* found \(C, s, s\) = \(3, 32, 32\)"):
        predict(np.zeros((1, 3, 32, 32)), [0], result, **EXACT)
    with pytest.raises(DataError, match="takes 32 px or more"):
        predict(np.zeros((1, 2, 16, 16)), [0], result, **EXACT)
    for own in ({"n_samples": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="of 1 or more"):
            predict(patches, [0], result, **own, **EXACT)
    broken = patches.astype(np.float32)
    broken[1, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="row 1 has pixels that are not finite"):
        predict(broken, [0, 1], result, 2, **EXACT)
    for rows in ([2], [-1], [0, 5]):
        with pytest.raises(IndexError, match="expected 0 to 1"):
            predict(patches, rows, result, 2, **EXACT)
    with pytest.raises(ValueError, match=r"positions \(n,\) or a mask of 2 rows, got float64"):
        predict(patches, [0.5], result, 2, **EXACT)


def test_a_mask_is_its_rows() -> None:
    result, patches = trained("vgg16"), pixels(4).numpy()
    found = predict(patches, np.array([False, True, False, True]), result, 3, **EXACT)
    np.testing.assert_array_equal(found["mean"], predict(patches, [1, 3], result, 3, **EXACT)["mean"])
