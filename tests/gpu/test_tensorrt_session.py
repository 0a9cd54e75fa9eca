"""Engines and sessions on a device: run with `pytest -m gpu` on a machine that has one."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_encoder

from kd2deploy.core import Artifact, Feed, Target, Task, made, open_session
from kd2deploy.errors import ConvertError, SessionError
from kd2deploy.exporters.onnx import OnnxSession, Running, onnx_from_torch
from kd2deploy.exporters.quantize import Int8, int8_from_onnx
from kd2deploy.exporters.shapes import axis_ranges
from kd2deploy.exporters.tensorrt import TensorRTSession, fp8_from_onnx, trt_from_onnx
from kd2deploy.exporters.tensorrt.engine import Engine
from kd2deploy.exporters.torch import TorchSession
from kd2deploy.tasks.text_classification import TextClassification

pytestmark = pytest.mark.gpu
LIBRARIES = [name for name in ("tensorrt", "tensorrt_rtx") if importlib.util.find_spec(name)]
TEXTS = ["a good film", "the plot was dull", "very slow", "not bad is the film", "fun", "a fine plot is not slow"]


@dataclasses.dataclass(frozen=True)
class Case:
    source: Artifact
    plain: Artifact
    task: Task
    target: Target
    samples: list[Feed]

    @property
    def inputs(self) -> tuple[Artifact, Task, Target]:
        return self.plain, self.task, self.target


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = save_encoder(tmp_path_factory.mktemp("bert"))
    task = TextClassification(labels=["neg", "pos"], max_length=32).at(folder)
    target = Target("here", "the device of this machine", "cuda", {})
    rows = task.reader.encode([{"text": words, "label": None} for words in TEXTS], folder)
    samples = [task.reader.feed([row]) for row in rows] + [task.reader.feed(rows)]
    source = made(folder, "kd2deploy.exporters.torch.TorchSession")
    plain = onnx_from_torch(source, task, target, tmp_path_factory.mktemp("onnx"), samples)
    return Case(source, plain, task, target, samples)


@pytest.fixture(params=LIBRARIES or ["tensorrt"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Arguments for `trt_from_onnx`, once per library that is installed."""
    pytest.importorskip(request.param)
    return {"library": request.param, "cache": str(tmp_path / "cache")}


@pytest.mark.tensorrt
@pytest.mark.parametrize("precision", ["as_is", "fp16", "bf16"])
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_an_engine_answers_as_its_graph_does_at_every_shape(
    case: Case, given: dict[str, Any], precision: Any, cuda_graph: bool, tmp_path: Path
) -> None:
    made = trt_from_onnx(*case.inputs, tmp_path, case.samples, options=Engine(precision=precision, **given))
    assert made.details["agreement"]["top1"] == 1
    tolerance = {"as_is": 1e-3, "fp16": 2e-2, "bf16": 1e-1}[precision]
    with (
        TensorRTSession(made, case.task.ports, case.target, cuda_graph=cuda_graph) as engine,
        OnnxSession(case.plain, case.task.ports, case.target) as graph,
    ):
        for feed in [*case.samples, *case.samples]:  # the second time from the recorded launches
            expected = graph.run(feed)["logits"]
            np.testing.assert_allclose(engine.run(feed)["logits"], expected, rtol=tolerance, atol=tolerance)
        assert engine.describe()["cuda_graph"] == str(cuda_graph).lower()
        assert engine.describe()["device"] == torch.cuda.get_device_name()


@pytest.mark.tensorrt
def test_int8_and_fp8_engines_keep_the_answers(case: Case, given: dict[str, Any], tmp_path: Path) -> None:
    for name in ("int8", "fp8", "engine"):
        (tmp_path / name).mkdir()
    pairs = int8_from_onnx(
        *case.inputs,
        tmp_path / "int8",
        case.samples,
        options=Int8(mode="static", layout="tensorrt", reduce_range=False),
    )
    sources = [pairs]
    if torch.cuda.get_device_capability() >= (8, 9):
        sources.append(fp8_from_onnx(*case.inputs, tmp_path / "fp8", case.samples))
    for source in sources:
        made = trt_from_onnx(
            source, case.task, case.target, tmp_path / "engine", case.samples, options=Engine(precision="fp16", **given)
        )
        assert made.precision == source.precision
        assert made.details["agreement"]["cosine"] > 0.98


@pytest.mark.tensorrt
def test_the_parts_of_a_run_make_the_whole(case: Case, given: dict[str, Any], tmp_path: Path) -> None:
    made = trt_from_onnx(*case.inputs, tmp_path, case.samples, options=Engine(**given))
    with TensorRTSession(made, case.task.ports, case.target, cuda_graph=True) as session:
        whole = session.run(case.samples[0])["logits"]
        buffers = session.place(case.samples[0])
        for _ in range(3):
            session.compute(buffers)
        np.testing.assert_array_equal(session.fetch(buffers)["logits"], whole)


@pytest.mark.tensorrt
def test_a_stale_engine_and_a_foreign_shape_are_refused(case: Case, given: dict[str, Any], tmp_path: Path) -> None:
    made = trt_from_onnx(*case.inputs, tmp_path, case.samples, options=Engine(**given))
    for field, value in (("version", "10.0.0"), ("device", "NVIDIA T4"), ("driver", "1.2")):
        place = {**made.details["place"], field: value}
        stale = dataclasses.replace(made, details={**made.details, "place": place})
        with pytest.raises(SessionError, match=f"is stale.*{field} was {value}"):
            open_session(stale, case.task.ports, case.target)
    long = {name: np.ones((1, 33), dtype=array.dtype) for name, array in case.samples[0].items()}
    with (
        open_session(made, case.task.ports, case.target) as session,
        pytest.raises(SessionError, match="set shapes of the variant"),
    ):
        session.run(long)


@pytest.mark.tensorrt
def test_a_broken_engine_is_refused(case: Case, given: dict[str, Any], tmp_path: Path) -> None:
    made_ = trt_from_onnx(*case.inputs, tmp_path, case.samples, options=Engine(**given))
    made_.path.write_bytes(made_.path.read_bytes()[:1000])
    broken = made(made_.path, made_.opened_by, details=made_.details)
    with pytest.raises(SessionError, match="cannot be loaded"):
        open_session(broken, case.task.ports, case.target)


@pytest.mark.tensorrt
def test_several_builds_are_timed_and_their_spread_is_recorded(
    case: Case, given: dict[str, Any], tmp_path: Path
) -> None:
    made = trt_from_onnx(*case.inputs, tmp_path, case.samples, options=Engine(builds=2, **given))
    assert [one["median_ms"] > 0 for one in made.details["spread"]["builds"]] == [True, True]
    assert made.details["spread"]["ratio"] >= 1


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_torch_runs_on_the_device_in_every_type(case: Case, dtype: Any) -> None:
    with (
        TorchSession(case.source, case.task.ports, case.target, dtype=dtype) as session,
        OnnxSession(case.plain, case.task.ports, case.target) as graph,
    ):
        for feed in case.samples:
            expected = graph.run(feed)["logits"]
            np.testing.assert_allclose(session.run(feed)["logits"], expected, rtol=0.1, atol=0.1)
        assert session.describe()["device"] == torch.cuda.get_device_name()


def test_onnx_runtime_computes_on_the_device_alone(case: Case) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("the installed ONNX Runtime has no CUDA provider")
    with (
        OnnxSession(
            case.plain, case.task.ports, case.target, options=Running(provider="CUDAExecutionProvider")
        ) as session,
        OnnxSession(case.plain, case.task.ports, case.target) as graph,
    ):
        for feed in case.samples:
            expected = graph.run(feed)["logits"]
            np.testing.assert_allclose(session.run(feed)["logits"], expected, rtol=1e-2, atol=1e-2)
        assert session.describe()["provider"] == "CUDAExecutionProvider"
        assert session.describe()["provider_options"] == "use_tf32 0"


@pytest.mark.tensorrt
@pytest.mark.parametrize("provider", ["TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"])
def test_onnx_runtimes_tensorrt_builds_once_for_every_shape(
    case: Case, provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if provider not in onnxruntime.get_available_providers():
        pytest.skip(f"the installed ONNX Runtime has no {provider}")
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path))
    ranges = axis_ranges(case.task, case.samples[:-1], 1)
    shapes = {axis: list(sizes) for axis, sizes in ranges.items()}
    options = {"trt_fp16_enable": "1"} if provider == "TensorrtExecutionProvider" else {}
    given: dict[str, Any] = {"provider": provider, "provider_options": options, "shapes": shapes}
    with OnnxSession(case.plain, case.task.ports, case.target) as graph:
        expected = [graph.run(feed)["logits"] for feed in case.samples]
    for _ in range(2):  # the second time from what was kept
        with OnnxSession(case.plain, case.task.ports, case.target, options=Running(**given)) as session:
            for feed, logits in zip(case.samples, expected, strict=True):
                np.testing.assert_allclose(session.run(feed)["logits"], logits, rtol=2e-2, atol=2e-2)
            assert session.describe()["precision"] == ("fp16" if options else "fp32")
        kept = sorted(tmp_path.rglob("*.engine"))
        assert len(kept) == 1 or not options


@pytest.mark.tensorrt
def test_an_engine_that_disagrees_with_its_graph_is_refused(
    case: Case, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(TensorRTSession):
        def fetch(self, buffers: Any) -> dict[str, np.ndarray[Any, Any]]:
            return {name: array + 1 for name, array in super().fetch(buffers).items()}

    monkeypatch.setattr("kd2deploy.exporters.tensorrt.engine.TensorRTSession", Wrong)
    with pytest.raises(ConvertError, match="the engine disagrees with its graph"):
        trt_from_onnx(*case.inputs, tmp_path, case.samples, options=Engine(**given))
