"""What the classifier takes over from the WGAN's discriminator.

    discriminator   conv1 bn conv2 bn conv3 bn fc1 ln fc2(1)
                      |   |    |   |    |   |   |   :           | weights and offsets      : the text only
    classifier      conv1 bn conv2 bn conv3 bn fc1 bn fc2(2)
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from .networks import Classifier, Discriminator

TRANSFERS = ("text", "code", "convolutions", "none")


def transferred_names(discriminator: Discriminator, rule: str = "text") -> dict[str, str]:
    """Which discriminator parameter starts which classifier parameter, `{classifier name: discriminator name}`.

    Source: Wang et al., Sec. 2.4: "We use the weights of each convolutional layer and the first fully connected layer
    [...] instead of transferring bias term of each layer, we transfer parameters in batch normalization layers."

    Args:
        discriminator: The network to take from.
        rule: "text" as quoted: convolutions, their offsets, fc1 and its normaliser's offset; "code": as "text"
            without fc1's normaliser, which is a layer normalisation there (authors' `classification/train.py:341-379`);
            "convolutions": those and their offsets only; "none".

    Raises:
        ValueError: An unknown rule.
    """
    if rule not in TRANSFERS:
        raise ValueError(f"transfer: expected one of {', '.join(TRANSFERS)}, got {rule!r}")
    if rule == "none":
        return {}
    n = len(discriminator.trunk.convs)
    names = {f"trunk.convs.{i}.weight": f"trunk.convs.{i}.weight" for i in range(n)}
    names |= {f"trunk.norms.{i}.beta": f"trunk.norms.{i}.beta" for i in range(n)}
    if rule in ("text", "code"):
        names["fc1.weight"] = "fc1.weight"
    if rule == "text":
        names["norm1.beta"] = "norm1.bias"
    return names


@torch.no_grad()
def transfer(discriminator: Discriminator, classifier: Classifier, rule: str = "text") -> list[str]:
    """Copy the discriminator's features into the classifier, in place; the rest keeps its random start.

    Neither rule moves batch normalisation's moving statistics: the classifier gathers its own.

    Returns:
        The classifier's parameters that were set.

    Raises:
        ValueError: The two networks differ in width or size.
    """
    source, target = discriminator.state_dict(), classifier.state_dict()
    names = transferred_names(discriminator, rule)
    for mine, theirs in names.items():  # all are looked at before any is set: a mismatch leaves the classifier whole
        if mine not in target or target[mine].shape != source[theirs].shape:
            have = tuple(target[mine].shape) if mine in target else "nothing"
            raise ValueError(
                f"transfer of {theirs}: the discriminator has {tuple(source[theirs].shape)}, the classifier {have}; "
                "give both the same width, fc, n_convs and image_size"
            )
    for mine, theirs in names.items():
        target[mine].copy_(source[theirs])
    return list(names)


def transfer_table(discriminator: Discriminator, classifier: Classifier) -> pd.DataFrame:
    """One row per classifier parameter: its shape, size, and whether the text and the code move it."""
    state: Mapping[str, Tensor | nn.Parameter] = dict(classifier.named_parameters())
    text, code = (transferred_names(discriminator, rule) for rule in ("text", "code"))
    return pd.DataFrame(
        [
            {
                "parameter": name,
                "shape": "x".join(map(str, value.shape)),
                "size": value.numel(),
                "text": "moved" if name in text else "random start",
                "code": "moved" if name in code else "random start",
            }
            for name, value in state.items()
        ]
    )
