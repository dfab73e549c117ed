"""What is refused before hours are spent: every branch, and what is taken at the very edge."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellweak_core import chapters
from cellweak_core.files import DataError
from cellweak_core.migration import networks
from cellweak_core.migration.data import Films
from cellweak_core.migration.refusals import LEAST, LEAST_PX, WORDS, require, require_films
from cellweak_core.parameter_cells import ParameterError


def given(**changed: Any) -> dict[str, Any]:  # noqa: ANN401
    values = chapters.defaults("migration")
    assert set(changed) <= set(values)
    return values | changed


def refused(message: str, **changed: Any) -> None:  # noqa: ANN401
    with pytest.raises(ParameterError, match=message):
        require(given(**changed))


def taken(**changed: Any) -> bool:  # noqa: ANN401
    require(given(**changed))
    return True


def test_the_chapters_own_parameters_are_taken() -> None:
    assert taken()
    assert set(LEAST) | set(WORDS) <= set(given())


@pytest.mark.parametrize("name", ["networks", "motion_by"])
def test_lists_of_words(name: str) -> None:
    known = {"networks": networks.NETWORKS, "motion_by": ("speed", "persistence", "burstiness")}[name]
    for one in known:
        assert taken(**{name: [one]})
    assert taken(**{name: list(known)[::-1]})
    first = known[0]
    for wrong, found in (([], ""), ([first, first], f"{first}, {first}"), ([first, "other"], f"{first}, other")):
        refused(f"{name}: expected some of {', '.join(known)}, each once, got {found}$", **{name: wrong})


@pytest.mark.parametrize(("name", "words", "listed"), [
    ("border", ("edge", "zero"), "edge, zero"),
    ("modes_from", ("", "labels", "motion"), "nothing, labels, motion"),
    ("targets", ("", "ramps", "hard"), "nothing, ramps, hard"),
    ("preset", ("", "authors"), "nothing, authors"),
    ("schedule", ("constant", "cosine", "steps", "fractions"), "constant, cosine, steps, fractions"),
    ("precision", ("32-true", "bf16-mixed"), "32-true, bf16-mixed"),
    ("device", ("auto", "cpu", "cuda", "mps"), "auto, cpu, cuda, mps"),
])  # fmt: skip
def test_words(name: str, words: tuple[str, ...], listed: str) -> None:
    for word in words:
        assert taken(**{name: word})
    refused(f"{name}: expected one of {listed}, got 'label'", **{name: "label"})


@pytest.mark.parametrize("name", LEAST)
def test_least_numbers(name: str) -> None:
    least = LEAST[name]
    few: dict[str, Any] = {"networks": ["resnet50"]}  # takes patches of any size
    assert taken(**few | {name: least})
    refused(f"{name}: expected {least} or more, got {least - 1}", **few | {name: least - 1})


@pytest.mark.parametrize(("name", "message", "wrong", "right"), [
    ("n_stability", "expected 4 samples or more, or 0, got", [1, 3], [0, 4]),
    ("width", "expected a number above 0, got", [0.0, -1.0], [0.01, 2.0]),
    ("lr", "expected a number above 0, got", [0.0, -0.1], [1e-9, 1.0]),
    ("test_share", "expected 0 or more and less than 1, got", [-0.1, 1.0], [0.0, 0.99]),
    ("motion_quantile", "expected a number between 0 and 1, got", [0.0, 1.0, -1.0, 2.0], [0.01, 0.99]),
])  # fmt: skip
def test_ranges(name: str, message: str, wrong: list[float], right: list[float]) -> None:
    for value in right:
        assert taken(**{name: value})
    for value in wrong:
        refused(f"{name}: {message} {value}$", **{name: value})


@pytest.mark.parametrize("name", [name for name, value in given().items() if isinstance(value, float)])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(name: str, value: float) -> None:
    # a command line's "-p weight_decay nan" is a float too
    with pytest.raises(ParameterError) as refusal:
        require(given(**{name: value}))
    assert str(refusal.value) == f"{name}: expected a finite number, got {value}"


def test_rates_of_dropout() -> None:
    assert taken(dropout=0.0, cap=0.0, growth=0.0)
    assert taken(dropout=0.5, cap=0.5, growth=3.0)
    message = "dropout, cap, growth: expected 0 <= dropout <= cap < 1 and growth of 0 or more, got {}, {}, {}$"
    for rates in ((-0.1, 0.5, 0.1), (0.6, 0.5, 0.1), (0.1, 1.0, 0.1), (0.1, 0.5, -0.1)):
        dropout, cap, growth = rates
        refused(message.format(dropout, cap, growth), dropout=dropout, cap=cap, growth=growth)


def test_patches_that_are_too_small_are_those_that_a_network_refuses() -> None:
    for network in networks.NETWORKS:
        smallest = networks.build({"network": network, "n_channels": 1, "width": 0.05}).smallest_px
        assert LEAST_PX.get(network, 1) == smallest
        px = max(smallest, LEAST["size_px"])
        assert taken(networks=[network], size_px=px)
        if smallest > LEAST["size_px"]:
            refused(f"size_px: {network} takes {px} px or more, got {px - 1}", networks=[network], size_px=px - 1)
    # one of several is enough
    refused("size_px: vgg16 takes 32 px or more, got 31", networks=["resnet18", "vgg16"], size_px=31)


def test_channels_of_one_name_are_refused() -> None:
    points = pd.DataFrame({"sequence": ["a"], "cell": ["a/0"], "frame": [0], "x": [1.0], "y": [1.0]})
    films = {"a": np.zeros((1, 3, 4, 4), np.uint8)}
    assert require_films(Films(films, ("adhesions", "actin", "membrane"), points, "mine")) is None
    for names, twice in ((("a", "b", "a"), "a"), (("DNA", "actin", "dna"), "dna")):
        with pytest.raises(DataError, match=f"channels: {twice} is there twice; give each its own name"):
            require_films(Films(films, names, points, "mine"))
