"""The classes of the rows that are trained on, for what draws rows by them."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from kd2deploy.core import Features, label_of

NO_CLASS = -1


def classes_of(features: Sequence[Features], rows: int | None = None) -> Int64[Tensor, "N"]:
    """Each row's class; negative for one that is not labelled, and for all where a row has no single class.

    With `rows`, the features are but the first of so many, and no others have a class.
    """
    labels = [label_of(features, place) for place in range(len(features))]
    single = isinstance(labels[0], int | np.integer)
    known = torch.tensor([int(label) if single else NO_CLASS for label in labels], dtype=torch.int64)
    more = 0 if rows is None else rows - len(known)
    return torch.cat([known, torch.full((more,), NO_CLASS)])
