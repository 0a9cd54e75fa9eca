"""What machine this is, what else it is doing, and how fast it multiplies matrices."""

import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch

from kd2deploy.core import Target, cpu_quota, driver_version, usable_cores
from kd2deploy.core.cores import Quota, allowed_cores
from kd2deploy.core.figures import count_of
from kd2deploy.measure.neighbours import Used, at_work, in_use
from kd2deploy.measure.nvidia import device_state

DECIDING_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "asimddp",
)
"""Instruction sets that decide how fast fp32, bf16 and int8 run."""
INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
PACKAGES = (
    "kd2deploy",
    "torch",
    "transformers",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-cu12",
    "tensorrt-cu13",
    "tensorrt-rtx-cu12",
    "tensorrt-rtx-cu13",
    "nvidia-ml-py",
)
Products = Literal["fp32", "bf16", "int8"]
"""What matrices hold whose product is timed."""
BUSY_SHARE = 0.25
"""More of the usable cores in use by others is flagged. Ours."""
SLOWED_SHARE = 0.9
"""A clock below this share of what it was has been throttled. Ours."""


@dataclass(frozen=True)
class Machine:
    """What does not change while the program runs."""

    cpu: str
    isa: tuple[str, ...]
    cores: int
    """Cores that this process may use."""
    cores_in_all: int
    memory_gb: float
    system: str
    python: str
    packages: Mapping[str, str] = field(default_factory=dict)
    quota: str = ""
    """What the control group (a container's limit) grants: "2.0 of 32 cores"; empty where it grants all."""
    gpus: tuple[Mapping[str, Any], ...] = ()
    """All that CUDA shows; the first one is used."""
    driver: str = ""
    """Version of the NVIDIA driver."""
    cuda: str = ""
    """Version of CUDA that PyTorch was built with."""

    @property
    def has_int8(self) -> bool:
        """Whether the processor multiplies bytes natively; without, int8 saves memory and little time."""
        return bool(INT8_FLAGS & set(self.isa))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class State:
    """What the machine is doing at one moment. Read before and after a race, never inside it."""

    load: float
    """One-minute load average, which also holds what this very run did before."""
    memory_free_gb: float
    busy: float = 0.0
    """Cores in use by others while this process waited."""
    neighbours: str = ""
    """The processes that used most of them, as far as they can be seen from here."""
    governor: str = ""
    mhz: float | None = None
    """Mean of the usable cores' clocks, where the system tells."""
    throttled_periods: int | None = None
    """How many periods the processor quota of the control group has cut short, so far; None without a quota."""
    throttled_s: float | None = None
    """For how long it has stopped its processes, so far."""
    gpu: Mapping[str, Any] = field(default_factory=dict)
    """Of the GPU that is used: its name, and as far as NVML tells clocks, power, temperature, what slows it, and the
    processes that hold it. Empty where there is none."""
    used: Used | None = None
    """The processor's counters, of which only differences between two states tell anything."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "used"}


@dataclass(frozen=True)
class Preflight:
    """`breaches` make a verdict INVALID; `notes` are printed beside the figures."""

    breaches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def describe_machine() -> Machine:
    """The processor, memory, system, packages and GPUs found."""
    gpus = tuple(_gpu(place) for place in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    return Machine(
        cpu=_cpuinfo().get("model name") or platform.processor() or platform.machine(),
        isa=tuple(flag for flag in DECIDING_FLAGS if flag in cpu_flags()),
        cores=usable_cores(),
        cores_in_all=os.cpu_count() or 1,
        quota=granted(cpu_quota()),
        memory_gb=psutil.virtual_memory().total / 1e9,
        system=platform.platform(),
        python=platform.python_version(),
        packages=versions(),
        gpus=gpus,
        driver=driver_version(),
        cuda=str(torch.version.cuda or ""),
    )


def versions() -> dict[str, str]:
    """Versions of the packages that decide a figure; those not installed are left out."""
    found = {
        re.sub(r"[-_.]+", "-", distribution.name).lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return {name: found[name] for name in PACKAGES if name in found}


def cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them; empty where it does not say."""
    found = _cpuinfo()
    return frozenset((found.get("flags") or found.get("Features") or "").split())


def granted(quota: Quota | None) -> str:
    return "" if quota is None else f"{quota.cores:.1f} of {allowed_cores()} cores"


def state() -> State:
    """Load, clocks and throttling as they are now. Waits for half a second, to see what others do meanwhile."""
    clocks = [float(text) for text in _cpuinfo_all("cpu MHz")]
    governor = _text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
    busy, neighbours = at_work()
    quota = cpu_quota()
    periods, stopped_s = (None, None) if quota is None else quota.throttled()
    return State(
        load=os.getloadavg()[0],
        memory_free_gb=psutil.virtual_memory().available / 1e9,
        busy=busy,
        neighbours=neighbours,
        governor=governor,
        mhz=sum(clocks) / len(clocks) if clocks else None,
        throttled_periods=periods,
        throttled_s=stopped_s,
        gpu=device_state() if torch.cuda.is_available() else {},
        used=in_use(),
    )


def device_is_here(target: Target) -> bool:
    """Whether this machine has the device that a target is about: a processor always, else a GPU of that name."""
    return target.device == "cpu" or (torch.cuda.is_available() and is_named(target, torch.cuda.get_device_name()))


def is_named(target: Target, device: str) -> bool:
    """Whether the words of `target.device_name` stand in a device's name; whole words, so that an L40S is no L4."""
    wanted = rf"\b{re.escape(target.device_name)}\b"
    return not target.device_name or re.search(wanted, device, re.IGNORECASE) is not None


def preflight(target: Target, now: State | None = None) -> Preflight:
    """What speaks against measuring here and now."""
    now = now or state()
    breaches, notes = [], []
    cores = usable_cores()
    if now.busy > BUSY_SHARE * cores:
        who = f" ({now.neighbours})" if now.neighbours else ", by what cannot be seen from here"
        notes.append(
            f"others use {now.busy:.1f} of {cores} cores before anything is timed{who}: intervals get wide, and limits "
            "may stay undecided; end it, or measure when it has ended"
        )
    if target.threads > cores:
        said = granted(cpu_quota())
        breaches.append(
            f"target {target.name} asks for {count_of(target.threads, 'thread')} and this process may use "
            f"{count_of(cores, 'core')}"
            f"{f' (its quota is {said})' if said else ''}; "
            "set `threads` to what the deployed machine has, and measure there"
        )
    if now.governor == "powersave":
        notes.append("the processor's governor is powersave: clocks rise only after a while under load")
    if target.device == "cuda":
        breaches += device_breaches(target, now.gpu)
        notes += device_notes(now.gpu)
    return Preflight(tuple(breaches), tuple(notes))


def device_breaches(target: Target, gpu: Mapping[str, Any]) -> list[str]:
    """Why figures taken on a GPU, or without one, would not be this target's."""
    if not gpu:
        return [f"target {target.name} needs a CUDA device, and torch finds none here"]
    found = []
    if not is_named(target, gpu["name"]):
        found.append(
            f"target {target.name} is about a {target.device_name}, and this is a {gpu['name']}: take its own target, "
            "or write one with its device_name"
        )
    if len(gpu.get("pids", ())) > 1:  # one of them is this process, whose own number may be another in a container
        held = ", ".join(str(pid) for pid in gpu["pids"] if pid != os.getpid())
        found.append(f"GPU {gpu['name']} is held by other processes too ({held}): end them, or wait for their end")
    return found


def device_notes(gpu: Mapping[str, Any]) -> list[str]:
    """What is to be known of a GPU beside its figures."""
    found = []
    name = f"GPU {gpu.get('name', '')}"
    if gpu and not gpu.get("pids"):
        found.append(
            f"{name}: who else holds it cannot be told; NVML answers where a driver does and nvidia-ml-py is installed"
        )
    if gpu.get("mig"):
        found.append(f"{name} is partitioned (MIG): the figures are of one slice of it")
    if gpu.get("throttled"):
        found.append(f"{name} is slowed before anything is timed ({gpu['throttled']})")
    if 0 < gpu.get("watts_cap", 0) < gpu.get("watts_default", 0):
        watts = f"{gpu['watts_cap']:.0f} W of its usual {gpu['watts_default']:.0f} W"
        found.append(f"{name} is capped at {watts}: a device without the cap is faster")
    return found


def changed(before: State, after: State) -> tuple[str, ...]:
    """What happened to the machine between two states, one sentence each: throttling, lower clocks, a neighbour."""
    found = [*throttling(before, after), *company(before, after)]
    if before.mhz and after.mhz and after.mhz < SLOWED_SHARE * before.mhz:
        speeds = f"from {before.mhz:.0f} to {after.mhz:.0f} MHz"
        found.append(f"the processor's clock fell {speeds}: throttled, or at rest when it was read")
    return (*found, *device_changed(before.gpu, after.gpu))


def throttling(before: State, after: State) -> list[str]:
    """How often the quota stopped everything between two states: what a slow P99 is then made of."""
    if before.throttled_s is None or after.throttled_s is None:
        return []
    periods = (after.throttled_periods or 0) - (before.throttled_periods or 0)
    if periods <= 0:
        return []
    quota = cpu_quota()
    told = f" ({granted(quota)}, counted over {quota.period_s * 1e3:.0f} ms)" if quota else ""
    return [
        f"the processor quota{told} stopped its processes in {periods} periods, for "
        f"{after.throttled_s - before.throttled_s:.1f} s in all: the slowest requests are those pauses; "
        "raise the quota, or set the target's `threads` below it"
    ]


def company(before: State, after: State) -> list[str]:
    """What others, and a hypervisor, took of the processor between two states."""
    if before.used is None or after.used is None:
        return []
    others, stolen = after.used.others_since(before.used)
    found = []
    if others > BUSY_SHARE * usable_cores():
        seen = after.neighbours or before.neighbours
        found.append(
            f"while this was measured others used {others:.1f} cores on average"
            f"{f' ({seen})' if seen else ''}: intervals are wide for that; measure again when they have ended"
        )
    if stolen > BUSY_SHARE * usable_cores():
        found.append(
            f"while this was measured the hypervisor gave {stolen:.1f} cores' time to other virtual machines: "
            "measure on a machine of your own"
        )
    return found


def device_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What slowed a GPU between two states: by the driver's own count, or where it keeps none by reasons and clocks."""
    counted = after.get("slowed_ns", {})
    since = {cause: ns - before.get("slowed_ns", {}).get(cause, 0) for cause, ns in counted.items()}
    name = f"GPU {after.get('name', '')}"
    if counted:
        return [f"{name} was slowed for {ns / 1e9:.2f} s ({cause})" for cause, ns in since.items() if ns > 0]
    if after.get("throttled"):
        return [f"{name} throttled its clock ({after['throttled']})"]
    if before.get("sm_mhz") and after.get("sm_mhz", before["sm_mhz"]) < SLOWED_SHARE * before["sm_mhz"]:
        speeds = f"from {before['sm_mhz']} to {after['sm_mhz']} MHz"
        return [f"{name} clock fell {speeds}: throttled, or at rest when it was read"]
    return []


def matmul_gflops(threads: int = 0, seconds: float = 0.5, size: int = 768, kind: Products = "fp32") -> float:
    """Measured matrix multiplication on the CPU, in GFLOP/s: the best of the runs that fit in `seconds`."""
    was = torch.get_num_threads()
    torch.set_num_threads(threads or usable_cores())
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}[kind]
    one, other = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    product = torch._int_mm if kind == "int8" else torch.mm  # no public function of PyTorch multiplies bytes
    try:
        fastest = _fastest_s(lambda: product(one, other), seconds)
    finally:
        torch.set_num_threads(was)
    return 2 * size**3 / fastest / 1e9


def copy_gb_per_s(seconds: float = 0.5, size_mb: int = 128) -> float:
    """Measured memory bandwidth in GB/s, read and write counted, by copying more than the caches hold."""
    source = np.ones(size_mb * 1_000_000 // 8)
    goal = np.empty_like(source)
    return 2 * source.nbytes / _fastest_s(lambda: np.copyto(goal, source), seconds) / 1e9


def device_copy_gb_per_s(seconds: float = 0.5, size_mb: int = 512) -> float:
    """The same of a CUDA device's own memory."""
    source = torch.ones(size_mb * 1_000_000, dtype=torch.uint8, device="cuda")
    goal = torch.empty_like(source)

    def copy() -> None:
        goal.copy_(source)
        torch.cuda.synchronize()

    return 2 * source.nbytes / _fastest_s(copy, seconds) / 1e9


def _fastest_s(work: Any, seconds: float) -> float:
    work()
    fastest, begun = float("inf"), time.perf_counter_ns()
    while time.perf_counter_ns() - begun < seconds * 1e9:
        before = time.perf_counter_ns()
        work()
        fastest = min(fastest, (time.perf_counter_ns() - before) / 1e9)
    return fastest


def _cpuinfo() -> dict[str, str]:
    """The first core's entries."""
    found: dict[str, str] = {}
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _cpuinfo_all(name: str) -> list[str]:
    lines = _text(Path("/proc/cpuinfo")).splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # not every system has it, and a container may hide it
        return ""


def _gpu(place: int) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(place)
    return {
        "name": found.name,
        "memory_gb": found.total_memory / 1e9,
        "compute": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
    }
