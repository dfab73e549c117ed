"""Networks by folds: held-out frames only, pooled as all samples together, done once; weights that come back whole."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from cellweak_core.files import DataError, sha256
from cellweak_core.migration import comparison, learning, patches, saving, splits
from cellweak_core.migration.data import Films
from cellweak_core.migration.evaluation import outcomes
from cellweak_core.migration.labels import UNKNOWN, ramps
from cellweak_core.migration.networks import build
from cellweak_core.migration.prediction import parts_of, predict
from cellweak_core.migration.simulate import Plan, simulate
from cellweak_core.migration.training import AUTHORS
from cellweak_core.screens.networks import rebuilt, save_weights

EXACT: dict[str, Any] = {"device": "cpu", "precision": "32-true", "seed": 0}
RUN: dict[str, Any] = EXACT | {"width": 0.05, "steps": 2, "batch_size": 4, "lr": 1e-3, "n_validated": 4}
T = 3
HEADER = {"channels": ["adhesions", "actin", "membrane"], "size_px": 32, "border": "edge", "downsample": 1,
          "labels": "labels"}  # fmt: skip


class Made(NamedTuple):
    """What `compare` takes, and what it gave."""

    films: Films
    folder: Path
    digest: str
    fold_of: np.ndarray
    targets: np.ndarray
    out: Path
    learnt: list[dict[str, Any]]


def compared(made: Made, networks: tuple[str, ...], out: Path, **own: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    run = RUN | own.pop("run", {})
    own = {"n_samples": T, "n_stability": 4} | own
    return comparison.compare(made.folder, made.digest, made.fold_of, made.targets, networks, run, out, **own)


def started(root: Path, test_share: float) -> Made:
    films = simulate(Plan(n_cells=16, n_frames=6, field_px=64, size_px=32, unknown=0.2), seed=3)
    folder, digest = patches.kept(films, root / "patches", 32)
    targets = ramps(films.points)
    fold_of = splits.grouped(films.points, targets, 2, test_share)
    return Made(films, folder, digest, fold_of, targets, root / "out", [])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    own = started(tmp_path_factory.mktemp("with a test"), 0.25)
    return own._replace(learnt=compared(own, ("vgg16", "densenet40"), own.out))


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Made:
    own = started(tmp_path_factory.mktemp("without"), 0)
    return own._replace(learnt=compared(own, ("vgg16",), own.out, n_stability=0))


def test_held_out_are_the_test_and_the_fold_with_all_their_unknown_frames(made: Made) -> None:
    assert [(one["network"], one["fold"]) for one in made.learnt] == [
        ("vgg16", 0), ("vgg16", 1), ("densenet40", 0), ("densenet40", 1)
    ]  # fmt: skip
    cells = made.films.points["cell"].to_numpy(str)
    assert (made.fold_of == splits.NONE).sum() > 5  # frames of unknown mode
    for one in made.learnt:
        held = set(cells[(made.fold_of == splits.TEST) | (made.fold_of == one["fold"])])
        learnt_from = set(cells[made.fold_of == 1 - one["fold"]])
        assert held
        assert learnt_from
        wanted = [row for row, cell in enumerate(cells) if cell in held]
        assert one["rows"].tolist() == wanted
        assert not learnt_from & set(cells[wanted])
        part = {cells[row]: int(made.fold_of[row]) for row in range(len(cells)) if made.fold_of[row] != splits.NONE}
        assert one["part"].tolist() == [part[cell] for cell in cells[wanted]]
        assert one["n_trained"] == (made.fold_of == 1 - one["fold"]).sum()


def test_what_is_told_is_what_the_saved_weights_predict(made: Made) -> None:
    pixels, _ = patches.load(made.folder)
    for one in made.learnt:
        assert sha256(one["file"]) == one["sha256"]
        trained = saving.trained_of(made.learnt, one["network"], one["fold"])
        found = predict(pixels, one["rows"].numpy(), trained, T, keep=True, **EXACT)
        for name in learning.PARTS:
            np.testing.assert_array_equal(one[name], found[name])
        np.testing.assert_array_equal(one["samples"], found["samples"].astype(np.float32))
        assert one["samples"].shape == (T, len(one["rows"]))
        literal = [sum(one["samples"][t, k].item() for t in range(T)) / T for k in range(len(one["rows"]))]
        np.testing.assert_allclose(one["mean"], literal, atol=1e-6)


def test_many_samples_are_of_few_known_frames_of_the_first_fold(made: Made) -> None:
    first, other = made.learnt[:2]
    assert "few_rows" not in other
    known = [row for row in first["rows"].tolist() if np.isfinite(made.targets[row])]
    few = first["few_rows"].tolist()
    assert len(few) == min(comparison.N_FEW, len(known))
    assert set(few) <= set(known)
    assert few == sorted(set(few))
    assert (few[0], few[-1]) == (known[0], known[-1])
    assert first["few_samples"].shape == (4, len(few))
    at = [first["rows"].tolist().index(row) for row in few]  # masks are numbered by sample, whatever their count
    np.testing.assert_allclose(first["few_samples"][:T], first["samples"][:, at], atol=1e-6)


@pytest.mark.parametrize(("n", "most", "wanted"), [
    (0, 4, []), (1, 4, [0]), (4, 4, [0, 1, 2, 3]), (9, 3, [0, 4, 8]), (100, 1, [0]), (5, 9, [0, 1, 2, 3, 4]),
])  # fmt: skip
def test_some_rows_are_evenly_apart(n: int, most: int, wanted: list[int]) -> None:
    assert learning.some(np.arange(n) + 7, most).tolist() == [7 + k for k in wanted]


def test_pooled_is_all_samples_together() -> None:
    drawn = np.random.default_rng(0).random((4, 6, 5))  # networks, samples, frames
    parts = [parts_of(own) for own in drawn]
    found = learning.pooled(*([one[name] for one in parts] for name in learning.PARTS))
    wanted = parts_of(drawn.reshape(24, 5))
    for k in range(5):
        every = [float(drawn[i, t, k]) for i, t in itertools.product(range(4), range(6))]
        mean = sum(every) / 24
        literal = {
            "mean": mean, "epistemic": sum((y - mean) ** 2 for y in every) / 24,
            "aleatoric": sum(y * (1 - y) for y in every) / 24,
        }  # fmt: skip
        for name in learning.PARTS:
            assert found[name][k] == pytest.approx(literal[name], abs=1e-14)
            assert found[name][k] == pytest.approx(wanted[name][k], abs=1e-14)
    single = learning.pooled(*([parts[0][name]] for name in learning.PARTS))
    for name in learning.PARTS:
        np.testing.assert_array_equal(single[name], parts[0][name])
    equal = learning.pooled(np.full((3, 2), 0.1), np.zeros((3, 2)), np.full((3, 2), 0.09))
    assert equal["epistemic"].tolist() == [0, 0]


def test_weights_learnt_are_counted_as_torch_counts_them(made: Made) -> None:
    for one in made.learnt:
        trained = saving.trained_of(made.learnt, one["network"], one["fold"])
        wanted = sum(p.numel() for p in rebuilt(trained, build).parameters())
        assert one["parameters"] == learning.parameters_of(trained) == wanted


def test_a_second_call_trains_nothing_and_gives_the_same(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(learning, "train", refused)
    again = compared(made, ("vgg16", "densenet40"), made.out)
    for one, other in zip(made.learnt, again, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(other[name]), err_msg=name)
    with pytest.raises(Exception, match="trained again"):  # other targets are another training
        compared(made._replace(targets=np.where(made.targets > 0.5, 0.9, made.targets)), ("vgg16",), made.out)


def test_killed_between_networks_it_goes_on_to_the_same_numbers(untested: Made, tmp_path: Path) -> None:
    trained, again = list[int](), learning.train

    def dying(run: dict[str, Any], *given: Any) -> dict[str, Any]:  # noqa: ANN401
        if run["fold"] == 1:
            raise KeyboardInterrupt
        return again(run, *given)

    def watched(run: dict[str, Any], *given: Any) -> dict[str, Any]:  # noqa: ANN401
        trained.append(run["fold"])
        return again(run, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "train", dying)
        with pytest.raises(KeyboardInterrupt):
            compared(untested, ("vgg16",), tmp_path, n_stability=0)
        patch.setattr(learning, "train", watched)
        found = compared(untested, ("vgg16",), tmp_path, n_stability=0)
    assert trained == [1]
    for one, whole in zip(found, untested.learnt, strict=True):
        assert torch.equal(one["samples"], whole["samples"])
        assert one["sha256"] == whole["sha256"]


@pytest.mark.parametrize("gone", [True, False])
def test_weights_that_changed_or_went_are_refused(gone: bool, untested: Made) -> None:
    file = Path(untested.learnt[1]["file"])
    whole = file.read_bytes()
    try:
        if gone:
            file.unlink()
        else:
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(DataError, match=rf"{file.name}: gone or changed since it was made; delete .*work to train"):
            compared(untested, ("vgg16",), untested.out, n_stability=0)
    finally:
        file.write_bytes(whole)


def literal_frames(made: Made, network: str) -> dict[tuple[str, int], dict[str, float]]:
    """Mean, epistemic, aleatoric by part and row, from the samples alone."""
    own = [one for one in made.learnt if one["network"] == network]
    drawn: dict[tuple[str, int], list[float]] = {}
    for one in own:
        for k, (row, part) in enumerate(zip(one["rows"].tolist(), one["part"].tolist(), strict=True)):
            name = "test" if part == splits.TEST else f"fold {part}"
            drawn.setdefault((name, row), []).extend(one["samples"][:, k].tolist())
    return {key: {name: value.item() for name, value in parts_of(np.array(y)[:, None]).items()}
            for key, y in drawn.items()}  # fmt: skip


@pytest.mark.parametrize("with_test", [True, False])
def test_frames_are_predicted_by_networks_that_never_saw_the_cell(
    with_test: bool, made: Made, untested: Made
) -> None:  # fmt: skip
    own = made if with_test else untested
    points = own.films.points
    frames = comparison.frames_of(own.learnt, points, own.targets)
    cells = points["cell"].to_numpy(str)
    for network in dict.fromkeys(one["network"] for one in own.learnt):
        table = frames[frames["network"] == network]
        assert sorted(table["row"]) == list(range(len(points)))  # every frame once: the test's, or its own fold's
        for part, of_part in table.groupby("part"):
            parts = {int(fold) for fold in own.fold_of[np.isin(cells, of_part["cell"])]} - {splits.NONE}
            assert parts == {splits.TEST if part == "test" else int(str(part).removeprefix("fold "))}
        literal = literal_frames(own, network)
        for one in table.to_dict("records"):
            wanted = literal[one["part"], one["row"]]
            for name in learning.PARTS:
                assert one[name] == pytest.approx(wanted[name], abs=1e-6)
            there = points.iloc[one["row"]]
            for name in ("sequence", "cell", "frame", "x", "y", "label"):
                assert one[name] == there[name]
            np.testing.assert_equal(one["target"], own.targets[one["row"]])
            assert one["outcome"] == outcomes([one["mean"]], [one["label"]])[0]
            assert (one["outcome"] == "") == (one["label"] == UNKNOWN) == bool(np.isnan(one["target"]))
    assert (frames["outcome"] == "").any()
    assert frames["part"].unique().tolist() == [*(["test"] if with_test else []), "fold 0", "fold 1"]
    chosen = comparison.tested(frames)
    assert set(chosen["part"]) == ({"test"} if with_test else {"fold 0", "fold 1"})
    assert len(chosen) == (frames["part"] == "test").sum() if with_test else len(frames)


@pytest.mark.parametrize("with_test", [True, False])
def test_samples_go_with_their_rows(with_test: bool, made: Made, untested: Made) -> None:
    own = made if with_test else untested
    chosen = comparison.tested(comparison.frames_of(own.learnt, own.films.points, own.targets))
    for network in dict.fromkeys(one["network"] for one in own.learnt):
        rows, samples = comparison.samples_of(own.learnt, network)
        table = chosen[chosen["network"] == network]
        assert rows.tolist() == table["row"].tolist()
        assert samples.shape == (2 * T if with_test else T, len(rows))
        for name, values in parts_of(samples).items():
            np.testing.assert_allclose(values, table[name], atol=1e-6)


def test_steps_of_epochs_are_passes_over_the_frames_that_train() -> None:
    fold_of = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, -1, -1, -2])
    targets = np.array([0, 0.4, np.nan, 1, 1, 0, 0, 0, 1, 1, 0, np.nan])
    # 8 frames in three folds, of which two train: 16 / 3 frames an epoch, 30 epochs are 160 frames
    assert comparison.steps_of(30, 7, 32, fold_of, targets, 3) == 5
    assert comparison.steps_of(30, 7, 33, fold_of, targets, 3) == 5
    assert comparison.steps_of(30, 7, 31, fold_of, targets, 3) == 6
    assert comparison.steps_of(1, 7, 1000, fold_of, targets, 3) == 1
    assert comparison.steps_of(0, 7, 32, fold_of, targets, 3) == 7


def test_the_authors_preset_is_of_their_networks_alone(untested: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[dict[str, Any]]()

    def noted(_: object, runs: list[dict[str, Any]], **__: object) -> list[dict[str, Any]]:
        asked.extend(runs)
        return [{"file": __file__, "sha256": sha256(__file__)} for _ in runs]

    monkeypatch.setattr(comparison, "map_runs", noted)
    for preset in ("", "authors"):
        compared(untested, ("vgg16", "resnet18", "densenet40"), untested.out, preset=preset)
    plain, authors = asked[:6], asked[6:]
    for one, other in zip(plain, authors, strict=True):
        theirs = AUTHORS.get(one["network"], {})
        rest = {name: value for name, value in one.items() if name not in (*theirs, "weights")}
        assert {name: other[name] for name in rest} == rest
        assert {name: other[name] for name in theirs} == theirs
        assert (one["weights"] == other["weights"]) == (one["network"] == "vgg16")
    assert len({one["weights"] for one in asked}) == 6 + 4
    assert [one["n_stability"] for one in plain] == [4, 0] * 3


@pytest.fixture(scope="module")
def weights(made: Made) -> Path:
    own = [one for one in made.learnt if one["network"] == "densenet40"]
    return saving.save_weights(made.out / "weights" / "densenet40.safetensors", own, HEADER)


def test_saved_networks_predict_as_the_trained_ones(weights: Path, made: Made) -> None:
    found = saving.load_weights(weights)
    assert {name: found[name] for name in HEADER} == HEADER
    assert found["n_folds"] == len(found["networks"]) == 2
    assert found["architecture"] == made.learnt[2]["architecture"]
    pixels, _ = patches.load(made.folder)
    for fold, network in enumerate(found["networks"]):
        one = made.learnt[2 + fold]
        again = predict(pixels, one["rows"].numpy(), network, T, **EXACT)
        for name in learning.PARTS:
            np.testing.assert_array_equal(again[name], one[name])
    means = [predict(pixels, [0, 1], network, T, **EXACT)["mean"] for network in found["networks"]]
    assert not np.array_equal(*means)  # the folds' networks are not one network twice


def test_weights_in_a_sentence() -> None:
    header = HEADER | {"architecture": {"network": "vgg16"}, "n_folds": 5}
    assert saving.described(header) == (
        "vgg16, 5 folds; patches of 32 px, channels adhesions, actin, membrane; modes from labels"
    )
    assert "32 px of frames 2 times smaller, channels" in saving.described(header | {"downsample": 2})


def test_files_that_are_no_weights_of_this_chapter_are_refused(weights: Path, made: Made, tmp_path: Path) -> None:
    refusal = "cannot be read as weights of the migration chapter"
    with pytest.raises(DataError, match=f"none.safetensors: {refusal}"):
        saving.load_weights(tmp_path / "none.safetensors")
    short = tmp_path / "short.safetensors"
    short.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"short.safetensors: {refusal}"):
        saving.load_weights(short)
    text = tmp_path / "text.safetensors"
    text.write_text("not at all")
    with pytest.raises(DataError, match=f"text.safetensors: {refusal}"):
        saving.load_weights(text)
    with pytest.raises(DataError, match=refusal):  # one fold's, without the header
        saving.load_weights(made.learnt[0]["file"])
    foreign = save_weights(tmp_path / "foreign.safetensors", {"model.a": torch.zeros(2)}, {"kind": "cytogan"})
    with pytest.raises(DataError, match=refusal):
        saving.load_weights(foreign)
    about = {name: saving.load_weights(weights)[name] for name in saving.HEADER}
    foreign = save_weights(tmp_path / "other.safetensors", {"model.fold0.a": torch.zeros(2)}, about)
    with pytest.raises(DataError, match=refusal):
        saving.load_weights(foreign)


@pytest.mark.parametrize(("channels", "fits"), [
    (("adhesions", "actin", "membrane"), True), (("Adhesions", "ACTIN", "membrane"), True), (("0", "1", "2"), True),
    (("actin", "adhesions", "membrane"), False), (("adhesions", "actin"), False), (("0", "1"), False),
    (("0", "actin", "membrane"), False),
])  # fmt: skip
def test_channels_must_be_those_that_were_learnt_from(channels: tuple[str, ...], fits: bool, made: Made) -> None:
    films = replace(made.films, channels=channels)
    if fits:
        assert saving.require_same(HEADER, films, "a.safetensors") is None
        return
    with pytest.raises(DataError, match=rf"{', '.join(channels)}, and a.safetensors learnt from adhesions, actin, mem"):
        saving.require_same(HEADER, films, "a.safetensors")


def test_numbers_are_no_names(made: Made) -> None:
    numbered = HEADER | {"channels": ["1", "2", "3"]}
    assert saving.require_same(numbered, replace(made.films, channels=("0", "1", "2")), "a") is None
    with pytest.raises(DataError, match="learnt from 1, 2, 3; give films"):
        saving.require_same(numbered, replace(made.films, channels=("0", "1")), "a")


def test_frames_are_a_table_of_their_own(made: Made) -> None:
    points = made.films.points.copy()
    comparison.frames_of(made.learnt, points, made.targets)
    pd.testing.assert_frame_equal(points, made.films.points)
