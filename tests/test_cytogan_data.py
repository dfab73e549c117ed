"""The chapter's cells: which train, at what size, in which colours; what `check` says; what is refused before work."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellweak_core import chapters
from cellweak_core.cytogan import (
    data,
    encoding,
    exploring,
    latent,
    pictures,
    products,
    properties,
    refusals,
    reporting_latent,
)
from cellweak_core.files import DataError
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.simulate import Plan, simulate_screen

PLAN = Plan(n_mechanisms=2, compounds=2, doses=1, batches=2, replicates=2, cells=2, controls=2, size_px=40)
NAMED = ("DNA", "tubulin", "actin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crops(simulate_screen(PLAN, 1), tmp_path_factory.mktemp("screen"))


@pytest.fixture
def screen(folder: Path) -> Crops:
    return load_crops(folder, channels=NAMED)


def edited(folder: Path, to: Path, **columns: object) -> Path:
    """The same screen with other columns; None takes one out."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    table = next(path for path in to.iterdir() if path.name.startswith("cells"))
    cells = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table)
    gone = [name for name, value in columns.items() if value is None]
    cells = cells.drop(columns=gone).assign(**{k: v for k, v in columns.items() if v is not None})
    cells.to_parquet(table) if table.suffix == ".parquet" else cells.to_csv(table, index=False)
    return to


def test_the_side_is_the_largest_multiple_that_the_crops_have(screen: Crops) -> None:
    assert data.side_of(screen) == 32
    assert data.side_of(screen, 64) == 64


def test_crops_that_are_not_square_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "crops.npy", np.ones((2, 3, 32, 48), np.uint8))
    pd.DataFrame({"plate": "1", "well": "A01", "compound": ["DMSO", "taxol"]}).to_csv(tmp_path / "cells.csv")
    with pytest.raises(DataError, match="crops of 32 x 48 px, expected square ones"):
        data.side_of(load_crops(tmp_path, axes="NCHW"))


def test_held_out_replicates_train_nothing(screen: Crops) -> None:
    held = data.held_out_cells(screen.cells, ["2"])
    assert np.array_equal(held, screen.cells["replicate"].astype(str) == "2")
    assert not data.held_out_cells(screen.cells, []).any()
    with pytest.raises(DataError, match="no replicate 7 to hold out; found 1, 2"):
        data.held_out_cells(screen.cells, ["7"])
    with pytest.raises(DataError, match="no treated cell is left to train on"):
        data.held_out_cells(screen.cells, ["1", "2"])
    with pytest.raises(DataError, match="no column replicate"):
        data.held_out_cells(screen.cells.drop(columns="replicate"), ["2"])


def test_colours_follow_names_or_the_order() -> None:
    assert data.colours_of(NAMED, "draft") == "draft"
    assert data.colours_of(("a", "b"), "final") == "in order"
    with pytest.raises(ValueError, match="mapping: expected one of draft, final, in order"):
        data.colours_of(NAMED, "green")


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("models", ["lsgan", "gan"], "models: expected some of dcgan.*got lsgan, gan"),
        ("models", [], "models: expected some"),
        ("models", ["vae", "vae"], "each once, got vae, vae"),
        ("mapping", "paper", "mapping: expected one of draft, final, in order, got 'paper'"),
        ("cnn_layer", "conv4a", r"cnn_layer: expected one of res2a.*got 'conv4a'"),
        ("scaling", "full", "scaling: expected one of maximum, range, got 'full'"),
        ("n_seeds", 0, "n_seeds: expected 1 or more, got 0"),
        ("n_base", 1, "n_base: expected 2 or more, got 1"),
        ("n_noise", 19, "n_noise: expected 20 or more, got 19"),
        ("critic_steps", 0, "critic_steps: expected 1 or more"),
        ("n_generated", 3, "n_generated: expected 4 or more, or 0, got 3"),
        ("n_generated", -5, "n_generated: expected 4 or more, or 0, got -5"),
        ("size_px", 16, "size_px: expected 32 or more, or 0, got 16"),
        ("size_px", 40, "size_px: expected a multiple of 16, got 40"),
    ],
)
def test_parameters_that_cannot_be_are_refused_first(name: str, value: object, match: str) -> None:
    given = chapters.defaults("cytogan")
    refusals.require(given)
    with pytest.raises(chapters.ParameterError, match=match):
        refusals.require(given | {name: value})


def test_cells_that_would_fail_after_the_training_are_refused_first(folder: Path, tmp_path: Path) -> None:
    crops = load_crops(folder, channels=NAMED)
    cells = crops.cells
    refusals.require_cells(crops, ["c-lsgan"])
    one = (cells["control"] & (cells.index != cells[cells["control"]].index[0])).to_numpy()
    fewer = Crops([crops.raw(~one)], "NCHW", NAMED, cells[~one].reset_index(drop=True), "few")
    with pytest.raises(DataError, match=r"few: 1 control cells of 1 site \(or wells\), expected 2 or more"):
        refusals.require_cells(fewer, ["lsgan"])
    gap = edited(folder, tmp_path / "gap", site=[""] + ["1"] * (len(cells) - 1))
    with pytest.raises(DataError, match="row 0 has no site; fill it in, or leave the column out"):
        refusals.require_cells(load_crops(gap), ["lsgan"])
    below = load_crops(edited(folder, tmp_path / "below", concentration=-1.5))
    refusals.require_cells(below, ["lsgan"])
    with pytest.raises(DataError, match=r"expected 0 or above for a conditional model; or leave c-began out"):
        refusals.require_cells(below, ["lsgan", "c-began"])
    with pytest.raises(DataError, match="channels: dna is there twice"):
        refusals.require_cells(load_crops(folder, channels=("DNA", "dna", "actin")), ["lsgan"])


def test_check_reads_every_pixel(folder: Path, tmp_path: Path) -> None:
    other = edited(folder, tmp_path / "nan")
    pixels = load_crops(folder).raw(np.arange(32)).astype(np.float32)
    held = np.flatnonzero(load_crops(folder).cells["replicate"].astype(str) == "2")[-1]
    pixels[held, 0, 3, 3] = np.nan
    np.save(other / "crops.npy", pixels)
    with pytest.raises(DataError, match=f"crop {held} "):
        list(data.check(other))


def test_check_says_what_is_there_and_what_would_be_done(folder: Path, tmp_path: Path) -> None:
    said = "\n".join(data.check(folder, channels=NAMED))
    assert "networks work at 32 px, resized from 40" in said
    assert "16 cells train, 16 are held out" in said
    assert "Fig. 3" not in said
    assert "no mechanism" not in said
    bare = edited(folder, tmp_path / "bare", moa=None)
    said = "\n".join(data.check(bare, held_out=[]))
    assert "32 cells train, 0 are held out" in said
    assert "no mechanism is known (column moa): cells can be generated, but Table 1 not asked" in said
    assert "no channels named DNA, actin and tubulin (-p channels): no Fig. 3" in said


def test_a_treatment_of_two_mechanisms_is_refused_first(folder: Path, screen: Crops, tmp_path: Path) -> None:
    cells = screen.cells
    other = np.where((cells["compound"] == cells.loc[~screen.control, "compound"].iloc[0]) & (cells.index % 2 == 0),
                     "another", cells["moa"])  # fmt: skip
    crops = load_crops(edited(folder, tmp_path / "two", moa=other), channels=NAMED)
    with pytest.raises(DataError, match="mechanism"):
        refusals.has_mechanisms(crops)
    assert refusals.has_mechanisms(screen)


def test_profiles_have_no_pixels(tmp_path: Path) -> None:
    pd.DataFrame({"plate": ["1"], "well": ["A01"], "compound": ["DMSO"], "x": [1.0]}).to_csv(tmp_path / "p.csv")
    with pytest.raises(DataError, match="profiles have no pixels; this chapter needs crops of cells, or fields"):
        data.require_pixels(tmp_path)


def test_the_overview_counts(screen: Crops) -> None:
    held = data.held_out_cells(screen.cells, ["2"])
    row = data.overview(screen, held, 32).iloc[0]
    assert (row["cells"], row["of controls"], row["train"], row["held out"]) == (32, 16, 16, 16)
    assert (row["compounds"], row["mechanisms"], row["networks at"]) == (4, 2, "32 px")


# --- Fig. 2, Fig. 3 ------------------------------------------------------------------------------------------------


def disc(z: np.ndarray, device: str = "cpu") -> np.ndarray:
    """A generator whose meaning is known: the first number is the nucleus' radius, the second the light of tubulin."""
    y, x = np.mgrid[:32, :32] - 15.5
    radius = 7 + 1.2 * np.clip(z[:, 0], -2, 2)
    inside = x**2 + y**2 < radius[:, None, None] ** 2
    images = np.full((len(z), 3, 32, 32), -1.0)
    images[:, 0] = np.where(inside, 1, -1)
    images[:, 1] = np.tanh(z[:, 1])[:, None, None] * 0.8
    images[:, 2] = 0.1
    return images.astype(np.float32)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    monkeypatch.setattr(exploring, "generate", lambda trained, z, device="auto": disc(np.asarray(z)))
    monkeypatch.setattr(products, "generate", lambda trained, z, device="auto": disc(np.asarray(z)))
    return {"architecture": {"channels": list(NAMED), "noise": 6, "kind": "lsgan"}}


@pytest.mark.parametrize("way", latent.WAYS)
def test_a_known_direction_is_found_and_changes_its_property_only(way: str, known: dict[str, object]) -> None:
    own, other = "tubulin intensity", "nucleus area"
    one = exploring.explored(known, own, way, n_noise=200, n_base=30, n_shown=2)
    assert abs(one.found.vector[1]) > 0.9
    assert one.found.r2 > 0.7
    means = one.means.set_index(["along", "strength", "property"])
    assert means.loc[(own, 1.0, own), "low"] > 0.5
    assert means.loc[(own, -1.0, own), "high"] < -0.5
    assert abs(means.loc[(own, 1.0, other), "value"]) < 0.4
    assert one.sums.shape == (2, 4, 32, 32, 3)
    assert one.along.shape == (2, 5, 32, 32, 3)
    base = encoding.noise(known, 30, 1)[:1].astype(float)
    assert np.array_equal(one.along[0, 2], pictures.rgb(disc(base), NAMED, "draft")[0])
    shades = [float(text) for text in one.along_captions[0]]
    assert shades == sorted(shades)
    expected = properties.measure(disc(base), NAMED)[own][0]
    assert one.sum_captions[0][2] == f"{expected:.2f}"
    table = exploring.effects({(own, way): one})
    assert table["direction"].tolist() == [f"{own}, by {way}"] * 2
    assert table[own][0].startswith("+")
    assert set(exploring.means_of({(own, way): one})["direction"]) == {f"{own}, by {way}"}
    assert len(exploring.effects({})) == 0


def test_a_property_that_nothing_changes_is_refused(known: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"actin intensity: .* in all generated cells, so nothing can change it"):
        exploring.explored(known, "actin intensity", "regression", n_noise=40, n_base=5)


def test_both_ways_between_two_cells(known: dict[str, object]) -> None:
    rows, norms, steps = products.ways(known, NAMED, "draft", 0)
    ends = encoding.noise(known, 2 * products.N_PAIRS, 2).astype(float)
    for name in ("slerp", "linear"):
        assert rows[name].shape == (products.N_SHOWN, 32, 32, 3)
        for k, z in ((0, ends[0]), (-1, ends[products.N_PAIRS])):
            assert np.array_equal(rows[name][k], pictures.rgb(disc(z[None]), NAMED, "draft")[0])
    assert norms.groupby("way")["pair"].nunique().tolist() == [products.N_PAIRS] * 2
    for name, way in products.WAYS.items():
        images = disc(way(ends[3], ends[3 + products.N_PAIRS], np.linspace(0, 1, products.N_SHOWN)))
        own = [float(np.sqrt(((b - a) ** 2).sum())) for a, b in itertools.pairwise(images.astype(float))]
        np.testing.assert_allclose(steps[name][3], own)
        row = next(one for one in reporting_latent.smoothness_rows("LSGAN", steps) if name in one["column"])
        assert row["value"] == pytest.approx(np.mean([one.max() / one.mean() for one in steps[name]]))
    middle = norms[(norms["t"] == 0.5) & (norms["pair"] == 0)].set_index("way")["norm"]
    assert middle["linear"] < middle["slerp"]


def test_sheets_have_generated_cells_over_real_ones(tmp_path: Path) -> None:
    from matplotlib.image import imread

    made, real = np.full((24, 3, 16, 16), 1.0, np.float32), np.full((24, 3, 16, 16), -0.5, np.float32)
    assert products.write_sheets(tmp_path / "sheets", {"C-LSGAN": made}, real, NAMED, "draft") == ["sheets/c-lsgan.png"]
    image = imread(tmp_path / "sheets" / "c-lsgan.png")
    assert image[2, 2, 0] == pytest.approx(1)
    assert image[-3, 3, 0] == pytest.approx(0.25, abs=0.01)
