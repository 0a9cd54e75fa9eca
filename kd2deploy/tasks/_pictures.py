"""Rows of pictures, read when they are asked for: as they stand, or augmented."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from kd2deploy.core import Array, Draw, Drawing, Features, Row
from kd2deploy.networks.image_processor import Processor
from kd2deploy.tasks._augment import Augment
from kd2deploy.tasks._images import Change, pixels


@final
class Pictures(Drawing):
    """Each as `reader` prepares it for a network of so many channels."""

    def __init__(self, rows: Sequence[Row], labels: Array, reader: Processor, channels: int) -> None:
        self.rows, self.labels, self.reader, self.channels = rows, labels, reader, channels
        self.mean, self.std = reader.normalisation(channels)

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, place: int) -> Features:
        return self.features(place, None)

    def drawn(self, place: int, augmentation: Augment, draw: Draw) -> Features:
        def change(picture: Any) -> Any:
            found = augmentation.applied(picture, np.random.default_rng(draw))
            # a processor that stretches nothing asks for pictures of the size that they have
            resizes = self.reader.resize is not None or self.reader.shortest_edge is not None
            return found if resizes else found.resize(picture.size, self.reader.resample)

        return self.features(place, change)

    def label(self, place: int) -> Any:
        return self.labels[place]

    def features(self, place: int, change: Change | None) -> Features:
        row = self.rows[place]
        return {
            "pixel_values": pixels(row, self.reader, self.channels, change),
            "mean": self.mean,
            "std": self.std,
            "labels": self.labels[place],
            "index": int(row.get("index", place)),
        }
