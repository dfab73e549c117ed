"""Targets from labels and from motion, measures beside labels, and how the two go together."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from cellweak_core.files import DataError
from cellweak_core.migration import motion
from cellweak_core.migration.labels import MODES, UNKNOWN
from cellweak_core.migration.motion import MEASURES
from cellweak_core.migration.supervision import agreement, measured, supervised

C, D, U = *MODES, UNKNOWN


def words(text: str) -> list[str]:
    return [{"C": C, "D": D, "?": U}[letter] for letter in text]


def labelled(**cells: str) -> pd.DataFrame:
    rows = [("f", f"f/{cell}", t, 1.0 * t, 5.0, word) for cell, text in cells.items() for t, word in
            enumerate(words(text))]  # fmt: skip
    return pd.DataFrame(rows, columns=["sequence", "cell", "frame", "x", "y", "label"])


def walks(n_cells: int = 4, n: int = 12, seed: int = 0) -> pd.DataFrame:
    """Cells that nobody labelled, each faster than the last."""
    rng = np.random.default_rng(seed)
    tables = [
        pd.DataFrame(rng.normal(0, 1 + k, (n, 2)).cumsum(0), columns=["x", "y"]).assign(
            sequence="f", cell=f"f/{k}", frame=range(n)
        )
        for k in range(n_cells)
    ]
    return pd.concat(tables, ignore_index=True)[["sequence", "cell", "frame", "x", "y"]]


def test_labels_become_ramps_or_hard_targets() -> None:
    points = labelled(a="CCC", b="DD?D", s="C?CCDD")
    found = supervised(points)
    assert (found.source, found.kind, found.measures, found.said) == ("labels", "ramps", None, ())
    nan = np.nan
    # s: the continuous run of frames 0 to 3 is surest at 1.5
    literal = [0.4, 0.2, 0, 0.6, 0.6 + 0.4 / 3, nan, 1, 0.4, nan, 0.4 / 3, 0.4, 0.6, 1]
    np.testing.assert_allclose(found.targets, literal, atol=1e-12)
    found = supervised(points, "labels", "hard")
    assert (found.source, found.kind) == ("labels", "hard")
    np.testing.assert_array_equal(found.targets, [0, 0, 0, 1, 1, nan, 1, 0, nan, 0, 0, 1, 1])


def test_rows_in_another_order_have_the_same_targets() -> None:
    points = walks().assign(label=words("CCCC?DDDDDCC" * 4))
    order = np.random.default_rng(1).permutation(len(points))
    for source in ("labels", "motion"):
        for kind in ("ramps", "hard"):
            found = supervised(points, source, kind, window=2).targets
            again = supervised(points.iloc[order], source, kind, window=2).targets
            assert np.isfinite(found).sum() > 10
            np.testing.assert_array_equal(again, found[order])


def test_without_labels_modes_are_those_of_the_motion() -> None:
    points = walks()
    found = supervised(points, window=2, by=("speed",), quantile=0.25)
    assert (found.source, found.kind) == ("motion", "hard")
    table = motion.modes(points, 2, ("speed",), 0.25)
    assert found.measures is not None
    pd.testing.assert_frame_equal(found.measures, table)
    assert found.points["label"].tolist() == table["label"].tolist()
    assert "label" not in points
    for (_, own), target in zip(table.iterrows(), found.targets, strict=True):
        if np.isnan(own["speed"]):
            assert np.isnan(target)
        else:
            assert target == float(own["speed"] < table["speed"].quantile(0.25))
    assert found.said == tuple(motion.told(table))
    assert found.said[0].startswith("modes from motion, windows of +-2 frames; thresholds: speed ")
    assert supervised(points, targets="ramps", window=2).kind == "ramps"


def test_motion_is_learnt_where_it_is_asked_for_although_there_are_labels() -> None:
    points = walks().assign(label=C)  # one mode only, which nobody looks at
    found = supervised(points, "motion", window=2)
    assert found.source == "motion"
    np.testing.assert_array_equal(found.targets, supervised(walks(), window=2).targets)
    assert set(points["label"]) == {C}


def test_a_jump_and_a_gap_are_told_and_no_window_reaches_across() -> None:
    points = walks(3, 30).query("cell != 'f/0' or frame != 20").reset_index(drop=True)
    points.loc[(points["cell"] == "f/1") & (points["frame"] >= 15), "x"] += 5000
    found = supervised(points, window=3)
    assert found.said[-1].startswith("tracks were split at 1 jumps")
    assert "and 1 gaps" in found.said[-1]
    assert np.isfinite(found.targets).any()
    assert found.measures is not None
    frames = points["frame"]
    near = ((points["cell"] == "f/0") & frames.between(17, 23)) | ((points["cell"] == "f/1") & frames.between(12, 17))
    inner = frames.between(3, 26)
    assert (found.measures["speed"].notna() == (inner & ~near)).all()
    assert np.isnan(found.targets[near]).all()


def test_sequences_of_one_frame() -> None:
    points = labelled(a="C", b="D", c="?")
    np.testing.assert_array_equal(supervised(points).targets, [0.4, 0.6, np.nan])
    np.testing.assert_array_equal(supervised(points, targets="hard").targets, [0, 1, np.nan])
    message = r"no cell is tracked for 7 frames in a row, as a window of 3 frames to each side needs"
    for one in (points.drop(columns="label"), points):
        with pytest.raises(DataError, match=message):
            supervised(one, "motion")
    assert measured(points, supervised(points)) is None


@pytest.mark.parametrize(("cells", "message"), [
    ({"a": "???", "b": "?"}, r"all 4 frames are unknown; label some frames of both modes, or take modes from motion"),
    ({"a": "CC?", "b": "C"}, r"frames: 3 continuous, 1 unknown and no discontinuous one; label some frames of"),
    ({"a": "DD"}, r"frames: 2 discontinuous, 0 unknown and no continuous one; .*\(-p modes_from motion\)"),
])  # fmt: skip
def test_labels_of_one_mode_or_none(cells: dict[str, str], message: str) -> None:
    for targets in ("", "hard"):
        with pytest.raises(DataError, match=message):
            supervised(labelled(**cells), targets=targets)


def test_motion_of_one_mode_or_none_does_not_advise_what_is_done_already() -> None:
    alike = labelled(a="C" * 9, b="C" * 9)  # 1 px in every frame: all at the median
    with pytest.raises(DataError, match="frames: 6 continuous, 12 unknown and no discontinuous one") as one:
        supervised(alike, "motion", by=("persistence",))
    # as straight as the median and as bursty too: the measures disagree everywhere
    with pytest.raises(DataError, match="all 18 frames are unknown") as none:
        supervised(alike, "motion")
    for error in (one, none):
        assert "modes_from motion" not in str(error.value)
        assert "-p motion_by" in str(error.value)


def test_words_and_columns_that_cannot_be() -> None:
    points = labelled(a="CD")
    with pytest.raises(DataError, match=r"no column label; add it, or take modes from motion \(modes_from\)"):
        supervised(points.drop(columns="label"), "labels")
    expected = "expected modes_from labels, motion or nothing and targets ramps, hard or nothing, got"
    for given in (("label", ""), ("", "soft")):
        with pytest.raises(ValueError, match=f"{expected} {given[0]!r} and {given[1]!r}"):
            supervised(points, *given)
    with pytest.raises(ValueError, match="expected some of speed, persistence, burstiness, got"):
        supervised(walks(), by=("colour",))
    with pytest.raises(ValueError, match="expected labels continuous, discontinuous, unknown, got"):
        supervised(labelled(a="CDC").assign(label=[C, D, "fast"]))


def test_measures_stand_beside_labels() -> None:
    points = walks().assign(label=words("CCCCCCDDDDD?" * 4)).set_index(np.arange(48)[::-1] + 7)
    weak = supervised(points)
    found = measured(points, weak, window=2, by=("speed",), quantile=0.5)
    own = motion.modes(points, 2, ("speed",), 0.5)
    assert found is not None
    assert found["label"].tolist() == points["label"].tolist()
    assert found["motion"].tolist() == own["label"].tolist()
    pd.testing.assert_frame_equal(found[list(MEASURES)], own[list(MEASURES)])
    assert found.attrs["thresholds"] == own.attrs["thresholds"]
    from_motion = supervised(points, "motion", window=2)
    assert measured(points, from_motion, window=4) is from_motion.measures


def test_agreement_by_hand() -> None:
    expert = words("CCDD?C")
    found = pd.DataFrame({
        "speed": [3.0, 1.0, 2.0, 0.0, 9.0, np.nan], "persistence": [0.9, 0.8, 0.2, 0.1, 0.5, np.nan],
        "burstiness": [0.5, 0.5, 0.5, 0.5, 0.5, np.nan], "label": words("CCDCC?"),
    })  # fmt: skip
    own = agreement(expert, found)
    # four frames: 3 of 4 alike, and by chance 1/2 * 3/4 + 1/2 * 1/4
    assert (own["n"], own["kappa"]) == (4, pytest.approx((0.75 - 0.5) / (1 - 0.5)))
    # of 2 x 2 pairs the continuous frame is the faster one in 3, always the straighter one, never the less bursty one
    assert (own["speed"], own["persistence"], own["burstiness"]) == pytest.approx((0.75, 1.0, 0.5))
    assert [own[f"n {name}"] for name in MEASURES] == [4, 4, 4]
    again = agreement(expert, found.rename(columns={"label": "motion"}).assign(label=expert))
    assert again == own


def test_agreement_is_scikit_learns_whatever_the_order() -> None:
    rng = np.random.default_rng(3)
    points = walks(6, 20).assign(label=rng.choice([C, D, U], 120))
    found = measured(points, supervised(points), window=2)
    assert found is not None
    own = agreement(points["label"], found)
    both = ((found["motion"] != U) & (points["label"] != U)).to_numpy()
    assert own["n"] == both.sum() > 10
    assert own["kappa"] == pytest.approx(cohen_kappa_score(found["motion"][both], points["label"][both]))
    at = ((points["label"] != U) & found["speed"].notna()).to_numpy()
    for name, sign in {"speed": -1, "persistence": -1, "burstiness": 1}.items():
        assert own[name] == pytest.approx(roc_auc_score(points["label"][at] == D, sign * found[name][at]))
        assert own[f"n {name}"] == at.sum()
    order = rng.permutation(120)
    assert agreement(points["label"].to_numpy()[order], found.iloc[order]) == pytest.approx(own)


def test_agreement_with_nothing_to_compare() -> None:
    found = pd.DataFrame({name: [1.0, 2.0, np.nan] for name in MEASURES}).assign(label=words("CD?"))
    for text, n in (("???", 0), ("??C", 0), ("CC?", 2)):
        own = agreement(words(text), found)
        assert np.isnan([own[name] for name in MEASURES]).all()  # one mode only, or none
        assert own["n speed"] == n
        assert (own["n"], np.isnan(own["kappa"])) == (n, n == 0)
    # both say the same of all that they know: chance would too
    assert np.isnan(agreement(words("C??"), found)["kappa"])
