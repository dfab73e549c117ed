"""The tracking networks: the published sizes, the batteries, how far they see, and windows that equal the whole."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.tracking.networks import (
    STRIDE,
    CmfNet,
    CoDetectionNet,
    UNet,
    build,
    padded,
    receptive_radius,
)
from cellweak_core.training import random_source

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "co-detection": (lambda: CoDetectionNet(4), 2, 2),
    "co-detection, narrowest": (lambda: CoDetectionNet(2), 2, 2),
    "detector": (lambda: UNet(1, 1, 4), 1, 1),
    "mpm": (lambda: UNet(2, 3, 4), 2, 3),
    "cmf": (lambda: CmfNet(4), 2, 4),
}


def made(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, int, int]:
    torch.manual_seed(0)
    make, n_in, n_out = NETWORKS[name]
    return make().to(dtype), n_in, n_out


def images(n: int, channels: int, height: int = 32, width: int = 48) -> Tensor:
    return torch.rand(n, channels, height, width, generator=random_source(n))


def warmed(network: nn.Module, channels: int) -> nn.Module:
    """Moving statistics that are not the start's, then evaluation."""
    network.train()(images(3, channels))
    return network.eval()


def test_the_published_numbers_of_parameters() -> None:
    assert sum(p.numel() for p in CoDetectionNet(64).parameters()) == 13_855_362
    assert sum(p.numel() for p in UNet(2, 3, 64).parameters()) == 13_394_883


def test_the_published_layers_of_the_co_detection_network() -> None:
    network, shapes = CoDetectionNet(64), {}

    def note(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            shapes[name] = tuple(output.shape)

        return hook

    for name, child in network.named_children():
        child.register_forward_hook(note(name))
    network.eval()(torch.rand(1, 2, 32, 32))
    assert shapes == {
        "enc0": (2, 64, 32, 32),  # both frames, one after the other
        "enc1": (2, 128, 16, 16),
        "down2": (1, 256, 8, 8),
        "down3": (1, 512, 4, 4),
        "down4": (1, 512, 2, 2),
        "up1": (1, 256, 4, 4),
        "up2": (1, 128, 8, 8),
        "up3_t": (1, 64, 16, 16),
        "up3_tn": (1, 64, 16, 16),
        "up4_t": (1, 32, 32, 32),
        "up4_tn": (1, 32, 32, 32),
        "out_t": (1, 1, 32, 32),
        "out_tn": (1, 1, 32, 32),
    }


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_finite_and_input_left_alone(name: str, training: bool, n: int, dtype: torch.dtype) -> None:
    network, n_in, n_out = made(name, dtype)
    x = images(n, n_in).to(dtype)
    before = x.clone()
    out = network.train(training)(x)
    assert out.shape == (n, n_out, 32, 48)
    assert out.dtype == dtype
    assert torch.isfinite(out).all()
    assert torch.equal(x, before)
    assert all(torch.isfinite(v).all() for v in network.state_dict().values())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_flow_to_every_parameter_and_the_input(name: str) -> None:
    network, n_in, _ = made(name)
    x = images(4, n_in).requires_grad_()
    out = network.train()(x)
    (out * torch.randn(out.shape, generator=random_source(1))).sum().backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter
    assert x.grad is not None
    assert (x.grad.flatten(2).abs().sum(2) > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_same_seed_same_output_and_a_batch_is_its_images(name: str) -> None:
    network, n_in, _ = made(name)
    x = images(3, n_in)
    assert torch.equal(network.train()(x), made(name)[0].train()(x))
    together = warmed(network, n_in)(x)
    alone = torch.cat([network(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_relu_can_be_guided(name: str) -> None:
    network, _, _ = made(name)
    assert not [m for m in network.modules() if getattr(m, "inplace", False)]
    assert all(isinstance(module[5], nn.ReLU) for module in network.modules() if type(module).__name__ == "DoubleConv")


def test_frames_share_an_encoder_and_not_a_decoder() -> None:
    network = warmed(CoDetectionNet(4), 2)
    x = images(1, 2)
    seen = []
    handle = network.enc0.register_forward_hook(lambda _, __, out: seen.append(out))
    network(x[:, [0, 0]])
    handle.remove()
    torch.testing.assert_close(seen[0][0], seen[0][1])
    assert not torch.allclose(*network(x[:, [0, 0]])[0])


@pytest.mark.parametrize("shape", [(2, 32, 32), (1, 3, 32, 32), (1, 2, 40, 32), (1, 2, 32, 31)])
@pytest.mark.parametrize("name", ["co-detection", "mpm"])
def test_a_wrong_input_is_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x: expected \(N, 2, H, W\) with H and W multiples of 16"):
        made(name)[0](torch.zeros(shape))


@pytest.mark.parametrize("width", [0, 1, 5])
def test_a_wrong_width_is_refused(width: int) -> None:
    for make in (CoDetectionNet, lambda w: UNet(1, 1, w)):
        with pytest.raises(ValueError, match=f"width: expected an even number .* got {width}"):
            make(width)


def test_networks_are_built_from_their_description() -> None:
    network = build({"kind": "unet", "in_channels": 2, "out_channels": 3, "width": 4})
    assert isinstance(network, UNet)
    assert network(torch.zeros(2, 2, 16, 16)).shape == (2, 3, 16, 16)
    assert isinstance(build({"kind": "codetection", "width": 4}), CoDetectionNet)
    with pytest.raises(ValueError, match="expected one of codetection, unet, cmf, got 'vnet'"):
        build({"kind": "vnet"})


@pytest.mark.parametrize("shape", [(32, 48), (33, 47), (5, 3)])
def test_other_sizes_are_padded_by_their_edges(shape: tuple[int, int]) -> None:
    network = warmed(UNet(2, 3, 4), 2)
    x = images(2, 2, *shape)
    out = padded(network, x)
    assert out.shape == (2, 3, *shape)
    below, beside = -shape[0] % STRIDE, -shape[1] % STRIDE
    by_hand = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, below), (0, beside)), mode="edge"))
    torch.testing.assert_close(out, network(by_hand)[..., : shape[0], : shape[1]])
    assert padded(network, x[:0]).shape == (0, 3, *shape)


@pytest.mark.parametrize("name", ["co-detection", "mpm"])
def test_the_receptive_radius_is_what_the_input_gradient_of_one_pixel_shows(name: str) -> None:
    network, n_in, _ = made(name)
    network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()  # no sum can cancel, no ReLU closes: all that can be seen is
    radius, size, reached = receptive_radius(network), 272, []
    for place in (128, 131, 140):  # pixels 3 and 12 of the 16-px grid see farthest, one to the right, one to the left
        x = images(1, n_in, size, size).requires_grad_()
        network(x)[0, 0, place, place].backward()
        assert x.grad is not None
        seen = (x.grad.abs().sum((0, 1)) > 0).nonzero() - place
        reached.append(int(seen.abs().max()))
    assert max(reached) == radius
    assert receptive_radius() == radius


def test_the_receptive_radius_of_another_network_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="got Conv2d"):
        receptive_radius(nn.Conv2d(1, 1, 3))


@pytest.mark.parametrize("name", ["co-detection", "mpm"])
def test_a_window_on_the_grid_gives_the_whole_images_values(name: str) -> None:
    network, n_in, _ = made(name)
    warmed(network, n_in)
    rim = -(-receptive_radius() // STRIDE) * STRIDE
    x = images(1, n_in, 2 * rim + 48, 2 * rim + 64)
    with torch.no_grad():
        whole, window = network(x), network(x[..., 16 : 2 * rim + 32, 32 : 2 * rim + 48])
    inner = np.s_[..., 16 + rim : 32 + rim, 32 + rim : 48 + rim]
    torch.testing.assert_close(window[..., rim : rim + 16, rim : rim + 16], whole[inner], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(window, whole[..., 16 : 2 * rim + 32, 32 : 2 * rim + 48], atol=1e-5)
