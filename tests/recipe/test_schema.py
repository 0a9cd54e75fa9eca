"""Recipes: strict, all faults at once, each with its path and a suggestion."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from kd2deploy.cli.written import written_recipe
from kd2deploy.core import Gates, Progress, Workload
from kd2deploy.errors import RecipeError
from kd2deploy.recipe import Recipe, build_method
from kd2deploy.recipe.from_flags import recipe_from, usual_method
from kd2deploy.recipe.methods import weight_of

SHIPPED = Path(__file__).parents[2] / "kd2deploy" / "recipes"
RECIPES = sorted([*SHIPPED.glob("*.yaml"), *SHIPPED.glob("cifar100/*.yaml")])


def sound() -> dict[str, Any]:
    return {
        "task": "text_classification",
        "data": {"use": "files", "train": "a.csv", "eval": "b.csv", "text": "sentence", "label": "label"},
        "teacher": {"from": "teacher"},
        "student": {"shrink": {"layers": 2}},
        "distill": [{"method": {"use": "logit", "temperature": 2.0}, "epochs": 1, "learning_rate": 1e-3}],
        "gates": {"max_drop": 0.01, "min_speedup": 4.0},
    }


def faults(found: Any) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        Recipe.parse(found)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_a_sound_recipe_is_read_back_as_it_was_written() -> None:
    recipe = Recipe.parse(sound())
    assert Recipe.parse(recipe.spec()) == recipe
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml())) == recipe
    assert recipe.distill[0].settings.learning_rate == 1e-3


def test_a_recipe_may_train_nothing_where_its_student_is_finished() -> None:
    found = {**sound(), "student": {"from": "student"}, "distill": []}
    recipe = Recipe.parse(found)
    assert not recipe.has_control
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml())) == recipe
    told = faults({**found, "seeds": [0, 1], "gates": {"min_gap_closed": 0.5}})
    assert "`distill` is empty" in told["seeds"]
    assert "none is trained" in told["gates.min_gap_closed"]


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    found = sound()
    found["distill"][0]["learning_rate"] = "5e-5"  # YAML 1.1 takes 5e-5 for a string
    assert Recipe.parse(found).distill[0].settings.learning_rate == 5e-5


def test_all_faults_are_told_at_once_with_path_and_suggestion() -> None:
    found = sound()
    found["gate"] = {}
    found["gates"] = {"max_dropp": 1}
    found["distill"][0]["epoch"] = 3
    found["distill"][0]["method"] = {"use": "logit", "temperatur": 2.0}
    found["data"]["use"] = "file"
    told = faults(found)
    assert "did you mean 'gates'" in told["gate"]
    assert "did you mean 'max_drop'" in told["gates.max_dropp"]
    assert "did you mean 'epochs'" in told["distill[0].epoch"]
    assert told["distill[0].method.temperatur"] == "logit takes temperature, alpha; did you mean 'temperature'?"
    assert "did you mean 'files'" in told["data.use"]


@pytest.mark.parametrize(
    ("path", "value", "where", "word"),
    [
        (("teacher",), {}, "teacher", "exactly one"),
        (("student",), {"shrink": {"layers": 1}, "plan": {}}, "student", "exactly one"),
        (("student",), {"shrink": {"layers": 0}}, "student.shrink.layers", "greater than or equal to 1"),
        (("distill",), [], "distill", "the student must be a finished network"),
        (("distill",), None, "distill", "valid list"),
        (("seeds",), [1, 1], "seeds", "distinct"),
        (("distill", 0, "method"), {"use": "logit", "temperature": -1}, "distill[0].method", "positive"),
        (("distill", 0, "method"), {"use": "logits"}, "distill[0].method.use", "did you mean 'logit'"),
        (("distill", 0, "method"), {"use": "logit", "temperature": "hot"}, "distill[0].method.temperature", "number"),
        (("distill", 0, "learning_rate"), -1, "distill[0]", "learning_rate must be positive"),
        (("distill", 0, "augment"), {"flip": 0.5}, "distill[0].augment", "rows of this task are not augmented"),
        (("distill", 0, "loaders"), -1, "distill[0]", "loaders is from 0 to 256"),
        (("task",), {"use": "text_clasification"}, "task.use", "did you mean 'text_classification'"),
        (("validation_share",), 1.5, "validation_share", "less than 1"),
        (("variants",), [], "variants", "at least 1"),
        (("variants",), ["onnx", "onx"], "variants[1]", "did you mean 'onnx'"),
        (("targets",), ["cpu", "cpo"], "targets[1]", "did you mean 'cpu'"),
        (("targets",), ["cpu", "cpu"], "targets[1]", "as one before it"),
        (("targets",), ["a" * 300], "targets[0]", "name too long"),
        (("targets",), ["a\0b"], "targets[0]", "no target is called"),
        (("distill", 0, "epochs"), 1e300, "distill[0]", "epochs must be at most"),
        (("gates", "min_speedup"), 0, "gates", "min_speedup must be positive"),
        (("gates", "baseline"), "fastest", "gates.baseline", "same_runtime"),
        (("gates", "min_throughput"), -1, "gates", "min_throughput must be positive"),
        (("measurement",), {"in_flight": 0}, "measurement.in_flight", "greater than or equal to 1"),
        (("gates", "end_to_end"), 0, "gates", "end_to_end must be positive"),
        (("data", "use"), ".files", "data.use", "not a dotted name"),
        (("data", "use"), "..files", "data.use", "not a dotted name"),
        (("data", "use"), "builtins.dict", "data.use", "is Python's own"),
        (("data", "use"), "no_such_package.rows", "data.use", "cannot be imported"),
    ],
)
def test_a_fault_is_named_where_it_stands(path: tuple[Any, ...], value: Any, where: str, word: str) -> None:
    found = sound()
    place: Any = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    told = faults(found)
    at = next((key for key in told if key.startswith(where)), None)
    assert at is not None, told
    assert word.lower() in told[at].lower()


def test_an_augmentation_is_checked_in_the_tasks_words() -> None:
    found = {**sound(), "task": {"use": "image_classification"}}
    found["teacher"] = {"from": "teacher", "fine_tune": {"augment": {"flop": 0.5}}}
    found["distill"][0]["augment"] = {"flip": 7}
    told = faults(found)
    assert told["teacher.fine_tune.augment.flop"].endswith("did you mean 'flip'?")
    assert told["distill[0].augment"] == "flip is a probability, from 0 to 1, got 7.0"
    found["teacher"]["fine_tune"]["augment"] = {"padded_crop": 4}
    found["distill"][0]["augment"] = {"resized_crop": [0.3, 1.0], "flip": 0.5}
    recipe = Recipe.parse(found)
    assert Recipe.parse(yaml.safe_load(recipe.to_yaml())) == recipe


def test_what_is_missing_is_named() -> None:
    assert {path for path, message in faults({}).items() if message.startswith("is missing")} >= {
        "task",
        "data",
        "teacher",
    }


@pytest.mark.parametrize("found", [None, 3, "recipe", [], [1, 2]])
def test_what_is_no_mapping_is_refused(found: Any) -> None:
    assert "mapping" in faults(found)[""]


def test_yaml_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("task: [unclosed")
    with pytest.raises(RecipeError, match="not valid YAML"):
        Recipe.read(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.read(file)
    with pytest.raises(RecipeError, match="cannot be read"):
        Recipe.read(tmp_path / "none.yaml")


def test_several_methods_add_up_with_weights_and_schedules() -> None:
    method = build_method([{"use": "logit", "weight": 0.5}, {"use": "task_only", "weight": {"start": 1, "end": 0}}])
    start, end = Progress(0, 10, 0.0, 1.0), Progress(10, 10, 1.0, 1.0)
    weights = {name: (part.at(start), part.at(end)) for name, part in method.weighted.items()}
    assert weights["logit_soft"] == pytest.approx((0.45, 0.45))
    assert weights["task_only_task"] == (1.0, 0.0)


@pytest.mark.parametrize("given", [-1, "x", {"start": 0}, {"start": 0, "end": 1, "until": 0}, float("inf"), True, None])
def test_a_weight_that_is_none_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        weight_of(given)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_committed_recipes_are_sound(file: Path) -> None:
    recipe = Recipe.read(file)
    assert recipe.resolved_targets()


def test_faults_of_targets_stand_among_all_the_others() -> None:
    told = faults({**sound(), "targets": ["cpo"], "data": {"use": "file"}, "gates": {"max_dropp": 1}})
    assert set(told) == {"targets[0]", "data.use", "gates.max_dropp"}


@pytest.mark.parametrize("text", ["def rows(:\n", "raise OSError('no licence')\n", "1 / 0\n"])
def test_a_users_module_that_cannot_be_imported_is_one_fault(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_source.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert "cannot be imported" in faults({**sound(), "data": {"use": "broken_source.rows"}})["data.use"]


def written_target(file: Path, **changes: Any) -> str:
    found = {"name": "mine", "about": "", "device": "cpu", "variants": {"plain": {}}}
    file.write_text(yaml.safe_dump({**found, **changes}))
    return str(file)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "a/b"}, "is no name"),
        ({"name": "a" * 300}, "longer than the 60 bytes"),
        ({"variants": {"": {}}}, "is no name"),
        ({"variants": {"eager": {}}}, "another contender"),
        ({"variants": {}}, "at least one variant"),
        ({"workload": {"batch": 0}}, "batch must be at least 1"),
        ({"threads": -1}, "threads"),
        ({"gates": {"p99_ms": -5}}, "p99_ms must be positive"),
    ],
)
def test_a_targets_own_faults_are_told(changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    file = written_target(tmp_path / "mine.yaml", **changes)
    told = faults({**sound(), "targets": [file]})
    assert any(word in message for message in told.values()), told


def test_two_target_files_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [written_target(tmp_path / f"{name}.yaml") for name in ("one", "two")]
    assert "another `name`" in faults({**sound(), "targets": files})["targets[1]"]


def test_a_limit_that_is_set_replaces_the_targets_own_even_with_the_default(tmp_path: Path) -> None:
    file = written_target(tmp_path / "mine.yaml", gates={"baseline": "same_runtime", "p50_ms": 5})
    for gates, baseline in (({}, "same_runtime"), ({"baseline": "eager"}, "eager")):
        found = Recipe.parse({**sound(), "targets": [file], "gates": gates})
        assert Recipe.parse(found.spec()) == found
        assert found.resolved_targets()["mine"].gates == Gates(baseline=baseline, p50_ms=5)


def test_requests_in_flight_are_the_recipes_where_it_names_them() -> None:
    for wanted, expected in (({}, 1), ({"measurement": {"in_flight": 4}}, 4)):
        target = Recipe.parse({**sound(), **wanted}).resolved_targets()["cpu"]
        assert target.workload == Workload(in_flight=expected)


@pytest.mark.parametrize(
    ("limits", "sought"),
    [
        ({}, "latency"),
        ({"max_drop": 0.01, "max_size_mb": 5}, "latency"),
        ({"max_drop": 0.01, "min_throughput": 500}, "throughput"),
        ({"min_throughput": 500, "p99_ms": 5}, "latency"),
        ({"min_throughput": 500, "min_speedup": 2}, "latency"),
    ],
)
def test_variants_are_chosen_by_what_is_limited(limits: dict[str, float], sought: str) -> None:
    assert Gates(**limits).sought == sought


def test_what_is_held_to_a_limit_must_be_measured(tmp_path: Path) -> None:
    file = written_target(tmp_path / "mine.yaml", gates={"end_to_end": 2.0})
    off = {"measurement": {"end_to_end": False}}
    for found in ({"gates": {"end_to_end": 2.0}, **off}, {"targets": [file], **off}):
        assert "must be measured" in faults({**sound(), **found})["measurement.end_to_end"]
    assert Recipe.parse({**sound(), **off}).measurement.end_to_end is False
    assert Recipe.parse(sound()).measurement.end_to_end is True


def test_the_recipes_gates_stand_over_the_targets() -> None:
    target = Recipe.parse(sound()).resolved_targets()["cpu"]
    assert target.gates.max_drop == 0.01
    assert target.gates.min_speedup == 4.0


def test_flags_and_init_make_the_same_kind_of_recipe(tmp_path: Path) -> None:
    data = tmp_path / "train.csv"
    data.write_text("sentence,label\ngood,1\n")
    flags = {
        "teacher": "dir",
        "train": str(data),
        "eval": str(data),
        "task": "text_classification",
        "columns": {"text": None, "text_pair": None, "label": None},
        "targets": None,
        "gates": {"min_speedup": 4.0, "max_drop": 0.01, "p99_ms": None},
        "method": "logit",
        "epochs": 2.0,
        "seeds": None,
    }
    recipe, name = recipe_from(None, flags)
    assert name == "train"
    assert recipe.student.plan is not None
    written = Recipe.parse(yaml.safe_load(written_recipe("dir", str(data), str(data))))
    assert written.data == recipe.data
    unnamed, _ = recipe_from(None, {**flags, "method": None})
    assert [one.distill[0].method for one in (unnamed, written)] == ["dist", "dist"]
    more, _ = recipe_from(None, {**flags, "unlabelled": str(data)})
    assert more.data == {**recipe.data, "unlabelled": str(data)}
    written = Recipe.parse(yaml.safe_load(written_recipe("dir", str(data), str(data), unlabelled=str(data))))
    assert written.data == more.data
    with pytest.raises(RecipeError, match="--unlabelled"):
        recipe_from(None, {**flags, "unlabelled": "nowhere.csv"})
    with pytest.raises(RecipeError, match="--teacher"):
        recipe_from(None, {**flags, "teacher": None})
    with pytest.raises(RecipeError, match="epochs must be positive"):
        recipe_from(None, {**flags, "epochs": 0.0})


@pytest.mark.parametrize(
    ("task", "method"),
    [
        ({"use": "text_classification"}, "dist"),
        ({"use": "image_classification"}, "dist"),
        ({"use": "text_classification", "labels": []}, "logit"),
        ({"use": "text_multilabel"}, "logit"),
        ({"use": "speech_ctc"}, "logit"),
        ({"use": "image_restoration"}, "logit"),
    ],
)
def test_the_usual_method_is_one_that_the_task_can_be_taught_by(task: dict[str, Any], method: str) -> None:
    assert usual_method(task) == method


def test_every_flag_that_the_recipe_says_already_is_refused(tmp_path: Path) -> None:
    none = dict.fromkeys(("teacher", "train", "eval", "task", "method", "epochs", "targets", "seeds"))
    flags = {**none, "gates": {}, "task": "x", "columns": {"text": "a", "text_pair": "b", "label": None}}
    with pytest.raises(RecipeError) as caught:
        recipe_from(tmp_path / "recipe.yaml", flags)
    assert {fault.path for fault in caught.value.faults} == {"--task", "--text", "--text-pair"}


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def full() -> dict[str, Any]:
    """With every block that `sound` leaves out."""
    methods = [{"use": "logit", "weight": {"start": 1, "end": 0, "until": 0.5}}, {"use": "hidden", "weight": 0.5}]
    return {
        **sound(),
        "task": {"use": "text_classification", "labels": ["bad", "good"], "metric": "macro_f1"},
        "teacher": {"from": "body", "fine_tune": {"epochs": 2, "patience": 2, "score_every": 10}},
        "student": {"plan": {"layers": [2, 1], "hidden": [32], "variant": "onnx", "margin": 1.2}},
        "distill": [{"method": methods, "epochs": 2}, {"method": "task_only", "precision": "auto", "keep": "last"}],
        "seeds": [0, 1],
        "targets": ["cpu", "cpu-2core"],
        "variants": ["onnx", "openvino"],
        "gates": {"p99_ms": 10, "baseline": "same_runtime", "max_size_mb": 20},
        "measurement": {"processes": 4, "cap_s": 20, "block_s": 0.1, "in_flight": 2, "neighbour": True},
        "limit_labels": 20,
        "missing": "drop",
    }


def created() -> dict[str, Any]:
    """Networks from nothing, and the teacher's cache by order."""
    return {
        **sound(),
        "data": {"use": "digits"},
        "task": {"use": "image_classification"},
        "teacher": {"create": {"model_type": "resnet", "depths": [2, 2]}, "fine_tune": {"optimizer": "sgd"}},
        "student": {"create": {"model_type": "resnet", "depths": [1, 1]}},
        "teacher_cache": "on",
        "control": False,
    }


@pytest.mark.parametrize("start", [sound, full, created])
def test_the_starts_of_the_mutations_are_sound(start: Callable[[], dict[str, Any]]) -> None:
    assert told_faults(start()) is None


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_mutation_is_sound_or_refused_with_paths(data: st.DataObject) -> None:
    """One to three places of a sound recipe replaced, removed or renamed: a RecipeError or a recipe, never a crash."""
    found = data.draw(st.sampled_from([sound, full, created]))()
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = found
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
                place = inner
                continue
            action = data.draw(st.sampled_from(["replace", "remove", "rename"]))
            if action == "replace":
                place[key] = data.draw(json_like)
            elif action == "remove":
                del place[key]
            elif isinstance(place, dict):
                place[data.draw(st.text(max_size=8))] = place.pop(key)
            break
    told = told_faults(found)
    assert told is None or all(told)


def told_faults(found: Any) -> list[str] | None:
    """The faults' messages; None for a recipe that is sound, after a round trip."""
    try:
        recipe = Recipe.parse(found)
    except RecipeError as error:
        return [fault.message for fault in error.faults] or [""]
    assert Recipe.parse(recipe.spec()) == recipe
    return None


def test_flags_and_init_tell_a_regression_and_pictures_by_the_data(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("text,score,other\ngood,3.5,x\nbad,1,y\n")
    scores = str(tmp_path / "scores.csv")
    written = yaml.safe_load(written_recipe("dir", scores, scores, columns={"label": "score"}))
    assert written["task"] == {"use": "text_classification", "labels": []}
    assert written["data"] == {"use": "files", "train": scores, "eval": scores, "text": "text", "label": "score"}
    whole = tmp_path / "stars.csv"
    whole.write_text("text,label\ngood,3\nbad,1\n")
    assert yaml.safe_load(written_recipe("dir", str(whole), str(whole)))["task"] == "text_classification"
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "pets" / name / "a.png")
    pictures = yaml.safe_load(written_recipe("dir", str(tmp_path / "pets"), str(tmp_path / "pets")))
    assert pictures["task"] == "image_classification"
    Recipe.parse(pictures)


@pytest.mark.parametrize(
    ("saved", "untrained"),
    [
        (["BertModel"], True),
        (["BertForMaskedLM"], True),
        (["ResNetModel", "BertForPreTraining"], True),
        (["BertForSequenceClassification"], False),
        ([], False),
        (None, False),
    ],
)
def test_init_trains_a_teacher_first_that_has_no_head(saved: list[str] | None, untrained: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": saved}))
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\ngood,1\nbad,0\n")
    text = written_recipe(str(tmp_path), str(rows), str(rows))
    assert ("fine_tune" in yaml.safe_load(text)["teacher"]) == untrained
    assert "fine_tune:" in text, "as a comment elsewhere"
    assert Recipe.parse(yaml.safe_load(text))


def test_a_file_that_is_not_there_is_told_by_its_flag(tmp_path: Path) -> None:
    """There is no `data` to look under where only flags were given."""
    there, gone = tmp_path / "rows.csv", str(tmp_path / "nofile.csv")
    there.write_text("text,label\ngood,1\nbad,0\n")
    none = dict.fromkeys(("task", "method", "epochs", "targets", "seeds"))
    for flag, train, judged in (("--train", gone, str(there)), ("--eval", str(there), gone)):
        flags = {**none, "teacher": "dir", "train": train, "eval": judged, "gates": {}, "columns": {}}
        for asked in (partial(written_recipe, "dir", train, judged), partial(recipe_from, None, flags)):
            with pytest.raises(RecipeError, match="does not exist") as caught:
                asked()
            assert [fault.path for fault in caught.value.faults] == [flag]
            assert "`data`" not in str(caught.value)


def test_flags_may_hold_the_whole_and_each_class_at_once(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\ngood,1\nbad,0\n")
    gates = {"max_drop": 0.02, "max_class_drop": 0.05}
    columns = {"text": "text", "label": "label"}
    flags = {"teacher": "dir", "train": str(rows), "eval": str(rows), "task": None, "columns": columns}
    recipe, _ = recipe_from(
        None, {**flags, "method": None, "epochs": None, "seeds": None, "targets": [], "gates": gates}
    )
    assert (recipe.gates.max_drop, recipe.gates.max_class_drop) == (0.02, 0.05)


def test_a_file_whose_name_needs_quotes_stays_itself_in_the_written_recipe(tmp_path: Path) -> None:
    file = tmp_path / "my: data, {1}.csv"
    file.write_text("text,label\ngood,1\n")
    assert yaml.safe_load(written_recipe("dir", str(file), str(file)))["data"]["train"] == str(file)


PAIR: dict[str, Any] = {
    "members": [{"shrink": {"layers": 2}}, {"shrink": {"layers": 1}}],
    "combine": "sum",
    "budget": {"layers": 3},
}


def test_a_student_of_several_networks_is_read_and_written_back() -> None:
    found = Recipe.parse({**sound(), "student": PAIR})
    assert found.spec()["student"]["combine"] == "sum"
    assert Recipe.parse(found.spec()) == found
    assert list(found.student.cuts) == ["members[0].shrink", "members[1].shrink"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"combine": None}, "student: `members` need `combine`"),
        ({"members": PAIR["members"][:1]}, "student.members: "),
        ({"members": None, "shrink": {"layers": 1}}, "student: `combine` and `budget` are said of `members`"),
        ({"shrink": {"layers": 1}}, "student: needs exactly one of"),
        ({"members": [{"shrinks": {}}, {"shrink": {}}]}, "did you mean"),
        (
            {"members": [{"shrink": {"initialise": "copy"}}, {"shrink": {"initialise": "pretrained"}}]},
            "student: `members` start from one network or from none",
        ),
    ],
)
def test_what_a_student_of_several_networks_may_not_say(changes: dict[str, Any], told: str) -> None:
    student = {name: value for name, value in {**PAIR, **changes}.items() if value is not None}
    with pytest.raises(RecipeError) as caught:
        Recipe.parse({**sound(), "student": student})
    assert told in str(caught.value)


def test_members_that_start_from_a_tuned_teachers_pretraining_are_told_by_their_place() -> None:
    members = [{"shrink": {"initialise": "pretrained"}}, {"shrink": {"initialise": "random"}}]
    found = {**sound(), "student": {"members": members, "combine": "sum"}}
    told = faults(found)
    assert list(told) == ["student.members[0].shrink.initialise"]
    assert Recipe.parse({**found, "teacher": {"from": "teacher", "fine_tune": {"epochs": 1}}})
