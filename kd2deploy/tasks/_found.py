"""A detector's answer to one picture, read: the likeliest objects with their class, score and box.

As transformers' own post-processing does it: a query of a network with a class of no object finds one object, its
likeliest class; a query of a network whose classes do not exclude each other may find several.
"""

from dataclasses import dataclass

import numpy as np

from kd2deploy.core import Array


@dataclass(frozen=True)
class Found:
    """The likeliest first."""

    kind: Array
    """[n] int64."""
    score: Array
    """[n] float64, 0..1."""
    boxes: Array
    """[n, 4]: centre x and y, width and height as shares of the picture."""

    def first(self, most: int) -> "Found":
        return Found(self.kind[:most], self.score[:most], self.boxes[:most])


def found_in(logits: Array, boxes: Array, background: bool, most: int) -> Found:
    """At most so many objects by logits [Q, C], with or without a last class of no object, and boxes [Q, 4]."""
    wide = logits.astype(np.float64)
    if background:
        likely = np.exp(wide - wide.max(-1, keepdims=True))
        likely = (likely / likely.sum(-1, keepdims=True))[:, :-1]
        queries, kinds, scores = np.arange(len(likely)), likely.argmax(-1), likely.max(-1)
    else:
        likely = 1 / (1 + np.exp(-wide.clip(-60, 60)))
        queries, kinds = (one.reshape(-1) for one in np.indices(likely.shape))
        scores = likely.reshape(-1)
    order = np.argsort(-scores, kind="stable")[:most]
    return Found(kinds[order], scores[order], boxes[queries[order]])
