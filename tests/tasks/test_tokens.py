"""What tokenizers read: how much, and whether two read the same."""

import sys
from pathlib import Path

import pytest
from tiny_models import WORDS, encoder_config, save_encoder, save_tokenizer

from kd2deploy.tasks._tokens import longest, read_alike
from kd2deploy.tasks.text_classification import TextClassification


def test_equal_read_alike(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_tokenizer(tmp_path / name)
    assert read_alike(tmp_path / "one", tmp_path / "other")


def test_another_vocabulary_order_or_token_types_do_not_agree(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "one")
    save_tokenizer(tmp_path / "order", words=WORDS[::-1])
    save_tokenizer(tmp_path / "larger", words=[*WORDS, "more"])
    save_tokenizer(tmp_path / "untyped", token_types=False)
    for name in ("order", "larger", "untyped"):
        assert not read_alike(tmp_path / "one", tmp_path / name), name


def test_another_case_rule_does_not_agree(tmp_path: Path) -> None:
    for name in ("one", "cased"):
        save_tokenizer(tmp_path / name)
    file = tmp_path / "cased" / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    assert not read_alike(tmp_path / "one", tmp_path / "cased")


def test_a_tokenizer_and_none_do_not_agree(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "one")
    for name in ("none", "neither"):
        (tmp_path / name).mkdir()
    assert not read_alike(tmp_path / "one", tmp_path / "none")
    assert read_alike(tmp_path / "none", tmp_path / "neither")


@pytest.mark.parametrize(
    ("family", "most"), [("bert", 66), ("roberta", 65), ("distilbert", 66), ("deberta-v2", sys.maxsize)]
)
def test_a_network_reads_as_many_tokens_as_it_has_positions(family: str, most: int, tmp_path: Path) -> None:
    encoder_config(family).save_pretrained(tmp_path)
    assert longest(tmp_path) == most


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_are_cut_to_what_the_network_can_read(family: str, tmp_path: Path) -> None:
    save_encoder(tmp_path, family)
    tokenizer = tmp_path / "tokenizer_config.json"
    tokenizer.write_text(tokenizer.read_text().replace('"model_max_length": 64', '"model_max_length": 1000'))
    task = TextClassification(["neg", "pos"], max_length=512).at(tmp_path)
    assert task.max_length == longest(tmp_path)
    (features,) = task.encode([task.row("good film " * 200)], tmp_path)
    assert task.length(features) == longest(tmp_path)
    assert task.observe(task.load(tmp_path), task.collate([features])).logits.isfinite().all()
