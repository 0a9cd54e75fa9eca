"""Students cut out of speech networks: blocks of every family, width where its convolutions allow it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_speech import FAMILIES, noise, save_speech, speech_task

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import config_in
from kd2deploy.networks.frames import WAVES, body_of, frames, front_end
from kd2deploy.networks.hearing import hearing
from kd2deploy.train.narrow import cut_in_groups, strongest_in_groups
from kd2deploy.train.shapes import KEPT_WIDTH, candidates, flops
from kd2deploy.train.student import Trim, shrink


def made(tmp_path: Path, family: str, wanted: Trim) -> tuple[Any, torch.nn.Module, torch.nn.Module, Any]:
    teacher = save_speech(tmp_path / "teacher", family, num_hidden_layers=4)
    found = shrink(teacher, tmp_path / "student", speech_task(), wanted)
    task = speech_task().at(tmp_path / "student")
    return task, task.networks.load(teacher), task.networks.load(tmp_path / "student"), found


def logits(task: Any, net: torch.nn.Module, folder: Path) -> torch.Tensor:
    features = [{task.reader.heard_as: hearing(folder).features(noise(0.5))}]
    seen: torch.Tensor = task.networks.observe(net, dict(task.reader.collate(features))).logits
    return seen


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_student_of_full_size_answers_as_the_teacher(family: str, tmp_path: Path) -> None:
    task, teacher, student, found = made(tmp_path, family, Trim())
    assert found.copied_share == 1
    assert not found.notes
    torch.testing.assert_close(
        logits(task, student, tmp_path / "student"), logits(task, teacher, tmp_path / "teacher"), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_shallow_student_has_the_teachers_blocks_and_front_end(family: str, tmp_path: Path) -> None:
    _, teacher, student, found = made(tmp_path, family, Trim(layers=2))
    assert found.layer_map == ((0, 0), (1, 3))
    assert found.copied_share == 1
    given = teacher.state_dict()
    for name, weight in student.state_dict().items():
        own = name if "subsampling" in name else name.replace("encoder.layers.1.", "encoder.layers.3.")
        assert torch.equal(weight, given[own]), name


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_feed_forward_layers_are_cut_in_every_family(family: str, tmp_path: Path) -> None:
    task, _, student, found = made(tmp_path, family, Trim(layers=2, intermediate=20))
    config: Any = student.config
    assert body_of(config).intermediate_size == 20
    assert found.copied_share == 1
    assert logits(task, student, tmp_path / "student").isfinite().all()


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - KEPT_WIDTH))
def test_a_narrow_student_starts_from_the_teacher_alone(family: str, tmp_path: Path) -> None:
    task, _, student, found = made(tmp_path, family, Trim(layers=2, hidden=8))
    config: Any = student.config
    assert (config.hidden_size, config.num_attention_heads) == (8, 2)
    assert found.copied_share == 1
    assert logits(task, student, tmp_path / "student").isfinite().all()


@pytest.mark.parametrize("family", sorted(set(FAMILIES) & KEPT_WIDTH))
def test_a_family_that_keeps_its_width_says_so(family: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"a {family} keeps its width and heads"):
        made(tmp_path, family, Trim(hidden=8))


def test_a_width_that_no_group_can_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="convolves its positions in 2 groups"):
        made(tmp_path, "wav2vec2", Trim(hidden=9, heads=3))


def test_the_candidates_of_a_plan_fit_their_family(tmp_path: Path) -> None:
    for family in FAMILIES:
        teacher = save_speech(tmp_path / family, family, num_hidden_layers=4)
        found = candidates(teacher, length=4000)
        assert {shape.hidden for shape in found} == ({16} if family in KEPT_WIDTH else {16, 8})
        assert len({shape.layers for shape in found}) > 1
        assert [shape.flops for shape in found] == sorted((shape.flops for shape in found), reverse=True)


def test_work_is_counted_by_frames_and_not_by_samples(tmp_path: Path) -> None:
    config = config_in(save_speech(tmp_path / "net"))
    assert frames(4000, front_end(config.to_dict())) == 99
    assert flops(config, 4000) == 2 * (2 * 99 * (4 * 16**2 + 2 * 16 * 32) + 4 * 99**2 * 16)
    assert flops(config, 4000) == flops(config, 4001)


def test_units_are_kept_in_groups() -> None:
    scores = torch.tensor([9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0])
    assert strongest_in_groups(scores, 4, 2).tolist() == [0, 1, 6, 7]
    assert strongest_in_groups(scores, 4, 1).tolist() == [0, 1, 2, 3]


def test_a_convolution_in_groups_keeps_what_its_units_exchange() -> None:
    """[4, 2, 1] in two groups: unit 3 of the second group reads units 2 and 3, and keeps what it reads of itself."""
    weight = torch.arange(8.0).reshape(4, 2, 1)
    assert cut_in_groups(weight, torch.tensor([0, 3])).flatten().tolist() == [0.0, 7.0]
    assert torch.equal(cut_in_groups(weight, torch.arange(4)), weight)


@pytest.mark.parametrize("family", sorted(WAVES))
@pytest.mark.parametrize("norm", ["layer", "group"])
def test_a_front_end_keeps_its_strongest_channels_and_its_rate(family: str, norm: str, tmp_path: Path) -> None:
    teacher = save_speech(tmp_path / "teacher", family, feat_extract_norm=norm)
    found = shrink(teacher, tmp_path / "student", speech_task(), Trim(front=[4, 6]))
    task = speech_task().at(teacher)
    whole, student = (task.networks.load(folder) for folder in (teacher, tmp_path / "student"))
    config: Any = student.config
    assert list(config.conv_dim) == [4, 6]
    assert found.copied_share == 1
    assert logits(task, student, teacher).shape == logits(task, whole, teacher).shape
    first = "feature_extractor.conv_layers.0.conv.weight"
    (name,) = [one for one in whole.state_dict() if one.endswith(first)]
    given, own = whole.state_dict()[name], student.state_dict()[name]
    kept = [int((given == row).flatten(1).all(1).nonzero()) for row in own]
    assert kept == sorted(kept)
    assert len(set(kept)) == 4


def test_front_and_width_are_cut_together(tmp_path: Path) -> None:
    task, _, student, found = made(tmp_path, "wav2vec2", Trim(layers=2, hidden=8, front=[6, 4]))
    assert found.copied_share == 1
    assert logits(task, student, tmp_path / "student").isfinite().all()
    assert student.get_parameter("wav2vec2.feature_projection.projection.weight").shape == (8, 4)


def test_a_channel_that_carries_nothing_goes_first(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    teacher = save_speech(tmp_path / "teacher")
    weights = load_file(teacher / "model.safetensors")
    first = "wav2vec2.feature_extractor.conv_layers.0.conv.weight"
    weights[first][2] *= 1e-3
    save_file(weights, teacher / "model.safetensors", metadata={"format": "pt"})
    shrink(teacher, tmp_path / "student", speech_task(), Trim(front=[7, 8]))
    own = load_file(tmp_path / "student" / "model.safetensors")[first]
    assert torch.equal(own, weights[first][[0, 1, 3, 4, 5, 6, 7]])


@pytest.mark.parametrize(
    ("family", "front", "words"),
    [
        ("wav2vec2", [4], r"front must be 2 numbers, each 1 to the teacher's \[8, 8\], got \[4\]"),
        ("wav2vec2", [4, 9], "front must be 2 numbers"),
        ("parakeet_ctc", [4, 4], "a parakeet_ctc has no front end that is made thinner"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(family: str, front: list[int], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        made(tmp_path, family, Trim(front=front))
