"""Multi-well screens: metadata, crops, profiles, whitening and matching. The wings embeddings and cytogan stand on it.

Names are here under their own name; submodules are imported when they are first touched::

    from cellweak_core import screens

    screens.TVN(regularization=1.0).fit(controls).transform(profiles)
    screens.match_treatments(features, metadata, exclude="compound+batch")["accuracy"]
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aggregation import aggregate, treatment_profiles
    from .crops import Crops, load_crops
    from .matching import match_treatments
    from .normalization import percentile_scale, standardize
    from .profiles import Profiles, load_profiles
    from .whitening import CORAL, TVN

__all__ = [
    "CORAL",
    "TVN",
    "Crops",
    "Profiles",
    "aggregate",
    "load_crops",
    "load_profiles",
    "match_treatments",
    "percentile_scale",
    "standardize",
    "treatment_profiles",
]

_HOME = {
    "CORAL": "whitening",
    "Crops": "crops",
    "Profiles": "profiles",
    "TVN": "whitening",
    "aggregate": "aggregation",
    "load_crops": "crops",
    "load_profiles": "profiles",
    "match_treatments": "matching",
    "percentile_scale": "normalization",
    "standardize": "normalization",
    "treatment_profiles": "aggregation",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function, a class or a module
    """Import a name, or the submodule ``name``, on first use (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
