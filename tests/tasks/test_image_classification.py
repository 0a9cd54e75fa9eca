import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tasks.odd_pictures import odd_pictures
from tiny_models import save_image_net, save_image_processor

from kd2deploy.core import Artifact, build_task
from kd2deploy.core.serving import code_that_opens
from kd2deploy.errors import DataError, ModelError
from kd2deploy.networks.image_processor import read_alike
from kd2deploy.stages.job import TORCH_SESSION
from kd2deploy.tasks._image_reader import ports_of
from kd2deploy.tasks.image_classification import ImageClassification

LABELS = ["zero", "one", "two"]


def picture(height: int = 20, width: int = 18, channels: int | None = None, seed: int = 0) -> "np.ndarray[Any, Any]":
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_requests_are_made_of_files_as_features_are_fed(tmp_path: Path) -> None:
    """Of every form of a picture a client sends a file, and it holds the same pixels."""
    save_image_net(tmp_path, "vit")
    task = ImageClassification(LABELS).at(tmp_path)
    Image.fromarray(picture(seed=1)).save(tmp_path / "own.png")
    stored = io.BytesIO()
    Image.fromarray(picture(seed=2)).save(stored, "PNG")
    given = [picture(), Image.fromarray(picture(seed=3)), tmp_path / "own.png", stored.getvalue(), picture(channels=3)]
    rows = [{"image": one, "label": 0, "index": at} for at, one in enumerate(given)]
    sent = [task.reader.sent(row, tmp_path / f"{at:06d}") for at, row in enumerate(rows)]
    assert all(row["image"].is_file() and row["label"] is None for row in sent)
    assert sent[2]["image"] == tmp_path / "own.png"
    made = task.reader.preparing(tmp_path)(sent)["pixel_values"]
    assert np.array_equal(made, task.reader.feed(task.reader.encode(rows, tmp_path))["pixel_values"])


@pytest.mark.parametrize(
    ("family", "hidden", "maps"),
    [
        ("vit", [(17, 16)] * 3, 2),
        ("resnet", [(16, 8), (16, 8), (4, 16)], 0),
        ("convnext", [(64, 8), (64, 8), (16, 16)], 0),
        ("mobilenet_v2", None, 0),
    ],
)
def test_observation_has_what_was_asked_for(family: str, hidden: Any, maps: int, tmp_path: Path) -> None:
    save_image_net(tmp_path, family)
    task = ImageClassification(LABELS).at(tmp_path)
    net = task.networks.load(tmp_path)
    rows = [{"image": picture(seed=seed), "label": seed % 3, "index": seed} for seed in range(4)]
    features = task.reader.encode(rows, tmp_path)
    batch = task.reader.collate(features)
    seen = task.networks.observe(net, batch, needs=frozenset({"hidden", "attentions", "embedding"}))
    assert seen.embedding is not None
    torch.testing.assert_close(task.networks.head(net)(seen.embedding), seen.logits)
    assert all(states.dim() == 3 and states.shape[0] == 4 for states in seen.hidden)
    if hidden is not None:
        assert [tuple(states.shape[1:]) for states in seen.hidden] == hidden
    assert len(seen.attentions) == maps
    assert seen.mask is None
    expected = torch.nn.functional.cross_entropy(seen.logits, torch.tensor([0, 1, 2, 0]))
    assert seen.loss is not None
    torch.testing.assert_close(seen.loss, expected)
    (logits,) = task.networks.deployed(net)(torch.from_numpy(task.reader.feed(features)["pixel_values"]))
    torch.testing.assert_close(logits, seen.logits, atol=1e-5, rtol=1e-4)
    (logits,) = task.networks.deployed(net)(*task.networks.example(net, 2).values())
    assert logits.shape == (2, 3)


def test_a_picture_is_the_same_as_array_file_and_bytes(tmp_path: Path) -> None:
    save_image_net(tmp_path)
    task = ImageClassification(LABELS).at(tmp_path)
    array = picture()
    stored = io.BytesIO()
    Image.fromarray(array).save(stored, "PNG")
    (tmp_path / "one.png").write_bytes(stored.getvalue())
    forms = [array, array[..., None], Image.fromarray(array), str(tmp_path / "one.png"), stored.getvalue()]
    features = task.reader.encode([{"image": form, "label": 0} for form in forms], tmp_path)
    assert features[0]["pixel_values"].dtype == np.uint8
    assert all(np.array_equal(one["pixel_values"], features[0]["pixel_values"]) for one in features)
    values = task.reader.feed(features)["pixel_values"]
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0], (features[0]["pixel_values"] / 255 - 0.5) / 0.25, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4)), "uint8"),
        (np.zeros((4, 4, 2), dtype=np.uint8), "uint8"),
        ("nowhere.png", "no file"),
        (b"no picture", "encoded image"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_row(image: Any, words: str, tmp_path: Path) -> None:
    save_image_net(tmp_path)
    with pytest.raises(DataError, match=f"row 7: .*({words})"):
        ImageClassification(LABELS).reader.encode([{"image": image, "label": 0, "index": 7}], tmp_path)


def test_ports_are_read_from_the_folder(tmp_path: Path) -> None:
    save_image_net(tmp_path, "resnet", size=24, channels=3)
    assert ports_of(tmp_path) == {"channels": 3, "height": 24, "width": 24}
    task = ImageClassification(LABELS, metric="macro_f1").at(tmp_path)
    assert task.inputs[0].axes == ("batch_size", 3, 24, 24)
    assert build_task(task.spec()).spec() == task.spec()


def test_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    save_image_net(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="no preprocessor_config"):
        ports_of(tmp_path)


@pytest.mark.parametrize(
    "described",
    [
        {"size": {"height": 9, "width": 13}, "resample": 3},
        {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 20}, "crop_size": 16},
        {"image_processor_type": "EfficientNetImageProcessor", "size": 16, "rescale_offset": True},
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of Pillow, at what is meant: it is dropped
def test_the_snippet_prepares_as_the_task_does(
    described: dict[str, Any], channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_image_net(tmp_path, "resnet", channels=channels)
    plain = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.4], "image_std": [0.2]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**plain, **described}))
    task = ImageClassification(LABELS).at(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    net = task.networks.load(tmp_path)
    opening = code_that_opens(Artifact(tmp_path, "", TORCH_SESSION), task.networks.auto, ".")
    exec(task.snippet(opening, tmp_path).replace('print(answer("picture.png"))', ""), names)
    for file in odd_pictures(tmp_path):
        features = task.reader.encode([task.reader.row(str(file))], tmp_path)
        assert np.array_equal(names["prepared"](file), task.reader.feed(features)["pixel_values"]), file
        seen = task.networks.observe(net, task.reader.collate(features))
        assert names["answer"](file) == task.metric.answer({"logits": seen.logits.detach().numpy()})[0]["label"]


def test_the_snippet_refuses_what_training_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image_net(tmp_path, "resnet")
    task = ImageClassification(LABELS).at(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    opening = code_that_opens(Artifact(tmp_path, "", TORCH_SESSION), task.networks.auto, ".")
    exec(task.snippet(opening, tmp_path).replace('print(answer("picture.png"))', ""), names)
    for mode in ("I", "F", "LAB"):
        Image.new(mode, (4, 4)).save(tmp_path / "odd.tif")
        with pytest.raises(SystemExit, match=f"odd.tif holds {mode}"):
            names["prepared"]("odd.tif")


def test_images_agree_by_processing_and_channels(tmp_path: Path) -> None:
    for name, channels in (("one", 1), ("same", 1), ("colour", 3), ("size", 1)):
        save_image_net(tmp_path / name, "resnet", channels=channels)
    save_image_processor(tmp_path / "size", 32)
    assert read_alike(tmp_path / "one", tmp_path / "same")
    assert not read_alike(tmp_path / "one", tmp_path / "colour")
    assert not read_alike(tmp_path / "one", tmp_path / "size")


def test_a_file_that_is_no_picture_says_why(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    flaw = ImageClassification.reads.flaw
    assert not flaw(str(tmp_path / "whole.png"))
    assert not flaw((tmp_path / "whole.png").read_bytes())
    assert not flaw(picture())
    for name in ("cut.png", "none.png"):
        assert name in flaw(str(tmp_path / name))


def test_the_accuracy_among_the_five_likeliest_is_told_where_there_are_more_classes() -> None:
    task = ImageClassification([str(place) for place in range(7)])
    logits = np.tile(np.arange(7.0, dtype=np.float32), (7, 1))  # class 6 is the likeliest, class 0 the least
    rows = [{"label": place} for place in range(7)]
    found = task.metric.score({"logits": logits}, rows)
    assert found.metrics["accuracy"] == pytest.approx(1 / 7)
    assert found.metrics["top5_accuracy"] == pytest.approx(5 / 7)
    assert found.classes == {str(place): float(place == 6) for place in range(7)}
    assert task.metric.at(found.statistics, np.array([6])) == 1.0
    few = ImageClassification(LABELS).metric.score({"logits": logits[:3, :3]}, rows[:3])
    assert "top5_accuracy" not in few.metrics
