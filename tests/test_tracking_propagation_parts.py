"""The parts of propagation, each against a literal evaluation: guided gradients, projection, folded layers, windows."""


import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from tracking_random import network, pictures

from cellweak_core.tracking import folded, windows
from cellweak_core.tracking.guided import GuidedReLU, guided
from cellweak_core.tracking.networks import CoDetectionNet, DoubleConv
from cellweak_core.tracking.propagation import default_batch, mirrored
from cellweak_core.tracking.relevance import Projection, normaliser, seed_labels
from cellweak_core.training import random_source

Array = NDArray[np.float64]


# ---- guided back-propagation


def test_guided_relu_passes_back_what_is_positive_where_it_was_open() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0, 3.0, 4.0], requires_grad=True)
    y = GuidedReLU.apply(x)
    assert y.tolist() == [0, 0, 2, 3, 4]
    (grad,) = torch.autograd.grad(y, x, torch.tensor([5.0, 5.0, 5.0, -5.0, 0.5]))
    assert grad.tolist() == [0, 0, 5, 0, 0.5]


def test_guided_gradients_of_two_layers_by_hand() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    w1, b1, w2, b2, w3, _ = (p.detach().numpy() for p in net.parameters())
    h1 = w1 @ x.detach().numpy() + b1
    h2 = w2 @ np.maximum(h1, 0) + b2
    g2 = w3[0] * (h2 > 0) * (w3[0] > 0)
    back = w2.T @ g2
    expected = w1.T @ (back * (h1 > 0) * (back > 0))
    with guided(net):
        (found,) = torch.autograd.grad(net(x).sum(), x)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)
    (ordinary,) = torch.autograd.grad(net(x).sum(), x)
    assert not np.allclose(ordinary.numpy(), expected)


def test_guided_is_undone_whatever_happens() -> None:
    net = CoDetectionNet(2).train()
    net.up1.eval()
    modes = [m.training for m in net.modules()]
    with guided(net) as same_net:
        assert same_net is net
        assert not any(m.training for m in net.modules())
    assert [m.training for m in net.modules()] == modes
    with pytest.raises(ValueError, match="expected"), guided(net):
        net(torch.zeros(1, 3, 16, 16))
    assert [m.training for m in net.modules()] == modes
    assert all("forward" not in vars(m) for m in net.modules())


def test_guided_needs_something_to_guide() -> None:
    with pytest.raises(ValueError, match="found none in Linear"), guided(nn.Linear(1, 1)):
        pass


# ---- discs, percentile, projection


def test_later_discs_overwrite_earlier_ones() -> None:
    peaks, shape, radius = np.array([[8.0, 9.0], [12.4, 10.0], [0.0, 19.0]]), (20, 24), 6.0
    expected = np.zeros(shape, int)
    for i, (px, py) in enumerate(peaks, 1):
        for y in range(shape[0]):
            for x in range(shape[1]):
                if (x - px) ** 2 + (y - py) ** 2 <= radius**2:
                    expected[y, x] = i
    np.testing.assert_array_equal(seed_labels(peaks, shape, radius), expected)
    assert set(np.unique(expected)) == {0, 1, 2, 3}
    assert not seed_labels(np.zeros((0, 2)), shape, radius).any()


@given(st.integers(0, 400), st.integers(0, 5))
def test_normaliser_is_the_authors_percentile(n: int, n_small: int) -> None:
    values = np.random.default_rng(n).random(n) + 0.02
    x = torch.from_numpy(np.concatenate([values, np.full(n_small, 0.005)]))
    expected = sorted(values)[min(round(0.99 * n), n - 1)] if n else 1.0
    assert normaliser(x) == expected


@pytest.mark.parametrize("seed", range(3))
def test_projection_is_an_argmax_over_cells(seed: int) -> None:
    # Few different values, so that there are ties.
    maps = torch.randint(0, 4, (5, 2, 6, 7), generator=random_source(seed)).double() * 0.0101
    projection = Projection((6, 7), maps)
    for cell, values in enumerate(maps):
        projection.add(cell, values)
    scaled = [[g / normaliser(g) for g in cell] for cell in maps]
    for frame in (0, 1):
        stack = np.stack([np.zeros((6, 7))] + [np.asarray(cell[frame]) for cell in scaled])
        expected = np.where(stack.max(0) < 0.01, 0, stack.argmax(0))
        np.testing.assert_array_equal(projection.labels[frame].numpy(), expected)


def test_projection_takes_windows() -> None:
    projection = Projection((8, 9), torch.zeros(1))
    projection.add(4, torch.ones(2, 3, 2), top=5, left=7)
    labels = projection.labels
    assert (labels[:, 5:8, 7:9] == 5).all()
    assert int((labels > 0).sum()) == 12


# ---- the parts that replace autograd


def block(seed: int = 0) -> DoubleConv:
    torch.manual_seed(seed)
    made = DoubleConv(3, 4).double()
    made(torch.randn(4, 3, 6, 6, dtype=torch.float64, generator=random_source(1)))
    nn.init.normal_(made[1].weight)
    return made.eval()


def test_folded_block_is_the_block_and_its_guided_backward() -> None:
    original = block()
    fast = folded.FoldedBlock(original)
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64, generator=random_source(2), requires_grad=True)
    grad = torch.randn(2, 4, 8, 9, dtype=torch.float64, generator=random_source(3))
    with guided(original):
        (expected,) = torch.autograd.grad(original(x), x, grad)
    with torch.no_grad():
        first, second = fast(x)
        torch.testing.assert_close(second, original(x))
        gates = [(h > 0).view(torch.uint8) for h in (first, second)]
        torch.testing.assert_close(fast.backward(grad.clone(), *gates), expected)


def test_unpool_is_the_gradient_of_max_pooling_after_a_relu() -> None:
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64, generator=random_source(0))
    x[x < 0.3] = 0  # many blocks of zeros, as after a ReLU
    grad = torch.randn(2, 3, 4, 3, dtype=torch.float64, generator=random_source(1))
    x.requires_grad_()
    (expected,) = torch.autograd.grad(F.max_pool2d(x, 2), x, grad)
    taken = torch.stack([folded._taken(image) for image in x.detach()])
    found = folded.unpool(grad, taken)
    torch.testing.assert_close(found, expected * (x > 0))  # closed pixels are dropped already
    assert (taken == folded.CLOSED).any()


def test_taken_is_the_first_of_equals_as_in_pytorch() -> None:
    x = torch.ones(1, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(F.max_pool2d(x[None], 2).sum(), x)
    np.testing.assert_array_equal(folded.unpool(torch.ones(1, 1, 2, 2), folded._taken(x.detach())[None])[0], grad)


def test_upsample_transposed_is_the_gradient_of_upsample() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=random_source(0), requires_grad=True)
    grad = torch.randn(2, 3, 8, 10, dtype=torch.float64, generator=random_source(1))
    (expected,) = torch.autograd.grad(windows.upsample(x), x, grad)
    torch.testing.assert_close(windows.upsample_transposed(grad), expected)


@pytest.mark.parametrize("strip_px", [1, 1000, 1 << 20])
def test_the_whole_image_in_strips_is_the_network(strip_px: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "_STRIP_PX", strip_px)
    pair = torch.from_numpy(pictures((48, 64)))
    net = network(pair.numpy())
    with torch.inference_mode():
        expected = net(pair[None])[0]
        levels = folded.forward_whole(folded.FoldedNet(net), pair, (0, 1), with_gates=True)
        torch.testing.assert_close(torch.stack(levels.outputs), expected)
        [only] = folded.forward_whole(folded.FoldedNet(net), pair, (0,), with_gates=False).outputs
        torch.testing.assert_close(only, expected[0])


# ---- windows


def span(lo: list[int], hi: list[int], shape: tuple[int, int]) -> windows.Span:
    return windows.Span(np.array([lo]), np.array([hi]), shape)


@given(st.integers(-9, 40), st.integers(1, 30), st.integers(1, 30))
def test_spans_hold_what_is_seen_through_a_layer(lo: int, size: int, n: int) -> None:
    shape = 2 * n, 2 * n
    one = span([lo, lo], [lo + size, lo + size], shape)
    inside = [p for p in range(2 * n) if lo <= p < lo + size]
    for name, sees in {
        "pooled": lambda p: {p // 2},
        "upsampled": lambda p: {2 * p - 1, 2 * p, 2 * p + 1, 2 * p + 2},
        "downsampled": lambda p: {(p - 1) // 2, (p + 1) // 2},
        "unpooled": lambda p: {2 * p, 2 * p + 1},
        "pairs": lambda p: {p // 2 * 2, p // 2 * 2 + 1},
    }.items():
        out = getattr(one, name)()
        expected = sorted({q for p in inside for q in sees(p) if 0 <= q < out.shape[0]})
        if expected:
            assert (out.lo[0, 0], out.hi[0, 0]) == (expected[0], expected[-1] + 1), name


@given(st.lists(st.tuples(st.integers(-5, 22), st.integers(6, 12)), min_size=1, max_size=4), st.sampled_from([1, 2]))
def test_windows_are_equally_large_inside_the_image_and_hold_their_spans(
    spans: list[tuple[int, int]], align: int
) -> None:
    lo = np.array([[a, a] for a, _ in spans])
    wanted = windows.Span(lo, lo + np.array([[size, size] for _, size in spans]), (24, 28))
    found = wanted.windows(align)
    assert len(found) == len(spans)
    assert (found.start >= 0).all()
    assert (found.start + found.size <= [24, 28]).all()
    assert (found.start <= np.minimum(wanted.lo, np.array([24, 28]) - 1)).all()
    assert (found.start + found.size >= wanted.hi).all()
    assert not (found.start % align).any()
    assert not any(s % align for s in found.size)


def test_cutting_moving_and_putting() -> None:
    whole = torch.arange(2 * 6 * 7.0).reshape(2, 6, 7)
    small = windows.Windows(np.array([[1, 2], [3, 4]]), (2, 3), (6, 7))
    large = windows.Windows(np.array([[0, 1], [2, 3]]), (4, 4), (6, 7))
    cut = windows.cut(whole, small)
    torch.testing.assert_close(cut[1], whole[:, 3:5, 4:7])
    moved = windows.moved(cut, small, large)
    expected = torch.zeros(2, 2, 4, 4)
    expected[0, :, 1:3, 1:4] = whole[:, 1:3, 2:5]
    expected[1, :, 1:3, 1:4] = whole[:, 3:5, 4:7]
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(windows.put(moved.clone(), large, cut, small, add=True), 2 * expected)
    only = windows.put(torch.zeros_like(moved), large, cut, small, windows.Span(small.start, small.start + 1, (6, 7)))
    assert torch.count_nonzero(only) <= 4
    torch.testing.assert_close(only[0, :, 1, 1], whole[:, 1, 2])


@pytest.mark.parametrize(("size", "expected"), [(1, [0] * 16), (3, [0, 1, 2, 1] * 4), (16, list(range(16)))])
def test_mirrored_frames_end_at_a_multiple_of_16(size: int, expected: list[int]) -> None:
    ramp = torch.arange(float(size)).expand(2, 5, size)
    found = mirrored(ramp)
    assert found.shape == (2, 16, 16)
    assert found[0, 0].tolist() == expected


def test_default_batch_is_small_on_a_processor() -> None:
    assert default_batch(CoDetectionNet(2), torch.device("cpu")) == 1
