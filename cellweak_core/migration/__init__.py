"""Uncertainty of mesenchymal migration modes from weak labels (Gupta et al. 2020).

Names are here under their own name; submodules are imported when they are first touched::

    from cellweak_core import migration

    films = migration.load("my_films")
    targets = migration.ramps(films.points)
    fold_of = migration.grouped(films.points, targets)
"""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .data import Films, load
    from .dropout import with_dropout
    from .labels import ramps
    from .motion import modes
    from .networks import build
    from .patches import cut
    from .prediction import predict
    from .splits import grouped
    from .training import train

__all__ = ["Films", "build", "cut", "grouped", "load", "modes", "predict", "ramps", "train", "with_dropout"]

_HOME = {
    "Films": "data",
    "build": "networks",
    "cut": "patches",
    "grouped": "splits",
    "load": "data",
    "modes": "motion",
    "predict": "prediction",
    "ramps": "labels",
    "train": "training",
    "with_dropout": "dropout",
}


__getattr__, __dir__ = lazily(__name__, _HOME)
