"""The paper's three claims, read from the rows of any results.json: what is claimed, what came out, is it clear.

Numbers come with an interval where the rows have one; a claimed difference whose interval holds zero is "not clear".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from .overviews import Estimate, difference, estimate_text
from .reporting import PAPER_NAMES

YES, NO, UNCLEAR, ALIKE, ABSENT = "as claimed", "not as claimed", "not clear", "no difference seen", "not in this run"
PLAIN, GAN = PAPER_NAMES["conventional"], PAPER_NAMES["GAN"]


class _Rows:
    """Rows of the one schema by item, row and column; an item without its panel finds every panel."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows[rows["value"].notna()]

    def get(self, item: str, row: str, column: str) -> pd.Series | None:
        at = self.rows["item"].str.startswith(item) & (self.rows["row"] == row) & (self.rows["column"] == column)
        return self.rows[at].iloc[-1] if at.any() else None

    def pair(self, item: str, column: str, names: tuple[str, str] = (GAN, PLAIN)) -> tuple[pd.Series, pd.Series] | None:
        gan, plain = (self.get(item, name, column) for name in names)
        return None if gan is None or plain is None else (gan, plain)


def trainings_difference(one: pd.Series, other: pd.Series) -> Estimate:
    """Difference of two means over trainings whose rows have low..high = mean ± 1 sd: Welch's 95 % interval.

    The spread is that of the trainings; the test windows are the same for both and are not resampled.
    """
    from scipy.stats import t

    value, variances, counts = float(one["value"] - other["value"]), [], []
    for row in (one, other):
        counts.append(_n_trainings(row["note"]))
        variances.append(((row["high"] - row["low"]) / 2) ** 2 / counts[-1])
    if min(counts) < 2 or not np.isfinite(sum(variances)):
        return Estimate(value, float("nan"), float("nan"))
    if sum(variances) == 0:
        return Estimate(value, value, value)
    freedom = sum(variances) ** 2 / sum(v**2 / (n - 1) for v, n in zip(variances, counts, strict=True))
    half = float(t.ppf(0.975, freedom)) * sum(variances) ** 0.5
    return Estimate(value, value - half, value + half)


def _n_trainings(note: str) -> int:
    found = re.search(r"of (\d+) trainings", note)
    return int(found[1]) if found else 1


def _estimate(row: pd.Series) -> Estimate:
    return Estimate(float(row["value"]), float(row["low"]), float(row["high"]))


def _larger(gain: Estimate) -> str:
    """Whether a gain that is claimed is there."""
    return UNCLEAR if not (gain.low > 0 or gain.high < 0) else YES if gain.value > 0 else NO


def _alike(gain: Estimate) -> str:
    """Whether two that are claimed to be alike are told apart; that they are not is no proof."""
    return UNCLEAR if not np.isfinite(gain.low) else ALIKE if gain.low <= 0 <= gain.high else NO


def _filters(rows: _Rows) -> str:
    pair = rows.pair("Fig. 5", "sd of the conv1 weights")
    if pair is None:
        return ABSENT
    gan, plain = (float(row["value"]) for row in pair)
    return f"{gan:.3f} against {plain:.3f}: {YES if gan < plain else NO} (one training each)"


def _clusters(rows: _Rows) -> str:
    pair = rows.pair("Fig. 6", "tight clusters in the t-SNE of the fc1 weights")
    if pair is None:
        return ABSENT
    gan, plain = (float(row["value"]) for row in pair)
    return f"{gan:.0f} against {plain:.0f}: {YES if gan > plain else NO} (one training each)"


def _activations(rows: _Rows) -> str:
    names = ("Trained GAN-based classifier", "Trained conventional classifier")
    columns = dict.fromkeys(c for c in rows.rows["column"] if c.startswith("mean activation of "))
    pairs = [pair for column in columns if (pair := rows.pair("Fig. 8", column, names))]
    if not pairs:
        return ABSENT
    larger = sum(float(gan["value"]) > float(plain["value"]) for gan, plain in pairs)
    verdict = YES if larger == len(pairs) else NO if larger == 0 else "in part"
    return f"larger in {larger} of {len(pairs)} layers: {verdict} (one training each)"


def _accuracy(share: str, judge: Callable[[Estimate], str]) -> Callable[[_Rows], str]:
    def read(rows: _Rows) -> str:
        pair = rows.pair("Fig. 10", f"accuracy @ {share}")
        if pair is None:
            return ABSENT
        gain = trainings_difference(*pair)
        return f"{estimate_text(gain, '+.1f', ' points')}: {judge(gain)}"

    return read


def _weak(share: str, judge: Callable[[Estimate], str]) -> Callable[[_Rows], str]:
    def read(rows: _Rows) -> str:
        pair = rows.pair("Setting (b)", f"AUROC @ {share}, mean of the test days", ("GAN", "conventional"))
        if pair is None:
            return ABSENT
        gain = difference(*map(_estimate, pair))
        return f"AUROC {estimate_text(gain, '+.3f')}: {judge(gain)}"

    return read


def _above(row: pd.Series | None, chance: float, name: str) -> str:
    if row is None:
        return ABSENT
    found = _estimate(row)
    verdict = "above chance" if found.low > chance else "below chance" if found.high < chance else UNCLEAR
    return f"{name}{estimate_text(found, '.2f')}, by chance {chance:.2f}: {verdict}"


def _places(rows: _Rows) -> str:
    chance = rows.get("Fig. 11", GAN, "any window holds a centre")
    if chance is None:
        return ABSENT
    return _above(rows.get("Fig. 11", GAN, "most probable window holds a centre"), float(chance["value"]), "share ")


def _images(rows: _Rows) -> str:
    return _above(rows.get("Fig. 11", GAN, "AUROC of the most probable window"), 0.5, "AUROC ")


def _weak_images(rows: _Rows) -> str:
    return _above(rows.get("Setting (b)", "GAN", "AUROC @ 100 %, mean of the test days"), 0.5, "AUROC ")


CLAIMS: tuple[tuple[str, str, Callable[[_Rows], str]], ...] = (
    ("1: the GAN start gives smoother filters (smaller sd)", "0.192 against 0.285", _filters),
    ("1: clustered fc1 weights", "3 clusters against none", _clusters),
    ("1: larger activations", "drawn, not printed", _activations),
    ("2: with all labels both are equally good", "86 %, both", _accuracy("100 %", _alike)),
    ("2: with a fifth of them the GAN start is better", "82 %, conventional below", _accuracy("20 %", _larger)),
    ("2, image labels only: equally good with all", "-", _weak("100 %", _alike)),
    ("2, image labels only: better with a fifth", "-", _weak("20 %", _larger)),
    ("3: slid over an image, the most probable window is at a rosette", "two examples", _places),
    ("3: it tells images with rosettes from others", "two examples", _images),
    ("3, image labels only: the same", "-", _weak_images),
)  # fmt: skip


def claims(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The paper's claims, one row each, with what every run's rows say of them.

    Args:
        runs: Name to rows of a results.json.

    Returns:
        Columns claim, "the paper", and one per run: a number, its 95 % interval, and "as claimed", "not as claimed",
        "not clear" or "no difference seen" (the interval holds zero), "above chance", or "not in this run".
    """
    read = {name: _Rows(rows) for name, rows in runs.items()}
    return pd.DataFrame(
        [
            {"claim": claim, "the paper": printed, **{name: say(rows) for name, rows in read.items()}}
            for claim, printed, say in CLAIMS
        ]
    )
