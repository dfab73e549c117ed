"""Networks: the published numbers of parameters, a fast convolution against the plain one, noise only in training."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellweak_core.cytogan.layers import Condition, EnlargedConv, InputNoise, flat, glorot, scaled, unflat
from cellweak_core.cytogan.networks import FAMILY, KINDS, Discriminator, Generator, build, prior
from cellweak_core.cytogan.variants import MODELS, architecture_of, settings
from cellweak_core.training import random_source

SIDE, N_CHANNELS = 32, 2
TOLD = ("lsgan", "began")
CASES = [(kind, "none") for kind in KINDS] + [(kind, told) for kind in TOLD for told in ("concentration", "both")]


def architecture(model: str, side: int = SIDE, n_channels: int = N_CHANNELS, **own: Any) -> dict[str, Any]:  # noqa: ANN401
    run = {"model": model, "width": 0.03, "latent": 7, "noise": 7, **own}
    return architecture_of(settings(run), tuple("abcdef"[:n_channels]), side, ("taxol", "DMSO"))


def made(model: str, **own: Any) -> nn.ModuleDict:  # noqa: ANN401
    torch.manual_seed(0)
    return build(architecture(model, **own))


def images(n: int, side: int = SIDE, n_channels: int = N_CHANNELS, seed: int = 0) -> Tensor:
    return 2 * torch.rand(n, n_channels, side, side, generator=random_source(seed)) - 1


def n_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameters_are_as_many_as_in_the_authors_networks() -> None:
    networks = build(architecture("lsgan", 96, 3, width=1.0, latent=100, noise=100))
    assert n_parameters(networks["generator"]) == 4_875_267
    assert n_parameters(networks["discriminator"]) == 4_764_681


def counted(*shapes: tuple[int, ...]) -> int:
    """Weights (out, in[, kernel, kernel]) and a bias each."""
    return sum(int(np.prod(shape)) + shape[0] for shape in shapes)


def test_parameters_of_the_other_models_are_those_of_their_layers() -> None:
    began = build(architecture("began", 96, 3, width=1.0, latent=100, noise=100))
    decoder = [(128, 128, 3, 3)] * 8 + [(3, 128, 3, 3), (12 * 12 * 128, 100)]
    stages = []
    for a, b in ((3, 64), (64, 128), (128, 256), (256, 384)):
        stages += [(b, a, 3, 3), (b, b, 3, 3), (b, b, 3, 3)]
    assert n_parameters(began["generator"]) == counted(*decoder)
    assert n_parameters(began["discriminator"]) == counted(*stages, (100, 6 * 6 * 384), *decoder)
    bigan = build(architecture("bigan", 96, 3, width=1.0, latent=100, noise=100))
    tower = [(128, 3, 5, 5), (64, 128, 5, 5), (32, 64, 5, 5), (16, 32, 5, 5)]
    dense = [(1024, 12 * 12 * 16 + 100), (1024, 1024), (256, 1024), (1, 256)]
    assert n_parameters(bigan["discriminator"]) == counted(*tower, *dense)
    assert n_parameters(bigan["encoder"]) == counted(*tower, (100, 12 * 12 * 16)) + 2 * (128 + 64 + 32 + 16)
    vae = build(architecture("vae", 96, 3, width=1.0, latent=256))
    down = [(128, 3, 3, 3), (64, 128, 3, 3), (32, 64, 3, 3), (256, 12 * 12 * 32), (256, 12 * 12 * 32)]
    up = [(12 * 12 * 32, 256), (64, 32, 3, 3), (128, 64, 3, 3), (3, 128, 3, 3)]
    assert n_parameters(vae) == counted(*down, *up)
    plain = build(architecture("autoencoder", 96, 3, latent=32))
    assert n_parameters(plain) == counted((32, 96 * 96 * 3), (96 * 96 * 3, 32))


def test_batch_normalisation_is_over_the_flat_features_with_the_authors_constants() -> None:
    norm = Generator(3, 96).norm
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_features == 36_864
    assert norm.eps == 1e-3
    assert norm.momentum == 0.1


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(2, 4, 7, 5), (1, 1, 1, 1)])
def test_enlarged_convolution_is_enlarging_and_convolving(kernel: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    conv = EnlargedConv(shape[1], 3, kernel).double()
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(F.interpolate(x, scale_factor=2), conv.weight, conv.bias, padding=kernel // 2)
    found = conv(x)
    assert found.shape == (shape[0], 3, 2 * shape[2], 2 * shape[3])
    torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)
    weights = torch.randn(found.shape, dtype=torch.float64)
    slopes = torch.autograd.grad((found * weights).sum(), [x, conv.weight])
    literal = torch.autograd.grad((plain * weights).sum(), [x, conv.weight])
    for a, b in zip(slopes, literal, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_enlarged_convolution_by_loops() -> None:
    torch.manual_seed(0)
    conv = EnlargedConv(1, 1, 5).double()
    assert conv.bias is not None
    x, w, bias = torch.randn(1, 1, 2, 3).double(), conv.weight.detach().numpy()[0, 0], conv.bias.item()
    found = conv(x).detach().numpy()[0, 0]
    for i in range(4):
        for j in range(6):
            total = bias
            for u in range(5):
                for v in range(5):
                    row, column = i + u - 2, j + v - 2
                    if 0 <= row < 4 and 0 <= column < 6:
                        total += w[u, v] * x[0, 0, row // 2, column // 2].item()
            assert found[i, j] == pytest.approx(total, rel=1e-12)


def test_enlarged_convolution_of_another_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size: expected 3 or 5, got 4"):
        EnlargedConv(1, 1, 4)


def test_flat_is_pixel_by_pixel_and_undone() -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)[:, :, :, :3]
    assert flat(x)[0, :4].tolist() == [x[0, 0, 0, 0], x[0, 1, 0, 0], x[0, 0, 0, 1], x[0, 1, 0, 1]]
    assert torch.equal(unflat(flat(x), 2, 3), x)


def test_start_is_glorots() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 16, 5)
    glorot(layer)
    assert layer.bias is not None
    bound = (6 / (8 * 25 + 16 * 25)) ** 0.5
    assert not layer.bias.any()
    assert 0.99 * bound < layer.weight.abs().max() <= bound


def test_width_scales_filters_and_leaves_one() -> None:
    assert scaled((256, 128, 3), 0.25) == (64, 32, 1)
    assert scaled((32,), 1e-6) == (1,)
    with pytest.raises(ValueError, match="width: expected above 0, got 0"):
        scaled((32,), 0)


def test_input_noise_is_of_its_size_and_only_in_training() -> None:
    x = torch.zeros(200, 500)
    noise = InputNoise(0.1)
    torch.manual_seed(0)
    assert noise(x).std().item() == pytest.approx(0.1, rel=0.02)
    assert noise.eval()(x) is x


@pytest.mark.parametrize("model", MODELS)
def test_representations_see_no_noise_in_evaluation(model: str) -> None:
    networks = made(model)
    encoder: Any = networks["encoder"] if "encoder" in networks else networks[list(networks)[-1]].encode
    x = images(3)
    networks.eval()
    first = encoder(x)
    assert torch.equal(first, encoder(x))
    alone = torch.cat([encoder(x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(first, alone, rtol=1e-5, atol=1e-6)
    if settings({"model": model})["input_noise"]:
        networks.train()
        assert not torch.equal(encoder(x), encoder(x))


def called(networks: nn.ModuleDict, kind: str, x: Tensor, z: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
    """Every output of every network of a model, by name."""
    if "autoencoder" in networks:
        out = networks["autoencoder"](x)
        parts = out if isinstance(out, tuple) else (out,)
        return {"autoencoder": parts[0], "code": networks["autoencoder"].encode(x)}
    found = {"generator": networks["generator"](z) if condition is None else networks["generator"](z, condition)}
    if kind == "bigan":
        found |= {"encoder": networks["encoder"](x), "discriminator": networks["discriminator"](x, z)}
    else:
        found["discriminator"] = networks["discriminator"](x, condition)
    return found


@pytest.mark.parametrize(("kind", "conditions"), CASES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_networks_shapes_types_and_inputs(kind: str, n: int, training: bool, conditions: str) -> None:
    networks = made(kind, conditions=conditions).train(training)
    x, z = images(n), torch.randn(n, 7, generator=random_source(1))
    condition = None if conditions == "none" else torch.rand(n, {"concentration": 1, "both": 3}[conditions])
    before = x.clone(), z.clone()
    if training and n == 1 and "generator" in networks and kind != "began":
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            called(networks, kind, x, z, condition)
        return
    shapes = {
        "generator": x.shape, "autoencoder": x.shape, "code": (n, 7), "encoder": (n, 7),
        "discriminator": x.shape if kind == "began" else (n,),
    }  # fmt: skip
    for name, out in called(networks, kind, x, z, condition).items():
        assert out.shape == shapes[name], name
        assert out.dtype == torch.float32
        assert torch.isfinite(out).all()
        if name in ("generator", "autoencoder"):
            assert (out.abs() <= 1).all()
    assert torch.equal(x, before[0])
    assert torch.equal(z, before[1])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_to_every_parameter(kind: str) -> None:
    networks = made(kind, **({"conditions": "both"} if kind in TOLD else {}), width=0.1)
    x, z = images(6), torch.randn(6, 7, generator=random_source(1))
    condition = torch.rand(6, 3, generator=random_source(2)) if kind in TOLD else None
    out = called(networks, kind, x, z, condition)
    if kind == "vae":
        out["log_sd"] = networks["autoencoder"](x)[2]
    sum((value * torch.randn(value.shape, generator=random_source(3))).sum() for value in out.values()).backward()
    for name, parameter in networks.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("n_channels", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_channels_and_any_side_that_the_strides_take(kind: str, n_channels: int) -> None:
    for side in (16, 48):
        networks = made(kind, side=side, n_channels=n_channels).eval()
        x, z = images(2, side, n_channels), torch.randn(2, 7)
        made_of = called(networks, kind, x, z, None)
        assert made_of["autoencoder" if "autoencoder" in made_of else "generator"].shape == x.shape


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "autoencoder"])
def test_a_side_that_cannot_be_halved_is_refused_with_the_nearest_that_can(kind: str) -> None:
    with pytest.raises(ValueError, match=r"size_px: .* needs a multiple of 8 px, got 67; resize to 64\?"):
        made(kind, side=67)


def test_sides_of_began_and_autoencoder() -> None:
    with pytest.raises(ValueError, match=r"multiple of 16 px, got 72; resize to 64\?"):
        made("began", side=72)
    assert made("autoencoder", side=35)["autoencoder"].encode(images(1, 35)).shape == (1, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_another_size_are_refused(kind: str) -> None:
    networks = made(kind)
    with pytest.raises(ValueError, match=r"x: expected \(n, 2, 32, 32\), got \(3, 2, 16, 16\)"):
        called(networks, kind, images(3, 16), torch.randn(3, 7), None)


def test_condition_is_shared_by_generator_and_discriminator_and_leaves_the_latent_alone() -> None:
    networks = made("lsgan", conditions="both")
    assert networks["generator"].condition is networks["discriminator"].condition
    assert isinstance(networks["generator"].condition.embed, nn.Linear)
    assert networks["generator"].condition.embed.out_features == 16
    assert networks["discriminator"].score.in_features == 7 + 16
    assert made("lsgan", conditions="concentration")["generator"].condition.embed is None
    networks.eval()
    z, one, other = torch.randn(2, 7), torch.zeros(2, 3), torch.tensor([[1.0, 0, 1], [3.0, 1, 0]])
    assert not torch.equal(networks["generator"](z, one), networks["generator"](z, other))
    with pytest.raises(ValueError, match=r"condition: expected \(2, 3\), got none"):
        networks["generator"](z)
    with pytest.raises(ValueError, match=r"condition: expected \(2, 3\), got \(2, 1\)"):
        networks["generator"](z, torch.zeros(2, 1))
    with pytest.raises(ValueError, match="condition: this model was built without one"):
        Condition()(z, one)


def test_models_and_conditions_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"kind: expected one of dcgan, .*, got 'stylegan'"):
        build({"kind": "stylegan"})
    with pytest.raises(ValueError, match="conditions: expected 'none' of bigan"):
        made("bigan", conditions="concentration")
    with pytest.raises(ValueError, match="a BiGAN encodes its noise, expected 7, got 8"):
        made("bigan", latent=8)


def test_same_seed_same_weights() -> None:
    for kind in KINDS:
        first, second = made(kind).state_dict(), made(kind).state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_prior_is_normal_and_a_bigans_uniform() -> None:
    normal, uniform = (prior(kind, 4000, 5, "cpu", random_source(0)) for kind in ("lsgan", "bigan"))
    assert abs(normal.mean()) < 0.03
    assert normal.std().item() == pytest.approx(1, abs=0.02)
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1


def test_family_shares_its_networks() -> None:
    assert len({n_parameters(made(kind)) for kind in FAMILY}) == 1
    assert isinstance(made("wgan")["discriminator"], Discriminator)


def test_vae_draws_its_code_only_in_training() -> None:
    network = made("vae")["autoencoder"]
    x = images(3)
    assert not torch.equal(network(x)[0], network(x)[0])
    network.eval()
    repeated, mean, _ = network(x)
    assert torch.equal(repeated, network.decode(mean))
    assert torch.equal(mean, network.encode(x))
