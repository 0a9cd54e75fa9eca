"""Networks of windows that restore pictures (Swin2SR): the sizes of a smaller one, and what it starts from.

All stages are of one width and have blocks of their own. A student has as many stages or fewer, spread evenly, each
with blocks spread evenly over one of the teacher's. Attention is by cosine, so narrower heads need no scaling.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from kd2deploy.errors import ModelError
from kd2deploy.train.narrow import Axes, Heads, encoder_axes, kept_units, layer_map

WINDOWED = frozenset({"swin2sr"})
"""Families of this kind."""
PLACE = re.compile(r"\bstages\.(?P<stage>\d+)\.(?:layers\.(?P<layer>\d+)\.)?")
PER_HEAD = re.compile(
    r"\blayers\.(?P<layer>\d+)\.attention\.self\.(?:logit_scale|continuous_position_bias_mlp\.2\.weight)$"
)
"""Weights with one entry per head."""


def smaller_windows(
    config: Any, layers: int | Sequence[int] | None, hidden: int | Sequence[int] | None, heads: int | None
) -> Any:
    """The student's configuration: `layers` is one number for each stage, or one for all; `hidden` is the width.

    Raises ModelError for sizes that the teacher cannot give.
    """
    own, width = list(config.depths), config.embed_dim if hidden is None else hidden
    depths = own if layers is None else [layers] * len(own) if isinstance(layers, int) else list(layers)
    if not isinstance(width, int) or not 1 <= width <= config.embed_dim:
        raise ModelError(f"hidden must be one number, 1 to the teacher's {config.embed_dim}, got {width}")
    if not 1 <= len(depths) <= len(own) or any(not 1 <= depth <= min(own) for depth in depths):
        raise ModelError(f"depths must be up to {len(own)} numbers, each 1 to {min(own)}, got {depths}")
    if config.resi_connection != "1conv" and width != config.embed_dim:
        raise ModelError(f"a {config.model_type} of resi_connection {config.resi_connection} keeps its width")
    found = copy.deepcopy(config)
    count = heads_for(config, width) if heads is None else heads
    wide = config.embed_dim // heads_in(config)
    if not 1 <= count <= heads_in(config) or width % count or width // count > wide:
        raise ModelError(f"a width of {width} needs heads that divide it, each at most {wide} wide, got {count} heads")
    found.depths, found.embed_dim, found.num_layers = depths, width, len(depths)
    found.num_heads = [count] * len(depths)
    return found


def heads_in(config: Any) -> int:
    """Attention heads of every block. Raises ModelError where stages differ."""
    counts = set(config.num_heads)
    if len(counts) > 1:
        raise ModelError(
            f"a {config.model_type} whose stages have different heads ({list(config.num_heads)}) is not cut"
        )
    return int(next(iter(counts)))


def heads_for(config: Any, width: int) -> int:
    """The fewest heads that are no wider than the teacher's and divide the width; 0 where none do."""
    wide = config.embed_dim // heads_in(config)
    able = (heads for heads in range(1, heads_in(config) + 1) if width % heads == 0 and width // heads <= wide)
    return next(able, 0)


def blocks_of(teacher: Sequence[int], student: Sequence[int]) -> list[int]:
    """The teacher's block, counted through its stages, of each of the student's."""
    begins = [0, *accumulate(teacher)]
    stages = layer_map(len(teacher), len(student), "uniform")
    return [
        begins[stage] + layer
        for stage, depth in zip(stages, student, strict=True)
        for layer in layer_map(teacher[stage], depth, "uniform")
    ]


def windowed_name(name: str, teacher: Sequence[int], student: Sequence[int]) -> str:
    """The name of the teacher's weight that the student's weight `name` starts from; arguments are both depths."""
    found = PLACE.search(name)
    if found is None:
        return name
    own = int(found["stage"])
    stage = layer_map(len(teacher), len(student), "uniform")[own]
    place = f"stages.{stage}."
    if found["layer"] is not None:
        place += f"layers.{layer_map(teacher[stage], student[own], 'uniform')[int(found['layer'])]}."
    return name[: found.start()] + place + name[found.end() :]


def flat_name(name: str, depths: Sequence[int]) -> str:
    """A block's name counted through all stages, so that each has a number of its own."""
    found = PLACE.search(name)
    if found is None or found["layer"] is None:
        return name
    flat = sum(depths[: int(found["stage"])]) + int(found["layer"])
    return f"{name[: found.start()]}layers.{flat}.{name[found.end() :]}"


def windowed_axes(name: str, teacher: Sequence[int], student: Sequence[int]) -> Axes:
    """The axes of a weight by its flat name and both shapes."""
    found = PER_HEAD.search(name)
    if found is not None:
        return (f"head.{found['layer']}", *(None,) * (len(teacher) - 1))
    return encoder_axes(name, teacher, student)


def kept_windows(
    weights: Mapping[str, tuple[Tensor, Axes]], source: Any, config: Any, measured: Tensor | None
) -> dict[str, Tensor]:
    """The units that are kept of every named axis; `weights` are the teacher's by flat names."""
    one, other = heads_in(source), heads_in(config)
    heads = Heads(one, source.embed_dim // one, other, config.embed_dim // other)
    inner = tuple(int(each.mlp_ratio * each.embed_dim) for each in (source, config))
    shared = {name: weight for name, weight in weights.items() if not PER_HEAD.search(name)}
    kept = kept_units(shared, (source.embed_dim, config.embed_dim), (inner[0], inner[1]), heads, measured)
    for block in range(sum(source.depths)):
        units = kept.get(f"qk.{block}", torch.arange(source.embed_dim))
        kept[f"head.{block}"] = torch.unique(units // heads.teacher_width)
    return kept
