"""Leaving operations in higher precision until a rounded variant keeps its score."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from own_converters import coarse_from_onnx
from small_text import small_task

from kd2deploy.core import Artifact, Converter, Feed, Target, Variant, made
from kd2deploy.core.arguments import grouped, taken_by
from kd2deploy.core.convert import Ranker
from kd2deploy.errors import ConvertError, DisagreementError, NotFiniteError, SessionError
from kd2deploy.exporters.onnx import OPENED_BY, fp16_from_onnx
from kd2deploy.exporters.onnx.checking import damage, run_all
from kd2deploy.exporters.onnx.files import save
from kd2deploy.exporters.onnx.half import rank_half_sensitivity
from kd2deploy.exporters.quantize import int8_from_onnx
from kd2deploy.exporters.tensorrt.fp8 import rank_fp8_sensitivity
from kd2deploy.recipe.resolve import known
from kd2deploy.recipe.steps import converter_of, traits
from kd2deploy.stages.fallback import milder, ranked, searched, with_exclusions

WIDE = 16
TARGET = Target("here", "one thread", "cpu", {}, threads=1)


def variant(*names: str, **arguments: Any) -> Variant:
    """Steps by name; the arguments are the last one's."""
    steps = [{"use": name} for name in names]
    return Variant(steps=(*steps[:-1], {**steps[-1], **arguments}))


# which step is searched -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "arguments", "place"),
    [
        (("onnx_from_torch", "int8_from_onnx"), {}, 1),
        (("onnx_from_torch", "fp8_from_onnx", "trt_from_onnx"), {"precision": "fp16"}, 1),
        (("onnx_from_torch", "int8_from_onnx", "trt_from_onnx"), {"precision": "fp16"}, 1),
        (("onnx_from_torch", "trt_from_onnx"), {"precision": "bf16"}, 1),
        (("onnx_from_torch", "trt_from_onnx"), {"precision": "as_is"}, None),
        (("onnx_from_torch", "trt_from_onnx"), {}, None),
        (("onnx_from_torch", "fp16_from_onnx", "trt_from_onnx"), {}, 1),
        (("onnx_from_torch", "fused_from_onnx"), {}, None),
        (("kd2deploy.exporters.onnx.onnx_from_torch", "kd2deploy.exporters.quantize.int8_from_onnx"), {}, 1),
    ],
)
def test_the_step_that_rounds_most_is_searched(names: tuple[str, ...], arguments: Any, place: int | None) -> None:
    assert searched(variant(*names, **arguments)) == place


def test_a_variant_without_steps_is_not_searched() -> None:
    assert searched(Variant(session={"dtype": "fp16"})) is None


ROUNDING = [name for name in known("converter") if traits({"use": name}).rounds_to]


def test_every_converter_that_rounds_is_ranked() -> None:
    assert ROUNDING == ["fp16_from_onnx", "fp8_from_onnx", "int8_from_onnx", "nncf_from_onnx", "trt_from_onnx"]
    assert all(traits({"use": name}).ranked_by for name in ROUNDING)


@pytest.mark.parametrize("name", ROUNDING)
def test_what_a_ranker_depends_on_its_converter_lets_be_set(name: str) -> None:
    ranks = taken_by(traits({"use": name}).ranked_by, 4)
    converts = taken_by(converter_of({"use": name}), 5)
    assert "exclude" in converts
    assert set(ranks) <= set(converts) or (name, set(ranks)) == ("fp16_from_onnx", {"precision"})


# how it is searched -----------------------------------------------------------------------------------------


def excluded(one: Variant) -> list[str]:
    return list(one.steps[-1].get("exclude", ()))


def rank(at: int) -> list[str]:
    return [f"node {place}" for place in range(20)]


INT8 = variant("onnx_from_torch", "int8_from_onnx")


def test_ever_more_of_the_most_harmful_operations_are_left_out() -> None:
    assert [len(excluded(one)) for one in milder(INT8, rank)] == [0, 1, 2, 4, 8]
    assert excluded(list(milder(INT8, rank))[2]) == ["node 0", "node 1"]
    few = list(milder(INT8, lambda at: rank(at)[:3]))
    assert [len(excluded(one)) for one in few] == [0, 1, 2], "something must be left to round"


def test_what_the_variant_excludes_itself_stays_excluded() -> None:
    own = variant("onnx_from_torch", "int8_from_onnx", exclude=["node 1"])
    assert [excluded(one) for one in milder(own, rank)][:3] == [
        ["node 1"],
        ["node 1", "node 0"],
        ["node 1", "node 0", "node 2"],
    ]


def test_the_search_ends_with_the_first_that_keeps_the_score_and_ranks_only_when_asked() -> None:
    one, score = with_exclusions(INT8, lambda one: (excluded(one), 0.8 + 0.1 * len(excluded(one))), rank, 0.95)
    assert (one, score) == (["node 0", "node 1"], pytest.approx(1.0))

    def never(at: int) -> list[str]:
        raise AssertionError("ranked without need")

    assert with_exclusions(INT8, lambda one: (excluded(one), 0.99), never, 0.95)[0] == []


def test_where_nothing_keeps_the_score_the_best_is_kept() -> None:
    scores = {0: 0.5, 1: 0.6, 2: 0.9, 4: 0.7, 8: 0.8}
    one, score = with_exclusions(INT8, lambda one: (excluded(one), scores[len(excluded(one))]), rank, 0.95)
    assert (len(one), score) == (2, 0.9)


@pytest.mark.parametrize("error", [DisagreementError("overflow"), NotFiniteError("overflow")])
def test_a_variant_that_answers_nonsense_is_searched_too(error: Exception) -> None:
    def attempt(one: Variant) -> tuple[int, float]:
        if len(excluded(one)) < 4:
            raise error
        return len(excluded(one)), 0.9

    assert with_exclusions(INT8, attempt, rank, 0.8) == (4, 0.9)


def test_where_all_fail_the_first_reason_is_told() -> None:
    def attempt(one: Variant) -> tuple[int, float]:
        raise DisagreementError(f"{len(excluded(one))} excluded")

    with pytest.raises(DisagreementError, match="0 excluded"):
        with_exclusions(INT8, attempt, rank, 0.8)


def test_a_milder_one_that_cannot_be_made_costs_nothing() -> None:
    def attempt(one: Variant) -> tuple[int, float]:
        if excluded(one):
            raise ConvertError("the builder gave no reason")
        return 0, 0.5

    assert with_exclusions(INT8, attempt, rank, 0.8) == (0, 0.5)


@pytest.mark.parametrize("error", [SessionError("no such provider"), ConvertError("not installed")])
def test_what_milder_arithmetic_cannot_mend_is_not_searched(error: Exception) -> None:
    asked: list[Variant] = []

    def attempt(one: Variant) -> tuple[int, float]:
        asked.append(one)
        raise error

    with pytest.raises(type(error)):
        with_exclusions(INT8, attempt, rank, 0.8)
    assert asked == [INT8]


# on a real graph --------------------------------------------------------------------------------------------


def network(path: Path, plant: str) -> Artifact:
    """Four products in a row, one of them, `second`, spoiled: in `fp16` it overflows, and in `int8` one of its weights
    takes the whole range of the bytes. The product that follows it undoes what was planted."""
    drawn = np.random.default_rng(0)
    weights = {name: drawn.standard_normal((WIDE, WIDE)).astype(np.float32) for name in ("first", "second", "third")}
    weights |= {"embedding": drawn.standard_normal((40, WIDE)), "head": drawn.standard_normal((WIDE, 3))}
    shrink = np.ones(WIDE)
    if plant == "fp16":
        weights["second"] *= 1e6
        shrink *= 1e-6
    else:
        weights["second"][0, 0], shrink[0] = 1e4, 1e-4
    held = {**weights, "shrink": shrink}
    make, tensor, info = onnx.helper.make_node, onnx.numpy_helper.from_array, onnx.helper.make_tensor_value_info
    nodes = [
        make("Gather", ["embedding", "input_ids"], ["embedded"], "embed"),
        make("MatMul", ["embedded", "first"], ["a"], "first product"),
        make("Softmax", ["a"], ["b"], "first softmax"),
        make("MatMul", ["b", "second"], ["c"], "second product"),
        make("Mul", ["c", "shrink"], ["d"], "shrinking"),
        make("MatMul", ["d", "third"], ["e"], "third product"),
        make("Softmax", ["e"], ["f"], "third softmax"),
        make("MatMul", ["f", "head"], ["g"], "last product"),
        make("ReduceMean", ["g", "axes"], ["logits"], "pool", keepdims=0),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "planted",
        [info("input_ids", onnx.TensorProto.INT64, ["batch_size", "sequence_length"])],
        [info("logits", onnx.TensorProto.FLOAT, ["batch_size", 3])],
        [*(tensor(one.astype(np.float32), name) for name, one in held.items()), tensor(np.array([1]), "axes")],
    )
    path.mkdir()
    opsets = [onnx.helper.make_opsetid("", 20)]
    save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path / "model.onnx", {})
    return made(path / "model.onnx", OPENED_BY)


SAMPLES: list[Feed] = [{"input_ids": np.random.default_rng(at).integers(0, 40, (4, 6))} for at in range(4)]


def rescued(source: Artifact, use: str, convert: Converter, least: float, folder: Path, **arguments: Any) -> Artifact:
    """The network converted as a variant asks for it, with what it must leave out; its score is 1 - the damage."""
    task = small_task()
    reference = run_all(source.path, task, TARGET, SAMPLES)
    tried: list[Path] = []

    def attempt(one: Variant) -> tuple[Artifact, float]:
        given = grouped(convert, {key: value for key, value in one.steps[1].items() if key != "use"})
        tried.append(folder / f"attempt-{len(tried)}")
        tried[-1].mkdir()
        found = convert(source, task, TARGET, tried[-1], SAMPLES, **given)
        return found, 1 - damage(reference, run_all(found.path, task, TARGET, SAMPLES))

    one = variant("onnx_from_torch", use, **arguments)
    found, score = with_exclusions(one, attempt, lambda at: ranked(one.steps[at], source, task, TARGET, SAMPLES), least)
    assert score >= least
    assert len(tried) == 2, "as it stands, and with the planted operation left out"
    return found


def test_the_operation_that_overflows_in_fp16_is_found_and_left_out(tmp_path: Path) -> None:
    source = network(tmp_path / "source", "fp16")
    with pytest.raises(DisagreementError, match="disagrees with its source"):
        fp16_from_onnx(source, small_task(), TARGET, tmp_path, SAMPLES)
    found = rescued(source, "fp16_from_onnx", fp16_from_onnx, 0.98, tmp_path)
    assert found.details["excluded"] == ["second product"]


def test_the_operation_that_bytes_cannot_hold_is_found_and_left_out(tmp_path: Path) -> None:
    source = network(tmp_path / "source", "int8")
    found = rescued(source, "int8_from_onnx", int8_from_onnx, 0.9, tmp_path, per_channel=False)
    assert found.details["excluded"] == ["second product"]


@pytest.mark.parametrize(
    ("use", "ranks", "arguments"),
    [
        ("fp8_from_onnx", rank_fp8_sensitivity, {}),
        ("trt_from_onnx", rank_half_sensitivity, {"precision": "bf16"}),
    ],
)
def test_fp8_and_bf16_are_ranked_by_their_own_damage(
    use: str, ranks: Ranker, arguments: dict[str, Any], tmp_path: Path
) -> None:
    source = network(tmp_path / "source", "fp16")
    damages = dict(ranks(source, small_task(), TARGET, SAMPLES, **arguments))
    products = {f"{name} product" for name in ("first", "second", "third", "last")}
    assert products <= set(damages)
    assert all(0 < damages[name] < 0.2 for name in products), "neither overflows where fp16 does"
    step = {"use": use, **arguments, "workspace_mb": 1} if arguments else {"use": use}
    assert ranked(step, source, small_task(), TARGET, SAMPLES) == list(damages)


# a converter of a user's own ----------------------------------------------------------------------------------


def test_a_users_converter_that_rounds_is_searched_as_ours_are(tmp_path: Path) -> None:
    source, use = network(tmp_path / "source", "int8"), "own_converters.coarse_from_onnx"
    assert searched(variant("onnx_from_torch", use)) == 1
    assert searched(variant("onnx_from_torch", use, steps=1 << 24)) is None, "with that many steps it rounds nothing"
    found = rescued(source, use, coarse_from_onnx, 0.9, tmp_path, steps=64)
    assert found.details["excluded"] == ["second product"]
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(found.path).graph.initializer}
    assert len(np.unique(held["second"])) == WIDE**2, "left as it was"
    assert len(np.unique(held["third"])) <= 65
