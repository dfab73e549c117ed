"""The wing "tracking": cell tracking learnt from positions alone (Nishimura et al. 2020, WSCTBFP).

The scores are here under their own names; submodules are imported when they are first touched::

    from cellweak_core import tracking

    tracking.tracking_scores(truth, tracks)["aa"]
    tracking.linking.link_frames(detections, max_distance_px=20)
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .intervals import bootstrap_scores
    from .scores import detection_scores, link_scores, tracking_scores

__all__ = ["bootstrap_scores", "detection_scores", "link_scores", "tracking_scores"]

_HOME = {
    "bootstrap_scores": "intervals",
    "detection_scores": "scores",
    "link_scores": "scores",
    "tracking_scores": "scores",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function or a module
    """Import a score, or the submodule ``name``, on first use (PEP 562)."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
