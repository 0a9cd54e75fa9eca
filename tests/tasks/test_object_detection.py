"""What detectors read, answer, learn and show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_detectors import FAMILIES, QUERIES, SHAPES, SIDE, made_rows, save_detector, small_task

from kd2deploy.core import build_task
from kd2deploy.data.prepare import prepare
from kd2deploy.data.sample_scenes import sample_scenes
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError, ModelError
from kd2deploy.networks.image_processor import FILE, processor
from kd2deploy.tasks._objects import flaw_of, inside, objects_of, pixels_of, shares
from kd2deploy.tasks._scenes import SceneAugment, within
from kd2deploy.tasks.object_detection import ObjectDetection
from kd2deploy.train.student import Trim, shrink

DISC = {"category": "disc", "box": [8, 16, 32, 24]}
SHOWN = {"hidden", "features", "embedding"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder for each family, made when it is first asked for."""
    made: dict[str, Path] = {}

    def of(family: str) -> Path:
        if family not in made:
            made[family] = save_detector(tmp_path_factory.mktemp(family), family)
        return made[family]

    return of


# labels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("disc", "no list of objects"),
        ({"category": "disc"}, "no list of objects"),
        ([{"category": "disc"}], "object 1: .* is not made of category, box"),
        ([DISC, DISC | {"score": 1}], "object 2: .* is not made of"),
        ([DISC | {"category": " "}], "is no name"),
        ([DISC | {"box": [1, 2, 3]}], "not left, top, width and height"),
        ([DISC | {"box": [1, 2, float("nan"), 4]}], "not left, top, width and height"),
        ([DISC | {"box": [1, 2, 0, 4]}], "has no area"),
        ([DISC | {"crowd": 1}], "neither true nor false"),
    ],
)
def test_a_label_that_is_no_list_of_objects_is_told_by_its_object(label: Any, words: str) -> None:
    with pytest.raises(AssertionError if not words else DataError, match=words):
        raise DataError(flaw_of(label))


def test_a_box_is_cut_at_the_border_by_a_pixel_and_refused_beyond() -> None:
    cut = inside(np.array([[-0.5, 0, 10, 10], [95, 40, 5.9, 10.9]]), (100, 50))
    np.testing.assert_allclose(cut, [[0, 0, 9.5, 10], [95, 40, 5, 10]])
    with pytest.raises(ValueError, match=r"the box \[95, 40, 7, 10\].*outside of its picture of 100 x 50"):
        inside(np.array([[95.0, 40, 7, 10]]), (100, 50))
    with pytest.raises(ValueError, match="outside"):
        inside(np.array([[100.2, 40, 0.5, 5]]), (100, 50))


def test_shares_and_pixels_are_each_others_way_back() -> None:
    boxes = np.array([[8.0, 16, 32, 24]])
    assert shares(boxes, (64, 80)).tolist() == [pytest.approx([0.375, 0.35, 0.5, 0.3])]
    np.testing.assert_allclose(pixels_of(shares(boxes, (64, 80)), (64, 80)), boxes, rtol=1e-6)


def test_a_class_that_the_task_does_not_have_is_refused() -> None:
    with pytest.raises(DataError, match=r"row 3: 'cat' is not one of disc, square"):
        objects_of({"index": 3, "label": [DISC | {"category": "cat"}]}, ("disc", "square"), (64, 64))


def test_classes_are_collected_from_the_rows_and_unknown_ones_are_told() -> None:
    rows = made_rows(8)
    for row in rows:
        row["label"] = row["label"] or [DISC]
    splits = prepare(Tables(train=rows, eval=rows[:2]), ObjectDetection, {})
    assert splits.labels == tuple(sorted({one["category"] for row in rows for one in row["label"]}))
    strange = [{**rows[0], "label": [DISC | {"category": "cat"}]}, rows[1]]
    with pytest.raises(DataError, match=r"eval: row 1 has a class that is not one of disc, square, triangle: 'cat'"):
        prepare(Tables(train=rows, eval=strange, labels=SHAPES), ObjectDetection, {})
    told = prepare(Tables(train=rows, eval=rows[:2]), ObjectDetection, {"labels": [*SHAPES, "cat"]})
    assert any("no row shows cat" in said for said in told.warnings)
    with pytest.raises(DataError, match="no row names a class"):
        prepare(Tables(train=[{**row, "label": []} for row in rows], eval=rows[:2]), ObjectDetection, {})


# pictures -------------------------------------------------------------------------------------------------------


def test_a_picture_that_a_camera_turned_has_its_boxes_in_the_upright_one(tmp_path: Path, folders: Any) -> None:
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[:, :40] = 255  # stored: the left half is white; shown: turned, the upper half
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    row = {"image": tmp_path / "turned.png", "label": [{"category": "disc", "box": [0, 0, 40, 40]}], "index": 0}
    task = small_task().at(folders("yolos"))
    (read,) = task.reader.encode([row], folders("yolos"))
    assert read["pixel_values"][:, : SIDE // 2 - 2].min() == 255
    assert read["labels"].tolist() == [pytest.approx([0, 0.5, 0.25, 1, 0.5])]


def test_augmented_boxes_stay_on_their_objects(folders: Any) -> None:
    white = np.zeros((60, 90, 3), dtype=np.uint8)
    white[12:36, 18:54] = 255
    row = {"image": white, "label": [{"category": "disc", "box": [18, 12, 36, 24]}], "index": 0}
    rows = small_task().reader.drawing([row], folders("yolos"))
    for draw in range(8):
        read = rows.drawn(0, SceneAugment(crop=(0.6, 0.9), flip=0.5, light=0.1), (0, 0, draw))
        bright = read["pixel_values"][0] > 110
        (kind, x, y, w, h), across, down = (
            read["labels"][0],
            np.flatnonzero(bright.any(0)),
            np.flatnonzero(bright.any(1)),
        )
        assert kind == 0
        seen = [across[0] / SIDE, down[0] / SIDE, (across[-1] + 1) / SIDE, (down[-1] + 1) / SIDE]
        np.testing.assert_allclose([x - w / 2, y - h / 2, x + w / 2, y + h / 2], seen, atol=2.5 / SIDE)


def test_what_a_part_hardly_shows_is_no_object_there() -> None:
    objects = np.array([[0, 0.5, 0.5, 0.2, 0.2], [1, 0.1, 0.1, 0.2, 0.2]], dtype=np.float32)
    found = within(objects, 0.19, 0.19, 1, 1)
    assert found[:, 0].tolist() == [0]
    np.testing.assert_allclose(within(objects, 0.5, 0, 1, 1)[0], [0, 0.1, 0.5, 0.2, 0.2], atol=1e-6)


def test_a_processor_that_keeps_each_pictures_shape_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "net")
    (folder / FILE).write_text('{"image_processor_type": "YolosImageProcessor", "size": {"shortest_edge": 800}}')
    processor.cache_clear()  # which has read the file that lay there before
    with pytest.raises(ModelError, match="does not bring pictures to one size"):
        small_task().reader.check_inputs(folder)


# networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shows_its_scores_boxes_maps_and_what_they_are_matched_to(family: str, folders: Any) -> None:
    task = small_task().at(folders(family))
    net = task.networks.load(folders(family)).train()
    rows = made_rows()
    rows[1]["label"], rows[2]["label"] = [], [{"category": "disc", "box": [8, 16, 32, 24]}]
    batch = task.reader.collate(task.reader.encode(rows, folders(family)))
    seen = task.networks.observe(net, batch, needs=frozenset(SHOWN))
    classes = len(SHAPES) + task.background
    assert seen.logits is not None
    assert seen.loss is not None
    assert seen.logits.shape == (6, QUERIES, classes)
    assert seen.extras["boxes"].shape == (6, QUERIES, 4)
    assert seen.background == task.background == (family in ("yolos", "detr"))
    assert seen.embedding is not None
    assert seen.embedding.shape[0] == 6
    assert all(one.dim() == 4 and one.shape[:2] == (6, 32) for one in seen.features)
    assert len(seen.features) == (2 if family not in ("yolos", "detr", "conditional_detr") else 1)
    assert seen.hidden
    assert all(one.dim() == 3 for one in seen.hidden)
    matched = seen.extras["matched"]
    assert (matched[1] == -1).all()
    for row, objects in zip(matched, batch["labels"], strict=True):
        assert sorted(row[row >= 0].tolist()) == list(range(int((objects[:, 0] >= 0).sum())))
    seen.loss.backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_rows_without_a_label_are_answered_and_not_learnt(folders: Any) -> None:
    task = small_task().at(folders("detr"))
    net = task.networks.load(folders("detr"))
    rows = made_rows(4)
    rows[2] = {**rows[2], "label": None}
    mixed = task.reader.collate(task.reader.encode(rows, folders("detr")))
    labelled = task.reader.collate(task.reader.encode([rows[0], rows[1], rows[3]], folders("detr")))
    with torch.no_grad():
        one = task.networks.observe(net, mixed, needs=frozenset(SHOWN))
        other = task.networks.observe(net, labelled)
        alone = task.networks.observe(net, {name: value for name, value in mixed.items() if name != "labels"})
        none = task.networks.observe(net, {**mixed, "labels": torch.full((4, 1, 5), -100.0)})
    torch.testing.assert_close(one.loss, other.loss)
    torch.testing.assert_close(one.logits, alone.logits)
    assert (one.extras["matched"][2] == -1).all()
    assert none.loss == 0


def test_pictures_are_turned_with_their_boxes(folders: Any) -> None:
    task = small_task().at(folders("yolos"))
    batch = task.reader.collate(task.reader.encode(made_rows(3), folders("yolos")))
    once = task.networks.turned(batch, 1)
    assert once is not None
    again = task.networks.turned(once, 3)
    assert again is not None
    torch.testing.assert_close(again["labels"], batch["labels"])
    white = torch.zeros(1, 3, 8, 8)
    white[..., 0:2, 2:8] = 1
    turned = task.networks.turned(
        {"pixel_values": white, "labels": torch.tensor([[[0, 5 / 8, 1 / 8, 6 / 8, 2 / 8]]])}, 1
    )
    assert turned is not None
    down, across = (turned["pixel_values"][0, 0].any(axis).nonzero()[:, 0] for axis in (1, 0))
    box = [(across[0] + across[-1] + 1) / 16, (down[0] + down[-1] + 1) / 16, len(across) / 8, len(down) / 8]
    torch.testing.assert_close(turned["labels"][0, 0, 1:], torch.tensor(box))


def test_pictures_are_cropped_with_their_boxes_and_tell_where_things_are(folders: Any) -> None:
    task = small_task().at(folders("yolos"))
    picture = np.zeros((48, 96, 3), dtype=np.uint8)
    picture[12:24, 48:72] = 255
    label = [{"category": "disc", "box": [0, 0, 20, 10]}, {"category": "square", "box": [48, 12, 24, 12]}]
    rows = [{"image": picture, "label": one, "index": at} for at, one in enumerate([label, []])]
    batch = task.reader.collate(task.reader.encode(rows, folders("yolos")))
    regions = task.networks.regions(batch)
    assert regions is not None
    assert regions.there.tolist() == [[True, True], [False, False]]
    torch.testing.assert_close(regions.areas[0], torch.tensor([200.0, 288.0]))
    torch.testing.assert_close(regions.boxes[0, 1], torch.tensor([0.5, 0.25, 0.75, 0.5]))
    assert task.networks.regions({"pixel_values": batch["pixel_values"]}) is None
    found = task.networks.cropped(batch, torch.tensor([[0.375, 0.25, 0.875, 0.75], [0.0, 0, 1, 1]]))
    assert found is not None
    torch.testing.assert_close(found["labels"][0], torch.tensor([[1.0, 0.5, 0.25, 0.5, 0.5], [-1, 0, 0, 0, 0]]))
    torch.testing.assert_close(found["pixel_values"][1], batch["pixel_values"][1])
    bright = found["pixel_values"][0, 0] > 0
    assert (bright[4:28, 20:44].all(), bright[36:].any(), bright[:, :12].any()) == (True, False, False)
    after = task.networks.regions(found)
    assert after is not None
    torch.testing.assert_close(after.areas[0, 0], torch.tensor(288.0))


def test_other_networks_are_refused_by_name(tmp_path: Path) -> None:
    folder = save_detector(tmp_path / "net")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"yolos"', '"dab-detr"'))
    with pytest.raises(ModelError, match="a dab-detr is none of the detectors that are supported: yolos, detr"):
        small_task().networks.load(folder)


def test_a_yolos_is_cut_to_a_student_that_keeps_the_places_between_its_blocks(tmp_path: Path) -> None:
    teacher = save_detector(tmp_path / "teacher", num_hidden_layers=4)
    made = shrink(teacher, tmp_path / "student", small_task(), Trim(layers=2, hidden=16))
    assert made.layer_map == ((0, 0), (1, 3))
    assert made.copied_share > 0.9
    task = small_task().at(made.folder)
    rows = task.reader.encode(made_rows(2), made.folder)
    seen = task.networks.observe(task.networks.load(made.folder), task.reader.collate(rows))
    assert seen.logits is not None
    assert seen.logits.shape == (2, QUERIES, len(SHAPES) + 1)
    whole = shrink(teacher, tmp_path / "whole", small_task(), Trim(layers=3))
    before, after = (task.networks.load(folder).state_dict() for folder in (teacher, whole.folder))
    (name,) = (name for name in after if name.endswith("mid_position_embeddings"))
    assert whole.layer_map == ((0, 0), (1, 2), (2, 3))
    torch.testing.assert_close(after[name], before[name][[0, 2]])


# answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["yolos", "rt_detr"])
def test_the_cards_code_answers_as_transformers_does(family: str, folders: Any, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    folder = folders(family)
    task = small_task().at(folder)
    net = task.networks.load(folder)
    deployed = task.networks.deployed(net)
    task.reader.write_as_judged(folder)
    Image.fromarray(made_rows(3)[2]["image"]).resize((90, 50)).save(tmp_path / "picture.png")

    def run(feed: Any) -> Any:
        with torch.no_grad():
            found = deployed(torch.from_numpy(feed["pixel_values"]))
        return {name: one.numpy() for name, one in zip(("logits", "pred_boxes"), found, strict=True)}

    names: dict[str, Any] = {"run": run}
    code = task.snippet("", folder).replace('print(answer("picture.png"))', "")
    exec(code, names)
    found = names["answer"](str(tmp_path / "picture.png"), least=0.0, most=QUERIES)
    own = AutoImageProcessor.from_pretrained(folder, use_fast=False)
    picture = Image.open(tmp_path / "picture.png")
    with torch.no_grad():
        outputs = net(**own(images=picture, return_tensors="pt"))
    (expected,) = own.post_process_object_detection(outputs, threshold=0.0, target_sizes=[(50, 90)])
    order = expected["scores"].argsort(descending=True)
    np.testing.assert_allclose([score for _, score, _ in found], expected["scores"][order].numpy(), atol=1e-5)
    assert [name for name, _, _ in found] == [SHAPES[kind] for kind in expected["labels"][order]]
    limits = np.array([90, 50, 90, 50])
    corners = expected["boxes"][order].numpy().clip(0, limits)
    np.testing.assert_allclose([box for _, _, box in found], corners, atol=1e-3)


@pytest.mark.parametrize("family", ["yolos", "rt_detr"])
def test_the_floor_knows_where_objects_usually_are(family: str, folders: Any) -> None:
    task = small_task().at(folders(family))
    rows = [{**row, "label": [DISC]} for row in made_rows(5)]
    (name,) = floors = task.floors(rows, rows[:3], folders(family))
    assert name == "the middle box of every class"
    assert task.metric.score(floors[name], rows[:3]).metrics["map"] == pytest.approx(1)


def test_pictures_are_shown_with_their_boxes(folders: Any) -> None:
    task = small_task().at(folders("yolos"))
    rows = made_rows(3)
    logits = np.full((1, QUERIES, 4), -5.0, dtype=np.float32)
    logits[0, 0, 1] = 5
    outputs = {"logits": logits, "pred_boxes": np.full((1, QUERIES, 4), 0.5, dtype=np.float32)}
    panels = task.panels(rows[2], 2, {"student": [outputs] * 3})
    assert [name for name, *_ in panels["labelled"]] == [one["category"] for one in rows[2]["label"]]
    ((name, _, score, box),) = panels["student"]
    assert (name, box) == ("square", [0.25, 0.25, 0.75, 0.75])
    assert score is not None
    assert score > 0.9
    shown = task.shown(rows, {"student": [outputs] * 3})
    assert [one.caption for one in shown] == [
        f"Picture {at}, from left to right: labelled, student" for at in (1, 2, 3)
    ]
    assert all(one.picture for one in shown)


def test_the_task_is_rebuilt_from_its_spec(folders: Any) -> None:
    task = small_task(metric="ap50").at(folders("rt_detr"))
    assert (task.queries, task.background, task.reader.height) == (QUERIES, False, SIDE)
    assert build_task(task.spec()).spec() == task.spec()
    with pytest.raises(ValueError, match="metric is one of map, ap50"):
        small_task(metric="accuracy")


def test_scenes_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    one, again, other = (sample_scenes(train=3, seed=seed).train for seed in (0, 0, 1))
    assert all(
        np.array_equal(a["image"], b["image"]) and a["label"] == b["label"] for a, b in zip(one, again, strict=True)
    )
    assert not np.array_equal(one[0]["image"], other[0]["image"])
