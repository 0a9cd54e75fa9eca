"""Detectors of transformers: how they are loaded, run and deployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Observation, Regions, TaskNetworks
from kd2deploy.core.members import members_in
from kd2deploy.core.port import NO_OBJECT, UNKNOWN
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.detectors import family_of
from kd2deploy.networks.folder import network
from kd2deploy.networks.labels import SINGLE, fields_of
from kd2deploy.networks.matching import matched
from kd2deploy.tasks._heads import check_labels
from kd2deploy.tasks._image_networks import flattened
from kd2deploy.tasks._pair import check_pair

HEADS = ("class_labels_classifier", "class_embed.-1", "model.decoder.class_embed.-1")
"""Where the layer, or the last of the layers, is that makes the scores of classes."""
PROJECTIONS = ("model.input_projection", "model.input_proj")
"""What brings a backbone's maps to the width of the encoder: the sizes of what the encoder reads as one row."""


class DetectionNetworks(TaskNetworks):
    """Networks that answer scores of classes and a box for each of their queries."""

    auto = "AutoModelForObjectDetection"

    def __init__(self, labels: tuple[str, ...], height: int, width: int) -> None:
        self.labels, self.height, self.width = labels, height, width

    def load(self, folder: Path) -> nn.Module:
        if members_in(folder) is not None:
            raise ModelError(f"{folder} holds several networks, which find no objects together; name one of them alone")
        family_of(read_config(folder))
        net = network(self.auto, folder)
        config: Any = net.config
        check_labels(config, self.labels, folder, self.problem_type)
        if config.model_type == "yolos":
            config.auxiliary_loss = False  # transformers fails at it
        return net

    def fresh(self) -> dict[str, Any]:
        return {"num_channels": 3, "image_size": [self.height, self.width]}

    def answers(self) -> dict[str, Any]:
        return fields_of(self.labels, SINGLE)

    def check_pair(self, teacher: Path, student: Path) -> None:
        for folder in (teacher, student):
            family_of(read_config(folder))
        check_pair(self.labels, teacher, student)

    def differences(self, teacher: Path, student: Path) -> tuple[str, ...]:
        one, other = (family_of(read_config(folder)) for folder in (teacher, student))
        if one.background == other.background:
            return ()
        return (
            "teacher and student say otherwise that a query finds nothing (a class of its own, or no class likely): "
            "scores are not compared one by one",
        )

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        labels = batch.get("labels")
        pixels, inner = batch["pixel_values"], bool(needs & {"hidden", "features"})
        if labels is None:
            return self.shown(seen_of(net, pixels, None, inner), net, needs)
        known = (labels[..., 0] != UNKNOWN).all(1)
        if known.all():
            return self.shown(seen_of(net, pixels, targets_of(labels), inner), net, needs)
        if not known.any():
            found = self.shown(seen_of(net, pixels, None, inner), net, needs)
            assert found.logits is not None, "which every detector gives"
            nothing = torch.full(found.logits.shape[:2], -1, dtype=torch.int64, device=pixels.device)
            return replace(found, loss=found.logits.sum() * 0, extras={**found.extras, "matched": nothing})
        # rows without a label must not count as pictures without an object
        parts = [
            {"pixel_values": pixels[rows], **({"labels": labels[rows]} if of_known else {})}
            for rows, of_known in ((known, True), (~known, False))
        ]
        one, other = (self.observe(net, part, needs=needs) for part in parts)
        return joined(one, other, known)

    def shown(self, seen: Seen, net: nn.Module, needs: frozenset[str]) -> Observation:
        config: Any = net.config
        extras = {"boxes": seen.boxes, **({} if seen.matched is None else {"matched": seen.matched})}
        return Observation(
            logits=seen.logits,
            hidden=seen.hidden if "hidden" in needs else (),
            features=seen.features if "features" in needs else (),
            embedding=seen.states.mean(1) if "embedding" in needs else None,
            loss=seen.loss,
            background=family_of(config.to_dict()).background,
            extras=extras,
        )

    def head(self, net: nn.Module) -> nn.Module:
        for place in HEADS:
            name, _, last = place.partition(".-")
            found = submodule(net, name)
            if isinstance(found, nn.ModuleList) and last:
                found = found[-1]
            if found is not None and not isinstance(found, nn.ModuleList):
                return found
        raise ModelError(f"a {type(net).__name__} has no layer of scores that is known by name")

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return "pixel_values", batch["pixel_values"]

    def turned(self, batch: Batch, quarters: int) -> Batch | None:
        """With the boxes. None for a quarter turn of pictures that are not square: a network reads one shape alone."""
        pixels = batch["pixel_values"]
        if quarters % 2 and pixels.shape[-1] != pixels.shape[-2]:
            return None
        found = batch | {"pixel_values": pixels.rot90(quarters, (-2, -1))}
        if "labels" in batch:
            found["labels"] = turned_boxes(batch["labels"], quarters)
        return found

    def regions(self, batch: Batch) -> Regions | None:
        """None where a batch has no labels."""
        if "labels" not in batch:
            return None
        labels, size = batch["labels"], batch["size"]
        centre, extent = labels[..., 1:3], labels[..., 3:]
        classes = labels[..., 0].long()
        areas = (extent * size[:, None]).prod(-1)
        return Regions(torch.cat([centre - extent / 2, centre + extent / 2], -1), classes, areas)

    def cropped(self, batch: Batch, windows: Tensor) -> Batch | None:
        """Resampled bilinearly; of objects what lies in their window, if anything does."""
        pixels, begins, extents = batch["pixel_values"], windows[:, :2], windows[:, 2:] - windows[:, :2]
        matrix = torch.zeros(len(windows), 2, 3, device=pixels.device, dtype=pixels.dtype)
        matrix[:, 0, 0], matrix[:, 1, 1] = extents.unbind(1)
        matrix[:, :, 2] = 2 * begins + extents - 1
        grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
        parts = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        whole = ((begins == 0) & (extents == 1)).all(1)
        found = batch | {"pixel_values": torch.where(whole[:, None, None, None], pixels, parts)}
        if "labels" in batch:
            found["labels"] = left_in(batch["labels"], begins[:, None], extents[:, None])
            found["size"] = batch["size"] * extents
        return found

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net)

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Standard normal pixels."""
        shape = (batch, 3, self.height, self.width)
        return {"pixel_values": torch.randn(shape, generator=torch.Generator().manual_seed(0))}


@dataclass(frozen=True)
class Seen:
    """What a detector answers to a batch, whatever it is called by its family."""

    logits: Tensor
    boxes: Tensor
    states: Tensor
    """[B, Q, D]: what the heads read."""
    hidden: tuple[Tensor, ...]
    features: tuple[Tensor, ...]
    loss: Tensor | None
    matched: Tensor | None


def seen_of(net: nn.Module, pixels: Tensor, targets: Sequence[dict[str, Tensor]] | None, inner: bool) -> Seen:
    """One run of a network; what it adds to its queries in a training (denoising) is left out of its answers."""
    config: Any = net.config
    given = {} if targets is None else {"labels": targets}
    sizes: list[tuple[int, int]] = []
    with watched(net, sizes) if inner else watched(net, None):
        seen = net(pixel_values=pixels, **given, output_hidden_states=inner, return_dict=True)
    queries = seen.logits.shape[1]
    if net.training and targets is not None and getattr(config, "num_denoising", None):
        queries = config.num_queries
    logits, boxes = seen.logits[:, -queries:], seen.pred_boxes[:, -queries:]
    states = seen.last_hidden_state[:, -queries:]
    features = maps_of(seen, pixels, config, sizes) if inner else ()
    return Seen(
        logits=logits,
        boxes=boxes,
        states=states,
        hidden=blocks_of(seen, features) if inner else (),
        features=features,
        loss=seen.loss,
        matched=None if targets is None else matched(config, logits, boxes, targets),
    )


def maps_of(seen: Any, pixels: Tensor, config: Any, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    """What a network's queries look at, as maps [B, D, H, W], the finest first."""
    if config.model_type == "yolos":
        side = config.patch_size
        height, width = pixels.shape[-2] // side, pixels.shape[-1] // side
        return folded(seen.last_hidden_state[:, 1 : 1 + height * width], [(height, width)])
    last = seen.encoder_last_hidden_state
    return tuple(last) if isinstance(last, list | tuple) else folded(last, sizes)


def folded(states: Float[Tensor, "B L D"], sizes: Sequence[tuple[int, int]]) -> tuple[Float[Tensor, "B D H W"], ...]:
    parts = torch.split(states, [height * width for height, width in sizes], dim=1)
    return tuple(
        part.transpose(1, 2).reshape(part.shape[0], part.shape[2], *size)
        for part, size in zip(parts, sizes, strict=True)
    )


def blocks_of(seen: Any, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """[B, L, D] each: the encoder's states; of an encoder of several maps those maps."""
    states = seen.get("hidden_states") or seen.get("encoder_hidden_states") or ()
    rows = [one for one in states if isinstance(one, Tensor) and one.dim() == 3]
    if rows and len(rows) == len(states) and not isinstance(seen.get("encoder_last_hidden_state"), list | tuple):
        return tuple(rows)
    return tuple(map(flattened, features))


@contextmanager
def watched(net: nn.Module, sizes: list[tuple[int, int]] | None) -> Iterator[None]:
    """Notes (height, width) of every map that a network's encoder is given."""
    asked = [found for name in PROJECTIONS if (found := submodule(net, name)) is not None] if sizes is not None else []
    layers = [layer for one in asked for layer in (one if isinstance(one, nn.ModuleList) else [one])]

    def note(_: nn.Module, __: Any, made: Tensor) -> None:
        assert sizes is not None, "where layers are watched"
        sizes.append((made.shape[-2], made.shape[-1]))

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def submodule(net: nn.Module, name: str) -> nn.Module | None:
    return dict(net.named_modules()).get(name)


def targets_of(labels: Float[Tensor, "B T 5"]) -> list[dict[str, Tensor]]:
    """A batch's labels as transformers' detectors take them."""
    rows = [row[row[:, 0] > NO_OBJECT] for row in labels]
    return [{"class_labels": row[:, 0].long(), "boxes": row[:, 1:]} for row in rows]


def joined(one: Observation, other: Observation, first: Tensor) -> Observation:
    """Observations of the rows where `first` holds and of the others, as one of all in their order."""
    order = torch.cat([first.nonzero()[:, 0], (~first).nonzero()[:, 0]]).argsort()

    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b])[order]

    assert one.logits is not None, "which every detector gives"
    assert other.logits is not None
    none = torch.full(other.logits.shape[:2], -1, dtype=torch.int64, device=other.logits.device)
    theirs = {"matched": none, **other.extras}
    return replace(
        one,
        logits=both(one.logits, other.logits),
        hidden=tuple(map(both, one.hidden, other.hidden)),
        features=tuple(map(both, one.features, other.features)),
        embedding=both(one.embedding, other.embedding)
        if one.embedding is not None and other.embedding is not None
        else None,
        extras={name: both(value, theirs[name]) for name, value in one.extras.items()},
    )


def left_in(
    labels: Float[Tensor, "B T 5"], begins: Float[Tensor, "B 1 2"], extents: Float[Tensor, "B 1 2"]
) -> Float[Tensor, "B T 5"]:
    """Labels of parts of pictures: what lies outside is gone, and what is left stands first, as in every batch."""
    kind, centre, size = labels[..., :1], labels[..., 1:3], labels[..., 3:]
    low = ((centre - size / 2 - begins) / extents).clamp(0, 1)
    high = ((centre + size / 2 - begins) / extents).clamp(0, 1)
    there = kind > NO_OBJECT
    lost = there & ~(high > low).all(-1, keepdim=True)
    found = torch.cat([kind, (low + high) / 2, high - low], -1).where(there, labels)
    found = torch.where(lost, labels.new_tensor([NO_OBJECT, 0, 0, 0, 0]), found)
    order = (found[..., 0] == NO_OBJECT).long().argsort(dim=1, stable=True)
    return found.gather(1, order[..., None].expand_as(found))


def turned_boxes(labels: Float[Tensor, "B T 5"], quarters: int) -> Float[Tensor, "B T 5"]:
    """Labels of pictures turned against the clock; what only fills up a row stays as it is."""
    kind, x, y, w, h = labels.unbind(-1)
    for _ in range(quarters % 4):
        x, y, w, h = y, 1 - x, h, w
    return torch.where((kind > NO_OBJECT)[..., None], torch.stack([kind, x, y, w, h], -1), labels)


class Deployed(nn.Module):
    """Positional pixels, a tuple with scores and boxes of every query."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.net(pixel_values=pixel_values, return_dict=True)
        return seen.logits, seen.pred_boxes
