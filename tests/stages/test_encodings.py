"""Rows are encoded once for all trainings that read them alike."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import WORDS, save_encoder, save_tokenizer

from kd2deploy.core import Selection, Table
from kd2deploy.methods.logit import logit
from kd2deploy.stages import kept
from kd2deploy.stages.job import encoded, trained_on
from kd2deploy.stages.kept import Encodings
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.settings import Settings

ROWS = [{"text": f"good {word} film", "label": at % 2, "index": at} for at, word in enumerate(("dull", "fine", "very"))]


def plain(rows: Any) -> list[dict[str, Any]]:
    return [
        {name: getattr(value, "tolist", lambda value=value: value)() for name, value in row.items()} for row in rows
    ]


def test_rows_are_read_once_for_both_networks_and_again_where_a_vocabulary_or_rows_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MANY", 3)
    student, teacher = (save_encoder(tmp_path / name, layers=1) for name in ("student", "teacher"))
    save_tokenizer(teacher, words=WORDS[::-1])
    task, keep = TextClassification(["neg", "pos"], max_length=8), Encodings(tmp_path / "cache", "of the rows")
    found = [trained_on(task, ROWS, logit(), Settings(), student, teacher, keep) for _ in range(2)]
    assert plain(found[0]) == plain(found[1]) == plain(encoded(task, ROWS, student, teacher))
    assert isinstance(found[0], Selection)
    assert isinstance(found[0].rows, Table)
    assert len(list((tmp_path / "cache").glob("rows-*"))) == 2
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")}
    trained_on(task, ROWS, logit(), Settings(), student, teacher, keep)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    trained_on(task, ROWS, logit(), Settings(), student, None, Encodings(tmp_path / "cache", "of others"))
    assert len(list((tmp_path / "cache").glob("rows-*"))) == 3
    assert trained_on(task, ROWS[:2], logit(), Settings(), student, None, keep)[0]["index"] == 0
    assert len(list((tmp_path / "cache").glob("rows-*"))) == 3, "a few rows are read each time"
