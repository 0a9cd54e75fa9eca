"""Losses of classes, labels and values, over the rows that are labelled; the sign of one that is not is UNLABELLED."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
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


def ctc(
    logits: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"], labels: Int[Tensor, "B U"], blank: int
) -> Float[Tensor, ""]:
    """Mean over the labelled rows of the negative log-likelihood in nats of the labels, divided by their number; 0, in
    the graph, where there are none. `mask` says which frames count.

    Labels are numbers from 0 on, with negative ones behind them; a row without any has no label. A row with fewer
    frames than its labels need counts as 0: nothing can be learnt of it.
    """
    symbols = (labels >= 0).sum(-1)
    scores = F.log_softmax(logits.float(), dim=-1).transpose(0, 1)
    with torch.backends.cudnn.flags(enabled=False):  # whose kernel takes no rows of zero frames
        each = F.ctc_loss(
            scores, labels.clamp(min=0), mask.sum(-1), symbols, blank=blank, reduction="none", zero_infinity=True
        )
    labelled = symbols > 0
    return (each / symbols.clamp(min=1) * labelled).sum() / labelled.sum().clamp(min=1)
