"""Looking into trained classifiers: filters, fc1 weights, activation maps and their means (Figs. 5 to 8)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..images import scale_to_unit
from .networks import Classifier

Floats = NDArray[np.float64]


def first_filters(state: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """The first convolution's weights, `(filters, 1, 4, 4)` (Fig. 5)."""
    return state["trunk.convs.0.weight"].cpu().numpy()


def fc1_map(state: Mapping[str, Tensor], seed: int) -> Floats:
    """t-SNE of the fc1 weights: one point per input feature, described by its weights to all fc1 units (Fig. 6).

    Source: Wang et al., Sec. 3.1: "There are 2048x256 parameters in the FC layer"; the paper gives neither perplexity
    nor iterations.

    Returns:
        `(inputs, 2)`.
    """
    from sklearn.manifold import TSNE

    weights = state["fc1.weight"].cpu().numpy().T  # torch keeps (units, inputs)
    perplexity = min(30.0, (len(weights) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(weights)


def clusters(points: Floats) -> NDArray[np.int64]:
    """Dense groups of points: HDBSCAN labels `(N,)`, -1 for none; a tight cluster holds at least 5 % of the points.

    The paper counts "three tight clusters" by eye; this counts them the same way for every run. One cloud of all points
    competes with the groups and, where it wins, there are none: HDBSCAN without it finds two to seven groups in noise.
    """
    from sklearn.cluster import HDBSCAN

    smallest = max(5, len(points) // 20)
    label = HDBSCAN(min_cluster_size=smallest, allow_single_cluster=True, copy=True).fit_predict(points)
    return label if label.max() > 0 else np.full_like(label, -1)


@torch.no_grad()
def feature_maps(model: Classifier, window: NDArray[np.uint8], size: int = 32) -> list[NDArray[np.float32]]:
    """Every layer's activation maps of one window, strongest first, each scaled to 0..1 and resized (Fig. 7).

    Source: Wang et al., Sec. 3.1: "We first normalize all feature maps and then reshape them to a size of 32x32."

    Args:
        model: A classifier.
        window: `(H, W)` uint8.
        size: Side to which maps are resized, px.

    Returns:
        One `(filters, size, size)` array per convolution.
    """
    model.eval()
    layers = model.trunk.layers(scale_to_unit(torch.as_tensor(window)[None, None]))
    out = []
    for maps in layers:
        order = maps[0].mean((1, 2)).argsort(descending=True)
        chosen = maps[0][order]
        low, high = chosen.amin((1, 2), keepdim=True), chosen.amax((1, 2), keepdim=True)
        scaled = (chosen - low) / (high - low).clamp_min(1e-8)
        out.append(F.interpolate(scaled[None], (size, size), mode="bilinear", align_corners=False)[0].numpy())
    return out


@torch.no_grad()
def mean_activations(model: Classifier, windows: NDArray[np.uint8]) -> list[float]:
    """Mean activation of each convolution over windows `(N, H, W)`, at test time (Fig. 8)."""
    model.eval()
    return [float(a.mean()) for a in model.trunk.layers(scale_to_unit(torch.as_tensor(windows)[:, None]))]


def activation_table(states: Mapping[str, Classifier], windows: NDArray[np.uint8]) -> pd.DataFrame:
    """Fig. 8 as a table: state, layer, mean; one row per state and convolution."""
    rows = [
        {"state": name, "layer": f"conv{k + 1}", "mean": value, "n": len(windows)}
        for name, model in states.items()
        for k, value in enumerate(mean_activations(model, windows))
    ]
    return pd.DataFrame(rows)


@torch.no_grad()
def layer_shapes(model: Classifier) -> list[tuple[str, str]]:
    """Names and output shapes of the classifier's layers in order (Fig. 2)."""
    side = model.image_size
    rows = [("input", f"1x{side}x{side}")]
    model.eval()
    for k, maps in enumerate(model.trunk.layers(torch.zeros(1, 1, side, side))):
        rows.append((f"conv{k + 1}", "x".join(map(str, maps.shape[1:]))))
    return [*rows, ("fc1", str(model.fc1.out_features)), ("fc2", str(model.fc2.out_features))]


def load_classifier(model: Classifier, state: Mapping[str, Tensor]) -> Classifier:
    """The classifier with these weights, in evaluation mode."""
    model.load_state_dict(dict(state))
    return model.eval()
