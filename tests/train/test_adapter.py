"""LoRA adapters: merged where peft is installed, refused with the lines that do it where it is not."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import save_encoder, save_tokenizer

from kd2deploy.errors import ModelError
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.checkpoint import locate

LABELS = ["neg", "pos", "odd"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path / "cache"))


def save_adapter(folder: Path, base: Path) -> torch.Tensor:
    """A random LoRA of a three-class BERT on a two-class base; its answers to one text."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(1)
    net = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, ignore_mismatched_sizes=True)
    with pytest.warns(FutureWarning, match="gradient_checkpointing"):
        made = peft.get_peft_model(
            net, peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
        ).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    made.save_pretrained(folder)
    save_tokenizer(folder)
    task = TextClassification(LABELS)
    batch = task.reader.collate(task.reader.encode([task.reader.row("a good film")], folder))
    with torch.no_grad():
        found: torch.Tensor = made(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits
    return found


def test_an_adapter_is_merged_and_answers_as_it_did(tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "base")
    expected = save_adapter(tmp_path / "adapter", base)
    folder = locate(str(tmp_path / "adapter"))
    task = TextClassification(LABELS).at(folder)
    found = task.networks.observe(
        task.networks.load(folder), task.reader.collate(task.reader.encode([task.reader.row("a good film")], folder))
    ).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert locate(str(tmp_path / "adapter")) == folder
    assert sorted(path.name for path in (tmp_path / "adapter").glob("model*")) == []


def described(folder: Path, **fields: object) -> Path:
    folder.mkdir()
    whole = {"base_model_name_or_path": "bert-base-uncased", "peft_type": "LORA", "task_type": "SEQ_CLS", **fields}
    (folder / "adapter_config.json").write_text(json.dumps(whole))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_without_peft_the_lines_that_merge_it_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"LORA adapter of bert-base-uncased.*kd2deploy\[lora\].*merge_and_unload"):
        locate(str(described(tmp_path / "adapter")))


def test_a_configuration_of_the_base_beside_it_does_not_make_it_a_network(tmp_path: Path) -> None:
    folder = described(tmp_path / "adapter", peft_type="IA3")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"IA3 adapter of bert-base-uncased.*merge it yourself"):
        locate(str(folder))
