"""The ImageNet network: torchvision's forward written out, its file read, other files told apart."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from cellweak_core.embeddings.embedding import embed, load_embedded, restored
from cellweak_core.embeddings.imagenet import MEAN, STD, ImageNetResNet, load_imagenet
from cellweak_core.embeddings.networks import build
from cellweak_core.files import DataError
from cellweak_core.screens.crops import load_crops, write_crops
from cellweak_core.screens.features import features
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.training import random_source

WIDTHS = (64, 128, 256, 512)
COUNT = "num_batches_tracked"


def torchvisions() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's ResNet-18 (torchvision/models/resnet.py), written out."""

    def norm(name: str, n: int) -> dict[str, tuple[int, ...]]:
        of_channels = {f"{name}.{k}": (n,) for k in ("weight", "bias", "running_mean", "running_var")}
        return of_channels | {f"{name}.{COUNT}": ()}

    shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for stage, n in enumerate(WIDTHS, 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (n, before, 3, 3), **norm(f"{name}.bn1", n)}
            shapes |= {f"{name}.conv2.weight": (n, n, 3, 3), **norm(f"{name}.bn2", n)}
            if before != n:
                shapes |= {f"{name}.downsample.0.weight": (n, before, 1, 1), **norm(f"{name}.downsample.1", n)}
            before = n
    return shapes | {"fc.weight": (1000, 512), "fc.bias": (1000,)}


def weights(seed: int = 0) -> dict[str, Tensor]:
    source, found = random_source(seed), {}
    for name, shape in torchvisions().items():
        if name.endswith(COUNT):
            found[name] = torch.tensor(7)
        elif name.endswith("var") or (len(shape) == 1 and name.endswith("weight")):
            found[name] = 0.5 + torch.rand(shape, generator=source)
        else:
            found[name] = torch.randn(shape, generator=source) * (2 / max(1, int(np.prod(shape[1:])))) ** 0.5
    return found


def literal(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """What torchvision's `ResNet._forward_impl` and `BasicBlock.forward` up to avgpool, do: strides, padding."""

    def norm(name: str, y: Tensor) -> Tensor:
        return F.batch_norm(
            y, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5
        )

    y = F.relu(norm("bn1", F.conv2d(x, w["conv1.weight"], stride=2, padding=3)))
    y = F.max_pool2d(y, 3, stride=2, padding=1)
    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            identity = y
            out = F.relu(norm(f"{name}.bn1", F.conv2d(y, w[f"{name}.conv1.weight"], stride=stride, padding=1)))
            out = norm(f"{name}.bn2", F.conv2d(out, w[f"{name}.conv2.weight"], padding=1))
            if stride == 2:
                down = F.conv2d(identity, w[f"{name}.downsample.0.weight"], stride=2)
                identity = norm(f"{name}.downsample.1", down)
            y = F.relu(out + identity)
    return F.adaptive_avg_pool2d(y, 1).flatten(1)


def prepared(grey: Tensor) -> Tensor:
    """A channel in [-1, 1] as three of a photograph."""
    large = F.interpolate((grey + 1) / 2, (224, 224), mode="bilinear", align_corners=False)
    return (large.repeat(1, 3, 1, 1) - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(weights(), path)
    return path


def test_names_and_shapes_are_torchvisions() -> None:
    from monai.networks.nets import ResNet

    whole = ResNet("basic", [2, 2, 2, 2], [64, 128, 256, 512], 2, 3, 7, 2, num_classes=1000, bias_downsample=False)
    assert {name: tuple(value.shape) for name, value in whole.state_dict().items()} == torchvisions()
    assert sum(p.numel() for p in whole.parameters()) == 11_689_512  # torchvision's documentation of its weights
    assert len(torchvisions()) == 122


@torch.no_grad()
def test_features_are_torchvisions_forward_of_each_channel(file: Path) -> None:
    x = 2 * torch.rand(2, 3, 40, 40, generator=random_source(1)) - 1
    before, net = x.clone(), restored(load_imagenet(file))
    found = net.features(x)  # type: ignore[operator]
    expected = torch.cat([literal(weights(), prepared(x[:, c : c + 1])) for c in range(3)], 1)
    assert found.shape == (2, 3 * 512)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.std()) > 0
    assert torch.equal(x, before)
    torch.testing.assert_close(features(net, x, ["code"])["code"], found)
    torch.testing.assert_close(net(x[:1, :2]), found[:1, :1024], rtol=1e-4, atol=1e-4)  # any channels, a crop alone
    assert net(x[:0]).shape == (0, 3 * 512)


@torch.no_grad()
def test_smaller_images_where_asked_and_larger_crops_brought_down() -> None:
    net = build({"kind": "imagenet", "side_px": 32}).eval()
    assert isinstance(net, ImageNetResNet)
    seen: list[Tensor] = []
    net.body.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
    assert net(torch.rand(2, 1, 48, 48)).shape == (2, 512)
    assert seen[0].shape == (2, 3, 32, 32)
    net(torch.full((1, 1, 48, 48), -1.0))
    assert torch.allclose(seen[1][0, :, 0, 0], -torch.tensor(MEAN) / torch.tensor(STD))  # no light is black
    with pytest.raises(ValueError, match="side_px"):
        ImageNetResNet(0)


def test_a_screen_is_embedded(file: Path, tmp_path: Path) -> None:
    few = Plan(n_mechanisms=1, compounds=1, doses=1, batches=1, replicates=1, cells=2, controls=1, size_px=32)
    screen = load_crops(write_crops(simulate_screen(few), tmp_path / "screen"))
    trained = load_imagenet(file)
    assert trained["architecture"] == {"kind": "imagenet", "side_px": 224}
    paths = embed(screen.root, trained, tmp_path / "out", layers=["code"], device="cpu", precision="32-true")
    values, cells = load_embedded(paths, "code")
    with torch.no_grad():
        expected = restored(trained)(screen.batch(np.arange(len(screen)))).numpy()
    assert values.shape == (len(cells), 3 * 512)
    assert np.allclose(values, expected, rtol=1e-4, atol=1e-4)


def test_the_same_from_safetensors_and_from_an_old_file(file: Path, tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "w.safetensors")
    old = {name: value for name, value in weights().items() if not name.endswith(COUNT)}
    torch.save(old, tmp_path / "old.pth")
    one = load_imagenet(file)
    for other in (load_imagenet(tmp_path / "w.safetensors"), load_imagenet(tmp_path / "old.pth")):
        assert other.keys() == one.keys()
        restored(other)
        assert all(torch.equal(one[k], other[k]) for k in one if k.startswith("model.") and not k.endswith(COUNT))


def changed(**other: Any) -> dict[str, Any]:  # noqa: ANN401
    return {name: value for name, value in (weights() | other).items() if value is not None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(**{"layer3.1.conv2.weight": None}), r"layer3\.1\.conv2\.weight is missing"),
        (changed(**{"layer1.2.conv1.weight": torch.zeros(64, 64, 3, 3)}), r"has no layer1\.2\.conv1\.weight"),
        (changed(**{"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}), r"is \(64, 64, 1, 1\), expected \(64, 64, 3"),
        ({"state_dict": weights(), "epoch": 3}, "expected a state dict .* found a mapping with state_dict, epoch"),
        ([torch.zeros(2)], "expected a state dict .* found list"),
    ],
)
def test_other_files_are_told_apart(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(DataError, match=rf"other\.pth: .*{message}"):
        load_imagenet(tmp_path / "other.pth")


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_no_file_and_no_weights_in_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not there; expected torchvision's resnet18-f37072fd\.pth"):
        load_imagenet(tmp_path / name)
    (tmp_path / name).write_bytes(b"no weights, whatever its name says")
    with pytest.raises(DataError, match="cannot be read as weights"):
        load_imagenet(tmp_path / name)


def test_torchvision_is_asked_for_only_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ImportError, match=r"pip install 'cellweak\[imagenet\]'"):
        load_imagenet("torchvision")
    asked: list[dict[str, Any]] = []

    def get_state_dict(**given: object) -> dict[str, Tensor]:
        asked.append(given)
        return weights()

    models: Any = types.ModuleType("torchvision.models")
    models.ResNet18_Weights = types.SimpleNamespace(IMAGENET1K_V1=types.SimpleNamespace(get_state_dict=get_state_dict))
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    assert torch.equal(load_imagenet("torchvision")["model.body.conv1.weight"], weights()["conv1.weight"])
    assert asked[0]["check_hash"] is True
