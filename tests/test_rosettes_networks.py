"""The paper's networks: sizes, literal forward passes, normalisation as TensorFlow's, dense windows, transfer."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cellweak_core.rosettes.context import ContextNet
from cellweak_core.rosettes.networks import CentredBatchNorm, Classifier, Discriminator, Generator
from cellweak_core.rosettes.transfer import transfer, transfer_table, transferred_names

Array = NDArray[np.float64]


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with offsets and moving statistics as after a training, so that nothing is zero or one by chance."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith(("beta", "bias", "running_mean")):
                value.copy_(0.3 * torch.randn(value.shape, generator=source))
            elif name.endswith("running_var"):
                value.copy_(0.5 + torch.rand(value.shape, generator=source))
    return model


# --- sizes


def test_classifier_has_the_papers_sizes() -> None:
    with torch.device("meta"):
        model = Classifier()
    assert shapes(model) == {
        "trunk.convs.0.weight": (32, 1, 4, 4),
        "trunk.convs.1.weight": (64, 32, 4, 4),
        "trunk.convs.2.weight": (128, 64, 4, 4),
        "trunk.norms.0.beta": (32,),
        "trunk.norms.1.beta": (64,),
        "trunk.norms.2.beta": (128,),
        "fc1.weight": (256, 2048),
        "norm1.beta": (256,),
        "fc2.weight": (2, 256),
        "fc2.bias": (2,),
    }
    assert sum(p.numel() for p in model.parameters()) == 512 + 32768 + 131072 + 224 + 2048 * 256 + 256 + 514
    assert model.dropout.p == 0.5
    assert [tuple(x.shape[1:]) for x in model.trunk.layers(torch.empty(1, 1, 32, 32, device="meta"))] == [
        (32, 16, 16),
        (64, 8, 8),
        (128, 4, 4),
    ]


def test_discriminator_has_the_classifiers_features() -> None:
    with torch.device("meta"):
        critic, model = shapes(Discriminator()), shapes(Classifier())
    assert {n: s for n, s in critic.items() if n.startswith(("trunk", "fc1"))} == {
        n: s for n, s in model.items() if n.startswith(("trunk", "fc1"))
    }
    assert {n: s for n, s in critic.items() if n.startswith(("norm1", "fc2"))} == {
        "norm1.weight": (256,),
        "norm1.bias": (256,),
        "fc2.weight": (1, 256),
        "fc2.bias": (1,),
    }


def test_the_128_px_networks() -> None:
    with torch.device("meta"):
        model = Classifier(image_size=128, n_convs=5, fc=1024)
        critic = Discriminator(image_size=128, n_convs=5, fc=1024)
        generator = Generator(image_size=128)
    assert [conv.out_channels for conv in model.trunk.convs] == [32, 64, 128, 256, 512]
    assert model.fc1.weight.shape == critic.fc1.weight.shape == (1024, 512 * 4 * 4)
    assert [up.out_channels for up in generator.ups] == [256, 128, 64, 32]
    assert generator(torch.empty(2, 64, device="meta")).shape == (2, 1, 128, 128)


def test_generator_has_the_authors_sizes() -> None:
    with torch.device("meta"):
        model = Generator()
    assert shapes(model) == {
        "fc1.weight": (1024, 64),
        "norm1.beta": (1024,),
        "fc2.weight": (8 * 8 * 512, 1024),
        "norm2.beta": (8 * 8 * 512,),
        "ups.0.weight": (512, 256, 4, 4),
        "ups.1.weight": (256, 128, 4, 4),
        "norms.0.beta": (256,),
        "norms.1.beta": (128,),
        "out.weight": (1, 128, 4, 4),
        "out.bias": (1,),
    }


@pytest.mark.parametrize("make", [lambda: Classifier(image_size=30), lambda: Discriminator(image_size=36)])
def test_a_size_the_convolutions_cannot_halve(make: object) -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("size", [4, 24, 100])
def test_a_size_the_generator_cannot_reach(size: int) -> None:
    with pytest.raises(ValueError, match="8 times a power of two"):
        Generator(1, size)


def test_weights_start_xavier_uniform_and_offsets_at_zero() -> None:
    torch.manual_seed(0)
    model = Classifier(width=8)
    limit = (6 / (8 * 16 + 16 * 16)) ** 0.5  # fan in 8x4x4, fan out 16x4x4
    weight = model.trunk.convs[1].weight
    assert limit * 0.99 < weight.abs().max() <= limit
    assert weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not model.fc2.bias.any()
    assert not model.norm1.beta.any()


# --- literal forward passes, numpy in float64


def conv(x: Array, weight: Array, stride: int, before: int, after: int) -> Array:
    """A convolution by loops over output pixels; zeros `before` and `after` each side."""
    x = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    side = (x.shape[2] - weight.shape[2]) // stride + 1
    out = np.zeros((len(x), len(weight), side, side))
    k = weight.shape[2]
    for i in range(side):
        for j in range(side):
            patch = x[:, None, :, i * stride : i * stride + k, j * stride : j * stride + k]
            out[:, :, i, j] = (patch * weight).sum((2, 3, 4))
    return out


def up(x: Array, weight: Array) -> Array:
    """A transposed 4x4 stride-2 convolution: every input pixel paints a 4x4 patch, one pixel cut off all round."""
    n, _, side, _ = x.shape
    out = np.zeros((n, weight.shape[1], 2 * side + 2, 2 * side + 2))
    for i in range(side):
        for j in range(side):
            out[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("nc,cdkl->ndkl", x[:, :, i, j], weight)
    return out[:, :, 1:-1, 1:-1]


def normed(x: Array, state: dict[str, Array], name: str) -> Array:
    mean, var, beta = (
        state[f"{name}.{k}"].reshape(1, -1, *[1] * (x.ndim - 2)) for k in ("running_mean", "running_var", "beta")
    )
    return (x - mean) / np.sqrt(var + 1e-3) + beta


def leaky(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def numbers(model: nn.Module) -> dict[str, Array]:
    return {k: v.double().numpy().copy() for k, v in model.state_dict().items()}


def test_classifier_and_discriminator_by_loops() -> None:
    torch.manual_seed(1)
    images = torch.randn(3, 1, 16, 16, dtype=torch.float64)
    sizes = {"width": 2, "image_size": 16, "n_convs": 3, "fc": 5}
    for model, slope in ((Classifier(**sizes), 0.01), (Discriminator(**sizes), 0.2)):
        shaken(model).double().eval()
        state, x = numbers(model), images.numpy()
        for i in range(3):
            x = conv(x, state[f"trunk.convs.{i}.weight"], 2, 1, 1)  # SAME: two zeros, one each side
            x = leaky(normed(x, state, f"trunk.norms.{i}"), slope)
        hidden = x.reshape(3, -1) @ state["fc1.weight"].T
        if isinstance(model, Classifier):
            hidden = normed(hidden, state, "norm1")
        else:
            hidden = (hidden - hidden.mean(1, keepdims=True)) / np.sqrt(hidden.var(1, keepdims=True) + 1e-5)
            hidden = hidden * state["norm1.weight"] + state["norm1.bias"]
        out = leaky(hidden, slope) @ state["fc2.weight"].T + state["fc2.bias"]
        expected = out if isinstance(model, Classifier) else out[:, 0]
        np.testing.assert_allclose(model(images).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_generator_by_loops() -> None:
    torch.manual_seed(2)
    model = shaken(Generator(width=1, image_size=32, noise=6)).double().eval()
    z, state = torch.randn(2, 6, dtype=torch.float64), numbers(model)
    x = np.maximum(normed(z.numpy() @ state["fc1.weight"].T, state, "norm1"), 0)
    x = np.maximum(normed(x @ state["fc2.weight"].T, state, "norm2"), 0).reshape(2, 16, 8, 8)
    for i in range(2):
        x = np.maximum(normed(up(x, state[f"ups.{i}.weight"]), state, f"norms.{i}"), 0)
    # SAME for a 4x4 kernel at stride 1: three zeros, one before and two after
    expected = np.tanh(conv(x, state["out.weight"], 1, 1, 2) + state["out.bias"])
    np.testing.assert_allclose(model(z).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


# --- batch normalisation


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5, 2)])
def test_batch_norm_is_tensorflow_contribs(shape: tuple[int, ...]) -> None:
    norm = shaken(CentredBatchNorm(3, momentum=0.25)).double()
    state, x = numbers(norm), torch.randn(shape, dtype=torch.float64)
    out = norm.train()(x)
    for c in range(3):
        values = x.transpose(0, 1)[c].flatten().numpy()
        mean, var = values.mean(), values.var()
        expected = (values - mean) / np.sqrt(var + 1e-3) + state["beta"][c]
        np.testing.assert_allclose(out.detach().transpose(0, 1)[c].flatten().numpy(), expected, rtol=1e-9)
        # assign_moving_average: moving -= (1 - decay) * (moving - batch); the fused kernel's variance is unbiased
        unbiased = values.var(ddof=1)
        assert norm.running_mean[c].item() == pytest.approx(0.75 * state["running_mean"][c] + 0.25 * mean)
        assert norm.running_var[c].item() == pytest.approx(0.75 * state["running_var"][c] + 0.25 * unbiased)
    np.testing.assert_allclose(
        norm.eval()(x).detach().numpy(), normed(x.numpy(), {f"n.{k}": v for k, v in numbers(norm).items()}, "n")
    )


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_one_value_per_channel_is_normalised_by_the_moving_statistics(shape: tuple[int, ...]) -> None:
    norm = shaken(CentredBatchNorm(3))
    x, before = torch.randn(shape), copy.deepcopy(norm.state_dict())
    trained = norm.train()(x)
    assert torch.equal(trained, norm.eval()(x))
    assert all(torch.equal(v, before[k]) for k, v in norm.state_dict().items())


def test_batch_norm_takes_an_empty_batch() -> None:
    norm = CentredBatchNorm(3)
    assert norm.train()(torch.zeros(0, 3, 2, 2)).shape == (0, 3, 2, 2)
    assert torch.equal(norm.running_mean, torch.zeros(3))


# --- dense windows


def test_dense_on_one_window_is_the_classifier() -> None:
    torch.manual_seed(3)
    model = shaken(Classifier(width=4, fc=16)).eval()
    x = torch.randn(5, 1, 32, 32)
    logits = model(x)
    dense = model.dense(x)
    assert dense.shape == (5, 1, 1)
    torch.testing.assert_close(dense[:, 0, 0], logits[:, 1] - logits[:, 0], atol=1e-5, rtol=1e-5)


def test_dense_moves_with_the_image() -> None:
    torch.manual_seed(4)
    model = shaken(Classifier(width=2, fc=8)).eval()
    x = torch.randn(2, 1, 96, 72)
    whole = model.dense(x)
    assert whole.shape == (2, 9, 6)
    # a window sees 7 px past its border, so that all but the first row and column survive the cut
    torch.testing.assert_close(model.dense(x[:, :, 8:, 8:])[:, 1:, 1:], whole[:, 2:, 2:], atol=1e-5, rtol=1e-5)


def seen(score: Tensor, x: Tensor) -> tuple[list[int], list[int]]:
    """First and last row and column of `x` on which a score depends."""
    (slope,) = torch.autograd.grad(score, x)
    at = slope[0, 0].nonzero()
    return at.min(0).values.tolist(), at.max(0).values.tolist()


def test_how_far_the_networks_see() -> None:
    x = torch.randn(1, 1, 160, 160, requires_grad=True)
    window, context = Classifier(width=2, fc=4).eval(), ContextNet(2).eval()
    with torch.no_grad():
        for p in [*window.parameters(), *context.parameters()]:
            p.copy_(0.1 + torch.rand(p.shape) / 10)
    window.fc2.weight.data[0] = 0
    assert seen(window.dense(x)[0, 5, 5], x) == ([40 - 7] * 2, [40 + 31 + 7] * 2)  # 46 px
    low, high = seen(context(x)[0, 10, 10], x)
    assert [b - a + 1 for a, b in zip(low, high, strict=True)] == [89, 89]


def test_context_network_moves_with_the_image() -> None:
    torch.manual_seed(5)
    model = shaken(ContextNet(2)).eval()
    x = torch.randn(1, 1, 200, 200)
    assert model(x).shape == (1, 25, 25)
    assert model(x[..., :128, :64]).shape == (1, 16, 8)
    torch.testing.assert_close(model(x[:, :, 8:, 16:])[:, 6:, 6:], model(x)[:, 7:, 8:], atol=1e-5, rtol=1e-5)


def test_memory_layout_does_not_matter() -> None:
    torch.manual_seed(6)
    x = torch.randn(3, 1, 64, 64)
    for model, call in (
        (Classifier(width=4, fc=16), lambda m, v: m.dense(v)),
        (Classifier(width=4, image_size=64, n_convs=4, fc=16), lambda m, v: m(v)),
        (Discriminator(width=4, image_size=64, fc=16), lambda m, v: m(v)),
        (ContextNet(4), lambda m, v: m(v)),
    ):
        shaken(model).eval()
        plain = call(model, x)
        last = call(model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last))  # type: ignore[call-overload]
        torch.testing.assert_close(last, plain, atol=1e-5, rtol=1e-4)


def test_images_of_another_size_are_named() -> None:
    model = Classifier(width=2, fc=4)
    with pytest.raises(ValueError, match=r"expected \(N, 1, 32, 32\), got \(2, 1, 64, 64\)"):
        model(torch.zeros(2, 1, 64, 64))
    with pytest.raises(ValueError, match="at least 32 px"):
        model.dense(torch.zeros(2, 1, 64, 24))


# --- transfer

SIZES = {"width": 2, "image_size": 16, "n_convs": 2, "fc": 6}
CONVS = {"trunk.convs.0.weight", "trunk.convs.1.weight", "trunk.norms.0.beta", "trunk.norms.1.beta"}


@pytest.mark.parametrize(
    ("rule", "moved"),
    [
        ("text", {*CONVS, "fc1.weight", "norm1.beta"}),
        ("code", {*CONVS, "fc1.weight"}),
        ("convolutions", CONVS),
        ("none", set()),
    ],
)
def test_what_moves_is_equal_bit_for_bit_and_the_rest_is_as_it_was(rule: str, moved: set[str]) -> None:
    critic, model = shaken(Discriminator(**SIZES), 1), shaken(Classifier(**SIZES), 2)
    before = copy.deepcopy(model.state_dict())
    assert set(transfer(critic, model, rule)) == moved  # type: ignore[arg-type]
    theirs = transferred_names(critic, rule)  # type: ignore[arg-type]
    for name, value in model.state_dict().items():
        source = critic.state_dict()[theirs[name]] if name in moved else before[name]
        assert torch.equal(value, source), name
    for name in moved:
        assert not torch.equal(before[name], model.state_dict()[name])


def test_transferred_features_are_the_discriminators() -> None:
    critic, model = Discriminator(**SIZES, slope=0.1), Classifier(**SIZES, slope=0.1)
    transfer(critic, model, "code")
    x = torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(model.fc1(model.trunk(x).flatten(1)), critic.fc1(critic.trunk(x).flatten(1)))


def test_moved_weights_are_copies() -> None:
    critic, model = Discriminator(**SIZES), Classifier(**SIZES)
    transfer(critic, model)
    with torch.no_grad():
        critic.fc1.weight.zero_()
    assert model.fc1.weight.abs().sum() > 0


def test_unlike_networks_are_refused_and_left_whole() -> None:
    critic, model = shaken(Discriminator(**SIZES)), Classifier(**{**SIZES, "fc": 7})
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"the discriminator has \(6, 64\), the classifier \(7, 64\); give both"):
        transfer(critic, model)
    with pytest.raises(ValueError, match="the classifier nothing"):
        transfer(Discriminator(2, 16, 3, 6), model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="expected one of text, code, convolutions, none, got 'all'"):
        transfer(critic, model, "all")


def test_transfer_table_lists_every_parameter() -> None:
    critic, model = Discriminator(**SIZES), Classifier(**SIZES)
    table = transfer_table(critic, model).set_index("parameter")
    assert list(table.index) == [name for name, _ in model.named_parameters()]
    assert table.loc["norm1.beta", ["shape", "size", "text", "code"]].tolist() == ["6", 6, "moved", "random start"]
    assert table["size"].sum() == sum(p.numel() for p in model.parameters())
    assert set(table.index[table["code"] == "moved"]) == {*CONVS, "fc1.weight"}


def test_slopes_are_the_authors() -> None:
    assert Classifier(1, 8, 1, 2).trunk.slope == 0.01
    assert Discriminator(1, 8, 1, 2).trunk.slope == 0.2
    assert F.leaky_relu(torch.tensor(-1.0), Discriminator(1, 8, 1, 2).trunk.slope).item() == pytest.approx(-0.2)
