"""The encoder and the codes of a VQGAN: what pictures are compared by, level by level and code by code.

Source: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis", 2021, arXiv:2012.09841; names
and layout of the weights are those of the authors' code, which transformers' VQ models have kept.
Departs from it: fewer channels and no attention in one that is trained here, and norms over as many groups as divide
the channels, up to theirs of 32.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError

GROUPS = 32
LARGEST = 4096
"""Of any number in a layout: more is taken for a mistake."""


@dataclass(frozen=True)
class Layout:
    """Sizes; the defaults are those of a small one, which is trained beside a student."""

    base_channels: int = 16
    channel_multiplier: tuple[int, ...] = (1, 1, 2, 2, 4)
    """Of the channels, by level; every level but the last halves the size."""
    num_res_blocks: int = 1
    attends: tuple[bool, ...] = ()
    """By level, whether its blocks attend; the middle does where this is not empty."""
    latent_channels: int = 32
    embed_dim: int = 32
    num_embeddings: int = 128
    """Codes."""

    @classmethod
    def of(cls, said: Mapping[str, Any], path: Path) -> "Layout":
        """What a configuration of transformers says, its `vq_config` where it has one. Raises ModelError."""
        said = said.get("vq_config") or said
        try:
            times = tuple(int(one) for one in said["channel_multiplier"])
            side, attended = int(said.get("resolution", 512)), said.get("attn_resolutions") or ()
            vanilla = said.get("attn_type", "vanilla") == "vanilla"
            found = cls(
                int(said["base_channels"]),
                times,
                int(said["num_res_blocks"]),
                tuple(side // 2**level in attended for level in range(len(times))) if vanilla else (),
                int(said["latent_channels"]) * (2 if said.get("double_latent") else 1),
                int(said["embed_dim"]),
                int(said["num_embeddings"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} describes no VQGAN ({type(error).__name__}: {error}); save one anew") from None
        numbers = [found.base_channels, *times, found.num_res_blocks, found.latent_channels, found.embed_dim]
        if not times or not all(0 < one <= LARGEST for one in numbers) or not 1 < found.num_embeddings <= 2**20:
            raise ModelError(f"{path} describes a VQGAN of sizes that cannot be; save one anew")
        return found


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(GROUPS, channels), channels, eps=1e-6)


class ResidualBlock(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(into), nn.Conv2d(into, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out), nn.Conv2d(out, out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(into, out, 1) if into != out else None

    def forward(self, state: Tensor) -> Tensor:
        found = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(state))))))
        kept: Tensor = state if self.nin_shortcut is None else self.nin_shortcut(state)
        whole: Tensor = kept + found
        return whole


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, state: Tensor) -> Tensor:
        seen = self.norm(state)
        query, key, value = (layer(seen).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        found: Tensor = state + self.proj_out(mixed.reshape(state.shape))
        return found


class Halve(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, state: Tensor) -> Tensor:
        found: Tensor = self.conv(F.pad(state, (0, 1, 0, 1)))
        return found


class Level(nn.Module):
    """Blocks at one size, and what halves it."""

    def __init__(self, layout: Layout, level: int) -> None:
        super().__init__()
        times = (1, *layout.channel_multiplier)
        into, out = (layout.base_channels * one for one in times[level : level + 2])
        count = layout.num_res_blocks
        self.block = nn.ModuleList(ResidualBlock(into if at == 0 else out, out) for at in range(count))
        attends = bool(layout.attends) and layout.attends[level]
        self.attn = nn.ModuleList(Attention(out) for _ in range(count)) if attends else nn.ModuleList()
        self.downsample = Halve(out) if level < len(layout.channel_multiplier) - 1 else None

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """What comes out, and the feature after the first block."""
        first = None
        for at, block in enumerate(self.block):
            state = block(state)
            first = state if first is None else first
            state = self.attn[at](state) if len(self.attn) else state
        assert first is not None, "a level has a block"
        return state if self.downsample is None else self.downsample(state), first


class Middle(nn.Module):
    def __init__(self, channels: int, attends: bool) -> None:
        super().__init__()
        self.block_1, self.block_2 = ResidualBlock(channels, channels), ResidualBlock(channels, channels)
        self.attn_1: nn.Module = Attention(channels) if attends else nn.Identity()

    def forward(self, state: Tensor) -> Tensor:
        found: Tensor = self.block_2(self.attn_1(self.block_1(state)))
        return found


class Encoder(nn.Module):
    def __init__(self, layout: Layout) -> None:
        super().__init__()
        last = layout.base_channels * layout.channel_multiplier[-1]
        self.conv_in = nn.Conv2d(3, layout.base_channels, 3, padding=1)
        self.down = nn.ModuleList(Level(layout, level) for level in range(len(layout.channel_multiplier)))
        self.mid = Middle(last, bool(layout.attends))
        self.norm_out, self.conv_out = norm(last), nn.Conv2d(last, layout.latent_channels, 3, padding=1)

    def forward(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The latent, and the feature after the first block of each level."""
        state, firsts = self.conv_in(picture), []
        for level in self.down:
            state, first = level(state)
            firsts.append(first)
        return self.conv_out(F.silu(self.norm_out(self.mid(state)))), firsts


class Quantize(nn.Module):
    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.embedding = nn.Embedding(layout.num_embeddings, layout.embed_dim)
        nn.init.uniform_(self.embedding.weight, -1 / layout.num_embeddings, 1 / layout.num_embeddings)


class Codebook(nn.Module):
    """Pictures in 0..1 as features of five levels, and as distances to codes."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.encoder, self.quantize = Encoder(layout), Quantize(layout)
        self.quant_conv = nn.Conv2d(layout.latent_channels, layout.embed_dim, 1)

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> tuple[list[Tensor], Float[Tensor, "B P D"]]:
        """The levels' features, and the latent vectors at all places."""
        latent, levels = self.encoder(pictures * 2 - 1)  # as VQGANs are trained
        return levels, self.quant_conv(latent).flatten(2).transpose(1, 2)

    def distances(self, latents: Float[Tensor, "B P D"]) -> Float[Tensor, "B P K"]:
        """Squared distance to every code."""
        codes = self.quantize.embedding.weight
        return latents.square().sum(-1, keepdim=True) - 2 * latents @ codes.T + codes.square().sum(-1)


def codebook_in(folder: Path) -> Codebook:
    """The encoder and the codes in a folder: config.json and model.safetensors. Raises ModelError.

    Layout and names are those of transformers' VQ models (Chameleon's), with or without what stands before them.
    """
    import safetensors

    config, weights = folder / "config.json", folder / "model.safetensors"
    if not config.is_file() or not weights.is_file():
        raise ModelError(
            f"codebook {folder} holds no config.json and model.safetensors of a VQGAN; leave `codebook` out to have a "
            "small one trained on the task's own pictures"
        )
    found = Codebook(Layout.of(object_of(config, ModelError, "save it anew"), config))
    wanted = found.state_dict()
    try:
        with safetensors.safe_open(str(weights), "pt") as opened:
            stored = {name: own for own in opened.keys() if (name := suffix_in(own, wanted)) is not None}  # noqa: SIM118
            state = {name: opened.get_tensor(own).float() for name, own in stored.items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{weights} is not readable as safetensors ({error}); save it anew") from None
    lacking = sorted(wanted.keys() - state.keys())
    wrong = [name for name, tensor in state.items() if tensor.shape != wanted[name].shape]
    if lacking or wrong:
        raise ModelError(f"{weights} has no weights for {(lacking or wrong)[0]} as {config} describes it")
    found.load_state_dict(state)
    return found.eval()


def suffix_in(name: str, wanted: Mapping[str, Tensor]) -> str | None:
    """The part of a stored name that is one of ours, whatever stands before it."""
    parts = name.split(".")
    return next((tail for at in range(len(parts)) if (tail := ".".join(parts[at:])) in wanted), None)


def save_codebook(found: Codebook, folder: Path) -> Path:
    """A folder that `codebook_in` reads."""
    from safetensors.torch import save_file

    layout = found.layout
    resolution = 2 ** len(layout.channel_multiplier)
    said = {
        "base_channels": layout.base_channels,
        "channel_multiplier": list(layout.channel_multiplier),
        "num_res_blocks": layout.num_res_blocks,
        "resolution": resolution,
        "attn_resolutions": [resolution // 2**level for level, attends in enumerate(layout.attends) if attends],
        "attn_type": "vanilla" if layout.attends else "none",
        "latent_channels": layout.latent_channels,
        "embed_dim": layout.embed_dim,
        "num_embeddings": layout.num_embeddings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in found.state_dict().items()}, folder / "model.safetensors")
    return folder
