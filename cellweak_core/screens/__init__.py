"""Multi-well screens: metadata, crops, profiles, whitening and matching. The wings embeddings and cytogan stand on it.

Names are here under their own name; submodules are imported when they are first touched::

    from cellweak_core import screens

    screens.TVN(regularization=1.0).fit(controls).transform(profiles)
    screens.match_treatments(features, metadata, exclude="compound+batch")["accuracy"]
"""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .aggregation import aggregate, treatment_profiles
    from .cellnet import CellNet
    from .crops import Crops, load_crops
    from .features import embedded
    from .matching import match_treatments
    from .normalization import percentile_scale, standardize
    from .profiles import Profiles, load_profiles
    from .whitening import CORAL, TVN

__all__ = [
    "CORAL",
    "TVN",
    "CellNet",
    "Crops",
    "Profiles",
    "aggregate",
    "embedded",
    "load_crops",
    "load_profiles",
    "match_treatments",
    "percentile_scale",
    "standardize",
    "treatment_profiles",
]

_HOME = {
    "CORAL": "whitening",
    "CellNet": "cellnet",
    "Crops": "crops",
    "Profiles": "profiles",
    "TVN": "whitening",
    "aggregate": "aggregation",
    "embedded": "features",
    "load_crops": "crops",
    "load_profiles": "profiles",
    "match_treatments": "matching",
    "percentile_scale": "normalization",
    "standardize": "normalization",
    "treatment_profiles": "aggregation",
}


__getattr__, __dir__ = lazily(__name__, _HOME)
