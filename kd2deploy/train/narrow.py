"""Which rows and columns of a teacher's weights a smaller network of the same family starts from.

Every axis of every weight gets a name: `hidden` is the residual stream, cut the same way everywhere; `qk.3`, `vo.3` and
`ffn.3` are layer 3's attention and feed-forward units, cut the same way wherever that layer reads or writes them. An
axis is cut to the units that carry most; the cut keeps their order, so that keeping all changes nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Axes = tuple[str | None, ...]
Keep = Literal["uniform", "first", "last"] | Sequence[int]

LAYER = re.compile(
    r"^(?!.*\b(?:subsampling|class_labels_classifier|bbox_predictor)\b)(?P<before>.*?\blayers?\.)(?P<layer>\d+)(?P<after>\..*)$"
)
ROLES: Mapping[str, tuple[re.Pattern[str], Axes]] = {
    "query": (re.compile(r"\b(?:pos_)?query(?:_proj)?$|\bq_(?:lin|proj)$|\blinear_q$"), ("qk", "hidden")),
    "key": (re.compile(r"\b(?:pos_)?key(?:_proj)?$|\bk_(?:lin|proj)$|\blinear_k$"), ("qk", "hidden")),
    "value": (re.compile(r"\bvalue(?:_proj)?$|\bv_(?:lin|proj)$|\blinear_v$"), ("vo", "hidden")),
    "fused": (re.compile(r"\bWqkv$"), ("qkv", "hidden")),
    "mixed": (
        re.compile(r"\battention\.output\.dense$|\b(?:out_lin|o_proj|out_proj|linear_out)$|\battn\.Wo$"),
        ("hidden", "vo"),
    ),
    "up": (
        re.compile(r"\bintermediate\.dense$|\b(?:lin1|fc1|intermediate_dense)$|\bfeed_forward\d\.linear1$"),
        ("ffn", "hidden"),
    ),
    "gated": (re.compile(r"\bmlp\.Wi$"), ("gated", "hidden")),
    "down": (
        re.compile(
            r"(?<!attention\.)\boutput\.dense$|\b(?:lin2|fc2|output_dense)$|\bfeed_forward\d\.linear2$|\bmlp\.Wo$"
        ),
        ("hidden", "ffn"),
    ),
}
"""The linear layers of an encoder's block by the end of their name, with the axes (out, in) of their weight."""
GROUPED = re.compile(r"\bpos_conv_embed\.conv\.(?:weight|weight_v|parametrizations\.weight\.original1)$")
"""The convolution in groups that tells a speech network its positions: [D, D / groups, kernel]."""


def layer_map(teacher: int, student: int, keep: Keep) -> list[int]:
    """The teacher's block that each of the student's blocks starts from.

    `uniform` spreads them evenly with the first and the last (12 to 6: 0 2 4 7 9 11). Raises ValueError.
    """
    if not 1 <= student <= teacher:
        raise ValueError(f"the student's layers must be 1 to the teacher's {teacher}, got {student}")
    if keep == "uniform":
        step = (teacher - 1) / max(1, student - 1)
        return [round(place * step) for place in range(student)]
    if keep == "first":
        return list(range(student))
    if keep == "last":
        return list(range(teacher - student, teacher))
    found = [int(place) for place in keep]
    if len(found) != student or sorted(set(found)) != found or found[0] < 0 or found[-1] >= teacher:
        raise ValueError(f"keep must name {student} different layers of 0..{teacher - 1} in order, got {found}")
    return found


def teacher_name(name: str, layers: Sequence[int]) -> str:
    """The name of the teacher's weight that the student's weight `name` starts from."""
    found = LAYER.match(name)
    return f"{found['before']}{layers[int(found['layer'])]}{found['after']}" if found else name


def role_of(name: str) -> str | None:
    """The role of a block's weight or bias, by its teacher's name."""
    if LAYER.match(name) is None:
        return None
    module = name.rpartition(".")[0]
    return next((role for role, (pattern, _) in ROLES.items() if pattern.search(module)), None)


def encoder_axes(name: str, teacher: Sequence[int], student: Sequence[int]) -> Axes:
    """The axes of an encoder's weight, by its name in the teacher and both shapes."""
    if GROUPED.search(name):
        return ("hidden", "grouped", None) if teacher[0] != student[0] else (None, None, None)
    found, role = LAYER.match(name), role_of(name)
    if found and role:
        out, into = ROLES[role][1]
        named = [axis if axis == "hidden" else f"{axis}.{found['layer']}" for axis in (out, into)]
        return tuple(named[: len(teacher)])
    return tuple("hidden" if one != other else None for one, other in zip(teacher, student, strict=True))


def energy(weight: Float[Tensor, "..."], axis: int) -> Float[Tensor, " N"]:
    """Mean square of a weight for each unit along an axis."""
    others = [place for place in range(weight.dim()) if place != axis]
    squared = weight.double() ** 2
    return squared.mean(others) if others else squared


def importance(weights: Iterable[tuple[Tensor, int]]) -> Float[Tensor, " N"]:
    """How much each unit carries: the product (as a sum of logs) of what each weight gives it or reads from it."""
    scores = [energy(weight, axis) for weight, axis in weights]
    tiny = 1e-6  # relative: a unit that one weight ignores keeps the votes of the others
    return torch.stack([(each / each.mean().clamp(min=1e-30) + tiny).log() for each in scores]).sum(0)


def strongest(scores: Float[Tensor, " N"], count: int) -> Int[Tensor, " K"]:
    """Places of the `count` highest scores, in order; ties to the first."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def expected_activity(weights: Mapping[str, tuple[Tensor, Axes]]) -> Float[Tensor, " D"]:
    """Root mean square of the residual stream's units after each norm, each norm's scaled to mean 1, summed.

    A norm makes its units' mean square 1, so that scale * x + shift has scale^2 + shift^2. Ours: on a published
    sentence encoder of 384 units this correlates with measured activity by 0.83, the energy of all weights by -0.23.
    """
    found = []
    for name, (scale, axes) in weights.items():
        if axes == ("hidden",) and name.endswith(".weight"):
            shift, _ = weights.get(name.removesuffix("weight") + "bias", (torch.zeros_like(scale), axes))
            size = (scale.double() ** 2 + shift.double() ** 2).sqrt()
            found.append(size / size.mean().clamp(min=1e-30))
    if not found:
        raise ValueError("its residual stream passes no norm that is known by name")
    return torch.stack(found).sum(0)


def strongest_in_groups(scores: Float[Tensor, " N"], count: int, groups: int) -> Int[Tensor, " K"]:
    """`strongest` of each of so many groups of neighbours, as many of each."""
    width = len(scores) // groups
    kept = [strongest(part, count // groups) + place * width for place, part in enumerate(torch.split(scores, width))]
    return torch.cat(kept)


def cut_in_groups(weight: Float[Tensor, "D I K"], kept: Int[Tensor, " U"]) -> Float[Tensor, "U J K"]:
    """A convolution's weight reduced to the kept units of every group, equally many in each, in and out."""
    width = weight.shape[1]
    inside = (kept % width).reshape(weight.shape[0] // width, -1)
    own = inside.repeat_interleave(inside.shape[1], dim=0)[..., None].expand(-1, -1, weight.shape[2])
    return weight[kept].gather(1, own)


@dataclass(frozen=True)
class Heads:
    """Attention heads before and after."""

    teacher: int
    teacher_width: int
    student: int
    student_width: int

    @property
    def same(self) -> bool:
        return (self.teacher, self.teacher_width) == (self.student, self.student_width)


def kept_heads(
    query: Float[Tensor, " U"], value: Float[Tensor, " U"], heads: Heads
) -> tuple[Int[Tensor, " K"], Int[Tensor, " K"]]:
    """Units of query and key, and of value and output: whole heads by their total, then units within each head.

    `query` and `value` are the units' importances (logs), head by head.
    """
    by_query = query.reshape(heads.teacher, heads.teacher_width)
    by_value = value.reshape(heads.teacher, heads.teacher_width)
    kept = strongest(by_query.logsumexp(1) + by_value.logsumexp(1), heads.student)
    found = []
    for scores in (by_query, by_value):
        units = [head * heads.teacher_width + strongest(scores[head], heads.student_width) for head in kept]
        found.append(torch.cat(units))
    return found[0], found[1]


def cut(weight: Tensor, axes: Axes, kept: Mapping[str, Tensor]) -> Tensor:
    """A weight with each named axis reduced to its kept units."""
    if "grouped" in axes and "hidden" in kept:
        return cut_in_groups(weight, kept["hidden"])
    for axis, name in enumerate(axes):
        if name is not None and name in kept:
            weight = weight.index_select(axis, kept[name])
    return weight


def kept_units(
    weights: Mapping[str, tuple[Tensor, Axes]],
    hidden: tuple[int, int],
    intermediate: tuple[int, int],
    heads: Heads,
    activity: Float[Tensor, " D"] | None = None,
    groups: int = 1,
) -> dict[str, Tensor]:
    """The kept units of every named axis of an encoder; sizes are (teacher's, student's).

    `weights` are the teacher's by name with their axes. The residual stream is chosen first, by `activity` where it was
    measured, else by `expected_activity`, as many units of each of its `groups`; blocks are then judged by
    what they exchange with the units that are kept.
    """
    kept: dict[str, Tensor] = {}
    if hidden[0] != hidden[1]:
        scores = expected_activity(weights) if activity is None else activity
        kept["hidden"] = strongest_in_groups(scores, hidden[1], groups)
    for layer in sorted({found["layer"] for name in weights if (found := LAYER.match(name))}, key=int):
        votes = block_votes(weights, layer, kept)
        if not heads.same:
            if not votes["qk"] or not votes["vo"]:
                raise ValueError(f"layer {layer} has no attention weights that are known by name")
            qk, vo = kept_heads(importance(votes["qk"]), importance(votes["vo"]), heads)
            kept[f"qk.{layer}"], kept[f"vo.{layer}"] = qk, vo
            width = heads.teacher * heads.teacher_width
            kept[f"qkv.{layer}"] = torch.cat([qk, width + qk, 2 * width + vo])
        if intermediate[0] != intermediate[1]:
            if not votes["ffn"]:
                raise ValueError(f"layer {layer} has no feed-forward weights that are known by name")
            units = strongest(importance(votes["ffn"]), intermediate[1])
            kept[f"ffn.{layer}"] = units
            kept[f"gated.{layer}"] = torch.cat([units, intermediate[0] + units])
    return kept


def block_votes(
    weights: Mapping[str, tuple[Tensor, Axes]], layer: str, kept: Mapping[str, Tensor]
) -> dict[str, list[tuple[Tensor, int]]]:
    """The matrices of one block that read or write its attention and feed-forward units, fused ones taken apart."""
    votes: dict[str, list[tuple[Tensor, int]]] = {"qk": [], "vo": [], "ffn": []}
    for weight, axes in weights.values():
        for axis, label in enumerate(axes):
            kind, _, place = (label or "").partition(".")
            if place != layer or weight.dim() < 2:
                continue
            seen = cut(weight, axes, {"hidden": kept["hidden"]} if "hidden" in kept else {})
            if kind == "qkv":
                query, key, value = seen.chunk(3, axis)
                votes["qk"] += [(query, axis), (key, axis)]
                votes["vo"] += [(value, axis)]
            elif kind == "gated":
                votes["ffn"] += [(part, axis) for part in seen.chunk(2, axis)]
            else:
                votes[kind].append((seen, axis))
    return votes
