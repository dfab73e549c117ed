"""From models to entries: every training's files, its scores against a literal path, references, samples, histories."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core.cytogan import (
    comparison,
    encoding,
    evaluation,
    generating,
    histories,
    judging,
    mechanisms,
    neighbours,
    products,
    quality,
    reference,
    variants,
)
from cellweak_core.files import DataError
from cellweak_core.screens import measurements
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.labels import treatment_labels
from cellweak_core.screens.simulate import Plan, simulate_screen

PLAN = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=3, size_px=32)
READING = {"channels": ["DNA", "tubulin", "actin"]}
COMMON: dict[str, Any] = {
    "width": 0.05, "size_px": 32, "latent": 6, "noise": 6, "device": "cpu", "precision": "32-true", "log_every": 1,
}  # fmt: skip
MODELS = ("lsgan", "c-lsgan", "vae", "autoencoder")
SEEDS = (3, 4)
LAYER = "res3a"


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return load_crops(write_crops(simulate_screen(PLAN, 1), tmp_path_factory.mktemp("screen")), **READING)


@pytest.fixture(scope="module")
def rows(screen: Crops) -> tuple[np.ndarray, np.ndarray]:
    held = screen.cells["replicate"].astype(str) == "2"
    return np.flatnonzero(~held), np.flatnonzero(held)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def compared(screen: Crops, rows: tuple[np.ndarray, np.ndarray], folder: Path) -> list[dict[str, Any]]:
    wanted = comparison.wanted(MODELS, COMMON, steps=2, steps_began=2, batch_size=4)
    return comparison.compare(screen, wanted, SEEDS, rows[0], folder, reading=READING)


@pytest.fixture(scope="module")
def entries(screen: Crops, rows: tuple[np.ndarray, np.ndarray], folder: Path) -> list[dict[str, Any]]:
    return compared(screen, rows, folder)


@pytest.fixture(scope="module")
def cnns(screen: Crops, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    run = {"width": 4, "steps": 2, "batch_size": 4, "device": "cpu", "precision": "32-true"}
    labels = treatment_labels(screen.cells, ["2"])
    return reference.cnns(screen, labels, run, SEEDS, tmp_path_factory.mktemp("cnn"), READING)


def test_settings_of_each_model() -> None:
    found = comparison.wanted(
        list(variants.MODELS), {"width": 0.5}, steps=100, steps_began=40, batch_size=48, lr_discriminator=1e-3,
        lr_generator=2e-3, lr_began=3e-3, critic_steps=5,
    )  # fmt: skip
    assert list(found) == [*(comparison.NAMES[one] for one in variants.MODELS), comparison.UNTRAINED]
    assert {one["width"] for one in found.values()} == {0.5}
    assert {name: found[name]["steps"] for name in ("LSGAN", "BEGAN", "C-BEGAN", comparison.UNTRAINED)} == {
        "LSGAN": 100, "BEGAN": 40, "C-BEGAN": 40, comparison.UNTRAINED: 0,
    }  # fmt: skip
    sizes = {name: found[name]["batch_size"] for name in ("LSGAN", "BEGAN", "C-BEGAN", "BiGAN", "VAE")}
    assert sizes == {"LSGAN": 48, "BEGAN": 16, "C-BEGAN": 48, "BiGAN": 32, "VAE": 48}
    full = {name: variants.settings(run) for name, run in found.items()}
    rates = {name: [full[name][f"lr_{one}"] for one in ("discriminator", "generator", "encoder", "autoencoder")]
             for name in ("LSGAN", "BEGAN", "BiGAN", "VAE")}  # fmt: skip
    assert rates == {"LSGAN": [1e-3, 2e-3, 0, 0], "BEGAN": [3e-3, 3e-3, 0, 0], "BiGAN": [1e-3, 2e-3, 2e-3, 0],
                     "VAE": [0, 0, 0, 1e-3]}  # fmt: skip
    assert (full["WGAN"]["critic_steps"], full["C-WGAN"]["critic_steps"], full["LSGAN"]["critic_steps"]) == (5, 5, 1)
    assert full["LSGAN"]["collapse_after"] == 50
    own = comparison.wanted(["dcgan", "c-began"], {}, steps=4000, steps_began=4000)
    assert comparison.UNTRAINED not in own
    full = {name: variants.settings(run) for name, run in own.items()}
    assert full["DCGAN"]["lr_generator"] == variants.MODELS["dcgan"]["lr_generator"]
    assert (full["DCGAN"]["batch_size"], full["C-BEGAN"]["batch_size"]) == (64, 64)
    assert full["DCGAN"]["collapse_after"] == variants.COMMON["collapse_after"]
    with pytest.raises(ValueError, match="steps: expected 1 or more, got 0 and 5"):
        comparison.wanted(["lsgan"], {}, steps=0, steps_began=5)


def test_every_model_leaves_weights_and_the_codes_of_all_cells(
    entries: list[dict[str, Any]], screen: Crops, folder: Path
) -> None:
    names = [*(comparison.NAMES[one] for one in MODELS), comparison.UNTRAINED]
    assert [(one["model"], one["seed"]) for one in entries] == [(name, seed) for seed in SEEDS for name in names]
    assert {path.stem for path in folder.glob("*.safetensors")} == {
        "lsgan", "c-lsgan", "vae", "autoencoder", "lsgan-untrained"
    }  # fmt: skip
    for one in entries:
        trained = encoding.load_weights(one["weights"], screen)
        codes, cells = judging.read_codes(one["codes"])
        expected = encoding.encode(screen, np.arange(len(screen)), trained, device="cpu", precision="32-true")
        np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-6)
        assert cells["well"].tolist() == screen.cells["well"].tolist()
        for how in mechanisms.HOW:
            own = mechanisms.moa_scores(expected, screen.cells, how)
            assert one["scores"][how]["right"] == own["right"].tolist()
    by_seed = [next(one for one in entries if one["model"] == "LSGAN" and one["seed"] == seed) for seed in SEEDS]
    assert encoding.load_weights(folder / "lsgan.safetensors")["architecture"]["model"] == "lsgan"
    assert by_seed[0]["sha256"] != by_seed[1]["sha256"]
    untrained = next(one for one in entries if one["model"] == comparison.UNTRAINED)
    assert untrained["steps"] == 0


def test_a_second_call_trains_nothing_and_a_changed_file_is_refused(
    entries: list[dict[str, Any]], screen: Crops, rows: tuple[np.ndarray, np.ndarray], folder: Path
) -> None:
    path = Path(entries[0]["weights"])
    before = path.stat().st_mtime_ns
    assert [one["sha256"] for one in compared(screen, rows, folder)] == [one["sha256"] for one in entries]
    assert path.stat().st_mtime_ns == before
    kept = path.read_bytes()
    path.write_bytes(kept[:-1])
    with pytest.raises(DataError, match=r"gone or changed since it was made; delete .*work to train anew"):
        compared(screen, rows, folder)
    path.write_bytes(kept)


def test_the_cnn_sees_cells_as_generators_do(screen: Crops, cnns: list[dict[str, Any]]) -> None:
    whole = screen.size[0]
    shown = {"architecture": {"channels": list(screen.channels), "crop_px": whole, "size_px": whole,
                              "scaling": "maximum"}}  # fmt: skip
    images = encoding.inputs(screen, np.arange(7), shown)
    by_images = reference.features_of(images, cnns[0], LAYER, batch_size=3, device="cpu")
    by_crops = reference.cnn_features(screen, cnns[0], LAYER, "cpu", "32-true")[:7]
    np.testing.assert_allclose(by_images, by_crops, rtol=1e-3, atol=1e-4)


def test_references_are_scored_like_models(screen: Crops, cnns: list[dict[str, Any]], tmp_path: Path) -> None:
    found = comparison.references(screen, cnns, SEEDS, LAYER, None, tmp_path, device="cpu", precision="32-true")
    assert [(one["model"], one["seed"]) for one in found] == [(reference.CNN, seed) for seed in SEEDS]
    values = reference.cnn_features(screen, cnns[0], LAYER, "cpu", "32-true")
    expected = mechanisms.moa_scores(values, screen.cells, "TVN")["right"].tolist()
    assert found[0]["scores"]["TVN"]["right"] == expected
    flat = comparison.scored(found)
    assert [(one["model"], one["how"]) for one in flat] == [(reference.CNN, how) for how in mechanisms.HOW] * 2


@pytest.mark.skipif(not measurements.can_measure(), reason="cp-measure is not installed")
def test_cellprofilers_measurements_are_a_row(screen: Crops, cnns: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = np.arange(0, len(screen), 2)
    found = comparison.references(screen, cnns[:1], SEEDS[:1], LAYER, rows, tmp_path, device="cpu")
    assert (found[-1]["model"], found[-1]["cells"]) == (reference.CELLPROFILER, len(rows))
    values = reference.measured(screen, rows, tmp_path)
    control = screen.control[rows]
    np.testing.assert_allclose(values[control].mean(0), 0, atol=1e-6)
    assert found[-1]["scores"]["none"]["right"] == (
        mechanisms.moa_scores(values, screen.cells.iloc[rows], "none")["right"].tolist()
    )


def test_samples_are_judged_beside_held_out_cells(
    entries: list[dict[str, Any]], screen: Crops, rows: tuple[np.ndarray, np.ndarray], cnns: list[dict[str, Any]],
    tmp_path: Path,
) -> None:  # fmt: skip
    train, held = rows
    found = generating.judged(
        entries, screen, train, held, cnns[0], LAYER, tmp_path, n=12, n_resamples=5, seed=2, device="cpu"
    )
    names = ["LSGAN", "C-LSGAN", "VAE"]  # an autoencoder generates nothing, an untrained LSGAN is no generator
    assert [(one["model"], one["seed"]) for one in found] == [
        (quality.HELD_OUT, 2), *((name, seed) for seed in SEEDS for name in names)
    ]  # fmt: skip
    first = encoding.load_weights(entries[0]["weights"])
    real, apart = (judging.real_features(screen, one, first, cnns[0], LAYER, 32, "cpu") for one in rows)
    images = encoding.generate(first, encoding.noise(first, 12, 2), device="cpu")
    made = reference.features_of(images, cnns[0], LAYER, device="cpu")
    own = found[1]
    np.testing.assert_allclose(np.asarray(own["images"]), images, atol=1e-6)
    moa, wells = screen.cells["moa"].iloc[train], screen.cells.iloc[train]
    groups = (wells["plate"].astype(str) + " " + wells["well"].astype(str)).tolist()
    known = [None if control or pd.isna(one) else one for one, control in zip(moa, wells["control"], strict=True)]
    expected = quality.quality(real, apart, made, known, groups=groups, n_resamples=5, seed=2)
    for metric in quality.METRICS:
        assert own[metric] == pytest.approx(expected[metric])
    scaled = evaluation.standardised(real, made)
    at, away = neighbours.nearest_cells(scaled[1], scaled[0], judging.N_NEAREST)
    assert np.array_equal(own["row"], train[at])  # of the screen, not of the training cells
    np.testing.assert_allclose(np.asarray(own["distance"]), away[:, 0], rtol=1e-5)
    assert found[0]["nearer than held out"] == pytest.approx(0.5)
    assert products.nearest(own, screen, first, "final", n=2).axes[0].get_title() == "generated"


def test_samples_to_look_at_are_of_the_first_seed_and_told_their_condition(
    entries: list[dict[str, Any]], screen: Crops, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    found = generating.samples(entries, screen, rows[0], 5, 9, "cpu")
    assert list(found) == ["LSGAN", "C-LSGAN", "VAE"]
    trained = encoding.load_weights(entries[1]["weights"])
    told = judging.conditions_like(screen, rows[0], trained, 5, 9)
    expected = encoding.generate(trained, encoding.noise(trained, 5, 9), told, device="cpu")
    np.testing.assert_array_equal(found["C-LSGAN"], expected)
    assert told is not None
    assert set(told[:, 0].tolist()) <= set(np.log1p(screen.cells["concentration"].to_numpy(np.float32)).tolist())
    again = generating.repeated(entries, screen, rows[0][:3], "cpu")
    assert list(again) == ["VAE", "autoencoder"]
    assert again["VAE"].shape == (3, 3, 32, 32)


def test_images_of_another_size_are_brought_to_the_cnns(cnns: list[dict[str, Any]]) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 16, 16)).astype(np.float32)
    larger = torch.nn.functional.interpolate(torch.from_numpy(images), (32, 32), mode="bilinear", antialias=True)
    found = reference.features_of(images, cnns[0], LAYER, 32, device="cpu")
    np.testing.assert_allclose(found, reference.features_of(larger, cnns[0], LAYER, device="cpu"), atol=1e-6)
    assert not np.allclose(found, reference.features_of(images, cnns[0], LAYER, device="cpu"), rtol=1e-2)


def test_an_empty_column_of_mechanisms_is_none_at_all(
    entries: list[dict[str, Any]], screen: Crops, rows: tuple[np.ndarray, np.ndarray], cnns: list[dict[str, Any]],
    tmp_path: Path,
) -> None:  # fmt: skip
    bare = dataclasses.replace(screen, cells=screen.cells.assign(moa=np.nan))
    found = generating.judged(entries[:1], bare, *rows, cnns[0], LAYER, tmp_path, n=8, n_resamples=5, device="cpu")
    assert "mechanisms reached" not in found[1]
    assert np.isfinite(found[1]["recall"])


def test_the_generator_of_the_figures_has_normal_noise_and_no_condition(entries: list[dict[str, Any]]) -> None:
    name, trained = generating.first_of(entries)
    assert (name, trained["architecture"]["model"]) == ("LSGAN", "lsgan")
    assert generating.first_of([one for one in entries if one["model"] != "LSGAN"])[0] == "VAE"
    others = [one for one in entries if one["model"] in ("C-LSGAN", "autoencoder", comparison.UNTRAINED)]
    assert generating.first_of(others) == ("", None)


def test_the_channel_named_dna_is_taken_for_it(screen: Crops, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = list[Crops]()

    def measure(crops: Crops, *_: object, **__: object) -> measurements.Measured:
        seen.append(crops)
        return measurements.Measured(np.random.default_rng(0).normal(size=(len(crops), 2)), ("a", "b"),
                                     np.ones(len(crops), bool), (), (1.0,))  # fmt: skip

    monkeypatch.setattr(measurements, "measure_crops", measure)
    for names, order in ((("tubulin", "Hoechst", "actin"), [1, 0, 2]), (("a", "b", "c"), [0, 1, 2])):
        reference.measured(dataclasses.replace(screen, channels=names), np.arange(len(screen)), tmp_path)
        assert seen[-1].channels == tuple(names[k] for k in order)
        assert np.array_equal(seen[-1].raw(np.arange(5)), screen.raw(np.arange(5))[:, order])


def test_histories_of_trainings(entries: list[dict[str, Any]]) -> None:
    curves = histories.curves_of(entries)
    assert curves["panel"].drop_duplicates().tolist() == [
        "LSGAN: loss", "C-LSGAN: loss", "VAE: loss", "autoencoder: loss", histories.DIVERSITY
    ]  # fmt: skip
    loss = curves[(curves["panel"] == "LSGAN: loss") & (curves["line"] == "generator") & (curves["seed"] == 3)]
    np.testing.assert_allclose(loss["value"], np.asarray(entries[0]["generator_loss"]))
    rows = pd.DataFrame(histories.training_rows(entries)).set_index(["row", "column"])
    trained = encoding.load_weights(entries[0]["weights"])
    size = sum(v.numel() for k, v in trained.items() if k.startswith("model.discriminator."))
    assert rows.loc[("LSGAN", "discriminator weights"), "value"] == size
    assert rows.loc[("LSGAN", "steps"), "value"] == 2
    assert rows.loc[("VAE", "cells/s"), "value"] > 0
    assert (comparison.UNTRAINED, "cells/s") not in rows.index
    collapsed = entries[0] | {"collapsed_at": 1, "steps": 1}
    said = "LSGAN, seed 3: mode collapse, stopped at step 1 of 2"
    assert histories.stopped([entries[1], collapsed]) == [said]
    assert next(one["note"] for one in histories.training_rows([collapsed]) if one["column"] == "steps") == said
    table = histories.quantiles({"a": np.arange(101.0), "b": [2.0, 4.0]})
    assert table[table["model"] == "a"]["distance"].tolist() == pytest.approx(list(range(101)))
    assert table[(table["model"] == "b") & (table["share"] == 0.5)]["distance"].tolist() == [3.0]
    assert len(histories.curves_of([])) == 0


def test_codes_of_new_cells_are_not_made_twice(entries: list[dict[str, Any]], screen: Crops, tmp_path: Path) -> None:
    trained = encoding.load_weights(entries[0]["weights"], screen)
    [path] = products.write_codes(tmp_path / "codes", screen, trained, "cpu", "32-true")
    codes, _ = judging.read_codes([path])
    np.testing.assert_allclose(codes, judging.read_codes(entries[0]["codes"])[0], rtol=1e-5, atol=1e-6)
    before = path.stat().st_mtime_ns
    assert products.write_codes(tmp_path / "codes", screen, trained, "cpu", "32-true") == [path]
    assert path.stat().st_mtime_ns == before
    other = encoding.load_weights(entries[2]["weights"])
    assert products.write_codes(tmp_path / "codes", screen, other, "cpu", "32-true") != [path]


def test_a_cnn_of_another_kind_or_of_other_channels_is_refused(
    screen: Crops, cnns: list[dict[str, Any]], tmp_path: Path
) -> None:
    from cellweak_core.screens.networks import save_weights

    path = save_weights(tmp_path / "cnn.safetensors", cnns[0], {"architecture": cnns[0]["architecture"]})
    assert reference.given_cnn(path, screen)["architecture"] == cnns[0]["architecture"]
    for change, match in (
        ({"kind": "autoencoder"}, "a network of kind autoencoder, expected one that was trained on treatments"),
        ({"n_channels": 2}, f"trained on 2 channels, {screen.name} has 3; give a network of the same channels"),
    ):
        save_weights(path, cnns[0], {"architecture": cnns[0]["architecture"] | change})
        with pytest.raises(DataError, match=match):
            reference.given_cnn(path, screen)
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as weights of the embeddings chapter"):
        reference.given_cnn(tmp_path / "none.safetensors", screen)
