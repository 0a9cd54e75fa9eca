"""What a run is compared with: another network than its teacher, and no teacher at all."""

import json
from pathlib import Path
from typing import Any

import pytest
from recipes.small_run import recipe
from recipes.words import BAD, GOOD
from tiny_models import save_encoder

from kd2deploy.errors import RecipeError
from kd2deploy.flows.compress import compress
from kd2deploy.recipe import Recipe

LABELS = ["neg", "pos"]


def without_teacher(folder: Path, **changes: Any) -> dict[str, Any]:
    """A student that is created and learns from labels alone, compared with a finished network."""
    baseline = save_encoder(folder / "baseline", labels=LABELS, layers=4, hidden=32)
    found = recipe(folder, baseline=str(baseline), student={"create": {"model_type": "bert", **SMALL}}, **changes)
    del found["teacher"]
    return found


SMALL = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.recipe
def test_a_run_without_a_teacher_ends_with_a_judged_bundle(tmp_path: Path) -> None:
    spec = without_teacher(tmp_path, distill=[{"method": "task_only", "epochs": 2, "batch": 16}], control=False)
    (found,) = compress(Recipe.parse(spec), tmp_path / "run")
    report = found.report
    assert report.verdict is not None
    assert found.bundle is not None
    roles = {one.role for one in report.contenders}
    assert roles >= {"baseline", "baseline_same_runtime", "student", "variant"}
    assert "teacher" not in roles
    assert {one.baseline for one in report.speedups} == {"eager", "same_runtime"}
    assert {curve.run for curve in report.curves} == {"student, seed 0"}
    assert not [stage for stage in report.stages if stage.name.startswith("teacher")]
    assert json.loads((found.folder / "report.json").read_text())["recipe"] == Recipe.parse(spec).to_yaml()


@pytest.mark.recipe
def test_speed_and_drop_are_held_against_the_baseline_and_not_the_teacher(tmp_path: Path) -> None:
    baseline = save_encoder(tmp_path / "baseline", labels=LABELS, layers=2, hidden=16, seed=5)
    spec = recipe(tmp_path, baseline=str(baseline), gates={"max_drop": 0.5, "min_speedup": 0.01}, control=False)
    (found,) = compress(Recipe.parse(spec), tmp_path / "run")
    by_role = {one.role: one for one in found.report.contenders if one.role != "variant"}
    assert by_role["teacher"].timing is None
    assert by_role["teacher"].metric is not None
    assert by_role["baseline"].timing is not None
    first = found.report.drop_chain[0]
    assert first.sha256 == by_role["baseline"].sha256
    assert found.report.verdict is not None
    assert "teacher" not in next(one for one in found.report.verdict.gates if one.name == "max_drop").sentence


def test_methods_that_need_a_teacher_are_refused_by_name_where_there_is_none(tmp_path: Path) -> None:
    methods = [{"method": "task_only"}, {"method": ["logit", {"use": "hidden", "weight": 0.5}]}]
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(without_teacher(tmp_path, distill=methods))
    told = {str(fault) for fault in caught.value.faults}
    assert any("distill[1].method" in one and "logit needs a teacher" in one for one in told)
    assert any("distill[1].method" in one and "hidden needs a teacher" in one for one in told)
    assert not any("distill[0]" in one for one in told)


def test_neither_teacher_nor_baseline_is_a_fault(tmp_path: Path) -> None:
    spec = without_teacher(tmp_path, distill=[{"method": "task_only"}])
    del spec["baseline"]
    with pytest.raises(RecipeError, match="without one name a `baseline`"):
        Recipe.parse(spec)


@pytest.mark.recipe
def test_a_training_may_read_other_rows_than_the_run(tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    lines = [f"{word} film, {other} plot" for words in (GOOD, BAD) for word in words for other in words]
    more.write_text("words\n" + "\n".join(f'"{line}"' for line in lines * 4) + "\n")
    data = {"use": "more", "unlabelled": str(more), "text": "words"}
    plain = recipe(tmp_path)
    entry = {**plain["distill"][0], "epochs": 2}
    spec = {**plain, "distill": [{**entry, "data": data}, entry], "seeds": [0]}
    parsed = Recipe.parse(spec)
    assert Recipe.parse(parsed.spec()) == parsed
    compress(parsed, tmp_path / "run", until="distill")
    (record,) = (tmp_path / "run" / "stages").glob("student-seed0-*/stage.json")
    first, second = json.loads(record.read_text())["result"]["trained"]
    assert first["steps"] == 2 * -(-len(lines) * 4 // 16)
    assert second["steps"] == 2 * -(-144 // 16)
    assert set(json.loads(record.read_text())["parents"]) == {"data", "data of 1", "start", "teacher"}
    (control,) = (tmp_path / "run" / "stages").glob("control-seed0-*/stage.json")
    steps = [one["steps"] for one in json.loads(control.read_text())["result"]["trained"]]
    assert steps == [first["steps"], second["steps"]], "the control trains as long, on rows that have labels"
    more.write_text(more.read_text() + "a new row\n")
    compress(parsed, tmp_path / "run", until="distill")
    assert len(list((tmp_path / "run" / "stages").glob("student-seed0-*"))) == 2, "other rows are another training"


def test_a_data_set_of_a_training_is_checked_as_all_else(tmp_path: Path) -> None:
    plain = recipe(tmp_path)
    spec = {**plain, "distill": [{**plain["distill"][0], "data": {"use": "mor"}}]}
    with pytest.raises(RecipeError, match=r"distill\[0\].data.*did you mean 'more'"):
        Recipe.parse(spec)
