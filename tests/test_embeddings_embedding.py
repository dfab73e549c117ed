"""Embedding: the same features whatever the shards and processes, files that say what they are, work that is kept."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core.embeddings import comparison, embedding, evaluation
from cellweak_core.embeddings.embedding import embed, embed_shard, load_embedded, restored, untrained
from cellweak_core.files import DataError, sha256
from cellweak_core.screens.aggregation import aggregate, treatment_profiles
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.features import embedded
from cellweak_core.screens.labels import treatment_labels
from cellweak_core.screens.matching import match_treatments
from cellweak_core.screens.simulate import Plan, simulate_screen
from cellweak_core.screens.whitening import TVN

FEW = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=4, controls=2, size_px=32)
EXACT: dict[str, Any] = {"precision": "32-true", "device": "cpu"}


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    return load_crops(write_crops(simulate_screen(FEW), tmp_path_factory.mktemp("screen")))


@pytest.fixture(scope="module")
def net() -> dict[str, Any]:
    return untrained(3, 0, width=4)


def test_features_are_the_networks(screen: Crops, net: dict[str, Any], tmp_path: Path) -> None:
    paths = embed(screen.root, net, tmp_path, layers=["res3a", "res4a"], shard_cells=10, **EXACT)
    assert len(paths) == -(-len(screen) // 10)
    for layer, width in (("res3a", 8), ("res4a", 16)):
        values, cells = load_embedded(paths, layer)
        with torch.no_grad():
            expected = restored(net).layers(screen.batch(np.arange(len(screen))), [layer])[layer].numpy()
        assert values.shape == (len(screen), width)
        assert np.allclose(values, expected, atol=1e-5)
        pd.testing.assert_frame_equal(cells, screen.cells.reset_index(drop=True), check_dtype=False)


def test_bf16_features_point_the_same_way(screen: Crops, net: dict[str, Any]) -> None:
    rows, network = np.arange(len(screen)), restored(net)
    exact = embedded(screen, rows, network, ["res4a"], **EXACT)["res4a"]
    near = embedded(screen, rows, network, ["res4a"], device="cpu", precision="bf16-mixed")["res4a"]
    cosine = (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
    assert (cosine > 0.999).all()
    assert not np.array_equal(exact, near)


def test_files_are_the_same_however_the_work_is_spread(screen: Crops, net: dict[str, Any], tmp_path: Path) -> None:
    alone = embed(screen.root, net, tmp_path / "a", shard_cells=30, **EXACT)
    side_by_side = embed(screen.root, net, tmp_path / "b", shard_cells=30, n_jobs=2, **EXACT)
    assert [p.name for p in alone] == [p.name for p in side_by_side]
    assert [sha256(p) for p in alone] == [sha256(p) for p in side_by_side]


def dies_once(run: Any, shared: Any, checkpoint: Path) -> dict[str, Any]:  # noqa: ANN401
    """`embed_shard`, but the first process that comes to the second shard is killed there."""
    mark = Path(run["file"]).with_name("died")
    if run["first"] and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return embed_shard(run, shared, checkpoint)


def test_a_killed_worker_costs_its_shard_only(screen: Crops, net: dict[str, Any], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    whole = embed(screen.root, net, tmp_path / "a", shard_cells=30, **EXACT)
    (tmp_path / "b").mkdir()
    cluster = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with (
        distributed.LocalCluster(**cluster) as local,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(embedding, "embed_shard", dies_once)
        found = embed(screen.root, net, tmp_path / "b", shard_cells=30, scheduler=local.scheduler_address, **EXACT)
    assert (tmp_path / "b" / "died").exists()
    assert [sha256(p) for p in found] == [sha256(p) for p in whole]


def test_finished_shards_are_not_made_again_and_changed_ones_are_noticed(
    screen: Crops, net: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = embed(screen.root, net, tmp_path, shard_cells=30, **EXACT)
    monkeypatch.setattr(embedding, "embedded", lambda *_a, **_k: pytest.fail("embedded again"))
    assert embed(screen.root, net, tmp_path, shard_cells=30, **EXACT) == paths
    paths[1].unlink()
    with pytest.raises(DataError, match=f"{paths[1].name} is gone or changed"):
        embed(screen.root, net, tmp_path, shard_cells=30, **EXACT)


def test_shards_on_the_disk_are_opened_one_by_one(screen: Crops, net: dict[str, Any], tmp_path: Path) -> None:
    """A screen that lies in files, one of which has no controls."""
    folder = tmp_path / "screen"
    (folder / "crops").mkdir(parents=True)
    whole, control = screen.raw(np.arange(len(screen))), screen.control
    for name, rows in (("a", np.flatnonzero(control)), ("b", np.flatnonzero(~control))):
        np.save(folder / "crops" / f"{name}.npy", whole[rows])
        screen.cells.iloc[rows].to_csv(folder / "crops" / f"{name}.csv", index=False)
    values, cells = load_embedded(embed(folder, net, tmp_path / "out", **EXACT), "res4a")
    rows = np.concatenate([np.flatnonzero(control), np.flatnonzero(~control)])
    expected = embedded(screen, rows, restored(net), ["res4a"], **EXACT)["res4a"]
    assert np.allclose(values, expected, atol=1e-6)
    assert cells["well"].tolist() == screen.cells["well"].iloc[rows].tolist()
    with pytest.raises(DataError, match="no shard c; found a, b"):
        load_crops(folder, only=["c"])


def test_weights_come_back_with_what_they_need(net: dict[str, Any], tmp_path: Path) -> None:
    path = comparison.save_weights(tmp_path / "net.safetensors", net, {"axes": "NCHW"}, ["a 1", "b 2"])
    found = comparison.load_weights(path)
    assert found["reading"] == {"axes": "NCHW"}
    assert found["classes"] == ["a 1", "b 2"]
    for name, value in restored(net).state_dict().items():
        assert torch.equal(value, restored(found).state_dict()[name])
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"net\.safetensors: cannot be read"):
        comparison.load_weights(path)
    pd.DataFrame({"Metadata_well": ["A1"], "res4a_0": [1.0]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no features of layer res5a; found res4a"):
        load_embedded([tmp_path / "x.parquet"], "res5a")


def test_site_profiles_are_means_over_files(screen: Crops, net: dict[str, Any], tmp_path: Path) -> None:
    paths = embed(screen.root, net, tmp_path, shard_cells=7, **EXACT)  # wells are cut in two
    values, table = evaluation.site_profiles(paths, "res4a")
    cells, rows = load_embedded(paths, "res4a")
    expected, sites = aggregate(cells, rows, ("plate", "well", "site"))
    assert np.allclose(values, expected, atol=1e-6)
    assert table["n"].tolist() == sites["n"].tolist()
    assert table["compound"].tolist() == sites["compound"].tolist()


def test_score_is_the_recipe_in_steps(screen: Crops, net: dict[str, Any], tmp_path: Path) -> None:
    paths = embed(screen.root, net, tmp_path, layers=["res4a"], **EXACT)
    run = {"files": [str(p) for p in paths], "sha256": [], "layers": ["res4a"], "transforms": ["none", "TVN"]}
    found = evaluation.score(run, {}, tmp_path / "x")
    values, table = evaluation.site_profiles(paths, "res4a")
    white = TVN(1.0).fit(values[table["control"].to_numpy(bool)]).transform(values)
    for how, profiles in (("none", values), ("TVN", white)):
        treatments, rows = treatment_profiles(profiles, table, "median")
        for metric, exclude in (("NSC", "compound"), ("NSCB", "compound+batch")):
            one = match_treatments(treatments, rows, exclude)
            marks = found[f"res4a|{how}|{metric}"]
            assert (marks == 1).sum() == one["correct"]
            assert (marks >= 0).sum() == one["total"]
    with pytest.raises(ValueError, match="transform"):
        evaluation.transformed(values, table, "PCA")


def test_comparison_runs_through_and_is_not_run_twice(
    screen: Crops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = {"width": 2, "steps": 2, "batch_size": 4, "device": "cpu", "precision": "32-true"}
    variants = {
        "floor": {**base, "kind": "untrained"}, "Mixup (alpha = 0.2)": {**base, "kind": "mixup"},
        "code": {**base, "kind": "autoencoder"}, "t = 2": {**base, "kind": "recurrent", "t": 2},
    }  # fmt: skip
    labels = treatment_labels(screen.cells, [2])

    def compared() -> list[dict[str, Any]]:
        return comparison.compare(screen, variants, [0, 1], labels, tmp_path, layers=["res4a", "embedding"])

    found = compared()
    assert [(one["variant"], one["seed"]) for one in found] == [(v, s) for s in (0, 1) for v in variants]
    assert all("res4a|TVN|NSC" in one["score"] for one in found if one["variant"] != "code")
    assert "embedding|TVN|NSC" not in next(one for one in found if one["variant"] == "t = 2")["score"]
    assert "code|none|NSC" in next(one for one in found if one["variant"] == "code")["score"]
    assert (tmp_path / "mixup-alpha-0.2_seed0.safetensors").is_file()
    assert not (tmp_path / "mixup-alpha-0.2_seed1.safetensors").exists()
    monkeypatch.setattr(comparison, "train", lambda *_: pytest.fail("trained again"))
    again = compared()
    assert [one["sha256"] for one in again] == [one["sha256"] for one in found]
