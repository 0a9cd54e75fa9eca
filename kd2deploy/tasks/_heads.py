"""A classifier's head: found, watched, widened, and held against the labels of the task."""

import typing
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kd2deploy.core.figures import count_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.labels import MULTI, SINGLE, labels_of, score_names

WAYS = {
    SINGLE: "where one class excludes the others (softmax)",
    MULTI: "where each label is answered by itself (sigmoid)",
    "regression": "where a number is answered",
}
REMEDIES = {
    SINGLE: "for texts use `task: text_multilabel`",
    MULTI: "use `task: text_classification`, or give a teacher trained on sets of labels",
}


def head_of(net: nn.Module, outputs: int) -> nn.Linear:
    """The last linear layer that is `outputs` wide: the one that makes the logits."""
    found = [layer for layer in net.modules() if isinstance(layer, nn.Linear) and layer.out_features == outputs]
    if not found:
        raise ModelError(f"{type(net).__name__} has no linear layer with {count_of(outputs, 'output')} to be its head")
    return found[-1]


def check_labels(config: Any, labels: Sequence[str], folder: object, problem_type: str) -> None:
    """Raises ModelError where a network answers another number of classes than the task has, or in another way: each
    label by itself where the task's exclude each other, or the other way round."""
    said, wanted = config.problem_type, len(labels) or 1
    if MULTI in (said, problem_type) and said not in (None, problem_type) and labels:
        raise ModelError(
            f"{folder} is trained for {said} (problem_type in config.json), {WAYS[said]}, and the task is one of "
            f"{problem_type}; {REMEDIES[problem_type]}"
        )
    if config.num_labels != wanted:
        answered = count_of(config.num_labels, "class", "classes")
        raise ModelError(
            f"{folder} answers {answered} ({', '.join(map(str, config.id2label.values()))}), and the task has "
            f"{wanted} ({', '.join(labels) or 'regression'}); name the labels in the network's order"
        )


def with_two_outputs(net: nn.Module, labels: Sequence[str]) -> nn.Module:
    """The same network, where it has one output and the task two classes, with the two logits (0, z): their softmax is
    the sigmoid of z."""
    config: Any = net.config
    if not score_names(config.to_dict(), labels):
        return net
    head = head_of(net, 1)
    first = labels_of(config.to_dict()) == [labels[0]]
    wide = nn.Linear(head.in_features, 2, bias=head.bias is not None).to(head.weight.device, head.weight.dtype)
    with torch.no_grad():
        for old, new in ((head.weight, wide.weight), (head.bias, wide.bias)):
            if old is not None:
                new.zero_()
                new[0 if first else 1] = old[0]
    place = next(name for name, module in net.named_modules() if module is head)
    net.set_submodule(place, wide)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: place for place, label in enumerate(labels)}
    config.problem_type = SINGLE
    if hasattr(net, "num_labels"):  # what transformers' own classifiers count their loss by
        typing.cast(Any, net).num_labels = 2
    return net


def observed_embedding(head: nn.Module, seen: list[Tensor]) -> "torch.utils.hooks.RemovableHandle":
    """Keeps what the head reads in `seen` until the handle is removed."""

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].flatten(1))

    return head.register_forward_pre_hook(keep)
