"""What a detector's own loss matches each of its queries to, by the matcher that transformers has for its family."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kd2deploy.networks.detectors import FAMILIES


@torch.no_grad()
def matched(config: Any, logits: Tensor, boxes: Tensor, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """[B, Q] int64: the place among a row's targets that the network's own loss matches each query to, -1 for none.

    `targets` are transformers' own: `class_labels` [n] and `boxes` [n, 4] of each row.
    """
    found = torch.full(logits.shape[:2], -1, dtype=torch.int64, device=logits.device)
    if not any(len(one["class_labels"]) for one in targets):
        return found
    pairs = matcher_of(config)({"logits": logits.float(), "pred_boxes": boxes.float()}, list(targets))
    for row, (queries, places) in enumerate(pairs):
        found[row, queries] = places.to(found)
    return found


def matcher_of(config: Any) -> Any:
    from transformers.loss.loss_deformable_detr import DeformableDetrHungarianMatcher
    from transformers.loss.loss_for_object_detection import HungarianMatcher
    from transformers.loss.loss_rt_detr import RTDetrHungarianMatcher

    of = FAMILIES[config.model_type].matcher
    if of == "rt_detr":
        return RTDetrHungarianMatcher(config)  # type: ignore[no-untyped-call]
    kind = HungarianMatcher if of == "for_object_detection" else DeformableDetrHungarianMatcher
    return kind(class_cost=config.class_cost, bbox_cost=config.bbox_cost, giou_cost=config.giou_cost)
