"""Reading ahead: in order, no farther than asked, errors in their turn."""

import pytest

from cellweak_core.files import DataError
from cellweak_core.screens.reading import ahead


def test_reading_ahead_keeps_the_order_and_tells_of_errors_in_turn() -> None:
    read = []

    def slowly(k: int) -> int:
        read.append(k)
        if k == 3:
            raise DataError("row 3")
        return k * k

    batches = ahead(slowly, range(5))
    assert [next(batches) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(DataError, match="row 3"):
        next(batches)
    assert list(ahead(slowly, [])) == []


def test_no_more_is_read_than_depth_beside_what_is_in_use() -> None:
    read = []
    batches = ahead(lambda k: read.append(k) or k, range(100), depth=3)
    assert [next(batches) for _ in range(5)] == list(range(5))
    batches.close()  # waits for the thread
    assert max(read) <= 4 + 3
    assert read == list(range(len(read)))
