"""Engines built by TensorRT-RTX, which parses and builds on a machine without a device."""

import hashlib
import operator
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import onnx
import pytest
import yaml
from conftest import Case
from published_api import RTX_ALONE
from small_restoration import made_rows as pictures
from small_restoration import restorer, saved, swin
from small_restoration import small_task as restoration
from tiny_detectors import made_rows as scenes
from tiny_detectors import save_detector
from tiny_detectors import small_task as detection
from tiny_models import save_image_net
from tiny_speech import noise, save_speech, speech_task

from kd2deploy.core import Artifact, Row, Task, made
from kd2deploy.errors import ConvertError
from kd2deploy.exporters.onnx import fp16_from_onnx, onnx_from_torch
from kd2deploy.exporters.quantize import Int8, int8_from_onnx
from kd2deploy.exporters.shapes import ShapeRange, shape_ranges
from kd2deploy.exporters.tensorrt import fp8_from_onnx, trt_from_onnx
from kd2deploy.exporters.tensorrt.api import Settings, build, load
from kd2deploy.exporters.tensorrt.engine import Engine
from kd2deploy.networks.hearing import hearing

pytestmark = pytest.mark.tensorrt
Source = Literal["plain", "int8", "fp8"]
Kind = Literal["text", "image", "vit"]
HERE: dict[str, Any] = {"library": "tensorrt_rtx", "compute_capability": "8.9"}


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory, image: Case) -> tuple[Case, Artifact]:
    """A tiny ViT beside the tiny ResNet of `image`, and its plain graph."""
    folder = save_image_net(tmp_path_factory.mktemp("vit"), "vit", size=32)
    case = Case(made(folder, image.source.opened_by), image.task.at(folder), image.target, image.samples)
    where = tmp_path_factory.mktemp("vit-onnx")
    return case, onnx_from_torch(case.source, case.task, case.target, where, case.samples)


@pytest.fixture(scope="session")
def sources(
    text: Case,
    plain: Artifact,
    image: Case,
    plain_image: Artifact,
    vit: tuple[Case, Artifact],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[Kind, Source], tuple[Case, Artifact]]:
    """Each student as a plain graph, with int8 pairs and with fp8 pairs."""
    found: dict[tuple[Kind, Source], tuple[Case, Artifact]] = {}
    cases: tuple[tuple[Kind, Case, Artifact], ...] = (
        ("text", text, plain),
        ("image", image, plain_image),
        ("vit", *vit),
    )
    for kind, case, exported in cases:
        inputs = exported, case.task, case.target
        pairs = int8_from_onnx(
            *inputs,
            tmp_path_factory.mktemp("int8"),
            case.samples,
            options=Int8(mode="static", layout="tensorrt", reduce_range=False),
        )
        found[kind, "plain"] = case, exported
        found[kind, "int8"] = case, pairs
        found[kind, "fp8"] = case, fp8_from_onnx(*inputs, tmp_path_factory.mktemp("fp8"), case.samples)
    return found


@pytest.mark.parametrize("kind", ["text", "image", "vit"])
@pytest.mark.parametrize("source", ["plain", "int8", "fp8"])
@pytest.mark.parametrize("precision", ["as_is", "fp16", "bf16"])
def test_every_graph_becomes_an_engine(
    sources: dict[tuple[Kind, Source], tuple[Case, Artifact]],
    kind: Kind,
    source: Source,
    precision: Literal["as_is", "fp16", "bf16"],
    tmp_path: Path,
) -> None:
    case, graph = sources[kind, source]
    engine = trt_from_onnx(
        graph,
        case.task,
        case.target,
        tmp_path,
        case.samples,
        options=Engine(precision=precision, cache=str(tmp_path / "c"), **HERE),
    )
    expected = {"plain": "fp32" if precision == "as_is" else precision, "int8": "int8", "fp8": "fp8"}[source]
    assert engine.precision == expected
    assert engine.details["typing"] == "strongly typed"
    assert engine.details["place"]["compute_capability"] == "8.9"
    assert engine.details["build"]["layers"] > 10
    assert engine.path.stat().st_size > 10_000
    assert "not run" in engine.details["checked"]
    engine.verify()


def test_an_equal_build_is_taken_from_the_cache_and_another_is_not(text: Case, plain: Artifact, tmp_path: Path) -> None:
    given: dict[str, Any] = {"cache": str(tmp_path / "cache"), **HERE}
    first = trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Engine(**given))
    again = trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Engine(**given))
    assert (first.details["cached"], again.details["cached"]) == (False, True)
    assert first.sha256 == again.sha256
    shapes = {"sequence_length": [1, 8, 16]}
    other = trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Engine(shapes=shapes, **given))
    assert not other.details["cached"]
    assert other.details["key"] != first.details["key"]


def test_several_builds_are_recorded_one_by_one(image: Case, plain_image: Artifact, tmp_path: Path) -> None:
    engine = trt_from_onnx(
        plain_image,
        image.task,
        image.target,
        tmp_path,
        image.samples,
        options=Engine(builds=2, cache=str(tmp_path / "c"), **HERE),
    )
    spread = engine.details["spread"]
    assert len(spread["builds"]) == 2
    assert all(one["seconds"] > 0 and one["engine_mb"] > 0 for one in spread["builds"])
    assert spread["ratio"] is None, "without a device nothing is timed"
    assert engine.path.read_bytes()
    assert not list(tmp_path.glob("build-*"))


def test_nodes_left_in_fp32_make_another_engine(text: Case, plain: Artifact, tmp_path: Path) -> None:
    name = next(node.name for node in onnx.load(plain.path).graph.node if node.op_type == "MatMul")
    given: dict[str, Any] = {"precision": "fp16", "cache": str(tmp_path / "c"), **HERE}
    every = trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Engine(**given))
    less = trt_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Engine(exclude=[name], **given))
    assert less.details["excluded"] == [name]
    assert less.details["key"] != every.details["key"]


def test_a_graph_that_was_cast_before_is_built_as_it_is(text: Case, plain: Artifact, tmp_path: Path) -> None:
    half = fp16_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    engine = trt_from_onnx(half, text.task, text.target, tmp_path, text.samples, options=Engine(cache="", **HERE))
    assert engine.precision == "fp16"
    assert engine.parent == half.sha256


def test_what_the_parser_rejects_is_what_is_refused_beforehand(
    text: Case, plain: Artifact, fused: Artifact, tmp_path: Path
) -> None:
    """The refusals of `unreadable` are the library's own: it is asked directly here."""
    library, settings = load("tensorrt_rtx"), Settings(compute_capability="8.9")
    ranges = shape_ranges(text.task, text.samples, 1)
    dynamic = int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples)
    for path in (fused.path, dynamic.path):
        with pytest.raises(ConvertError, match="cannot read the graph"):
            build(library, path.read_bytes(), ranges, settings)
    static = int8_from_onnx(plain, text.task, text.target, tmp_path, text.samples, options=Int8(mode="static"))
    with pytest.raises(ConvertError, match=r"cannot read the graph|cannot build an engine"):
        build(library, static.path.read_bytes(), ranges, settings)


def test_an_unknown_device_and_an_impossible_shape_are_errors(text: Case, plain: Artifact) -> None:
    library, graph = load("tensorrt_rtx"), plain.path.read_bytes()
    ranges = shape_ranges(text.task, text.samples, 1)
    with pytest.raises(ConvertError, match=r"no compute capability 9.0; it has \['12.0', '12.1', '7.5'"):
        build(library, graph, ranges, Settings(compute_capability="9.0"))
    wrong = {name: ShapeRange((1,), (1,), (1,)) for name in ranges}
    with pytest.raises(ConvertError, match="cannot build an engine"):
        build(library, graph, wrong, Settings(compute_capability="8.9"))


def test_tensorrt_rtx_has_neither_precision_flags_nor_tactic_timings(text: Case, plain: Artifact) -> None:
    library = load("tensorrt_rtx")
    assert not library.has_precision_flags
    assert not library.times_tactics
    assert library.builds_without_device
    ranges = shape_ranges(text.task, text.samples, 1)
    built = build(library, plain.path.read_bytes(), ranges, Settings(compute_capability="8.9"))
    assert built.timing_cache == b""
    assert hashlib.sha256(built.engine).hexdigest()
    assert built.host_peak_mb > 1


def test_the_names_that_this_library_alone_has_are_there() -> None:
    """What the session uses on a device to have launches recorded, and the adapter to build for another device."""
    module: Any = load("tensorrt_rtx").module
    assert load("tensorrt_rtx").records_by_itself
    for dotted in RTX_ALONE:
        assert operator.attrgetter(dotted)(module) is not None
    for member in ("create_runtime_config", "create_execution_context"):
        assert hasattr(module.ICudaEngine, member)
    for member in ("set_execution_context_allocation_strategy", "cuda_graph_strategy"):
        assert hasattr(module.IRuntimeConfig, member)
    assert hasattr(module.IExecutionContext, "set_device_memory")


CAPABILITIES = {"h100": "8.9", "h200": "8.9", "a100": "8.0", "l4": "8.9", "t4": "7.5", "orin": "8.9"}
"""What stands for each target's device: its own compute capability where TensorRT-RTX has it."""


@pytest.mark.parametrize("name", CAPABILITIES)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_every_engine_of_a_profile_is_built(
    sources: dict[tuple[Kind, Source], tuple[Case, Artifact]], name: str, kind: Kind, tmp_path: Path
) -> None:
    """What the profiles' `measured` says was run."""
    of: dict[str, Source] = {"onnx_from_torch": "plain", "int8_from_onnx": "int8", "fp8_from_onnx": "fp8"}
    profile = yaml.safe_load(Path(str(resources.files("kd2deploy.profiles")), f"{name}.yaml").read_text())
    variants = [one["steps"] for one in profile["variants"].values() if "steps" in one]
    engines = [steps for steps in variants if steps[-1]["use"] == "trt_from_onnx"]
    assert len(engines) >= 2
    there = {"library": "tensorrt_rtx", "compute_capability": CAPABILITIES[name], "cache": ""}
    for *_, before, last in engines:
        case, graph = sources[kind, of[before["use"]]]
        given = {key: value for key, value in last.items() if key not in ("use", "builds")}
        engine = trt_from_onnx(graph, case.task, case.target, tmp_path, case.samples, options=Engine(**given, **there))
        assert engine.details["place"]["compute_capability"] == CAPABILITIES[name]


def speech_graph(family: str, image: Case, folder: Path) -> tuple[Case, Artifact]:
    """A tiny speech network and its ONNX file, for clips of 0.2 to 0.5 seconds."""
    net = save_speech(folder / "net", family)
    task = speech_task().at(net)
    heard = [hearing(net).features(noise(length, seed)) for seed, length in enumerate((0.2, 0.3, 0.5))]
    samples = [task.reader.feed([{task.reader.heard_as: one}]) for one in heard]
    case = Case(made(net, image.source.opened_by), task, image.target, samples)
    (folder / "onnx").mkdir()
    return case, onnx_from_torch(case.source, task, case.target, folder / "onnx", samples)


@pytest.fixture(scope="module")
def parakeet(image: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Artifact]:
    return speech_graph("parakeet_ctc", image, tmp_path_factory.mktemp("parakeet"))


@pytest.mark.parametrize("precision", ["as_is", "fp16"])
def test_a_speech_network_becomes_an_engine_for_the_lengths_of_real_rows(
    parakeet: tuple[Case, Artifact], precision: Literal["as_is", "fp16"], tmp_path: Path
) -> None:
    case, graph = parakeet
    frames = [feed["input_features"].shape[1] for feed in case.samples]
    ranges = shape_ranges(case.task, case.samples, 1)["input_features"]
    assert ranges.smallest[1] < min(frames) < max(frames) <= ranges.largest[1]
    options = Engine(precision=precision, cache=str(tmp_path / "c"), **HERE)
    engine = trt_from_onnx(graph, case.task, case.target, tmp_path, case.samples, options=options)
    assert engine.precision == ("fp32" if precision == "as_is" else precision)


def test_a_speech_network_whose_mask_this_library_cannot_read_is_refused_by_the_operation(
    image: Case, tmp_path: Path
) -> None:
    case, graph = speech_graph("wav2vec2", image, tmp_path)
    options = Engine(precision="fp16", cache=str(tmp_path / "c"), **HERE)
    with pytest.raises(ConvertError, match="cannot read the graph: NonZero"):
        trt_from_onnx(graph, case.task, case.target, tmp_path, case.samples, options=options)


def graph_of(task: Task, net: Path, rows: Sequence[Row], image: Case, folder: Path) -> tuple[Case, Artifact]:
    """A network's ONNX file, with one example of each row's size."""
    samples = [task.reader.feed([one]) for one in task.reader.encode(rows, net)]
    case = Case(made(net, image.source.opened_by), task, image.target, samples)
    (folder / "onnx").mkdir()
    return case, onnx_from_torch(case.source, task, case.target, folder / "onnx", samples)


Precision = Literal["as_is", "fp16"]


@pytest.mark.parametrize(
    ("family", "precision"), [("yolos", "fp16"), ("rt_detr", "as_is")]
)  # whose ranking fp16 changes
def test_a_detector_becomes_an_engine(family: str, precision: Precision, image: Case, tmp_path: Path) -> None:
    net = save_detector(tmp_path / "net", family)
    case, graph = graph_of(detection().at(net), net, scenes(3), image, tmp_path)
    options = Engine(precision=precision, cache=str(tmp_path / "c"), **HERE)
    engine = trt_from_onnx(graph, case.task, case.target, tmp_path, case.samples, options=options)
    assert engine.precision == ("fp32" if precision == "as_is" else precision)
    assert engine.details["build"]["layers"] > 10


@pytest.mark.parametrize(("kind", "precision"), [("ours", "fp16"), ("swin2sr", "as_is")])
def test_a_network_that_restores_becomes_an_engine_for_the_sizes_of_real_rows(
    kind: str, precision: Precision, image: Case, tmp_path: Path
) -> None:
    net = saved(restorer() if kind == "ours" else swin(depths=(2,)), tmp_path / "net")
    rows = [*pictures(1, 40, 48), *pictures(1, 54, 34)]
    case, graph = graph_of(restoration(), net, rows, image, tmp_path)
    options = Engine(precision=precision, cache=str(tmp_path / "c"), **HERE)
    engine = trt_from_onnx(graph, case.task, case.target, tmp_path, case.samples, options=options)
    assert engine.precision == ("fp32" if precision == "as_is" else precision)
