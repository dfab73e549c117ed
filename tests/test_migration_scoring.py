"""All tables from one small table of frames, by loops, by hand, scikit-learn and scipy."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from cellweak_core.migration import calibration, comparison, scoring
from cellweak_core.migration.labels import MODES, UNKNOWN

C, D, U = *MODES, UNKNOWN
CELLS = {"f/a": "CCCC", "f/b": "DD?D", "f/c": "DDCC", "f/d": "CC?C", "f/e": "????", "f/g": "DDDD"}
NETWORKS = ("vgg16", "densenet121")
N_SAMPLES = 6


def points() -> pd.DataFrame:
    rows = [(cell, t, {"C": C, "D": D, "?": U}[letter]) for cell, text in CELLS.items() for t, letter in
            enumerate(text)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["cell", "frame", "label"])
    return table.assign(target=table["label"].map({C: 0.2, D: 0.9, U: np.nan}))


def drawn(network: str, fold: int, row: int) -> np.ndarray:
    """Samples of a frame, another distribution for each network, fold and frame."""
    label = points()["label"][row]
    middle = {C: 0.3, D: 0.7, U: 0.5}[label]
    rng = np.random.default_rng([NETWORKS.index(network), fold, row])
    wide = rng.uniform(0.05, 0.3)
    return np.clip(rng.normal(middle + rng.normal(0, 0.4), wide, N_SAMPLES), 0, 1)


def trainings(test: bool) -> list[dict[str, Any]]:
    """What two networks of two folds leave; the last three cells are tested, or all by their folds."""
    table, out = points(), list[dict[str, Any]]()
    part_of = dict(zip(CELLS, [0, 1, 0, *([-1] * 3 if test else [1, 0, 1])], strict=True))
    part = table["cell"].map(part_of).to_numpy()
    for network in NETWORKS:
        for fold in (0, 1):
            rows = np.flatnonzero((part == -1) | (part == fold))
            samples = np.stack([drawn(network, fold, row) for row in rows.tolist()], 1)
            out.append({"network": network, "fold": fold, "rows": rows, "part": part[rows], "samples": samples})
    return out


def literal_frames(test: bool) -> tuple[pd.DataFrame, dict[tuple[str, int], list[float]]]:
    """The table of tested frames, one by one, in a wild order; and the samples of each."""
    table, rows, samples = points(), [], {}
    fold_of = dict(zip(CELLS, [0, 1, 0, 1, 0, 1], strict=True))
    for network in NETWORKS:
        for row, one in enumerate(table.to_dict("records")):
            tested = one["cell"] in list(CELLS)[3:]
            if test and not tested:
                continue
            folds = (0, 1) if test else (fold_of[one["cell"]],)
            own = [float(y) for fold in folds for y in drawn(network, fold, row)]
            mean = sum(own) / len(own)
            right = mean <= 0.4 if one["label"] == C else mean >= 0.6
            says = "TP" if right else "Uncertain" if 0.4 < mean < 0.6 else "FN"
            rows.append({
                "network": network, "part": "test" if test else f"fold {folds[0]}", "row": row, **one, "mean": mean,
                "epistemic": sum((y - mean) ** 2 for y in own) / len(own),
                "aleatoric": sum(y * (1 - y) for y in own) / len(own), "outcome": "" if one["label"] == U else says,
            })  # fmt: skip
            samples[network, row] = own
    frames = pd.DataFrame(rows)
    # networks keep their order, which is that of the tables; their rows do not
    order = np.random.default_rng(5).permutation(len(frames))
    first = [k for name in NETWORKS for k in order if frames["network"][k] == name]
    return frames.iloc[first], samples


BOTH = pytest.mark.parametrize("test", [True, False], ids=["test", "folds"])


def known(frames: pd.DataFrame, network: str) -> pd.DataFrame:
    return frames[(frames["network"] == network) & (frames["label"] != U)]


def test_networks_and_their_frames() -> None:
    frames, _ = literal_frames(True)
    assert scoring.networks_of(frames) == list(NETWORKS)
    for network in NETWORKS:
        own = scoring.of_network(frames, network)
        assert own["row"].tolist() == list(range(12, 24))
        assert own.index.tolist() == list(range(12))
        assert set(own["network"]) == {network}
    assert not len(scoring.of_network(frames, "resnet50"))


@BOTH
def test_sequences_by_mode_and_by_loops(test: bool) -> None:
    frames, _ = literal_frames(test)
    tables = scoring.sequences(frames)
    assert list(tables) == list(NETWORKS)
    kinds = {"f/a": C, "f/d": C, "f/b": D, "f/g": D, "f/c": "switching"}
    order = [cell for cell in kinds if not test or cell in ("f/d", "f/g")]
    for network, table in tables.items():
        assert table["cell"].tolist() == order  # f/e, which nobody labelled, is in none
        assert table["mode"].tolist() == [kinds[cell] for cell in order]
        assert table.index.tolist() == list(range(len(order)))
        for one in table.to_dict("records"):
            own = known(frames, network)
            own = own[own["cell"] == one["cell"]]
            error = [mean - target for mean, target in zip(own["mean"], own["target"], strict=True)]
            assert one["n"] == len(error) == 4 - CELLS[one["cell"]].count("?")
            assert one["MSE"] == pytest.approx(sum(e**2 for e in error) / len(error))
            assert one["MAE"] == pytest.approx(sum(abs(e) for e in error) / len(error))
            for name in ("epistemic", "aleatoric"):
                assert one[name] == pytest.approx(sum(own[name]) / len(own))
            for outcome in ("TP", "Uncertain", "FN"):
                assert one[outcome] == pytest.approx(own["outcome"].tolist().count(outcome) / len(own))


@BOTH
def test_modes_are_means_over_sequences(test: bool) -> None:
    frames, _ = literal_frames(test)
    sequences = scoring.sequences(frames)
    for network, table in scoring.modes(frames, n_resamples=50, seed=2).items():
        by = table[table["column"] == "MSE"].set_index("mode")
        for mode in (C, D, "switching"):
            own = sequences[network][sequences[network]["mode"] == mode]
            assert by["n"][mode.capitalize()] == len(own)
            assert by["n_frames"][mode.capitalize()] == own["n"].sum()
            assert by["value"][mode.capitalize()] == pytest.approx(own["MSE"].mean(), nan_ok=True)
        # frame 2 of b and d, level between its neighbours; e has no known frame beside them
        cells = ["f/d"] if test else ["f/b", "f/d"]
        unknown = frames[(frames["network"] == network) & (frames["label"] == U) & frames["cell"].isin(cells)]
        level = {"f/d": 0.2, "f/b": 0.9}
        error = [(mean - level[cell]) ** 2 for mean, cell in zip(unknown["mean"], unknown["cell"], strict=True)]
        assert by["value"]["Unknown"] == pytest.approx(sum(error) / len(error))
        assert by["n_frames"]["Unknown"] == len(cells)
    sorted_frames = frames.sort_values(["network", "row"], ascending=[False, True])
    for network, table in scoring.modes(sorted_frames, 50, 2).items():
        pd.testing.assert_frame_equal(table, scoring.modes(frames, 50, 2)[network])


def within(positive: Any, scores: Any, parts: Any) -> float:  # noqa: ANN401 - columns
    """Pairs of one part counted one by one; each part's share is scikit-learn's."""
    won = pairs = 0.0
    truth, values, by = np.asarray(positive, bool), np.asarray(scores, float), np.asarray(parts)
    for part in np.unique(by):
        up, down = values[(by == part) & truth], values[(by == part) & ~truth]
        if len(up) and len(down):
            own = [bool(by_one == part) for by_one in by]
            won += roc_auc_score(truth[own], values[own]) * len(up) * len(down)
            pairs += len(up) * len(down)
    return won / pairs if pairs else float("nan")


@BOTH
def test_aurocs_are_scikit_learns_on_frames_that_all_have_a_score_for(test: bool) -> None:
    frames, _ = literal_frames(test)
    n, rng = len(points()), np.random.default_rng(9)
    area, speed = rng.random(n), rng.random(n)
    area[[13, 1]], speed[[23, 5]] = np.nan, np.nan
    found, gained = scoring.aurocs(frames, {"area": area, "speed": speed}, n_resamples=200, seed=1)
    tells = "discontinuous from continuous"
    assert list(found) == [(name, tells) for name in (*NETWORKS, "area", "speed")]
    assert list(gained) == [(network, "gain over area") for network in NETWORKS]
    values = dict[str, float]()
    for name, scores in {"vgg16": None, "densenet121": None, "area": area, "speed": speed}.items():
        own = known(frames, name if scores is None else "vgg16")
        own = own[~own["row"].isin([13, 1, 23, 5])]
        score = own["mean"] if scores is None else scores[own["row"].to_numpy()]
        values[name] = within(own["label"] == D, score, own["part"])
        one = found[name, tells]
        assert one.value == pytest.approx(values[name])
        assert (one.n_frames, one.n_cells) == (len(own), own["cell"].nunique())
    for network in NETWORKS:
        gain = gained[network, "gain over area"]
        assert gain.value == pytest.approx(values[network] - values["area"])
        assert gain.low <= gain.value <= gain.high
    assert len(set(values.values())) >= 3
    shuffled = frames.sample(frac=1, random_state=0)
    assert scoring.aurocs(shuffled, {"area": area, "speed": speed}, 200, 1) == (found, gained)


def test_baselines_are_scored_as_networks_are() -> None:
    frames, _ = literal_frames(True)
    half = np.full(len(points()), 0.5)
    half[3] = np.nan
    found = scoring.baseline_frames(frames, {"always .5": half, "sure": np.zeros(len(points()))})
    own = scoring.of_network(frames, "vgg16")
    assert found["network"].unique().tolist() == ["always .5", "sure"]
    assert len(found) == 2 * len(own) - (own["row"] == 3).sum()
    tables = scoring.sequences(found)
    known_frames = own[(own["label"] != U) & (own["row"] != 3)]
    for cell, part in known_frames.groupby("cell"):
        one = tables["always .5"].set_index("cell").loc[cell]
        assert one["MSE"] == pytest.approx(float(((part["target"] - 0.5) ** 2).mean()))
        assert one["Uncertain"] == 1
    sure = tables["sure"].set_index("cell")
    for cell, part in own[own["label"] != U].groupby("cell"):
        assert sure.loc[cell, "TP"] == pytest.approx((part["label"] == C).mean())


def test_a_network_gains_nothing_over_itself() -> None:
    frames, _ = literal_frames(False)
    own = np.full(len(points()), np.nan)
    first = scoring.of_network(frames, "vgg16")
    own[first["row"]] = first["mean"]
    _, gained = scoring.aurocs(frames, {"its own": own}, 100)
    gain = gained["vgg16", "gain over its own"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)
    assert gained["densenet121", "gain over its own"].value != 0


def test_aurocs_where_there_is_nothing_to_tell() -> None:
    frames, _ = literal_frames(True)
    nothing = np.full(len(points()), np.nan)
    assert scoring.aurocs(frames, {"area": nothing, "speed": np.ones(len(points()))}) == ({}, {})
    assert scoring.aurocs(frames.assign(label=U), {}) == ({}, {})
    found, gained = scoring.aurocs(frames, {}, 20)
    assert ([name for name, _ in found], gained) == (list(NETWORKS), {})
    one_mode = scoring.aurocs(frames[frames["label"] != D], {"area": np.ones(len(points()))}, 20)
    assert all(np.isnan(one.value) for part in one_mode for one in part.values())


def test_one_known_answer() -> None:
    frames = pd.DataFrame({
        "network": "mine", "row": [0, 1, 2, 3], "cell": list("aabb"), "label": [C, D, C, D],
        "mean": [0.1, 0.4, 0.5, 0.9], "part": "test",
    })  # fmt: skip
    found, gained = scoring.aurocs(frames, {"area": [4.0, 3.0, 2.0, 1.0]}, 10)
    # of four pairs (0.1, 0.4), (0.1, 0.9) and (0.5, 0.9) are in order; of areas (2, 3) alone
    assert [one.value for one in found.values()] == [0.75, 0.25]
    assert [one.value for one in gained.values()] == [0.5]


@BOTH
def test_worth_of_the_uncertainty_by_loops(test: bool) -> None:
    frames, samples = literal_frames(test)
    learnt = trainings(test)
    found = scoring.worth(frames, learnt, n_resamples=60, seed=3)
    assert list(found) == list(NETWORKS)
    for network, one in found.items():
        own = known(frames, network)
        error, spread = (own["mean"] - own["target"]).abs(), own["epistemic"]
        n, cells = len(own), own["cell"].nunique()
        assert one.correlation.value == pytest.approx(stats.spearmanr(error, spread).statistic)
        assert (one.correlation.n_frames, one.correlation.n_cells) == (n, cells)
        missed = own["outcome"] != "TP"
        assert 0 < missed.sum() < n
        assert one.wrong.value == pytest.approx(within(missed, spread, own["part"]))
        unsure = own["mean"] * (1 - own["mean"])
        assert one.wrong_by_mean.value == pytest.approx(within(missed, unsure, own["part"]))
        assert one.gain.value == pytest.approx(one.wrong.value - one.wrong_by_mean.value)
        said = own["outcome"] != "Uncertain"
        if missed[said].nunique() > 1:
            assert one.fn.value == pytest.approx(within(missed[said], spread[said], own["part"][said]), nan_ok=True)
        assert one.fn.n_frames == said.sum()
        assert [one.wrong, one.wrong_by_mean, one.gain, one.fn] == list(one.told().values())
        shares = one.reliability
        assert shares["error"] @ shares["n"] == pytest.approx((own["label"] == D).sum())
        assert shares["uncertainty"] @ shares["n"] == pytest.approx(own["mean"].sum())
        assert one.bins["n"].sum() == n
        assert one.bins["error"] @ one.bins["n"] == pytest.approx(error.sum())
        assert one.bins["uncertainty"].is_monotonic_increasing
        for name, loss in (("MSE", error**2), ("not TP", missed.astype(float))):
            curve = one.referred[name].curve.set_index("kept")
            assert curve["value"][1.0] == pytest.approx(loss.mean())
            assert curve["random"].to_numpy() == pytest.approx(np.full(20, loss.mean()))
            # all n differ in uncertainty: of half of them, the last one may count in part
            order, total, left = np.argsort(spread.to_numpy()), 0.0, 0.5 * n
            for k in order:
                total += min(1.0, left) * loss.iloc[k]
                left = max(0.0, left - 1)
            assert curve["value"][0.5] == pytest.approx(total / (0.5 * n))
        for what, variance in (("epistemic", spread), ("epistemic + aleatoric", spread + own["aleatoric"])):
            table = one.intervals[what]
            for nominal, covered in zip(table["nominal"], table["covered"], strict=True):
                z = stats.norm.ppf(0.5 + nominal / 2)
                inside = [e <= z * v**0.5 for e, v in zip(error, variance, strict=True)]
                assert covered == pytest.approx(sum(inside) / n)
            assert (table["n"] == n).all()
        table = one.intervals["samples"]
        for nominal, covered in zip(table["nominal"], table["covered"], strict=True):
            inside = []
            for row, target in zip(own["row"], own["target"], strict=True):
                low, high = np.quantile(samples[network, row], [0.5 - nominal / 2, 0.5 + nominal / 2])
                inside.append(low <= target <= high)
            assert covered == pytest.approx(sum(inside) / n)
        assert table["covered"].iloc[-1] > 0


@BOTH
def test_worth_does_not_depend_on_the_order_of_rows_or_folds(test: bool) -> None:
    frames, _ = literal_frames(test)
    learnt = trainings(test)
    first = scoring.worth(frames, learnt, 30)
    for again in (scoring.worth(frames.iloc[::-1], learnt, 30), scoring.worth(frames, learnt[::-1], 30)):
        for network, one in first.items():
            other = again[network]
            assert other.correlation == pytest.approx(one.correlation)
            assert other.wrong == pytest.approx(one.wrong)
            pd.testing.assert_frame_equal(other.bins, one.bins)
            for name, referred in one.referred.items():
                pd.testing.assert_frame_equal(other.referred[name].curve, referred.curve)
            for name, table in one.intervals.items():
                pd.testing.assert_frame_equal(other.intervals[name], table)


def test_a_network_that_is_never_wrong_has_no_auroc_of_being_wrong() -> None:
    frames, _ = literal_frames(True)
    right = frames.assign(outcome=np.where(frames["label"] == U, "", "TP"))
    one = scoring.worth(right, trainings(True), 20)["vgg16"]
    assert np.isnan(one.wrong.value)
    assert (one.referred["not TP"].curve["value"] == 0).all()
    assert np.isnan(one.referred["not TP"].share.value)


@BOTH
def test_tested_frames_of_the_comparison_are_the_literal_ones(test: bool) -> None:
    expected, _ = literal_frames(test)
    learnt, table = trainings(test), points()
    for one in learnt:
        y = one["samples"]
        one |= {"mean": y.mean(0), "epistemic": y.var(0), "aleatoric": (y * (1 - y)).mean(0)}
    given = table.drop(columns="target").assign(sequence="f", x=0.0, y=0.0)
    frames = comparison.tested(comparison.frames_of(learnt, given, table["target"]))
    assert scoring.networks_of(frames) == list(NETWORKS)
    for network in NETWORKS:
        own, other = scoring.of_network(frames, network), scoring.of_network(expected, network)
        pd.testing.assert_frame_equal(own[other.columns], other)


def test_settling_takes_the_networks_that_drew_many_samples() -> None:
    rng = np.random.default_rng(0)
    few = {"vgg16": rng.random((20, 5)), "densenet121": rng.random((20, 4))}
    learnt = [{"network": name, "fold": 0, "few_samples": values} for name, values in few.items()]
    learnt += [{"network": name, "fold": 1} for name in few]
    found, n = scoring.settling(learnt)
    assert (list(found), n) == (list(few), 4)
    for name, table in found.items():
        pd.testing.assert_frame_equal(table, calibration.stability(few[name]))
    assert scoring.settling([{"network": "vgg16", "fold": 0}]) == ({}, 0)


def test_positions_long_tables_and_the_best_network() -> None:
    frames, _ = literal_frames(True)
    own = scoring.of_network(frames, "vgg16").sample(frac=1, random_state=1)
    found = scoring.positions(own, ["f/g", "f/d"])
    assert found["cell"].tolist() == ["f/g"] * 4 + ["f/d"] * 4
    assert found["frame"].tolist() == [0, 1, 2, 3] * 2
    assert found["row"].tolist() == [20, 21, 22, 23, 12, 13, 14, 15]
    assert found.index.tolist() == list(range(8))
    assert not len(scoring.positions(own, ["f/a"]))
    tables = scoring.sequences(frames)
    table = scoring.long(tables)
    assert table.columns.tolist() == ["network", *tables["vgg16"].columns]
    assert table["network"].tolist() == ["vgg16"] * 2 + ["densenet121"] * 2
    back = scoring.by_network(table)
    assert list(back) == list(NETWORKS)
    for network, one in back.items():
        pd.testing.assert_frame_equal(one, tables[network])
    assert scoring.best_of(["vgg16", "densenet121", "resnet50"]) == "densenet121"
    assert scoring.best_of(["densenet40", "vgg16"]) == "vgg16"
