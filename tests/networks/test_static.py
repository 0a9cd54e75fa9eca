"""A table of word vectors, their mean and a head: as any network's folder, and without layers."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import save_encoder, save_tokenizer

from kd2deploy.core.own import STATIC, is_static
from kd2deploy.errors import ModelError
from kd2deploy.networks.static import StaticConfig, StaticForSequenceClassification
from kd2deploy.tasks.text_classification import TextClassification

LABELS = ["neg", "pos"]
ROWS = [
    {"text": "a good film", "label": "pos", "index": 0},
    {"text": "the plot was very dull, not fun", "label": "neg", "index": 1},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("static")
    torch.manual_seed(0)
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {"neg": 0, "pos": 1}}
    StaticForSequenceClassification(StaticConfig(vocab_size=21, dim=8, **named)).save_pretrained(place)
    save_tokenizer(place)
    return place


def test_its_folder_names_an_architecture_and_no_code(folder: Path) -> None:
    said = json.loads((folder / "config.json").read_text())
    assert said["model_type"] == STATIC
    assert "auto_map" not in said
    assert is_static(folder)
    assert {file.suffix for file in folder.iterdir()} == {".json", ".safetensors"}


def test_it_answers_by_the_mean_of_the_words_that_count(folder: Path) -> None:
    task = TextClassification(LABELS).at(folder)
    net = task.networks.load(folder)
    assert isinstance(net, StaticForSequenceClassification)
    assert [port.name for port in task.inputs] == ["input_ids", "attention_mask"]
    features = task.reader.encode(ROWS, folder)
    seen = task.networks.observe(net, task.reader.collate(features), needs=frozenset({"embedding", "hidden"}))
    mean = net.words.weight[torch.tensor(features[0]["input_ids"])].mean(0)
    hidden = net.hidden(net.norm(mean)).relu()
    torch.testing.assert_close(seen.logits[0], net.classifier(hidden))
    assert seen.embedding is not None
    torch.testing.assert_close(seen.embedding[0], hidden)
    assert seen.hidden == ()
    assert seen.loss is not None
    alone = task.networks.observe(net, task.reader.collate(features[:1])).logits[0]
    torch.testing.assert_close(alone, seen.logits[0])


def test_words_may_be_shown_as_vectors(folder: Path) -> None:
    task = TextClassification(LABELS).at(folder)
    net = task.networks.load(folder)
    batch = task.reader.collate(task.reader.encode(ROWS, folder))
    name, vectors = task.networks.continuous_input(net, batch)
    plain, replaced = task.networks.observe(net, batch), task.networks.observe(net, {**batch, name: vectors})
    torch.testing.assert_close(replaced.logits, plain.logits)
    assert task.networks.token_table(net).shape == (21, 8)


def test_one_that_would_run_code_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    said = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**said, "auto_map": {"AutoConfig": "mine.Config"}}))
    with pytest.raises(ModelError, match="auto_map"):
        TextClassification(LABELS).networks.load(tmp_path)
    assert not is_static(save_encoder(tmp_path / "encoder"))
