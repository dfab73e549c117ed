"""Dropout by surgery: rates layer by layer, names that stay, what is dropped, masks that belong to a sample."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cellweak_core.migration import dropout, networks
from cellweak_core.migration.dropout import DropoutConv, Masks, rates, sampling, with_dropout
from cellweak_core.screens.cellnet import Pointwise
from cellweak_core.training import random_source
from cellweak_core.uncertainty import mc_dropout

WIDTH = 0.04


def plain(n_convs: int = 2) -> nn.Sequential:
    """What a user brings: flat, a bias here and none there, an activation in place."""
    torch.manual_seed(0)
    channels = [2, *(4 for _ in range(n_convs))]
    parts = list[nn.Module]()
    for k, (a, b) in enumerate(pairwise(channels)):
        parts += [nn.Conv2d(a, b, 3, padding=1, bias=k % 2 == 0), nn.ReLU(inplace=True), nn.BatchNorm2d(b)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))


def built(name: str, **own: float) -> nn.Module:
    torch.manual_seed(0)
    return networks.build({"network": name, "n_channels": 2, "width": WIDTH, **own})


def images(n: int, channels: int = 2, px: int = 32, seed: int = 1) -> Tensor:
    return torch.randn(n, channels, px, px, generator=random_source(seed))


@pytest.mark.parametrize(("name", "n"), [("vgg16", 13), ("resnet18", 20)])
def test_rates_grow_with_each_convolution(name: str, n: int) -> None:
    found = rates(built(name))
    np.testing.assert_allclose(list(found.values()), [0.1 + 0.02 * k for k in range(n)], rtol=1e-12)


def test_a_projection_is_counted_behind_its_blocks_convolutions() -> None:
    names = [key.removeprefix("body.") for key in rates(built("resnet18"))]
    assert names[:5] == ["0.0", "1.0.conv1", "1.0.conv2", "1.1.conv1", "1.1.conv2"]
    assert names[5:8] == ["2.0.conv1", "2.0.conv2", "2.0.projection"]
    assert names[-1] == "4.1.conv2"


STAGED = {
    "resnet50": {
        "body.conv1": (0.10, 1), "body.layer1": (0.12, 3 * 3 + 1), "body.layer2": (0.14, 4 * 3 + 1),
        "body.layer3": (0.16, 6 * 3 + 1), "body.layer4": (0.18, 3 * 3 + 1),
    },
    "densenet121": {
        "body.features.conv0": (0.10, 1), "body.features.denseblock1": (0.12, 2 * 6),
        "body.features.transition1": (0.14, 1), "body.features.denseblock2": (0.16, 2 * 12),
        "body.features.transition2": (0.18, 1), "body.features.denseblock3": (0.20, 2 * 24),
        "body.features.transition3": (0.22, 1), "body.features.denseblock4": (0.24, 2 * 16),
    },
    "densenet40": {
        "body.0": (0.10, 1), "body.1": (0.12, 8 + 1), "body.2": (0.14, 8 + 1), "body.3": (0.16, 8 + 1),
        "body.4": (0.18, 8),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", STAGED)
def test_rates_grow_with_each_stage_where_layers_would_pass_the_cap(name: str) -> None:
    found = list(rates(built(name)).items())
    assert len(found) == {"resnet50": 53, "densenet121": 120, "densenet40": 36}[name]
    for stage, (rate, n) in STAGED[name].items():
        own, found = found[:n], found[n:]
        assert all(key == stage or key.startswith(stage + ".") for key, _ in own), stage
        np.testing.assert_allclose([value for _, value in own], rate, rtol=1e-12)
    assert not found


def test_the_cap_decides_between_layers_and_stages() -> None:
    def values(cap: float, growth: float = 0.02) -> list[float]:
        return [round(value, 6) for value in rates(built("vgg16", cap=cap, growth=growth)).values()]

    assert values(0.34) == [round(0.1 + 0.02 * k, 6) for k in range(13)]  # the last one's is the cap itself
    assert values(0.33) == [0.1] * 2 + [0.12] * 2 + [0.14] * 3 + [0.16] * 3 + [0.18] * 3
    assert values(0.15) == [0.1] * 2 + [0.12] * 2 + [0.14] * 3 + [0.15] * 6
    assert values(0.1, 0.0) == [0.1] * 13


def test_a_flat_network_has_its_convolutions_for_stages() -> None:
    found = list(rates(with_dropout(plain(30))).values())
    np.testing.assert_allclose(found, [min(0.5, 0.1 + 0.02 * k) for k in range(30)], rtol=1e-12)


def test_first_growth_and_cap() -> None:
    assert list(rates(with_dropout(plain(3), 0.3, 0.1, 0.5)).values()) == pytest.approx([0.3, 0.4, 0.5])
    assert list(rates(with_dropout(plain(3), 0.0, 0.0)).values()) == [0, 0, 0]


@pytest.mark.parametrize("name", [*networks.NETWORKS, "plain"])
def test_weights_load_both_ways_and_the_network_is_left_alone(name: str) -> None:
    given = plain() if name == "plain" else undropped(built(name))
    before = {key: value.clone() for key, value in given.state_dict().items()}
    made = with_dropout(given)
    assert list(made.state_dict()) == list(before)
    assert not rates(given)
    assert len(rates(made)) == sum(isinstance(m, nn.Conv2d) for m in given.modules())
    for value in made.parameters():
        value.data.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())
    made.load_state_dict(given.state_dict())
    x = images(3)
    assert torch.equal(made.eval()(x), given.eval()(x))  # in evaluation dropout does nothing
    with torch.no_grad():
        for value in made.parameters():
            value.mul_(1.5)
    given.load_state_dict(made.state_dict())
    assert torch.equal(made(x), given(x))


def undropped(network: nn.Module) -> nn.Module:
    """The plain network of a dropout version."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, DropoutConv):
            del module.dropout
            module.__class__ = Pointwise if isinstance(module, Pointwise) else nn.Conv2d
    return copied


def test_again_sets_the_rates_anew() -> None:
    once = with_dropout(plain(3))
    again = with_dropout(once, 0.2, 0.1)
    assert list(rates(again).values()) == pytest.approx([0.2, 0.3, 0.4])
    assert list(rates(once).values()) == pytest.approx([0.1, 0.12, 0.14])
    assert list(again.state_dict()) == list(once.state_dict())


def test_a_convolution_of_another_class_stays_one() -> None:
    given = Pointwise(2, 3, 1, 2)
    made = with_dropout(given)
    assert isinstance(made, Pointwise)
    assert isinstance(made, DropoutConv)
    assert type(made).__name__ == "DropoutPointwise"
    assert type(with_dropout(Pointwise(1, 1, 1))) is type(made)
    x = images(2)
    assert torch.equal(made.eval()(x), given(x))
    assert not torch.equal(made.train()(x), given(x))


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="found none"):
        with_dropout(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="1 is lazy; run the network once"):
        with_dropout(nn.Sequential(nn.Conv2d(1, 1, 1), nn.LazyConv2d(2, 3)))
    for first, growth, cap in ((0.6, 0.02, 0.5), (-0.1, 0, 0.5), (0.1, 0, 1.0), (0.1, -0.1, 0.5)):
        with pytest.raises(ValueError, match="0 <= first <= cap < 1"):
            with_dropout(plain(), first, growth, cap)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_elements_are_dropped_and_the_others_scaled(dtype: torch.dtype, layout: torch.memory_format) -> None:
    torch.manual_seed(3)
    layer, rate = dropout.Dropout(0.3).train(), round(0.3 * 2**16) / 2**16
    x = torch.ones(4, 8, 31, 33, dtype=dtype).contiguous(memory_format=layout)
    y = layer(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=layout)
    assert torch.equal(x, torch.ones_like(x))
    kept = torch.tensor(1 / (1 - rate), dtype=dtype)
    assert torch.equal(y.unique(), torch.stack([torch.zeros((), dtype=dtype), kept]))
    gone = (y == 0).double()
    for axis in (0, 1, 2, 3):  # elements, not channels or rows: no part has more or less of it than chance gives
        share = gone.movedim(axis, 0).flatten(1).mean(1)
        sd = (0.3 * 0.7 / (gone.numel() / len(share))) ** 0.5
        assert (share - 0.3).abs().max() < 4.5 * sd
    assert not torch.equal(layer(x), y)
    assert layer.eval()(x) is x


def test_survivors_keep_the_mean_in_bf16() -> None:
    # a mask rounded to bf16 would be 1.109375 instead of 1 / 0.9, in every layer to the same side
    x = torch.linspace(1, 2, 2**16).bfloat16()
    y = dropout.scaled(x, torch.ones(2**16), 0.1)
    assert abs(float((y.double() / x.double()).mean()) - 1 / 0.9) < 1e-4


def test_gradients_pass_where_elements_stay() -> None:
    torch.manual_seed(0)
    layer = dropout.Dropout(0.4)
    x = images(2).requires_grad_()
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, y.detach() / x.detach())


def test_rate_0_and_nothing_to_drop() -> None:
    x = images(2)
    assert dropout.Dropout(0.0).train()(x) is x
    assert dropout.Dropout(0.5).train()(x[:0]).shape == (0, 2, 32, 32)


def test_kept_bits_are_those_of_the_source() -> None:
    words = torch.empty(3, dtype=torch.int64).random_(-(2**63), None, generator=random_source(5))
    wanted = [int(v) + 2**15 >= 0.25 * 2**16 for v in words.numpy().view(np.int16)][:10]
    assert dropout.kept(10, 0.25, random_source(5), torch.device("cpu")).tolist() == wanted


@pytest.mark.parametrize("name", [*networks.NETWORKS, "plain"])
def test_sampling_drops_out_and_leaves_the_statistics_alone(name: str) -> None:
    network = with_dropout(plain()) if name == "plain" else built(name)
    network.train()
    network[0].eval() if name == "plain" else network.body.eval()
    modes = [module.training for module in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = images(2)
    with sampling(network), torch.no_grad():
        assert not any(m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d))
        assert all(m.dropout.training for m in network.modules() if isinstance(m, DropoutConv))
        assert not torch.equal(network(x), network(x))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    samples = mc_dropout(network, x, 3)  # the ground floor's finds the dropout too
    assert len(samples.unique()) == samples.numel()


def test_sampling_puts_modes_back_after_an_error() -> None:
    network = with_dropout(plain()).train()
    with pytest.raises(RuntimeError, match="my own"), sampling(network, Masks(0)):
        raise RuntimeError("my own")
    assert all(module.training for module in network.modules())
    assert all(m.masks is None for m in network.modules() if isinstance(m, dropout.Dropout))


def drawn(network: nn.Module, x: Tensor, masks: Masks, samples: list[int]) -> Tensor:
    masks.draw(samples)
    with torch.no_grad(), sampling(network, masks):
        return network(x.repeat(len(samples), 1, 1, 1)).reshape(len(samples), len(x))


@pytest.mark.parametrize("name", [*networks.NETWORKS, "plain"])
def test_a_samples_masks_are_its_own_whatever_is_beside_it(name: str) -> None:
    network = with_dropout(plain()) if name == "plain" else built(name)
    x = images(3)
    together = drawn(network, x, Masks(7), [0, 1, 2])
    assert len(together.unique()) == 9
    masks = Masks(7)
    for t in (2, 0, 1):
        for i in range(3):
            alone = drawn(network, x[i : i + 1], masks, [t])[0, 0]
            torch.testing.assert_close(alone, together[t, i], rtol=0, atol=1e-5)
    assert torch.equal(drawn(network, x, Masks(7), [0, 1, 2]), together)
    assert not torch.isclose(drawn(network, x, Masks(8), [0, 1, 2]), together, atol=1e-6).any()


def test_the_first_convolution_is_computed_once_for_equal_images() -> None:
    network, calls, again = with_dropout(plain()), list[int](), nn.Conv2d.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", lambda self, x: calls.append(self.in_channels) or again(self, x))
        masks, x = Masks(0), images(2)
        first = drawn(network, x, masks, [0])
        drawn(network, x, masks, [1])
        assert torch.equal(drawn(network, x.clone(), masks, [0]), first)
        assert calls == [2, 4, 4, 4]
        other = drawn(network, x + 1, masks, [0])  # other images are not taken for these
        assert calls == [2, 4, 4, 4, 2, 4]
        assert torch.equal(drawn(network, x + 1, Masks(0), [0]), other)


def test_a_first_convolution_without_dropout_is_not_spoilt_by_what_works_in_place() -> None:
    given = plain(2)
    given[1] = nn.LeakyReLU(0.5, inplace=True)
    network, masks, x = with_dropout(given, 0.0, 0.5, 0.5), Masks(0), images(2)
    first = drawn(network, x, masks, [0])
    assert torch.equal(drawn(network, x, masks, [0]), first)
