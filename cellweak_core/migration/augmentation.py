"""Patches as the migration networks take them: one of 72 variants, each channel at mean 0 and standard deviation 1.

    8 (turned by 0, 90, 180, 270 degrees, as it is or mirrored)  x  9 (moved by -2, 0, 2 px down and across)  =  72

Source: Gupta et al. 2020, Sec. 2 ("72 variations per image") and Sec. 3 ("zero mean and unit standard deviation");
which translations make 72 is told by the number. All is done on the patches' device.
Deviation: a migration patch that is moved repeats its edge, as nothing lies beyond it; the authors cut anew.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..images import quarter_turned

MOVES_PX = (-2, 0, 2)
VARIANTS = 8 * len(MOVES_PX) ** 2


def varied(patches_nchw: Tensor, variant: Tensor) -> Tensor:
    """Each patch in its own variant.

    Args:
        patches_nchw: `(n, C, s, s)` float.
        variant: `(n,)` whole numbers below 72: `(4 mirrored + quarters) 9 + 3 i + j`. The content moves by
            `MOVES_PX[i]` down and `MOVES_PX[j]` to the right; is mirrored left-right; is turned by so many quarters
            (counter-clockwise). 4 leaves a patch as it is.

    Returns:
        The same shape and type.

    Raises:
        ValueError: Patches that are not square, or variants that there are not.
    """
    height, width = patches_nchw.shape[2:]
    if height != width:
        raise ValueError(f"patches_nchw: expected square patches, got {height}x{width}")
    if variant.shape != (len(patches_nchw),) or ((variant < 0) | (variant >= VARIANTS)).any():
        raise ValueError(f"variant: expected {len(patches_nchw)} whole numbers from 0 to {VARIANTS - 1}")
    device = patches_nchw.device
    dihedral, move = variant // 9, variant % 9
    moves, at = torch.tensor(MOVES_PX, device=device), torch.arange(width, device=device)
    y, x = ((at - moves[k][:, None]).clamp(0, width - 1) for k in (move // 3, move % 3))  # where a pixel comes from
    one = torch.arange(len(variant), device=device)[:, None, None]
    moved = patches_nchw.permute(0, 2, 3, 1)[one, y[:, :, None], x[:, None]].permute(0, 3, 1, 2)
    moved = torch.where((dihedral >= 4)[:, None, None, None], moved.flip(3), moved)
    return quarter_turned(moved, dihedral % 4)


def augmented(patches_nchw: Tensor, source: torch.Generator) -> Tensor:
    """Each patch in a variant drawn for it, all 72 alike; as `varied`.

    Args:
        patches_nchw: `(n, C, s, s)` float.
        source: On the patches' device.
    """
    n, device = len(patches_nchw), patches_nchw.device
    return varied(patches_nchw, torch.randint(VARIANTS, (n,), generator=source, device=device))


def normalised(patches_nchw: Tensor) -> Tensor:
    """Each channel of each patch at mean 0 and (population) standard deviation 1; a constant channel is 0.

    Args:
        patches_nchw: `(n, C, H, W)`, float; whole numbers become float32.
    """
    x = patches_nchw if patches_nchw.is_floating_point() else patches_nchw.float()
    if not x.numel():
        return x
    centred = x - x.mean((2, 3), keepdim=True)
    sd = centred.square().mean((2, 3), keepdim=True).sqrt()
    # A mean is rounded, so that a constant's own spread need not be exactly 0.
    constant = x.amax((2, 3), keepdim=True) == x.amin((2, 3), keepdim=True)
    return torch.where(constant, torch.zeros_like(x), centred / torch.where(sd > 0, sd, torch.ones_like(sd)))
