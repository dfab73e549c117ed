"""The networks beside the paper's own: the multi-scale CNN and the autoencoder, whatever crops they see."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellweak_core.embeddings.autoencoder import Autoencoder
from cellweak_core.embeddings.multiscale import MultiScaleCNN, sides_px
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.training import random_source

Call = Callable[[nn.Module, Tensor], Tensor]
MADE: dict[str, tuple[Callable[[], nn.Module], Call, tuple[int, ...]]] = {
    "multi-scale": (lambda: MultiScaleCNN(3, 5, 40, 2, 12, 7), lambda m, x: m(x), (5,)),
    "multi-scale, features": (lambda: MultiScaleCNN(3, 5, 40, 2, 12, 7), lambda m, x: m.features(x), (7,)),
    "autoencoder": (lambda: Autoencoder(3, 40, 2, 6), lambda m, x: m(x), (3, 40, 40)),
    "autoencoder, code": (lambda: Autoencoder(3, 40, 2, 6), lambda m, x: m.encode(x), (6,)),
}


def made(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return MADE[name][0]().to(dtype)


def crops(n: int, dtype: torch.dtype = torch.float32, size_px: int = 40) -> Tensor:
    return 2 * torch.rand((n, 3, size_px, size_px), generator=random_source(n), dtype=dtype) - 1


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_finite_and_input_left_alone(name: str, training: bool, n: int, dtype: torch.dtype) -> None:
    _, call, shape = MADE[name]
    model, x = made(name, dtype).train(training), crops(n, dtype)
    before = x.clone()
    out = call(model, x)
    assert out.shape == (n, *shape)
    assert out.dtype == dtype
    assert torch.isfinite(out).all()
    assert torch.equal(x, before)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


@pytest.mark.parametrize("name", MADE)
def test_same_seed_same_output_and_each_crop_by_itself(name: str) -> None:
    _, call, _ = MADE[name]
    x = crops(4)
    assert torch.equal(call(made(name).train(), x), call(made(name).train(), x))
    model = made(name)
    call(model.train(), x)  # moving statistics that are not the start's
    together = call(model.eval(), x)
    alone = torch.cat([call(model, x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    other = call(model, x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(other, together, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MADE)
def test_crops_of_another_shape_are_refused(name: str) -> None:
    for shape in ((2, 3, 41, 41), (2, 2, 40, 40), (3, 40, 40)):
        with pytest.raises(ValueError, match=r"x: expected \(n, 3, 40, 40\), got"):
            MADE[name][1](made(name), torch.zeros(shape))


# --- the multi-scale CNN


def test_seven_sizes_down_to_eight_px_and_halves_where_the_crop_is_large() -> None:
    assert sides_px(68) == (68, 48, 33, 23, 16, 11, 8)
    assert sides_px(512) == tuple(512 // 2**k for k in range(7))
    assert sides_px(1280) == tuple(1280 // 2**k for k in range(7))
    for size_px in range(16, 600):
        sides = sides_px(size_px)
        assert (sides[0], min(sides)) == (size_px, sides[-1])
        assert all(a > b for a, b in pairwise(sides))
    with pytest.raises(ValueError, match="expected crops of 16 px or more, got 15"):
        sides_px(15)


def test_multiscale_has_the_published_widths() -> None:
    with torch.device("meta"):
        model = MultiScaleCNN(3, 13, 1024)
    found = [tuple(m.out_channels for m in p.modules() if isinstance(m, nn.Conv2d)) for p in model.pathways]
    assert found == [(16,) * 3, (16,) * 3, (16,) * 3, (32,) * 3, (32,) * 3, (32,) * 3, (64,) * 3]
    assert tuple(model.merge.weight.shape) == (1024, 208, 1, 1)
    assert tuple(model.fc1.weight.shape) == (512, 1024 * 8 * 8)
    assert tuple(model.fc2.weight.shape) == (13, 512)


def test_multiscale_of_a_large_crop_is_the_literal_one() -> None:
    torch.manual_seed(0)
    model = MultiScaleCNN(1, 3, 512, width=1, merged=6, hidden=5).double().eval()
    x = torch.randn((2, 1, 512, 512), generator=random_source(0), dtype=torch.float64)
    seen = []
    for k in range(7):
        y = F.max_pool2d(x, 2**k)
        convs = [m for m in model.pathways[k].modules() if isinstance(m, nn.Conv2d)]
        assert len(convs) == 3
        for conv in convs:
            y = F.relu(F.conv2d(y, conv.weight, conv.bias, padding=2))
        seen.append(F.max_pool2d(y, 2 ** (6 - k)))
    merged = F.relu(F.conv2d(torch.cat(seen, 1), model.merge.weight, model.merge.bias))
    features = F.relu(F.linear(F.max_pool2d(merged, 2).flatten(1), model.fc1.weight, model.fc1.bias))
    torch.testing.assert_close(model.features(x), features)
    torch.testing.assert_close(model(x), F.linear(features, model.fc2.weight, model.fc2.bias))


# --- the autoencoder


@pytest.mark.parametrize("size_px", [32, 33, 47, 48, 68, 69, 96, 127, 128])
def test_autoencoder_gives_back_crops_of_any_side(size_px: int) -> None:
    model = Autoencoder(2, size_px, width=2, code=4)
    x = 2 * torch.rand(1, 2, size_px, size_px) - 1
    assert model.train()(x).shape == x.shape
    assert model.eval().encode(x).shape == (1, 4)
    assert torch.equal(model(x), model.decode(model.encode(x)))


def test_autoencoder_sees_and_paints_every_pixel() -> None:
    torch.manual_seed(0)
    model = Autoencoder(1, 45, width=4, code=8).double().eval()
    x = torch.zeros((1, 1, 45, 45), dtype=torch.float64, requires_grad=True)
    model.encode(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    with torch.no_grad():
        one, other = model.decode(torch.randn(2, 8, generator=random_source(0), dtype=torch.float64)).unbind()
    assert (one != other).all()


# --- both


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MultiScaleCNN(3, 5, 8), "size_px: expected crops of 16 px"),
        (lambda: MultiScaleCNN(3, 0, 40), "n_classes: expected 1 or more, got 0"),
        (lambda: Autoencoder(3, 31), "size_px: expected crops of 32 px"),
        (lambda: Autoencoder(3, 40, code=0), "code: expected 1 or more, got 0"),
    ],
)
def test_networks_that_cannot_be(make: Callable[[], nn.Module], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.fixture(scope="module")
def cells() -> Tensor:
    plan = Plan(n_mechanisms=2, compounds=2, doses=1, batches=1, replicates=1, cells=4, controls=1, size_px=32)
    return simulate_screen(plan, 0).batch(np.arange(16))


@pytest.mark.parametrize("seed", [0, 1])
def test_multiscale_learns_sixteen_crops_by_heart(cells: Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    model, classes = MultiScaleCNN(3, 4, 32, width=4, merged=32, hidden=16), torch.arange(16) % 4
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(50):
        loss = F.cross_entropy(model(cells), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (model.eval()(cells).argmax(1) == classes).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_autoencoder_learns_sixteen_crops_by_heart(cells: Tensor, seed: int) -> None:
    torch.manual_seed(seed)
    model = Autoencoder(3, 32, width=12, code=32)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(120):
        loss = F.mse_loss(model(cells), cells)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    spread = (cells - cells.mean(0)).square().mean()  # what is left when every crop is their mean
    assert float(loss.detach()) < 0.5 * float(spread)
