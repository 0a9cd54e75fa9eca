"""A teacher's answers in a file: what is read, how rows are matched, and what is refused in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from kd2deploy.data.answers import AnswersIn, answers_in, matched
from kd2deploy.errors import DataError

ROWS = [{"text": "fine"}, {"text": "dull"}, {"text": "fun"}]
NUMBERS = [[0.5, -1.0], [2.0, 0.25], [-3.0, 4.0]]
FIELDS = {"text": ["text", "sentence"]}
CLASSES = ("neg", "pos")


def parquet(folder: Path, **columns: Any) -> Path:
    file = folder / "answers.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file


def texts(*order: int) -> list[str]:
    return [ROWS[place]["text"] for place in order]


def test_rows_are_matched_by_what_they_hold_in_any_order(tmp_path: Path) -> None:
    file = parquet(tmp_path, sentence=texts(2, 0, 1), logits=[NUMBERS[place] for place in (2, 0, 1)])
    given = AnswersIn(file)
    found = answers_in(given, CLASSES, FIELDS)
    at = matched(given, found, [*ROWS, {"text": "Fine"}], ["text"])
    assert at.tolist() == [1, 2, 0, -1]
    np.testing.assert_array_equal(found.logits[at[:3]], np.asarray(NUMBERS, np.float32))


def test_csv_holds_lists_as_json_and_ids_match_whatever_their_type(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    lines = [f'{id},"{json.dumps(numbers)}"' for id, numbers in zip((7, 3, 5), NUMBERS, strict=True)]
    file.write_text("\n".join(["uid,logits", *lines]) + "\n")
    given = AnswersIn(file, id="uid")
    found = answers_in(given, CLASSES, FIELDS)
    assert matched(given, found, [{"uid": 3}, {"uid": "5"}, {"uid": 8}], ["text"]).tolist() == [1, 2, -1]


def test_probabilities_are_taken_by_their_logarithm_and_classes_by_their_name(tmp_path: Path) -> None:
    file = parquet(tmp_path, text=texts(0, 1), p=[[0.25, 0.75], [1.0, 0.0]])
    found = answers_in(AnswersIn(file, probabilities="p", labels=("pos", "neg")), CLASSES, FIELDS)
    assert found.kind == "probabilities"
    np.testing.assert_allclose(np.exp(found.logits), [[0.75, 0.25], [1e-7, 1.0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("columns", "given", "told"),
    [
        ({"text": texts(0)}, {}, "neither a column `logits` nor one `probabilities`"),
        ({"text": texts(0), "logits": [NUMBERS[0]]}, {"id": "uid"}, "no column 'uid', the `id`"),
        ({"words": texts(0), "logits": [NUMBERS[0]]}, {}, "no column 'text' or 'sentence' to match its rows by"),
        ({"text": texts(0, 1), "logits": [NUMBERS[0], [1.0, 2.0, 3.0]]}, {}, "row 2 has 3 numbers.*task has 2 classes"),
        ({"text": texts(0), "logits": ["high"]}, {}, "row 1 has no list of numbers"),
        ({"text": texts(0), "logits": [[0.0, float("nan")]]}, {}, "column 'logits': row 1 has a number that is not"),
        ({"text": texts(0), "probabilities": [[0.5, 0.75]]}, {}, "do not add up to 1"),
        ({"text": texts(0), "logits": [NUMBERS[0]]}, {"labels": ("bad", "good")}, "names the classes bad, good, and"),
        ({"text": texts(0, 0), "logits": NUMBERS[:2]}, {}, "rows 1 and 2 are the same row with different answers"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, columns: dict[str, Any], given: dict[str, Any], told: str
) -> None:
    file = parquet(tmp_path, **columns)
    with pytest.raises(DataError, match=told) as found:
        answers_in(AnswersIn(file, **given), CLASSES, FIELDS)
    assert "\n" not in str(found.value)
