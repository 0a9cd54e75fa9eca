"""Single steps: how a network is read that comes without a recipe."""

import re
from pathlib import Path

import pytest
from small_restoration import restorer, saved
from tiny_models import save_encoder
from tiny_speech import save_speech
from transcripts import Transcripts

from kd2deploy.errors import DataError, ModelError, RecipeError
from kd2deploy.flows.given import Given, feeds_of, network, reading_of, rows_of
from kd2deploy.recipe.resolve import load_target


def test_a_network_of_one_output_gives_a_number(tmp_path: Path) -> None:
    found = network(str(save_encoder(tmp_path, labels=["LABEL_0"])), "text_classification", {})
    assert found.task.spec()["labels"] == []
    assert found.task.metric.name == "spearman"


def test_pairs_and_the_length_are_what_the_flags_say(tmp_path: Path) -> None:
    reading = reading_of("text_classification", {"text": "one", "text_pair": "other"}, 24)
    spec = network(str(save_encoder(tmp_path)), "text_classification", reading).task.spec()
    assert (spec["pair"], spec["max_length"]) == (True, 24)
    assert reading_of("text_classification", {"text": "one", "text_pair": None}, None) == {}


def test_a_task_with_a_target_of_its_own_is_given_no_classes(tmp_path: Path) -> None:
    assert network(str(saved(restorer(), tmp_path / "net")), "image_restoration", {}).task.spec()["scale"] == 2
    assert network(str(save_speech(tmp_path / "heard")), "speech_ctc", {}).task.spec()["pieces"]


def test_rows_that_are_not_there_are_told_by_their_flag(tmp_path: Path) -> None:
    model = network(str(save_encoder(tmp_path)), "text_classification", {})
    given = Given("text_classification", {}, str(tmp_path / "nofile.csv"))
    with pytest.raises(RecipeError, match=r"--data: .*nofile\.csv does not exist"):
        feeds_of(model, load_target("cpu"), given, batch=1)


def test_what_a_task_does_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not fit the task 'image_classification'"):
        network(str(save_encoder(tmp_path)), "image_classification", {"max_length": 24})


@pytest.mark.parametrize(("column", "said"), [("texts", "did you mean 'texts'?"), ("other", "there are other.")])
def test_rows_without_a_field_of_a_task_of_ones_own_are_told_by_the_column(
    column: str, said: str, tmp_path: Path
) -> None:
    given = Given("transcripts.Transcripts", {}, str(tmp_path / "rows.csv"))
    (tmp_path / "rows.csv").write_text("text\ngood\n")
    assert rows_of(Transcripts, given) == [{"text": "good", "label": None, "index": 0}]
    (tmp_path / "rows.csv").write_text(f"{column}\ngood\n")
    with pytest.raises(DataError, match=re.escape(f"no column 'text'; {said} Give the column that name")):
        rows_of(Transcripts, given)
