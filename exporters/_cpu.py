"""What the exporters must know of the processor: how many threads to fix, and whether it multiplies bytes natively."""

from pathlib import Path

from kd2deploy.core import Target, usable_cores

DOT_PRODUCT_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "asimddp", "amx_int8"})
"""Instructions that add four products of bytes into 32 bits. Without one, x86 adds pairs into 16 bits and saturates."""

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"})
"""Instructions that multiply or convert bf16; without one it is computed in fp32 after all, and is slower than that."""


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
    deciding = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "asimddp", "bf16")
    return " ".join(flag for flag in deciding if flag in cpu_flags()) or "unknown"


def multiplies_bf16() -> bool:
    """Whether bf16 gains anything here; true where the system does not say what its processor has."""
    flags = cpu_flags()
    return not flags or bool(BF16_FLAGS & flags)


def saturates_int8() -> bool:
    """True where the products of full-range bytes may overflow, so that weights must keep to 7 bits."""
    return not DOT_PRODUCT_FLAGS & cpu_flags()
