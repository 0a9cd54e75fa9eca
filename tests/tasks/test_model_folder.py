import json
from pathlib import Path

import pytest
import torch
from tiny_models import save_encoder

from kd2deploy.errors import ModelError
from kd2deploy.tasks._folder import check_folder, network, tokenizer

AUTO = "AutoModelForSequenceClassification"


def test_whole_folder_is_loaded_in_eval_mode_and_float32(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    net = network(AUTO, tmp_path)
    assert not net.training
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}


def test_half_precision_weights_are_loaded_as_float32(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    network(AUTO, tmp_path).half().save_pretrained(tmp_path)  # type: ignore[operator]
    assert {weight.dtype for weight in network(AUTO, tmp_path).parameters()} == {torch.float32}


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="truncated or damaged"):
        network(AUTO, tmp_path)


def test_pickles_are_refused_with_the_remedy(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model.bin but no safetensors.*save_pretrained"):
        network(AUTO, tmp_path)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="model-00001-of-00001"):
        check_folder(tmp_path)


def test_remote_code_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "theirs.Model"}}))
    with pytest.raises(ModelError, match="remote code"):
        check_folder(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_broken_configuration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        check_folder(tmp_path)


def test_empty_and_absent_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no config"):
        check_folder(tmp_path)
    with pytest.raises(ModelError, match="not a folder"):
        check_folder(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no tokenizer"):
        tokenizer(tmp_path)
