"""What is known before anything is trained: rows that cannot be read, texts cut off, labels that do not fit."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from recipes.small_run import BAD, GOOD, recipe

from kd2deploy.core.watcher import Silent
from kd2deploy.errors import DataError
from kd2deploy.recipe import Recipe
from kd2deploy.run import Run
from kd2deploy.stages.job import Job
from kd2deploy.stages.look import look
from kd2deploy.stages.prepare import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small recipe with an encoder that really tells good from bad: by its words' embeddings."""
    found = tmp_path_factory.mktemp("look")
    recipe(found)
    return found


def taught(folder: Path) -> Path:
    """An encoder whose logits count the good and the bad words, saved once."""
    from tiny_models import save_encoder
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = folder / "taught"
    if place.exists():
        return place
    save_encoder(place, layers=1, hidden=16, labels=["LABEL_0", "LABEL_1"])
    reader = AutoTokenizer.from_pretrained(place)
    net: Any = AutoModelForSequenceClassification.from_pretrained(place)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    texts, labels = read_rows(folder / "train.csv")
    batch = reader(texts, padding=True, return_tensors="pt")
    for _ in range(40):
        loss = net(**batch, labels=torch.tensor(labels)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    net.save_pretrained(place)
    return place


def read_rows(file: Path) -> tuple[list[str], list[int]]:
    with file.open(newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    return [text for text, _ in rows], [int(label == "pos") for _, label in rows]


def job(folder: Path, run: Path, **changes: Any) -> Job:
    parsed = Recipe.parse(recipe(folder, **changes))
    task, splits, about = prepare(parsed)
    (run / "stages").mkdir(parents=True, exist_ok=True)
    return Job(parsed, Run(run), Silent(), splits, task, about)


def moved(folder: Path, place: Path) -> Path:
    """The training file with its labels one row further down."""
    texts, labels = read_rows(folder / "train.csv")
    with place.open("w", newline="") as stream:
        names = [("neg", "pos")[label] for label in labels[-1:] + labels[:-1]]
        csv.writer(stream).writerows([["sentence", "label"], *zip(texts, names, strict=True)])
    return place


def data(folder: Path, **given: Path) -> dict[str, str]:
    paths = {"train": folder / "train.csv", "eval": folder / "eval.csv", **given}
    return {"use": "files", "text": "sentence", "label": "label", **{name: str(path) for name, path in paths.items()}}


def test_a_teacher_that_fits_its_rows_raises_no_doubt_and_is_asked_once(folder: Path, tmp_path: Path) -> None:
    teacher = {"from": str(taught(folder))}
    found = look(job(folder, tmp_path, teacher=teacher))
    assert [warning for warning in found.splits.warnings if "teacher" in warning] == []
    assert found.splits.details["evaluation: rows cut at 16 tokens"] == "0.0 %"
    again = look(job(folder, tmp_path, teacher=teacher))
    assert again.splits == found.splits
    assert [stage.reused for stage in again.run.done] == [True]


def test_classes_in_another_order_are_found_with_the_line_to_write(folder: Path, tmp_path: Path) -> None:
    task = {"use": "text_classification", "max_length": 16, "labels": ["pos", "neg"]}
    found = look(job(folder, tmp_path, teacher={"from": str(taught(folder))}, task=task))
    assert "write `labels: [neg, pos]` under `task`" in found.splits.warnings[-1]


def test_labels_out_of_step_are_asked_about(folder: Path, tmp_path: Path) -> None:
    teacher, train = {"from": str(taught(folder))}, moved(folder, tmp_path / "moved.csv")
    found = look(job(folder, tmp_path, teacher=teacher, data=data(folder, train=train)))
    assert "are rows and labels of the training data in step?" in found.splits.warnings[-1]


def test_how_much_is_cut_and_unknown_is_told(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    with file.open("w", newline="") as stream:
        rows = [[f"{GOOD[0]} 日 本 {BAD[1]} " * 9, ("neg", "pos")[place % 2]] for place in range(20)]
        csv.writer(stream).writerows([["sentence", "label"], *rows])
    told = look(job(folder, tmp_path, data=data(folder, eval=file))).splits.warnings
    assert any(line.startswith("evaluation rows: 100.0 % of the rows are cut at 16 tokens") for line in told)
    assert any(line.startswith("evaluation rows: 50.0 % of the tokens are unknown") for line in told)


@pytest.mark.parametrize("split", ["eval", "validation", "unlabelled"])
def test_half_of_a_surrogate_pair_costs_no_training(split: str, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    rows = [{"sentence": "a good film", "label": "pos"}, {"sentence": "bad \ud83d", "label": "neg"}]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(
        DataError, match=r"odd\.jsonl: row 2 has text that cannot be read: it holds half of a surrogate"
    ):
        job(folder, tmp_path, data=data(folder, **{split: file}))


@pytest.mark.parametrize("split", ["eval", "validation", "unlabelled"])
def test_a_truncated_picture_costs_no_training(split: str, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    for name in ("train", "eval", "odd"):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            for place in range(4):
                picture = Image.fromarray(drawn.integers(0, 256, (16, 16), dtype=np.uint8))
                picture.save(tmp_path / name / label / f"{place}.png")
    whole = (tmp_path / "odd/dog/2.png").read_bytes()
    (tmp_path / "odd/dog/2.png").write_bytes(whole[: len(whole) // 2])
    given = {"train": str(tmp_path / "train"), "eval": str(tmp_path / "eval"), split: str(tmp_path / "odd")}
    with pytest.raises(DataError, match=r"2\.png"):
        job(tmp_path, tmp_path, task="image_classification", data={"use": "files", **given})
