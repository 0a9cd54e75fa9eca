"""Each kind of broken file in a network's folder: one line that names it, before anything is built."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_encoder

from kd2deploy.core import build_task
from kd2deploy.errors import Kd2DeployError, ModelError, TrustError
from kd2deploy.networks import size
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.train.checkpoint import create, locate

TASK = build_task({"use": "text_classification", "labels": ["neg", "pos"], "max_length": 16})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "network", labels=["neg", "pos"])


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_hidden_layers": 10**6}, "no network of more than 1000 blocks"),
        ({"hidden_size": 4 * 10**6}, "billion weights"),
        ({"vocab_size": 10**9, "hidden_size": 256}, "billion weights"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"id2label": ["neg", "pos"]}, "names by their places"),
        ({"id2label": {"0": "neg", "²": "pos"}}, "names by their places"),
        ({"max_position_embeddings": "64"}, "must be a whole number"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_attention_heads": 0}, "cannot be built so"),
        ({"model_type": ["bert"]}, "names no model_type"),
        ({"model_type": "none"}, "model type `none`"),
        ({"auto_map": {"AutoModel": "evil.Evil"}}, "remote code is not trusted"),
        ({"text_config": {"auto_map": {}}}, "remote code is not trusted"),
        ({"attn_implementation": "someone/kernels"}, "would be fetched and run"),
        ({"architectures": ["\ud800"]}, "half of a character"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_line(folder: Path, fields: dict[str, Any], words: str) -> None:
    change(folder / "config.json", **fields)
    with pytest.raises(ModelError) as caught:
        TASK.networks.load(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def read(folder: Path) -> None:
    """The network and its tokenizer, as a run reads them."""
    locate(str(folder))
    TASK.networks.load(folder)
    TASK.reader.encode([{"text": "a", "label": None}], folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe{}", b"[]", b"null", b"3", b"{", b'{"a":' * 200_000, b"[" * 200_000, b'{"a": "\\ud800"}'],
)
def test_a_file_that_is_no_object_is_one_line(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    tokenizer.cache_clear()
    with pytest.raises(Kd2DeployError) as caught:
        read(folder)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("most", [-1, 0, "512", True, None, [1]])
def test_a_length_that_is_none_is_one_line(folder: Path, most: Any) -> None:
    change(folder / "tokenizer_config.json", model_max_length=most)
    tokenizer.cache_clear()
    if most is None:  # not set: as long as the network reads
        assert TASK.reader.encode([{"text": "a", "label": None}], folder)
        return
    with pytest.raises(ModelError, match="tokenizer"):
        TASK.reader.encode([{"text": "a", "label": None}], folder)


def test_a_tokenizers_own_code_is_not_run(folder: Path) -> None:
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    tokenizer.cache_clear()
    with pytest.raises(ModelError, match="remote code is not trusted"):
        tokenizer(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    tokenizer.cache_clear()
    with pytest.raises(Kd2DeployError):
        read(folder)


INDEXES: dict[str, tuple[str, type[Kd2DeployError], str]] = {
    "no weight_map": ("{}", ModelError, "has no weight_map"),
    "an empty one": ('{"weight_map": {}}', ModelError, "has no weight_map"),
    "a list": ('{"weight_map": ["a"]}', ModelError, "has no weight_map"),
    "numbers": ('{"weight_map": {"a": 1}}', ModelError, "has no weight_map"),
    "a list of its own": ("[]", ModelError, "an object with names belongs"),
    "outside": ('{"weight_map": {"a": "../secret.safetensors"}}', TrustError, "no file inside it"),
    "absolute": ('{"weight_map": {"a": "/etc/passwd"}}', TrustError, "no file inside it"),
    "by a link": ('{"weight_map": {"a": "link.safetensors"}}', TrustError, "leads out of"),
    "absent": ('{"weight_map": {"a": "gone.safetensors"}}', ModelError, "is not there"),
}


@pytest.mark.parametrize(("text", "kind", "words"), INDEXES.values(), ids=INDEXES.keys())
def test_an_index_of_shards_names_files_of_its_folder(
    folder: Path, text: str, kind: type[Kd2DeployError], words: str
) -> None:
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    (folder / "link.safetensors").symlink_to(folder.parent / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(kind, match=words):
        locate(str(folder))


def test_what_does_not_fit_is_not_built(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "available_bytes", lambda: 1000)
    with pytest.raises(ModelError, match="of memory are free here"):
        TASK.networks.load(folder)
    with pytest.raises(ModelError, match="of memory are free here"):
        create({"model_type": "bert", "hidden_size": 16, "num_attention_heads": 2}, tmp_path / "new", TASK)
    with pytest.raises(ModelError, match="no network of more than 1000 blocks"):
        create({"model_type": "bert", "num_hidden_layers": 10**6}, tmp_path / "new", TASK)
    with pytest.raises(ModelError, match="a `model_type` that transformers knows"):
        create({"model_type": ["bert"]}, tmp_path / "new", TASK)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(size, "LIMITS", (limit, tmp_path / "absent"))
    limit.write_text("1048576\n")
    assert size.available_bytes() == 1048576
    limit.write_text("max\n")
    assert size.available_bytes() > 1048576


def test_a_missing_tokenizer_names_the_folder_that_was_given(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    tokenizer.cache_clear()
    with pytest.raises(ModelError) as caught:
        TASK.reader.check_inputs(folder)
    assert str(folder) in str(caught.value)
