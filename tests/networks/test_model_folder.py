import json
from pathlib import Path

import pytest
import torch
from tiny_models import save_encoder, save_image_net

from kd2deploy.errors import ModelError
from kd2deploy.networks.folder import check_folder, network
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.networks.weights import parameters_of

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


def renamed(folder: Path, prefix: str) -> Path:
    from safetensors.torch import load_file, save_file

    file = save_encoder(folder) / "model.safetensors"
    save_file({prefix + name: weight for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("prefix", "inside"),
    [
        ("_orig_mod.", r"net\._orig_mod\.save"),
        ("module.", r"net\.module\.save"),
        ("model.", r"net\.model\.save"),
        ("module._orig_mod.", r"net\.module\._orig_mod\.save"),
    ],
)
def test_weights_of_a_wrapped_network_are_told_from_missing_ones(prefix: str, inside: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"begin with `{prefix}`.*{inside}"):
        network(AUTO, renamed(tmp_path, prefix))


def test_a_network_whose_own_names_begin_so_is_loaded(tmp_path: Path) -> None:
    save_encoder(tmp_path, "modernbert")  # its body is called `model`
    assert network(AUTO, tmp_path).base_model_prefix == "model"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes in 4 bits"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes in 8 bits"),
        ({"quant_method": "gptq", "bits": 4}, "gptq in 4 bits"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors in fewer bits"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao in fewer bits"),
    ],
)
def test_weights_stored_in_a_few_bits_are_refused(stored: dict[str, object], words: str, tmp_path: Path) -> None:
    save_encoder(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": stored}))
    with pytest.raises(ModelError, match=rf"{words}.*dequantize\(\)"):
        check_folder(tmp_path)


def test_rounded_weights_are_refused_also_where_the_configuration_is_silent(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save_encoder(tmp_path) / "model.safetensors"
    weights = load_file(file)
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file({**weights, name: weights[name].to(torch.int8)}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"{name} as I8"):
        check_folder(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    save_encoder(tmp_path)
    net = network(AUTO, tmp_path)
    with torch.no_grad():
        net.classifier.weight[0, 0] = value  # type: ignore[union-attr, index, operator]
    net.save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(ModelError, match=r"NaN or infinity in 1 of its weights \(classifier\.weight\)"):
        network(AUTO, tmp_path)


@pytest.mark.parametrize(
    "family", ["bert", "distilbert", "deberta-v2", "modernbert", "electra", "vit", "resnet", "convnext", "mobilenet_v2"]
)
def test_parameters_are_counted_by_the_headers_as_the_network_has_them(family: str, tmp_path: Path) -> None:
    """Tied weights are stored once; running statistics and tables of integers are no parameters."""
    image = family in ("vit", "resnet", "convnext", "mobilenet_v2")
    (save_image_net if image else save_encoder)(tmp_path, family)
    net = network("AutoModelForImageClassification" if image else AUTO, tmp_path)
    assert parameters_of(tmp_path) == sum(weight.numel() for weight in net.parameters())


def test_parameters_in_shards_are_counted_once(tmp_path: Path) -> None:
    whole = network(AUTO, save_encoder(tmp_path / "whole"))
    whole.save_pretrained(tmp_path / "shards", max_shard_size="20KB")  # type: ignore[operator]
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    save_encoder(tmp_path / "shards" / "old")
    (tmp_path / "shards" / "old" / "model.safetensors").rename(tmp_path / "shards" / "adapter.safetensors")
    assert parameters_of(tmp_path / "shards") == parameters_of(tmp_path / "whole")
