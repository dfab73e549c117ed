"""Scores of representations, samples beside held-out cells, and their rows: literal evaluations and known answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellweak_core import side_by_side
from cellweak_core.cytogan import changes, latent, mechanisms, neighbours, quality, reporting, reporting_latent
from cellweak_core.cytogan.recorded import recorded_by_authors, with_diary
from cellweak_core.cytogan.reporting import score_draws
from cellweak_core.files import DataError
from cellweak_core.parallel import load_result, save_result
from cellweak_core.results import Results

COMPOUNDS = ["a", "a", "b", "c", "c"]
RIGHT = np.array([[1, 0, 1, -1, -1], [1, 1, 0, -1, -1]], np.int8)


def screen(seed: int = 0, spread: float = 0.3) -> tuple[np.ndarray, pd.DataFrame]:
    """Cells of two mechanisms of three compounds each, on two plates with controls, in five features."""
    rng, rows, values = np.random.default_rng(seed), [], []
    middles = {"X": [4, 0, 0, 0, 0], "Y": [0, 4, 0, 0, 0], "DMSO": [0, 0, 1, 0, 0]}
    for plate in ("p1", "p2"):
        for k, (compound, moa) in enumerate([(c, "X") for c in "abc"] + [(c, "Y") for c in "def"] + [("DMSO", None)]):
            for dose in (1.0, 2.0) if moa else (0.0,):
                row = {"plate": plate, "well": f"A{k}{dose:g}", "site": 1, "batch": "w1", "compound": compound,
                       "concentration": dose, "control": moa is None, "moa": moa}  # fmt: skip
                n = 3 + k
                rows += [row] * n
                values.append(rng.normal(middles[moa or "DMSO"], spread, (n, 5)))
    return np.concatenate(values).astype(np.float32), pd.DataFrame(rows)


def literal_scores(features: np.ndarray, cells: pd.DataFrame) -> tuple[float, float]:
    """NSC by loops: means of treatments, nearest by cosine among other compounds."""
    profiles: dict[tuple[str, float, str], np.ndarray] = {}
    for key, rows in cells[~cells["control"]].groupby(["compound", "concentration", "moa"]).indices.items():
        at = cells.index[~cells["control"]][rows]
        profiles[key] = features[at].astype(float).mean(0)
    per: dict[str, list[bool]] = {}
    for (compound, _, moa), own in profiles.items():
        near = max(
            (own @ other / np.linalg.norm(own) / np.linalg.norm(other), name[2])
            for name, other in profiles.items() if name[0] != compound
        )  # fmt: skip
        per.setdefault(compound, []).append(near[1] == moa)
    every = [one for marks in per.values() for one in marks]
    return float(np.mean(every)), float(np.mean([np.mean(marks) for marks in per.values()]))


@pytest.mark.parametrize("spread", [0.3, 12.0])
def test_scores_are_the_literal_ones(spread: float) -> None:
    features, cells = screen(1, spread)
    found = mechanisms.moa_scores(features, cells)
    assert (found["accuracy"], found["accuracy_over_compounds"]) == pytest.approx(literal_scores(features, cells))
    assert found["total"] == 12
    assert (found["accuracy"] == 1) == (spread < 1)
    assert found["treatments"]["n"] == [2 * (3 + k) for k in range(6) for _ in range(2)]
    said = [one == true for one, true in zip(found["predicted"], found["treatments"]["moa"], strict=True)]
    assert said == (found["right"] == 1).tolist()


def test_whitening_is_the_authors() -> None:
    features, cells = screen(2, 3.0)
    control = cells["control"].to_numpy()
    x = features.astype(float)
    mean, covariance = x[control].mean(0), np.cov(x[control].T)
    values, vectors = np.linalg.eigh(covariance)
    white = (x - mean) @ vectors @ np.diag(1 / np.sqrt(values + 1e-6))
    found = mechanisms.moa_scores(features, cells, "whitening")
    assert found["accuracy_over_compounds"] == pytest.approx(literal_scores(white, cells)[1])
    # cosines do not see a sign or a turn: the controls become round whatever the features' units
    scaled = mechanisms.moa_scores(features * np.float32([1, 10, 100, 1, 1000]), cells, "whitening")
    assert scaled["predicted"] == found["predicted"]


def test_tvn_is_of_sites() -> None:
    features, cells = screen(3, 3.0)
    sites = pd.DataFrame(features.astype(float)).groupby([cells["plate"], cells["well"]], sort=False).mean()
    first = cells.drop_duplicates(["plate", "well"]).reset_index(drop=True)
    x, control = sites.to_numpy(), first["control"].to_numpy()
    values, vectors = np.linalg.eigh(np.cov(x[control].T))
    white = (x - x[control].mean(0)) @ vectors / np.sqrt(values.clip(0) + 1)
    found = mechanisms.moa_scores(features, cells, "TVN")
    assert (found["accuracy"], found["accuracy_over_compounds"]) == pytest.approx(literal_scores(white, first))
    assert set(found["treatments"]["n"]) == {2}


def test_chance_is_a_neighbour_drawn_by_lot() -> None:
    features, cells = screen()
    found = mechanisms.moa_scores(features, cells)
    # of a treatment's ten allowed neighbours four are of its mechanism
    assert found["chance"] == pytest.approx(4 / 10)
    table = pd.DataFrame({"compound": list("aabcde"), "moa": list("XXXYYZ")})  # e is alone: neither asked nor neighbour
    assert mechanisms.chance(table)[0] == pytest.approx(np.mean([1 / 3, 1 / 3, 2 / 4, 1 / 4, 1 / 4]))
    assert mechanisms.chance(table)[1] == pytest.approx(np.mean([1 / 3, 2 / 4, 1 / 4, 1 / 4]))
    assert np.isnan(mechanisms.chance(table[4:])).all()


def test_scores_can_be_kept_and_bad_cells_are_refused(tmp_path: Path) -> None:
    features, cells = screen()
    given = features.copy(), cells.copy()
    found = mechanisms.moa_scores(features, cells)
    save_result(tmp_path / "scores.safetensors", found)
    kept = load_result(tmp_path / "scores.safetensors")
    assert np.array_equal(kept["right"], found["right"])
    assert kept["predicted"] == found["predicted"]
    assert np.array_equal(features, given[0])
    pd.testing.assert_frame_equal(cells, given[1])
    with pytest.raises(ValueError, match="expected one of none, whitening, TVN"):
        mechanisms.moa_scores(features, cells, "pca")
    with pytest.raises(DataError, match="two or more to see how controls vary"):
        mechanisms.moa_scores(features, cells.assign(control=False, moa=cells["moa"].fillna("X")), "whitening")
    with pytest.raises(DataError, match="no treatment has a mechanism"):
        mechanisms.moa_scores(features, cells.assign(moa=None))
    with pytest.raises(DataError, match="not numbers"):
        mechanisms.moa_scores(np.where(features == features[0, 0], np.nan, features), cells)
    with pytest.raises(DataError, match="all zero"):
        mechanisms.moa_scores(0 * features, cells)


def samples(n: int = 120, d: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(size, d)) for size in (2 * n, n, n + 30))  # type: ignore[return-value]


def test_a_sample_of_real_cells_scores_as_the_held_out_ones_do() -> None:
    training, held_out, generated = samples()
    moa = np.array(["X", "Y", "Z"], object)[np.arange(240) % 3]
    found, reference = (
        quality.quality(training, held_out, one, moa, n=100, n_resamples=200) for one in (generated, held_out)
    )
    assert set(quality.METRICS) == {key for key in found if "|" not in key} - {"n", "p"}
    assert found["n"] == reference["n"] == 100
    for name in quality.METRICS:
        low, high = np.percentile(found[f"{name}|draws"], [0.5, 99.5])
        assert low - 0.03 <= reference[name] <= high + 0.03, name
        assert np.mean(found[f"{name}|draws"]) == pytest.approx(found[name], abs=0.03), name
    assert found["mechanisms reached|draws"].max() <= 1
    assert found["Frechet distance|draws"].min() >= 0
    assert reference["nearer than held out"] == 0.5
    assert reference["diversity"] == 1
    again = quality.quality(training, held_out, generated, moa, n=100, n_resamples=200)
    assert all(np.array_equal(again[key], found[key]) for key in found)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_inputs_stay_as_they_are_and_a_seed_gives_one_answer(kind: type) -> None:
    arrays = [one.astype(kind) for one in samples(20)]
    for one in arrays:
        one.setflags(write=False)
    training, held_out, generated = arrays
    found = [quality.quality(training, held_out, generated, n_resamples=5, seed=seed) for seed in (1, 1, 2)]
    assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])
    assert not np.array_equal(found[0]["recall|draws"], found[2]["recall|draws"])
    assert all(np.isfinite(value).all() for value in found[0].values())
    assert np.isfinite(quality.quality(training, held_out, generated, n=4, n_resamples=5)["Frechet distance"])
    z = generated[:, :3]
    assert len(latent.path_norms(z[:2], z[2:4], [0.5])) == 4
    assert latent.direction(generated, generated[:, 0]).vector[0] > 0.9


def test_every_failing_shows_in_its_number() -> None:
    training, held_out, generated = samples()
    honest = quality.quality(training, held_out, generated, n_resamples=20)
    assert "mechanisms reached" not in honest
    collapsed = quality.quality(training, held_out, 0.01 * generated + 0.3, n_resamples=20)
    copied = quality.quality(training, held_out, training[:150] + 1e-3 * generated, n_resamples=20)
    shifted = quality.quality(training, held_out, generated + 3, n_resamples=20)
    for bad in (collapsed, shifted):
        assert bad["Frechet distance"] > 5 * honest["Frechet distance"]
        assert bad["kernel distance"] > 5 * abs(honest["kernel distance"])
        assert bad["recall"] < 0.5 * honest["recall"]
    assert collapsed["precision"] > 0.9
    assert collapsed["diversity"] < 0.05
    assert shifted["precision"] < 0.2
    assert shifted["diversity"] == pytest.approx(honest["diversity"])
    assert copied["copies"] == 1
    assert copied["nearer than held out"] > 0.99
    assert copied["p"] < 1e-6 < honest["p"]


def test_quality_is_of_its_parts_in_the_training_cells_units() -> None:
    training, held_out, generated = samples(40)
    scale = np.array([1.0, 50.0, 0.1, 3.0])
    found = quality.quality(training * scale + 7, held_out * scale + 7, generated * scale + 7, n_resamples=10)
    plain = quality.quality(training, held_out, generated, n_resamples=10)
    for name in quality.METRICS[:-1]:
        if name in plain:
            assert found[name] == pytest.approx(plain[name]), name
    one = quality.quality(training, held_out, generated[:40], n_resamples=10)
    real, other, sample = ((z - training.mean(0)) / training.std(0) for z in (training, held_out, generated[:40]))
    assert one["Frechet distance"] == pytest.approx(quality.frechet_distance(real, sample))
    assert one["copies"] == neighbours.memorised(real, other, sample)["copies"]
    whole = np.repeat(np.arange(8), 10)
    grouped = quality.quality(training, held_out, generated, groups=whole, n_resamples=200)
    alone = quality.quality(training, held_out, generated, n_resamples=200)
    assert grouped["recall"] == alone["recall"]
    assert grouped["recall|draws"].std() != alone["recall|draws"].std()
    with pytest.raises(DataError, match="41 cells asked for, 40 held out"):
        quality.quality(training, held_out, generated, n=41)
    with pytest.raises(DataError, match="groups: expected 80"):
        quality.quality(training, held_out, generated, groups=whole[:3])
    with pytest.raises(DataError, match="all cells are alike"):
        quality.quality(training, 0 * held_out, generated)


@pytest.mark.parametrize("over", ["treatments", "compounds"])
def test_score_draws_literally(over: str) -> None:
    value, drawn = score_draws(RIGHT, COMPOUNDS, over, 4000, 0)
    per_seed = [[(1 + 0 + 1) / 3, (0.5 + 1) / 2], [(1 + 1 + 0) / 3, (1 + 0) / 2]]
    assert value == pytest.approx(np.mean([one[over == "compounds"] for one in per_seed]))
    rng, literal = np.random.default_rng(1), []
    for _ in range(4000):
        names, seeds = rng.choice(["a", "b"], 2), rng.choice(2, 2)
        shares = []
        for seed in seeds:
            of = {"a": RIGHT[seed, :2].tolist(), "b": RIGHT[seed, 2:3].tolist()}
            every = [one for name in names for one in of[name]]
            shares.append(np.mean([np.mean(of[n]) for n in names]) if over == "compounds" else np.mean(every))
        literal.append(np.mean(shares))
    assert drawn.mean() == pytest.approx(np.mean(literal), abs=0.02)
    assert np.percentile(drawn, [5, 95]) == pytest.approx(np.percentile(literal, [5, 95]), abs=0.03)


def test_nothing_asked_has_no_number_and_marks_must_agree() -> None:
    value, drawn = score_draws(np.full((2, 5), -1), COMPOUNDS, "compounds", 10, 0)
    assert np.isnan([value, *drawn]).all()
    with pytest.raises(ValueError, match="not asked the same treatments"):
        score_draws(np.array([[1, 0, 1, 1, -1], RIGHT[0]]), COMPOUNDS, "compounds", 10, 0)
    with pytest.raises(ValueError, match="expected one of compounds, treatments"):
        score_draws(RIGHT, COMPOUNDS, "cells", 10, 0)
    with pytest.raises(ValueError, match=r"expected \(n_seeds, 5\)"):
        score_draws(RIGHT[0], COMPOUNDS, "compounds", 10, 0)


def scored() -> list[dict[str, Any]]:
    found = list[dict[str, Any]]()
    for model, spread in (("LSGAN", 1.0), ("DCGAN", 12.0)):
        for seed in range(3):
            features, cells = screen(seed, spread)
            found += [{"model": model, "seed": seed, "how": how, **mechanisms.moa_scores(features, cells, how)}
                      for how in mechanisms.HOW]  # fmt: skip
    return found


def test_rows_of_table_1_stand_beside_the_paper(tmp_path: Path) -> None:
    entries = scored()
    results = Results("cytogan", tmp_path, {}, 0, "simulated")
    rows = reporting.table_1_rows(entries, 200)
    for row in rows:
        results.add(**row)
    assert len(rows) == 2 * 3 * 2 + 2
    found = results.rows.set_index(["row", "column"])
    own = [one for one in entries if (one["model"], one["how"]) == ("DCGAN", "whitening")]
    mean = 100 * np.mean([one["accuracy_over_compounds"] for one in own])
    one = found.loc[("DCGAN", "MOA accuracy, whitened")]
    assert one["value"] == pytest.approx(mean)
    assert one["low"] < mean < one["high"]
    assert (one["n"], one["unit"]) == (6, "percent")
    assert "mean over 3 seeds" in one["note"]
    nsc = found.loc[("DCGAN", "NSC, TVN")]
    assert nsc["n"] == 12
    by_tvn = [one["accuracy"] for one in entries if (one["model"], one["how"]) == ("DCGAN", "TVN")]
    assert nsc["value"] == pytest.approx(100 * np.mean(by_tvn))
    assert found.loc[("chance", "MOA accuracy"), "value"] == pytest.approx(40)
    table = side_by_side.beside_paper(results.rows, "cytogan", "Table 1", ["MOA accuracy"], digits=1)
    assert table.set_index("method").loc["DCGAN", "MOA accuracy"].startswith("51.0 | ")
    assert table.set_index("method").loc["CellProfiler", "MOA accuracy"] == "90.0 | -"
    assert reporting.table_1_rows([]) == []


def test_a_difference_is_paired() -> None:
    entries = scored()
    same = reporting.difference(entries, ("LSGAN", "none"), ("LSGAN", "none"), "compounds", 100)
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    gain = reporting.difference(entries, ("LSGAN", "none"), ("DCGAN", "none"), "treatments", 500)
    by = {m: np.mean([one["accuracy"] for one in entries if (one["model"], one["how"]) == (m, "none")])
          for m in ("LSGAN", "DCGAN")}  # fmt: skip
    assert gain["value"] == pytest.approx(100 * (by["LSGAN"] - by["DCGAN"]))
    assert gain["low"] > 0
    assert (gain["row"], gain["unit"], gain["n"]) == ("LSGAN - DCGAN", "percentage points", 12)
    with pytest.raises(KeyError, match="WGAN, none: was not scored"):
        reporting.difference(entries, ("WGAN", "none"), ("DCGAN", "none"), "compounds")
    entries[0]["treatments"]["compound"] = entries[0]["treatments"]["compound"][::-1]
    with pytest.raises(ValueError, match="same treatments in the same order"):
        reporting.difference(entries, ("LSGAN", "none"), ("DCGAN", "none"), "compounds")


def test_generated_rows_are_means_over_seeds(tmp_path: Path) -> None:
    judged = list[dict[str, Any]]()
    for seed in range(3):
        training, held_out, generated = samples(40, seed=seed)
        found_one = quality.quality(training, held_out, generated, n_resamples=60)
        judged.append({"model": "LSGAN", "seed": seed, **found_one})
    judged.append({"model": quality.HELD_OUT, "seed": 0, **quality.quality(training, held_out, held_out)})
    results = Results("cytogan", tmp_path, {}, 0, "simulated")
    for row in reporting.generated_rows(judged):
        results.add(**row)
    found = results.rows.set_index(["row", "column"])
    one = found.loc[("LSGAN", "precision")]
    assert one["value"] == pytest.approx(np.mean([j["precision"] for j in judged[:3]]))
    assert one["low"] <= one["value"] <= one["high"]
    assert one["unit"] == "fraction"
    assert "mean over 3 seeds" in one["note"]
    assert "one seed" in found.loc[(quality.HELD_OUT, "recall"), "note"]
    assert len(found) == 2 * (len(quality.METRICS) - 1)
    # with nothing to resample but seeds, the interval is of means of drawn seeds
    flat = [{"model": "m", "seed": k, "n": 1, **{key: float(k) for key in quality.METRICS},
             **{f"{key}|draws": np.full(3000, float(k)) for key in quality.METRICS}} for k in range(3)]  # fmt: skip
    row = reporting.generated_rows(flat)[0]
    drawn = np.random.default_rng(1).choice(3, (3000, 3)).mean(1)
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.35)


def test_rows_of_figures_2_and_3(tmp_path: Path) -> None:
    z = np.random.default_rng(0).normal(size=(60, 50))
    norms = latent.path_norms(z[:30], z[30:], np.linspace(0, 1, 9))
    assert len(norms) == 2 * 30 * 9
    one = norms[(norms["way"] == "linear") & (norms["pair"] == 3) & (norms["t"] == 0.5)].iloc[0]
    assert one["norm"] == pytest.approx(np.linalg.norm((z[3] + z[33]) / 2))
    results = Results("cytogan", tmp_path, {}, 0, "simulated")
    rows = reporting_latent.fig_2_rows("LSGAN", norms)
    values = {row["column"]: row["value"] for row in rows}
    assert values["least norm, slerp"] > 0.9
    assert values["least norm, linear"] == pytest.approx(np.sqrt(0.5), abs=0.05)
    found = latent.Direction("nucleus area", "regression", np.eye(50)[0], 2.0, 0.4, 30.0, 512)
    table = pd.DataFrame({"base": range(4), "strength": 2.0, "along": "nucleus area", "property": "nucleus area",
                          "before": 0.0, "after": 0.0, "change": [0.5, 0.7, 0.6, 0.8]})  # fmt: skip
    lost = table.assign(along=changes.CHANCE, change=np.nan)
    rows += reporting_latent.fig_3_rows("LSGAN", found, changes.mean_changes(pd.concat([table, lost]), 100))
    for row in rows:
        results.add(**row)
    kept = results.rows.set_index("column")
    assert kept.loc["nucleus area by regression: R2", "value"] == 0.4
    assert kept.loc["nucleus area by regression, +2: nucleus area", "value"] == pytest.approx(0.65)
    assert "no nucleus" in kept.loc["nucleus area by regression, by chance, +2: nucleus area", "note"]
    assert results.finish().is_file()
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 5


def test_the_authors_values_have_their_dates() -> None:
    table = recorded_by_authors().set_index("representation")
    dates = list(table.columns)
    assert dates[:2] == ["README 2017-10-11", "README 2017-10-14"]
    assert dates[-2:] == ["paper 2017-11-30", "poster"]
    assert list(table.index[:2]) == ["LSGAN", "LSGAN, whitened"]
    assert table.loc["LSGAN", "README 2017-10-14"] == "63"
    assert table.loc["LSGAN", "paper 2017-11-30"] == "68"
    assert table.loc["BEGAN", "README 2017-10-14"] == "56"
    assert table.loc["BEGAN", "paper 2017-11-30"] == ""
    assert table.loc["C-LSGAN", "README 2017-10-14"] == "38?"
    assert not table.index.str.startswith(("CellProfiler", "Deep", "VAE")).any()


def test_models_that_make_one_cell_or_few_kinds_are_remarked_on() -> None:
    judged = [
        {"model": "a", "diversity": 0.1, "recall": 0.0}, {"model": "a", "diversity": 0.2, "recall": 0.0},
        {"model": "b", "diversity": 0.9, "recall": 0.04}, {"model": "c", "diversity": 0.9, "recall": 0.5},
    ]  # fmt: skip
    assert reporting.doubtful(judged) == [
        "a: its cells differ by 15% of what real ones differ by: nearly one cell.",
        "b: 4% of the real cells lie among its cells: few kinds, or no real ones.",
    ]


def test_the_diarys_last_values_stand_beside_the_methods() -> None:
    table = pd.DataFrame({"method": ["LSGAN", "BEGAN", "C-BEGAN", "VAE"], "x": 1})
    found = with_diary(table).set_index("method")
    assert found.columns.tolist() == ["diary, 2017-10-27", "x"]
    assert found["diary, 2017-10-27"].tolist() == ["68 (76 whitened)", "68", "71", ""]
    assert list(table) == ["method", "x"]
