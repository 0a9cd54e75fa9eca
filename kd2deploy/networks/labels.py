"""What a network's configuration says that it answers."""

from collections.abc import Mapping, Sequence
from typing import Any

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
"""What transformers calls classes that exclude each other, labels that do not, and a number, in a configuration."""


def fields_of(labels: Sequence[str], problem_type: str) -> dict[str, Any]:
    """The fields that say what a classifier answers; a number where there are no labels."""
    if not labels:
        return {"id2label": {0: "value"}, "label2id": {"value": 0}, "problem_type": REGRESSION}
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
        "problem_type": problem_type,
    }


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The labels in a configuration's own order, in transformers' words or in timm's; empty where it names none."""
    named = config.get("id2label") or {}
    others = config.get("label_names") or []
    return [str(named[key]) for key in sorted(named, key=int)] or list(map(str, others))


def answers_in(config: Any, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `fields_of` for a network with a new head, also as timm names them where its configuration does."""
    named = answers.get("id2label")
    again = {"label_names": list(named.values())} if named and hasattr(config, "label_names") else {}
    return {**answers, **again}


def score_names(config: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """The two classes that a network of one output answers, by its configuration, in the order of its two logits.

    Its one score is how likely the second class is; the first, where the score is named as that. Empty for a network
    that is none of these, a regression's among them, and for a task of other than two classes.
    """
    names = labels_of(config)
    alone = len(names) == 1 or (not names and config.get("num_labels") == 1)
    if not alone or len(labels) != 2 or config.get("problem_type") == REGRESSION:
        return []
    return list(labels)
