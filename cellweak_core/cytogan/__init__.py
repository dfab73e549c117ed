"""Synthesis and representation of single cells by adversarial networks (Goldsborough et al. 2017, CytoGAN).

Names are here under their own name; submodules are imported when they are first touched::

    from cellweak_core import cytogan

    trained = cytogan.load_weights("runs/cytogan/models/lsgan.safetensors", crops)
    latent = cytogan.encode(crops, range(len(crops)), trained)
    cells = cytogan.generate(trained, cytogan.noise(trained, 16, seed=0))
"""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .encoding import encode, generate, inputs, load_weights, noise, reconstruct, save_weights
    from .training import train

__all__ = ["encode", "generate", "inputs", "load_weights", "noise", "reconstruct", "save_weights", "train"]

_HOME = {
    "encode": "encoding",
    "generate": "encoding",
    "inputs": "encoding",
    "load_weights": "encoding",
    "noise": "encoding",
    "reconstruct": "encoding",
    "save_weights": "encoding",
    "train": "training",
}


__getattr__, __dir__ = lazily(__name__, _HOME)
