"""What the device itself reaches: square matrix products of random numbers in every type, and copying."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _gpu_children import left_out, write
from _gpu_timing import Protocol, block, warm

from kd2deploy.measure.machine import State, changed, describe_machine, state

EDGE, COPIED = 8192, 1 << 30
TINY_EDGE, TINY_COPIED = 256, 1 << 20


def machine(out: Path, *, device: str, protocol: Protocol, tiny: bool) -> None:
    """The machine in words, what it is doing, and its peaks; a type that it does not multiply is null."""
    found: dict[str, Any] = {"machine": describe_machine().to_json(), "before": state().to_json(), "left_out": []}
    found["peaks"] = dict.fromkeys((*(f"{name}_tflops" for name in PRODUCTS), "copy_gb_per_s"))
    write(found, out)
    edge, copied = (TINY_EDGE, TINY_COPIED) if tiny else (EDGE, COPIED)
    for name, product in PRODUCTS.items():
        with left_out(found, part="peaks", type=name):
            found["peaks"][f"{name}_tflops"] = 2 * edge**3 / fastest_s(product(edge, device), device, protocol) / 1e12
        write(found, out)
    source = torch.randint(-128, 127, (copied,), device=device, dtype=torch.int8)
    goal = torch.empty_like(source)
    found["peaks"]["copy_gb_per_s"] = 2 * copied / fastest_s(lambda: goal.copy_(source), device, protocol) / 1e9
    write(found, out)


def machine_after(out: Path, *, before: dict[str, Any]) -> None:
    """What happened to the machine since."""
    after = state()
    write({"after": after.to_json(), "changed": list(changed(State(**before), after))}, out)


def fastest_s(call: Callable[[], Any], device: str, protocol: Protocol) -> float:
    def waited() -> None:
        call()
        if device == "cuda":
            torch.cuda.synchronize()

    warm(waited, protocol)
    return min(min(block(waited, protocol)) for _ in range(2 * protocol.rounds)) / 1e3


def floats(kind: torch.dtype) -> Callable[[int, str], Callable[[], Any]]:
    def product(edge: int, device: str) -> Callable[[], Any]:
        one, other = (torch.randn(edge, edge, device=device).to(kind) for _ in range(2))
        return lambda: torch.mm(one, other)

    return product


def int8(edge: int, device: str) -> Callable[[], Any]:
    one, other = (torch.randint(-127, 128, (edge, edge), device=device, dtype=torch.int8) for _ in range(2))
    return lambda: torch._int_mm(one, other)


def fp8(edge: int, device: str) -> Callable[[], Any]:
    one, other = (torch.randn(edge, edge, device=device).to(torch.float8_e4m3fn) for _ in range(2))
    scale = torch.ones((), device=device)
    columns = other.t()  # the second factor is read by columns
    return lambda: torch._scaled_mm(one, columns, scale, scale, out_dtype=torch.bfloat16)


PRODUCTS: dict[str, Callable[[int, str], Callable[[], Any]]] = {
    "fp32": floats(torch.float32),
    "bf16": floats(torch.bfloat16),
    "fp16": floats(torch.float16),
    "int8": int8,
    "fp8": fp8,
}
