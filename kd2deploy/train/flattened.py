"""Whether a temperature leaves of the teacher's answers anything to learn."""

import numpy as np

from kd2deploy.core import Array, Method
from kd2deploy.core.figures import figure

ASKED = 2000
"""Answers that are looked at."""
LEFT = 0.1
"""A temperature that leaves less than this share of what the likeliest class has above an even share flattens. Ours."""


def doubts(method: Method, logits: Array | None) -> list[str]:
    """Of each term that softens answers to nearly nothing, a sentence; `logits` [N, C] are the teacher's answers."""
    if logits is None or logits.ndim != 2 or logits.shape[1] < 2:
        return []
    asked = np.asarray(logits[:: max(1, len(logits) // ASKED)], dtype=np.float64)
    return [
        doubt
        for name, weighted in method.weighted.items()
        if weighted.term.softens is not None and (doubt := flattened(name, asked, weighted.term.softens))
    ]


def flattened(name: str, logits: Array, temperature: float) -> str:
    even = 1 / logits.shape[1]
    as_given, softened = likeliest(logits, 1.0), likeliest(logits, temperature)
    if softened - even >= LEFT * (as_given - even):
        return ""
    left, even_share, undivided = (figure(share, "share") for share in (softened, even, as_given))
    return (
        f"the term {name!r} divides the teacher's logits by {temperature:g}, which leaves nearly nothing of its "
        f"answers: the likeliest class has {left} on average, where even shares are {even_share} and undivided logits "
        f"give {undivided}; take a lower temperature"
    )


def likeliest(logits: Array, temperature: float) -> float:
    """Mean probability of the likeliest class."""
    shifted = np.exp((logits - logits.max(-1, keepdims=True)) / temperature)
    return float((1 / shifted.sum(-1)).mean())
