"""What networks make of a few rows, side by side for a person."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from small_restoration import made_rows, restorer, saved, small_task

from kd2deploy.core.task import Task
from kd2deploy.core.watcher import Silent
from kd2deploy.data.splits import Splits, remember
from kd2deploy.report import Report, render_html
from kd2deploy.stages.job import model_at
from kd2deploy.stages.show import work
from kd2deploy.tasks._strips import GAP
from kd2deploy.tasks.text_classification import TextClassification


def test_a_row_is_shown_as_it_was_given_answered_and_right(tmp_path: Path) -> None:
    task, rows = small_task(), made_rows(2, 40, 48)
    folder = tmp_path / "splits"
    remember(folder, Splits([], [], rows, (), (), 0, "0" * 64))
    models = {who: saved(restorer(seed=seed), tmp_path / who) for seed, who in enumerate(("student", "teacher"))}
    inputs = {"data": str(folder), "models": {who: model_at(at, task).to_json() for who, at in models.items()}}
    found = work({"task": task.spec(), "rows": 3}, inputs, tmp_path, Silent())["shown"]
    assert [one["caption"] for one in found] == [
        f"Picture {place}, from left to right: input, student, teacher, clean" for place in (1, 2)
    ]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]["picture"]))))
    assert seen.shape == (40, 4 * (48 + GAP) - GAP, 3)
    assert np.array_equal(seen[:, -48:], rows[1]["label"])
    assert np.array_equal(seen[:, 0], seen[:, 1]), "a pixel of the input is as large as the scale says"
    assert not np.array_equal(seen[:, 52:100], seen[:, 104:152])


def test_most_tasks_show_nothing() -> None:
    assert TextClassification.shown is Task.shown
    assert list(TextClassification(["a", "b"]).shown([], {})) == []


def test_a_picture_stands_inside_of_the_page_and_its_caption_is_escaped() -> None:
    from kd2deploy.core.examples import Shown

    shown = (Shown("one <b>", "aGVsbG8="),)
    page = render_html(Report("title", shown=shown))
    assert 'src="data:image/png;base64,aGVsbG8="' in page
    assert "one &lt;b&gt;" in page
    assert Report.from_json(Report("title", shown=shown).to_json()).shown == shown
