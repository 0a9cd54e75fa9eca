"""Rows in several turns at once: what methods that compare a picture with its own rotations look at.

Source: Ding, Yang, Hu, Krovi, Luo, "Multi-level Knowledge Distillation via Knowledge Alignment and Correlation",
arXiv:2012.00573, and its authors' code: 0, 90, 180 and 270 degrees in one batch, labels' loss on the first alone.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kd2deploy.core import Batch, Look, Networks, Step, View, clean_look, gathered_along
from kd2deploy.core.ranks import processes

TURNED = "turned"
UNLABELLED = -100


class Turned(View):
    """The rows as they stand and, behind them in the same batch, all of them in every turn that the task has.

    Only the rows as they stand keep their labels, so the task loss of this view is that of the clean one. A task whose
    rows cannot be turned, or not in both networks, shows them as they stand alone.
    """

    name = TURNED

    def bind(self, nets: Networks) -> None:
        self.turned = nets.task.networks.turned

    def forward(self, batch: Batch) -> Look:
        upright = clean_look(batch)
        turns = ([self.turned(own, quarters) for own in upright] for quarters in (1, 2, 3))
        looks = [upright, *(turn for turn in turns if all(own is not None for own in turn))]
        return Look(*(in_one_batch(own) for own in zip(*looks, strict=True)))


def in_one_batch(looks: Sequence[Batch]) -> Batch:
    """Batches one behind the other; the first alone keeps its labels."""
    first, *others = looks
    joined = {name: torch.cat([look[name] for look in looks]) for name in first}
    if "labels" in first:
        labels = first["labels"]
        without = torch.full_like(labels, math.nan if labels.is_floating_point() else UNLABELLED)
        joined["labels"] = torch.cat([labels, *(without for _ in others)])
    return joined


def upright_rows(step: Step) -> int:
    """How many of the view's rows stand as they are: the first ones."""
    return len(next(iter(step.batch.values())))


def all_upright_rows(step: Step) -> int:
    """Those of every process."""
    return upright_rows(step) * processes()


def of_all_processes(rows: Float[Tensor, "N D"], upright: int) -> Float[Tensor, "M D"]:
    """The rows of every process as they stand, the first `upright` of each, and behind them in turn after turn."""
    return gathered_along(rows.reshape(-1, upright, rows.shape[-1]), 1).flatten(0, 1)


def turned_embeddings(step: Step) -> tuple[Float[Tensor, "M S"], Float[Tensor, "M T"]]:
    """Student's and teacher's embeddings of all rows in all turns, those of every process."""
    student, teacher = (of_all_processes(seen, upright_rows(step)) for seen in step.embeddings(TURNED))
    return student, teacher


class RowNorm(nn.Module):
    """Batch normalization of vectors; a batch of one row, which has no deviation, is normalized as in eval mode."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        if len(rows) > 1:
            found: Tensor = self.norm(rows)
            return found
        norm = self.norm
        return F.batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)


def two_layers(read: int, between: int, made: int) -> nn.Sequential:
    """Linear, batch normalization, ReLU, linear."""
    return nn.Sequential(nn.Linear(read, between), RowNorm(between), nn.ReLU(), nn.Linear(between, made))
