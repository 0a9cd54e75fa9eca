"""Which variant is deployed, what is said of those that lost too much, and what is made before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_text import small_task

from kd2deploy.core import Artifact, Target, Variant, made
from kd2deploy.core.tried import Fate, Tried
from kd2deploy.errors import ConvertError
from kd2deploy.flows.files import samples_hash
from kd2deploy.stages.convert import Exported, builds_for_shapes, convert, needs_of, place_of, shaped
from kd2deploy.stages.export import by_worth, told
from kd2deploy.stages.job import Model
from kd2deploy.stages.variants import families, shared_steps
from kd2deploy.tasks.text_classification import TextClassification

METRIC = TextClassification(["no", "yes"]).metric


def exported(name: str, precision: str, score: float, **details: Any) -> Exported:
    artifact = Artifact(Path(name), "0", "none", precision=precision, details=details)
    return Exported(name, (), artifact, score=score)


def made_of(*found: Exported) -> dict[str, Exported]:
    return {one.name: one for one in found}


def far(**fates: Fate) -> dict[str, Tried]:
    return {name: Tried(name, fate) for name, fate in fates.items()}


FP32, INT8 = exported("fp32", "fp32", 0.9), exported("int8", "int8", 0.9)
LOST = exported("lost", "int8", 0.5)


def test_who_keeps_the_score_is_timed_together_and_the_others_only_where_none_of_these_opens() -> None:
    worse = exported("worse", "int8", 0.4)
    assert by_worth(made_of(worse, FP32, LOST, INT8), 0.89, METRIC) == [["fp32", "int8"], ["lost"], ["worse"]]
    assert by_worth(made_of(worse, LOST), 0.89, METRIC) == [["lost"], ["worse"]]


def test_why_the_chosen_one_was_chosen() -> None:
    kept = "the fastest of 2 that keep the student's score on the validation rows"
    assert told(made_of(FP32, INT8), far(fp32="raced", int8="deployed"), 0.89, METRIC) == ("int8", kept)
    assert told(made_of(FP32, INT8), far(fp32="slower", int8="deployed"), 0.89, METRIC) == (
        "int8",
        f"{kept}; quick timings dropped the other",
    )
    many = [exported(name, "fp32", 0.9) for name in "abcdef"]
    found = far(a="slower", b="raced", c="deployed", d="left_out", e="crowded_out", f="slower")
    assert told(made_of(*many), found, 0.89, METRIC)[1] == (
        "the fastest of 5 that keep the student's score on the validation rows; quick timings dropped 3, and a race "
        "decided between 2"
    )
    assert told(made_of(FP32), far(fp32="deployed"), 0.89, METRIC, "throughput")[1].startswith(
        "the most rows per second of"
    )
    with pytest.raises(ConvertError, match="no variant could be opened"):
        told(made_of(FP32), far(fp32="left_out"), 0.89, METRIC)


def test_int8_that_lost_too_much_brings_the_advice_to_train_with_rounding() -> None:
    made = made_of(FP32, LOST)
    chosen, why = told(made, far(fp32="deployed", lost="inaccurate"), 0.89, METRIC)
    assert chosen == "fp32"
    assert "lost lost too much: a last training with `quantize: int8` may win it back" in why
    chosen, why = told(made, far(fp32="deployed", lost="inaccurate"), 0.95, METRIC)
    assert chosen == "fp32"
    assert "this one keeps most of it; lost lost" in why


def test_for_tensorrt_the_advice_is_to_round_as_it_does() -> None:
    engine = exported("engine", "int8", 0.5, **{"from": {"layout": "tensorrt"}})
    assert "`quantize: int8_symmetric`" in told({"engine": engine}, far(engine="deployed"), 0.89, METRIC)[1]
    graph = exported("graph", "int8", 0.5, layout="onnxruntime")
    found = far(engine="deployed", graph="inaccurate")
    assert "`quantize: int8`" in told({"engine": engine, "graph": graph}, found, 0.89, METRIC)[1]


def test_what_lies_in_a_conversions_place_is_used_as_it_is(tmp_path: Path) -> None:
    step = {"use": "onnx_from_torch", "opset": 20}
    place = place_of(tmp_path, "abc", [step])
    assert place.name.startswith("onnx_from_torch-")
    assert place != place_of(tmp_path, "abd", [step])
    assert place != place_of(tmp_path, "abc", [{**step, "opset": 21}])
    assert place == place_of(tmp_path, "abc", [json.loads(json.dumps(step))])
    place.mkdir()
    (place / "model.onnx").write_text("a graph")
    artifact = made(place / "model.onnx", "opened")
    (place / "artifact.json").write_text(json.dumps({**artifact.to_json(), "path": "model.onnx"}))
    model = Model(tmp_path / "no network", "abc", small_task())
    found = convert(model, Target("here", "", "cpu", {}), "one", Variant(steps=(step,)), tmp_path, [])
    assert found.artifact.verify() == artifact


def test_a_users_converter_that_builds_for_shapes_is_told_them() -> None:
    step = {"use": "own_converters.sized_from_onnx"}
    assert builds_for_shapes(Variant(steps=(step,)))
    found = shaped(Variant(steps=({"use": "onnx_from_torch"}, step)), {"batch_size": [1, 1, 32]})
    assert found.steps[1] == {**step, "shapes": {"batch_size": [1, 1, 32]}}


def test_what_builds_an_engine_is_told_the_shapes_and_its_own_count_before_them() -> None:
    shapes = {"batch_size": [1, 1, 32], "sequence_length": [1, 20, 64]}
    graph = {"use": "onnx_from_torch"}
    found = shaped(Variant(steps=(graph, {"use": "trt_from_onnx", "shapes": {"batch_size": [1, 1, 1]}})), shapes)
    assert found.steps[0] == graph
    assert found.steps[1]["shapes"] == {"batch_size": [1, 1, 1], "sequence_length": [1, 20, 64]}
    assert "shapes" not in found.session
    provider = {"provider": "TensorrtExecutionProvider"}
    assert shaped(Variant(steps=(graph,), session=provider), shapes).session == {**provider, "shapes": shapes}
    plain = Variant(steps=(graph,), session={"provider": "CUDAExecutionProvider"})
    assert shaped(plain, shapes) == plain


# conversions that lie there already ---------------------------------------------------------------------------


def written(source: Artifact, task: object, target: Target, folder: Path, samples: object) -> Artifact:
    """A converter that writes what it was given; it stands for any."""
    (folder / "file").write_text(f"{source.sha256} {len(list(samples))}")  # type: ignore[call-overload]
    return made(folder / "file", "none", parent=source)


def converted(folder: Path, samples: int = 1, made_with: str = "") -> Artifact:
    variant = Variant(steps=({"use": "stages.test_export.written"},))
    model = Model(folder, "abc", None)  # type: ignore[arg-type]
    feeds: Any = [{}] * samples
    return convert(model, Target("cpu", "", "cpu", {}), "mine", variant, folder, feeds, made_with).artifact


def test_a_conversion_is_used_again_and_one_that_is_not_whole_is_made_anew(tmp_path: Path) -> None:
    first = converted(tmp_path)
    assert converted(tmp_path, samples=2) == first
    first.path.write_text("half of")
    assert converted(tmp_path, samples=2).path.read_text() == "abc 2"
    first.path.unlink()
    assert converted(tmp_path, samples=3).path.read_text() == "abc 3"


def test_other_samples_or_versions_are_another_conversion(tmp_path: Path) -> None:
    feed = {"input_ids": np.array([[1, 2]])}
    marks = [samples_hash([feed], {"torch": "1"}), samples_hash([{"input_ids": np.array([[1, 3]])}], {"torch": "1"})]
    marks.append(samples_hash([feed], {"torch": "2"}))
    assert len({converted(tmp_path, made_with=mark).path for mark in marks}) == 3


def of_a_library_that_is_not_here(
    source: Artifact, task: object, target: Target, folder: Path, samples: object
) -> Artifact:
    import no_such_library  # type: ignore[import-not-found]

    assert no_such_library
    return source


def test_a_converter_whose_library_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    variant = Variant(steps=({"use": f"{__name__}.of_a_library_that_is_not_here"},))
    model = Model(tmp_path / "no network", "abc", small_task())
    with pytest.raises(ConvertError, match="needs no_such_library, which is not installed"):
        convert(model, Target("cpu", "", "cpu", {}), "mine", variant, tmp_path, [])


def test_the_networks_own_folder_is_found_again_where_nothing_was_converted() -> None:
    moved = Artifact(Path("/elsewhere/student"), "0", "none")
    one = Exported("compile", (), Artifact(Path("stages/student"), "0", "none"), {"compile": True}, 0.9, 2.0)
    found = Exported.from_json(json.loads(json.dumps(one.to_json())), moved)
    assert found == Exported("compile", (), moved, {"compile": True}, 0.9, 2.0)


# which variants are made together -------------------------------------------------------------------------------

GRAPH: dict[str, Any] = {"use": "onnx_from_torch", "opset": 20}
STATIC: dict[str, Any] = {"use": "int8_from_onnx", "mode": "static"}
OPENVINO: dict[str, Any] = {"use": "openvino_from_onnx"}


def test_variants_that_share_what_may_be_searched_are_made_together_and_what_all_begin_with_before_them() -> None:
    variants = {
        "onnx": Variant(steps=(GRAPH,)),
        "compile": Variant(session={"compile": True}),
        "qdq": Variant(steps=(GRAPH, STATIC)),
        "openvino-qdq": Variant(steps=(GRAPH, STATIC, OPENVINO)),
        "openvino": Variant(steps=(GRAPH, OPENVINO)),
        "openvino-f16": Variant(steps=(GRAPH, OPENVINO), session={"precision": "f16"}),
    }
    assert [list(one) for one in families(variants)] == [
        ["onnx"],
        ["compile"],
        ["qdq", "openvino-qdq"],
        ["openvino"],
        ["openvino-f16"],
    ]
    assert shared_steps(variants) == [(GRAPH,), (GRAPH, OPENVINO)]


def test_what_builds_on_the_device_or_measures_as_it_opens_has_the_machine_alone() -> None:
    cpu, gpu = Target("cpu", "", "cpu", {}), Target("gpu", "", "cuda", {})
    graph, engine = Variant(steps=(GRAPH,)), Variant(steps=(GRAPH, {"use": "trt_from_onnx"}))
    provider = Variant(steps=(GRAPH,), session={"provider": "TensorrtExecutionProvider"})
    assert needs_of(cpu, [graph]) == "nothing"
    assert {needs_of(gpu, [graph]), needs_of(cpu, [graph, engine]), needs_of(cpu, [provider])} == {"target"}
