"""Maps of whole frames, one pair at a time: memory is that of one frame, or of one tile.

    frame t, frame t+d --> network, whole or tile by tile --> maps (C, H, W)

A tile is predicted with a rim as wide as the network sees, so that tiles give what the whole frame gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .networks import STRIDE, CmfNet, CoDetectionNet, UNet, build, padded, receptive_radius
from .sampling import N_TURNS, turned, turned_back, turned_motion


class Frames(Protocol):
    """A sequence read frame by frame, such as a `FrameSource`."""

    def __getitem__(self, t: int, /) -> NDArray[np.float32]:
        """Frame t, `(H, W)` in [0, 1]."""

    def __len__(self) -> int:
        """The number of frames."""


def restored(result: Mapping[str, Any]) -> nn.Module:
    """The trained network of a training's result (`architecture` and `model.*`), in evaluation mode."""
    network = build(result["architecture"])
    network.load_state_dict(
        {name.removeprefix("model."): value for name, value in result.items() if name.startswith("model.")}
    )
    return network.eval()


@torch.no_grad()
def predict(
    network: nn.Module,
    frames: NDArray[np.floating],
    *,
    tile_px: int = 0,
    precision: str = "32-true",
    n_turns: int = 1,
) -> NDArray[np.float32]:
    """The maps of one input, on the network's device.

    Args:
        network: `CoDetectionNet`, `UNet` or `CmfNet`; used in evaluation mode and left as it was.
        frames: `(C, H, W)` in [0, 1], any size: edges are repeated to multiples of 16.
        tile_px: Side of the tiles, a multiple of 16; 0 takes the whole frame at once. The same values either way
            (in bf16 nearly).
        precision: "32-true" or "bf16-mixed".
        n_turns: Mean over this many of the eight turns and flips, each map (and its vectors) turned back.

    Returns:
        `(C', H, W)` float32. Likelihoods are clamped to [0, 1], motion is as it comes.

    Raises:
        ValueError: NaN in the frames, tiles or turns that cannot be.
    """
    if frames.ndim != 3 or not frames.size:
        raise ValueError(f"frames: expected (C, H, W) with pixels, got {frames.shape}")
    if not np.issubdtype(frames.dtype, np.floating):
        raise ValueError(f"frames: expected numbers in [0, 1], got {frames.dtype}; divide by the white level")
    if not np.isfinite(frames).all():
        raise ValueError("frames: expected numbers, found NaN or infinity")
    if tile_px < 0 or tile_px % STRIDE:
        raise ValueError(f"tile_px: expected a multiple of {STRIDE} or 0, got {tile_px}")
    if not 1 <= n_turns <= N_TURNS:
        raise ValueError(f"n_turns: expected 1 to {N_TURNS}, got {n_turns}")
    device = next(network.parameters()).device
    x = torch.from_numpy(np.ascontiguousarray(frames, np.float32)).to(device)[None]
    n_likelihoods = _likelihoods(network)
    training = network.training
    network.eval()
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            total = torch.zeros((), device=device)
            for code in range(n_turns):
                maps = _tiled(network, turned(x, code), tile_px)
                scalars, vectors = maps[:, :n_likelihoods], maps[:, n_likelihoods:]
                back = [turned_back(scalars, code)]
                if vectors.shape[1]:
                    back.append(turned_motion(vectors, code, back=True))
                total = total + torch.cat(back, 1)
    finally:
        network.train(training)
    mean = (total / n_turns)[0]
    mean[:n_likelihoods].clamp_(0, 1)
    return mean.cpu().numpy()


def predict_frame_map(
    network: nn.Module, source: Frames, t: int, **options: Any  # noqa: ANN401 - those of `predict`
) -> NDArray[np.float32]:
    """Likelihood map `(H, W)` in [0, 1] of frame t by a single-frame detector; options as `predict`."""
    return predict(network, np.asarray(source[t])[None], **options)[0]


def predict_pair_maps(
    network: nn.Module, source: Frames, t: int, t1: int, **options: Any  # noqa: ANN401 - those of `predict`
) -> NDArray[np.float32]:
    """Maps of the pair of frames t and t1.

    Args:
        network: `CoDetectionNet`: L_t and L_t1. `UNet` 2 -> 3: motion (y, x, z). `CmfNet`: L_t1, then motion.
        source: The sequence.
        t: Earlier frame.
        t1: Later frame.
        options: As `predict`.

    Returns:
        `(C, H, W)` float32.
    """
    return predict(network, np.stack([source[t], source[t1]]), **options)


def _likelihoods(network: nn.Module) -> int:
    """How many of the output's first channels are likelihoods; the others are a vector's y, x, z."""
    if isinstance(network, CoDetectionNet):
        return 2
    if isinstance(network, CmfNet):
        return 1
    if isinstance(network, UNet) and network.out_channels in (1, 3):
        return network.out_channels % 3
    raise ValueError(f"network: expected CoDetectionNet, CmfNet or UNet with 1 or 3 outputs, got {type(network)}")


def _tiled(network: nn.Module, x: Tensor, tile_px: int) -> Tensor:
    """`padded(network, x)` in float32, tile by tile where tiles are given."""

    def run(window: Tensor) -> Tensor:
        return network(window.contiguous(memory_format=torch.channels_last)).float()

    def tiles(image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if not tile_px or (height <= tile_px and width <= tile_px):
            return run(image)
        rim = -(-receptive_radius(network) // STRIDE) * STRIDE
        rows = []
        for top in range(0, height, tile_px):
            row = []
            above, below = max(0, top - rim), min(height, top + tile_px + rim)
            for left in range(0, width, tile_px):
                before, after = max(0, left - rim), min(width, left + tile_px + rim)
                maps = run(image[..., above:below, before:after])
                # A copy, or the row would keep every rim in memory.
                row.append(maps[..., top - above :, left - before :][..., :tile_px, :tile_px].clone())
            rows.append(torch.cat(row, -1))
        return torch.cat(rows, -2)

    return padded(tiles, x)
