"""Training rows made of a teacher alone: what is read for them, what diffusion adds, and what the filter keeps."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_image_net

from kd2deploy.core.watcher import Silent
from kd2deploy.data.data_free import data_free
from kd2deploy.data.prepare import with_made_rows
from kd2deploy.data.splits import Row, Splits, read_splits, write_splits
from kd2deploy.errors import DataError, ModelError
from kd2deploy.stages.bank import Asked, Known, alike, made_bank, seeded, variants_of
from kd2deploy.stages.job import Model, model_at
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification

LABELS = ("zero", "one", "two")
FEW: dict[str, Any] = {"rounds": 2, "made": 3, "steps": 2, "variants": 0, "least": 0.7, "strength": 0.5}
FEW["variation"] = None


class Untouchable(list[Row]):
    """Real pictures, of which none may be looked at."""

    def __iter__(self) -> Iterator[Row]:
        raise AssertionError("a real picture was read")

    def __getitem__(self, place: Any) -> Any:
        raise AssertionError("a real picture was read")


def without_pictures() -> Splits:
    nothing = Untouchable([{"image": "gone.png", "label": 0}])
    return Splits(nothing, nothing, nothing, LABELS, (), 0, "0" * 64)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = save_image_net(tmp_path_factory.mktemp("teacher"), "resnet")
    return model_at(folder, ImageClassification(LABELS))


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd2deploy.stages.bank.STEPS", 2)
    monkeypatch.setattr("kd2deploy.train.diffusion.BATCH", 4)


def test_no_real_picture_is_read(teacher: Model, short: None) -> None:
    made = made_bank({**FEW, "variants": 1, "least": -1.0}, without_pictures(), teacher, Silent())
    assert len(made.rows) == 2 * 3 + 6


def test_without_variants_there_is_the_generators_bank_alone(teacher: Model) -> None:
    made = made_bank(FEW, without_pictures(), teacher, Silent())
    assert made.said == "6 inputs of a generator in 2 rounds, made of the teacher; no variants"
    assert {row["label"] for row in made.rows} <= {0, 1, 2}
    for row in made.rows:
        assert row["image"].shape == (16, 16, 1)
        assert row["image"].dtype == np.uint8


def test_the_same_of_the_same_and_torchs_own_generator_goes_on(teacher: Model, short: None) -> None:
    options = {**FEW, "variants": 1, "least": -1.0}
    torch.manual_seed(1)
    first = made_bank(options, without_pictures(), teacher, Silent()).rows
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    again = made_bank(options, without_pictures(), teacher, Silent()).rows
    assert all(np.array_equal(one["image"], other["image"]) for one, other in zip(first, again, strict=True))
    assert [row["label"] for row in first] == [row["label"] for row in again]


def test_the_rows_are_kept_and_read_again_as_they_were_made(teacher: Model, tmp_path: Path) -> None:
    made = made_bank(FEW, without_pictures(), teacher, Silent())
    own = Splits([], [], [], LABELS, (), 0, "0" * 64)
    splits = with_made_rows(own, made.rows, {"data of training 1": made.said})
    write_splits(splits, tmp_path / "rows", copies=False)
    again = read_splits(tmp_path / "rows", copies=False)
    assert again.sha256 == splits.sha256
    assert [row["label"] for row in again.train] == [row["label"] for row in made.rows]
    reader = teacher.task.reader
    before, after = (reader.feed(reader.encode(rows, teacher.folder)) for rows in (made.rows, again.train))
    assert np.array_equal(before["pixel_values"], after["pixel_values"])


def test_the_teacher_is_shown_what_it_reads_of_the_rows(teacher: Model) -> None:
    """Up to the rounding to bytes: half a step of 1 / 255, over the processor's deviation of 0.25."""
    known = Known.of(teacher, 3)
    made = torch.rand(4, 1, 16, 16)
    reader = teacher.task.reader
    read = reader.feed(reader.encode(known.rows(made, [0, 1, 2, 0]), teacher.folder))["pixel_values"]
    shown = known.shown(made)["pixel_values"].numpy()
    assert np.abs(read - shown).max() <= 0.5 / 255 / 0.25 + 1e-5


def test_the_small_model_is_named_where_no_other_is(teacher: Model, short: None) -> None:
    made = made_bank({**FEW, "variants": 2, "least": -1.0}, without_pictures(), teacher, Silent())
    assert "12 of their 12 variants by a small diffusion model that was trained on these inputs" in made.said
    assert made.said.endswith("kept, at a cosine of -1 or more")


def test_the_filter_keeps_exactly_what_is_alike_enough() -> None:
    one = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0]])
    other = torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert alike(one, other, 1.0).tolist() == [True, False, False, False]
    assert alike(one, other, 0.7).tolist() == [True, True, False, False]
    assert alike(one, other, -1.0).tolist() == [True, True, True, True]


def test_a_variant_has_the_label_of_what_it_is_made_of(teacher: Model) -> None:
    known, asked = Known.of(teacher, 3), Asked(**{**FEW, "variants": 2, "least": -1.0})
    bank, labels = torch.rand(3, 1, 16, 16), [2, 0, 1]
    rows = variants_of(known, asked, bank, labels, lambda inputs: inputs, Silent())
    assert [row["label"] for row in rows] == [2, 0, 1, 2, 0, 1]
    assert all(np.array_equal(one["image"], other["image"]) for one, other in zip(rows[:3], rows[3:], strict=True))


def test_only_what_is_alike_is_kept_and_each_by_its_own_source(teacher: Model) -> None:
    known, asked = Known.of(teacher, 3), Asked(**{**FEW, "variants": 1, "least": 1.0 - 1e-6})
    bank = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    vary: Callable[[torch.Tensor], torch.Tensor] = lambda inputs: torch.stack(  # noqa: E731
        [inputs[0], 1 - inputs[1], inputs[2]]
    )
    rows = variants_of(known, asked, bank, [0, 1, 2], vary, Silent())
    assert [row["label"] for row in rows] == [0, 2]


def test_a_teacher_without_batch_normalizations_is_refused(tmp_path: Path) -> None:
    model = model_at(save_image_net(tmp_path, "vit"), ImageClassification(LABELS))
    with pytest.raises(DataError, match="by the teacher's batch normalizations, and it has none"):
        made_bank(FEW, without_pictures(), model, Silent())


def test_a_task_of_texts_is_refused(teacher: Model) -> None:
    with pytest.raises(DataError, match="data_free makes pictures of classes, and text_classification reads others"):
        made_bank(FEW, without_pictures(), replace(teacher, task=TextClassification(LABELS)), Silent())


def test_a_variation_model_that_is_none_is_refused(teacher: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model_index.json, so it is no pipeline of diffusers"):
        made_bank({**FEW, "variants": 1, "variation": str(tmp_path)}, without_pictures(), teacher, Silent())


def test_the_seed_holds_inside_the_block_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(2)
    torch.manual_seed(5)
    with seeded(torch.device("cpu")):
        torch.rand(7)
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"made": 1}, "made must be at least 2"),
        ({"variants": -1}, "variants must be 0 or more"),
        ({"least": 2.0}, "least must be a cosine"),
        ({"strength": 0.0}, "strength must be above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        data_free(**arguments)


def test_a_dry_run_is_told_what_will_be_made_and_makes_nothing() -> None:
    assert data_free(rounds=2, made=3, steps=5, variants=0).foretold == "6 inputs of a generator in 2 rounds of 5 steps"
    assert "those of their 12 variants that stay like them" in data_free(rounds=2, made=3, steps=5).foretold
