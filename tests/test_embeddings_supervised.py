"""The fully supervised row: folds that share nothing, who is asked, what nobody trained, a form like the others'."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cellweak_core.embeddings import evaluation, reporting, supervised
from cellweak_core.embeddings.embedding import embed, untrained
from cellweak_core.embeddings.supervised import (
    Asked,
    asked_of,
    folds_by_batch,
    folds_by_compound,
    probabilities,
    supervised_scores,
    tell,
)
from cellweak_core.files import DataError
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.matching import match_treatments
from cellweak_core.screens.simulate import Plan, simulate_screen

FEW = Plan(n_mechanisms=2, compounds=2, doses=2, batches=2, replicates=1, cells=4, controls=2, size_px=32)
TINY: dict[str, Any] = {"steps": 2, "batch_size": 4, "device": "cpu", "precision": "32-true"}
NSC, NSCB = "mechanisms|none|NSC", "mechanisms|none|NSCB"


def table(*rows: tuple[str, str | None, str], cells: int = 2, concentration: float = 1.0) -> pd.DataFrame:
    """Cells of (compound, mechanism, batch); a control well in each batch."""
    controls = [("DMSO", "DMSO", batch) for batch in sorted({batch for *_, batch in rows})]
    frame = pd.DataFrame(
        [row for row in (*controls, *rows) for _ in range(cells)], columns=["compound", "moa", "batch"]
    )
    frame["well"] = np.repeat(np.arange(len(frame) // cells), cells).astype(str)
    frame["control"] = frame["compound"] == "DMSO"
    return frame.assign(plate=frame["batch"] + "_1", site=1, concentration=np.where(frame["control"], 0, concentration))


SPREAD = table(
    ("a", "m1", "W1"), ("b", "m1", "W1"), ("b", "m1", "W2"), ("c", "m2", "W1"), ("d", "m2", "W2"), ("e", "m3", "W3"),
    ("f", None, "W1"),
)  # fmt: skip


def patterns(cells: pd.DataFrame, folder: Path, size_px: int = 32) -> Crops:
    """Crops whose mechanism nobody can miss: m1 a disc, m2 stripes, all others noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size_px, :size_px] - size_px / 2
    drawn = {"m1": (np.hypot(x, y) < size_px / 4).astype(float), "m2": (np.sin(1.5 * x) > 0).astype(float)}
    nothing = np.zeros((size_px, size_px))
    pixels = np.stack([drawn.get(str(moa), nothing) + 0.2 * rng.random(nothing.shape) for moa in cells["moa"]])
    crops = Crops([(1000 * pixels[:, None]).astype(np.uint16)], "NCHW", ("DNA",), cells, "patterns")
    return load_crops(write_crops(crops, folder))


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return load_crops(write_crops(simulate_screen(FEW), tmp_path_factory.mktemp("screen")))


CELLS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["W1", "W2", "W3"])), min_size=1, max_size=25
).map(lambda rows: table(*((c, f"m{ord(c) % 3}", b) for c, b in rows), cells=1))


@settings(deadline=None, max_examples=60)
@given(CELLS, st.integers(2, 6), st.integers(0, 5))
def test_no_compound_is_in_training_and_fold(cells: pd.DataFrame, n_folds: int, seed: int) -> None:
    folds = folds_by_compound(cells, n_folds, seed)
    treated = ~cells["control"].to_numpy()
    assert (sum(fold.told.astype(int) for fold in folds) == treated).all()  # each cell is told once
    compound, moa = cells["compound"].to_numpy(object), cells["moa"].to_numpy(object)
    assert len(folds) == min(n_folds, len(set(compound[treated])))
    several = cells[treated].groupby("moa")["compound"].nunique()
    sizes = [len(set(compound[fold.told])) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        assert not set(compound[fold.train]) & set(compound[fold.told])
        assert (fold.train | fold.told == treated).all()
        assert set(several[several > 1].index) <= set(moa[fold.train])


@settings(deadline=None, max_examples=60)
@given(CELLS)
def test_no_batch_and_no_compound_is_in_training_and_fold(cells: pd.DataFrame) -> None:
    folds = folds_by_batch(cells)
    treated = ~cells["control"].to_numpy()
    assert (sum(fold.told.astype(int) for fold in folds) == treated).all()
    for fold in folds:
        inside, outside = cells[fold.told], cells[fold.train]
        assert inside["batch"].nunique() == 1
        assert not set(inside["batch"]) & set(outside["batch"])
        assert not set(inside["compound"]) & set(outside["compound"])
        left = cells[treated & ~fold.train & ~fold.told]  # nothing is left out without a reason
        assert left["compound"].isin(inside["compound"]).all()


def test_folds_keep_to_the_cells_that_are_asked() -> None:
    asked = SPREAD["compound"].isin(["a", "b", "c"]).to_numpy()
    for folds in (folds_by_compound(SPREAD, 2, 0, asked), folds_by_batch(SPREAD, asked)):
        assert (sum(fold.told.astype(int) for fold in folds) == asked).all()
        assert not any((fold.train & ~asked).any() for fold in folds)
    assert len(folds_by_batch(SPREAD, asked)) == 2
    # another dose of c lies in week 2 and is not asked: c is left out with week 2 all the same
    both = pd.concat([SPREAD, table(("c", "m2", "W2"), concentration=9.0)], ignore_index=True)
    asked = both["compound"].isin(["a", "c", "d"]).to_numpy() & (both["concentration"] != 9.0)
    second = folds_by_batch(both, asked)[1]
    assert set(both["compound"][second.told]) == {"d"}
    assert set(both["compound"][second.train]) == {"a"}
    orders = {tuple(np.argmax([f.told for f in folds_by_compound(SPREAD, 5, seed)], 0)) for seed in range(8)}
    assert len(orders) > 1
    with pytest.raises(ValueError, match="n_folds: expected 2 or more, got 1"):
        folds_by_compound(SPREAD, 1)


def test_asked_are_those_whom_matching_asks() -> None:
    found = asked_of(SPREAD, "NSC")
    assert found.table["compound"].tolist() == list("abcde")
    assert found.asked.tolist() == [True, True, True, True, False]  # e alone has its mechanism
    assert found.treatment[SPREAD["control"] | SPREAD["moa"].isna()].max() == -1
    own = found.treatment >= 0
    assert (found.table["compound"].to_numpy()[found.treatment[own]] == SPREAD["compound"][own]).all()
    rng = np.random.default_rng(0)
    for metric, exclude in evaluation.METRICS.items():
        one = asked_of(SPREAD, metric)
        literal = match_treatments(rng.normal(size=(5, 7)), one.table, exclude, unmatched="drop")
        assert one.asked.tolist() == [said is not None for said in literal["predicted"]]
        assert one.cells.sum() == sum(one.asked[k] for k in one.treatment if k >= 0)


@pytest.mark.slow
def test_form_and_order_are_those_of_the_other_rows(screen: Crops, tmp_path: Path) -> None:
    paths = embed(screen.root, untrained(3, 0, width=2), tmp_path / "x", shard_cells=7, device="cpu")
    run = {"files": [str(p) for p in paths], "sha256": [], "layers": ["res4a"], "transforms": ["none"]}
    other = evaluation.score(run, {}, tmp_path / "x.ckpt")
    found = supervised_scores(screen, TINY, [0, 1], tmp_path, n_folds=2)
    assert [(one["variant"], one["seed"], one["layers"]) for one in found] == [
        ("CNNs", 0, ["mechanisms"]), ("CNNs", 1, ["mechanisms"]),
    ]  # fmt: skip
    for one in found:
        assert one["auxiliary_correct"] == one["auxiliary_total"] == 0
        assert json.loads(one["score"]["treatments"]) == json.loads(other["treatments"])
        for key, metric in ((NSC, "NSC"), (NSCB, "NSCB")):
            marks, theirs = one["score"][key], other[f"res4a|none|{metric}"]
            assert marks.dtype == np.int8
            assert ((marks >= 0) == (theirs >= 0)).all()
            predicted = json.loads(one["score"][f"{key}|predicted"])
            moa = json.loads(one["score"]["treatments"])["moa"]
            assert marks.tolist() == [int(p == m) if q >= 0 else -1 for p, m, q in zip(predicted, moa, theirs)]  # noqa: B905
    rows = reporting.table_rows(found, {"CNNs": ("CNNs", "mechanisms", "none")}, "Table 2", 50, 0)
    assert {row["column"]: row["n"] for row in rows} == {"NSC": 8, "NSCB": 8, "Drop": 8}
    assert rows[0]["value"] == pytest.approx(100 * np.mean([one["score"][NSC] for one in found]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "train", lambda *_: pytest.fail("trained again"))
        again = supervised_scores(screen, TINY, [0, 1], tmp_path, n_folds=2)
    assert all((a["score"][NSCB] == b["score"][NSCB]).all() for a, b in zip(again, found, strict=True))


@pytest.mark.slow
def test_obvious_mechanisms_are_learnt_and_a_mechanism_of_one_compound_is_not_asked(tmp_path: Path) -> None:
    cells = table(
        ("a", "m1", "W1"), ("b", "m1", "W2"), ("c", "m2", "W1"), ("d", "m2", "W2"), ("e", "m3", "W1"), cells=6
    )  # fmt: skip
    crops = patterns(cells, tmp_path / "crops")
    long = {**TINY, "steps": 25, "batch_size": 8, "lr": 1e-3, "most_shift": 0.1}
    (found,) = supervised_scores(crops, long, [0], tmp_path / "out", n_folds=2)
    for key in (NSC, NSCB):
        assert found["score"][key].tolist() == [1, 1, 1, 1, -1]
        assert json.loads(found["score"][f"{key}|predicted"]) == ["m1", "m1", "m2", "m2", None]


def test_a_mechanism_that_no_cell_trains_is_wrong_and_not_skipped(tmp_path: Path) -> None:
    """Mechanism 1: a in week 1, b in weeks 1 and 2. To tell week 1, b is left out with it, and nothing shows m1."""
    crops = patterns(SPREAD, tmp_path / "crops")
    question = asked_of(crops.cells, "NSCB")
    assert question.asked.tolist() == [True, True, True, True, False]
    (found,) = supervised_scores(crops, TINY, [0], tmp_path / "out", n_folds=2)
    assert found["score"][NSCB][0] == 0
    assert json.loads(found["score"][f"{NSCB}|predicted"])[0] == "m2"  # all that d, in week 2, could teach
    # and where nothing at all is left to train on, there is no network and nothing is said
    alone = patterns(table(("a", "m1", "W1"), ("b", "m1", "W1"), ("b", "m1", "W2")), tmp_path / "alone")
    (found,) = supervised_scores(alone, TINY, [0], tmp_path / "out", n_folds=2)
    assert found["score"][NSCB].tolist() == [0, 1]
    assert json.loads(found["score"][f"{NSCB}|predicted"]) == [None, "m1"]


def test_nothing_to_ask_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = patterns(table(("a", "m1", "W1"), ("c", "m2", "W1")), tmp_path / "crops")
    monkeypatch.setattr(supervised, "train", lambda *_: pytest.fail("trained"))
    (found,) = supervised_scores(crops, TINY, [0], tmp_path / "out")
    assert found["score"][NSC].tolist() == found["score"][NSCB].tolist() == [-1, -1]


def test_the_task_trains_on_its_fold_alone_and_means_are_over_cells(screen: Crops, tmp_path: Path) -> None:
    run = {**TINY, "kind": "multiscale", "seed": 3, "metric": "NSCB", "n_folds": 0, "fold": 1}
    seen: list[dict[str, Any]] = []
    real = supervised.train

    def watched(own: Any, shared: Any, checkpoint: Path) -> dict[str, Any]:  # noqa: ANN401
        seen.append(dict(shared))
        result = real(own, shared, checkpoint)
        seen.append(result)
        return result

    shared = {"folder": str(screen.root), "reading": {}, "digest": screen.digest}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "train", watched)
        found = tell(run, shared, tmp_path / "x.ckpt")
    question = asked_of(screen.cells, "NSCB")
    fold = folds_by_batch(screen.cells, question.cells)[1]
    assert ((seen[0]["labels"] >= 0) == fold.train).all()
    assert set(screen.cells["batch"][fold.told]) == {"Week2"}
    network = supervised.restored(seen[1])
    with torch.no_grad():
        logits = network(screen.batch(np.flatnonzero(fold.told))).numpy().astype(float)
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(probabilities(network, screen, np.flatnonzero(fold.told), "cpu", 5), softmax, atol=1e-5)
    for k in range(len(question.table)):
        rows = question.treatment[fold.told] == k
        assert found["cells"][k] == rows.sum()
        expected = softmax[rows].mean(0) if rows.any() else 0
        assert np.allclose(found["softmax"][k], expected, atol=1e-5)


def test_several_batches_weigh_by_their_cells() -> None:
    question = Asked(
        pd.DataFrame({"compound": ["a"], "concentration": [1.0], "moa": ["m1"], "batch": ["W1,W2"]}),
        np.zeros(4, np.int64), np.array([True]),
    )  # fmt: skip
    two = Asked(pd.concat([question.table, question.table.assign(compound="b", moa="m2")]), question.treatment,
                np.array([True, False]))  # fmt: skip
    parts = [
        {"softmax": np.array([[0.9, 0.1], [0, 0]]), "cells": np.array([1, 0])},
        {"softmax": np.array([[0.4, 0.6], [0, 0]]), "cells": np.array([3, 0])},
    ]
    # 0.9 + 3 x 0.4 = 2.1 of 4 for m1; the mean of the two batches would say so more strongly, their vote would not
    assert supervised._scored(two, parts, "NSCB")[NSCB].tolist() == [1, -1]
    parts[1]["cells"] = np.array([9, 0])
    assert json.loads(supervised._scored(two, parts, "NSCB")[f"{NSCB}|predicted"]) == ["m2", None]


def test_what_cannot_be_asked_for(screen: Crops, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind 'multiscale', got 'mixup'"):
        supervised_scores(screen, {**TINY, "kind": "mixup"}, [0], tmp_path)
    with pytest.raises(ValueError, match="unknown stepps"):
        supervised_scores(screen, {"stepps": 3}, [0], tmp_path)
    with pytest.raises(DataError, match="'moa' is missing"):
        asked_of(screen.cells.drop(columns="moa"), "NSC")
