"""The symbols of CTC networks, held against transformers' own tokenizers."""

import json
from pathlib import Path

import pytest
from tiny_speech import ALPHABET, save_speech

from kd2deploy.errors import ModelError
from kd2deploy.networks.ctc_vocabulary import CHARACTERS, PIECES, SAID, Vocabulary, pieces_of, vocabulary

read = vocabulary.__wrapped__


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_speech(tmp_path / "net")


def test_a_new_network_has_blank_unknown_space_and_the_alphabet(folder: Path) -> None:
    found = read(folder)
    assert found == Vocabulary(("", "", " ", *ALPHABET), blank=0)
    assert found.pieces == pieces_of(ALPHABET)


def test_a_text_is_spelt_as_the_networks_own_tokenizer_does(folder: Path) -> None:
    from transformers import Wav2Vec2CTCTokenizer

    found, theirs = read(folder), Wav2Vec2CTCTokenizer.from_pretrained(folder)
    assert found.spelt("ab ca") == theirs("ab ca")["input_ids"]


def test_the_longest_symbol_that_fits_comes_first() -> None:
    known = Vocabulary(("", " ", "s", "c", "h", "sch"), blank=0)
    assert known.spelt("sch sc") == [5, 1, 2, 3]
    with pytest.raises(ModelError, match="writes 'x'"):
        known.spelt("sx")


def test_special_tokens_write_nothing_and_may_lie_beyond_the_network(folder: Path) -> None:
    numbers = json.loads((folder / CHARACTERS).read_text())
    (folder / CHARACTERS).write_text(json.dumps({**numbers, "<s>": len(numbers)}))
    said = json.loads((folder / SAID).read_text())
    (folder / SAID).write_text(json.dumps({**said, "bos_token": "<s>"}))
    assert read(folder).pieces == pieces_of(ALPHABET)
    (folder / CHARACTERS).write_text(json.dumps({**numbers, "z": len(numbers)}))
    with pytest.raises(ModelError, match="has 'z', beyond the network's 7 classes"):
        read(folder)


def test_one_of_several_languages_is_named(folder: Path) -> None:
    numbers = json.loads((folder / CHARACTERS).read_text())
    (folder / CHARACTERS).write_text(json.dumps({"eng": numbers}))
    with pytest.raises(ModelError, match="holds several languages"):
        read(folder)
    said = json.loads((folder / SAID).read_text())
    (folder / SAID).write_text(json.dumps({**said, "target_lang": "eng"}))
    assert read(folder).pieces == pieces_of(ALPHABET)


def test_pieces_of_words(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    built = Tokenizer(
        models.Unigram([("<unk>", 0.0), ("▁", -2.0), ("a", -2.0), ("b", -2.0), ("▁ab", -1.0), ("<pad>", 0.0)], unk_id=0)
    )
    built.pre_tokenizer = pre_tokenizers.Metaspace()
    built.save(str(folder / PIECES))
    (folder / CHARACTERS).unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 6, "pad_token_id": 5}))
    found = read(folder)
    assert (found.pieces, found.blank) == (("", " ", "a", "b", " ab", ""), 5)
    assert found.spelt("ab a") == built.encode("ab a", add_special_tokens=False).ids


def test_a_folder_without_a_vocabulary_has_none(folder: Path) -> None:
    (folder / CHARACTERS).unlink()
    assert read(folder) is None
