"""The adapter against what TensorRT 10 and 11 publish: every name and every call, without their libraries."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from published_api import RTX_ALONE, Published

from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.shapes import ShapeRange
from kd2deploy.exporters.tensorrt import api, session
from kd2deploy.exporters.tensorrt.api import Library, Settings, build, load

ONE_INPUT = {
    "INetworkDefinition.num_inputs": 1,
    "INetworkDefinition.num_layers": 7,
    "ITensor.name": "input_ids",
}
SHAPES = {"input_ids": ShapeRange((1, 1), (4, 16), (32, 64))}
CLASSES_OF_NAMES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "context": "IExecutionContext",
}
"""What the variables of the adapter and the attributes of the session hold."""


def library(major: int, **properties: Any) -> tuple[Library, Published]:
    published = Published(major, {**ONE_INPUT, **{key.replace("__", "."): value for key, value in properties.items()}})
    return Library("tensorrt", published.module), published  # type: ignore[arg-type]


@pytest.mark.parametrize("major", [10, 11])
def test_an_engine_is_built_by_published_calls_alone(major: int) -> None:
    trt, published = library(major)
    settings = Settings(tf32=False, optimization_level=4, workspace_mb=512)
    built = build(trt, b"graph", SHAPES, settings, b"timings")
    assert built.engine == b"engine"
    assert built.layers == 7
    typed = published.enumerations["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"]
    assert published.called("create_network") == [(1 << int(typed),)]
    assert published.called("parse") == [(b"graph",)]
    assert published.called("set_shape") == [("input_ids", (1, 1), (4, 16), (32, 64))]
    assert published.called("builder_optimization_level=") == [(4,)]
    pool = published.enumerations["MemoryPoolType"]["WORKSPACE"]
    assert published.called("set_memory_pool_limit") == [(pool, 512 * 2**20)]
    assert published.called("create_timing_cache") == [(b"timings",)]
    assert published.called("clear_flag") == [(published.enumerations["BuilderFlag"]["TF32"],)]
    assert published.called("set_flag") == []


def test_version_10_takes_precisions_as_flags_on_a_weakly_typed_network() -> None:
    trt, published = library(10)
    assert trt.has_precision_flags
    build(trt, b"graph", SHAPES, Settings(frozenset({"FP16", "INT8"}), tf32=True))
    flags = published.enumerations["BuilderFlag"]
    assert published.called("create_network") == [(0,)]
    assert published.called("set_flag") == [(flags["FP16"],), (flags["INT8"],), (flags["TF32"],)]


def test_version_11_has_no_precision_flags_and_says_what_to_do() -> None:
    trt, _ = library(11)
    assert not trt.has_precision_flags
    with pytest.raises(ConvertError, match=r"has no builder flags.*FP16.*cast the graph"):
        build(trt, b"graph", SHAPES, Settings(frozenset({"FP16"})))


def test_timings_of_another_device_are_dropped() -> None:
    trt, published = library(10, **{"IBuilderConfig__set_timing_cache()": False})
    build(trt, b"graph", SHAPES, Settings(), b"foreign")
    assert published.called("create_timing_cache") == [(b"foreign",), (b"",)]


def test_the_parsers_errors_are_shown_in_its_own_words() -> None:
    said = {
        "OnnxParser__parse()": False,
        "OnnxParser__num_errors": 1,
        "ParserError__node_operator()": "MatMulInteger",
        "ParserError__node_name()": "layer.0/MatMul",
        "ParserError__desc()": "no importer registered",
    }
    for major in (10, 11):
        trt, published = library(major, **said)
        published.properties["OnnxParser.get_error()"] = published.classes["ParserError"]()
        with pytest.raises(ConvertError, match=r"cannot read the graph: MatMulInteger 'layer.0/MatMul': no importer"):
            build(trt, b"graph", SHAPES, Settings())


def test_a_build_without_an_engine_is_an_error() -> None:
    trt, _ = library(11, **{"Builder__build_serialized_network()": None})
    with pytest.raises(ConvertError, match=r"cannot build an engine: the builder gave no reason"):
        build(trt, b"graph", SHAPES, Settings())


def test_tensorrt_proper_builds_on_its_device_alone() -> None:
    trt, _ = library(11)
    with pytest.raises(ConvertError, match=r"builds on the device itself.*library: tensorrt_rtx"):
        build(trt, b"graph", SHAPES, Settings(compute_capability="8.9"))


def test_an_input_without_known_shapes_is_an_error() -> None:
    trt, _ = library(10)
    with pytest.raises(ConvertError, match=r"reads 'input_ids', of which no shapes are known"):
        build(trt, b"graph", {}, Settings())


@pytest.mark.parametrize("major", [10, 11])
def test_the_session_and_the_adapter_use_published_names_with_published_numbers_of_arguments(major: int) -> None:
    spec = json.loads(Path(__file__).with_name(f"tensorrt_{major}_api.json").read_text())["classes"]
    seen = 0
    for module in (session, api):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            holder = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            name = CLASSES_OF_NAMES.get(holder)
            if name is None or (holder == "error" and isinstance(node.value, ast.Name) and node.attr.startswith("_")):
                continue
            if node.attr in ("num_compute_capabilities", "set_compute_capability"):
                continue  # TensorRT-RTX alone, behind `builds_without_device`
            assert node.attr in spec[name], f"{name} of {major} has no {node.attr}"
            seen += 1
            if id(node) in calls and spec[name][node.attr] != "property":
                given = len(calls[id(node)].args)
                takes = [one["takes"] for one in spec[name][node.attr]]
                assert any(sum(not one[2] for one in each) <= given <= len(each) for each in takes), node.attr
    assert seen > 25


@pytest.mark.parametrize("major", [10, 11])
def test_the_names_of_the_module_itself_are_published(major: int) -> None:
    """`trt.Runtime`, `trt.TensorIOMode.INPUT`, `library.module.ComputeCapability`: enumerations and their members."""
    spec = json.loads(Path(__file__).with_name(f"tensorrt_{major}_api.json").read_text())
    published = {"__version__", *spec["classes"], *spec["enumerations"], *RTX_ALONE}
    published |= {f"{name}.{member}" for name, members in spec["classes"].items() for member in members}
    published |= {f"{name}.{member}" for name, members in spec["enumerations"].items() for member in members}
    published |= {f"{name}.__members__" for name in (*spec["enumerations"], "ComputeCapability")}
    published |= {f"ILogger.Severity.{name}" for name in ("INTERNAL_ERROR", "ERROR", "WARNING")} | {"ILogger.Severity"}
    used = {dotted for module in (session, api) for dotted in names_of_the_module(module)}
    assert {"Runtime", "TensorIOMode.INPUT", "ExecutionContextAllocationStrategy.USER_MANAGED", "Builder"} <= used
    assert used <= published, f"{major} has no {sorted(used - published)}"


def names_of_the_module(module: ModuleType) -> Iterator[str]:
    """Every dotted name that is looked up in the library's module, which stands in `trt` or in `.module`."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
        if isinstance(node, ast.Attribute):
            found = re.fullmatch(r"(?:trt|(?:self\.)?library\.module|self\.module)\.([\w.]+)", ast.unparse(node))
            if found:
                yield found.group(1)


@pytest.mark.parametrize("major", [10, 11])
def test_every_type_of_an_engines_port_is_known_or_refused(major: int) -> None:
    published = set(
        json.loads(Path(__file__).with_name(f"tensorrt_{major}_api.json").read_text())["enumerations"]["DataType"]
    )
    below_a_byte_or_scaled = {"FP8", "INT4", "FP4", "E8M0"}
    assert set(session.TORCH_TYPES) | below_a_byte_or_scaled == published
    for name in below_a_byte_or_scaled:
        with pytest.raises(SessionError, match=f"of type {name} cannot be fed"):
            session.torch_type(name)


def test_a_library_that_is_not_installed_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(SessionError, match=r"pip install 'kd2deploy\[tensorrt\]'"):
        load("tensorrt")


def test_an_unknown_major_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Published(11, {}).module
    module.__version__ = "12.0.1"
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", module)
    with pytest.raises(SessionError, match=r"12.0.1 is not among the versions known to work \(10.x, 11.x\)"):
        load("tensorrt")
