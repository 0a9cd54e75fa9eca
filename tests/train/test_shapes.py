from pathlib import Path

import pytest
import torch
from tiny_models import encoder_config, save_encoder, save_image_net

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import config_in
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.shapes import candidates, flops, shape_label, smaller
from kd2deploy.train.student import Trim, shrink


def test_encoder_grid_is_ordered_by_work_and_leaves_out_the_teacher(tmp_path: Path) -> None:
    save_encoder(tmp_path, layers=4, hidden=32)
    found = candidates(tmp_path)
    labels = [shape_label(shape) for shape in found]
    assert labels[0] == "3 x 32"
    assert "4 x 32" not in labels
    assert labels[-1] == "1 x 8"
    assert len(set(labels)) == len(labels)
    assert [shape.flops for shape in found] == sorted((shape.flops for shape in found), reverse=True)


@pytest.mark.parametrize("family", ["bert", "distilbert", "deberta-v2", "modernbert", "electra"])
def test_every_encoder_candidate_can_be_made_with_its_parameters(family: str, tmp_path: Path) -> None:
    save_encoder(tmp_path / "teacher", family, layers=3, hidden=32)
    task = TextClassification(["neg", "pos"]).at(tmp_path / "teacher")
    found = candidates(tmp_path / "teacher", layers=[2])
    assert found
    for shape in found:
        made = shrink(
            tmp_path / "teacher", tmp_path / shape_label(shape), task, Trim(**shape.arguments(), initialise="random")
        )
        assert made.parameters == shape.parameters


@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_every_candidate_in_stages_can_be_made_with_its_parameters(family: str, tmp_path: Path) -> None:
    save_image_net(tmp_path / "teacher", family)
    task = ImageClassification(["zero", "one", "two"]).at(tmp_path / "teacher")
    found = candidates(tmp_path / "teacher")
    assert shape_label(found[-1]) == "1+1 x 2-4"
    for shape in found:
        made = shrink(tmp_path / "teacher", tmp_path / shape_label(shape), task, Trim(**shape.arguments()))
        assert (made.parameters, made.copied_share) == (shape.parameters, 1)


def test_flops_of_a_block_by_hand() -> None:
    config = encoder_config("bert", layers=1, hidden=16)
    linear = 4 * 16 * 16 + 2 * 16 * 32
    attention = 2 * 10 * 10 * 16
    assert flops(config, 10) == 2 * (10 * linear + attention)


@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_flops_in_stages_are_those_that_torch_counts(family: str, tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    save_image_net(tmp_path, family)
    task = ImageClassification(["zero", "one", "two"]).at(tmp_path)
    net = task.networks.load(tmp_path)
    with FlopCounterMode(display=False) as counter:
        task.networks.observe(net, task.networks.example(net, 1))
    head = 2 * 16 * 3
    assert flops(config_in(tmp_path), 16) == counter.get_total_flops() - head


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("efficientnet", "width_coefficient and depth_coefficient"),
        ("mobilenet_v1", "depth_multiplier"),
        ("mobilenet_v2", "depth_multiplier"),
        ("mobilevit", "hidden_sizes and neck_hidden_sizes"),
        ("mobilevitv2", "width_multiplier"),
        ("swin", "depths, embed_dim and num_heads"),
        ("swinv2", "depths, embed_dim and num_heads"),
        ("levit", ""),
    ],
)
def test_a_family_that_is_not_cut_is_refused_with_the_fields_that_make_it_smaller(family: str, fields: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(family)
    said = f"model_type: {family}, ...}}}}`, with {fields}," if fields else "model_type: ...}}`"
    with pytest.raises(ModelError, match=f"^a {family} cannot be shrunk") as caught:
        smaller(config)
    assert said in str(caught.value)
    assert all(name in config.to_dict() for name in fields.replace(" and", ",").split(", ") if name)


def test_named_grid_is_checked(tmp_path: Path) -> None:
    save_encoder(tmp_path, layers=2, hidden=16)
    assert [shape_label(shape) for shape in candidates(tmp_path, layers=[2, 1], hidden=[16, 8])] == [
        "1 x 16",
        "2 x 8",
        "1 x 8",
    ]
    with pytest.raises(ModelError, match="layers must be"):
        candidates(tmp_path, layers=[3])
    with pytest.raises(ModelError, match="no student smaller"):
        candidates(tmp_path, layers=[2], hidden=[16])


def test_smaller_follows_the_width() -> None:
    found = smaller(encoder_config("bert", hidden=32), hidden=24)
    assert (found.num_attention_heads, found.intermediate_size) == (3, 48)


def test_nothing_is_allocated_to_count_parameters(tmp_path: Path) -> None:
    from kd2deploy.train.shapes import parameters

    config = encoder_config("bert", hidden=16)
    config.vocab_size = 10**10  # 640 GB of embeddings
    assert parameters(config) > 10**10
    assert torch.empty(0).device.type == "cpu"
