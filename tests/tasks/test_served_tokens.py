"""A bundle's tokenizer files: the task, transformers and the plain tokenizers library read the same from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import WORDS, save_encoder, save_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from kd2deploy.errors import ModelError
from kd2deploy.tasks.text_classification import TextClassification

LENGTH = 12
TEXTS = (
    *("a good film", "the plot was very slow and dully not fun " * 30, "", "   ", "naïve CAFÉ — “quotes”…"),
    *("good 😀👩‍👩‍👧 film", "שלום good עולם", "مرحبا film " * 20, "日本語の映画", "a\tb\nc", "[SEP] good </s> <s>"),
)
LABELS = ["neg", "pos"]


def trained(kind: str) -> tuple[Tokenizer, dict[str, str]]:
    """A byte-level BPE as RoBERTa has, or a Unigram as DeBERTa-v3 has, of a hundred pieces and more."""
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<m>"}
    special |= {"cls_token": "<s>", "sep_token": "</s>"}
    names = list(dict.fromkeys(special.values()))
    made = Tokenizer(models.BPE() if kind == "bpe" else models.Unigram())
    if kind == "bpe":
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            [*WORDS, *TEXTS], trainers.BpeTrainer(vocab_size=400, special_tokens=names, initial_alphabet=alphabet)
        )
        made.decoder = decoders.ByteLevel()
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        return made, special
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(
        [*WORDS, *TEXTS], trainers.UnigramTrainer(vocab_size=120, special_tokens=names, unk_token="<unk>")
    )
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", [("<s>", 0), ("</s>", 2)])
    return made, special


def save(folder: Path, kind: str) -> Path:
    """A folder as trainings leave it: cut and padded as somebody once did, on the side of generators."""
    from transformers import PreTrainedTokenizerFast

    if kind == "wordpiece":
        save_tokenizer(folder)
    else:
        made, special = trained(kind)
        PreTrainedTokenizerFast(
            tokenizer_object=made, model_max_length=10**30, model_input_names=["input_ids", "attention_mask"], **special
        ).save_pretrained(folder)
    stale = json.loads((folder / "tokenizer.json").read_text())
    stale["truncation"] = {"max_length": 7, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    pad = "[PAD]" if kind == "wordpiece" else "<pad>"
    stale["padding"] = {"strategy": {"Fixed": 7}, "direction": "Left", "pad_to_multiple_of": 8}
    stale["padding"] |= {"pad_id": 0 if kind == "wordpiece" else 1, "pad_type_id": 0, "pad_token": pad}
    (folder / "tokenizer.json").write_text(json.dumps(stale))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"padding_side": "left", "max_length": 7, "padding": "max_length", "truncation": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(params=["wordpiece", "bpe", "unigram"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path, request.param)


def feeds(task: TextClassification, folder: Path, pair: bool) -> list[dict[str, Any]]:
    """What was judged: each text alone, as the task encodes it."""
    others = list(reversed(TEXTS))
    rows = [task.reader.row(text, other if pair else None) for text, other in zip(TEXTS, others, strict=True)]
    return [task.reader.feed(task.reader.encode([row], folder)) for row in rows]


@pytest.mark.parametrize("pair", [False, True])
def test_what_serves_a_bundle_reads_by_its_files_alone_what_was_judged(folder: Path, pair: bool) -> None:
    task = TextClassification(LABELS, max_length=LENGTH, pair=pair)
    judged = feeds(task, folder, pair)
    rows = [task.reader.row(text, other if pair else None) for text, other in zip(TEXTS, reversed(TEXTS), strict=True)]
    told = [task.reader.reading([row], folder) for row in rows]
    task.reader.write_as_judged(folder)
    served = task.reader.served()
    for row, feed, reading in zip(rows, judged, told, strict=True):
        found = served.feed(served.encode([row], folder))
        assert found.keys() == feed.keys()
        for name, array in feed.items():
            np.testing.assert_array_equal(found[name], array)
        assert served.reading([row], folder) == reading


@pytest.mark.parametrize("pair", [False, True])
def test_every_reader_of_the_files_sees_the_judged_tokens(folder: Path, pair: bool) -> None:
    from transformers import AutoTokenizer

    task = TextClassification(LABELS, max_length=LENGTH, pair=pair)
    judged = feeds(task, folder, pair)
    assert max(feed["input_ids"].shape[1] for feed in judged) == LENGTH
    task.reader.write_as_judged(folder)
    others = list(reversed(TEXTS))
    plain, reader = Tokenizer.from_file(str(folder / "tokenizer.json")), AutoTokenizer.from_pretrained(folder)
    for text, other, feed in zip(TEXTS, others, judged, strict=True):
        expected = feed["input_ids"][0].tolist()
        assert plain.encode(text, other if pair else None).ids == expected
        # In lists: given alone, transformers takes an empty second text for none.
        assert reader([text], [other] if pair else None, truncation=True)["input_ids"] == [expected]
    together = task.reader.feed(
        task.reader.encode([task.reader.row(text, "fun" if pair else None) for text in TEXTS], folder)
    )
    given = [(text, "fun") if pair else text for text in TEXTS]
    batch = plain.encode_batch(given)
    np.testing.assert_array_equal([one.ids for one in batch], together["input_ids"])
    np.testing.assert_array_equal([one.attention_mask for one in batch], together["attention_mask"])
    said = reader(list(TEXTS), ["fun"] * len(TEXTS) if pair else None, padding=True, truncation=True)
    np.testing.assert_array_equal(said["input_ids"], together["input_ids"])
    np.testing.assert_array_equal(said["attention_mask"], together["attention_mask"])


def test_the_files_say_the_judged_length_and_nothing_of_the_training(folder: Path) -> None:
    TextClassification(LABELS, max_length=LENGTH).reader.write_as_judged(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == LENGTH
    assert config["padding_side"] == "right"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not config.keys() & {"max_length", "padding", "truncation", "backend", "is_local"}
    written = json.loads((folder / "tokenizer.json").read_text())
    assert written["truncation"]["max_length"] == LENGTH
    assert written["padding"]["strategy"] == "BatchLongest"
    assert written["padding"]["pad_to_multiple_of"] is None


def test_the_networks_own_positions_limit_what_is_said(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path)  # 66 positions, and a tokenizer that says 64
    TextClassification(LABELS, max_length=10**6).reader.write_as_judged(folder)
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 64


def test_token_types_are_named_where_the_network_has_them(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path)
    TextClassification(LABELS).at(folder).reader.write_as_judged(folder)
    names = json.loads((folder / "tokenizer_config.json").read_text())["model_input_names"]
    assert names == ["input_ids", "attention_mask", "token_type_ids"]


def test_it_may_be_written_twice(folder: Path) -> None:
    task = TextClassification(LABELS, max_length=LENGTH)
    task.reader.write_as_judged(folder)
    once = [(folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")]
    task.reader.write_as_judged(folder)
    assert once == [(folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")]


def test_a_class_that_reads_otherwise_than_its_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd2deploy.tasks import _served_tokens

    save_tokenizer(tmp_path)
    monkeypatch.setattr(_served_tokens, "by_tokenizers", lambda folder: [[1]])
    with pytest.raises(ModelError, match="reads otherwise than its own"):
        TextClassification(LABELS, max_length=LENGTH).reader.write_as_judged(tmp_path)
