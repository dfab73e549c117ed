"""Scores of tracks, detections and links against literal loops, the authors' scripts and traccuracy; intervals."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from tracking_lineages import COLUMNS, KNOWN, TRUTH, lineage, slow_matching, slow_scores, table, tracker

from cellweak_core import tracking
from cellweak_core.tracking.intervals import families
from cellweak_core.tracking.lineages import read_lineages
from cellweak_core.tracking.linking import link_frames
from cellweak_core.tracking.matching import match_positions
from cellweak_core.tracking.peers import laptrack_tracks
from cellweak_core.tracking.scores import detection_scores, link_scores, tracking_scores
from cellweak_core.tracking.tracks import split_frames

SEQUENCE_9 = Path(os.environ.get("CELLWEAK_DATA", "")) / "tracking" / "c2c12_bmp2_seq9_full_tracks.csv.gz"


@given(st.integers(0, 2**31), st.booleans(), st.sampled_from([5.0, 20.0, 60.0]))
def test_the_scores_are_the_literal_ones(seed: int, most: bool, gate: float) -> None:
    truth = lineage(seed)
    tracks = tracker(truth, seed)
    scores = tracking_scores(truth, tracks, gate, most_matches=most)
    expected = slow_scores(truth, tracks, gate, most)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    for tp, fp, fn, name in (("link_tp", "link_fp", "link_fn", "link"),
                             ("detection_tp", "detection_fp", "detection_fn", "detection")):  # fmt: skip
        precision, recall = scores[f"{name}_precision"], scores[f"{name}_recall"]
        assert scores[tp] + scores[fn] == scores["n_links" if name == "link" else "n_observations"]
        assert scores[tp] + scores[fp] == scores["n_predicted_links" if name == "link" else "n_found"]
        if precision + recall > 0:
            assert scores[f"{name}_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


@given(st.integers(0, 2**31), st.booleans())
def test_matching_is_the_dense_assignment(seed: int, most: bool) -> None:
    random = np.random.default_rng(seed)
    n, m = random.integers(0, 40, 2)
    frame, found_frame = random.integers(0, 3, n), random.integers(0, 3, m)
    xy, found = random.uniform(0, 60, (n, 2)), random.uniform(0, 60, (m, 2))
    match = match_positions(frame, xy, found_frame, found, 15.0, most)
    expected = np.full(n, -1)
    for t in range(3):
        a, b = np.flatnonzero(frame == t), np.flatnonzero(found_frame == t)
        for i, j in slow_matching(xy[a], found[b], 15.0, most):
            expected[a[i]] = b[j]
    np.testing.assert_array_equal(match, expected)
    assert len(np.unique(match[match >= 0])) == (match >= 0).sum()


def slow_detections(truth: pd.DataFrame, found: pd.DataFrame, gate: float, shape: tuple[int, int]) -> list[int]:
    """The authors' way: maximise the sum of exp(-0.01 d) within the gate, then drop lone points on the border."""
    tp = fp = fn = 0
    for frame in set(truth["frame"]) | set(found["frame"]):
        a, b = (t.loc[t["frame"] == frame, ["x", "y"]].to_numpy() for t in (truth, found))
        d = np.linalg.norm(a[:, None] - b[None], axis=2)
        gain = np.where(d <= gate, np.exp(-0.01 * d), 0)
        pairs = [(i, j) for i, j in zip(*linear_sum_assignment(gain, maximize=True), strict=True) if gain[i, j] > 0]
        tp += len(pairs)
        for points, matched, missed in ((a, {i for i, _ in pairs}, True), (b, {j for _, j in pairs}, False)):
            for k, (x, y) in enumerate(points):
                inside = 10 <= x <= shape[1] - 10 and 10 <= y <= shape[0] - 10
                fn += k not in matched and inside and missed
                fp += k not in matched and inside and not missed
    return [tp, fp, fn]


@given(st.integers(0, 2**31))
def test_detections_are_those_of_the_authors_rule(seed: int) -> None:
    truth = lineage(seed)[["frame", "x", "y"]]
    found = tracker(lineage(seed), seed)[["frame", "x", "y"]]
    scores = detection_scores(truth, found, 10.0, image_shape=(90, 80))
    assert [scores[name] for name in ("tp", "fp", "fn")] == slow_detections(truth, found, 10.0, (90, 80))
    assert scores["n_exempt"] == scores["n_truth"] + scores["n_found"] - 2 * scores["tp"] - scores["fp"] - scores["fn"]


def some_links(*rows: tuple) -> pd.DataFrame:
    names = ["frame_from", "frame_to", "from_index", "to_index", "state"]
    return pd.DataFrame(rows, columns=names).astype("int64")


def points(*x: float) -> np.ndarray:
    return np.array([(value, 50.0) for value in x]).reshape(-1, 2)


def test_links_by_hand() -> None:
    """Frames 1 and 2 of TRUTH: A and B go on, C divides; D and E must be found once, through their mother."""
    before, after = points(1, 101, 199, 150), points(2, 102, 189, 211, 150)
    perfect = some_links((1, 2, 0, 0, 1), (1, 2, 1, 1, 1), (1, 2, 2, 3, 1))
    scores = link_scores(TRUTH, {1: before}, {2: after}, perfect)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["f1"]) == (3, 0, 0, 1.0)
    wrong = some_links((1, 2, 0, 1, 1), (1, 2, 1, 0, 1), (1, 2, 3, 4, 1), (1, 2, 2, 2, 2))
    scores = link_scores(TRUTH, {1: before}, {2: after}, wrong)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (0, 3, 3)  # the link of low confidence is no prediction
    assert (scores["n_links"], scores["n_exempt"], scores["n_pairs"]) == (4, 1, 1)
    sure = link_scores(TRUTH, {1: before}, {2: after}, wrong.drop(columns="state"))
    assert (sure["tp"], sure["fp"], sure["fn"]) == (1, 3, 2)
    border = link_scores(TRUTH, {1: before}, {2: after}, wrong, image_shape=(100, 155))
    assert border["fp"] == 2  # 150-150 is unmatched and on the border; the swapped ones are false even there
    nothing = link_scores(TRUTH, {1: before}, {2: after}, wrong.iloc[:0])
    assert math.isnan(nothing["precision"])
    assert (nothing["recall"], nothing["f1"], nothing["fn"]) == (0, 0, 3)


def test_links_over_an_interval_and_several_pairs() -> None:
    before = {0: points(0, 100, 200), 1: points(100, 0, 200)}
    after = {2: points(190, 0, 100), 3: points(0, 100)}
    links = some_links((0, 2, 0, 1, 1), (0, 2, 1, 2, 1), (0, 2, 2, 0, 1), (1, 3, 1, 0, 1), (1, 3, 0, 0, 1))
    scores = link_scores(TRUTH, before, after, links, interval=2)
    assert (scores["tp"], scores["fp"], scores["fn"], scores["n_pairs"]) == (4, 1, 2, 2)
    assert link_scores(TRUTH, {}, {}, links.iloc[:0])["n_pairs"] == 0
    empty = link_scores(TRUTH, {0: np.empty((0, 2))}, {1: []}, links.iloc[:0])
    assert empty["fn"] == 3


def slow_links(truth: pd.DataFrame, pairs: list[tuple], links: pd.DataFrame, size: float) -> list[int]:
    """`check_associate` of the authors, one predicted link at a time."""
    tp = fp = fn = 0
    for t, before, t1, after in pairs:
        gt, gt1 = truth[truth["frame"] == t].to_numpy(), truth[truth["frame"] == t1].to_numpy()
        of, of1 = (
            {j: i for i, j in slow_matching(g[:, 2:4], p, 20.0, most=True)} for g, p in ((gt, before), (gt1, after))
        )
        true_ids = (set(gt[:, 1]) & set(gt1[:, 1])) | (set(gt[:, 1]) & set(gt1[:, 4]))
        predicted = links[(links["frame_from"] == t) & (links["state"] == 1)]
        for a, b in predicted[["from_index", "to_index"]].to_numpy():
            if a in of and b in of1:
                if gt[of[a]][1] in (gt1[of1[b]][1], gt1[of1[b]][4]):
                    tp += 1
                    true_ids.remove(gt[of[a]][1])
                else:
                    fp += 1
            else:
                both = np.array([before[a], after[b]])
                fp += not np.any((both < 10) | (both > size - 10))
        fn += len(true_ids)
    return [tp, fp, fn]


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 3]))
def test_links_are_those_of_the_authors_script(seed: int, interval: int) -> None:
    random = np.random.default_rng(seed)
    truth = lineage(seed)
    found = {t: of[["x", "y"]].to_numpy() for t, of in tracker(truth, seed).groupby("frame")}
    found = {t: found.get(t, np.empty((0, 2))) for t in range(7)}
    rows = []
    for t in range(7 - interval):
        distance = np.linalg.norm(found[t][:, None] - found[t + interval][None], axis=2)
        linked = zip(*linear_sum_assignment(distance), strict=True)
        rows += [(t, t + interval, i, j, random.integers(1, 3)) for i, j in linked]
    links = some_links(*rows)
    before = {t: found[t] for t in range(7 - interval)}
    scores = link_scores(truth, before, found, links, interval, image_shape=(90, 90))
    pairs = [(t, found[t], t + interval, found[t + interval]) for t in before]
    assert [scores[name] for name in ("tp", "fp", "fn")] == slow_links(truth, pairs, links, 90)


def test_bad_links() -> None:
    good = some_links((0, 1, 0, 0, 1))
    frames = {0: points(0)}, {1: points(0)}
    with pytest.raises(ValueError, match="links, row 0: there is no detection 3 in frame 0"):
        link_scores(TRUTH, *frames, good.assign(from_index=3))
    with pytest.raises(ValueError, match="there is no detection 0 in frame 9"):
        link_scores(TRUTH, *frames, good.assign(frame_to=9))
    with pytest.raises(ValueError, match="detections_to: no frame 2, 2 after 0"):
        link_scores(TRUTH, *frames, good, interval=2)
    with pytest.raises(ValueError, match="interval: expected at least 1"):
        link_scores(TRUTH, *frames, good, interval=0)
    with pytest.raises(ValueError, match=r"columns \['to_index'\] are missing"):
        link_scores(TRUTH, *frames, good.drop(columns="to_index"))
    with pytest.raises(ValueError, match="row 0 is not finite"):
        link_scores(TRUTH, {0: points(np.nan)}, frames[1], good)
    crossed = some_links((0, 2, 0, 0, 1))
    with pytest.raises(ValueError, match="links, row 0: frame_to is not 1 after frame_from"):
        link_scores(TRUTH, {0: points(0), 1: points(0)}, {1: points(0), 2: points(0)}, crossed)


def edge_statistics(truth: pd.DataFrame, tracks: pd.DataFrame, gate: float) -> dict[str, float]:
    networkx, traccuracy = pytest.importorskip("networkx"), pytest.importorskip("traccuracy")
    from traccuracy.matchers import PointMatcher
    from traccuracy.metrics import BasicMetrics

    graphs = []
    for rows in (truth, tracks):
        rows = rows.sort_values(["frame", "id"], ignore_index=True)
        at = {(i, t): k for k, (i, t) in enumerate(zip(rows["id"], rows["frame"], strict=True))}
        born = rows.groupby("id")["frame"].min()
        graph = networkx.DiGraph()
        for k, (t, i, x, y, parent) in enumerate(rows[COLUMNS].itertuples(index=False)):
            graph.add_node(k, t=t, x=x, y=y)
            before = at.get((parent if born[i] == t else i, t - 1))
            if before is not None:
                graph.add_edge(before, k)
        graphs.append(traccuracy.TrackingGraph(graph, location_keys=("x", "y")))
    results, _ = traccuracy.run_metrics(*graphs, PointMatcher(gate), [BasicMetrics()])
    return results[0]["results"]


def assert_as_traccuracy(truth: pd.DataFrame, tracks: pd.DataFrame, gate: float = 20.0) -> None:
    expected, scores = edge_statistics(truth, tracks, gate), tracking_scores(truth, tracks, gate)
    for kind, name in (("Edge", "link"), ("Node", "detection")):
        assert scores[f"{name}_tp"] == expected[f"True Positive {kind}s"]
        assert scores[f"{name}_fp"] == expected[f"False Positive {kind}s"]
        assert scores[f"{name}_fn"] == expected[f"False Negative {kind}s"]
        assert scores[f"{name}_recall"] == pytest.approx(expected[f"{kind} Recall"])


@pytest.mark.parametrize("case", KNOWN)
def test_known_answers_as_traccuracy(case: str) -> None:
    assert_as_traccuracy(TRUTH, table(*KNOWN[case][0]))


@given(st.integers(0, 2**31))
def test_edges_and_nodes_as_traccuracy(seed: int) -> None:
    truth = lineage(seed)
    assert_as_traccuracy(truth, tracker(truth, seed))


@pytest.fixture(scope="module")
def sequence_9() -> pd.DataFrame:
    """All annotated positions of a real sequence, frames 1 to 780."""
    if not os.environ.get("CELLWEAK_DATA") or not SEQUENCE_9.is_file():
        pytest.skip("no real tracks: set CELLWEAK_DATA")
    return pd.read_csv(SEQUENCE_9)[COLUMNS]


def of_frames(truth: pd.DataFrame, frames: range) -> pd.DataFrame:
    """The rows of some frames; a mother who is in none of them is no parent."""
    part = truth[truth["frame"].isin(frames)]
    return part.assign(parent=part["parent"].where(part["parent"].isin(part["id"]), -1))


@pytest.mark.parametrize(
    ("linked_by", "ceilings"),
    [(link_frames, {1: 0.998, 5: 0.985, 9: 0.963}), (laptrack_tracks, {1: 0.9997, 5: 0.994, 9: 0.977})],
    ids=["assignment", "laptrack"],
)
def test_real_true_positions_are_linked_as_well_as_other_code_links_them(
    sequence_9: pd.DataFrame, linked_by: Callable[..., pd.DataFrame], ceilings: dict[int, float]
) -> None:
    """What AA can be when every detection is right, as other code once measured it to three digits (gate 30 px)."""
    if linked_by is laptrack_tracks:
        pytest.importorskip("laptrack")
    for interval, aa in ceilings.items():
        truth = of_frames(sequence_9, range(581, 781, interval))  # the last 200
        frames, detections = split_frames(truth)
        scores = tracking_scores(truth, linked_by(detections, 30.0, frames), frame_step=interval)
        assert scores["aa"] == pytest.approx(aa, abs=6e-4), interval
        assert scores["detection_f1"] == 1


def test_real_tracks_as_traccuracy(sequence_9: pd.DataFrame) -> None:
    truth = sequence_9
    perfect = tracking_scores(truth, truth)
    assert (perfect["aa"], perfect["te_micro"], perfect["link_f1"], perfect["n_observations"]) == (1, 1, 1, 85576)
    truth = of_frames(truth, range(540, 601))  # in frame 557 two cells have one position
    tracks = truth.copy()
    tracks[["x", "y"]] += np.random.default_rng(0).normal(0, 5, (len(tracks), 2))
    assert_as_traccuracy(truth, tracks[np.random.default_rng(1).random(len(tracks)) > 0.05])


def test_families_are_connected_through_parents() -> None:
    truth = table((7, (0, 1), 0, -1), (3, (2,), 0, 7), (9, (2, 3), 9, 7), (4, (4,), 9, 9), (5, range(3), 100, -1))
    family, n = families(read_lineages(truth, "truth"))
    names = dict(zip([3, 4, 5, 7, 9], family.tolist(), strict=True))
    assert n == 2
    assert names[3] == names[4] == names[7] == names[9] != names[5]


def test_intervals_hold_the_values_and_are_those_of_their_seed() -> None:
    truth = lineage(5, n_cells=12, size_px=200)
    tracks = tracker(truth, 5)
    table_ = tracking.bootstrap_scores(truth, tracks, 200, seed=3, image_shape=(200, 200))
    assert table_.columns.tolist() == ["metric", "value", "low", "high", "n", "n_groups"]
    assert table_["metric"].tolist() == ["aa", "aa_same_cell", "te_micro", "link_recall", "link_precision", "link_f1",
                                         "detection_precision", "detection_recall", "detection_f1"]  # fmt: skip
    scores = tracking_scores(truth, tracks, image_shape=(200, 200))
    assert table_["value"].tolist() == pytest.approx([scores[name] for name in table_["metric"]])
    assert (table_["low"] < table_["value"]).all()
    assert (table_["value"] < table_["high"]).all()
    by = table_.set_index("metric")
    assert by.loc["aa", "n"] == scores["n_links"]
    assert by.loc["te_micro", "n"] == scores["n_observations"]
    assert by.loc["link_precision", "n"] == scores["link_tp"] + scores["link_fp"]
    assert by.loc["aa", "n_groups"] == families(read_lineages(truth, "truth"))[1]
    assert by.loc["detection_f1", "n_groups"] == 7
    pd.testing.assert_frame_equal(table_, tracking.bootstrap_scores(truth, tracks, 200, seed=3, image_shape=(200, 200)))
    other = tracking.bootstrap_scores(truth, tracks, 200, seed=4, image_shape=(200, 200))
    assert not table_["low"].equals(other["low"])


def test_a_resample_is_a_table_with_families_repeated() -> None:
    """Two families, one found and one lost: AA of a resample is the weighted share of links, by hand."""
    truth = table((1, range(4), 0, -1), (2, range(2), 100, -1), (3, (2, 3), 100, 2))
    tracks = table((1, range(4), 0, -1))
    by = tracking.bootstrap_scores(truth, tracks, 400, level=0.99).set_index("metric")
    assert by.loc["aa", "value"] == 3 / 6
    assert (by.loc["aa", "low"], by.loc["aa", "high"]) == (0, 1)  # both draws are of one family in half the resamples
    assert by.loc["aa", "n_groups"] == 2


def test_intervals_of_too_little() -> None:
    one = table((1, range(3), 0, -1))
    by = tracking.bootstrap_scores(one, one, 20).set_index("metric")
    assert by.loc["aa", "value"] == 1
    assert math.isnan(by.loc["aa", "low"])  # one family says nothing about others
    assert by.loc["detection_f1", "low"] == 1
    nothing = tracking.bootstrap_scores(one.iloc[:0], one.iloc[:0], 20)
    assert nothing[["value", "low", "high"]].isna().all(axis=None)
    assert (nothing["n_groups"] == 0).all()
    with pytest.raises(ValueError, match="n_resamples: expected at least 1"):
        tracking.bootstrap_scores(one, one, 0)
