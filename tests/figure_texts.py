"""What tests of figures share: figures that are closed after each test, and their texts."""

from collections.abc import Iterator

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    import matplotlib as mpl

    mpl.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def words(figure: Figure) -> str:
    """Every text of a figure, drawn."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text))
