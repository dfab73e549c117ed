"""Whole-frame inference: tiles, turns, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cellweak_core.tracking.inference import predict
from cellweak_core.tracking.networks import CmfNet, CoDetectionNet, UNet, padded, receptive_radius
from cellweak_core.tracking.sampling import turned, turned_motion
from cellweak_core.training import random_source


def trained(make: Callable[[], torch.nn.Module], channels: int) -> torch.nn.Module:
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # or so narrow a network might be silent
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, 0, 1)
        elif isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1) and module.bias is not None:
            torch.nn.init.constant_(module.bias, 0.5)  # mostly between the clamps
    network.train()(torch.rand(3, channels, 32, 32))
    return network.eval()


MADE: dict[str, tuple[Callable[[], torch.nn.Module], int, int]] = {
    "codetection": (lambda: CoDetectionNet(4), 2, 2),
    "detector": (lambda: UNet(1, 1, 4), 1, 1),
    "mpm": (lambda: UNet(2, 3, 4), 2, 0),
    "cmf": (lambda: CmfNet(4), 2, 1),
}


@pytest.mark.parametrize("name", MADE)
def test_tiles_equal_the_whole_frame(name: str) -> None:
    make, channels, likelihoods = MADE[name]
    network = trained(make, channels)
    frames = np.random.default_rng(0).random((channels, 310, 393)).astype(np.float32)
    before = frames.copy()
    whole = predict(network, frames)
    with torch.no_grad():
        direct = padded(network, torch.from_numpy(frames)[None])[0].numpy()
    direct[:likelihoods] = direct[:likelihoods].clip(0, 1)
    assert (whole.std((1, 2)) > 1e-3).all()
    np.testing.assert_allclose(whole, direct, atol=1e-5)
    widest, forward = 0, network.forward

    def measured(x: Tensor) -> Tensor:
        nonlocal widest
        widest = max(widest, *x.shape[-2:])
        return forward(x)

    network.forward = measured  # type: ignore[method-assign]
    np.testing.assert_allclose(predict(network, frames, tile_px=64), whole, atol=1e-5)
    assert widest <= 64 + 2 * (receptive_radius() + 16)
    assert np.array_equal(frames, before)


@pytest.mark.parametrize("name", MADE)
def test_the_mean_over_turns_turns_with_the_image(name: str) -> None:
    make, channels, likelihoods = MADE[name]
    network = trained(make, channels)
    frames = torch.rand(channels, 48, 64, generator=random_source(0))
    mean = torch.from_numpy(predict(network, frames.numpy(), n_turns=8))
    for code in (1, 4, 7):
        again = torch.from_numpy(predict(network, turned(frames, code).numpy(), n_turns=8))
        torch.testing.assert_close(again[:likelihoods], turned(mean[:likelihoods], code), atol=1e-5, rtol=1e-4)
        if len(mean) > likelihoods:
            vectors = turned_motion(mean[likelihoods:], code)
            torch.testing.assert_close(again[likelihoods:], vectors, atol=1e-5, rtol=1e-4)
    assert not np.allclose(predict(network, frames.numpy()), mean, atol=1e-3)


def test_prediction_leaves_the_network_as_it_was_and_is_close_in_bf16() -> None:
    network = trained(lambda: CoDetectionNet(4), 2).train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    frames = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    exact, close = predict(network, frames), predict(network, frames, precision="bf16-mixed")
    assert network.training
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())
    assert close.dtype == np.float32
    np.testing.assert_allclose(close, exact, atol=0.1)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        (np.zeros((32, 32), np.float32), {}, r"expected \(C, H, W\) with pixels"),
        (np.zeros((2, 0, 32), np.float32), {}, r"expected \(C, H, W\) with pixels"),
        (np.full((2, 32, 32), np.nan), {}, "found NaN"),
        (np.zeros((2, 32, 32), np.uint8), {}, "got uint8; divide by the white level"),
        (np.zeros((2, 32, 32)), {"tile_px": 40}, "multiple of 16 or 0, got 40"),
        (np.zeros((2, 32, 32)), {"n_turns": 9}, "expected 1 to 8, got 9"),
    ],
)
def test_a_wrong_input_is_refused(frames: NDArray[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(trained(lambda: UNet(2, 3, 2), 2), frames, **options)


def test_another_network_is_refused() -> None:
    with pytest.raises(ValueError, match="UNet with 1 or 3 outputs"):
        predict(trained(lambda: UNet(2, 2, 2), 2), np.zeros((2, 32, 32)))
