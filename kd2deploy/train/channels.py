"""Networks in stages: the layers and channels that a smaller one starts from, and the named axes of a ResNet.

Convolutions that share their channels must be cut alike.

A stage's channels run through its shortcut, the end of each of its layers and the start of the next; what lies between
two convolutions of one layer is that layer's own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from kd2deploy.train.narrow import Axes, importance, strongest

LAYER = re.compile(r"\bstages\.(?P<stage>\d+)\.layers\.(?P<layer>\d+)\.")
PLACE = re.compile(
    r"\bstages\.(?P<stage>\d+)\.layers\.(?P<layer>\d+)\.(?P<part>shortcut|layer\.(?P<step>\d+))\.(?P<what>.+)$"
)


def stage_maps(teacher: Sequence[int], student: Sequence[int]) -> list[list[int]]:
    """For each stage the teacher's layer of each of the student's: the first, which changes the size, and evenly on."""
    if len(teacher) != len(student) or any(not 1 <= s <= t for t, s in zip(teacher, student, strict=True)):
        raise ValueError(f"depths must be 1 to the teacher's {list(teacher)} for each stage, got {list(student)}")
    found = []
    for whole, part in zip(teacher, student, strict=True):
        step = (whole - 1) / max(1, part - 1)
        found.append([round(place * step) for place in range(part)])
    return found


def staged_name(name: str, maps: Sequence[Sequence[int]]) -> str:
    """The teacher's name of the student's weight `name`."""
    found = LAYER.search(name)
    if found is None:
        return name
    layer = maps[int(found["stage"])][int(found["layer"])]
    start, end = found.span("layer")
    return f"{name[:start]}{layer}{name[end:]}"


def streams(names: Iterable[str]) -> list[str]:
    """The name of each stage's channels; a stage without a shortcut shares those of what comes before it."""
    known = list(names)
    stages = 1 + max(int(found["stage"]) for name in known if (found := PLACE.search(name)))
    named, before = [], "embedder"
    for stage in range(stages):
        if any(f"stages.{stage}.layers.0.shortcut." in name for name in known):
            before = f"stage.{stage}"
        named.append(before)
    return named


def resnet_axes(name: str, shape: Sequence[int], stages: Sequence[str], steps: int) -> Axes:
    """The axes of the teacher's weight `name`; `steps` is the number of convolutions in a layer."""
    found = PLACE.search(name)
    if found is None:
        if ".embedder." in name:
            return ("embedder", None, None, None)[: len(shape)] if shape else ()
        return (None, stages[-1]) if len(shape) == 2 else (None,) * len(shape)
    stage, layer = int(found["stage"]), int(found["layer"])
    before = stages[stage] if layer else (stages[stage - 1] if stage else "embedder")
    if found["step"] is None:
        axes: Axes = (stages[stage], before, None, None)
    else:
        step = int(found["step"])
        inner = f"inner.{stage}.{layer}"
        out = stages[stage] if step == steps - 1 else f"{inner}.{step}"
        axes = (out, before if step == 0 else f"{inner}.{step - 1}", None, None)
    return axes[: len(shape)]


def kept_channels(weights: Mapping[str, tuple[Tensor, Axes]], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """The strongest channels of every named axis, as many as `sizes` says."""
    votes: dict[str, list[tuple[Tensor, int]]] = {}
    for name, (weight, axes) in weights.items():
        for axis, label in enumerate(axes):
            if label is not None and (weight.dim() > 1 or name.endswith("normalization.weight")):
                votes.setdefault(label, []).append((weight, axis))
    return {label: strongest(importance(found), sizes[label]) for label, found in votes.items()}
