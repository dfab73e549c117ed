"""The 32-px classifier slid over an image, its windows' common convolutions computed once (Fig. 11).

Windows overlap, so their convolutions repeat each other, except that each window is cropped and every layer
pads it with zeros. Along one axis, with kernel `k0 k1 k2 k3`, stride 2, padding 1, a window of 8 becomes one of 4:

    before    0  f  m  m  m  m  m  m  l  0      f first, m middle, l last, 0 padding
    output 0  k0 k1 k2 k3                       first  =          k1 f  + (k2 m + k3 m)
    output 1        k0 k1 k2 k3                 middle = (k0 m + k1 m) + (k2 m + k3 m)
    output 2              k0 k1 k2 k3           middle
    output 3                    k0 k1 k2 k3     last   = (k0 m + k1 m) + k2 l

A middle value depends on its place in the image and not on the window, and so do the bracketed half-kernel sums
("low", "high"): they are computed once for the whole image; `first` and `last` add one tap per window. In two
dimensions there are 3 x 3 such kinds of maps, each linear in those of the layer before, and a layer costs all
its windows about (6/4)^2 dense convolutions. Nothing is approximated: `naive_windows` is the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from math import gcd
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cellweak_core.images import scale_to_unit
from cellweak_core.rosettes.networks import CentredBatchNorm, Classifier

Prepare = Callable[[Tensor], Tensor]
Span = tuple[str, slice]

_KINDS = ("first", "middle", "last")
# The kernel's taps that read each kind of the layer before, and the parts whose sums are used apart.
_TAPS = {"first": slice(1, 2), "middle": slice(0, 4), "last": slice(2, 3)}
_PARTS = {"first": ("first",), "middle": ("low", "high"), "last": ("last",)}
_BATCH = 64  # windows; larger batches leave the cache and are slower


def naive_windows(
    model: Classifier,
    image_hw: np.ndarray | Tensor,
    size: int | None = None,
    stride: int = 4,
    *,
    prepare: Prepare = scale_to_unit,
    authors_grid: bool = False,
) -> np.ndarray:
    """Rosette probability of every window, cropped and classified one at a time: the slow reference.

    Arguments as in `sliding_probability`, but one image, and `prepare` is given the cropped windows.

    Returns:
        `(ny, nx)` float32, window `[i, j]` having its upper left corner at `y = stride * i, x = stride * j`.
    """
    if image_hw.ndim != 2:
        raise ValueError(f"image_hw: expected (H, W), got shape {tuple(image_hw.shape)}")
    ny, nx = _grid(model, image_hw.shape, size, stride, authors_grid)
    image = _as_pixels(model, image_hw)
    side = model.image_size
    probability = np.empty((ny, nx), dtype=np.float32)
    with torch.inference_mode(), _evaluating(model):
        for i, j in product(range(ny), range(nx)):
            window = image[stride * i : stride * i + side, stride * j : stride * j + side]
            probability[i, j] = torch.softmax(model(prepare(window)[None, None]), 1)[0, 1].item()
    return probability


def sliding_probability(
    model: Classifier,
    image: np.ndarray | Tensor,
    size: int | None = None,
    stride: int = 4,
    *,
    prepare: Prepare = scale_to_unit,
    authors_grid: bool = False,
    as_logits: bool = False,
    tile: int = 32,
    share: bool | None = None,
) -> np.ndarray:
    """Rosette probability of every window, the windows' common convolutions computed once.

    Source: Wang et al., Sec. 3.4 and Fig. 11: a 32x32 window at a stride of 4 px.
    Deviation: the windows of rosettes Fig. 11 cover `range(0, H - size + 1, stride)`, 25x25 for 128 px; the
    paper's 24x24 (`range(0, 96, 4)` in the authors' code) never test the last row and column, at 96.

    Args:
        model: Classifier; used as in evaluation whatever its mode, and not changed. On a GPU, cuDNN rounds
            convolutions to TF32 unless `torch.backends.cudnn.allow_tf32` is off.
        image: `(H, W)` grey values, or `(N, H, W)` for many images of one size.
        size: Side of the window in px; it can only be the model's own (the default).
        stride: Step between windows in px.
        prepare: Makes the network's input from float grey values. It is applied to the whole `(H, W)` image, so
            it must act pixel by pixel; for an image that is standardised already, `lambda x: x`.
        authors_grid: Leave out a last row or column of windows that touches the border, as the authors did.
        as_logits: Return logits (rosette minus other) instead, to pool them without losing small numbers.
        tile: The working memory is bounded by sharing among at most `tile` x `tile` windows at a time (32: about
            40 MB at the paper's width, whatever the image's size).
        share: Share convolutions (True), classify whole windows in batches (False), or whichever multiplies
            less (None). Both are exact.

    Returns:
        `(ny, nx)` float32 (`(N, ny, nx)` of many), windows placed as in `naive_windows`.

    Raises:
        ValueError: An image of other dimensions or smaller than a window; `size` is not the model's.
    """
    if image.ndim not in (2, 3):
        raise ValueError(f"image: expected (H, W) or (N, H, W) grey values, got shape {tuple(image.shape)}")
    images = image if image.ndim == 3 else image[None]
    ny, nx = _grid(model, image.shape, size, stride, authors_grid)
    if tile < 1:
        raise ValueError(f"tile: expected at least 1 window, got {tile}")
    steps = _steps(model, stride)
    if share is None:
        share = model.side > 1 and _work(model, steps, ny, nx) < _work(model, None, ny, nx)
    elif share and model.side < 2:
        raise ValueError("share: expected False or None where the last convolution leaves 1x1, got True")
    logits = torch.empty(len(images), ny, nx)
    with torch.inference_mode(), _evaluating(model):
        head = _fold(model) if share else None
        for n, grey in enumerate(images):
            pixels = prepare(_as_pixels(model, grey))
            if head is None:
                logits[n] = _batched(model, pixels, ny, nx, stride)
                continue
            for i, j in product(range(0, ny, tile), range(0, nx, tile)):
                count_y, count_x = min(tile, ny - i), min(tile, nx - j)
                part = pixels[
                    stride * i : stride * (i + count_y - 1) + model.image_size,
                    stride * j : stride * (j + count_x - 1) + model.image_size,
                ]
                logits[n, i : i + tile, j : j + tile] = _shared(model, head, steps, part, count_y, count_x, stride)
    logits = logits if image.ndim == 3 else logits[0]
    return (logits if as_logits else torch.sigmoid(logits)).numpy()


@contextmanager
def _evaluating(model: Classifier) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _as_pixels(model: Classifier, image: np.ndarray | Tensor) -> Tensor:
    """In the model's dtype and on its device; arrays are copied, since torch takes no read-only or flipped ones."""
    weight = model.fc2.weight
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    return tensor.to(weight.device, weight.dtype)


def _grid(
    model: Classifier, shape: Sequence[int], size: int | None, stride: int, authors_grid: bool
) -> tuple[int, int]:
    """Numbers of window rows and columns."""
    side = model.image_size
    if size not in (None, side):
        raise ValueError(f"size: this model classifies windows of {side} px, got {size}")
    if stride < 1:
        raise ValueError(f"stride: expected at least 1 px, got {stride}")
    ny, nx = (len(range(0, length - side + (not authors_grid), stride)) for length in shape[-2:])
    if not ny or not nx:
        least = f"{side + authors_grid}x{side + authors_grid} px for windows of {side} px"
        raise ValueError(f"image: too small: expected at least {least}, got shape {tuple(shape)}")
    return ny, nx


def _batched(model: Classifier, pixels: Tensor, ny: int, nx: int, stride: int) -> Tensor:
    """Logits `(ny, nx)` by whole windows in batches; pixels `(H, W)`."""
    side = model.image_size
    windows = pixels.unfold(0, side, stride).unfold(1, side, stride)  # a view, (>= ny, >= nx, side, side)
    places = torch.arange(ny * nx, device=pixels.device).split(_BATCH)
    logits = torch.cat([model(windows[place // nx, place % nx][:, None]) for place in places])
    return (logits[:, 1] - logits[:, 0]).view(ny, nx)


class _Head(NamedTuple):
    """A classifier in evaluation, its normalisers folded into the weights before them."""

    kernels: list[dict[tuple[str, str], Tensor]]  # per layer and kind: (parts * O, C, taps y, taps x)
    shifts: list[Tensor]  # per layer: (O,)
    fc1: Tensor  # (side * side * C, fc), rows in the order (y, x, channel)
    fc1_shift: Tensor  # (fc,)
    fc2: Tensor  # (fc,), rosette minus other
    fc2_shift: Tensor  # ()


class _Step(NamedTuple):
    """One convolution's geometry; its grid is the px that multiples of the stride and of 2^level reach."""

    n_out: int  # outputs along a window
    conv_stride: int  # grid steps of the layer before per step of this layer's grid
    dilation: int  # grid steps between neighbours of the layer before
    reach: int  # this grid's steps between neighbours of this layer
    window: int  # this grid's steps between windows


def _convs(model: Classifier) -> list[nn.Conv2d]:
    return [conv for conv in model.trunk.convs if isinstance(conv, nn.Conv2d)]


def _steps(model: Classifier, stride: int) -> list[_Step]:
    steps = []
    for level, _ in enumerate(_convs(model), 1):
        apart = 2 ** (level - 1)  # px between neighbours of the layer before
        before, grid = gcd(stride, apart), gcd(stride, 2 * apart)  # px per step of the two grids
        n_out = model.image_size >> level
        steps.append(_Step(n_out, grid // before, apart // before, 2 * apart // grid, stride // grid))
    return steps


def _extent(step: _Step, count: int) -> int:
    """Positions of the half-kernel sums along one axis."""
    return step.window * (count - 1) + step.reach * (step.n_out - 2) + 1


def _work(model: Classifier, steps: list[_Step] | None, ny: int, nx: int) -> int:
    """Multiplications of all convolutions, shared or (`steps=None`) window by window."""
    total = 0
    for level, conv in enumerate(_convs(model), 1):
        if steps is None:
            taps_y, taps_x = (4 * count * (model.image_size >> level) for count in (ny, nx))
        else:
            taps_y, taps_x = (4 * _extent(steps[level - 1], count) + 2 * count for count in (ny, nx))
        total += conv.in_channels * conv.out_channels * taps_y * taps_x
    return total


def _span(start: int, count: int, step: int) -> slice:
    return slice(start, start + (count - 1) * step + 1, step)


def _sums(step: _Step, count: int) -> dict[str, list[Span]]:
    """Which parts, where, add up to each kind of output along one axis (the drawing at the top)."""
    last = (step.n_out - 2) * step.reach
    return {
        "first": [("first", slice(None)), ("high", _span(0, count, step.window))],
        "middle": [("low", slice(None, -step.reach)), ("high", slice(step.reach, None))],
        "last": [("last", slice(None)), ("low", _span(last, count, step.window))],
    }


def _places(step: _Step, count: int) -> list[Span]:
    """Where the outputs 0 .. n_out - 1 of every window lie along one axis."""
    middle = [("middle", _span(step.reach * k, count, step.window)) for k in range(step.n_out - 2)]
    return [("first", slice(None)), *middle, ("last", slice(None))]


def _fold(model: Classifier) -> _Head:
    def scale_shift(norm: CentredBatchNorm) -> tuple[Tensor, Tensor]:
        scale = (norm.running_var + norm.eps).rsqrt()
        return scale, norm.beta - norm.running_mean * scale

    def kernel(weight: Tensor, y: str, x: str) -> Tensor:
        taps = weight[:, :, _TAPS[y], _TAPS[x]]
        apart = taps.unflatten(3, (len(_PARTS[x]), -1)).unflatten(2, (len(_PARTS[y]), -1))  # (O, C, py, y, px, x)
        return apart.permute(2, 4, 0, 3, 5, 1).flatten(0, 2).permute(0, 3, 1, 2)  # channels last, as the maps

    kernels, shifts = [], []
    for conv, norm in zip(_convs(model), model.trunk.norms, strict=True):
        scale, shift = scale_shift(norm)  # type: ignore[arg-type]
        weight = conv.weight * scale[:, None, None, None]
        kernels.append({(y, x): kernel(weight, y, x) for y, x in product(_KINDS, _KINDS)})
        shifts.append(shift)
    scale, fc1_shift = scale_shift(model.norm1)
    fc1 = (model.fc1.weight * scale[:, None]).view(len(scale), -1, model.side, model.side)
    fc2, bias = model.fc2.weight, model.fc2.bias
    return _Head(kernels, shifts, fc1.permute(2, 3, 1, 0).flatten(0, 2), fc1_shift, fc2[1] - fc2[0], bias[1] - bias[0])


def _shared(
    model: Classifier, head: _Head, steps: list[_Step], pixels: Tensor, ny: int, nx: int, stride: int
) -> Tensor:
    """Logits `(ny, nx)` of a tile of windows; pixels `(H, W)`, no more than they cover."""
    border = {"first": 0, "last": model.image_size - 1}
    rows, columns = (
        {kind: _span(at, count, stride) for kind, at in border.items()} | {"middle": slice(1, -1)} for count in (ny, nx)
    )
    maps = {(y, x): pixels[rows[y], columns[x], None] for y, x in product(_KINDS, _KINDS)}  # each (h, w, C)
    for kernels, shift, step in zip(head.kernels, head.shifts, steps, strict=True):
        parts: dict[tuple[str, str], Tensor] = {}
        for (y, x), before in maps.items():
            sums = _convolve(before, kernels[y, x], (y == "middle", x == "middle"), step)
            parts |= zip(product(_PARTS[y], _PARTS[x]), sums.split(len(shift), dim=2), strict=True)
        sums_y, sums_x = _sums(step, ny), _sums(step, nx)
        for y, x in product(_KINDS, _KINDS):
            terms = [parts[a, b][at_y, at_x] for (a, at_y), (b, at_x) in product(sums_y[y], sums_x[x])]
            total = terms[0] + shift
            for term in terms[1:]:
                total += term
            maps[y, x] = F.leaky_relu_(total, model.trunk.slope)
    places = product(_places(steps[-1], ny), _places(steps[-1], nx))
    features = torch.cat([maps[y, x][at_y, at_x] for (y, at_y), (x, at_x) in places], dim=2)
    hidden = torch.addmm(head.fc1_shift, features.flatten(0, 1), head.fc1)
    return torch.addmv(head.fc2_shift, F.leaky_relu_(hidden, model.trunk.slope), head.fc2).view(ny, nx)


def _convolve(before: Tensor, kernel: Tensor, wide: tuple[bool, bool], step: _Step) -> Tensor:
    """`(h, w, C)` to `(h', w', parts * O)`; only along an axis of middle values are there two taps."""
    stride = tuple(step.conv_stride if along else 1 for along in wide)
    dilation = tuple(step.dilation if along else 1 for along in wide)
    sums = F.conv2d(before.permute(2, 0, 1)[None], kernel, stride=stride, dilation=dilation)
    return sums[0].permute(1, 2, 0)
