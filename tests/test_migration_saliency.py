"""Grad-CAM against a literal computation, completeness of integrated gradients, and known answers."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.migration import saliency

torch.set_num_threads(1)


class Small(nn.Module):
    """Two convolutions, in-place ReLU, batch norm, dropout, global average pooling, one logit."""

    def __init__(self, activation: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True)) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), activation(), nn.Dropout(0.4), nn.MaxPool2d(2),
            nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4), activation(), nn.Dropout(0.4),
        )  # fmt: skip
        self.head = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean((2, 3)))[:, 0]


def network(seed: int = 0, activation: Callable[[], nn.Module] = lambda: nn.ReLU(inplace=True)) -> Small:
    torch.manual_seed(seed)
    net = Small(activation)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def images(n: int = 3, size_px: int = 8, seed: int = 1) -> Tensor:
    return torch.randn(n, 2, size_px, size_px, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", ["continuous", "discontinuous"])
def test_grad_cam_is_the_literal_one(mode: str) -> None:
    net, x = network(), images()
    found = saliency.grad_cam(net, x, mode, batch_size=2)
    assert found.shape == (3, 8, 8)
    assert found.max() > 0
    sign = 1 if mode == "discontinuous" else -1
    with torch.no_grad():
        activation = net.eval().features(x).double().numpy()
    weight = net.head.weight.detach().double().numpy()[0]
    for n in range(3):
        cam = np.zeros((4, 4))
        for k in range(4):
            gradient = np.full((4, 4), sign * weight[k] / 16)  # y = sum_k w_k mean_ij A_k,ij
            cam += gradient.mean() * activation[n, k]
        cam = np.maximum(cam, 0)
        wide = np.zeros((8, 8))
        for row in range(8):
            for column in range(8):  # half-pixel centres, edges repeated
                y, x_ = ((at + 0.5) / 2 - 0.5 for at in (row, column))
                for i in range(4):
                    for j in range(4):
                        wide[row, column] += (
                            cam[i, j] * max(0, 1 - abs(min(max(y, 0), 3) - i)) * max(0, 1 - abs(min(max(x_, 0), 3) - j))
                        )
        assert found[n].numpy() == pytest.approx(wide, abs=1e-6)


def test_grad_cam_of_a_named_layer_follows_the_gradient() -> None:
    net, x = network(2, nn.Softplus), images(2)
    found = saliency.grad_cam(net, x, layer=net.features[0])
    net.eval()
    step = 1e-4
    for n in range(2):
        with torch.no_grad():
            activation = net.float().features[0](x[n : n + 1]).double()
            net.double()
            cam = torch.zeros(8, 8, dtype=torch.float64)
            for k in range(5):
                gradients = []
                for at in range(64):  # central differences
                    moved = activation.repeat(2, 1, 1, 1)
                    moved[0, k].view(-1)[at] += step
                    moved[1, k].view(-1)[at] -= step
                    up, down = net.head(net.features[1:](moved).mean((2, 3)))[:, 0].tolist()
                    gradients.append((up - down) / (2 * step))
                cam += np.mean(gradients) * activation[0, k]
        assert found[n].max() > 1e-4
        assert found[n].numpy() == pytest.approx(cam.clamp(min=0).numpy(), rel=1e-3, abs=1e-8)


def test_maps_leave_the_network_as_it_was() -> None:
    net, x = network(), images()
    net.train()
    net.features[3].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    given = x.clone()
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # as of a network that is only used
    first = [saliency.grad_cam(net, x), saliency.integrated_gradients(net, x, n_steps=4)]
    assert [module.training for module in net.features[:5]] == [True, True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(x, given)
    assert not net.features[0]._forward_hooks
    assert all(parameter.grad is None for parameter in net.parameters())
    with torch.no_grad():  # where nobody asks for gradients they are taken all the same
        again = [saliency.grad_cam(net, x), saliency.integrated_gradients(net, x, n_steps=4)]
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("mode", ["continuous", "discontinuous"])
def test_integrated_gradients_are_complete(mode: str) -> None:
    net, x = network(3, nn.Softplus).double(), images(4).double()
    found = saliency.integrated_gradients(net, x, mode, n_steps=200, batch_size=37)
    assert found.shape == x.shape
    net.eval()
    with torch.no_grad():
        difference = net(x) - net(torch.zeros_like(x))
    sign = 1 if mode == "discontinuous" else -1
    assert found.sum((1, 2, 3)).numpy() == pytest.approx((sign * difference).numpy(), abs=2e-4)
    assert difference.abs().min() > 1e-3
    assert saliency.incompleteness(net, x, found, mode).abs().max() < 2e-4
    coarse = saliency.integrated_gradients(net, x, mode, n_steps=1)
    assert saliency.incompleteness(net, x, coarse, mode).abs().max() > 2e-4


def test_integrated_gradients_are_the_literal_sum_from_any_baseline() -> None:
    net, x, start = network(4), images(2), images(1, seed=9)[0]
    found = saliency.integrated_gradients(net, x, baseline=start, n_steps=5, batch_size=3)
    net.eval()
    for n in range(2):
        total = torch.zeros_like(start)
        for k in range(5):
            point = (start + (k + 0.5) / 5 * (x[n] - start)).clone().requires_grad_()
            net(point[None].clone()).sum().backward()
            assert point.grad is not None
            total += point.grad
        assert found[n].numpy() == pytest.approx(((x[n] - start) * total / 5).numpy(), abs=1e-6)
    assert torch.equal(
        found, saliency.integrated_gradients(net, x, baseline=start.expand(2, -1, -1, -1), n_steps=5, batch_size=3)
    )  # fmt: skip


def test_integrated_gradients_of_a_linear_network_are_weight_times_pixel() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 1))
    x = images(3, 4)
    found = saliency.integrated_gradients(net, x, n_steps=1)
    assert found.numpy() == pytest.approx((net[1].weight.detach().view(1, 2, 4, 4) * x).numpy(), abs=1e-6)
    assert saliency.incompleteness(net, x, found).abs().max() < 1e-5


def test_maps_of_monais_networks() -> None:
    from monai.networks.nets import DenseNet, ResNet

    torch.manual_seed(0)
    dense = DenseNet(2, 2, 1, init_features=8, growth_rate=4, block_config=(2, 2))
    residual = ResNet("basic", [1, 1, 1, 1], [4, 8, 16, 32], spatial_dims=2, n_input_channels=2, num_classes=1)
    x = images(2, 64)
    for net in (dense, residual):
        cam = saliency.grad_cam(net, x)
        assert cam.shape == (2, 64, 64)
        assert torch.isfinite(cam).all()
        fine = saliency.integrated_gradients(net, x, n_steps=128, batch_size=64)
        with torch.no_grad():
            size = net.eval()(x).abs().max()
        assert saliency.incompleteness(net, x, fine).abs().max() < 0.05 * max(1, size)
    # all channels of the stage, not the few that the last convolution adds
    linear = dense.class_layers.out
    with torch.no_grad():
        activation = dense.features(x).relu()
    literal = (linear.weight.view(1, -1, 1, 1) / (activation.shape[2] * activation.shape[3]) * activation).sum(1).relu()
    assert activation.shape[1] == linear.in_features
    cam = saliency.grad_cam(dense, x)
    wide = nn.functional.interpolate(literal[:, None].detach(), (64, 64), mode="bilinear")[:, 0]
    assert cam.numpy() == pytest.approx(wide.numpy(), abs=1e-6)


def test_the_last_stage_of_a_vgg_is_before_its_last_pooling() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(True),
        nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1),
    )  # fmt: skip
    x = images(2)
    assert torch.equal(saliency.grad_cam(net, x), saliency.grad_cam(net, x, layer=net[4]))
    assert not torch.equal(saliency.grad_cam(net, x), saliency.grad_cam(net, x, layer=net[5]))
    # where the last convolution sees one pixel, the stage before it counts
    deep = nn.Sequential(*net[:6], nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(5, 1))
    assert torch.equal(saliency.grad_cam(deep, x), saliency.grad_cam(deep, x, layer=deep[4]))


def test_no_images_and_refusals() -> None:
    net, x = network(), images()
    assert saliency.grad_cam(net, x[:0]).shape == (0, 8, 8)
    assert saliency.integrated_gradients(net, x[:0]).shape == (0, 2, 8, 8)
    with pytest.raises(ValueError, match="mode: expected continuous or discontinuous, got 'fast'"):
        saliency.grad_cam(net, x, "fast")
    with pytest.raises(ValueError, match="expected floats"):
        saliency.integrated_gradients(net, x[0])
    with pytest.raises(ValueError, match="n_steps: expected 1"):
        saliency.integrated_gradients(net, x, n_steps=0)
    with pytest.raises(ValueError, match="baseline: expected"):
        saliency.integrated_gradients(net, x, baseline=torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="no layer gave maps"):
        saliency.grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(128, 1)), x)
    with pytest.raises(ValueError, match="expected one logit for each of 3 images"):
        saliency.grad_cam(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(108, 2)), x)


def test_share_ahead_by_hand() -> None:
    field = np.zeros((5, 3, 3))
    field[0, 1, 2] = 2  # right
    field[1, 1, 2], field[1, 1, 0] = 3, 1
    field[2] = 1
    field[3, 0, 0] = 1
    found = saliency.front_share(field, [[1, 0], [-2, 0], [0.3, 0.7], [1, 1], [1, 0]])
    assert found[:4] == pytest.approx([1, 0.25, 0.5, 0])
    assert np.isnan(found[4])  # nothing to share
    assert np.isnan(saliency.front_share(field[:1], [[0, 0]])[0])
    # y points down, as rows do
    assert saliency.front_share(np.swapaxes(field[:2], 1, 2), [[0, 1], [0, 1]]) == pytest.approx([1, 0.75])
    # of an even side the middle pixel is the second of the two, and the first line has no partner
    even = np.zeros((2, 4, 4))
    even[0, 2, 2], even[0, 0, 0], even[1] = 1, 5, 1
    assert saliency.front_share(even, [[1, 0], [1, 0]]) == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="absolute values"):
        saliency.front_share(-field, np.ones((5, 2)))
    with pytest.raises(ValueError, match=r"directions \(n, 2\)"):
        saliency.front_share(field, np.ones((4, 2)))
