"""Rows of a group among all others: what supervised contrast is made of.

Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362, equation 2.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def contrast_of_groups(similarity: Float[Tensor, "A A"], groups: Int64[Tensor, "A"]) -> Float[Tensor, "A"]:
    """Of each row: the mean over the other rows of its group of -log softmax of its similarities to all other rows.

    In nats; 0, in the graph, for a row that is alone in its group. A row's similarity to itself is in no sum.
    """
    itself = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    log_p = similarity.masked_fill(itself, -torch.inf).log_softmax(-1)
    alike = (groups[:, None] == groups) & ~itself
    return -log_p.masked_fill(~alike, 0).sum(-1) / alike.sum(-1).clamp(min=1)


def groups_of(labels: Int64[Tensor, "B"], rows: int) -> Int64[Tensor, "N"]:
    """The label of each of `rows` rows, whose labels repeat; a row without one (below 0) is a group of its own."""
    repeated = labels.repeat(rows // len(labels))
    return torch.where(repeated >= 0, repeated, -1 - torch.arange(rows, device=labels.device))


def rows_with_others(groups: Int64[Tensor, "A"]) -> Int64[Tensor, ""]:
    """How many rows are not alone in their group."""
    return ((groups[:, None] == groups).sum(-1) > 1).sum()
