"""Stronger augmentation for the weak setting: what a rosette survives, drawn anew for every image and batch.

    any rotation, flip, scale, shift, smooth warp  |  gamma, uneven illumination, noise
              where membranes lie                  |     how bright they are
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _uniform(n: int, low: float, high: float, source: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=source, device=source.device)


def _smooth(n: int, fields: int, knots: int, size: tuple[int, int], source: torch.Generator) -> Tensor:
    """Random smooth fields `(n, fields, H, W)`: normal values on a coarse grid, interpolated."""
    coarse = torch.randn(n, fields, knots, knots, generator=source, device=source.device)
    return F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)


def warp(images_nchw: Tensor, source: torch.Generator, strength: float = 1.0) -> Tensor:
    """Turn, flip, scale (x0.8 to 1.2), stretch, shift (up to 6 % of the width) and bend each image its own way.

    Args:
        images_nchw: `(N, C, H, W)` float, square.
        source: On the images' device; all randomness comes from it.
        strength: Scales everything but rotation and flips.

    Returns:
        `(N, C, H, W)`; beyond the border the image is mirrored.
    """
    n, _, height, width = images_nchw.shape
    if n == 0:
        return images_nchw.clone()
    turn = _uniform(n, 0, 2 * math.pi, source).view(n)
    scale = torch.exp(_uniform(n, -0.2, 0.2, source) * strength).view(n)
    stretch = torch.exp(_uniform(n, -0.1, 0.1, source) * strength).view(n)
    flip = torch.where(_uniform(n, 0, 1, source).view(n) < 0.5, -1.0, 1.0)
    x, y = scale * stretch, scale / stretch
    matrix = torch.stack([turn.cos() * x * flip, -turn.sin() * y, turn.sin() * x * flip, turn.cos() * y], 1)
    shift = strength * torch.cat([_uniform(n, -0.12, 0.12, source) for _ in range(2)], 1).view(n, 2, 1)
    grid = F.affine_grid(torch.cat([matrix.view(n, 2, 2), shift], 2), list(images_nchw.shape), align_corners=False)
    grid = grid + (0.03 * strength) * _smooth(n, 2, 6, (height, width), source).permute(0, 2, 3, 1)
    grid = grid.to(images_nchw.dtype)
    return F.grid_sample(images_nchw, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def relight(images_nchw: Tensor, source: torch.Generator, strength: float = 1.0) -> Tensor:
    """Random gamma, a smooth uneven illumination and pixel noise for each image.

    Args:
        images_nchw: `(N, 1, H, W)` float, grey levels 0..255.
        source: On the images' device; all randomness comes from it.
        strength: Scales all three.

    Returns:
        `(N, 1, H, W)` float, grey levels; may leave 0..255.
    """
    n, _, height, width = images_nchw.shape
    x = (images_nchw / 255).clamp(1e-3, 1) ** torch.exp(_uniform(n, -0.4, 0.4, source) * strength)
    uneven = torch.where(_uniform(n, 0, 1, source) < 0.5, 0.25 * strength, 0.0)
    x = x * torch.exp(uneven * _smooth(n, 1, 3, (height, width), source))
    noise = torch.randn(x.shape, generator=source, device=source.device)
    return 255 * (x + _uniform(n, 0, 0.03, source) * strength * noise)


def strong(images_nchw: Tensor, source: torch.Generator, strength: float = 1.0) -> Tensor:
    """`warp`, then `relight`; grey levels in and out, `(N, 1, H, W)`."""
    return relight(warp(images_nchw.float(), source, strength), source, strength)
