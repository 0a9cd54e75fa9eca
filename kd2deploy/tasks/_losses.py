"""Losses of classes, labels and values, over the rows that are labelled; the sign of one that is not is UNLABELLED."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(logits: Float[Tensor, "B C"], labels: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats over the labelled rows (label >= 0); 0, still in the graph, when there are none."""
    labelled = labels >= 0
    each = F.cross_entropy(logits.float(), labels.clamp(min=0), reduction="none")
    return (each * labelled).sum() / labelled.sum().clamp(min=1)


def squared_error(values: Float[Tensor, "B 1"], targets: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean squared error over the labelled rows (a target that is a number); 0, in the graph, when there are none."""
    labelled = ~targets.isnan()
    each = (values.float().squeeze(-1) - targets.float().nan_to_num()) ** 2
    return (each * labelled).sum() / labelled.sum().clamp(min=1)


def yes_or_no(logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K 2"]:
    """Each label as two classes that do exclude each other: a softmax over (0, z) is the sigmoid of z.

    What compares softened classes then compares each label's yes and no, at any temperature.
    """
    return torch.stack([torch.zeros_like(logits), logits], dim=-1)


def binary_cross_entropy(logits: Float[Tensor, "B K"], labels: Int[Tensor, "B K"]) -> Float[Tensor, ""]:
    """Mean binary cross-entropy in nats over the labels of the labelled rows; 0, in the graph, where there are none."""
    labelled = labels >= 0
    truth = labels.clamp(min=0).float()
    each = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return (each * labelled).sum() / labelled.sum().clamp(min=1)
