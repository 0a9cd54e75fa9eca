"""Contenders are found by role and seed, whatever they are called and in whatever order they stand."""

from dataclasses import replace

import pytest
from stages.small_field import changed, entry, without

from kd2deploy.measure.timing import Contender
from kd2deploy.stages.field import Field, Single, Unmade


@pytest.mark.parametrize(
    ("role", "seed", "name"),
    [
        ("teacher", None, "teacher (eager)"),
        ("teacher_same_runtime", None, "teacher (onnx)"),
        ("student", None, "student (eager)"),
        ("student", 1, "student (seed 1)"),
        ("control", None, "control"),
        ("control", 1, "control (seed 1)"),
        ("teacher", 1, "teacher (eager)"),
    ],
)
def test_a_role_and_a_seed_find_one_contender(field: Field, role: Single, seed: int | None, name: str) -> None:
    found = field.one(role, seed)
    assert found is not None
    assert found.name == name
    assert field.scores(role, seed) is found.scores


def test_what_a_contender_is_called_decides_nothing(field: Field) -> None:
    names = {one.name: f"student ({place})" for place, one in enumerate(field.entries)}
    named = tuple(replace(one, contender=Contender(names[one.name], one.artifact)) for one in field.entries)
    renamed = Field(named[::-1])
    assert renamed.student.name == names["student (eager)"]
    assert renamed.deployed.name == names["onnx"]
    assert [one.name for one in renamed.links] == [names["fp32"]]
    assert {seed: one.name for seed, one in renamed.by_seed("control").items()} == {
        0: names["control"],
        1: names["control (seed 1)"],
    }


def test_the_seed_that_is_deployed_is_meant_where_none_is_named(field: Field) -> None:
    other = changed(changed(field, "onnx", seed=1), "fp32", seed=1)
    assert other.student.name == "student (seed 1)"
    control = other.one("control")
    assert control is not None
    assert control.name == "control (seed 1)"


def test_a_run_may_lack_a_teacher_and_controls(field: Field) -> None:
    alone = without(field, "teacher (eager)", "teacher (onnx)", "control", "control (seed 1)")
    assert alone.one("teacher") is None
    assert alone.scores("teacher") is None
    assert alone.baseline("eager") is None
    assert alone.failure("teacher") is None
    assert alone.by_seed("control") == {}
    assert set(alone.by_seed("student")) == {0, 1}


def test_a_baseline_apart_from_the_teacher_is_what_is_compared_with(field: Field) -> None:
    assert field.baseline() is field.one("teacher")
    assert field.baseline("same_runtime") is field.one("teacher_same_runtime")
    apart = replace(field, entries=(*field.entries, entry("today", "baseline", 0.85, 60, seed=None)))
    assert apart.baseline() is apart.entries[-1]
    assert apart.baseline("same_runtime") is None, "the teacher in the same runtime is not what is compared with"


def test_a_link_may_be_a_variant_of_its_own(field: Field) -> None:
    fp32 = next(one for one in field.entries if one.name == "fp32")
    variant = replace(without(field, "fp32"), entries=(*without(field, "fp32").entries, replace(fp32, role="variant")))
    assert [(one.name, one.role) for one in variant.links] == [("fp32", "variant")]


def test_who_could_not_be_made_or_measured_is_told_by_role(field: Field) -> None:
    unmade = Unmade("teacher (onnx)", "teacher_same_runtime", "no such operator")
    found = replace(without(changed(field, "control", failure="gone"), "teacher (onnx)"), unmade=(unmade,))
    assert found.failure("teacher_same_runtime") == ("teacher (onnx)", "no such operator")
    assert found.failure("control") == ("control", "gone")
    assert found.failure("teacher") is None
    assert found.failures == {"teacher (onnx)": "no such operator", "control": "gone"}


def test_a_network_that_is_deployed_as_it_lies_has_no_links(field: Field) -> None:
    entries = tuple(one for one in field.entries if one.role not in ("variant", "link"))
    torch = replace(entry("torch", "variant", 0.89, 5), deployed=True)
    assert Field((*entries, torch)).links == ()
