"""Students cut out of a Swin2SR."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_restoration import saved, small_task, swin

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import config_in
from kd2deploy.train.shapes import candidates, shape_label, smaller
from kd2deploy.train.student import Trim, shrink
from kd2deploy.train.windowed import blocks_of, flat_name, windowed_name


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(swin(16, (4, 4, 4)), tmp_path_factory.mktemp("swin"))


def answer(folder: Path) -> torch.Tensor:
    task = small_task()
    pixels = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = task.networks.observe(task.networks.load(folder), {"pixel_values": pixels}).values
    assert values is not None
    return values


def test_a_full_size_student_answers_as_the_teacher(teacher: Path, tmp_path: Path) -> None:
    made = shrink(teacher, tmp_path, small_task())
    assert made.copied_share == 1
    assert not made.notes
    torch.testing.assert_close(answer(tmp_path), answer(teacher))


def test_fewer_stages_and_blocks_have_exactly_the_teachers_weights(teacher: Path, tmp_path: Path) -> None:
    made = shrink(teacher, tmp_path, small_task(), Trim(layers=(2, 2)))
    assert made.layer_map == ((0, 0), (1, 3), (2, 8), (3, 11))
    assert made.copied_share == 1
    given = small_task().networks.load(teacher).state_dict()
    names = {"stages.0.layers.1.": "stages.0.layers.3.", "stages.1.layers.0.": "stages.2.layers.0."}
    for name, weight in small_task().networks.load(tmp_path).state_dict().items():
        own = next((name.replace(one, other) for one, other in names.items() if one in name), None)
        if own is not None:
            assert torch.equal(weight, given[own]), name


@pytest.mark.parametrize("trim", [Trim(hidden=8), Trim(hidden=8, heads=1), Trim(layers=(2, 2), hidden=12, heads=2)])
def test_a_narrower_student_starts_from_the_teachers_weights_and_can_be_run(
    trim: Trim, teacher: Path, tmp_path: Path
) -> None:
    made = shrink(teacher, tmp_path, small_task(), trim)
    assert made.copied_share == 1
    assert answer(tmp_path).shape == (1, 3, 16, 24)
    net: Any = small_task().networks.load(tmp_path)
    assert net.config.embed_dim == trim.hidden
    assert made.parameters == sum(weight.numel() for weight in net.parameters())


def test_names_lead_to_the_teachers_weights() -> None:
    assert blocks_of((6, 6, 6), (2, 3)) == [0, 5, 12, 14, 17]
    name = "swin2sr.encoder.stages.1.layers.2.attention.self.query.weight"
    assert windowed_name(name, (6, 6, 6), (2, 3)) == name.replace("stages.1.layers.2", "stages.2.layers.5")
    assert (
        windowed_name("swin2sr.encoder.stages.1.conv.bias", (6, 6, 6), (2, 3)) == "swin2sr.encoder.stages.2.conv.bias"
    )
    assert windowed_name("upsample.conv.weight", (6, 6, 6), (2, 3)) == "upsample.conv.weight"
    assert flat_name(name, (6, 6, 6)) == "swin2sr.encoder.layers.8.attention.self.query.weight"


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"hidden": 32}, "hidden must be one number, 1 to the teacher's 16"),
        ({"layers": [5]}, "depths must be up to 3 numbers, each 1 to 4"),
        ({"hidden": 13}, "needs heads that divide it"),
        ({"intermediate": 8}, "intermediate follows its width"),
    ],
)
def test_sizes_that_the_teacher_cannot_give_are_refused(sizes: dict[str, Any], said: str, teacher: Path) -> None:
    with pytest.raises(ModelError, match=said):
        smaller(config_in(teacher), **sizes)


def test_every_candidate_can_be_made_with_its_parameters(teacher: Path, tmp_path: Path) -> None:
    found = candidates(teacher, layers=[6], length=20 * 30)
    assert [shape.flops for shape in found] == sorted((shape.flops for shape in found), reverse=True)
    for shape in found[:2]:
        made = shrink(
            teacher, tmp_path / shape_label(shape), small_task(), Trim(**shape.arguments(), initialise="random")
        )
        assert made.parameters == shape.parameters
