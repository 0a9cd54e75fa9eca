"""Export, fusion and the ONNX session, on the runtime itself."""

from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import Case
from damage import with_weights, with_wrong_bias
from torch import Tensor, nn

from kd2deploy.core import Artifact, Resident, Target, open_session
from kd2deploy.core.serving import code_that_opens
from kd2deploy.errors import ConvertError, ModelError, SessionError
from kd2deploy.exporters.onnx import OnnxSession, fp16_from_onnx, fused_from_onnx, onnx_from_torch
from kd2deploy.exporters.onnx.casts import _once
from kd2deploy.exporters.onnx.checking import check_agreement, run_all
from kd2deploy.exporters.onnx.files import name_nodes
from kd2deploy.exporters.onnx.half import rank_half_sensitivity
from kd2deploy.exporters.torch import TorchSession
from kd2deploy.tasks._text_networks import TextNetworks
from kd2deploy.tasks.text_classification import TextClassification

SIZES = [("x", 2), ("y", 3), ("between", 4)]


def test_the_artifact_says_what_made_it(text: Case, plain: Artifact) -> None:
    assert plain.details["route"] == "dynamo"
    assert plain.details["failed_routes"] == {}
    assert plain.details["opset"] == 20
    assert plain.details["domains"] == ["ai.onnx"]
    assert plain.parent == text.source.sha256
    assert sorted(file.name for file in plain.path.parent.iterdir()) == ["model.onnx"]
    properties = {entry.key: entry.value for entry in onnx.load(plain.path).metadata_props}
    assert properties["kd2deploy.source"] == text.source.sha256


def test_dynamic_axes_have_the_names_of_the_ports(text: Case, plain: Artifact) -> None:
    for entry, port in zip(onnx.load(plain.path).graph.input, text.task.inputs, strict=True):
        assert entry.name == port.name
        assert tuple(axis.dim_param for axis in entry.type.tensor_type.shape.dim) == port.axes


def test_node_names_say_where_in_the_network_they_stand_and_are_unique(plain: Artifact) -> None:
    nodes = onnx.load(plain.path).graph.node
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert any(name.endswith("encoder.layer.0.attention.self.query/MatMul") for name in names)
    assert not any(node.metadata_props for node in nodes), "stack traces tell the paths of the machine"


def test_shapes_noted_for_weights_are_dropped() -> None:
    """A tool that transposes the weight would leave the note, and shape inference would refuse the graph."""
    weight = onnx.numpy_helper.from_array(np.ones((2, 3), np.float32), "weight")
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size]) for name, size in SIZES]
    noted = onnx.helper.make_tensor_value_info("weight", onnx.TensorProto.FLOAT, [2, 3])
    node = onnx.helper.make_node("MatMul", ["x", "weight"], ["y"])
    graph = onnx.helper.make_graph([node], "one", ports[:1], ports[1:2], [weight], value_info=[noted, ports[2]])
    model = onnx.helper.make_model(graph)
    name_nodes(model)
    assert [value.name for value in model.graph.value_info] == ["between"]


def test_a_cast_that_stands_twice_is_kept_once() -> None:
    cast = onnx.helper.make_node("Cast", ["x"], ["wide"], "cast", to=onnx.TensorProto.FLOAT)
    readers = [onnx.helper.make_node("Relu", ["wide"], [name]) for name in ("one", "other")]
    model = onnx.helper.make_model(onnx.helper.make_graph([cast, readers[0], cast, readers[1]], "twice", [], []))
    _once(model)
    assert [node.op_type for node in model.graph.node] == ["Cast", "Relu", "Relu"]


@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_answers_as_torch_does_at_any_size(text: Case, plain: Artifact, batch: int) -> None:
    rows = [{"text": "a good film " * (place + 1), "label": None} for place in range(batch)]
    feed = text.task.reader.feed(text.task.reader.encode(rows, text.source.path))
    with (
        TorchSession(text.source, text.task.ports, text.target) as one,
        OnnxSession(plain, text.task.ports, text.target) as other,
    ):
        np.testing.assert_allclose(one.run(feed)["logits"], other.run(feed)["logits"], rtol=1e-4, atol=1e-5)


def test_tracing_exports_too(text: Case, tmp_path: Path) -> None:
    made = onnx_from_torch(text.source, text.task, text.target, tmp_path, text.samples, route="torchscript")
    assert made.details["route"] == "torchscript"


class BentNetworks(TextNetworks):
    """Networks that hold what exporters trip over once they are deployed."""

    bend: type[nn.Module]

    def deployed(self, net: nn.Module) -> nn.Module:
        return self.bend(super().deployed(net))


class Bent(TextClassification):
    def __init__(self, task: TextClassification, bend: type[nn.Module]) -> None:
        super().__init__(**{key: value for key, value in task.spec().items() if key != "use"})
        self.bend = bend

    @cached_property
    def networks(self) -> TextNetworks:
        made = BentNetworks(self.labels, self.reader)
        made.bend = self.bend
        return made


class Branching(nn.Module):
    """A branch on a value: torch.export refuses it, tracing follows the one taken."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        logits = self.net(*inputs)[0]
        return (logits if bool(inputs[1].sum() > 0) else logits * 0,)


class Frozen(nn.Module):
    """A size turned into a number: tracing writes the traced one into the graph."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.net(*inputs)[0] * (inputs[0].detach().numpy().shape[1] / 8),)


def test_what_dynamo_refuses_is_traced_and_the_artifact_says_so(text: Case, tmp_path: Path) -> None:
    assert isinstance(text.task, TextClassification)
    task = Bent(text.task, Branching)
    made = onnx_from_torch(text.source, task, text.target, tmp_path, text.samples)
    assert made.details["route"] == "torchscript"
    assert list(made.details["failed_routes"]) == ["dynamo", "dynamo_eager"]


def test_a_graph_that_is_right_at_the_traced_size_alone_is_refused(text: Case, tmp_path: Path) -> None:
    assert isinstance(text.task, TextClassification)
    task = Bent(text.task, Frozen)
    with pytest.raises(ConvertError, match=r"torchscript: .*disagrees"):
        onnx_from_torch(text.source, task, text.target, tmp_path, text.samples, route="torchscript")
    assert not list(tmp_path.iterdir())


def test_one_wrong_bias_is_found(text: Case, plain: Artifact, tmp_path: Path) -> None:
    reference = run_all(plain.path, text.task, text.target, text.samples)
    wrong = with_wrong_bias(plain, tmp_path / "wrong.onnx", 0.02)
    with pytest.raises(ConvertError, match="output 'logits'"):
        check_agreement(reference, wrong, text.task, text.target, text.samples)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weight: weight.sign() * 3e38, "NaN"),
        (lambda weight: weight * 0, "vanish|alike"),
        (lambda weight: weight * 1e-30, "vanish|alike"),
    ],
    ids=["endless", "zero", "tiny"],
)
def test_a_reference_that_proves_nothing_is_refused(text: Case, tmp_path: Path, change: Any, said: str) -> None:
    broken = with_weights(text.source, tmp_path / "broken", "classifier.weight", change)
    (tmp_path / "out").mkdir()
    with pytest.raises(ConvertError, match=said):
        onnx_from_torch(broken, text.task, text.target, tmp_path / "out", text.samples)


def test_weights_that_are_not_finite_are_refused_when_they_are_loaded(text: Case, tmp_path: Path) -> None:
    broken = with_weights(text.source, tmp_path / "broken", "classifier.weight", lambda weight: weight * float("nan"))
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelError, match=r"NaN or infinity in 1 of its weights \(classifier.weight\)"):
        onnx_from_torch(broken, text.task, text.target, tmp_path / "out", text.samples)


def test_attention_and_gelu_are_fused_and_on_a_processor_norms_stay_apart_from_their_sums(
    text: Case, plain: Artifact, fused: Artifact, tmp_path: Path
) -> None:
    assert fused.details["fused"] == {"Attention": 2, "Gelu": 2}
    assert fused.details["raw_masks"] == 2
    optimized = tmp_path / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimized)
    onnxruntime.InferenceSession(fused.path, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(optimized).graph.node)
    assert (kinds["LayerNormalization"], kinds["SkipLayerNormalization"]) == (5, 0), "it fuses none of them again"
    whole = fused_from_onnx(plain, text.task, text.target, tmp_path, text.samples, skip_norms=True)
    assert whole.details["fused"] == {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2}
    assert fused.details["nodes"] < fused.details["nodes_before"] / 2
    assert fused.details["domains"] == ["ai.onnx", "com.microsoft"]


def test_fused_attention_still_hides_the_padding(text: Case, plain: Artifact, fused: Artifact) -> None:
    rows = [{"text": "a good film is not slow", "label": None}, {"text": "dull", "label": None}]
    feed = text.task.reader.feed(text.task.reader.encode(rows, text.source.path))
    assert not feed["attention_mask"].all()
    one, other = (run_all(made.path, text.task, text.target, [feed])[0]["logits"] for made in (plain, fused))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_convolutional_network_has_nothing_to_fuse(image: Case, plain_image: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="leave the fused variants out"):
        fused_from_onnx(plain_image, image.task, image.target, tmp_path, image.samples)


@pytest.mark.parametrize("name", ["text", "image"])
def test_fp16_holds_every_weight_in_half_and_keeps_the_ports(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(name)
    source: Artifact = request.getfixturevalue({"text": "plain", "image": "plain_image"}[name])
    made = fp16_from_onnx(source, case.task, case.target, tmp_path, case.samples)
    assert made.precision == "fp16"
    weights = [tensor for tensor in onnx.load(made.path).graph.initializer if len(tensor.dims) > 1]
    kinds = {tensor.data_type for tensor in weights}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert onnx.TensorProto.FLOAT not in kinds
    assert run_all(made.path, case.task, case.target, case.samples)[0]["logits"].dtype == np.float32


def test_a_converter_without_samples_is_refused(text: Case, plain: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="at least one"):
        fused_from_onnx(plain, text.task, text.target, tmp_path, [])


# the session ------------------------------------------------------------------------------------------------


def test_the_session_tells_what_is_active(text: Case, plain: Artifact) -> None:
    with open_session(plain, text.task.ports, Target("two", "", "cpu", {}, threads=2)) as session:
        said = session.describe()
    assert said["provider"] == "CPUExecutionProvider"
    assert said["threads"] == "2"
    assert said["placement"].startswith("CPUExecutionProvider: ")


def test_threads_that_do_not_spin_answer_alike_and_the_cards_code_opens_the_file_so(
    text: Case, plain: Artifact
) -> None:
    options = {"spinning": False}
    names: dict[str, Any] = {}
    exec(code_that_opens(plain, "", str(plain.path), options), names)
    with (
        open_session(plain, text.task.ports, text.target) as one,
        open_session(plain, text.task.ports, text.target, options) as other,
    ):
        assert (one.describe()["spinning"], other.describe()["spinning"]) == ("true", "false")
        opened = other._session, names["session"]  # type: ignore[attr-defined]
        for session in opened:
            found = session.get_session_options().get_session_config_entry("session.intra_op.allow_spinning")
            assert found == "0"
        for feed in text.samples:
            expected = one.run(feed)["logits"]
            np.testing.assert_array_equal(other.run(feed)["logits"], expected)
            np.testing.assert_allclose(names["run"](feed)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_io_binding_gives_the_same_answers(text: Case, plain: Artifact) -> None:
    with (
        open_session(plain, text.task.ports, text.target) as one,
        open_session(plain, text.task.ports, text.target, {"io_binding": True}) as other,
    ):
        for feed in text.samples:
            np.testing.assert_array_equal(one.run(feed)["logits"], other.run(feed)["logits"])


def test_bound_buffers_are_used_again_and_answers_are_the_callers_own(text: Case, plain: Artifact) -> None:
    feeds = [*text.samples, *text.samples]
    with (
        open_session(plain, text.task.ports, text.target) as one,
        open_session(plain, text.task.ports, text.target, {"io_binding": True}) as other,
    ):
        expected = [one.run(feed)["logits"] for feed in feeds]
        found = [other.run(feed)["logits"] for feed in feeds]  # a later run must not write into an earlier answer
        for wanted, answer in zip(expected, found, strict=True):
            np.testing.assert_array_equal(wanted, answer)


def test_bound_arrays_are_computed_on_between_their_copies(text: Case, plain: Artifact) -> None:
    with (
        open_session(plain, text.task.ports, text.target) as one,
        open_session(plain, text.task.ports, text.target, {"io_binding": True}) as other,
    ):
        assert isinstance(other, Resident)
        assert other.stream is None, "the host has no stream, so nothing is timed by its events"
        placed = other.place(text.samples[0])
        other.compute(placed, wait=False)
        np.testing.assert_array_equal(other.fetch(placed)["logits"], one.run(text.samples[0])["logits"])


def test_recorded_launches_need_a_device(text: Case, plain: Artifact) -> None:
    with pytest.raises(SessionError, match="cuda_graph needs a provider on an NVIDIA device"):
        open_session(plain, text.task.ports, text.target, {"cuda_graph": True})


def test_nodes_named_stay_in_fp32_beside_fp16(text: Case, plain: Artifact, tmp_path: Path) -> None:
    ranked = rank_half_sensitivity(plain, text.task, text.target, text.samples)
    kept = ranked[0][0]
    made = fp16_from_onnx(plain, text.task, text.target, tmp_path, text.samples, exclude=[kept])
    types = {entry.name: entry.data_type for entry in onnx.load(made.path).graph.initializer}
    node = next(node for node in onnx.load(made.path).graph.node if node.name == kept)
    weights = {types[name] for name in node.input if name in types}
    assert weights <= {onnx.TensorProto.FLOAT}
    assert made.details["excluded"] == [kept]
    with pytest.raises(ConvertError, match="which are not in the graph"):
        fp16_from_onnx(plain, text.task, text.target, tmp_path, text.samples, exclude=["nowhere"])


def test_a_provider_that_is_not_installed_is_refused(text: Case, plain: Artifact) -> None:
    with pytest.raises(SessionError, match=r"kd2deploy\[gpu\]"):
        open_session(plain, text.task.ports, text.target, {"provider": "TensorrtExecutionProvider"})


def test_a_provider_that_leaves_the_work_to_the_host_is_refused(text: Case, plain: Artifact) -> None:
    # The Azure provider is part of every CPU build, takes no local node and falls back without a word.
    with pytest.raises(SessionError, match=r"AzureExecutionProvider leaves .*MatMul"):
        open_session(plain, text.task.ports, text.target, {"provider": "AzureExecutionProvider"})


def test_changed_bytes_are_refused(text: Case, plain: Artifact, tmp_path: Path) -> None:
    path = with_wrong_bias(plain, tmp_path / "model.onnx", 0.5)
    stale = Artifact.from_json({**plain.to_json(), "path": str(path)})
    with pytest.raises(SessionError, match="was changed"):
        open_session(stale, text.task.ports, text.target)


def test_inputs_that_the_task_does_not_feed_are_named(text: Case, plain: Artifact) -> None:
    narrow = replace(text.task.ports, inputs=text.task.inputs[:1])
    with pytest.raises(SessionError, match="attention_mask"):
        OnnxSession(plain, narrow, text.target)
