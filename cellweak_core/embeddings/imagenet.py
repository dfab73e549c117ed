"""The ImageNet row of Table 2: a ResNet-18 that has seen photographs only, one channel at a time.

    crop (n, C, H, W) --each channel, three times--> grey image, 224 px --ResNet-18--> 512 numbers --+
                                                                              C of them, joined: (n, 512 C)

Source: Caicedo et al. 2018, Table 2 and Sec. 5, after Pawlowski et al. 2016: each channel as a grey image through a
network trained on ImageNet, features joined.
Deviation: theirs is an Inception network with 1536 numbers a channel (Table 2: 4608); here torchvision's ResNet-18, as
deep as the chapter's own network, with 512.
Weights are read from a file, because torchvision does not import beside every build of torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..files import DataError

SIDE_PX = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels in [0, 1], as torchvision's
WEIGHTS = "resnet18-f37072fd.pth"
DIMENSIONS = 512  # of each channel
HEAD = ("fc.weight", "fc.bias")  # of the thousand classes, which no cell belongs to


class ImageNetResNet(nn.Module):
    """ResNet-18 as torchvision has it (no projection in the first stage), without its classes.

    Args:
        side_px: To which crops are resized; 224, at which it was trained.

    Raises:
        ValueError: A side below 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, side_px: int = SIDE_PX) -> None:
        from monai.networks.nets import ResNet

        super().__init__()
        if side_px < 1:
            raise ValueError(f"side_px: expected 1 or more, got {side_px}")
        self.side_px = side_px
        self.body = ResNet(
            "basic", [2, 2, 2, 2], [64, 128, 256, 512], 2, 3, 7, 2, feed_forward=False, bias_downsample=False
        )
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """The mean over the last layer's pixels, channel after channel.

        Args:
            x: `(n, C, H, W)` float in [-1, 1], any C.

        Returns:
            `(n, 512 C)`.
        """
        if not len(x):  # MONAI's ResNet cannot flatten nothing
            return x.new_zeros(0, DIMENSIONS * x.shape[1])
        return torch.cat([self._of_one(x[:, [c]]) for c in range(x.shape[1])], 1)

    def forward(self, x: Tensor) -> Tensor:
        """As `features`."""
        return self.features(x)

    def _of_one(self, grey: Tensor) -> Tensor:
        size = (self.side_px, self.side_px)
        # Antialiased as torchvision's own preparation: crops that are larger lose what the smaller image cannot hold.
        grey = functional.interpolate((grey + 1) / 2, size, mode="bilinear", antialias=True)
        return self.body((grey - self.mean) / self.std)  # the grey image meets three means: (n, 3, side, side)


def load_imagenet(path: str | Path) -> dict[str, Any]:
    """Weights in the form of a training's result, for `embedding.restored` and `embedding.embed`.

    Args:
        path: torchvision's `resnet18-f37072fd.pth`, or the same tensors as safetensors; or the word "torchvision",
            which takes them from that package, and from the internet where they are not in its cache.

    Returns:
        `architecture` and `model.*`.

    Raises:
        DataError: No such file; not a state dict; that of another network, with a key or shape that tells.
        ImportError: "torchvision", and it cannot be imported.
    """
    if str(path) == "torchvision":
        return _result(_of_torchvision(), "torchvision")
    file = Path(path)
    if not file.is_file():
        raise DataError(
            f"{file} is not there; expected torchvision's {WEIGHTS} "
            f"(https://download.pytorch.org/models/{WEIGHTS}), or the word torchvision"
        )
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights: object = load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a kind for each way in which a file can be damaged
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file}: cannot be read as weights ({reason}); expected {WEIGHTS} or safetensors") from error
    return _result(weights, str(file))


def _result(weights: object, name: str) -> dict[str, Any]:
    """The weights, each at its place, where they are this network's."""
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        found = f"a mapping with {', '.join(map(str, list(weights)[:3]))}" if isinstance(weights, Mapping) else ""
        raise DataError(
            f"{name}: expected a state dict (names and tensors), found {found or type(weights).__name__}; "
            "save model.state_dict()"
        )
    with torch.device("meta"):
        expected = ImageNetResNet().body.state_dict()
    # Files of before torch 0.4.1 do not count batches, which evaluation never reads.
    own = {key: torch.tensor(0) for key in expected if key.endswith("num_batches_tracked")} | dict(weights)
    wrong = "not the weights of torchvision's ResNet-18"
    for key, like in expected.items():
        if key not in own:
            raise DataError(f"{name}: {wrong}, {key} is missing; expected the tensors of {WEIGHTS}")
        if own[key].shape != like.shape:
            raise DataError(f"{name}: {wrong}, {key} is {tuple(own[key].shape)}, expected {tuple(like.shape)}")
    unknown = [str(key) for key in own if key not in expected and key not in HEAD]
    if unknown:
        raise DataError(f"{name}: {wrong}, which has no {unknown[0]}; expected the tensors of {WEIGHTS}")
    architecture = {"kind": "imagenet", "side_px": SIDE_PX}
    return {"architecture": architecture} | {f"model.body.{key}": own[key] for key in expected}


def _of_torchvision() -> Mapping[str, Tensor]:
    try:
        weights = import_module("torchvision.models").ResNet18_Weights.IMAGENET1K_V1
    except (ImportError, RuntimeError) as error:  # beside another build of torch its operators are not found
        raise ImportError(
            f"torchvision cannot be imported ({str(error).splitlines()[0]}): pip install 'cellweak[imagenet]', or give "
            f"the path of a file {WEIGHTS}"
        ) from error
    return weights.get_state_dict(progress=False, check_hash=True)
