"""IKD: rows change by the sizes of what is in them, and features are copied on inputs made against the teacher.

Source: Liang et al., "Exploring Inconsistent Knowledge Distillation for Object Detection with Data Augmentation", ACM
MM 2023, arXiv:2209.09841, and the authors' code: two additions to a feature distillation, FGD or MGD. Sample-specific
augmentation: where all boxes are smaller than 32 x 32 pixels of the given picture, with probability 0.3 the whole
picture gets Gaussian noise (severity 1 of imagecorruptions: a deviation of 0.08 of the range) and is never cropped;
else it is cropped at random, to 0.8..1 of each side, and gets no noise. Adversarial features: on inputs that an
attack on the teacher's classification loss has made of these (`_attack`), the student copies the teacher's feature
maps, with the squared error summed over a map, weight 0.00001 for five levels. Both are off after two thirds of the
training (16 of 24 epochs), which ends with the base alone.
Departs from it: the attack is made anew for every batch, of what the student reads, and not once of the whole
pictures. The noise is added at the network's size, its deviation and limits are of the picture's own range; a crop is
enlarged to the size of the rest of the batch instead of being padded; where no object is left in it the row stays
whole, where theirs draws another row. The loss that the attack raises is DETR's cross-entropy of matched queries, or
the focal loss. The student does not begin with the teacher's head.
"""

import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kd2deploy.core import (
    Batch,
    Look,
    Method,
    Networks,
    Progress,
    Regions,
    Step,
    TaskLoss,
    TaskNetworks,
    Term,
    View,
    Weighted,
    clean_look,
)
from kd2deploy.core.search import TermWeight
from kd2deploy.methods._attack import Attack, attacked, limits
from kd2deploy.methods._feature_maps import Alignment, need_feature_maps, need_regions, squared_sum, summed
from kd2deploy.methods._maths import need_one_of, need_share, need_weight
from kd2deploy.methods._queries import class_loss, logits_of
from kd2deploy.methods._two_players import evaluating
from kd2deploy.methods.fgd import FocalAndGlobal, Weights, fgd
from kd2deploy.methods.mgd import Generated, mgd

SMALL = 32 * 32
"""Pixels of the given picture below which a box is small."""
DEVIATION = 0.08
"""Of the noise, as a share of the picture's range."""
Base = Literal["fgd", "mgd"]


# sample-specific augmentation -----------------------------------------------------------------------------------


def all_small(regions: Regions) -> Bool[Tensor, "B"]:
    """Of which rows no box is as large as `SMALL`; a row without any box counts among them."""
    return ~((regions.areas >= SMALL) & regions.there).any(1)


def drawn_windows(rows: int, least: float, like: Tensor) -> Float[Tensor, "{rows} 4"]:
    """One window for each row, each side `least`..1 of the whole, anywhere inside."""
    sides = least + (1 - least) * torch.rand(rows, 2, device=like.device, dtype=like.dtype)
    start = (1 - sides) * torch.rand(rows, 2, device=like.device, dtype=like.dtype)
    return torch.cat([start, start + sides], 1)


def leaves_something(regions: Regions, windows: Float[Tensor, "B 4"]) -> Bool[Tensor, "B"]:
    """In which windows some part of a box lies."""
    low = torch.maximum(regions.boxes[..., :2], windows[:, None, :2])
    high = torch.minimum(regions.boxes[..., 2:], windows[:, None, 2:])
    return ((high > low).all(-1) & regions.there).any(1)


def with_noise(inputs: Float[Tensor, "B D H W"], noisy: Bool[Tensor, "B"]) -> Float[Tensor, "B D H W"]:
    """Some rows with Gaussian noise all over, cut to each channel's own least and greatest value; the others as they
    are."""
    low, high, span = limits(inputs)
    found = (inputs + DEVIATION * span * torch.randn_like(inputs)).clamp(min=low, max=high)
    return found.where(noisy[:, None, None, None], inputs)


class Specific(View):
    """Both networks see each row changed by the sizes of its boxes, until the end of IKD's part of the training."""

    name = "specific"
    needs = frozenset({"labels"})

    def __init__(self, noise: float, crop: float, until: float) -> None:
        super().__init__()
        self.noise, self.crop, self.until = noise, crop, until
        self.last: Batch | None = None

    def bind(self, nets: Networks) -> None:
        need_feature_maps(nets, "inconsistent_kd")
        need_shared_inputs(nets)
        self.networks: tuple[TaskNetworks, torch.nn.Module] = (nets.task.networks, nets.student)

    def tick(self, progress: Progress) -> None:
        self.on, self.last = progress.done < self.until, None

    def forward(self, batch: Batch) -> Look:
        return clean_look(self.changed(batch))

    def changed(self, batch: Batch) -> Batch:
        """Changed once a step, for all who ask."""
        if not self.on:
            return batch
        if self.last is None:
            self.last = self.changed_now(batch)
        return self.last

    def changed_now(self, batch: Batch) -> Batch:
        kind, student = self.networks
        regions = need_regions(kind.regions(batch), "inconsistent_kd")
        small = all_small(regions)
        windows = drawn_windows(len(small), self.crop, regions.boxes)
        cropped = ~small & leaves_something(regions, windows)
        whole = windows.new_tensor([0.0, 0.0, 1.0, 1.0])
        found = kind.cropped(batch, windows.where(cropped[:, None], whole))
        if found is None:
            raise ValueError("inconsistent_kd crops rows, and those of this task cannot be; use mgd or fgd")
        argument, inputs = kind.continuous_input(student, found)
        noisy = small & (torch.rand(len(small), device=small.device) < self.noise)
        return found | {argument: with_noise(inputs, noisy)}


def need_shared_inputs(nets: Networks) -> None:
    if not nets.shares_inputs:
        raise ValueError(
            "inconsistent_kd shows both networks one changed input, and the teacher reads others than the student; "
            "give the student the teacher's preprocessing, or use fgd or mgd"
        )


# adversarial features -------------------------------------------------------------------------------------------


class Adversarial(View):
    """Both networks see inputs that the teacher's classes are lost in, until the end of IKD's part of the training."""

    name = "adversarial"
    needs = frozenset({"labels", "teacher"})

    def __init__(self, of: Callable[[Batch], Batch], attack: Attack, until: float) -> None:
        super().__init__()
        self.of, self.attack, self.until = of, attack, until

    def bind(self, nets: Networks) -> None:
        teacher, _ = nets.need_teacher("inconsistent_kd")
        need_feature_maps(nets, "inconsistent_kd")
        need_shared_inputs(nets)
        self.networks: tuple[TaskNetworks, torch.nn.Module] = (nets.task.networks, teacher)

    def tick(self, progress: Progress) -> None:
        self.on = progress.done < self.until

    def forward(self, batch: Batch) -> Look:
        shown = self.of(batch)
        return clean_look(self.worse(shown) if self.on else shown)

    def worse(self, batch: Batch) -> Batch:
        kind, teacher = self.networks
        argument, inputs = kind.continuous_input(teacher, batch)
        with evaluating(teacher):
            return batch | {argument: attacked(inputs, lambda moved: self.loss(batch | {argument: moved}), self.attack)}

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The teacher's classification loss."""
        kind, teacher = self.networks
        seen = kind.observe(teacher, batch)
        regions = need_regions(kind.regions(batch), "inconsistent_kd")
        return class_loss(logits_of(seen), seen.extras["matched"], regions.classes, seen.background)


class AdversarialFeatures(Term):
    """Squared error of the feature maps in the view `adversarial`, summed over a map and over the levels."""

    needs = frozenset({"teacher", "features"})
    views = ("adversarial",)

    def bind(self, nets: Networks) -> None:
        self.alignment = Alignment(*need_feature_maps(nets, "inconsistent_kd"))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return summed([squared_sum(*maps) for maps in self.alignment(step.pairs["adversarial"])])


# the method -----------------------------------------------------------------------------------------------------


def base_term(base: Base, settings: dict[str, Any], view: str) -> Weighted:
    """The base's own term, in a view. Raises ValueError for what it does not take."""
    builder = fgd if base == "fgd" else mgd
    known = {name: one.default for name, one in inspect.signature(builder).parameters.items()}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ValueError(f"settings: {base} takes {', '.join(known)}, got {', '.join(unknown)}")
    given = known | settings
    if base == "mgd":
        need_weight(alpha=given["alpha"])
        return Weighted(Generated(given["ratio"], view, "inconsistent_kd"), given["alpha"])
    temperature = given.pop("temperature")
    return Weighted(FocalAndGlobal(Weights(**given), temperature, view, "inconsistent_kd"))


def inconsistent_kd(
    base: Base = "fgd",
    settings: dict[str, float] | None = None,
    adversarial: TermWeight = 1e-5,
    specific: bool = True,
    noise: float = 0.3,
    crop: float = 0.8,
    reach: float = 8 / 255,
    until: float = 2 / 3,
) -> Method:
    """The method `base`, on rows that are changed by the sizes of their boxes, + adversarial * squared error of feature
    maps on inputs that are moved by `reach` of their range against the teacher.

    `settings`: arguments of the base. `specific`: whether rows are changed; `noise`: the probability of noise where all
    boxes are small; `crop`: the least share of a side that others are cropped to. `until`: the share of the training
    after which both are off. Without either it is the base.
    """
    need_one_of(("fgd", "mgd"), base=base)
    need_weight(adversarial=adversarial)
    need_share(noise=noise, crop=crop, reach=reach, until=until)
    rows = Specific(noise, crop, until)
    own = "specific" if specific else "clean"
    views: list[View] = [rows] if specific else []
    terms = {"task": Weighted(TaskLoss(own)), "features": base_term(base, settings or {}, own)}
    if adversarial:
        views.append(Adversarial(rows.changed if specific else as_it_is, Attack(reach=reach, step=reach / 4), until))
        terms["adversarial"] = Weighted(AdversarialFeatures(), lambda now: adversarial if now.done < until else 0.0)
    return Method(*views, **terms)


def as_it_is(batch: Batch) -> Batch:
    return batch
