"""What the authors wrote down and when: Table 1 changed from draft to draft, and the draft of this chapter has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..published import load

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "Recorded runs "
PRINTED = "paper 2017-11-30"
DRAFTS = {"Recorded runs paper 2017-11-14": "Recorded runs drafts to 2017-11-14"}
DRAFT_TABLE = ("LSGAN", "BEGAN")  # what the draft announces
COLUMN = "MOA accuracy"


LAST = "Recorded runs README 2017-10-27"
NAMED_AS = {"C-BEGAN, concentration only": "C-BEGAN"}


def with_diary(table: pd.DataFrame, digits: int = 0) -> pd.DataFrame:
    """A table of methods with the last values of the authors' diary behind the methods' names.

    Args:
        table: With a column `method`.
        digits: Behind the point.

    Returns:
        The same with a column "diary, 2017-10-27", such as "68 (76 whitened)"; "" where the diary has none.
    """
    own = load("cytogan")
    own = own[(own["item"] == LAST) & own["value"].notna()]
    own = own.assign(row=own["row"].replace(NAMED_AS))
    columns = COLUMN, f"{COLUMN}, whitened"
    plain, white = (own[own["column"] == column].set_index("row")["value"] for column in columns)
    texts = [
        (f"{plain[name]:.{digits}f}" if name in plain else "")
        + (f" ({white[name]:.{digits}f} whitened)" if name in white else "")
        for name in table["method"]
    ]
    out = table.copy()
    out.insert(1, "diary, 2017-10-27", texts)
    return out


def recorded_by_authors() -> pd.DataFrame:
    """MOA accuracies (%, over compounds) by date, from the authors' diary, their drafts, the poster and the paper.

    Returns:
        `representation` (a model, ", whitened" behind it where it was), and a column for each source, by date; text,
        "" where there is no value. Models of the draft's own Table 1 first. Figures that the authors cite from others
        are not theirs to change and are left out.
    """
    import pandas as pd

    table = load("cytogan")
    own = table["column"].str.startswith(COLUMN) & table["value"].notna()
    found = table[own & ~table["note"].str.contains("cited")]
    source = found["item"].replace(DRAFTS).str.removeprefix(PREFIX).where(found["kind"] == "recorded", PRINTED)
    doubt = found["note"].str.contains("uncertain").map({True: "?", False: ""})
    texts = pd.DataFrame({
        "name": found["row"] + found["column"].str.removeprefix(COLUMN), "source": source,
        "text": found["value"].map("{:g}".format) + doubt,
    })  # fmt: skip
    wide = texts.pivot(index="name", columns="source", values="text").fillna("")
    # the poster, which has no date, last
    across = sorted(map(str, wide), key=lambda one: (not one[-1].isdigit(), one.rpartition(" ")[2], one))
    first = {name: at for at, name in enumerate(DRAFT_TABLE)}
    down = sorted(map(str, wide.index), key=lambda one: (first.get(one.partition(",")[0], len(first)), one))
    return wide.loc[down, across].rename_axis(columns=None).rename_axis("representation").reset_index()
