"""Representations, generated and repeated cells, and weights as a file that fits or is refused."""

import json
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from cellweak_core import cytogan
from cellweak_core.cytogan import encoding, variants
from cellweak_core.cytogan.conditions import compounds_of, conditions
from cellweak_core.cytogan.networks import FAMILY, build
from cellweak_core.cytogan.reading import prepared
from cellweak_core.cytogan.training import MODEL
from cellweak_core.files import DataError
from cellweak_core.screens.crops import Crops, load_crops, write_crops
from cellweak_core.screens.simulate import Plan, simulate_screen

FEW = Plan(n_mechanisms=2, compounds=1, doses=1, batches=1, replicates=2, cells=3, controls=2, size_px=32)
PLAIN: dict[str, Any] = {"device": "cpu", "precision": "32-true"}
ALL = [*variants.MODELS, "c-lsgan both"]


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Crops:
    folder = write_crops(simulate_screen(FEW), tmp_path_factory.mktemp("screen"))
    return load_crops(folder, channels=("DNA", "tubulin", "actin"))


def made(name: str, crops: Crops, **own: Any) -> dict[str, Any]:  # noqa: ANN401
    """A model as after training: random weights, moving statistics that are not the start's."""
    model, _, both = name.partition(" ")
    run = {"model": model, "width": 0.05, "latent": 6, "noise": 6, "size_px": 16, **own}
    run |= {"conditions": both} if both else {}
    architecture = variants.architecture_of(
        variants.settings(run), crops.channels, crops.size[0], compounds_of(crops.cells)
    )
    torch.manual_seed(0)
    networks = build(architecture)
    for name, buffer in networks.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    return {"architecture": architecture} | {MODEL + key: value for key, value in networks.state_dict().items()}


def told(trained: dict[str, Any], crops: Crops, n: int) -> np.ndarray | None:
    of = trained["architecture"]
    return conditions(crops.cells.iloc[:n], of["conditions"], of["compounds"])


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    """The same but for rounding, in units of the largest number: thin networks' outputs are small."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ALL)
def test_representations_are_the_encoders(name: str, screen: Crops) -> None:
    trained = made(name, screen)
    rows = np.array([7, 0, 3, 3, 11])
    found = encoding.encode(screen, rows, trained, **PLAIN)
    assert found.shape == (5, 6)
    assert found.dtype == np.float32
    networks: Any = encoding.rebuilt(trained, build)
    x = prepared(torch.from_numpy(screen.raw(rows)), 16)
    kind = trained["architecture"]["kind"]
    if kind == "bigan":
        expected = networks["encoder"](x)
    elif kind in ("vae", "autoencoder"):
        expected = networks["autoencoder"].encode(x)
    else:
        expected = networks["discriminator"].encode(x)
    assert_near(found, expected.detach().numpy())
    assert_near(found[2], found[3])
    assert np.abs(found[0] - found[1]).max() > 0.01 * np.abs(found).max()
    # no noise is left on, and no cell's numbers depend on its batch
    np.testing.assert_array_equal(found, encoding.encode(screen, rows, trained, **PLAIN))
    assert_near(encoding.encode(screen, rows, trained, batch_size=2, **PLAIN), found)
    mask = np.zeros(len(screen), bool)
    mask[[0, 3]] = True
    assert_near(encoding.encode(screen, mask, trained, **PLAIN), found[[1, 2]])
    assert encoding.encode(screen, [], trained, **PLAIN).shape == (0, 6)


def test_representations_in_bf16_are_near(screen: Crops) -> None:
    trained, rows = made("lsgan", screen), np.arange(len(screen))
    exact, fast = (encoding.encode(screen, rows, trained, device="cpu", precision=p) for p in ("32-true", "bf16-mixed"))
    assert fast.dtype == np.float32
    cosine = (exact * fast).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(fast, axis=1)
    assert cosine.min() > 0.999
    assert not np.array_equal(exact, fast)


@pytest.mark.parametrize("name", [name for name in ALL if name != "autoencoder"])
def test_cells_of_noise(name: str, screen: Crops) -> None:
    trained = made(name, screen)
    z = encoding.noise(trained, 5, seed=3)
    before = z.copy()
    found = encoding.generate(trained, z, told(trained, screen, 5), **PLAIN)
    assert found.shape == (5, 3, 16, 16)
    assert found.dtype == np.float32
    assert (np.abs(found) <= 1).all()
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(z, before)
    in_parts = encoding.generate(trained, z, told(trained, screen, 5), batch_size=2, **PLAIN)
    assert_near(in_parts, found)
    np.testing.assert_array_equal(z, encoding.noise(trained, 5, seed=3))
    assert not np.array_equal(z, encoding.noise(trained, 5, seed=4))
    none = told(trained, screen, 0)
    assert encoding.generate(trained, z[:0], none, **PLAIN).shape == (0, 3, 16, 16)
    with pytest.raises(ValueError, match=r"z: expected \(n, 6\), got \(5, 4\)"):
        encoding.generate(trained, z[:, :4])


def test_noise_is_the_priors(screen: Crops) -> None:
    normal, uniform, code = (
        encoding.noise(made(name, screen, **own), 2000, 0)
        for name, own in (("lsgan", {}), ("bigan", {}), ("vae", {"latent": 4}))
    )
    assert abs(normal.mean()) < 0.05
    assert normal.std() == pytest.approx(1, abs=0.03)
    assert 0 <= uniform.min() < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert code.shape == (2000, 4)
    with pytest.raises(ValueError, match="an autoencoder's codes follow no known noise"):
        encoding.noise(made("autoencoder", screen), 3, 0)


def test_conditional_cells_depend_on_what_is_told(screen: Crops) -> None:
    trained = made("c-lsgan both", screen)
    z = encoding.noise(trained, 2, 0)
    n = trained["architecture"]["n_conditions"]
    assert n == 1 + screen.cells["compound"].nunique()
    first, second = (encoding.generate(trained, z, np.full((2, n), v), **PLAIN) for v in (0.0, 1.0))
    assert not np.allclose(first, second)
    with pytest.raises(ValueError, match=r"condition: expected \(2, \d\), got none"):
        encoding.generate(trained, z, **PLAIN)
    with pytest.raises(ValueError, match="condition: expected 2 rows, one for each noise vector, got 3"):
        encoding.generate(trained, z, np.zeros((3, n)), **PLAIN)
    with pytest.raises(ValueError, match="condition: this model was built without one"):
        encoding.generate(made("lsgan", screen), z, np.zeros((2, n)), **PLAIN)


@pytest.mark.parametrize("name", [name for name in ALL if name.split()[0].removeprefix("c-") not in FAMILY])
def test_cells_repeated(name: str, screen: Crops) -> None:
    trained, rows = made(name, screen), np.array([4, 0, 4])
    found = encoding.reconstruct(screen, rows, trained, **PLAIN)
    shown = encoding.inputs(screen, rows, trained)
    assert found.shape == shown.shape == (3, 3, 16, 16)
    assert shown.min() >= -1
    assert shown.max() == pytest.approx(1)
    assert (np.abs(found) <= 1).all()
    assert_near(found[0], found[2])
    if name == "vae":
        code = encoding.encode(screen, rows, trained, **PLAIN)
        assert_near(found, encoding.generate(trained, code, **PLAIN))


@pytest.mark.parametrize("kind", FAMILY)
def test_the_dcgan_family_cannot_repeat_a_cell(kind: str, screen: Crops) -> None:
    with pytest.raises(ValueError, match=f"{kind} has no way from a cell's code back to a cell"):
        encoding.reconstruct(screen, [0], made(kind, screen))


def test_unknown_compounds_are_encoded_but_not_repeated(screen: Crops) -> None:
    trained = made("c-began", screen, conditions="both")
    known = trained["architecture"]["compounds"]
    cells = screen.cells.assign(compound=screen.cells["compound"].replace(known[1], "new"))
    strange = Crops(screen.parts, screen.axes, screen.channels, cells, "strange")
    rows = np.arange(len(screen))
    same = encoding.encode(screen, rows, trained, **PLAIN)
    np.testing.assert_array_equal(encoding.encode(strange, rows, trained, **PLAIN), same)
    with pytest.raises(DataError, match=r"compound 'new' is none of the \d that this model was trained with"):
        encoding.reconstruct(strange, rows, trained, **PLAIN)


@pytest.mark.parametrize("name", ALL)
def test_weights_come_back_bit_for_bit_with_what_they_belong_to(name: str, screen: Crops, tmp_path: Path) -> None:
    trained = made(name, screen)
    path = encoding.save_weights(tmp_path / "new" / "a.safetensors", trained)
    found = encoding.load_weights(path, screen)
    assert found["architecture"] == trained["architecture"]
    assert found.keys() == trained.keys()
    assert all(torch.equal(found[key], trained[key]) for key in trained if key.startswith(MODEL))
    assert [one.name for one in path.parent.iterdir()] == ["a.safetensors"]  # nothing half-written is left
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["architecture"])
    assert header["channels"] == ["DNA", "tubulin", "actin"]
    assert (header["model"], header["crop_px"], header["size_px"]) == (name.split()[0], 32, 16)
    assert (header["width"], header["scaling"]) == (0.05, "maximum")


def test_weights_of_other_channels_or_another_size_are_refused(screen: Crops, tmp_path: Path) -> None:
    path = encoding.save_weights(tmp_path / "a.safetensors", made("lsgan", screen))
    swapped = Crops(screen.parts, screen.axes, ("DNA", "actin", "tubulin"), screen.cells, "swapped")
    with pytest.raises(DataError, match="swapped: channels DNA, actin, tubulin; the model was trained on DNA, tubulin"):
        encoding.load_weights(path, swapped)
    smaller = Crops([screen.parts[0][..., :24, :24]], screen.axes, screen.channels, screen.cells, "smaller")
    with pytest.raises(DataError, match="smaller: crops of 24 x 24 px; the model was trained on 32 x 32 px"):
        encoding.load_weights(path, smaller)
    one = Crops([screen.parts[0][:, :1]], screen.axes, ("DNA",), screen.cells, "one")
    for call in (encoding.encode, encoding.reconstruct):
        with pytest.raises(DataError, match="one: channels DNA; the model was trained on DNA, tubulin, actin"):
            call(one, [0], made("vae", screen), **PLAIN)
    with pytest.raises(DataError, match="one: channels DNA;"):
        encoding.inputs(one, [0], made("vae", screen))


def test_files_that_are_no_weights_are_refused(screen: Crops, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as weights of the cytogan chapter"):
        encoding.load_weights(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(DataError, match="cannot be read as weights of the cytogan chapter"):
        encoding.load_weights(tmp_path / "text.safetensors")
    trained = made("lsgan", screen)
    trained["architecture"] = {**trained["architecture"], "width": 0.5}  # not these weights'
    encoding.save_weights(tmp_path / "other.safetensors", trained)
    with pytest.raises(DataError, match="cannot be read as weights of the cytogan chapter"):
        encoding.load_weights(tmp_path / "other.safetensors")


def test_the_wing_lends_its_names_out(screen: Crops, tmp_path: Path) -> None:
    trained = made("lsgan", screen)
    path = cytogan.save_weights(tmp_path / "a.safetensors", trained)
    loaded = cytogan.load_weights(path, screen)
    assert cytogan.encode(screen, range(3), loaded, **PLAIN).shape == (3, 6)
    assert cytogan.generate(loaded, cytogan.noise(loaded, 2, seed=0), **PLAIN).shape == (2, 3, 16, 16)
    assert set(cytogan.__all__) <= set(dir(cytogan))
    assert callable(cytogan.train)
    # a name that is a file's too would be the function or the file, by what was imported first
    assert not set(cytogan.__all__) & {module.name for module in pkgutil.iter_modules(cytogan.__path__)}
