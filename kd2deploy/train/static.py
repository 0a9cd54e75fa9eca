"""A student of static embeddings: the teacher's own word vectors in fewer dimensions, or random ones.

Source: the table's start is that of model2vec (Tulkens, van Dongen, "Model2Vec: Fast State-of-the-Art Static
Embeddings", 2024), by principal components.
Departs from it: the vectors are the teacher's input embeddings and not what it answers to each word alone; they are not
weighted by frequency, because the table is trained on; their scale (a mean length of 1) is ours.
"""

from pathlib import Path

import torch
from torch import Tensor

from kd2deploy.core import Task
from kd2deploy.core.own import STATIC
from kd2deploy.errors import ModelError
from kd2deploy.train.checkpoint import create, saved


def principal(table: Tensor, dim: int) -> tuple[Tensor, float]:
    """The rows [V, D] in their `dim` principal components, and the share of the variance that these hold, 0..1.

    Rows have a mean length of 1. Raises ValueError where there are fewer dimensions.
    """
    if dim > table.shape[1]:
        raise ValueError(f"dim must be at most the width of the teacher's word vectors, {table.shape[1]}, got {dim}")
    centred = table.double() - table.double().mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred)  # ascending
    reduced = centred @ directions[:, -dim:].flip(1)
    length = reduced.norm(dim=1).mean().clamp(min=1e-12)
    return (reduced / length).to(table.dtype), float(variances[-dim:].sum() / variances.sum().clamp(min=1e-12))


def static(origin: Path, out: Path, task: Task, *, dim: int, taught: bool, seed: int) -> tuple[float, list[str]]:
    """Writes the network with the tokenizer of `origin` to `out`: the share of its weights that are not random, notes.

    `taught` starts its table from the words of the network in `origin`. Raises ModelError for a task without words.
    """
    table = task.networks.token_table(task.networks.load(origin))
    if table is None:
        raise ModelError(f"static embeddings are vectors of words, and {task.name} reads none; take another student")
    create({"model_type": STATIC, "dim": dim, "vocab_size": len(table)}, out, task, seed, inputs_from=origin)
    if not taught:
        return 0.0, ["the student starts from random weights"]
    try:
        start, share = principal(table.detach(), dim)
    except ValueError as error:
        raise ModelError(f"static: {error}") from None
    net = task.networks.load(out)
    words = task.networks.token_table(net)
    assert words is not None
    with torch.no_grad():
        words.copy_(start)
    saved(net, out, inputs_from=None)
    told = f"the table of words starts from the teacher's, whose {dim} principal components hold {share:.0%} of it"
    return words.numel() / sum(weight.numel() for weight in net.parameters()), [told]
