"""Large files are mapped, and prepared as small ones are: the same rows, splits, warnings and hash."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from kd2deploy.core.mapped import Mapped
from kd2deploy.data import _mapped
from kd2deploy.data.files import files
from kd2deploy.data.prepare import prepare
from kd2deploy.data.splits import read_splits, write_splits
from kd2deploy.errors import DataError
from kd2deploy.tasks.text_classification import TextClassification


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rows"


@pytest.fixture
def large(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every file counts as large, and a record batch has seven rows."""
    monkeypatch.setattr(_mapped, "LARGE_MB", 0.0)
    monkeypatch.setattr(_mapped, "AT_ONCE", 7)
    return cache


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif file.suffix == ".jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        lines = [rows[0].keys(), *([f'"{value}"' if value else "" for value in row.values()] for row in rows)]
        file.write_text("\n".join(map(",".join, lines)) + "\n")
    return str(file)


def rows(start: str, count: int) -> list[dict[str, Any]]:
    return [{"sentence": f"{start} {at}", "label": f"class {at % 3}", "other": "x"} for at in range(count)]


def sources(folder: Path, ending: str) -> dict[str, str]:
    train = [*rows("train", 60), {"sentence": "eval 1", "label": "class 0", "other": None}]
    train[5] = {**train[5], "label": None}
    free = [{key: value for key, value in row.items() if key != "label"} for row in rows("free", 9)]
    made = {"train": train, "eval": rows("eval", 12), "unlabelled": free}
    return {split: write(folder / f"{split}{ending}", found) for split, found in made.items()}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("given", [{}, {"limit_train": 30, "limit_labels": 12, "limit_eval": 6}])
def test_splits_of_mapped_files_are_those_of_small_ones(
    ending: str, given: dict[str, int], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = sources(tmp_path, ending)

    def prepared() -> Any:
        return prepare(files(**named, text="sentence"), TextClassification, {}, missing="drop", **given)

    small = prepared()
    assert not cache.exists()
    monkeypatch.setattr(_mapped, "LARGE_MB", 0.0)
    monkeypatch.setattr(_mapped, "AT_ONCE", 7)
    found = prepared()
    assert isinstance(found.train, Mapped)
    assert found == small
    assert found.overlap == (0 if given else 1)
    assert list(found.labelled) == list(small.labelled)
    assert list(found.unlabelled) == list(small.unlabelled)
    write_splits(found, tmp_path / "splits", copies=False)
    again = read_splits(tmp_path / "splits", copies=False)
    assert isinstance(again.eval, Mapped)
    assert again == small


def test_a_file_is_read_once_and_again_when_it_was_changed(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    write(file, rows("one", 5))
    first = files(str(file), str(file), text="sentence")
    (kept,) = large.glob("*.arrow")
    before = kept.stat().st_mtime_ns
    assert files(str(file), str(file), text="sentence").train == first.train
    assert kept.stat().st_mtime_ns == before
    write(file, rows("two", 5))
    os.utime(file, ns=(1, 1))
    assert files(str(file), str(file), text="sentence").train[0]["text"] == "two 0"
    assert len(list(large.glob("*.arrow"))) == 2


def test_what_the_reader_decided_is_told_in_later_runs_too(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text;label\na;b\nc;d\n")
    told = [files(str(file), str(file)).warnings for _ in range(2)]
    assert told[0] == told[1]
    assert "separated by ';'" in told[0][0]


def test_a_file_that_is_broken_at_its_end_leaves_nothing_in_the_cache(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    write(file, rows("one", 30))
    file.write_text(file.read_text() + "a,b\n")
    with pytest.raises(DataError, match="line 32: 2 fields where the header has 3"):
        files(str(file), str(file), text="sentence")
    assert list(large.iterdir()) == []


def test_a_column_of_several_kinds_is_held_in_memory_and_told(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write(file, [*rows("one", 20), {"sentence": "last", "label": 3, "other": "x"}])
    found = files(str(file), str(file), text="sentence")
    assert not isinstance(found.train, Mapped)
    assert found.train[-1]["label"] == 3
    assert "a column holds values of several kinds" in found.warnings[0]


def test_carriage_returns_within_fields_are_put_back(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b'text,label\n"a\rb",x\nc,y\n')
    assert files(str(file), str(file)).train == [{"text": "a\rb", "label": "x"}, {"text": "c", "label": "y"}]
