"""How pictures become a network's inputs, as the processor in its folder says.

Features hold the pixels as bytes with the mean and deviation that they are normalised by when collated, so that a data
set takes a quarter of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import TEACHER_PREFIX, Array, Features, Port, Prepare, Reader, Row
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.image_processor import FILE, Processor, processor, read_alike, save_processor
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.tasks._augment import Augment
from kd2deploy.tasks._floors import coarse, floors
from kd2deploy.tasks._images import filed, pixels, uncropped, unreadable
from kd2deploy.tasks._pictures import Pictures
from kd2deploy.tasks._served_pictures import write_processor
from kd2deploy.tasks._snippets import picture_code
from kd2deploy.tasks._targets import Target

if TYPE_CHECKING:
    from kd2deploy.core import Batch

CHUNK = 256
"""Pictures that are held in full while a linear model reads them."""

SNIPPET = """\
{runtime}
{prepare}
labels = {labels!r}


def answer(path):
    return labels[run({{"pixel_values": prepared(path)}})["logits"].argmax()]


print(answer("picture.png"))
"""


class PixelReader(Reader):
    """Pictures of `channels` x `height` x `width`, whatever is learnt of them."""

    named: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, channels: int, height: int, width: int) -> None:
        self.channels, self.height, self.width = channels, height, width

    @property
    def ports(self) -> tuple[Port, ...]:
        return (Port("pixel_values", "float32", ("batch_size", self.channels, self.height, self.width)),)

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("image",)

    @classmethod
    def flaw(cls, value: Any) -> str:
        return unreadable(value)

    # rows ---------------------------------------------------------------------------------------------------

    def row(self, given: str, other: str | None = None) -> Row:
        return {"image": given, "label": None}

    def length(self, features: Features) -> int:
        return 1

    # batches ------------------------------------------------------------------------------------------------

    def collate(self, features: Sequence[Features]) -> Batch:
        """The pictures and the rows' numbers; what is learnt of them is added by who knows it."""
        import torch

        batch: Batch = {"pixel_values": torch.from_numpy(normalised(features, ""))}
        if TEACHER_PREFIX + "pixel_values" in features[0]:
            batch[TEACHER_PREFIX + "pixel_values"] = torch.from_numpy(normalised(features, TEACHER_PREFIX))
        if "index" in features[0]:
            batch["index"] = torch.tensor([row["index"] for row in features], dtype=torch.int64)
        return batch

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        return {"pixel_values": normalised(features, "")}

    # requests -----------------------------------------------------------------------------------------------

    def preparing(self, folder: Path) -> Prepare:
        reader, channels = read_by(folder)
        mean, std = reader.normalisation(channels)
        return lambda rows: self.feed(
            [{"pixel_values": pixels(row, reader, channels), "mean": mean, "std": std} for row in rows]
        )

    def sent(self, row: Row, place: Path) -> Row:
        return {"image": filed(row.get("image"), place), "label": None}

    # what lies in a network's folder ------------------------------------------------------------------------

    def reads_alike(self, one: Path, other: Path) -> bool:
        return read_alike(one, other)

    def write_inputs(self, folder: Path) -> None:
        if not (inputs_of(folder) / FILE).is_file():
            save_processor(folder, self.channels, self.height, self.width)


class ImageReader(PixelReader):
    """Pictures of `channels` x `height` x `width`, and their target."""

    augments: ClassVar[type] = Augment

    def __init__(self, target: Target, channels: int = 3, height: int = 224, width: int = 224) -> None:
        if min(channels, height, width) < 1:
            raise ValueError(f"channels, height and width must be positive, got {channels}, {height}, {width}")
        super().__init__(channels, height, width)
        self.target = target

    def spec(self) -> dict[str, Any]:
        """The arguments of a task that are its reader's."""
        return {"channels": self.channels, "height": self.height, "width": self.width}

    # rows ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        return list(self.drawing(rows, folder))

    def drawing(self, rows: Sequence[Row], folder: Path) -> Pictures:
        return Pictures(rows, self.target.of(rows), *read_by(folder))

    def extremes(self) -> list[Row]:
        """Black and white."""
        shape = (self.height, self.width, self.channels)
        return [{"image": np.full(shape, value, dtype=np.uint8), "label": None} for value in (0, 255)]

    def rows_of(self, made: Array, folder: Path) -> list[Row]:
        reader, _ = read_by(folder)
        found = np.rint(made.clip(0, 1) * 255).astype(np.uint8)
        upright = (found[:, ::-1] if reader.flip else found).transpose(0, 2, 3, 1)
        return [{"image": uncropped(one, reader), "label": None} for one in upright]

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> dict[str, Mapping[str, Array]]:
        """The commonest answer, and a linear model of the pixels."""

        def seen(rows: Sequence[Row]) -> Array:
            chunks = (self.encode(rows[at : at + CHUNK], folder) for at in range(0, len(rows), CHUNK))
            return np.concatenate([coarse(np.stack([one["pixel_values"] for one in chunk])) for chunk in chunks])

        return floors(
            self.target, "a linear model of the pixels", lambda rows: (seen(rows), seen(asked)), train, len(asked)
        )

    # batches ------------------------------------------------------------------------------------------------

    def collate(self, features: Sequence[Features]) -> Batch:
        import torch

        batch = super().collate(features)
        if "labels" in features[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in features], dtype=torch.int64)
        return batch

    # what lies in a network's folder ------------------------------------------------------------------------

    def write_as_judged(self, folder: Path) -> None:
        write_processor(folder, self.channels)

    def snippet(self, opening: str, folder: Path, labels: Sequence[str]) -> str:
        """Code that goes on from `opening`, which defines `run`, and answers one of `labels`."""
        return SNIPPET.format(
            runtime=opening,
            prepare=picture_code(processor(folder.resolve()), self.channels),
            labels=list(labels),
        )


def read_by(folder: Path) -> tuple[Processor, int]:
    """The processor in `folder`, and the channels that the network there reads. Raises ModelError."""
    return processor(folder.resolve()), int(read_config(folder).get("num_channels", 3))


def ports_of(folder: Path) -> dict[str, Any]:
    """The task's arguments that depend on the network: channels, height and width of what the one in `folder` reads."""
    reader, channels = read_by(folder)
    height, width = reader.out
    return {"channels": channels, "height": height, "width": width}


def normalised(features: Sequence[Features], prefix: str) -> Array:
    """Bytes to float32 [B, C, H, W]: (pixel - mean) / std, both in the pixels' own unit."""
    stacked = np.stack([row[prefix + "pixel_values"] for row in features]).astype(np.float32)
    return np.asarray((stacked - features[0][prefix + "mean"]) / features[0][prefix + "std"], dtype=np.float32)
