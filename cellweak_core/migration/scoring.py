"""All tables of the chapter from one table of frames: Fig. 1a, the draft's table, AUROC, the uncertainty's worth.

    comparison.frames_of --by network--> per_sequence, per_mode, auroc, calibration.*
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import calibration, evaluation
from .calibration import Referral
from .comparison import samples_of
from .evaluation import Estimate
from .labels import MODES, SWITCHING, UNKNOWN
from .reporting import BEST, NAMES

if TYPE_CHECKING:
    import pandas as pd

TELLS = "discontinuous from continuous"


def networks_of(frames: pd.DataFrame) -> list[str]:
    """In the table's order."""
    return list(dict.fromkeys(frames["network"]))


def of_network(frames: pd.DataFrame, network: str) -> pd.DataFrame:
    """Frames of one network, in the order of the points, so that networks go together row for row."""
    return frames[frames["network"] == network].sort_values("row").reset_index(drop=True)


def sequences(frames: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`evaluation.per_sequence` by network; continuous sequences first, then discontinuous and switching ones."""
    rank = {mode: k for k, mode in enumerate((*MODES, SWITCHING))}
    out: dict[str, pd.DataFrame] = {}
    for network in networks_of(frames):
        own = of_network(frames, network)
        parts = {name: own[name] for name in ("epistemic", "aleatoric")}
        table = evaluation.per_sequence(own["mean"], own["target"], own["label"], own["cell"], **parts)
        out[network] = table.sort_values("mode", key=lambda modes: modes.map(rank), kind="stable", ignore_index=True)
    return out


def modes(frames: pd.DataFrame, n_resamples: int = 2000, seed: int = 0) -> dict[str, pd.DataFrame]:
    """`evaluation.per_mode` by network."""
    return {
        network: evaluation.per_mode(
            own["mean"], own["target"], own["label"], own["cell"], own["frame"], n_resamples, seed
        )
        for network in networks_of(frames)
        for own in [of_network(frames, network)]
    }


def aurocs(
    frames: pd.DataFrame, baselines: Mapping[str, ArrayLike], n_resamples: int = 2000, seed: int = 0
) -> tuple[dict[tuple[str, str], Estimate], dict[tuple[str, str], Estimate]]:
    """How well each network and each baseline tells the modes, and what each network gains over the first baseline.

    Args:
        frames: Of `comparison.tested`.
        baselines: By name: scores `(n_points,)` of all rows of the points, NaN where there is none; the first is the
            one that networks are compared with.
        n_resamples: Of whole cells.
        seed: Of the resamples.

    Returns:
        Of `evaluation.auroc` and of `evaluation.auroc_gain`, by (network or baseline, what is told), on the frames of
        known mode which every baseline has a score for; only frames that one network scored are compared.
    """
    own = {network: of_network(frames, network) for network in networks_of(frames)}
    first = next(iter(own.values()))
    known = np.array(first["label"] != UNKNOWN)
    scores = {name: np.asarray(values, float)[first["row"]] for name, values in baselines.items()}
    for values in scores.values():
        known &= np.isfinite(values)
    if not known.any():
        return {}, {}
    cells, positive = first["cell"].to_numpy(str)[known], (first["label"] == MODES[1]).to_numpy()[known]
    how: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed, "parts": first["part"].to_numpy(str)[known]}
    scores = {name: table["mean"].to_numpy(float) for name, table in own.items()} | scores
    of = {name: values[known] for name, values in scores.items()}
    drawn = {name: evaluation.auroc_draws(values, positive, cells, **how) for name, values in of.items()}
    found = {(name, TELLS): evaluation.estimate(*one, cells) for name, one in drawn.items()}
    gained = {
        (network, f"gain over {base}"): evaluation.gain(drawn[network], drawn[base], cells)
        for base in list(baselines)[:1] for network in own
    }  # fmt: skip
    return found, gained


class Worth(NamedTuple):
    """What a network's uncertainty is worth.

    Attributes:
        correlation: Spearman's, of absolute error and epistemic variance.
        wrong: AUROC of the epistemic variance for frames that are not TP; NaN where all are.
        wrong_by_mean: The same of `mean (1 - mean)`, which needs no samples: how near to .5 the prediction is. Frames
            between .4 and .6 are not TP by definition, and have a large variance as well.
        gain: `wrong` minus `wrong_by_mean`.
        fn: AUROC of the epistemic variance for FN among the frames that are TP or FN: those that are sure of a
            mode; NaN where there is one kind only.
        bins: `calibration.error_by_uncertainty`.
        referred: `calibration.referral` of "MSE", of "not TP" (1 where a frame is not), and of "not TP, by mean" in the
            order of `mean (1 - mean)`.
        reliability: The share of discontinuous frames in bins of like predictions, as `error_by_uncertainty` has it:
            `uncertainty` is the mean prediction, `error` the share.
        intervals: `calibration.coverage` of the "epistemic" variance, of "epistemic + aleatoric", and of "samples".
    """

    correlation: Estimate
    wrong: Estimate
    wrong_by_mean: Estimate
    gain: Estimate
    fn: Estimate
    bins: pd.DataFrame
    referred: dict[str, Referral]
    reliability: pd.DataFrame
    intervals: dict[str, pd.DataFrame]

    def told(self) -> dict[str, Estimate]:
        """How well errors are told, by the words of the table."""
        return {
            "AUROC, frames not TP": self.wrong, "AUROC, frames not TP, by mean (1 - mean)": self.wrong_by_mean,
            "gain of the epistemic variance": self.gain, "AUROC, FN among TP and FN": self.fn,
        }  # fmt: skip


def worth(
    frames: pd.DataFrame, learnt: Sequence[Mapping[str, Any]], n_resamples: int = 1000, seed: int = 0
) -> dict[str, Worth]:
    """Is the uncertainty any good? On the frames of known mode, by network.

    Args:
        frames: Of `comparison.tested`.
        learnt: Of `comparison.compare`, for the samples.
        n_resamples: Of whole cells.
        seed: Of the resamples.
    """
    out = dict[str, Worth]()
    how: dict[str, Any] = {"n_resamples": n_resamples, "seed": seed}
    for network in networks_of(frames):
        own = of_network(frames, network)
        own = own[own["label"] != UNKNOWN]
        mean, target, spread = (own[name].to_numpy(float) for name in ("mean", "target", "epistemic"))
        cells, parts = own["cell"].to_numpy(str), own["part"].to_numpy(str)
        missed = (own["outcome"] != "TP").to_numpy(float)
        rows, drawn = samples_of(learnt, network)
        at = np.searchsorted(rows, own["row"], sorter=np.argsort(rows))
        samples = drawn[:, np.argsort(rows)[at]]
        both, unsure = spread + own["aleatoric"].to_numpy(float), mean * (1 - mean)
        said = (own["outcome"] != "Uncertain").to_numpy()
        by_spread, by_mean = (
            evaluation.auroc_draws(scores, missed > 0, cells, **how, parts=parts) for scores in (spread, unsure)
        )
        out[network] = Worth(
            calibration.spearman(np.abs(mean - target), spread, cells, **how),
            evaluation.estimate(*by_spread, cells),
            evaluation.estimate(*by_mean, cells),
            evaluation.gain(by_spread, by_mean, cells),
            _within(said, spread, missed > 0, cells, parts, how),
            calibration.error_by_uncertainty(np.abs(mean - target), spread, cells, **how),
            {
                "MSE": calibration.referral((mean - target) ** 2, spread, cells, **how),
                "not TP": calibration.referral(missed, spread, cells, **how),
                "not TP, by mean": calibration.referral(missed, unsure, cells, **how),
            },
            calibration.error_by_uncertainty(own["label"] == MODES[1], mean, cells, **how),
            {
                "epistemic": calibration.coverage(target, mean, spread, cells, **how),
                "epistemic + aleatoric": calibration.coverage(target, mean, both, cells, **how),
                "samples": calibration.sample_coverage(target, samples, cells, **how),
            },
        )  # fmt: skip
    return out


def _within(
    chosen: NDArray[np.bool_], scores: ArrayLike, positive: ArrayLike, cells: ArrayLike, parts: ArrayLike,
    how: Mapping[str, Any],
) -> Estimate:  # fmt: skip
    """`evaluation.auroc` on some frames; NaN where there are none."""
    if not chosen.any():
        return Estimate(np.nan, np.nan, np.nan, 0, 0)
    values, truth, groups, by = (np.asarray(one)[chosen] for one in (scores, positive, cells, parts))
    return evaluation.auroc(values, truth, groups, **how, parts=by)


def settling(learnt: Sequence[Mapping[str, Any]]) -> tuple[dict[str, pd.DataFrame], int]:
    """`calibration.stability` of each network of which many samples of a few frames were drawn, and how many frames."""
    found = {one["network"]: np.asarray(one["few_samples"], float) for one in learnt if "few_samples" in one}
    n = min((values.shape[1] for values in found.values()), default=0)
    return {network: calibration.stability(values) for network, values in found.items() if values.size}, n


def positions(frames: pd.DataFrame, cells: Sequence[str]) -> pd.DataFrame:
    """Frames of some cells, the cells in the order given."""
    order = {cell: k for k, cell in enumerate(cells)}
    own = frames[frames["cell"].isin(order)]
    return own.sort_values(["cell", "frame"], key=lambda c: c.map(order) if c.name == "cell" else c, ignore_index=True)


def long(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Tables of several networks as one, with the column `network` in front."""
    import pandas as pd

    parts = [table.assign(network=network) for network, table in tables.items()]
    found = pd.concat(parts, ignore_index=True)
    return found[["network", *(name for name in found if name != "network")]]


def best_of(networks: Sequence[str]) -> str:
    """The network that Figs. 1b and c are of: the paper's DenseNet where it is there, else the last."""
    return next((name for name in networks if NAMES.get(name) == BEST), networks[-1])


def by_network(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What `long` made one table of, by network in its order."""
    parts = table.groupby("network", sort=False)
    return {str(network): own.drop(columns="network").reset_index(drop=True) for network, own in parts}


def baseline_frames(frames: pd.DataFrame, baselines: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """Frames of the first network with other predictions in place of its own, to be scored as networks are.

    Args:
        frames: Of `comparison.tested`.
        baselines: By name: predictions `(n_points,)` in [0, 1] of all rows of the points; frames without one are left
            out.
    """
    import pandas as pd

    first, tables = of_network(frames, networks_of(frames)[0]), list[pd.DataFrame]()
    for name, values in baselines.items():
        mean = np.asarray(values, float)[first["row"]]
        own = first.assign(network=name, mean=mean, epistemic=0.0, aleatoric=mean * (1 - mean))[np.isfinite(mean)]
        tables.append(own.assign(outcome=evaluation.outcomes(own["mean"].to_numpy(), own["label"].to_numpy())))
    return pd.concat(tables, ignore_index=True)
