"""What an outer launcher says in variables: who leads, who is not needed, and what is refused in one line."""

import os
from typing import Any

import pytest
import typer

from kd2deploy.cli.launched import Shared, wanted
from kd2deploy.errors import RunError

OF_TWO = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable that a test sets is left, nor one that it finds missing."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


def launch(**variables: Any) -> None:
    os.environ.update({name: str(value) for name, value in variables.items()})


def test_without_a_launcher_it_is_as_typed() -> None:
    assert wanted(None) == Shared(None)
    assert wanted(3) == Shared(3)


def test_the_first_leads_and_nothing_below_it_takes_itself_for_a_rank() -> None:
    launch(**OF_TWO, MASTER_ADDR="127.0.0.1", TORCHELASTIC_RUN_ID="none", ACCELERATE_MIXED_PRECISION="bf16", KEPT="1")
    assert wanted(None) == Shared(2)
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION"} & set(
        os.environ
    )
    assert os.environ["KEPT"] == "1"
    assert wanted(None) == Shared(None)


def test_the_others_end_at_once_and_well() -> None:
    launch(**OF_TWO | {"RANK": "1"})
    with pytest.raises(typer.Exit) as end:
        wanted(None)
    assert end.value.exit_code == 0


@pytest.mark.parametrize(
    ("variables", "nproc", "said"),
    [
        ({"RANK": 2}, None, "RANK=2 of WORLD_SIZE=2; ranks go from 0 to 1"),
        ({"RANK": -1}, None, "RANK=-1"),
        ({"RANK": "first"}, None, "RANK='first', which is no number"),
        ({"WORLD_SIZE": 4}, None, "of the 4 that the launcher started 2 run here"),
        ({}, 3, "--nproc says 3, and the launcher started 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}, None, "leave fsdp_offload_params out"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, None, "configured for DeepSpeed"),
    ],
)
def test_what_cannot_be_had_is_said_in_one_line(variables: dict[str, Any], nproc: int | None, said: str) -> None:
    launch(**OF_TWO | {name: str(value) for name, value in variables.items()})
    with pytest.raises(RunError, match=said.replace("(", r"\(")) as error:
        wanted(nproc)
    assert "\n" not in str(error.value)


def test_as_many_as_the_launcher_started_may_be_typed_too() -> None:
    launch(**OF_TWO)
    assert wanted(2) == Shared(2)


def test_fsdp_as_accelerate_is_configured_for_it_cuts_the_teacher() -> None:
    launch(**OF_TWO, ACCELERATE_USE_FSDP="true", FSDP_VERSION="2", FSDP_OFFLOAD_PARAMS="false")
    assert wanted(None) == Shared(2, shard_teacher=True)
    assert "FSDP_VERSION" not in os.environ
