"""Answers kept in less room: the likeliest classes alone, or half the digits; and what that changes.

Of `top` classes the logits are kept as they are. The others are kept as one number, the logarithm of the sum of their
exponentials, and each of them is given back its mean. So probabilities of the likeliest classes, and the sum of all
others', are those of the teacher at temperature 1; at a higher one they are not. After the top-K distillation of Tan et
al., "Multilingual Neural Machine Translation with Knowledge Distillation", 2019, arXiv:1902.10461.

Departs from it: there the other classes get nothing and the likeliest are scaled up; keeping the rest is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kd2deploy.core.figures import count_of, figure, percent
from kd2deploy.errors import TrainError

Array = np.ndarray[Any, Any]
LOGITS, PLACES, REST = "logits", "logits.places", "logits.rest"
"""Where the likeliest classes alone are kept: their logits and places, both [N, top]; of the others the logarithm of
the sum of their exponentials, [N]."""
TEMPERATURES = (1.0, 4.0)
"""At which the change is measured: as answers are, and as softened as is usual."""


@dataclass(frozen=True)
class Compact:
    """How answers are asked for and kept. As it stands: whole, as float32."""

    top: int | None = None
    """So many of the likeliest classes; None: all."""
    half: bool = False
    """As float16."""
    batch: int = 64
    """Rows that the teacher is asked about at once."""

    @property
    def is_whole(self) -> bool:
        return self.top is None and not self.half

    def kept(self, answers: Mapping[str, Array]) -> dict[str, Array]:
        """What is kept of a batch's answers. Raises TrainError for numbers that float16 cannot hold."""
        found = dict(answers)
        if self.top is not None:
            found |= likeliest(found[LOGITS], self.top)
        if self.half:
            found = {name: value if name in (PLACES, REST) else halved(name, value) for name, value in found.items()}
        return found

    def said(self, classes: int, of_bytes: float, changed: Mapping[str, float]) -> str:
        """What is kept of the teacher's answers, and what that changes, for a person."""
        how = [f"the {self.top} likeliest of {count_of(classes, 'class', 'classes')}"] if self.top is not None else []
        how += ["float16"] if self.half else []
        kept = f"the teacher's answers are kept as {' in '.join(how)}: {percent(of_bytes)} of the bytes"
        if not classes:
            return kept
        near, far = (figure(changed[f"{one:g}"], "number", suffix="nats") for one in TEMPERATURES)
        apart = f"{near} from the whole ones ({far} at temperature {TEMPERATURES[1]:g})"
        return f"{kept}, at a mean KL divergence of {apart}"


def likeliest(logits: Array, top: int) -> dict[str, Array]:
    """The `top` largest of logits [B, C], the largest first, with their places, and what the others add up to."""
    rows, classes = logits.shape
    order = np.argsort(-logits, axis=1, kind="stable")
    places, others = order[:, :top], np.take_along_axis(logits, order[:, top:], axis=1)
    rest = np.logaddexp.reduce(others.astype(np.float64), axis=1) if top < classes else np.full(rows, -np.inf)
    return {
        LOGITS: np.take_along_axis(logits, places, axis=1),
        PLACES: places.astype(np.min_scalar_type(classes - 1)),
        REST: rest.astype(np.float32),
    }


def whole(kept: Mapping[str, Array], classes: int) -> Array:
    """[B, C] float32 logits of what `likeliest` kept; each of the others has their mean."""
    values, places, rest = (np.asarray(kept[name]) for name in (LOGITS, PLACES, REST))
    others = np.asarray(rest, dtype=np.float64) - np.log(max(1, classes - values.shape[1]))
    found = np.repeat(others[:, None].astype(np.float32), classes, axis=1)
    np.put_along_axis(found, places.astype(np.int64), values.astype(np.float32), axis=1)
    return found


def restored(kept: Mapping[str, Array], classes: int) -> Array:
    """Logits [B, ..., C] as float32, as students read them."""
    return whole(kept, classes) if PLACES in kept else np.asarray(kept[LOGITS], dtype=np.float32)


def halved(name: str, value: Array) -> Array:
    with np.errstate(over="ignore"):
        found = value.astype(np.float16)
    if not np.isfinite(found[np.isfinite(value)]).all():
        raise TrainError(
            f"the teacher's {name} reach {np.abs(value).max():.3g}, which float16 cannot hold; set "
            "`teacher_cache: {precision: float32}`"
        )
    return found


def divergence(exact: Array, kept: Array, temperature: float) -> float:
    """Sum over rows of KL(exact || kept) in nats, of logits [B, ..., C] at a temperature."""
    one, other = (logarithms(logits.astype(np.float64) / temperature) for logits in (exact, kept))
    return max(0.0, float((np.exp(one) * (one - other)).sum()))


def logarithms(logits: Array) -> Array:
    return np.asarray(logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True))
