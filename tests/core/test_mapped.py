"""Rows in a file behave as a list of the same rows does."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.core.mapped import Mapped, having, in_memory, joined, rows_at, values_of
from kd2deploy.core.rows import read_rows, write_rows
from kd2deploy.errors import DataError

ROWS = [{"text": f"text {at}\u2028", "label": at % 3, "share": at / 2} for at in range(7)]


def batches(rows: list[dict[str, Any]], size: int) -> list[Any]:
    return [pyarrow.RecordBatch.from_pylist(rows[at : at + size]) for at in range(0, len(rows), size)]


@given(st.integers(1, 8), st.lists(st.integers(0, 6), max_size=9))
def test_any_choice_of_rows_in_any_order_is_that_of_a_list(size: int, places: list[int]) -> None:
    found = rows_at(Mapped(batches(ROWS, size)), places)
    wanted = [ROWS[place] for place in places]
    assert list(found) == [found[at] for at in range(len(found))] == wanted
    assert list(values_of(found, "text")) == [row["text"] for row in wanted]
    assert list(having(found, "label", [None] * len(places))) == [{**row, "label": None} for row in wanted]
    assert found[1:4] == wanted[1:4]


def test_views_of_views_and_what_is_written_of_them(tmp_path: Path) -> None:
    found = Mapped(batches(ROWS, 3)).having("label", np.arange(7)).at([6, 0, 4]).renamed({"words": "text"})
    found = found.only(["words", "label"]).numbered_anew()
    wanted = [{"words": ROWS[at]["text"], "label": at, "index": place} for place, at in enumerate((6, 0, 4))]
    assert found == wanted
    assert found[-1] == wanted[-1]
    assert list(found.values("index")) == [0, 1, 2]
    write_rows(found, tmp_path / "rows")
    assert [file.name for file in (tmp_path / "rows").iterdir()] == ["rows.arrow"]
    assert read_rows(tmp_path / "rows") == wanted


def test_rows_without_a_column_lack_the_field_and_have_none_once_written(tmp_path: Path) -> None:
    free = [{"text": "free"}]
    one = joined(Mapped(batches(ROWS, 4)), free)
    other = joined(free, Mapped(batches(ROWS, 4)))
    assert isinstance(one, Mapped)
    assert list(one) == [*ROWS, *free]
    assert list(other) == [*free, *ROWS]
    assert list(values_of(one, "label"))[-2:] == [0, None]
    write_rows(one, tmp_path / "rows")
    assert read_rows(tmp_path / "rows")[-1] == {"text": "free", "label": None, "share": None}


def test_what_arrow_cannot_hold_stays_a_list() -> None:
    assert in_memory([{"label": 1}, {"label": "one"}]) is None
    assert joined(Mapped(batches(ROWS, 4)), [{"text": Path("a.png")}]) == [*ROWS, {"text": Path("a.png")}]


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    write_rows(Mapped(batches(ROWS, 4)), tmp_path / "rows")
    (tmp_path / "rows" / "rows.arrow").write_bytes(b"ARROW1")
    with pytest.raises(DataError, match=r"rows.arrow is not a file of rows that can be read"):
        read_rows(tmp_path / "rows")
