"""The parts on networks: what is made of them, their latency side by side, and `trtexec` on their engines."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _gpu_children import left_out, write
from _gpu_runtimes import Subject
from _gpu_shares import work_of
from _gpu_timing import Call, Protocol, figure, side_by_side, times_faster, warm
from _gpu_trtexec import compared

from kd2deploy.core import Resident, Session, Variant, open_session


def prepare(out: Path, *, subjects: Sequence[Subject], variants: Mapping[str, Variant], batches: Sequence[int]) -> None:
    """Nothing is timed here, so groups may be prepared at once: networks, graphs, engines, the compiler's cache."""
    found: dict[str, Any] = {"networks": {}, "left_out": []}
    for subject in subjects:
        with left_out(found, network=subject.size.name, part="facts"):
            found["networks"][subject.size.name] = facts(subject)
        write(found, out)
    for runtime, variant in variants.items():
        for subject in subjects:
            with left_out(found, network=subject.size.name, runtime=runtime):
                exported = subject.exported(runtime, variant)
                if variant.session.get("compile") and subject.device == "cuda":
                    with open_session(
                        exported.artifact, subject.task.ports, subject.target, exported.session
                    ) as session:
                        for batch in batches[:2]:  # from the second on the compiled graph takes any batch
                            session.run(subject.feed(batch))
            write(found, out)


def facts(subject: Subject) -> dict[str, Any]:
    net = subject.task.networks.load(subject.network)
    example = subject.task.networks.example(net, 1)
    inputs = tuple(example[port.name] for port in subject.task.inputs)
    return {**asdict(subject.size), "work": asdict(work_of(net, subject.task.networks.deployed(net), inputs))}


def latency(
    out: Path,
    *,
    subjects: Sequence[Subject],
    runtime: str,
    variant: Variant,
    batches: Sequence[int],
    protocol: Protocol,
) -> None:
    """A teacher with its students in one runtime, all open at once in this process."""
    if variant.session.get("compile"):
        # What is compiled too often falls back to eager PyTorch in silence, and its figures would be eager PyTorch's.
        torch._dynamo.config.fail_on_recompile_limit_hit = True
    found: dict[str, Any] = {"sessions": [], "latency": [], "faster": [], "left_out": []}
    with ExitStack() as stack:
        opened: dict[str, tuple[Subject, Session]] = {}
        for subject in subjects:
            with left_out(found, network=subject.size.name, runtime=runtime):
                opened[subject.size.name] = (subject, stack.enter_context(session_of(found, subject, runtime, variant)))
        write(found, out)
        for batch in batches:
            with left_out(found, runtime=runtime, batch=batch):
                timed(found, opened, runtime, batch, protocol)
            write(found, out)


def session_of(found: dict[str, Any], subject: Subject, runtime: str, variant: Variant) -> Session:
    exported = subject.exported(runtime, variant)
    begun = time.perf_counter()
    session = open_session(exported.artifact, subject.task.ports, subject.target, exported.session)
    entry = {"network": subject.size.name, "runtime": runtime, "open_s": time.perf_counter() - begun}
    entry |= {"file_mb": exported.artifact.size_mb, "describe": dict(session.describe())}
    found["sessions"].append(entry | {"build": exported.artifact.details.get("build")})
    return session


def timed(
    found: dict[str, Any],
    opened: Mapping[str, tuple[Subject, Session]],
    runtime: str,
    batch: int,
    protocol: Protocol,
) -> None:
    """One batch: the computation alone where a session keeps its arrays on the device, and from host to host."""
    calls: dict[str, dict[str, Call]] = {"device_ms": {}, "host_ms": {}}
    for name, (subject, session) in opened.items():
        with left_out(found, network=name, runtime=runtime, batch=batch):
            for kind, call in calls_of(session, subject, batch).items():
                warm(call, protocol)
                calls[kind][name] = call
    figures: dict[str, dict[str, Any]] = {name: {"device_ms": None} for name in calls["host_ms"]}
    for kind, side in calls.items():
        rounds = side_by_side(side, protocol)
        for name, taken in rounds.items():
            figures[name][kind] = figure(taken)
        teacher = next((name for name in rounds if opened[name][0].size.role == "teacher"), None)
        for student in rounds:
            if teacher is not None and student != teacher:
                entry = {"runtime": runtime, "batch": batch, "teacher": teacher, "student": student, "clock": kind}
                found["faster"].append(entry | {"times": times_faster(rounds[teacher], rounds[student])})
    for name, both in figures.items():
        found["latency"].append({"network": name, "runtime": runtime, "batch": batch, **both})


def calls_of(session: Session, subject: Subject, batch: int) -> dict[str, Call]:
    feed = subject.feed(batch)
    calls: dict[str, Call] = {"host_ms": lambda: session.run(feed)}
    if isinstance(session, Resident) and session.stream is not None:
        placed = session.place(feed)
        calls["device_ms"] = lambda: session.compute(placed)
    return calls


def trtexec(
    out: Path,
    *,
    subjects: Sequence[Subject],
    runtime: str,
    variant: Variant,
    batches: Sequence[int],
    protocol: Protocol,
) -> None:
    """Our computation and TensorRT's own program on the same engine, one after the other."""
    found: dict[str, Any] = {"trtexec": [], "left_out": []}
    for subject in subjects:
        entry = {"network": subject.size.name, "runtime": runtime}
        with left_out(found, part="trtexec", **entry):
            exported = subject.exported(runtime, variant)
            with open_session(exported.artifact, subject.task.ports, subject.target, exported.session) as session:
                for batch in batches:
                    feed = subject.feed(batch)
                    compute = calls_of(session, subject, batch)["device_ms"]
                    shapes = {name: array.shape for name, array in feed.items()}
                    major = int(exported.artifact.details["version"].split(".")[0])
                    figures = compared(compute, exported.artifact.path, shapes, major, protocol)
                    found["trtexec"].append({**entry, "batch": batch, **figures})
                    write(found, out)
        write(found, out)
