"""The simulated gene screen: its plan is kept, variants are like their gene but not the same, training genes apart."""

import numpy as np
import pandas as pd
import pytest

from cellweak_core import screens
from cellweak_core.screens.simulate import CHANNELS, PROPERTIES
from cellweak_core.screens.simulate_genes import CONTROL, GenePlan, simulate_gene_screen, variants_of

SMALL = GenePlan(pairs=2, triples=2, training_pairs=1, training_triples=1, batches=2, cells=4, controls=2, size_px=32)


@pytest.fixture(scope="module")
def made() -> screens.Crops:
    return simulate_gene_screen(SMALL, 1)


def nearest(features: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.where(forbidden, -np.inf, unit @ unit.T).argmax(1)


def test_the_papers_counts_are_the_defaults() -> None:
    variants = pd.DataFrame(variants_of(GenePlan(), np.random.default_rng(0)))
    assert len(variants) == variants["compound"].nunique() == 26
    assert variants["trains"].sum() == 10
    assert variants.groupby("gene").size().value_counts().to_dict() == {3: 6, 2: 4}
    assert (variants.groupby("gene")["trains"].nunique() == 1).all()
    assert variants["compound"].str.endswith("wild type").sum() == variants["gene"].nunique() == 10


def test_the_plan_is_kept(made: screens.Crops) -> None:
    cells = made.cells
    treated = cells[~cells["control"]]
    assert (made.size, made.channels, made.axes) == ((32, 32), CHANNELS, "NCHW")
    assert made.raw(range(len(made))).dtype == np.uint16
    assert (cells["plate"].nunique(), cells["batch"].nunique(), cells["replicate"].nunique()) == (4, 2, 4)
    assert (cells["plate"].str.split("_").str[0] == cells["batch"]).all()
    assert treated["compound"].nunique() == 2 * 2 + 2 * 3
    assert (treated.groupby("compound")["plate"].nunique() == 4).all()  # a replicate on every plate of every batch
    assert (cells.groupby(["plate", "well"]).size() == 4).all()
    assert (cells[cells["control"]].groupby("plate")["well"].nunique() == 2).all()
    assert (treated.groupby("gene")["compound"].nunique() >= 2).all()
    assert (cells["moa"] == cells["gene"]).all()
    assert (cells["control"].dtype, cells["trains"].dtype) == (bool, bool)


def test_training_and_test_variants_share_no_gene_and_controls_train_nothing(made: screens.Crops) -> None:
    cells = made.cells
    assert set(cells["gene"][cells["trains"]]) == {"gene 1", "gene 3"}
    assert not set(cells["gene"][cells["trains"]]) & set(cells["gene"][~cells["trains"]])
    assert cells["compound"][cells["trains"]].nunique() == 5
    assert not (cells["trains"] & cells["control"]).any()
    assert (cells["compound"][cells["control"]] == CONTROL).all()


def test_a_variants_effect_is_its_genes_and_a_smaller_one_of_its_own() -> None:
    plan = GenePlan(effect=0.7, own_effect=0.4)
    variants = pd.DataFrame(variants_of(plan, np.random.default_rng(3)))
    effects = np.stack(variants["effect"].tolist())
    length = np.linalg.norm(np.stack([effects[variants["gene"] == g].mean(0) for g in variants["gene"]]), axis=1)
    own = np.linalg.norm(effects - np.stack([effects[variants["gene"] == g].mean(0) for g in variants["gene"]]), axis=1)
    assert (own > 0).all()
    assert (own < 0.4 / 0.6 * length).all()
    gene = variants["gene"].to_numpy(object)
    assert (gene[nearest(effects, np.eye(26, dtype=bool))] == gene).all()
    alike = np.stack(
        pd.DataFrame(variants_of(plan._replace(own_effect=0), np.random.default_rng(3)))["effect"].tolist()
    )
    np.testing.assert_array_equal(alike[0], alike[1])
    assert np.linalg.norm(alike, axis=1) == pytest.approx(10 * 0.22 * 0.7 / 2)


def test_the_truth_answers_both_questions_and_the_batch_shows_in_the_pixels() -> None:
    made = simulate_gene_screen(SMALL._replace(cells=12), 2)
    truth = made.cells[list(PROPERTIES)].to_numpy()
    wells, rows = screens.aggregate(truth, made.cells, ["plate", "well"])
    treated = ~rows["control"].to_numpy(bool)
    wells, rows = wells[treated], rows[treated].reset_index(drop=True)
    plate, name = rows["plate"].to_numpy(object), rows["compound"].to_numpy(object)
    assert (name[nearest(wells, plate[:, None] == plate)] == name).mean() > 0.8
    variants, table = screens.aggregate(wells, rows, ["compound"])
    gene = table["gene"].to_numpy(object)
    assert (gene[nearest(variants, np.eye(len(gene), dtype=bool))] == gene).all()
    light = made.raw(np.flatnonzero(made.control)).mean((2, 3))
    batch = made.cells["batch"][made.control].to_numpy(object)
    means = np.stack([np.log(light[batch == one]).mean(0) for one in np.unique(batch)])
    spread = np.log(light[batch == batch[0]]).std(0) / np.sqrt((batch == batch[0]).sum())
    assert (np.abs(means[0] - means[1]) > 3 * spread).any()


def test_the_same_seed_makes_the_same_screen_and_another_does_not(made: screens.Crops) -> None:
    again, other = simulate_gene_screen(SMALL, 1), simulate_gene_screen(SMALL, 2)
    np.testing.assert_array_equal(again.raw([0, 50]), made.raw([0, 50]))
    pd.testing.assert_frame_equal(again.cells, made.cells)
    assert not np.array_equal(other.raw([0, 50]), made.raw([0, 50]))


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (GenePlan(cells=0), "plan: cells is 0, expected a whole number of 1 or more"),
        (GenePlan(pairs=0, triples=0, training_pairs=0, training_triples=0), "pairs and triples are 0, expected a"),
        (GenePlan(training_triples=-1), "training_triples is -1, expected a whole number of 0 or more"),
        (GenePlan(own_effect=-1), "own_effect is -1, expected a number of 0 or more"),
        (GenePlan(effect=float("nan"), replicates=0), "replicates is 0, .*; effect is nan, expected a number of 0"),
        (GenePlan(size_px=16), "size_px is 16, expected a whole number of 32 or more"),
        (GenePlan(training_pairs=5), "5 of 4 genes of two variants"),
    ],
)
def test_plans_that_cannot_be(plan: GenePlan, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        simulate_gene_screen(plan)
