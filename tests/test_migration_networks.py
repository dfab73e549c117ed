"""The five networks: their published sizes, shapes, first weights, and what they refuse."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.migration.dropout import with_dropout
from cellweak_core.migration.networks import NETWORKS, DenseLayer, PreActivation, build
from cellweak_core.training import random_source

WIDTH = 0.07
PARAMETERS = {
    # 3x3 filters without bias, two numbers of batch normalisation for each of 4,224 channels, one linear layer
    "vgg16": 14_710_464 + 2 * 4_224 + 513,
    # torchvision's count of either for 1000 classes, with one logit instead
    "resnet50": 25_557_032 - 1000 * 2049 + 2049,
    "densenet121": 7_978_856 - 1000 * 1025 + 1025,
    # the authors' networks at 227 x 227 x 3, moving averages left out
    "resnet18": 11_180_033,
    "densenet40": 900_769,
}


def made(name: str, n_channels: int = 3, **own: float) -> nn.Module:
    torch.manual_seed(0)
    return build({"network": name, "n_channels": n_channels, "width": WIDTH, **own})


def patches(n: int, channels: int = 3, height: int = 40, width: int = 40) -> Tensor:
    return torch.randn(n, channels, height, width, generator=random_source(n))


@pytest.mark.parametrize("name", NETWORKS)
def test_trainable_parameters_are_the_published_ones(name: str) -> None:
    network = build({"network": name, "n_channels": 3})
    assert sum(value.numel() for value in network.parameters() if value.requires_grad) == PARAMETERS[name]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("n", "channels", "height", "width"), [(1, 3, 227, 227), (2, 1, 33, 64), (1, 2, 40, 40)])
def test_one_logit_for_each_patch(name: str, n: int, channels: int, height: int, width: int) -> None:
    x = patches(n, channels, height, width)
    before = x.clone()
    network = made(name, channels).eval()
    for _ in range(2):
        out = network(x)
    assert out.shape == (n,)
    assert torch.isfinite(out).all()
    assert torch.equal(x, before)
    torch.testing.assert_close(network.double()(x.double()).float(), out, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_patches(name: str) -> None:
    for training in (True, False):
        assert made(name).train(training)(patches(0)).shape == (0,)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_parameter(name: str) -> None:
    network, x = made(name).train(), patches(4, height=72, width=72).requires_grad_()
    (network(x) * torch.tensor([1.0, -2.0, 3.0, 0.5])).sum().backward()
    for key, value in network.named_parameters():
        assert value.grad is not None, key
        assert torch.isfinite(value.grad).all(), key
        assert value.grad.abs().sum() > 0, key
    assert x.grad is not None
    assert (x.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_first_weights_are_glorots_and_biases_0(name: str) -> None:
    n_checked = 0
    for module in made(name, width=0.5).modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        own = module.weight.detach().double().numpy()
        fan = (own.shape[0] + own.shape[1]) * np.prod(own.shape[2:])
        if own.size > 5000:
            n_checked += 1
            assert own.std() == pytest.approx(np.sqrt(2 / fan), rel=5 / np.sqrt(2 * own.size))
            assert abs(own.mean()) < 5 * np.sqrt(2 / fan / own.size)
        assert module.bias is None or not module.bias.any()
    assert n_checked > 5


@pytest.mark.parametrize("name", NETWORKS)
def test_width_scales_the_channels(name: str) -> None:
    whole, half = (
        [m.out_channels for m in made(name, width=width).modules() if isinstance(m, nn.Conv2d)] for width in (1, 0.5)
    )
    assert half == [n // 2 for n in whole]


@pytest.mark.parametrize("name", NETWORKS)
def test_same_seed_same_weights(name: str) -> None:
    first, again = made(name).state_dict(), made(name).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in first.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_bf16_leaves_a_logit_its_digits(name: str) -> None:
    network = made(name).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = network(patches(2))
    assert out.dtype == torch.float32
    assert not torch.equal(out.bfloat16().float(), out)


def test_vgg16_has_no_dense_layer_but_the_last() -> None:
    parts = [type(module).__name__ for module in made("vgg16").modules()]
    counted = {name: parts.count(name) for name in ("DropoutConv", "BatchNorm2d", "MaxPool2d", "Linear")}
    assert counted == {"DropoutConv": 13, "BatchNorm2d": 13, "MaxPool2d": 5, "Linear": 1}
    # the mean over pixels: any size, and the same image twice beside itself is the same
    network = made("vgg16").eval()
    assert network(patches(1, height=64, width=96)).shape == (1,)


def test_resnet50_and_densenet121_are_monais() -> None:
    from monai.networks.nets import DenseNet121, ResNet

    x = patches(2)
    own = made("resnet50", width=1).eval()
    theirs = ResNet(
        "bottleneck", [3, 4, 6, 3], [64, 128, 256, 512], 2, 3, 7, 2, feed_forward=False, bias_downsample=False
    ).eval()
    theirs.load_state_dict(own.body.state_dict())
    torch.testing.assert_close(own.body(x), theirs(x), rtol=1e-4, atol=1e-5)
    dense = made("densenet121", width=1).eval()
    other = DenseNet121(spatial_dims=2, in_channels=3, out_channels=1).eval()
    renamed = {"class_layers.out.weight": dense.head.weight, "class_layers.out.bias": dense.head.bias}
    other.load_state_dict({**dense.body.state_dict(), **renamed})
    torch.testing.assert_close(dense(x), other(x)[:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "activated"), [(1, True), (2, False)])
def test_pre_activation_block_is_its_equation(stride: int, activated: bool) -> None:
    torch.manual_seed(0)
    block, x = PreActivation(4, 4 * stride, stride, activated).eval(), patches(2, 4)

    def act(value: Tensor) -> Tensor:
        return (value / (1 + 1e-5) ** 0.5).clamp_min(0)  # batch normalisation as it is before any training

    inner = x if activated else act(x)
    wanted = nn.functional.conv2d(inner, block.conv1.weight, block.conv1.bias, stride, 1)
    wanted = nn.functional.conv2d(act(wanted), block.conv2.weight, block.conv2.bias, 1, 1)
    # x itself is projected, not what is activated
    beside = x if stride == 1 else nn.functional.conv2d(x, block.projection.weight, block.projection.bias, 2)
    torch.testing.assert_close(block(x), beside + wanted)


def test_dense_layer_puts_its_maps_behind_its_input() -> None:
    torch.manual_seed(0)
    layer, x = DenseLayer(4, 3).eval(), patches(2, 4)
    out = layer(x)
    assert torch.equal(out[:, :4], x)
    wanted = nn.functional.conv2d((x / (1 + 1e-5) ** 0.5).clamp_min(0), layer[2].weight, None, 1, 1)
    torch.testing.assert_close(out[:, 4:], wanted)


def test_channels_of_the_authors_densenet() -> None:
    # 24, then 96 more in each block: 120, 216, 312, 408
    network = made("densenet40", width=1)
    assert [m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)] == [
        120, 216, 312,
    ]  # fmt: skip
    assert network.head.in_features == 408


@pytest.mark.parametrize(("name", "least"), [("vgg16", 32), ("densenet121", 32), ("densenet40", 8)])
def test_least_size(name: str, least: int) -> None:
    network = made(name).eval()
    assert network(patches(1, 3, least, least)).shape == (1,)
    with pytest.raises(ValueError, match=rf"s of {least} px or more, got \(1, 3, {least - 1}, {least}\)"):
        network(patches(1, 3, least - 1, least))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(n, 3, s, s\).*got \(2, 2, 40, 40\)"):
        made("vgg16")(patches(2, 2))
    with pytest.raises(ValueError, match=r"got \(3, 40, 40\)"):
        made("vgg16")(patches(2)[0])
    with pytest.raises(ValueError, match=r"network: expected one of vgg16, .* got 'alexnet'"):
        build({"network": "alexnet", "n_channels": 3})
    with pytest.raises(ValueError, match=r"architecture: expected network, n_channels, .* depth"):
        build({"network": "vgg16", "n_channels": 3, "depth": 3})
    with pytest.raises(ValueError, match="architecture: expected network, n_channels"):
        build({"network": "vgg16"})
    for own in ({"width": 0}, {"n_channels": 0}):
        with pytest.raises(ValueError, match="width above 0"):
            build({"network": "vgg16", "n_channels": 3, **own})
    with pytest.raises(ValueError, match="cap < 1"):
        build({"network": "vgg16", "n_channels": 3, "cap": 1.0})


def test_dropout_by_the_architecture() -> None:
    own = with_dropout(made("vgg16"), 0.2, 0.01, 0.4)
    found = made("vgg16", dropout=0.2, growth=0.01, cap=0.4)
    rates = [[m.p for m in network.modules() if isinstance(m, nn.Dropout)] for network in (own, found)]
    assert rates[0] == rates[1]
    assert rates[0] == pytest.approx([0.2 + 0.01 * k for k in range(13)])
