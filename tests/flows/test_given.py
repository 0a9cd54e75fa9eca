"""Single steps: how a network is read that comes without a recipe."""

from pathlib import Path

import pytest
from tiny_models import save_encoder

from kd2deploy.errors import ModelError, RecipeError
from kd2deploy.flows.given import Given, feeds_of, network, reading_of
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


def test_rows_that_are_not_there_are_told_by_their_flag(tmp_path: Path) -> None:
    model = network(str(save_encoder(tmp_path)), "text_classification", {})
    given = Given("text_classification", {}, str(tmp_path / "nofile.csv"))
    with pytest.raises(RecipeError, match=r"--data: .*nofile\.csv does not exist"):
        feeds_of(model, load_target("cpu"), given, batch=1)


def test_what_a_task_does_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not fit the task 'image_classification'"):
        network(str(save_encoder(tmp_path)), "image_classification", {"max_length": 24})
