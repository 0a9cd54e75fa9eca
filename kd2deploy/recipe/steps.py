"""The steps of a target's variants, by what the converter that one names says of itself."""

from collections.abc import Callable, Mapping
from typing import Any

from kd2deploy.core import Artifact, Traits, traits_of
from kd2deploy.core.convert import bits_of
from kd2deploy.errors import ConvertError
from kd2deploy.recipe.resolve import locate

Step = Mapping[str, Any]
"""A converter's name as `use`, and its arguments."""


def converter_of(step: Step) -> Callable[..., Artifact]:
    """The converter that a step names. Raises ConvertError."""
    try:
        return locate("converter", str(step["use"]))
    except LookupError as error:
        raise ConvertError(str(error)) from error


def traits(step: Step) -> Traits:
    """What the step's converter says of itself. Raises ConvertError."""
    return traits_of(converter_of(step))


def bits(step: Step) -> int:
    """Bits that the step leaves its operations with; 0 where it rounds nothing. Raises ConvertError."""
    return bits_of(converter_of(step), step)


def name_of(step: Step) -> str:
    """The converter's own name, without the module that it lies in."""
    return str(step["use"]).rpartition(".")[2]
