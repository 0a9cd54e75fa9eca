"""Rows as files: what a row holds comes back as it was, whichever task it is of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd2deploy.core import Task
from kd2deploy.core.rows import read_rows, write_rows
from kd2deploy.data.digits import digits
from kd2deploy.data.prepare import prepare
from kd2deploy.data.reuters import reuters
from kd2deploy.data.sample_photos import sample_photos
from kd2deploy.data.sample_scenes import sample_scenes
from kd2deploy.data.spoken_digits import spoken_digits
from kd2deploy.data.tables import Tables
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.image_restoration import ImageRestoration
from kd2deploy.tasks.object_detection import ObjectDetection
from kd2deploy.tasks.speech_ctc import SpeechCtc
from kd2deploy.tasks.text_classification import TextClassification

SOURCES: dict[str, tuple[Callable[[], Tables], type[Task]]] = {
    "texts": (lambda: reuters("r8"), TextClassification),
    "pictures": (digits, ImageClassification),
    "objects": (lambda: sample_scenes(train=4, eval=2), ObjectDetection),
    "photos": (sample_photos, ImageRestoration),
    "speech": (lambda: spoken_digits(train=4, eval=2), SpeechCtc),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, bytes):  # an encoded picture or recording comes back as a file
        return isinstance(other, Path) and other.read_bytes() == one
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("copies", [True, False])
def test_rows_of_every_task_come_back_as_they_were(name: str, copies: bool, tmp_path: Path) -> None:
    source, task = SOURCES[name]
    rows = list(prepare(source(), task, {}).eval[:3])
    write_rows(rows, tmp_path / "rows", copies=copies)
    again = list(read_rows(tmp_path / "rows", copies=copies))
    assert [set(row) for row in again] == [set(row) for row in rows]
    for before, after in zip(rows, again, strict=True):
        assert all(same(value, after[field]) for field, value in before.items())


def test_what_is_nested_stays_plain(tmp_path: Path) -> None:
    rows = [
        {"label": []},
        {
            "label": [
                {"category": "cat", "box": [1.0, 2.0, 3.5, 4.0]},
                {"category": "plain", "box": [0.0, 0.0, 1.0, 1.0]},
            ]
        },
        {"label": {"plain": 1, "path": "/etc/passwd"}},
        {"label": ["a", None, [True, 2]]},
    ]
    write_rows(rows, tmp_path / "rows")
    assert read_rows(tmp_path / "rows") == rows
