"""Random pairs of frames, and co-detection networks with random weights whose answers have a spread."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cellweak_core.tracking.networks import CoDetectionNet
from cellweak_core.tracking.propagation import mirrored

Array = NDArray[np.float64]


def pictures(shape: tuple[int, int], seed: int = 0) -> Array:
    """A pair of grey images with structure at two scales."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((2, shape[0] // 8 + 1, shape[1] // 8 + 1)).repeat(8, 1).repeat(8, 2)
    return 0.5 * rng.random((2, *shape)) + 0.5 * coarse[:, : shape[0], : shape[1]]


def network(pair: Array, width: int = 4, dtype: torch.dtype = torch.float64, seed: int = 0) -> CoDetectionNet:
    """Random weights whose every layer has a spread: statistics of `pair`, outputs of mean .4 and deviation .3."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = CoDetectionNet(width).double()
        x = mirrored(torch.from_numpy(pair))[None]
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the mean of all batches so far: of this one
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.normal_(module.bias, 0, 0.3)
        with torch.no_grad():
            net(x.repeat(2, 1, 1, 1))
            net.eval()
            for frame, out in enumerate((net.out_t, net.out_tn)):
                found = net(x)[0, frame]
                scale = 0.3 / found.std()
                out.weight *= scale
                out.bias.copy_((out.bias - found.mean()) * scale + 0.4)
    return net.to(dtype)
