"""doctor: what is installed, which runtimes really work here, and what this machine can do."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from typing import Literal

import numpy as np

from kd2deploy.cli.screen import console
from kd2deploy.core import driver_version, nvml
from kd2deploy.core.figures import count_of
from kd2deploy.errors import SessionError
from kd2deploy.exporters.tensorrt.api import INSTALL, LibraryName, load
from kd2deploy.measure.machine import copy_gb_per_s, describe_machine, matmul_gflops
from kd2deploy.report.tables import Cell, Table
from kd2deploy.report.terminal import print_table

State = Literal["ok", "absent", "FAIL"]
"""`absent` is what is not installed, or has no device here: what needs it cannot run, and nothing is broken."""
Check = tuple[State, str, str]
TONES: Mapping[State, str] = {"ok": "pass", "absent": "soft", "FAIL": "fail"}
NEEDED_FOR: Mapping[LibraryName, str] = {
    "tensorrt": "to build and run engines on an NVIDIA GPU",
    "tensorrt_rtx": "for variants with `library` tensorrt_rtx",
}


def machine_facts() -> dict[str, str]:
    """What this machine is and can do; two products and a copy are timed for it."""
    machine = describe_machine()
    return {
        "processor": f"{machine.cpu}, {count_of(machine.cores, 'core')} usable of {machine.cores_in_all}",
        "instructions": " ".join(machine.isa) or "none of those that speed up inference",
        "memory": f"{machine.memory_gb:.0f} GB",
        "system": f"{machine.system}, Python {machine.python}",
        **{
            f"GPU {at}": f"{gpu['name']}, {gpu['memory_gb']:.0f} GB, compute capability {gpu['compute']}"
            for at, gpu in enumerate(machine.gpus)
        },
        "NVIDIA driver": machine.driver or "none",
        "matrix product": f"{matmul_gflops(seconds=1.0):.0f} GFLOP/s in fp32 on {count_of(machine.cores, 'thread')}",
        "memory copy": f"{copy_gb_per_s(seconds=0.5):.1f} GB/s",
        **machine.packages,
    }


def runtime_checks() -> list[Check]:
    """How each runtime stands, its name, and what was found."""
    checks = (onnxruntime_builds, *provider_checks(), openvino_works, cuda_works, *tensorrt_checks(), nvml_answers)
    return [check() for check in checks]


def print_findings(facts: Mapping[str, str], checks: Sequence[Check]) -> None:
    shown = console()
    rows = tuple((Cell(name), Cell(value)) for name, value in facts.items())
    print_table(Table("This machine", ("", ""), rows), shown)
    found = tuple((Cell(stands, tone=TONES[stands]), Cell(name), Cell(said)) for stands, name, said in checks)
    print_table(Table("Runtimes", ("", "check", "found"), found), shown)


def onnxruntime_builds() -> Check:
    """The CPU and GPU builds of ONNX Runtime overwrite each other's folder without a word."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if installed(name)]
    if len(found) == 2:
        remedy = (
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install one extra: kd2deploy[cpu] or kd2deploy[gpu]"
        )
        return "FAIL", "ONNX Runtime", f"both builds are installed and overwrite each other: {remedy}"
    if not found:
        said = "not installed, needed for every onnx variant: pip install 'kd2deploy[cpu]' (or [gpu])"
        return "absent", "ONNX Runtime", said
    return "ok", "ONNX Runtime", f"{found[0]} {metadata.version(found[0])}"


def provider_checks() -> Iterator[Callable[[], Check]]:
    """One check per provider that ONNX Runtime claims: only a session that was created tells the truth."""
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    for provider in onnxruntime.get_available_providers():
        if provider != "AzureExecutionProvider":
            yield partial(provider_works, provider)


def provider_works(provider: str) -> Check:
    import onnxruntime
    from onnx import TensorProto, helper

    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "abc"]
    graph = helper.make_graph([node], "check", ports[:2], ports[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    one = np.eye(8, dtype=np.float32)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[provider])
        answer = session.run(None, {"a": one, "b": one})[0]
    except Exception as error:  # whatever a provider's library raises is the finding
        return "FAIL", provider, " ".join(str(error).split())[:200]
    active = session.get_providers()[0]
    if active != provider:
        return "absent", provider, f"claimed by this build, not usable here: sessions fall back to {active}"
    if not np.array_equal(answer, one):
        return "FAIL", provider, "active in a created session, wrong answer"
    return "ok", provider, "active in a created session, right answer"


def openvino_works() -> Check:
    if importlib.util.find_spec("openvino") is None:
        said = "not installed, needed for every openvino variant: pip install 'kd2deploy[openvino]'"
        return "absent", "OpenVINO", said
    from kd2deploy.exporters.openvino import devices

    return "ok", "OpenVINO", f"{metadata.version('openvino')}, devices {', '.join(devices())}"


def cuda_works() -> Check:
    import torch

    if not torch.cuda.is_available():
        return "absent", "CUDA in PyTorch", "no device: networks are trained on the processor"
    one = torch.eye(8, device="cuda")
    right = bool((one @ one == one).all())
    return "ok" if right else "FAIL", "CUDA in PyTorch", torch.cuda.get_device_name()


def tensorrt_checks() -> Iterator[Callable[[], Check]]:
    for name in INSTALL:
        yield partial(tensorrt_works, name)


def tensorrt_works(name: LibraryName) -> Check:
    """Whether the library loads, and may be used: it builds and runs engines where a driver answers, and TensorRT-RTX
    builds them without one too."""
    if importlib.util.find_spec(name) is None:
        return "absent", name, f"not installed, needed {NEEDED_FOR[name]}: {INSTALL[name]}"
    try:
        library = load(name)
    except SessionError as error:
        return "FAIL", name, str(error)
    if driver := driver_version():
        return "ok", name, f"{library.version}, driver {driver}"
    said = f"{library.version}, no driver answers: engines do not run here"
    if library.builds_without_device:
        return "ok", name, f"{said}, builds engines for other devices"
    return "absent", name, said


def nvml_answers() -> Check:
    """Whether foreign processes, caps and throttling of a GPU can be seen."""
    if importlib.util.find_spec("pynvml") is None:
        said = (
            "not installed, needed to see who else uses a GPU: pip install nvidia-ml-py (in kd2deploy[gpu], [tensorrt])"
        )
        return "absent", "NVML", said
    library = nvml()
    if library is None:
        return "absent", "NVML", f"nvidia-ml-py {metadata.version('nvidia-ml-py')}, no driver answers"
    return (
        "ok",
        "NVML",
        f"driver {library.nvmlSystemGetDriverVersion()}, {count_of(library.nvmlDeviceGetCount(), 'device')}",
    )


def installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
