"""The sizes that a student may have: a smaller configuration of the teacher's family, its parameters and its work."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import config_in, quiet
from kd2deploy.networks.frames import SPECTRA, WAVES, body_of, frames, front_end
from kd2deploy.networks.image_processor import processor
from kd2deploy.train.front import thinner
from kd2deploy.train.narrow import Heads
from kd2deploy.train.windowed import WINDOWED, heads_for, smaller_windows

INTERMEDIATE = {"distilbert": "hidden_dim"}
"""Where a configuration keeps the feed-forward width under another name than `intermediate_size`."""
ENCODERS = frozenset(
    {"bert", "camembert", "deberta-v2", "deit", "distilbert", "electra", "modernbert", "roberta", "vit", "xlm-roberta"}
    | {"yolos"}
    | WAVES
    | SPECTRA
)
"""Families with one stack of blocks whose layers are known by name."""
ROTARY = frozenset({"modernbert"})
"""Families whose heads turn by position: a head's width fixes the frequencies, so it must stay."""
KEPT_WIDTH = SPECTRA | {"wav2vec2-conformer", "wavlm"}
"""Families whose width and heads stay: their convolutions, or a bias that the first block makes for all heads of all
blocks, would have to be cut with them."""
TWICE = SPECTRA | {"wav2vec2-conformer"}
"""Families with two feed-forward layers in a block."""
CONVOLUTIONAL = frozenset({"convnext", "convnextv2", "resnet"})
"""Families in stages, each with a depth and channels of its own."""
MULTIPLIED = {
    "efficientnet": "width_coefficient and depth_coefficient",
    "mobilenet_v1": "depth_multiplier",
    "mobilenet_v2": "depth_multiplier",
    "mobilevit": "hidden_sizes and neck_hidden_sizes",
    "mobilevitv2": "width_multiplier",
    "swin": "depths, embed_dim and num_heads",
    "swinv2": "depths, embed_dim and num_heads",
}
"""Families of pictures that are not cut, and the fields by which a smaller one is made."""


@dataclass(frozen=True)
class Shape:
    """A candidate student."""

    layers: int | tuple[int, ...]
    """Blocks; of a network in stages those of each."""
    hidden: int | tuple[int, ...]
    """Width; of a network in stages each one's channels."""
    heads: int
    """Attention heads; 0 for a network in stages."""
    intermediate: int
    """Width of the feed-forward layers; 0 for a network in stages."""
    parameters: int
    flops: float
    """Of one row; see `flops`."""

    def arguments(self) -> dict[str, Any]:
        """What `shrink` is called with."""
        found: dict[str, Any] = {"layers": self.layers, "hidden": self.hidden}
        return found | ({"heads": self.heads, "intermediate": self.intermediate} if self.heads else {})


def intermediate_of(config: Any) -> int:
    return int(getattr(body_of(config), INTERMEDIATE.get(config.model_type, "intermediate_size")))


def heads_of(teacher: Any, student: Any) -> Heads:
    """Attention heads of two configurations."""
    teacher, student = body_of(teacher), body_of(student)
    return Heads(
        teacher.num_attention_heads,
        teacher.hidden_size // teacher.num_attention_heads,
        student.num_attention_heads,
        student.hidden_size // student.num_attention_heads,
    )


def smaller(
    config: Any,
    *,
    layers: int | Sequence[int] | None = None,
    hidden: int | Sequence[int] | None = None,
    heads: int | None = None,
    intermediate: int | None = None,
    front: Sequence[int] | None = None,
) -> Any:
    """The student's configuration; what is not named keeps the teacher's size, or its proportion to the width.

    In stages `layers` and `hidden` are one number for each, and so is `front`, the channels of a speech network's
    convolutions. Raises ModelError for a family that cannot be shrunk, an argument that the family does not have, and a
    size that the teacher cannot give.
    """
    channels = thinner(config, front)
    family = config.model_type
    if family in CONVOLUTIONAL:
        if heads is not None or intermediate is not None:
            raise ModelError(f"a {family} has neither heads nor intermediate; give its depths and hidden_sizes")
        if isinstance(layers, int) or isinstance(hidden, int):
            stages = len(config.depths)
            raise ModelError(f"a {family} has {stages} stages; give depths and hidden_sizes, {stages} numbers each")
        return smaller_stages(config, layers, hidden)
    if family in WINDOWED:
        if intermediate is not None:
            raise ModelError(f"a {family}'s intermediate follows its width; leave it out")
        return smaller_windows(config, layers, hidden, heads)
    if family not in ENCODERS:
        known = ", ".join(sorted(ENCODERS | CONVOLUTIONAL | WINDOWED))
        wanted = f"{family}, ...}}}}`, with {MULTIPLIED[family]}," if family in MULTIPLIED else "...}}`"
        raise ModelError(
            f"a {family} cannot be shrunk: its layers are not known by name ({known} are); train another student with "
            f"`student: {{create: {{model_type: {wanted} or `student: {{from: FOLDER}}`"
        )
    if not (layers is None or isinstance(layers, int)) or not (hidden is None or isinstance(hidden, int)):
        raise ModelError(f"a {family} has one stack of blocks; give layers and hidden, one number each")
    found = smaller_stack(config, layers, hidden, heads, intermediate)
    if channels is not None:
        found.conv_dim = channels
    return found


def smaller_stack(
    config: Any, layers: int | None, hidden: int | None, heads: int | None, intermediate: int | None
) -> Any:
    found = copy.deepcopy(config)
    own, cut = body_of(config), body_of(found)
    width = own.hidden_size if hidden is None else hidden
    if intermediate is None:
        intermediate = max(1, round(intermediate_of(config) * width / own.hidden_size))
    wanted = {
        "layers": (own.num_hidden_layers if layers is None else layers, own.num_hidden_layers),
        "hidden": (width, own.hidden_size),
        "heads": (valid_heads(config, width) if heads is None else heads, own.num_attention_heads),
        "intermediate": (intermediate, intermediate_of(config)),
    }
    check_width(config, width, wanted["heads"][0])
    for name, (size, limit) in wanted.items():
        if not 1 <= size <= limit:
            raise ModelError(f"{name} must be 1 to the teacher's {limit}, got {size}")
    cut.num_hidden_layers = wanted["layers"][0]
    cut.hidden_size = width
    cut.num_attention_heads = wanted["heads"][0]
    setattr(cut, INTERMEDIATE.get(config.model_type, "intermediate_size"), intermediate)
    if getattr(config, "pooler_hidden_size", None) is not None:
        found.pooler_hidden_size = width
    if config.model_type in WAVES and getattr(config, "output_hidden_size", None) is not None:
        found.output_hidden_size = width
    if vars(config).get("layer_types") is not None:
        found.layer_types = list(config.layer_types[: found.num_hidden_layers])  # shrink sets those of the kept blocks
    check_heads(config, found)
    if config.model_type == "electra" and width != config.hidden_size and width == config.embedding_size:
        raise ModelError(
            f"an ELECTRA {width} wide, as wide as its word embeddings, has no projection after them to start from; "
            "choose another hidden"
        )
    return found


def valid_heads(config: Any, hidden: int) -> int:
    """Heads of the teacher's width where they divide `hidden`, else the fewest that are narrower. 0 where none fit."""
    own = body_of(config)
    if hidden % groups_of(config) or (config.model_type in KEPT_WIDTH and hidden != own.hidden_size):
        return 0
    width = own.hidden_size // own.num_attention_heads
    able = [
        heads
        for heads in range(1, own.num_attention_heads + 1)
        if hidden % heads == 0
        and hidden // heads <= width
        and (config.model_type not in ROTARY or hidden // heads == width)
    ]
    return able[0] if able else 0


def groups_of(config: Any) -> int:
    """Groups of the convolution that tells a speech network its positions: each keeps as many units; 1 elsewhere."""
    return int(config.num_conv_pos_embedding_groups) if config.model_type in WAVES else 1


def check_width(config: Any, hidden: int, heads: int) -> None:
    """Raises ModelError for a width, or a number of heads, that a speech network cannot be cut to."""
    own, family = body_of(config), config.model_type
    if family in KEPT_WIDTH and (hidden, heads) != (own.hidden_size, own.num_attention_heads):
        raise ModelError(
            f"a {family} keeps its width and heads ({own.hidden_size}, {own.num_attention_heads}) where it is shrunk; "
            "cut `layers` and `intermediate`, or train another student by `create`"
        )
    if hidden % groups_of(config):
        raise ModelError(
            f"a {family} convolves its positions in {groups_of(config)} groups, so hidden must be a multiple of that, "
            f"got {hidden}"
        )


def check_heads(teacher: Any, student: Any) -> None:
    heads = heads_of(teacher, student)
    width = body_of(student).hidden_size
    if heads.student * heads.student_width != width:
        raise ModelError(f"hidden {width} is not a multiple of {heads.student} heads; change one of them")
    if heads.student_width > heads.teacher_width:
        least = -(-width // heads.teacher_width)
        raise ModelError(
            f"{heads.student} heads in hidden {width} would be {heads.student_width} wide, and the "
            f"teacher's are {heads.teacher_width}; give at least {least} heads"
        )
    if teacher.model_type in ROTARY and heads.student_width != heads.teacher_width:
        raise ModelError(
            f"a {teacher.model_type} turns its heads by position, so they must stay {heads.teacher_width} wide; choose "
            f"hidden as a multiple of {heads.teacher_width} and that many heads"
        )


def smaller_stages(config: Any, depths: Sequence[int] | None, hidden_sizes: Sequence[int] | None) -> Any:
    found = copy.deepcopy(config)
    for name, sizes in (("depths", depths), ("hidden_sizes", hidden_sizes)):
        limits = getattr(config, name)
        sizes = list(limits if sizes is None else sizes)
        if len(sizes) != len(limits) or any(not 1 <= size <= limit for size, limit in zip(sizes, limits, strict=True)):
            raise ModelError(f"{name} must be {len(limits)} numbers, each 1 to the teacher's {limits}, got {sizes}")
        setattr(found, name, sizes)
    if getattr(config, "embedding_size", None) is not None:
        # the stem keeps its ratio to the first stage: a teacher without a shortcut there gives a student without
        found.embedding_size = max(1, round(config.embedding_size * found.hidden_sizes[0] / config.hidden_sizes[0]))
    return found


def patches_of(config: Any) -> int:
    """Of a picture of a network's size, which may be a square's side or height and width."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return int((height // config.patch_size) * (width // config.patch_size))


def parameters(config: Any) -> int:
    """Parameters of a network of this configuration; nothing is allocated."""
    import transformers

    with torch.device("meta"), quiet():
        named = (config.architectures or ["BertModel"])[0]
        net: torch.nn.Module = getattr(transformers, named)(config)
    return sum(weight.numel() for weight in net.parameters())


def flops(config: Any, length: int) -> float:
    """Floating-point operations (two for a multiply-add) of one row: an encoder's blocks at `length` positions.

    A ViT reads as many positions as its picture has patches, a speech network as its front end, which is not counted,
    leaves of `length` samples or spectra; of a network in stages, convolutions and linear maps on a square picture of
    `length` pixels a side, and of a network of windows of about `length` values. Embeddings, norms, the head, and in
    windows the attention itself are left out.
    """
    if config.model_type in CONVOLUTIONAL:
        return convolution_flops(config, length)
    if config.model_type in WINDOWED:
        return convolution_flops(config, side_of(config, length))
    if getattr(config, "patch_size", None) is not None:
        length = patches_of(config) + 1 + getattr(config, "num_detection_tokens", 0)
    if config.model_type in WAVES | SPECTRA:
        length = max(1, frames(length, front_end(config.to_dict())))
    own = body_of(config)
    hidden, inner = own.hidden_size, intermediate_of(config)
    gates = 4 if config.model_type in TWICE else 3 if config.model_type == "modernbert" else 2
    block = 2 * length * (4 * hidden**2 + gates * hidden * inner) + 4 * length**2 * hidden
    return float(own.num_hidden_layers * block)


def side_of(config: Any, values: int) -> int:
    """Pixels a side of a square picture of about so many values, in whole windows."""
    side = math.sqrt(values / config.num_channels)
    return int(max(1, round(side / config.window_size)) * config.window_size)


def convolution_flops(config: Any, side: int) -> float:
    import transformers

    with torch.device("meta"), quiet():
        auto: Any = transformers.AutoModel
        net: torch.nn.Module = auto.from_config(config)
        net.eval()
        total = 0.0

        def count(layer: torch.nn.Module, _: Any, out: torch.Tensor) -> None:
            nonlocal total
            assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
            total += 2.0 * out.numel() * layer.weight[0].numel()

        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_hook(count)
        with torch.no_grad():
            net(torch.empty(1, config.num_channels, side, side))
    return total


def candidates(
    teacher: Path,
    *,
    layers: Sequence[int] | None = None,
    hidden: Sequence[int] | None = None,
    length: int = 128,
) -> list[Shape]:
    """The grid of students, largest first by their work, without the teacher itself.

    Encoders: `layers` (by default all, 3/4, 2/3, 1/2, 1/3, 1/4, 1/6 and 1/12 of the teacher's) times `hidden` (all,
    3/4, 2/3, 1/2, 1/3 and 1/4, as far as whole heads fit). ResNets: shares of each stage's depth and channels;
    `layers` then means layers in all, `hidden` the last stage's channels. Raises ModelError for a family that cannot
    be shrunk and where no size fits.
    """
    config = config_in(teacher)
    smaller(config)  # raises for a family that cannot be shrunk
    if config.model_type in CONVOLUTIONAL:
        length = processor(teacher.resolve()).out[0]
        grid: Sequence[tuple[Any, Any]] = stage_grid(config, layers, hidden)
    elif config.model_type in WINDOWED:
        grid = window_grid(config, layers, hidden)
    else:
        grid = stack_grid(config, layers, hidden)
    found = [shape_of(smaller(config, layers=deep, hidden=wide), length) for deep, wide in grid]
    if not found:
        raise ModelError(
            f"no student smaller than {teacher} has such sizes; name other `layers` or `hidden` under plan"
        )
    return sorted(found, key=lambda shape: (-shape.flops, -shape.parameters))


def shape_of(config: Any, length: int) -> Shape:
    """The shape of a configuration."""
    if config.model_type in CONVOLUTIONAL:
        sizes: tuple[Any, Any, int, int] = (tuple(config.depths), tuple(config.hidden_sizes), 0, 0)
    elif config.model_type in WINDOWED:
        sizes = (tuple(config.depths), config.embed_dim, 0, 0)
    else:
        own = body_of(config)
        sizes = (own.num_hidden_layers, own.hidden_size, own.num_attention_heads, intermediate_of(config))
    return Shape(*sizes, parameters=parameters(config), flops=flops(config, length))


def shares(size: int, parts: Sequence[tuple[int, int]]) -> list[int]:
    """Different whole shares of a size, largest first."""
    return sorted({max(1, size * top // bottom) for top, bottom in parts}, reverse=True)


def stack_grid(config: Any, layers: Sequence[int] | None, hidden: Sequence[int] | None) -> list[tuple[int, int]]:
    depth, width = body_of(config).num_hidden_layers, body_of(config).hidden_size
    deep = layers or shares(depth, [(1, 1), (3, 4), (2, 3), (1, 2), (1, 3), (1, 4), (1, 6), (1, 12)])
    wide = list(hidden or [])
    if hidden is None:
        whole = shares(width, [(1, 1), (3, 4), (2, 3), (1, 2), (1, 3), (1, 4)])
        # widths that are no multiple of 8 are slow on every device
        wide = [size for size in whole if valid_heads(config, size) and (size % 8 == 0 or width % 8)]
        if config.model_type == "electra" and width != config.embedding_size:
            wide = [size for size in wide if size != config.embedding_size]
    return [(d, w) for d in deep for w in wide if (d, w) != (depth, width)]


def window_grid(
    config: Any, layers: Sequence[int] | None, hidden: Sequence[int] | None
) -> list[tuple[tuple[int, ...], int]]:
    """Blocks of all stages alike; `layers` means blocks in all."""
    stages, deepest = len(config.depths), min(config.depths)
    deep = layers or shares(stages * deepest, [(1, 1), (2, 3), (1, 2), (1, 3)])
    depths = {tuple([max(1, min(deepest, round(blocks / stages)))] * stages) for blocks in deep}
    wide = hidden or shares(config.embed_dim, [(1, 1), (3, 4), (2, 3), (1, 2), (1, 3)])
    own = (tuple(config.depths), config.embed_dim)
    fits = [width for width in wide if heads_for(config, width)]
    return [(each, width) for each in sorted(depths, reverse=True) for width in fits if (each, width) != own]


def stage_grid(
    config: Any, layers: Sequence[int] | None, hidden: Sequence[int] | None
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    whole, last = sum(config.depths), config.hidden_sizes[-1]
    deep = [part / whole for part in layers] if layers else [1, 3 / 4, 1 / 2, 1 / 4]
    wide = [part / last for part in hidden] if hidden else [1, 3 / 4, 1 / 2, 1 / 3, 1 / 4]
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for d in deep:
        for w in wide:
            depths = tuple(max(1, min(depth, round(depth * d))) for depth in config.depths)
            sizes = tuple(max(1, min(size, round(size * w))) for size in config.hidden_sizes)
            same = depths == tuple(config.depths) and sizes == tuple(config.hidden_sizes)
            if not same and (depths, sizes) not in found:
                found.append((depths, sizes))
    return found


def shape_label(shape: Shape) -> str:
    """`3 x 192`: layers and width; in stages `1+1+1 x 8-16-32`."""
    layers = shape.layers if isinstance(shape.layers, int) else "+".join(map(str, shape.layers))
    hidden = shape.hidden if isinstance(shape.hidden, int) else "-".join(map(str, shape.hidden))
    return f"{layers} x {hidden}"
