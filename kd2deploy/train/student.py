"""A student made of its teacher: fewer blocks, narrower, starting from the teacher's own weights.

Blocks are chosen as in Sanh et al., "DistilBERT", 2019, arXiv:1910.01108, section 3 (evenly spread); the residual
stream's width by activity as in Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation",
2024, arXiv:2407.14679, section 2.2.
Departs from them: without samples the activity is read off the norms' scale and shift; heads and feed-forward units are
chosen by their weights; where heads get narrower the queries are scaled so that the attention's logits keep their size.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Task
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import quiet
from kd2deploy.networks.frames import WAVES, body_of
from kd2deploy.networks.size import refuse_too_large
from kd2deploy.train.channels import kept_channels, resnet_axes, stage_maps, staged_name, streams
from kd2deploy.train.checkpoint import saved
from kd2deploy.train.convnext import convnext_axes
from kd2deploy.train.front import front_axes, kept_in_front
from kd2deploy.train.narrow import LAYER, Axes, Keep, cut, encoder_axes, kept_units, layer_map, role_of, teacher_name
from kd2deploy.train.shapes import CONVOLUTIONAL, groups_of, heads_of, intermediate_of, smaller
from kd2deploy.train.windowed import WINDOWED, blocks_of, flat_name, kept_windows, windowed_axes, windowed_name

BETWEEN = ".mid_position_embeddings"
"""A YOLOS' weight with an entry for each block but the last, added behind it: a student has those of the blocks
that it starts from."""
BLOCK = re.compile(r".*?\blayers?\.\d+(?=\.)")


@dataclass(frozen=True)
class Shrunk:
    """A student in its folder, and where its weights come from."""

    folder: Path
    layer_map: tuple[tuple[int, int], ...]
    """(student's block, teacher's block) that it starts from; in stages, counted through all of them.
    Empty when nothing is copied."""
    copied_share: float
    """Share of the student's parameters that start from the teacher's, 0..1."""
    parameters: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Trim:
    """What of the teacher a student keeps. What is not named keeps the teacher's size; `intermediate` and `heads`
    follow `hidden`. In stages `layers` and `hidden` are one number for each."""

    layers: int | Sequence[int] | None = None
    hidden: int | Sequence[int] | None = None
    heads: int | None = None
    intermediate: int | None = None
    front: Sequence[int] | None = None
    """Channels of each convolution of a speech network's front end."""
    keep: Keep = "uniform"
    """Which blocks."""
    initialise: Literal["copy", "random"] = "copy"
    """Whether it starts from the teacher's weights, or from random ones."""


WHOLE = Trim()


def shrink(
    teacher: Path,
    out: Path,
    task: Task,
    wanted: Trim = WHOLE,
    *,
    seed: int = 0,
    samples: Sequence[Batch] | None = None,
) -> Shrunk:
    """Writes a smaller network of the teacher's family, with its tokenizer or processor, to `out`.

    `samples` are batches on which the residual stream's activity is measured to choose its width by. What is not copied
    is drawn from `seed`. Raises ModelError for a family or size that cannot be made.
    """
    import transformers

    task = task.at(teacher)
    whole = task.networks.load(teacher)
    source: Any = whole.config
    config = smaller(
        source,
        layers=wanted.layers,
        hidden=wanted.hidden,
        heads=wanted.heads,
        intermediate=wanted.intermediate,
        front=wanted.front,
    )
    config.update(task.networks.answers())
    try:
        maps = block_maps(source, config, wanted.keep)
    except ValueError as error:
        raise ModelError(str(error)) from error
    if vars(source).get("layer_types") is not None:  # of each layer; a ResNet's class has a list of what there is
        config.layer_types = [source.layer_types[block] for block in maps[0]]
    refuse_too_large(task.networks.auto, config)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = getattr(transformers, task.networks.auto).from_config(config)
    share, notes, flat = 0.0, ["the student starts from random weights"], list[int]()
    if wanted.initialise == "copy":
        try:
            share, notes = copy_into(net, whole, maps, activity(task, whole, samples))
        except ValueError as error:
            raise ModelError(f"{teacher} cannot be cut: {error}") from error
        starts = [sum(source.depths[:stage]) for stage in range(len(maps))] if len(maps) > 1 else [0]
        flat = [start + block for start, blocks in zip(starts, maps, strict=True) for block in blocks]
    saved(net, out, inputs_from=teacher)
    return Shrunk(out, tuple(enumerate(flat)), share, sum(weight.numel() for weight in net.parameters()), tuple(notes))


def block_maps(source: Any, config: Any, keep: Keep) -> list[list[int]]:
    """The teacher's blocks behind the student's: one list, or one for each stage. Raises ValueError."""
    if source.model_type in WINDOWED:
        if keep != "uniform":
            raise ValueError(f"a {source.model_type} is cut evenly in each stage; leave `keep` at uniform")
        return [blocks_of(source.depths, config.depths)]
    if source.model_type in CONVOLUTIONAL:
        if keep != "uniform":
            raise ValueError(f"a {source.model_type} is cut evenly in each stage; leave `keep` at uniform")
        return stage_maps(source.depths, config.depths)
    return [layer_map(body_of(source).num_hidden_layers, body_of(config).num_hidden_layers, keep)]


def activity(task: Task, net: nn.Module, samples: Sequence[Batch] | None) -> Tensor | None:
    """Mean |activation| [D] of the residual stream, each block's scaled to mean 1, over the positions that count."""
    config: Any = net.config
    if not samples or config.model_type in CONVOLUTIONAL:
        return None
    total: list[Tensor] = []
    with torch.no_grad():
        for batch in samples:
            seen = task.networks.observe(net, batch, needs=frozenset({"hidden"}))
            counted = [states[seen.mask] if seen.mask is not None else states.flatten(0, 1) for states in seen.hidden]
            sums = [states.double().abs().sum(0) for states in counted]
            total = [one + other for one, other in zip(total, sums, strict=True)] if total else sums
    return torch.stack([each / each.mean() for each in total]).sum(0)


def copy_into(
    student: nn.Module, teacher: nn.Module, maps: Sequence[Sequence[int]], measured: Tensor | None
) -> tuple[float, list[str]]:
    """Copies into every weight of the student what of the teacher's it has room for: the share copied, and notes."""
    given, target = teacher.state_dict(), student.state_dict()
    config: Any = teacher.config
    names = {name: name_in_teacher(name, teacher, student, maps) for name in target}
    known = {name: own for name, own in names.items() if own in given}
    choose = PLANS.get(config.model_type, encoder_plan)
    axes, kept = choose(student, teacher, known, measured)

    copied, lost = 0, [name for name in target if name not in known]
    parameters = dict(student.named_parameters())
    with torch.no_grad():
        for name, own in known.items():
            part = cut(given[own], axes[name], kept)
            if part.shape != target[name].shape:
                raise ValueError(
                    f"{own} is {list(given[own].shape)}, and no rule cuts it to {list(target[name].shape)}"
                )
            target[name].copy_(part * query_scale(own, teacher, student))
            copied += target[name].numel() if name in parameters else 0
    notes = [f"random, for the teacher has no such weight: {', '.join(lost)}"] if lost else []
    blocks = {block_of(own) for own in names.values()}
    unread = [name for name in given if name not in names.values() and block_of(name) in blocks]
    if unread:
        notes.append(f"left out, for the student has no such weight: {', '.join(unread)}")
    return copied / sum(weight.numel() for weight in parameters.values()), notes


def name_in_teacher(name: str, teacher: nn.Module, student: nn.Module, maps: Sequence[Sequence[int]]) -> str:
    """The teacher's name of the student's weight `name`."""
    source: Any = teacher.config
    config: Any = student.config
    if source.model_type in WINDOWED:
        return windowed_name(name, source.depths, config.depths)
    return staged_name(name, maps) if source.model_type in CONVOLUTIONAL else teacher_name(name, maps[0])


def block_of(name: str) -> str:
    """The name up to its block's number: `bert.encoder.layer.3`; empty outside the blocks."""
    found = BLOCK.match(name)
    return found[0] if found else ""


def encoder_plan(
    student: nn.Module, teacher: nn.Module, known: Mapping[str, str], measured: Tensor | None
) -> tuple[dict[str, Axes], dict[str, Tensor]]:
    """Axes of the student's weights, and the units that each keeps."""
    source: Any = teacher.config
    config: Any = student.config
    given, target = teacher.state_dict(), student.state_dict()
    axes = {name: encoder_axes(own, given[own].shape, target[name].shape) for name, own in known.items()}
    if source.model_type in WAVES:
        last = len(source.conv_dim) - 1
        axes = {name: front_axes(known[name], found, last) for name, found in axes.items()}
    between = [name for name in known if name.endswith(BETWEEN)]
    axes |= {name: ("between", *axes[name][1:]) for name in between}
    weights = {own: (given[own], axes[name]) for name, own in known.items() if given[own].is_floating_point()}
    kept = kept_units(
        weights,
        (body_of(source).hidden_size, body_of(config).hidden_size),
        (intermediate_of(source), intermediate_of(config)),
        heads_of(source, config),
        measured,
        groups_of(source),
    )
    if between:
        kept["between"] = torch.tensor(blocks_before(known)[:-1], dtype=torch.int64)
    if source.model_type in WAVES:
        kept |= kept_in_front(weights, source.conv_dim, config.conv_dim)
    return axes, kept


def blocks_before(known: Mapping[str, str]) -> list[int]:
    """The teacher's block that each of the student's starts from, read off the names of their weights."""
    pairs = ((LAYER.match(name), LAYER.match(own)) for name, own in known.items())
    found = {int(one["layer"]): int(other["layer"]) for one, other in pairs if one and other}
    return [found[place] for place in sorted(found)]


def channel_plan(
    student: nn.Module, teacher: nn.Module, known: Mapping[str, str], measured: Tensor | None
) -> tuple[dict[str, Axes], dict[str, Tensor]]:
    """Axes of the student's weights, and the channels that each keeps."""
    given, target = teacher.state_dict(), student.state_dict()
    axes_of = axes_in_stages(teacher.config, target)
    axes = {name: axes_of(own, given[own].shape) for name, own in known.items()}
    weights = {own: (given[own], axes[name]) for name, own in known.items() if given[own].is_floating_point()}
    sizes = {
        label: size
        for name in known
        for label, size in zip(axes[name], target[name].shape, strict=True)
        if label is not None
    }
    return axes, kept_channels(weights, sizes)


def window_plan(
    student: nn.Module, teacher: nn.Module, known: Mapping[str, str], measured: Tensor | None
) -> tuple[dict[str, Axes], dict[str, Tensor]]:
    """Axes of the student's weights, and the units that each keeps."""
    source: Any = teacher.config
    given, target = teacher.state_dict(), student.state_dict()
    flat = {name: flat_name(own, source.depths) for name, own in known.items()}
    axes = {name: windowed_axes(flat[name], given[own].shape, target[name].shape) for name, own in known.items()}
    weights = {flat[name]: (given[own], axes[name]) for name, own in known.items() if given[own].is_floating_point()}
    return axes, kept_windows(weights, source, student.config, measured)


Planner = Callable[[nn.Module, nn.Module, Mapping[str, str], Tensor | None], tuple[dict[str, Axes], dict[str, Tensor]]]
PLANS: Mapping[str, Planner] = dict.fromkeys(CONVOLUTIONAL, channel_plan) | dict.fromkeys(WINDOWED, window_plan)
"""What chooses the units of a family that is no plain stack of blocks."""


def axes_in_stages(config: Any, names: Iterable[str]) -> Callable[[str, Sequence[int]], Axes]:
    """What names the axes of a weight, by its name and shape, in a network of stages with these weights."""
    if config.model_type == "resnet":
        return partial(resnet_axes, stages=streams(names), steps=2 if config.layer_type == "basic" else 3)
    return partial(convnext_axes, stages=len(config.depths))


def query_scale(name: str, teacher: nn.Module, student: nn.Module) -> float:
    """What keeps q.k / sqrt(width) at its size when heads get narrower: sqrt of the widths' ratio, on queries alone."""
    config: Any = teacher.config
    if config.model_type in CONVOLUTIONAL | WINDOWED or role_of(name) != "query":
        return 1.0
    heads = heads_of(config, student.config)
    return math.sqrt(heads.student_width / heads.teacher_width)
