"""Which networks a run trains, and under which names they stand in the paper's tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..screens.cellnet import LAYERS
from ..screens.exports import require_anndata
from ..screens.learning import PAIRS
from .evaluation import TRANSFORMS

BASELINE, AUTOENCODER, UNTRAINED = "baseline", "autoencoder", "untrained"
CNNS = (BASELINE, "recurrent", "mixup", UNTRAINED)  # kinds that are a `CellNet`
CODE = "code"  # the one layer of all other networks
TABLE_2 = {
    "Ours - Baseline CNN": BASELINE,
    "Ours - Recurrent Model": "recurrent",
    "Ours - Mixup": "mixup",
    "Autoencoders": AUTOENCODER,
}
TABLE_1 = {
    "Baseline CNN": BASELINE,
    "Recurrent Model (t=5)": "recurrent",
    "Mixup (alpha = 0.2)": "mixup",
}


def recurrent(t: int) -> str:
    """Name of the network trained on sets of t cells."""
    return f"recurrent t={t}"


def mixup(alpha: float) -> str:
    """Name of the network trained on cells mixed by Beta(alpha, alpha)."""
    return f"mixup alpha={alpha:g}"


def require(
    alpha: float,
    alphas: Sequence[float],
    t: int,
    ts: Sequence[int],
    layer: str,
    transform: str,
    pairs: str,
    anndata: bool = False,
) -> None:
    """Refuse what would be missed only after hours of training.

    Raises:
        ParameterError: `alpha` is none of `alphas`, `t` none of `ts`; another layer than all networks have; another
            transform, or way to pair cells for mixup; `anndata` without the library.
    """
    from ..chapters import ParameterError

    layers = LAYERS[:-1]  # the recurrent network has no embedding
    checks = (
        ("alpha", alpha, alphas), ("t", t, ts), ("layer", layer, layers), ("transform", transform, TRANSFORMS),
        ("pairs", pairs, PAIRS),
    )  # fmt: skip
    for name, value, known in checks:
        if value not in known:
            raise ParameterError(f"{name}: expected one of {', '.join(map(str, known))}, got {value}")
    if anndata:
        try:
            require_anndata()
        except ImportError as error:
            raise ParameterError(f"anndata: {error}") from error


def chosen(
    common: Mapping[str, Any],
    alphas: Sequence[float],
    ts: Sequence[int],
    pairs: str,
    floor: bool = True,
    unsupervised: bool = True,
) -> dict[str, dict[str, Any]]:
    """Settings of every network by name.

    Args:
        common: Of `screens.learning.DEFAULTS`, the same for all.
        alphas: Of mixup, one network each.
        ts: Of the recurrent network, one each.
        pairs: Whom mixup mixes, see `screens.learning.DEFAULTS`.
        floor: Whether an untrained network is embedded too.
        unsupervised: Whether an autoencoder is trained too.
    """
    found: dict[str, dict[str, Any]] = {}
    if floor:
        found[UNTRAINED] = {"kind": "untrained"}
    found[BASELINE] = {"kind": "baseline"}
    found |= {recurrent(t): {"kind": "recurrent", "t": int(t)} for t in ts}
    found |= {mixup(a): {"kind": "mixup", "alpha": float(a), "pairs": pairs} for a in alphas}
    if unsupervised:
        found[AUTOENCODER] = {"kind": "autoencoder"}
    return {name: {**common, **own} for name, own in found.items()}


def rows(
    table: Mapping[str, str], alpha: float, t: int, layer: str, transform: str, names: Sequence[str]
) -> dict[str, tuple[str, str, str]]:
    """Name in a table -> variant, layer and transform, of the variants that this run has.

    Args:
        table: `TABLE_1` or `TABLE_2`.
        alpha: Of the table's mixup.
        t: Of the table's recurrent network.
        layer: Of the CNNs' features.
        transform: Of the profiles.
        names: Variants there are.
    """
    own = {"recurrent": recurrent(t), "mixup": mixup(alpha)}
    wanted = {name: own.get(kind, kind) for name, kind in table.items()}
    return {
        name: (variant, layer if variant != AUTOENCODER else CODE, transform)
        for name, variant in wanted.items()
        if variant in names
    }


def levels(alphas: Sequence[float], ts: Sequence[int]) -> dict[str, str]:
    """Fig. 5's levels of regularisation: name in the rows -> variant."""
    return (
        {"none": BASELINE}
        | {f"mixup, alpha = {a:g}": mixup(a) for a in alphas}
        | {f"recurrent, t = {t}": recurrent(t) for t in ts}
    )
