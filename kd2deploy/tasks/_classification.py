"""What the classification tasks share: loss, metrics, agreement and answers, of logits [N, C] or values [N, 1]."""

import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from kd2deploy.core import Row, Scores
from kd2deploy.errors import DataError, ModelError

Array = np.ndarray[Any, Any]
UNLABELLED = -100

CLASS_METRICS = ("accuracy", "macro_f1", "matthews")
VALUE_METRICS = ("spearman", "pearson")
SHARES = frozenset({"accuracy", "macro_f1"})
"""Metrics that are shares of one; the others are correlations, -1..1."""
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
"""What transformers calls classes that exclude each other, and labels that do not, in a configuration."""
WAYS = {
    SINGLE: "where one class excludes the others (softmax)",
    MULTI: "where each label is answered by itself (sigmoid)",
    "regression": "where a number is answered",
}
REMEDIES = {
    SINGLE: "for texts use `task: text_multilabel`",
    MULTI: "use `task: text_classification`, or give a teacher trained on sets of labels",
}


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


def head_of(net: nn.Module, outputs: int) -> nn.Linear:
    """The last linear layer that is `outputs` wide: the one that makes the logits."""
    found = [layer for layer in net.modules() if isinstance(layer, nn.Linear) and layer.out_features == outputs]
    if not found:
        raise ModelError(f"{type(net).__name__} has no linear layer with {outputs} outputs to be its head")
    return found[-1]


def label_index(row: Row, labels: Sequence[str]) -> int:
    """The row's class: an index, or a name among `labels`; UNLABELLED for None. Raises DataError."""
    label = row.get("label")
    if label is None:
        return UNLABELLED
    if isinstance(label, str):
        if label not in labels:
            raise DataError(f"row {row.get('index', '?')}: label {label!r} is not one of {', '.join(labels)}")
        return list(labels).index(label)
    if not 0 <= int(label) < len(labels):
        raise DataError(f"row {row.get('index', '?')}: label {label} is outside 0..{len(labels) - 1}")
    return int(label)


def target_value(row: Row) -> float:
    """The row's value; nan for None. Raises DataError."""
    label = row.get("label")
    try:
        return float("nan") if label is None else float(label)
    except (TypeError, ValueError):
        raise DataError(f"row {row.get('index', '?')}: label {label!r} is not a number, as regression needs") from None


def confusion(truth: Array, predictions: Array) -> Array:
    """[C, C] counts, rows by truth; C is what occurs.

    Counted here and not by scikit-learn, whose checks take forty times as long: an interval takes 2,000 of them. A test
    holds the two metrics below to scikit-learn's.
    """
    classes = int(max(truth.max(initial=0), predictions.max(initial=0))) + 1
    return np.bincount(truth * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def accuracy(truth: Array, predictions: Array) -> float:
    """Share of right answers, 0..1."""
    return float(np.mean(truth == predictions))


def macro_f1(truth: Array, predictions: Array) -> float:
    """Mean F1 over the classes that occur in truth or predictions, 0..1."""
    counts = confusion(truth, predictions)
    support = counts.sum(1) + counts.sum(0)
    return float(np.mean(2 * np.diag(counts)[support > 0] / support[support > 0]))


def matthews(truth: Array, predictions: Array) -> float:
    """Matthews correlation (for several classes Gorodkin's R_K), -1..1; 0 where one side is constant."""
    counts = confusion(truth, predictions).astype(np.float64)
    total, right = counts.sum(), np.trace(counts)
    of_truth, of_predictions = counts.sum(1), counts.sum(0)
    spread = (total**2 - of_predictions @ of_predictions) * (total**2 - of_truth @ of_truth)
    return float((right * total - of_truth @ of_predictions) / np.sqrt(spread)) if spread > 0 else 0.0


def pearson(truth: Array, predictions: Array) -> float:
    """Linear correlation, -1..1; 0 where one side is constant."""
    from scipy.stats import pearsonr

    return 0.0 if constant(truth) or constant(predictions) else float(pearsonr(truth, predictions).statistic)


def spearman(truth: Array, predictions: Array) -> float:
    """Rank correlation, ties by their mean rank, -1..1; 0 where one side is constant."""
    from scipy.stats import spearmanr

    return 0.0 if constant(truth) or constant(predictions) else float(spearmanr(truth, predictions).statistic)


def constant(values: Array) -> bool:
    """Whether there is nothing to correlate with."""
    return len(values) == 0 or bool((values == values[0]).all())


METRICS = {"accuracy": accuracy, "macro_f1": macro_f1, "matthews": matthews, "pearson": pearson, "spearman": spearman}


def resolve_metric(metric: str | None, classes: int) -> str:
    """The headline metric's name; by default accuracy, and spearman for regression. Raises ValueError."""
    allowed = CLASS_METRICS if classes else VALUE_METRICS
    if metric is None:
        return allowed[0]
    if metric not in allowed:
        kind = "classification" if classes else "regression"
        raise ValueError(f"metric {metric!r} does not fit {kind}; choose one of {', '.join(allowed)}")
    return metric


def score_classes(logits: Array, truth: Array, labels: Sequence[str]) -> Scores:
    """Scores of logits [N, C] against class indices [N]. Raises DataError for a row without a label."""
    check_outputs(logits, truth)
    if (truth < 0).any():
        raise DataError(f"row {int(np.argmax(truth < 0))} has no label, and only labelled rows can be scored")
    predictions = logits.argmax(-1)
    correct = (truth == predictions).astype(np.int64)
    return Scores(
        truth=truth,
        predictions=predictions,
        correct=correct,
        metrics={name: METRICS[name](truth, predictions) for name in CLASS_METRICS},
        hits={name: correct[truth == c] for c, name in enumerate(labels) if (truth == c).any()},
    )


def score_values(values: Array, truth: Array) -> Scores:
    """Scores of values [N, 1] against numbers [N]; `correct` is the negative squared error."""
    check_outputs(values, truth)
    if np.isnan(truth).any():
        raise DataError(f"row {int(np.argmax(np.isnan(truth)))} has no label, and only labelled rows can be scored")
    predictions = values[:, 0].astype(np.float64)
    error = (truth - predictions) ** 2
    metrics = {name: METRICS[name](truth, predictions) for name in VALUE_METRICS}
    return Scores(truth, predictions, -error, {**metrics, "rmse": float(np.sqrt(error.mean()))})


def check_outputs(logits: Array, truth: Array) -> None:
    if len(logits) != len(truth) or not len(truth):
        raise DataError(f"{len(logits)} outputs cannot be scored against {len(truth)} rows")
    if not np.isfinite(logits).all():
        row = int(np.argmin(np.isfinite(logits).all(-1)))
        raise DataError(f"the output for row {row} is not finite; the network or its conversion is broken")


def agreement_of(one: Array, other: Array) -> dict[str, float]:
    """`top1`: share of equal answers; values are equal within 1 % of `other`'s standard deviation.
    `cosine`: mean over rows of the logits' cosine; for values the cosine of the two whole vectors."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    if one.shape != other.shape:
        raise DataError(f"outputs of shape {one.shape} and {other.shape} cannot be compared")
    if one.shape[-1] == 1:
        same = np.abs(one - other) <= 0.01 * other.std()
        one, other = one.T, other.T
    else:
        same = one.argmax(-1) == other.argmax(-1)
    return {"top1": float(same.mean()), "cosine": float(cosine_of(one, other).mean())}


def cosine_of(one: Array, other: Array) -> Array:
    """Cosine over the last axis, -1..1, in float64."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    cosine: Array = (one * other).sum(-1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return cosine


def answers_of(logits: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Label and probability per row; for regression the value."""
    if not labels:
        return [{"value": float(value)} for value in logits[:, 0]]
    scores = torch.from_numpy(np.ascontiguousarray(logits)).double().softmax(-1)
    best = scores.max(-1)
    return [
        {"label": labels[int(place)], "probability": float(probability)}
        for place, probability in zip(best.indices, best.values, strict=True)
    ]


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
        raise ModelError(
            f"{folder} answers {config.num_labels} classes ({', '.join(map(str, config.id2label.values()))}), and the "
            f"task has {wanted} ({', '.join(labels) or 'regression'}); name the labels in the network's order"
        )


def score_names(config: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """The two classes that a network of one output answers, by its configuration, in the order of its two logits.

    Its one score is how likely the second class is; the first, where the score is named as that. Empty for a network
    that is none of these, a regression's among them, and for a task of other than two classes.
    """
    names = labels_of(config)
    alone = len(names) == 1 or (not names and config.get("num_labels") == 1)
    if not alone or len(labels) != 2 or config.get("problem_type") == "regression":
        return []
    return list(labels)


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


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The labels in a configuration's own order; empty where it names none."""
    named = config.get("id2label") or {}
    return [str(named[key]) for key in sorted(named, key=int)]
