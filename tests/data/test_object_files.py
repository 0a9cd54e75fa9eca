"""Objects in pictures, as COCO, Pascal VOC, YOLO and tables write them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kd2deploy.data.box_table import box_table
from kd2deploy.data.coco import coco
from kd2deploy.data.stamped_scenes import stamped_scenes
from kd2deploy.data.voc import voc
from kd2deploy.data.yolo import yolo
from kd2deploy.errors import DataError

WIDTH, HEIGHT = 80, 40
XML = """<annotation><filename>a.png</filename><size><width>80</width><height>40</height></size>
<object><name>dog</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>40</ymax></bndbox></object>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>31</xmin><ymin>1</ymin><xmax>80</xmax><ymax>20</ymax></bndbox></object></annotation>"""


def picture(file: Path, turn: int | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turn is not None:
        exif[0x0112] = turn
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8)).save(file, exif=exif)
    return file


def said(**changes: Any) -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 9, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 20, "bbox": [0, 10, 20, 30.4], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [30, 0, 50, 20], "iscrowd": 1},
        ],
        "categories": [{"id": 20, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changes,
    }


def coco_file(folder: Path, **changes: Any) -> str:
    for name in ("a.png", "b.png"):
        picture(folder / name)
    (folder / "instances.json").write_text(json.dumps(said(**changes)))
    return str(folder / "instances.json")


def test_coco_keeps_crowds_and_pictures_without_an_object_and_the_order_of_ids(tmp_path: Path) -> None:
    file = coco_file(tmp_path)
    found = coco(file, file)
    assert found.labels == ("cat", "dog")
    assert [Path(row["image"]).name for row in found.train] == ["a.png", "b.png"]
    assert found.train[0]["label"] == [
        {"category": "dog", "box": [0, 10, 20, 30]},
        {"category": "cat", "box": [30, 0, 50, 20], "crowd": True},
    ]
    assert found.train[1]["label"] == []
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (
            [70, 0, 12, 10],
            r"instances.json, annotation 5: the box \[70, 0, 12, 10\].*outside of its picture of 80 x 40",
        ),
        ([1, 1, 0, 5], r"annotation 5: the box \[1, 1, 0, 5\].*has no area"),
        ([1, 1, 5], "annotation 5: bbox is .* not four numbers"),
        (["nan", 1, 5, 5], "annotation 5: bbox is"),
    ],
)
def test_a_wrong_box_is_refused_by_file_and_annotation_or_left_out(tmp_path: Path, box: Any, words: str) -> None:
    wrong = {"id": 5, "image_id": 9, "category_id": 3, "bbox": box}
    file = coco_file(tmp_path, annotations=[*said()["annotations"], wrong])
    with pytest.raises(DataError, match=words):
        coco(file, file)
    found = coco(file, file, flawed="drop")
    assert found.train[1]["label"] == []
    assert found.warnings == ("2 objects with a box that is none left out",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": [{"id": 7, "file_name": "gone.png"}]}, r"image 7: the picture .*gone.png is not there"),
        (
            {"images": [{"id": 7, "file_name": "a.png", "width": 20, "height": 30}]},
            "said to be 20 x 30 pixels and has 80 x 40",
        ),
        (
            {"annotations": [{"id": 1, "image_id": 8, "category_id": 3, "bbox": [0, 0, 1, 1]}]},
            "annotation 1: there is no image 8",
        ),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 1]}]}, "there is no category 4"),
        ({"annotations": [{"image_id": 7}]}, "has an annotation without id"),
        ({"annotations": {}}, "has no list of annotations"),
        ({"categories": [{"id": 3, "name": "x"}, {"id": 4, "name": "x"}], "annotations": []}, "two categories alike"),
    ],
)
def test_what_does_not_belong_together_in_a_coco_file_is_named(tmp_path: Path, changes: Any, words: str) -> None:
    file = coco_file(tmp_path, **changes)
    with pytest.raises(DataError, match=words):
        coco(file, file)


def test_boxes_drawn_on_a_picture_as_it_is_stored_are_turned_with_it(tmp_path: Path) -> None:
    """A camera's picture on its side: its left border is shown as the upper one (6), or as the lower one (8)."""
    for turn, box in ((6, [5, 10, 15, 20]), (8, [20, 50, 15, 20])):
        folder = tmp_path / str(turn)
        stored = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 20, 15]}
        file = coco_file(folder, annotations=[stored])
        picture(folder / "a.png", turn)
        assert coco(file, file).train[0]["label"][0]["box"] == box
        shown = {"id": 7, "file_name": "a.png", "width": HEIGHT, "height": WIDTH}
        file = coco_file(folder, images=[shown], annotations=[stored | {"bbox": box}])
        picture(folder / "a.png", turn)
        assert coco(file, file).train[0]["label"][0]["box"] == box


def test_voc_counts_pixels_from_one_and_its_difficult_objects_are_not_counted(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages" / "a.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(XML)
    found = voc(
        *[str(tmp_path / "Annotations")] * 2,
        **dict.fromkeys(("train_pictures", "eval_pictures"), str(tmp_path / "JPEGImages")),
    )
    assert found.train[0]["label"] == [
        {"category": "dog", "box": [0, 10, 20, 30]},
        {"category": "cat", "box": [30, 0, 50, 20], "crowd": True},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + XML, "has a document type, which may name entities"),
        ("<annotation><object></annotation>", "is not readable XML"),
        ("<svg/>", "describes a 'svg' and no annotation"),
        (XML.replace("<name>dog</name>", ""), "a.xml, object 1 has no name"),
        (XML.replace("<xmin>1<", "<xmin>one<"), "xmin is 'one' and no number"),
        (XML.replace("<ymax>40<", "<ymax>60<"), r"a.xml, object 1: the box \[0, 10, 20, 50\].*outside"),
        (XML.replace("<xmax>20<", "<xmax>0<"), "has no area"),
        (XML.replace("<width>80<", "<width>90<"), "said to be 90 x 40 pixels"),
    ],
)
def test_a_wrong_xml_file_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=words):
        voc(str(tmp_path), str(tmp_path))


def test_a_picture_without_its_xml_file_is_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    (tmp_path / "a.xml").write_text(XML)
    with pytest.raises(DataError, match=r"b.png has no XML file of that name"):
        voc(str(tmp_path), str(tmp_path))


def test_yolo_reads_shares_from_beside_its_pictures_or_from_a_tree_of_their_own(tmp_path: Path) -> None:
    for folder in (tmp_path / "beside", tmp_path / "tree" / "images" / "train"):
        picture(folder / "a.png")
        picture(folder / "b.png")
    line = "1 0.125 0.625 0.25 0.75\n"
    (tmp_path / "beside" / "a.txt").write_text(line + "\n")
    (tmp_path / "tree" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "tree" / "labels" / "train" / "a.txt").write_text(line)
    for folder in (tmp_path / "beside", tmp_path / "tree" / "images" / "train"):
        found = yolo(str(folder), str(folder), ["cat", "dog"])
        assert found.labels == ("cat", "dog")
        assert [row["label"] for row in found.train] == [[{"category": "dog", "box": [0, 10, 20, 30]}], []]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 0.5 0.5 0.1 0.1", "a.txt, line 2: class 2 is none of the 2"),
        ("0 0.5 0.5 0.1", "line 2: .* is not `class centre_x"),
        ("0 0.1 0.1 0.2 0.1 0.3 0.3", "line 2: .* boxes alone are read"),
        ("0 40 20 10 10", r"line 2: the box .*outside of its picture of 80 x 40"),
        ("0 0.5 0.5 nan 0.1", "line 2: the box .*is not made of numbers"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path: Path, line: str, words: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n" + line)
    with pytest.raises(DataError, match=words):
        yolo(str(tmp_path), str(tmp_path), ["cat", "dog"])


def table(file: Path, *rows: tuple[Any, ...], header: str = "image,label,left,top,width,height") -> str:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header.split(","))
        writer.writerows(rows)
    return str(file)


def test_a_table_names_pictures_classes_and_boxes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / "shown" / name)
    rows = [("a.png", "dog", 0, 10, 20, 40), ("b.png", "", "", "", "", ""), ("a.png", "cat", 30, 0, 80, 20)]
    file = table(tmp_path / "boxes.csv", *rows, header="picture,label,left,top,right,bottom")
    asked = {"image": "picture", "boxes": "left_top_right_bottom"}
    found = box_table(
        file, file, train_pictures=str(tmp_path / "shown"), eval_pictures=str(tmp_path / "shown"), **asked
    )
    shown = {Path(row["image"]).name: row["label"] for row in found.train}
    assert shown == {
        "a.png": [{"category": "dog", "box": [0, 10, 20, 30]}, {"category": "cat", "box": [30, 0, 50, 20]}],
        "b.png": [],
        "c.png": [],
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("gone.png", "dog", 0, 0, 5, 5), "row 2: the picture .*gone.png is not there"),
        (("", "dog", 0, 0, 5, 5), "row 2: no image is named"),
        (("a.png", "dog", 0, 0, "", 5), "row 2: no width; fill it in"),
        (("a.png", "dog", 0, 0, "wide", 5), "row 2: width is 'wide' and no number"),
        (("a.png", "dog", 0, 30, 5, 15), r"row 2: the box \[0, 30, 5, 15\].*outside"),
    ],
)
def test_a_wrong_row_of_a_table_is_refused_by_its_number(tmp_path: Path, row: tuple[Any, ...], words: str) -> None:
    picture(tmp_path / "a.png")
    file = table(tmp_path / "boxes.csv", ("a.png", "dog", 0, 0, 5, 5), row)
    with pytest.raises(DataError, match=words):
        box_table(file, file)


def test_stamps_are_pasted_whole_and_some_are_kept_for_judging(tmp_path: Path) -> None:
    for at in range(12):
        photo = np.random.default_rng(at).integers(0, 60, (90, 120, 3), dtype=np.uint8)
        place = tmp_path / "backgrounds" / "mate" / "nature" / f"photo{at}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(place)
        for kind, colour in (("animals", (255, 0, 0, 255)), ("plants", (0, 255, 0, 255))):
            stamp = Image.new("RGBA", (40, 40))
            stamp.paste(Image.new("RGBA", (20, 10 + at), colour), (4, 6))
            place = tmp_path / "tuxpaint" / "stamps" / kind / "below" / f"{at}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            stamp.save(place)
    asked: dict[str, Any] = {"classes": ["animals", "plants"], "side": 64, "train": 12, "validation": 2, "eval": 6}
    found = stamped_scenes(str(tmp_path), **asked)
    assert found.labels == ("animals", "plants")
    shapes: dict[str, set[float]] = {}
    for split in ("train", "eval"):
        for row in getattr(found, split):
            for one in row["label"]:
                left, top, width, height = map(int, one["box"])
                channel = {"animals": 0, "plants": 1}[one["category"]]
                inner = row["image"][top + 1 : top + height - 1, left + 1 : left + width - 1]
                if len(row["label"]) == 1:
                    assert inner[..., channel].min() > 150
                shapes.setdefault(split, set()).add(round(20 / width * height))
    again = stamped_scenes(str(tmp_path), **asked)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(found.eval, again.eval, strict=True))
    with pytest.raises(DataError, match=r"holds 0 stamps of 'vehicles'; `apt-get install tuxpaint-stamps-default"):
        stamped_scenes(str(tmp_path), classes=["vehicles"])
