"""The networks of the rosettes paper: classifier, WGAN discriminator and generator.

    image 1x32x32 -> conv 32 -> conv 64 -> conv 128 -> fc1 256 -> fc2     (classifier: 2, discriminator: 1)
              all convolutions 4x4, stride 2:  16x16     8x8      4x4

Source: Wang et al., Sec. 2.2, 2.3 and Fig. 2; layer widths of the discriminator's normalisers, of the generator and
of the slopes from the authors' code (DongCiLu/BioGAN @3b8b030, `networks.py`, `classification/train.py`).
The 128-px network is the same with five convolutions (32 to 512) and an fc1 of 1024.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3  # TensorFlow 1's default, which the authors kept


class CentredBatchNorm(nn.Module):
    """Batch normalisation with a learnt offset and no learnt scale (TensorFlow-contrib's default).

    Works on `(N, C)` and `(N, C, H, W)`. `momentum` is the share of the new batch in the moving statistics: the
    authors' decay of .999 is a momentum of .001, which needs tens of thousands of steps to settle.
    A training batch of one value per channel is normalised by the moving statistics and leaves them as they are.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = BATCH_NORM_EPS) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch (training) or by the moving statistics (evaluation)."""
        # One value per channel has no spread: the batch's own statistics would erase it (torch raises here).
        own_statistics = self.training and x.numel() > x.shape[1]
        return F.batch_norm(
            x, self.running_mean, self.running_var, None, self.beta, own_statistics, self.momentum, self.eps
        )


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Trunk(nn.Module):
    """The convolutions that discriminator and classifier share: 4x4, stride 2, doubling widths.

    Args:
        width: Filters of the first convolution (32 in the paper); each further one doubles them.
        n_convs: 3 for 32-px windows, 5 for 128-px images.
        slope: Negative slope of the leaky ReLU (.2 in the authors' GAN, .01 in their classifier).
        bn_momentum: See `CentredBatchNorm`.
    """

    def __init__(self, width: int, n_convs: int, slope: float, bn_momentum: float) -> None:
        super().__init__()
        widths = [1, *(width * 2**i for i in range(n_convs))]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1, bias=False) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(CentredBatchNorm(b, bn_momentum) for b in widths[1:])
        self.slope, self.out_channels = slope, widths[-1]

    def layers(self, x: Tensor) -> list[Tensor]:
        """The activations after every convolution, `(N, width * 2**i, H / 2**(i+1), W / 2**(i+1))`."""
        out = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), self.slope)
            out.append(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """The last convolution's activations."""
        return self.layers(x)[-1]


def _check_size(image_size: int, n_convs: int) -> int:
    if image_size % 2**n_convs:
        raise ValueError(
            f"image_size: expected a multiple of {2**n_convs} for {n_convs} stride-2 convolutions, got {image_size}"
        )
    return image_size // 2**n_convs


class Classifier(nn.Module):
    """The paper's classifier; also the window network of the weak setting (`dense`).

    Source: Wang et al., Sec. 2.2 and Fig. 2: batch normalisation after each convolution and after fc1, leaky ReLU,
    dropout after fc1, no bias where batch normalisation follows.

    Args:
        width: Filters of the first convolution.
        image_size: Side of the (square) input in px.
        n_convs: Stride-2 convolutions.
        fc: Units of fc1.
        slope: Negative slope of the leaky ReLU.
        dropout: Share of fc1 units dropped in training.
        bn_momentum: See `CentredBatchNorm`.
    """

    def __init__(
        self,
        width: int = 32,
        image_size: int = 32,
        n_convs: int = 3,
        fc: int = 256,
        slope: float = 0.01,
        dropout: float = 0.5,
        bn_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.side = _check_size(image_size, n_convs)
        self.image_size, self.stride = image_size, 2**n_convs
        self.trunk = Trunk(width, n_convs, slope, bn_momentum)
        self.fc1 = nn.Linear(self.trunk.out_channels * self.side**2, fc, bias=False)
        self.norm1 = CentredBatchNorm(fc, bn_momentum)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(fc, 2)
        self.apply(_xavier)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits `(N, 2)` from fc1's output before normalisation, `(N, fc)`."""
        return self.fc2(self.dropout(F.leaky_relu(self.norm1(hidden), self.trunk.slope)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of (other, rosette).

        Args:
            x: `(N, 1, image_size, image_size)` float.

        Returns:
            `(N, 2)` float.

        Raises:
            ValueError: Images of another size.
        """
        if x.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(f"x: expected (N, 1, {self.image_size}, {self.image_size}), got {tuple(x.shape)}")
        return self.head(self.fc1(self.trunk(x).flatten(1)))

    def dense(self, x: Tensor) -> Tensor:
        """Rosette logit (rosette minus other) of every window, the convolutions run once over the whole image.

        Windows are `image_size` wide at a stride of `2**n_convs` px and see past their own border (46 px for the
        32-px network), because no zeros are padded between neighbours; `sliding.py` has the exact sliding window.

        Args:
            x: `(N, 1, H, W)` float.

        Returns:
            `(N, (H - image_size) / stride + 1, (W - image_size) / stride + 1)` float.

        Raises:
            ValueError: Images smaller than a window.
        """
        if min(x.shape[2:]) < self.image_size:
            raise ValueError(f"x: expected images of at least {self.image_size} px, got {tuple(x.shape)}")
        features = self.trunk(x)
        kernel = self.fc1.weight.view(-1, self.trunk.out_channels, self.side, self.side)
        hidden = F.leaky_relu(self.norm1(F.conv2d(features, kernel)), self.trunk.slope)
        logits = F.conv2d(self.dropout(hidden), self.fc2.weight[:, :, None, None], self.fc2.bias)
        return logits[:, 1] - logits[:, 0]


class Discriminator(nn.Module):
    """The WGAN's critic: the classifier's convolutions and fc1, then one linear score.

    Layer normalisation after fc1, as in the authors' code; the text says "batch normalization after each
    convolutional layer and the first fully connected layer".

    Deviation: fc1 of the rosettes discriminator is layer-normalised (the authors' code), not batch-normalised (the
    text), because a batch-normalised fc1 makes the gradient penalty of one image depend on the others.
    """

    def __init__(
        self,
        width: int = 32,
        image_size: int = 32,
        n_convs: int = 3,
        fc: int = 256,
        slope: float = 0.2,
        bn_momentum: float = 0.1,
    ) -> None:
        super().__init__()
        side = _check_size(image_size, n_convs)
        self.trunk = Trunk(width, n_convs, slope, bn_momentum)
        self.fc1 = nn.Linear(self.trunk.out_channels * side**2, fc, bias=False)
        self.norm1 = nn.LayerNorm(fc)
        self.fc2 = nn.Linear(fc, 1)
        self.apply(_xavier)

    def forward(self, x: Tensor) -> Tensor:
        """Critic scores `(N,)` of images `(N, 1, image_size, image_size)` in [-1, 1]."""
        hidden = F.leaky_relu(self.norm1(self.fc1(self.trunk(x).flatten(1))), self.trunk.slope)
        return self.fc2(hidden)[:, 0]


class Generator(nn.Module):
    """The WGAN's generator: noise -> fc 1024 -> fc 8x8x512 -> transposed 4x4 stride-2 convolutions -> tanh.

    Source: authors' `networks.py:30-66`. The text says that it has "the same network structure" as the
    discriminator; it is not mirrored.

    Args:
        width: 32 gives the authors' widths (1024 and 512); other values scale them.
        image_size: 32 (two transposed convolutions) or 128 (four).
        noise: Length of the noise vector, drawn from N(0, 1).
        bn_momentum: See `CentredBatchNorm`.
    """

    def __init__(self, width: int = 32, image_size: int = 32, noise: int = 64, bn_momentum: float = 0.1) -> None:
        super().__init__()
        n_up = (image_size // 8).bit_length() - 1
        if n_up < 0 or image_size != 8 * 2**n_up:
            raise ValueError(f"image_size: expected 8 times a power of two, got {image_size}")
        channels = [16 * width // 2**i for i in range(n_up + 1)]
        self.noise, self.channels = noise, channels[0]
        self.fc1, self.norm1 = nn.Linear(noise, 32 * width, bias=False), CentredBatchNorm(32 * width, bn_momentum)
        self.fc2 = nn.Linear(32 * width, channels[0] * 64, bias=False)
        self.norm2 = CentredBatchNorm(channels[0] * 64, bn_momentum)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False)
            for a, b in pairwise(channels)
        )
        self.norms = nn.ModuleList(CentredBatchNorm(b, bn_momentum) for b in channels[1:])
        self.out = nn.Conv2d(channels[-1], 1, 4)
        self.apply(_xavier)

    def forward(self, z: Tensor) -> Tensor:
        """Images `(N, 1, image_size, image_size)` in [-1, 1] from noise `(N, noise)`."""
        x = F.relu(self.norm1(self.fc1(z)))
        x = F.relu(self.norm2(self.fc2(x))).view(-1, self.channels, 8, 8)
        for up, norm in zip(self.ups, self.norms, strict=True):
            x = F.relu(norm(up(x)))
        # SAME padding of an even kernel at stride 1: one before, two after, as TensorFlow pads it.
        return torch.tanh(self.out(F.pad(x, (1, 2, 1, 2))))
