"""How many frames a speech network makes of what it hears: the lengths that its front end leaves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

from kd2deploy.errors import ModelError
from kd2deploy.networks.config_fields import is_count

WAVES = frozenset({"hubert", "wav2vec2", "wav2vec2-conformer", "wavlm"})
"""Model types that read the samples themselves."""
SPECTRA = frozenset({"parakeet_ctc"})
"""Model types that read a mel spectrogram; what is under `encoder_config` describes their body."""


SPECTRAL: Mapping[str, int] = {
    "num_mel_bins": 80,
    "subsampling_conv_kernel_size": 3,
    "subsampling_conv_stride": 2,
    "subsampling_factor": 8,
}
"""Of `encoder_config`, whose defaults transformers leaves out of a saved configuration; a test holds them to it."""


class Stride(NamedTuple):
    """One convolution along time."""

    kernel: int
    step: int
    padding: int = 0


def body_of(config: Any) -> Any:
    """The configuration of a network's body, where transformers keeps it apart from the head's; else its own."""
    return getattr(config, "encoder_config", config)


def front_end(config: Mapping[str, Any]) -> tuple[Stride, ...]:
    """The convolutions that shorten what is heard, in order. Raises ModelError for a network that is not supported."""
    model_type = config["model_type"]
    if model_type in SPECTRA:
        kernel, step, factor = (
            spectral(config, f"subsampling_{name}") for name in ("conv_kernel_size", "conv_stride", "factor")
        )
        return (Stride(kernel, step, (kernel - 1) // 2),) * int(math.log2(factor))
    if model_type not in WAVES:
        raise ModelError(
            f"a {model_type} is none of the speech networks that are supported: {', '.join(sorted(WAVES | SPECTRA))}"
        )
    if config.get("add_adapter"):
        raise ModelError(
            "add_adapter is set in config.json: the network answers fewer frames than its blocks have, which is not "
            "supported; use a network without an adapter"
        )
    kernels, steps = config.get("conv_kernel"), config.get("conv_stride")
    if not (are_counts(kernels) and are_counts(steps) and len(kernels) == len(steps)):
        raise ModelError(
            f"config.json has conv_kernel {kernels!r:.60} and conv_stride {steps!r:.60}, which must be as many whole "
            "numbers; save the model anew"
        )
    return tuple(Stride(kernel, step) for kernel, step in zip(kernels, steps, strict=True))


def are_counts(values: Any) -> TypeGuard[Sequence[int]]:
    """Whether they are whole numbers above 0, one at least."""
    return isinstance(values, list | tuple) and bool(values) and all(map(is_count, values))


def spectral(config: Mapping[str, Any], name: str) -> int:
    """A size of the body that reads spectra. Raises ModelError where it is none."""
    body = config.get("encoder_config")
    value = {**SPECTRAL, **(body if isinstance(body, Mapping) else {})}[name]
    if not is_count(value):
        raise ModelError(
            f"config.json sets encoder_config.{name} to {value!r:.60}, which must be a whole number above 0"
        )
    return int(value)


def frames(heard: Any, strides: tuple[Stride, ...]) -> Any:
    """Frames that so many samples, or spectra, become: a number, an array or a tensor; below 1 where too few."""
    for kernel, step, padding in strides:
        heard = (heard + (2 * padding - kernel)) // step + 1
    return heard


def shortest(strides: tuple[Stride, ...]) -> int:
    """The fewest samples, or spectra, that make a frame."""
    needed = 1
    for kernel, step, padding in reversed(strides):
        needed = max(1, (needed - 1) * step + kernel - 2 * padding)
    return needed


def seconds_per_frame(strides: tuple[Stride, ...], per_second: float) -> float:
    """How much time lies between two frames, where the front end reads so many samples or spectra a second."""
    return math.prod(stride.step for stride in strides) / per_second


def hears_padding(config: Mapping[str, Any]) -> bool:
    """Whether a network is shown no attention mask: its first norm is taken over all samples of a row, padding too.

    Such networks were trained on rows padded with silence and nothing that says so, and transformers advises the same.
    """
    return config.get("feat_extract_norm") == "group"


def mel_bins(config: Mapping[str, Any]) -> int:
    """How many bins a network reads of every spectrum."""
    return spectral(config, "num_mel_bins")
