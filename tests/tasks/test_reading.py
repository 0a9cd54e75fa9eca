"""How much of the texts a network reads: counted by hand, told for many rows and for one."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tokenizer

from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.tasks import _reading
from kd2deploy.tasks._reading import Counts, counted
from kd2deploy.tasks.text_classification import TextClassification

TASK = TextClassification(["no", "yes"], max_length=6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tokenizer(tmp_path)
    return tmp_path


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text, "label": 0} for text in texts]


def test_counts_are_those_of_the_words(folder: Path) -> None:
    reader = tokenizer(folder.resolve())
    texts = [("a good film", ""), ("a good film was very slow", ""), ("", ""), ("日 本 a", "")]
    assert counted(reader, texts, False, 6) == Counts(
        rows=4, rows_cut=1, rows_empty=1, tokens=3 + 6 + 0 + 3, tokens_cut=2, unknown=2
    )
    assert counted(reader, [("a good film", "was slow")], True, 6) == Counts(1, 1, 0, 5, 2, 0)


def test_a_long_text_is_counted_by_its_beginning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reading, "COUNTED", 200)
    found = counted(tokenizer(folder.resolve()), [("good " * 10_000, "")], False, 6)
    assert (found.tokens, found.tokens_cut) == (10_000, 10_000 - 4)


def test_long_and_strange_texts_are_told(folder: Path) -> None:
    found = TASK.reader.reading(rows(*["a good film was very slow"] * 9, "日"), folder)
    assert found.figures == {
        "rows cut at 6 tokens": "90.0 %",
        "tokens cut off": "32.7 %",
        "tokens unknown to the tokenizer": "1.8 %",
    }
    assert found.doubts == (
        "90.0 % of the rows are cut at 6 tokens, and 32.7 % of all tokens with them: raise `max_length` if what is cut "
        "off matters",
    )
    (said,) = TASK.reader.reading(rows("日 本 語 a", "日 本 語 a"), folder).doubts
    assert said.startswith("75.0 % of the tokens are unknown to the tokenizer")
    assert TASK.reader.reading(rows("good", ""), folder).doubts == (
        "1 of 2 rows hold nothing that the tokenizer keeps",
    )
    assert TASK.reader.reading(rows("good", "a good film"), folder).doubts == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text is empty: the answer says nothing about it"),
        ("  ", "the text is empty: the answer says nothing about it"),
        ("a good film was very slow", "cut at 6 tokens: 33.3 % of the text was not read"),
        ("日 本 a", "66.7 % of the text is unknown to the tokenizer"),
        ("a good film", None),
    ],
)
def test_one_text_is_told_by_itself(text: str, said: str | None, folder: Path) -> None:
    assert TASK.reader.reading(rows(text), folder).doubts == (() if said is None else (said,))


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    assert "character 3" in TextClassification.reads.flaw("ab\ud83d")
    assert TextClassification.reads.flaw("ab😀日") == ""
    assert TextClassification.reads.flaw(3) == "3 is no text"
