"""Folders that timm saved: told from others, their pictures prepared as timm does, and opened where timm imports."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_image_net

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import extras_of, read_config
from kd2deploy.networks.image_processor import processor_of as read_processor
from kd2deploy.networks.labels import answers_in, fields_of, labels_of
from kd2deploy.networks.timm_folder import is_timm, processor_of
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.checkpoint import locate, with_head

PICTURES: dict[str, Any] = {"input_size": [3, 224, 224], "crop_pct": 0.95, "interpolation": "bicubic"}
PICTURES |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def imported() -> str:
    """Why timm cannot be imported; empty where it can."""
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


WHY_NOT = imported()
with_timm = pytest.mark.skipif(bool(WHY_NOT), reason=f"timm does not import here: {WHY_NOT[:80]}")


def config(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    said = {"architecture": "resnet10t", "num_classes": 2, "pretrained_cfg": {**PICTURES, **changes}}
    (folder / "config.json").write_text(json.dumps({**said, "label_names": ["cat", "dog"]}))
    return folder


def test_a_folder_of_timm_is_told_from_one_of_transformers(tmp_path: Path) -> None:
    assert is_timm(config(tmp_path / "timm"))
    assert not is_timm(save_image_net(tmp_path / "other", "resnet"))
    assert not is_timm(tmp_path)


def test_a_square_is_cut_out_of_the_middle_of_what_is_resized_by_its_share() -> None:
    found = read_processor(processor_of(Path("net"), PICTURES))
    assert (found.shortest_edge, found.crop, found.resize) == (235, (224, 224), None)  # floor(224 / 0.95)
    assert found.resample == 3
    assert found.mean == pytest.approx([255 * one for one in PICTURES["mean"]])


def test_what_is_squashed_is_stretched_to_both_sides() -> None:
    found = read_processor(processor_of(Path("net"), {**PICTURES, "crop_mode": "squash", "input_size": [3, 96, 128]}))
    assert (found.resize, found.crop) == ((101, 134), (96, 128))


@pytest.mark.parametrize(
    "changes", [{"crop_mode": "border"}, {"interpolation": "random"}, {"input_size": [3, 96, 128]}]
)
def test_what_no_processor_here_does_is_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="which is not supported: only squares are cut out of the middle"):
        processor_of(Path("net"), {**PICTURES, **changes})


def test_labels_are_read_in_timms_words_too() -> None:
    assert labels_of({"label_names": ["cat", "dog"]}) == ["cat", "dog"]
    assert labels_of({"id2label": {"0": "a", "1": "b"}, "label_names": ["cat", "dog"]}) == ["a", "b"]


def test_a_new_heads_labels_are_named_in_timms_words_where_a_configuration_has_them() -> None:
    class Config:
        label_names = ("cat", "dog")

    answers = fields_of(["x", "y", "z"], "single_label_classification")
    assert answers_in(Config(), answers)["label_names"] == ["x", "y", "z"]
    assert answers_in(object(), answers) == answers


def test_the_extra_that_a_network_is_opened_with_is_known_from_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "timm_wrapper", "architecture": "resnet10t"}))
    assert extras_of(tmp_path) == {"timm"}
    assert extras_of(save_image_net(tmp_path / "other", "resnet")) == set()


@pytest.mark.skipif(not WHY_NOT, reason="timm imports here")
def test_without_timm_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"needs timm; pip install|timm cannot be imported here"):
        locate(str(config(tmp_path / "timm")))


@with_timm
def test_a_network_of_timm_is_opened_answers_as_there_and_takes_a_new_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file

    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", pretrained=False, num_classes=2).eval()
    folder = config(tmp_path / "timm", input_size=[3, 32, 32])
    save_file(net.state_dict(), folder / "model.safetensors")
    found = locate(str(folder))
    assert locate(str(folder)) == found
    assert labels_of(read_config(found)) == ["cat", "dog"]
    task = ImageClassification(["cat", "dog"]).at(found)
    pixels = torch.randn(2, 3, 32, 32)
    loaded = task.networks.load(found)
    seen = task.networks.observe(loaded, {"pixel_values": pixels}, needs=frozenset({"hidden", "embedding"}))
    torch.testing.assert_close(seen.logits, net(pixels))
    assert seen.embedding is not None
    assert len(seen.hidden) > 2
    other = ImageClassification(["one", "two", "three"]).at(found)
    headed = with_head(found, tmp_path / "headed", other)
    assert labels_of(read_config(headed)) == ["one", "two", "three"]
    assert other.networks.load(headed)(pixel_values=pixels).logits.shape == (2, 3)
