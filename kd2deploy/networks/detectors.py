"""Detectors of transformers that are understood: how many queries they answer, and by which scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kd2deploy.errors import ModelError


@dataclass(frozen=True)
class Family:
    """What the networks of one `model_type` have in common."""

    processor: str
    """The image processor that clients ask what their answers mean."""
    queries: str = "num_queries"
    """The configuration's field that says how many there are."""
    background: bool = False
    """Whether the last score is that of no object, so that classes exclude each other."""
    matcher: str = "rt_detr"
    """The module of `transformers.loss` whose matcher its loss uses."""


FAMILIES: Mapping[str, Family] = {
    "yolos": Family("YolosImageProcessor", "num_detection_tokens", background=True, matcher="for_object_detection"),
    "detr": Family("DetrImageProcessor", background=True, matcher="for_object_detection"),
    "conditional_detr": Family("ConditionalDetrImageProcessor", matcher="deformable_detr"),
    "deformable_detr": Family("DeformableDetrImageProcessor", matcher="deformable_detr"),
    "rt_detr": Family("RTDetrImageProcessor"),
    "rt_detr_v2": Family("RTDetrImageProcessor"),
    "d_fine": Family("RTDetrImageProcessor"),
}
"""By the name that a folder's configuration has."""


def family_of(config: Mapping[str, Any]) -> Family:
    """Raises ModelError for a network that is none of them."""
    named = str(config.get("model_type"))
    if named not in FAMILIES:
        raise ModelError(
            f"a {named} is none of the detectors that are supported: {', '.join(FAMILIES)}; use one of them"
        )
    if config.get("use_focal_loss") is False:
        raise ModelError(f"this {named} was trained without focal loss, and its scores are then not read; use another")
    return FAMILIES[named]


def queries_of(config: Mapping[str, Any]) -> int:
    """How many objects a network finds in a picture at most. Raises ModelError."""
    family = family_of(config)
    two_stage = config.get("two_stage") and config.get("two_stage_num_proposals")
    found = two_stage or config.get(family.queries, 100 if family.background else 300)
    return int(found)
