"""The Bayesian prediction of a mode: its mean, what the network does not know, and what the image does not tell.

    y_t = sigmoid(f(x; theta_t)),  t = 1 .. T          mean        y_bar = sum_t y_t / T
                                                       epistemic   sum_t (y_t - y_bar)^2 / T
                                                       aleatoric   sum_t y_t (1 - y_t) / T

Source: Gupta et al. 2020, Sec. 3 (the equation itself is left out of the printed text; Kwon et al. 2018 for one
sigmoid); T = 50. Both parts add up to `y_bar (1 - y_bar)`.

What is slow about T passes is what is done T times without need: each pass of one image moves all weights and draws as
many random numbers as there are activations. Here a sample's masks serve all images (`dropout.Masks`), a batch has many
images, or many samples of few, in bf16, channels last, and the first convolution is computed once.
Deviation: theta_t of the migration networks is one draw for all images, as the equation has it; Keras draws anew for
each. An image's own mean and variances are distributed alike; samples of two images are correlated (0.4 in a narrow
DenseNet), so that y_t of a sequence is one network's view of it, and a mean over images keeps some Monte Carlo error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from ..files import DataError
from ..screens.networks import rebuilt
from ..screens.reading import ahead
from ..training import make_fabric
from .augmentation import normalised
from .dropout import DropoutConv, Masks, sampling
from .networks import build
from .training import read

Floats = NDArray[np.float64]


def predict(
    patches: ArrayLike,
    rows: ArrayLike,
    trained: Mapping[str, Any],
    n_samples: int = 50,
    *,
    batch_size: int = 32,
    device: str = "auto",
    precision: str = "bf16-mixed",
    seed: int = 0,
    keep: bool = False,
) -> dict[str, Floats]:
    """Predict frames.

    Args:
        patches: `(N, C, s, s)` of any real type, as `patches.load` gives them; read a batch at a time.
        rows: `(n,)` rows of them, in any order; or a mask of all of them.
        trained: `architecture` and `model.*`, as `training.train` returns them.
        n_samples: T, passes with dropout on.
        batch_size: Images times samples in a pass. Masks do not depend on it; the order of sums in a convolution may,
            in the last digits.
        device: As `training.make_fabric`.
        precision: "32-true" or "bf16-mixed".
        seed: Of the masks, which are the same for each image; another device draws others.
        keep: Give all samples too.

    Returns:
        `mean`, `epistemic` and `aleatoric`, `(n,)` each (see `parts_of`); with `keep` also `samples` `(T, n)`, the y_t.

    Raises:
        ValueError: `n_samples` or `batch_size` below 1; neither rows nor a mask.
        IndexError: No such row.
        DataError: Patches of another number of channels than the network's, or too small; pixels that are not finite.
    """
    if n_samples < 1 or batch_size < 1:
        raise ValueError(f"expected n_samples and batch_size of 1 or more, got {n_samples} and {batch_size}")
    fabric, own = make_fabric(device, precision), _positions(rows, np.shape(patches)[0])
    network = rebuilt(trained, build).to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if precision == "bf16-mixed":
        # What autocast would do in each pass
        for module in network.modules():
            if isinstance(module, DropoutConv):
                module.to(torch.bfloat16)
    shape, least = np.shape(patches)[1:], network.smallest_px
    if len(shape) != 3 or shape[0] != network.n_channels or min(shape[1:]) < least:
        raise DataError(
            f"patches: the network was trained on {network.n_channels} channels and takes {least} px or more, found "
            f"(C, s, s) = {shape}; cut patches of the same channels"
        )
    of = {"mean": np.zeros(len(own)), "epistemic": np.zeros(len(own)), "aleatoric": np.zeros(len(own))}
    of |= {"samples": np.zeros((n_samples, len(own)))} if keep else {}
    starts = range(0, len(own), batch_size)
    with fabric.autocast():
        for first, pixels in zip(
            starts, ahead(lambda k: read(patches, own[k : k + batch_size]), starts), strict=True
        ):
            x = normalised(pixels.to(fabric.device).float())
            found = sampled(network, x, n_samples, batch_size, seed)
            at = slice(first, first + len(x))
            for name, values in {**parts_of(found), "samples": found}.items():
                if name in of:
                    of[name][..., at] = values
    return of


def _positions(rows: ArrayLike, n: int) -> NDArray[np.int64]:
    asked = np.asarray(rows)
    if asked.dtype == bool and asked.shape == (n,):
        return np.flatnonzero(asked)
    if asked.ndim != 1 or (asked.size and asked.dtype.kind not in "iu"):
        raise ValueError(f"rows: expected positions (n,) or a mask of {n} rows, got {asked.dtype} {asked.shape}")
    if asked.size and not 0 <= asked.min() <= asked.max() < n:
        raise IndexError(f"rows {asked.min()} to {asked.max()}, expected 0 to {n - 1}")
    return asked.astype(np.int64)


@torch.no_grad()
def sampled(
    network: nn.Module, images: Tensor, n_samples: int, batch_size: int = 32, seed: int = 0
) -> Floats:
    """The samples `(T, n)`, y_t, of images that are on the network's device.

    Args:
        network: Any of `dropout.with_dropout` that gives logits `(n,)` or `(n, 1)`; its modes are put back.
        images: `(n, C, H, W)`, as the network takes them.
        n_samples: T.
        batch_size: Images times samples in a pass.
        seed: See `dropout.Masks`.
    """
    n, out = len(images), list[Tensor]()
    if not n:
        return np.zeros((n_samples, 0))
    masks = Masks(seed, images.device)
    with sampling(network, masks):
        for first in range(0, n, batch_size):
            x = images[first : first + batch_size]
            found = list[Tensor]()
            for samples in _portions(n_samples, max(1, batch_size // len(x))):
                masks.draw(samples)
                same = x.repeat(len(samples), 1, 1, 1).contiguous(memory_format=torch.channels_last)
                found.append(network(same).double().sigmoid().reshape(len(samples), len(x)))
            out.append(torch.cat(found))
    return torch.cat(out, 1).cpu().numpy()


def _portions(n: int, most: int) -> Iterator[Sequence[int]]:
    """`range(n)` in as few parts of at most `most` as there need be, as equal as can be."""
    size = -(-n // -(-n // most))
    for first in range(0, n, size):
        yield range(first, min(n, first + size))


def parts_of(samples: ArrayLike) -> dict[str, Floats]:
    """Predictive mean, and the two parts of its uncertainty.

    Args:
        samples: `(T, n)`, the y_t in [0, 1].

    Returns:
        `mean`; `epistemic`, the variance over samples (divided by T, as the equation has it, not by T - 1);
        `aleatoric`, the mean of y_t (1 - y_t); `(n,)` each.

    Raises:
        ValueError: No sample.
    """
    y = np.asarray(samples, np.float64)
    if not len(y):
        raise ValueError("samples: expected one or more, got none")
    # The variance of equal samples is 0, which their rounded mean would hide
    return {"mean": y.mean(0), "epistemic": (y - y[0]).var(0), "aleatoric": (y * (1 - y)).mean(0)}
