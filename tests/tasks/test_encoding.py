"""Encoding in chunks: the same numbers as row by row, and no token behind the cut is made of a very long text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import WORDS, save_tokenizer
from transformers import AutoTokenizer

from kd2deploy.errors import ModelError
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.tasks import _encoding
from kd2deploy.tasks._encoding import beginning, chunks, cut_is_safe, token_columns
from kd2deploy.tasks._reading import counted
from kd2deploy.tasks.text_classification import TextClassification


@pytest.fixture
def reader(tmp_path: Path) -> Any:
    save_tokenizer(tmp_path)
    return tokenizer(tmp_path.resolve())


def sentences(count: int) -> list[str]:
    drawn = np.random.default_rng(0)
    return [" ".join(drawn.choice(WORDS[:12], size=drawn.integers(0, 30))) for _ in range(count)]


@pytest.mark.parametrize("pair", [False, True])
def test_chunks_give_what_each_row_gives_alone(
    pair: bool, reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_encoding, "CHUNK_ROWS", 7)
    texts = sentences(40)
    rows = [{"text": text, "text_pair": texts[-place], "label": place % 2} for place, text in enumerate(texts)]
    found = TextClassification(["no", "yes"], max_length=12, pair=pair, token_types=True).reader.encode(rows, tmp_path)
    assert len(found) == 40
    for place, (row, features) in enumerate(zip(rows, found, strict=True)):
        alone = reader([row["text"]], [row["text_pair"]] if pair else None, truncation=True, max_length=12)
        assert features["input_ids"].tolist() == alone["input_ids"][0]
        assert features["token_type_ids"].tolist() == alone["token_type_ids"][0]
        assert features["input_ids"].dtype == np.int64
        assert (features["labels"], features["index"], features["pad_id"]) == (place % 2, place, 0)


def test_what_is_kept_is_small(reader: Any, tmp_path: Path) -> None:
    found: Any = TextClassification(["no", "yes"]).reader.encode([{"text": "a good film", "label": 0}] * 50, tmp_path)
    assert found.columns["input_ids"].flat.dtype.itemsize == 1  # twenty words
    assert found.columns["input_ids"].flat.shape == (50 * 5,)


def test_chunks_are_bounded_in_rows_and_characters() -> None:
    rows = [("a" * size, "") for size in [1] * 2500 + [1_500_000] * 3]
    found = list(chunks(rows))
    assert [len(chunk) for chunk in found] == [1000, 1000, 501, 1, 1]
    assert [row for chunk in found for row in chunk] == rows


def test_a_very_long_text_is_cut_before_it_is_tokenized(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    read = _encoding.read
    monkeypatch.setattr(_encoding, "read", lambda *a: given.append(max(len(text) for text, _ in a[1])) or read(*a))
    text = "a good film " * 170_000  # two million characters
    found = token_columns(reader, [(text, "")], False, 16)
    assert given == [len("a good film " * 85) + 1]
    assert found["input_ids"][0].tolist() == reader(text, truncation=True, max_length=16)["input_ids"]


def test_a_text_that_its_beginning_does_not_fill_is_read_whole(reader: Any) -> None:
    texts = [" " * 5000 + "a good film", "x" * 5000 + " fine", "good" + "\n" * 5000 + "bad " * 9]
    found = token_columns(reader, [(text, "") for text in texts], False, 8)
    for place, text in enumerate(texts):
        assert found["input_ids"][place].tolist() == reader(text, truncation=True, max_length=8)["input_ids"]


def test_texts_are_cut_at_white_space_only() -> None:
    assert beginning("one two three", 9) == "one two"
    assert beginning("one\ttwo", 5) == "one"
    assert beginning("onetwothree", 5) == "onetwothree"
    assert beginning("one", 5) == "one"


def test_tokenizers_that_read_a_text_as_a_whole_get_all_of_it(reader: Any) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    whole = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    assert cut_is_safe(reader)
    assert not cut_is_safe(whole)
    left = PreTrainedTokenizerFast(tokenizer_object=reader.backend_tokenizer, truncation_side="left")
    assert not cut_is_safe(left)


@pytest.mark.parametrize("length", [100, 100_000])
def test_a_tokenizer_without_a_length_is_no_limit(length: int, tmp_path: Path) -> None:
    import json

    from tiny_models import save_encoder

    for family in ("bert", "roberta", "deberta-v2"):
        folder = save_encoder(tmp_path / family, family)
        config = folder / "tokenizer_config.json"
        said = {name: value for name, value in json.loads(config.read_text()).items() if name != "model_max_length"}
        config.write_text(json.dumps(said))
        task = TextClassification(["neg", "pos"], max_length=length).at(folder)
        (row,) = task.reader.encode([{"text": "good " * 5000, "label": 0}], folder)
        assert len(row["input_ids"]) == {"bert": 66, "roberta": 65, "deberta-v2": min(length, 5002)}[family]


def test_a_vocabulary_without_its_token_for_unknown_words_is_told_in_a_line(tmp_path: Path) -> None:
    """Known words pass; the first unknown one shows it, in the library as an error of no class of its own."""
    save_tokenizer(tmp_path)
    said = json.loads((tmp_path / "tokenizer.json").read_text())
    said["model"]["unk_token"] = "[ELSE]"
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    reader = AutoTokenizer.from_pretrained(tmp_path)
    assert token_columns(reader, [("good", "")], False, 8)["input_ids"][0].size
    for work in (token_columns, counted):
        with pytest.raises(ModelError, match=r"the tokenizer cannot read the texts: .*UNK"):
            work(reader, [("quixotic", "")], False, 8)
