"""What every stage draws from the job: rows for calibration and timing, and what figures depend on."""

from dataclasses import replace
from typing import Any

import pytest

from kd2deploy.core import Target
from kd2deploy.measure.machine import Machine
from kd2deploy.stages import job
from kd2deploy.stages.job import for_target, sampled

ROWS = [{"label": place // 500, "index": place} for place in range(2000)]
MACHINE = Machine("Xeon", ("avx512f",), 2, 64, 8.0, "Linux", "3.12", gpus=({"name": "L4"},), driver="550")


def test_rows_are_drawn_from_the_whole_of_a_sorted_file() -> None:
    found = sampled(ROWS, 128)
    classes = [row["label"] for row in found]
    assert len(found) == 128
    assert all(16 <= classes.count(label) <= 48 for label in range(4))
    assert [row["index"] for row in found] == sorted(row["index"] for row in found)


def test_what_was_drawn_once_is_drawn_again_whole() -> None:
    found = sampled(ROWS, 128)
    assert sampled(ROWS, 128) == found
    assert sampled(found, 128) == found
    assert sampled(ROWS[:5], 128) == ROWS[:5]


@pytest.mark.parametrize(
    ("device", "change", "same"),
    [
        ("cpu", {}, True),
        ("cpu", {"cpu": "EPYC"}, False),
        ("cpu", {"cores": 4}, False),
        ("cpu", {"isa": ()}, False),
        ("cpu", {"driver": "560"}, True),
        ("cuda", {"driver": "560"}, False),
        ("cuda", {"gpus": ({"name": "A100"},)}, False),
    ],
)
def test_figures_belong_to_the_machine(
    monkeypatch: pytest.MonkeyPatch, device: Any, change: dict[str, Any], same: bool
) -> None:
    target = Target("mine", "", device, {})
    monkeypatch.setattr(job, "describe_machine", lambda: MACHINE)
    before = for_target(target)
    monkeypatch.setattr(job, "describe_machine", lambda: replace(MACHINE, **change))
    assert (for_target(target) == before) == same
