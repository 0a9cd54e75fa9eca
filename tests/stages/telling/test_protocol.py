"""How it was measured, as the report tells it."""

from typing import Any

import pytest

from kd2deploy.core import Gates, Target, Variant, Workload
from kd2deploy.measure.timing import Block, Timing
from kd2deploy.recipe import Recipe
from kd2deploy.stages.telling.protocol import how


@pytest.fixture
def recipe() -> Recipe:
    found: dict[str, Any] = {
        "task": "text_classification",
        "data": {"use": "reuters"},
        "teacher": {"from": "body"},
        "student": {"shrink": {"layers": 1}},
        "distill": [{"method": "logit"}],
        "measurement": {"processes": 4, "cap_s": 30, "block_s": 0.1},
    }
    return Recipe.parse(found)


def test_it_holds_what_another_laboratory_needs(recipe: Recipe) -> None:
    blocks = tuple(Block(process, turn, 0, (1,), (0,), 0.1, 0.1, 0.0, 0.0) for process in (0, 1) for turn in (0, 0, 1))
    timing = Timing("student", blocks, threads=2, decision="settled")
    target = Target("t", "", "cpu", {"v": Variant()}, workload=Workload(batch=8), gates=Gates(baseline="same_runtime"))
    found = how(recipe, target, timing)
    assert found["fresh processes per contender"] == 4
    assert found["rounds"] == 4
    assert found["threads"] == 2
    assert found["longest time per contender (s)"] == 30
    assert found["rows per request"] == 8
    assert found["requests drawn from the evaluation set"] == 256
    assert "10 runs" in str(found["warm-up"])
    assert "as the student is" in str(found["min_speedup divides"])


def test_what_was_not_timed_is_left_open(recipe: Recipe) -> None:
    assert how(recipe, Target("t", "", "cpu", {"v": Variant()}), None)["rounds"] is None
