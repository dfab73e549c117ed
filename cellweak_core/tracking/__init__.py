"""The wing "tracking": cell tracking learnt from positions alone (Nishimura et al. 2020, WSCTBFP).

The scores are here under their own names; submodules are imported when they are first touched::

    from cellweak_core import tracking

    tracking.tracking_scores(truth, tracks)["aa"]
    tracking.linking.link_frames(detections, max_distance_px=20)
"""

from typing import TYPE_CHECKING

from ..lazy import lazily

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


__getattr__, __dir__ = lazily(__name__, _HOME)
