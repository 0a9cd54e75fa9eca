"""Rows out of columns: what goes in comes out, and little is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.core import Ragged, Selection, Table

ROWS: list[dict[str, Any]] = [{"ids": [3, 4], "labels": 1, "index": 7}, {"ids": [], "labels": 0, "index": 9}]


def table(rows: list[dict[str, Any]] = ROWS) -> Table:
    columns = {name: np.array([row[name] for row in rows]) for name in ("labels", "index")}
    return Table({"ids": Ragged.of([row["ids"] for row in rows], 70_000), **columns}, {"pad_id": 0}, len(rows))


@given(st.lists(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=4), min_size=1, max_size=4))
def test_ragged_rows_come_back_as_they_were(chunks: list[list[list[int]]]) -> None:
    largest = max((value for rows in chunks for row in rows for value in row), default=0)
    found = Ragged.joined([Ragged.of(rows, largest) for rows in chunks])
    assert found.flat.dtype == np.min_scalar_type(largest)
    for place, row in enumerate(row for rows in chunks for row in rows):
        assert found[place].dtype == np.int64
        assert found[place].tolist() == row


def test_a_row_is_made_of_pythons_own_numbers_and_int64_arrays() -> None:
    first = table()[0]
    assert first["ids"].tolist() == [3, 4]
    assert first["ids"].dtype == np.int64
    assert {name: (type(value), value) for name, value in first.items() if name != "ids"} == {
        "labels": (int, 1),
        "index": (int, 7),
        "pad_id": (int, 0),
    }
    assert table()[-1]["index"] == 9
    assert [row["index"] for row in table()[:5]] == [row["index"] for row in table()] == [7, 9]
    with pytest.raises(IndexError):
        table()[2]


def test_labels_may_be_numbers_or_several() -> None:
    found = Table({"labels": np.array([0.5, np.nan])}, {}, 2)
    assert found[0]["labels"] == 0.5
    assert np.isnan(found[1]["labels"])
    assert Table({"labels": np.array([[1, 0], [0, 1]])}, {}, 2)[1]["labels"].tolist() == [0, 1]


def test_a_selection_is_numbered_anew_with_the_teachers_inputs_beside() -> None:
    found = Selection(table(), [1], teacher=[{"ids": 5, "index": 7, "labels": 1}, {"ids": 6, "index": 9, "labels": 0}])
    (row,) = found
    assert (row["index"], row["labels"], row["teacher.ids"]) == (0, 0, 6)
    assert set(row) == {"ids", "labels", "index", "pad_id", "teacher.ids"}
    assert [row["index"] for row in Selection(table())] == [0, 1]


def test_a_saved_table_gives_the_same_rows_out_of_mapped_files(tmp_path: Path) -> None:
    table().save(tmp_path)
    found = Table.open(tmp_path)
    assert [{**row, "ids": row["ids"].tolist()} for row in found] == [{**row, "pad_id": 0} for row in ROWS]
    assert found[0]["ids"].dtype == np.int64
    assert isinstance(found.columns["ids"], Ragged)
    assert found.columns["ids"].flat.dtype == np.uint32
    assert isinstance(found.columns["ids"].flat.base, np.memmap)
