"""What a network looks at: Grad-CAM and integrated gradients of its one logit (the outlook of Sec. 5).

    image --convolutions--> A (K, h, w) --mean--> linear --> logit      Grad-CAM: ReLU(sum_k a_k A_k), coarse
    baseline . . . . . . . . . . . . . image                            integrated gradients: every pixel and channel

Dropout is off and batch norm as in evaluation, so that a map is the same each time and each image's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from .labels import MODES


@torch.enable_grad()
def grad_cam(
    network: nn.Module, images: Tensor, mode: str = MODES[1], layer: nn.Module | None = None, batch_size: int = 32
) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017, Eqs. 1 and 2) at the network's last convolution stage.

    `a_k = (1/Z) sum_ij dy/dA_k,ij` and `L = ReLU(sum_k a_k A_k)`, with y the logit where `mode` is discontinuous and
    its negative where it is continuous; bilinear to the images' size.

    Args:
        network: `(n, C, H, W)` to `(n,)` or `(n, 1)` logits; its modes are as before afterwards.
        images: `(n, C, H, W)`, normalised as in training, on the network's device.
        mode: The mode for which evidence is shown, one of `labels.MODES`.
        layer: Whose output is A; where the layer behind it works in place, A is what that one left. By default the
            last one to give maps as large as the last convolution's: of a VGG16 those before the last pooling, of a
            DenseNet all its concatenated channels. Convolutions that give one pixel do not count.
        batch_size: Images at once.

    Returns:
        `(n, H, W)`, 0 or more, in the logit's unit over pixels; detached.

    Raises:
        ValueError: Other axes; another mode; a network of several logits, or one that gives no maps.
    """
    sign = _sign(mode)
    _check_images(images)
    maps = [images.new_zeros(0, *images.shape[2:])]
    for part in images.split(batch_size) if len(images) else ():
        with _evaluation(network), _outputs(network, layer) as seen:
            logits = _logits(network, part.detach().requires_grad_())
        if not seen:
            raise ValueError("network: no layer gave maps (n, K, h, w) of more than one pixel; name one as layer")
        activation = seen[0]
        (gradient,) = torch.autograd.grad(sign * logits.sum(), activation)
        weights = gradient.mean((2, 3), keepdim=True)
        cam = (weights * activation.detach()).sum(1, keepdim=True).relu()
        maps.append(nn.functional.interpolate(cam, part.shape[2:], mode="bilinear", align_corners=False)[:, 0])
    return torch.cat(maps).detach()


@torch.enable_grad()
def integrated_gradients(
    network: nn.Module, images: Tensor, mode: str = MODES[1], baseline: Tensor | None = None, n_steps: int = 64,
    batch_size: int = 32,
) -> Tensor:  # fmt: skip
    """Integrated gradients (Sundararajan et al. 2017, Eq. 1), by the midpoint rule.

    `IG_i = (x_i - x'_i) (1/m) sum_k dy/dx_i (x' + (k - 1/2)/m (x - x'))`. The sum over pixels and channels is
    `y(x) - y(x')` up to the rule's error, which `incompleteness` gives.

    Args:
        network: As `grad_cam`.
        images: As `grad_cam`.
        mode: As `grad_cam`.
        baseline: x', of one image's shape or all images'; by default 0, an image's own mean once it is normalised.
        n_steps: m.
        batch_size: Passes at once.

    Returns:
        `(n, C, H, W)` in the logit's unit: above 0 where a pixel speaks for `mode`; detached.

    Raises:
        ValueError: As `grad_cam`; fewer than one step.
    """
    sign = _sign(mode)
    _check_images(images)
    if n_steps < 1:
        raise ValueError(f"n_steps: expected 1 or more, got {n_steps}")
    start = _start(images, baseline)
    fractions = (torch.arange(n_steps, device=images.device, dtype=images.dtype) + 0.5) / n_steps
    summed = torch.zeros_like(images)
    # every image at every step, in batches that do not care where one image ends
    every = torch.arange(len(images) * n_steps, device=images.device)
    with _evaluation(network):
        for part in every.split(batch_size) if len(images) else ():
            image = part // n_steps
            along = fractions[part % n_steps].view(-1, 1, 1, 1)
            points = torch.lerp(start[image], images[image].detach(), along).requires_grad_()
            (gradient,) = torch.autograd.grad(sign * _logits(network, points).sum(), points)
            summed.index_add_(0, image, gradient)
    return (summed / n_steps * (images - start)).detach()


@torch.no_grad()
def incompleteness(
    network: nn.Module, images: Tensor, attributions: Tensor, mode: str = MODES[1], baseline: Tensor | None = None
) -> Tensor:
    """`(n,)`: sum of an image's `integrated_gradients` minus the difference of logits that it ought to be."""
    with _evaluation(network):
        ends = [_logits(network, one) for one in (images, _start(images, baseline))]
    return attributions.sum((1, 2, 3)) - _sign(mode) * (ends[0] - ends[1])


def front_share(maps: ArrayLike, directions: ArrayLike) -> NDArray[np.float64]:
    """Which share of a map lies ahead of the cell's centroid, where it moves to: protrusions, not the tail.

    Args:
        maps: `(n, H, W)`, 0 or more, the centroid at pixel (H // 2, W // 2), as `patches.cut` has it: of `grad_cam`, or
            integrated gradients without their sign summed over channels. Of an even side the first line is left out.
        directions: `(n, 2)` movement in x and y (px), such as the step to the next frame.

    Returns:
        `(n,)` in [0, 1], 0.5 for a map that does not care; pixels on the line across the centroid count half. NaN
        where the map is 0 everywhere or the cell does not move.

    Raises:
        ValueError: Other axes; a map below 0.
    """
    values, moves = np.asarray(maps, float), np.asarray(directions, float)
    if values.ndim != 3 or moves.shape != (len(values), 2):
        raise ValueError(f"expected maps (n, H, W) and directions (n, 2), got {values.shape} and {moves.shape}")
    if values.size and values.min() < 0:
        raise ValueError(f"maps: expected 0 or more, got {values.min():g}; take absolute values first")
    # as many pixels on each side of the middle one
    values = values[:, 1 - values.shape[1] % 2 :, 1 - values.shape[2] % 2 :]
    height, width = values.shape[1:]
    y, x = np.mgrid[:height, :width]
    ahead = moves[:, 0, None, None] * (x - width // 2) + moves[:, 1, None, None] * (y - height // 2)
    total = values.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (values * (np.sign(ahead) + 1) / 2).sum((1, 2)) / total
    share[~moves.any(1)] = np.nan
    return share


@contextmanager
def _evaluation(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _outputs(network: nn.Module, layer: nn.Module | None) -> Iterator[list[Tensor]]:
    """The last maps `(n, K, h, w)`, of more than one pixel, that are as large as the last convolution's."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, _inputs: tuple[Tensor, ...], output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] < 2:
            return
        if not seen or isinstance(module, nn.Conv2d) or output[0, 0].numel() >= seen[0][0, 0].numel():
            seen[:] = [output]

    handles = [module.register_forward_hook(keep) for module in (network.modules() if layer is None else [layer])]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    # a copy: a first layer that works in place may not touch a leaf
    out = network(images.clone())
    if out.numel() != len(images):
        raise ValueError(f"network: expected one logit for each of {len(images)} images, got shape {tuple(out.shape)}")
    return out.flatten()


def _start(images: Tensor, baseline: Tensor | None) -> Tensor:
    if baseline is None:
        return torch.zeros_like(images)
    if tuple(baseline.shape) not in (tuple(images.shape), tuple(images.shape[1:])):
        raise ValueError(f"baseline: expected {tuple(images.shape)} or one image of it, got {tuple(baseline.shape)}")
    return baseline.to(images).expand_as(images)


def _sign(mode: str) -> float:
    if mode not in MODES:
        raise ValueError(f"mode: expected {' or '.join(MODES)}, got {mode!r}")
    return 1.0 if mode == MODES[1] else -1.0


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images: expected floats (n, C, H, W), got {images.dtype} of shape {tuple(images.shape)}")
