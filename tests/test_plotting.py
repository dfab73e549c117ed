import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cellweak_core.markdown import escape, myst_table, prose
from cellweak_core.plotting import COLOURS, PALETTE, bare, image_grid, show_table, style


def test_style_is_only_inside_the_block() -> None:
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["figure.facecolor"] == "white"
        assert mpl.rcParams["figure.dpi"] == 160
        assert min(mpl.rcParams[name] for name in ("font.size", "axes.labelsize", "axes.titlesize")) >= 9
        assert min(mpl.rcParams[f"{axis}tick.labelsize"] for axis in "xy") >= 9
        assert tuple(mpl.rcParams["axes.prop_cycle"].by_key()["color"]) == COLOURS
    assert dict(mpl.rcParams) == before


def test_style_is_left_when_the_block_fails() -> None:
    before = mpl.rcParams["figure.dpi"]
    with pytest.raises(RuntimeError), style():
        raise RuntimeError
    assert mpl.rcParams["figure.dpi"] == before


def test_the_same_data_give_the_same_svg() -> None:
    def draw() -> bytes:
        with style():
            figure = Figure()
            figure.subplots().plot([1, 2, 3], label="a")
            file = io.BytesIO()
            figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()

    assert draw() == draw()


def _relative_luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_colours_stand_out_from_white() -> None:
    for name, colour in {**PALETTE, **dict.fromkeys(COLOURS, "")}.items():
        contrast = 1.05 / (_relative_luminance(colour or name) + 0.05)
        assert contrast > 2.0, name
    assert PALETTE["gan"] != PALETTE["conventional"]


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (3, 1, 3), (4, 1, 4), (5, 2, 4), (9, 3, 4)])
def test_image_grid_places_every_image_once(n: int, rows: int, columns: int) -> None:
    images = np.arange(n * 6, dtype=np.uint8).reshape(n, 2, 3)
    axes = image_grid(Figure(), images, n_columns=4, titles=[str(i) for i in range(n)])
    assert axes.shape == (rows, columns)
    for index, axis in enumerate(axes.flat):
        assert axis.get_visible() == (index < n)
        if index < n:
            np.testing.assert_array_equal(axis.images[0].get_array(), images[index])
            assert axis.images[0].get_clim() == (0, n * 6 - 1)
            assert axis.get_title() == str(index)


def test_image_grid_takes_colour_nan_and_a_given_range() -> None:
    axes = image_grid(Figure(), [np.full((2, 2), np.nan), np.ones((2, 2, 3))], value_range=(0, 2))
    assert axes[0, 0].images[0].get_clim() == (0, 2)
    assert axes[0, 1].images[0].get_array().shape == (2, 2, 3)
    assert image_grid(Figure(), [np.full((2, 2), np.nan)])[0, 0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        (np.zeros((0, 4, 4)), None, "at least one image"),
        (np.zeros((2, 3, 4, 2)), None, r"image 0: expected \(H, W\) or \(H, W, 3\|4\), given \(3, 4, 2\)"),
        (np.zeros((2, 4, 4)), ["a"], "expected 2 titles"),
    ],
)
def test_image_grid_says_what_is_wrong(
    images: np.ndarray, titles: list[str] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        image_grid(Figure(), images, titles=titles)


def test_bare_leaves_no_ticks() -> None:
    axis = Figure().subplots()
    bare(axis)
    assert len(axis.get_xticks()) == len(axis.get_yticks()) == 0
    assert not any(spine.get_visible() for spine in axis.spines.values())


FRAME = pd.DataFrame({"method": ["a|b*", "<i>x_1</i>"], "value": [0.12345, float("nan")], "n": [20, 3]})


def test_show_table_is_html_in_jupyter_and_numbered_in_the_book() -> None:
    table = show_table(FRAME, "Accuracy, {cite:t}`wang2019`", "tab-x")
    assert "&lt;i&gt;" in table._repr_html_()
    assert 'class="cw-scroll"' in table._repr_html_()
    text = table._repr_markdown_()
    assert text.startswith(":::{table} Accuracy, {cite:t}`wang2019`\n:name: tab-x\n\n| method | value |")
    assert text.rstrip().endswith(":::")
    assert r"| a\|b\* | 0.123 | 20 |" in text
    assert r"\<i\>x\_1\</i\>" in text
    assert "a|b*" in repr(table)


def test_a_table_without_caption_is_bare() -> None:
    assert show_table(FRAME)._repr_markdown_().startswith("| method | value | n |\n|:---|---:|---:|\n")
    assert "<caption>" not in show_table(FRAME)._repr_html_()


def test_raw_columns_are_left_alone() -> None:
    assert "{doc}`x`" in myst_table(pd.DataFrame({"a": ["{doc}`x`"]}), raw=["a"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  b\nc", "a b c"),
        ("x_1 *y* $z$ [l](u)", r"x\_1 \*y\* \$z\$ \[l\](u)"),
        ("``a_b`` and c_d", r"`a_b` and c\_d"),
        (":class:`~torch.Tensor` or `x`", "`torch.Tensor` or `x`"),
    ],
)
def test_prose_keeps_code_and_escapes_the_rest(text: str, expected: str) -> None:
    assert (prose(text) if "`" in text else escape(text)) == expected
