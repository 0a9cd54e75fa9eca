"""What the exporters must know of the processor: how many threads to fix, and whether it multiplies bytes natively."""

from pathlib import Path

from kd2deploy.core import Target, usable_cores

DOT_PRODUCT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "asimddp", "amx_int8"})
"""Instructions that add four products of bytes into 32 bits. Without one, x86 adds pairs into 16 bits and saturates."""


def intra_op_threads(target: Target) -> int:
    """The target's threads; where it names none, the cores that this process may use."""
    return target.threads or usable_cores()


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instruction sets of the first core as Linux names them; empty where it does not say."""
    if not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def isa() -> str:
    """The instruction sets that decide how fast fp32, bf16 and int8 run, for `describe()`."""
    deciding = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "asimddp")
    return " ".join(flag for flag in deciding if flag in cpu_flags()) or "unknown"


def saturates_int8() -> bool:
    """True where the products of full-range bytes may overflow, so that weights must keep to 7 bits."""
    return not DOT_PRODUCT_FLAGS & cpu_flags()
