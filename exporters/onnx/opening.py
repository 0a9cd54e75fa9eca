"""ONNX Runtime opened on the providers that were asked for, and nothing heavy left to another."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd2deploy.errors import SessionError

HEAVY = frozenset(
    {"MatMul", "Gemm", "Conv", "Attention", "MultiHeadAttention", "MatMulInteger", "QAttention", "QLinearMatMul"}
    | {"QLinearConv", "ConvInteger", "FusedMatMul", "FusedConv", "FusedGemm", "DynamicQuantizeMatMul"}
)
"""Operations that must run on the provider that was asked for; shape arithmetic may stay on the host."""


def opened(
    path: Path,
    settings: Mapping[str, int],
    providers: Sequence[str],
    provider_options: Sequence[Mapping[str, str]] | None = None,
    entries: Mapping[str, str] | None = None,
) -> Any:
    """An `onnxruntime.InferenceSession` that records where its nodes run and prints errors alone.

    `settings` are attributes of its options, `entries` what ONNX Runtime calls configuration entries.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise SessionError(
            "ONNX Runtime is not installed: pip install 'kd2deploy[cpu]' (or [gpu], never both)"
        ) from error
    missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
    if missing:
        raise SessionError(
            f"{missing[0]} is not part of the installed ONNX Runtime ({onnxruntime.get_available_providers()}): "
            "pip uninstall onnxruntime && pip install 'kd2deploy[gpu]', or set the variant's session.provider"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for entry, said in {"session.record_ep_graph_assignment_info": "1", **(entries or {})}.items():
        options.add_session_config_entry(entry, said)
    for name, value in settings.items():
        setattr(options, name, value)
    each = None if provider_options is None else [dict(one) for one in provider_options]
    return onnxruntime.InferenceSession(str(path), options, providers=list(providers), provider_options=each)


def placement_of(session: Any, provider: str) -> dict[str, int]:
    """Nodes per provider; SessionError if the provider is not the active one or heavy operations run elsewhere."""
    if session.get_providers()[0] != provider:
        raise SessionError(
            f"{provider} was asked for and ONNX Runtime fell back to {session.get_providers()[0]}: its libraries or "
            "driver are missing or too old (see `kd2deploy doctor`), or set the variant's session.provider"
        )
    placed: Counter[str] = Counter()
    strays: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        for node in part.get_nodes():
            placed[part.ep_name] += 1
            if part.ep_name != provider and node.op_type in HEAVY:
                strays[node.op_type] += 1
    if strays:
        said = ", ".join(f"{count} {kind}" for kind, count in strays.items())
        raise SessionError(f"{provider} leaves {said} to another provider: its figures would not be its own")
    return dict(placed)
