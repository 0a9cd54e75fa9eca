"""The PyTorch session: eval mode, threads, precision, compilation."""

import dataclasses
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Case
from torch import nn

from kd2deploy.core import Resident, open_session
from kd2deploy.errors import SessionError
from kd2deploy.exporters.torch import TorchSession, exact_fp32
from kd2deploy.tasks._text_networks import TextNetworks
from kd2deploy.tasks.text_classification import TextClassification


def test_it_answers_as_the_network_does(text: Case) -> None:
    feed = text.samples[0]
    net = text.task.networks.load(text.source.path)
    with torch.no_grad():
        expected = net(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits.numpy()
    with open_session(text.source, text.task.ports, text.target) as session:
        np.testing.assert_allclose(session.run(feed)["logits"], expected, rtol=1e-5, atol=1e-6)


def test_threads_are_set_while_it_is_open_alone(text: Case) -> None:
    before = torch.get_num_threads()
    with TorchSession(text.source, text.task.ports, dataclasses.replace(text.target, threads=2)) as session:
        assert torch.get_num_threads() == 2
        assert session.describe()["threads"] == "2"
    assert torch.get_num_threads() == before


def test_bf16_answers_in_float32(text: Case) -> None:
    with TorchSession(text.source, text.task.ports, text.target, dtype="bf16") as session:
        assert session.run(text.samples[0])["logits"].dtype == np.float32
        assert session.describe()["precision"] == "bf16"


def test_a_module_in_training_mode_is_refused(text: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    class Awake(nn.Module):
        """A deployed network that will not be put to sleep."""

        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def eval(self) -> "Awake":
            return self.train()

    class CarelessNetworks(TextNetworks):
        def deployed(self, net: nn.Module) -> nn.Module:
            return Awake(super().deployed(net))

    class Careless(TextClassification):
        @cached_property
        def networks(self) -> TextNetworks:
            return CarelessNetworks(self.labels, self.reader)

    assert isinstance(text.task, TextClassification)
    task = Careless(**{key: value for key, value in text.task.spec().items() if key != "use"})
    monkeypatch.setattr("kd2deploy.exporters.torch.build_task", lambda spec: task)
    with pytest.raises(SessionError, match="training mode"):
        TorchSession(text.source, task.ports, text.target)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the refusal needs a machine without CUDA")
def test_a_cuda_target_without_cuda_is_refused(text: Case) -> None:
    with pytest.raises(SessionError, match="CUDA"):
        TorchSession(text.source, text.task.ports, dataclasses.replace(text.target, device="cuda"))


def test_compiled_answers_are_the_eager_ones(image: Case) -> None:
    with (
        TorchSession(image.source, image.task.ports, image.target) as eager,
        TorchSession(image.source, image.task.ports, image.target, compile=True) as compiled,
    ):
        assert compiled.describe()["mode"] == "torch.compile"
        for feed in image.samples:
            np.testing.assert_allclose(compiled.run(feed)["logits"], eager.run(feed)["logits"], rtol=1e-3, atol=1e-4)


def test_compiled_once_for_any_size_of_the_named_axes(text: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = captured(monkeypatch)
    with TorchSession(text.source, text.task.ports, text.target, compile=True) as compiled:
        assert [feed["input_ids"].shape for feed in text.samples[:3]] != [text.samples[0]["input_ids"].shape] * 3
        for feed in text.samples:
            compiled.run(feed)
        two = {name: np.concatenate([array, array]) for name, array in text.samples[0].items()}
        five = {name: np.concatenate([array] * 5) for name, array in text.samples[1].items()}
        assert compiled.run(two)["logits"].shape == (2, 2)
        assert compiled.run(five)["logits"].shape == (5, 2)
    assert len(graphs) <= 2, "one of a single row, which the compiler always takes apart, and one of more"


def test_what_the_compiler_would_leave_to_eager_is_an_error(image: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    captured(monkeypatch)
    with TorchSession(image.source, image.task.ports, image.target, compile=True) as compiled:
        two = {name: np.concatenate([array, array]) for name, array in image.samples[0].items()}
        with torch._dynamo.config.patch(recompile_limit=1), pytest.raises(SessionError, match="a part eagerly"):
            compiled.run(two)

    class Breaking(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
            print(end="")
            return (self.net(pixels).logits,)

    monkeypatch.setattr(type(image.task.networks), "deployed", lambda self, net: Breaking(net))
    with pytest.raises(SessionError, match="would run a part eagerly"):
        TorchSession(image.source, image.task.ports, image.target, compile=True)


def captured(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that the compiler takes from now on; they are run as they are, which costs no time to compile."""
    torch._dynamo.reset()
    found: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    return found


def test_fp32_is_exact_while_it_is_asked_for() -> None:
    assert torch.backends.cudnn.allow_tf32, "PyTorch's own default"
    with exact_fp32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_its_parts_are_a_run(text: Case) -> None:
    with TorchSession(text.source, text.task.ports, text.target) as session:
        assert isinstance(session, Resident)
        assert session.stream is None, "on a processor nothing is copied"
        placed = session.place(text.samples[0])
        session.compute(placed)
        np.testing.assert_array_equal(session.fetch(placed)["logits"], session.run(text.samples[0])["logits"])


def test_recorded_launches_need_a_device_and_the_eager_network(image: Case) -> None:
    with pytest.raises(SessionError, match="take a cuda target and leave compile out"):
        TorchSession(image.source, image.task.ports, image.target, cuda_graph=True)
    with pytest.raises(SessionError, match="take a cuda target and leave compile out"):
        TorchSession(
            image.source, image.task, dataclasses.replace(image.target, device="cuda"), cuda_graph=True, compile=True
        )
