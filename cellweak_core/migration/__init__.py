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
    from .labels import ramps
    from .motion import modes
    from .patches import cut
    from .splits import grouped

__all__ = ["Films", "cut", "grouped", "load", "modes", "ramps"]

_HOME = {
    "Films": "data",
    "cut": "patches",
    "grouped": "splits",
    "load": "data",
    "modes": "motion",
    "ramps": "labels",
}


__getattr__, __dir__ = lazily(__name__, _HOME)
