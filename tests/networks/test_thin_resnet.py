"""Residual networks for small pictures: as large as the published ones, and folders like any other network's."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from kd2deploy.core import Task
from kd2deploy.core.own import THIN_RESNET, architecture_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.thin_resnet import Plain, Preactivated, ThinResNetConfig, ThinResNetForImageClassification
from kd2deploy.recipe import Recipe
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.checkpoint import create

LABELS = ["zero", "one", "two"]
SMALL: dict[str, Any] = {"model_type": THIN_RESNET, "stem": 4, "widths": [4, 8], "depths": [1, 2]}
RECIPES = Path(__file__).parents[2] / "kd2deploy" / "recipes" / "cifar100"


def made(**fields: Any) -> ThinResNetForImageClassification:
    return ThinResNetForImageClassification(ThinResNetConfig(num_labels=100, **fields))


def task() -> Task:
    return ImageClassification(LABELS, channels=1, height=16, width=16)


@pytest.mark.parametrize(
    ("fields", "weights"),
    [
        # by hand: stem 432, stages 13,824 + 51,200 + 204,800, normalizations 1,568, head 6,500
        ({}, 278_324),
        # by hand: stem 432, stages 32,768 + 131,072 + 524,288, normalizations 1,824, head 12,900
        ({"widths": (32, 64, 128), "depths": (2, 2, 2), "preactivated": True}, 703_284),
    ],
)
def test_resnet_20_and_wrn_16_2_have_their_weights(fields: dict[str, Any], weights: int) -> None:
    assert sum(weight.numel() for weight in made(**fields).parameters()) == weights


@pytest.mark.parametrize("preactivated", [False, True])
def test_its_states_are_the_stems_and_each_stages(preactivated: bool) -> None:
    net = made(stem=4, widths=(4, 8, 16), depths=(1, 1, 1), preactivated=preactivated).eval()
    seen = net(torch.randn(2, 3, 32, 32), output_hidden_states=True)
    assert [tuple(states.shape[1:]) for states in seen.hidden_states] == [
        (4, 32, 32),
        (4, 32, 32),
        (8, 16, 16),
        (16, 8, 8),
    ]
    last = seen.hidden_states[-1]
    last = F.relu(net.last_norm(last)) if preactivated else last
    torch.testing.assert_close(seen.logits, net.classifier(last.mean((-2, -1))))


def test_a_block_that_adds_nothing_gives_its_input() -> None:
    maps = torch.rand(2, 4, 6, 6)  # above 0, as what comes out of a block is
    plain, active = Plain(4, 4, 1).eval(), Preactivated(4, 4, 1).eval()
    with torch.no_grad():
        plain.second.weight.zero_()
        active.second.weight.zero_()
    torch.testing.assert_close(plain(maps), maps)
    torch.testing.assert_close(active(maps), maps)


@pytest.mark.parametrize("preactivated", [False, True])
def test_a_folder_of_one_is_made_read_and_taken_apart_as_any_networks(preactivated: bool, tmp_path: Path) -> None:
    create({**SMALL, "preactivated": preactivated}, tmp_path / "net", task())
    said = json.loads((tmp_path / "net" / "config.json").read_text())
    assert architecture_of(tmp_path / "net") == said["model_type"] == THIN_RESNET
    assert "auto_map" not in said
    at = task().at(tmp_path / "net")
    net, pixels = at.networks.load(tmp_path / "net"), torch.randn(2, 1, 16, 16)
    needs = frozenset({"hidden", "embedding"})
    seen = at.networks.observe(net, {"pixel_values": pixels, "labels": torch.tensor([0, 2])}, needs=needs)
    assert [tuple(states.shape) for states in seen.hidden] == [(2, 256, 4), (2, 256, 4), (2, 64, 8)]
    assert seen.embedding is not None
    assert seen.embedding.shape == (2, 8)
    assert seen.loss is not None
    (logits,) = at.networks.deployed(net)(pixels)
    torch.testing.assert_close(logits, seen.logits)


def test_stages_of_other_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="widths and depths name as many stages"):
        create({**SMALL, "depths": [1]}, tmp_path, task())


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_committed_recipes_name_what_they_say(file: Path) -> None:
    recipe = Recipe.read(file)
    assert recipe.teacher is not None
    assert recipe.teacher.fine_tune == recipe.distill[0].settings
    assert recipe.teacher.fine_tune.drops == [150 / 240, 180 / 240, 210 / 240]
    for role, named in zip((recipe.teacher.create, recipe.student.create), file.stem.split("_resnet"), strict=False):
        assert role is not None
        if file.stem.startswith("resnet") and "x4" not in file.stem:
            layers = int(named.removeprefix("resnet"))
            assert 6 * role["depths"][0] + 2 == layers
    for create_ in (recipe.teacher.create, recipe.student.create):
        assert create_ is not None
        ThinResNetConfig(**{name: value for name, value in create_.items() if name != "model_type"})
