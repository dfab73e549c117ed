"""Weakly supervised single-cell features: treatments as labels, mechanisms as the question (Caicedo et al. 2018).

Names are here under their own name; submodules are imported when they are first touched::

    from cellweak_core import embeddings

    network = embeddings.load_weights("runs/embeddings/features/baseline_seed0.safetensors")
    paths = embeddings.embed("screen", network, "features")
"""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .comparison import load_weights
    from .embedding import embed, load_embedded, restored
    from .training import train

__all__ = ["embed", "load_embedded", "load_weights", "restored", "train"]

_HOME = {
    "embed": "embedding",
    "load_embedded": "embedding",
    "load_weights": "comparison",
    "restored": "embedding",
    "train": "training",
}


__getattr__, __dir__ = lazily(__name__, _HOME)
