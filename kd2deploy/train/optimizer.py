"""The optimizer of a training: student and parts, each with a learning rate of its own."""

from collections.abc import Collection
from typing import Any

import torch

from kd2deploy.train.distiller import Distiller
from kd2deploy.train.settings import Settings


def optimizer_of(distiller: Distiller, decayed: Collection[str], settings: Settings) -> Any:
    """Of all that is trained; `decayed` names the parameters that weight decay applies to.

    Fused on the processor too: a small student is mostly its embedding table, of which each update then takes an eighth
    of the time.
    """
    groups = parameter_groups(distiller, decayed, settings)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


def parameter_groups(distiller: Distiller, decayed: Collection[str], settings: Settings) -> list[dict[str, Any]]:
    """Student and parts, each with and without weight decay; empty groups are left out."""
    groups = []
    rates = {"student.": settings.learning_rate, "method.": settings.parts_learning_rate or settings.learning_rate}
    named = [(name, weight) for name, weight in distiller.named_parameters() if weight.requires_grad]
    for prefix, rate in rates.items():
        for decay in (True, False):
            weights = [w for name, w in named if name.startswith(prefix) and (name in decayed) == decay]
            if weights:
                groups.append({"params": weights, "lr": rate, "weight_decay": settings.weight_decay if decay else 0.0})
    return groups
