"""Several networks cut out of one teacher, within the budget of one."""

from pathlib import Path

import pytest
import torch
from tiny_models import save_encoder, save_image_net

from kd2deploy.core.members import members_in
from kd2deploy.errors import ModelError
from kd2deploy.networks.folder import check_folder
from kd2deploy.networks.several import Several
from kd2deploy.networks.weights import parameters_of
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.members import split
from kd2deploy.train.student import Trim, shrink

LABELS = ["neg", "pos"]
TASK = TextClassification(LABELS)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("teacher"), labels=LABELS, layers=4, hidden=32)


def test_student_and_assistant_together_cost_no_more_than_one_small_network(teacher: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "pair", Trim(layers=3, hidden=24)
    made = split(teacher, out, TASK, [Trim(layers=2, hidden=16), Trim(layers=1, hidden=8)], combine="sum", budget=one)
    alone = shrink(teacher, tmp_path / "one", TASK, one)
    assert made.parameters == parameters_of(out) < alone.parameters
    assert f"networks have {made.parameters:,} parameters" in made.notes[0]
    assert f"the one network of `budget` has {alone.parameters:,} parameters" in made.notes[0]
    assert 0 < made.copied_share <= 1
    how = members_in(out)
    assert how is not None
    assert (how.names, how.combine, how.weights) == (("network-1", "network-2"), "sum", (1.0, 1.0))
    check_folder(out)
    net = TASK.at(out).networks.load(out)
    assert isinstance(net, Several)
    assert (out / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    "wanted", [[Trim(layers=3, hidden=24), Trim(layers=1, hidden=8)], [Trim(layers=4, hidden=16)] * 2]
)
def test_a_pair_above_its_budget_is_refused_before_it_is_made(
    teacher: Path, tmp_path: Path, wanted: list[Trim]
) -> None:
    with pytest.raises(
        ModelError, match=r"student\.members: the networks have .* together, and the one network of"
    ) as no:
        split(teacher, tmp_path, TASK, wanted, combine="sum", budget=Trim(layers=3, hidden=24))
    assert "\n" not in str(no.value)
    assert list(tmp_path.iterdir()) == []


def test_operations_count_as_parameters_do(teacher: Path, tmp_path: Path) -> None:
    """Two of half the width have fewer parameters than one, and with twice the blocks as many operations or more."""
    deep, flat = Trim(layers=4, hidden=16), Trim(layers=1, hidden=32)
    with pytest.raises(ModelError, match="make a member smaller or the budget larger"):
        split(teacher, tmp_path, TASK, [deep, deep], combine="sum", budget=flat)


def test_two_of_one_shape_are_apart_where_they_are_random(teacher: Path, tmp_path: Path) -> None:
    both = [Trim(layers=1, hidden=16, initialise="random")] * 2
    made = split(teacher, tmp_path, TASK, both, combine="mean")
    net = TASK.at(tmp_path).networks.load(tmp_path)
    one, other = (TASK.networks.head(member).weight for member in net.members)  # type: ignore[union-attr]
    assert not torch.equal(one, other)
    assert made.copied_share == 0
    assert "budget" not in made.notes[0]


def test_pictures_are_counted_at_the_size_that_they_are_read_in(tmp_path: Path) -> None:
    task = ImageClassification(("zero", "one", "two"), channels=1, height=16, width=16)
    teacher = save_image_net(tmp_path / "teacher", "resnet")
    small, smaller = Trim(layers=[1, 1], hidden=[4, 8]), Trim(layers=[1, 1], hidden=[2, 4])
    made = split(
        teacher, tmp_path / "pair", task, [small, smaller], combine="sum", budget=Trim(layers=[2, 2], hidden=[8, 16])
    )
    assert made.parameters == parameters_of(tmp_path / "pair")
    assert "million operations a row" in made.notes[0]
