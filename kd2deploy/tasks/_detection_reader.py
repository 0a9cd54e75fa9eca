"""How pictures with objects become a detector's inputs: all stretched to the one size that its processor says.

Boxes are learnt and answered as shares of the picture's width and height, so stretching changes none. A network of one
size is what is deployed: what depends on a picture's shape (positions, anchors, padding) is then part of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import Array, Features, Row
from kd2deploy.core.port import NO_OBJECT
from kd2deploy.errors import ModelError
from kd2deploy.networks.image_processor import FILE, Processor, processor
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.tasks._image_reader import PixelReader, read_by
from kd2deploy.tasks._objects import flaw_of
from kd2deploy.tasks._scenes import SceneAugment, Scenes
from kd2deploy.tasks._served_pictures import write_detector_processor
from kd2deploy.tasks._snippets import picture_code

if TYPE_CHECKING:
    from kd2deploy.core import Batch

SNIPPET = """\
{runtime}
{prepare}
labels = {labels!r}


def answer(path, least=0.5, most=100):
    found = run({{"pixel_values": prepared(path)}})
    logits, boxes = found["logits"][0], found["pred_boxes"][0]
{scores}
    order = scores.argsort(kind="stable")[::-1][:most]
    with Image.open(path) as stored:
        width, height = ImageOps.exif_transpose(stored).size
    answers = []
    for score, place, name in zip(scores[order], queries[order], classes[order]):
        x, y, w, h = boxes[place]  # the box's centre and size, as shares of the picture's width and height
        if score >= least:
            corners = numpy.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]).clip(0, 1)
            answers.append((labels[name], float(score), (corners * [width, height, width, height]).tolist()))
    return answers  # (class, score, [left, top, right, bottom] in pixels of the upright picture), the likeliest first


print(answer("picture.png"))
"""
SOFTMAX = """\
    likely = numpy.exp(logits - logits.max(-1, keepdims=True))
    likely = (likely / likely.sum(-1, keepdims=True))[:, :-1]  # the last is that a query finds nothing
    queries, classes, scores = numpy.arange(len(likely)), likely.argmax(-1), likely.max(-1)
"""
SIGMOID = """\
    likely = 1 / (1 + numpy.exp(-logits))  # of each class by itself
    queries, classes = (one.ravel() for one in numpy.indices(likely.shape))
    scores = likely.ravel()
"""


class DetectionReader(PixelReader):
    """Pictures of 3 x `height` x `width`, and the objects in them."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {"label": ("label", "objects")}
    augments: ClassVar[type] = SceneAugment

    def __init__(self, labels: tuple[str, ...], height: int, width: int) -> None:
        if min(height, width) < 1:
            raise ValueError(f"height and width must be positive, got {height}, {width}")
        super().__init__(3, height, width)
        self.labels = labels

    @classmethod
    def target_flaw(cls, label: Any) -> str:
        return flaw_of(label)

    @classmethod
    def classes_in(cls, label: Any) -> tuple[str, ...]:
        return tuple(one["category"] for one in label or ())

    # rows ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        return list(self.drawing(rows, folder))

    def drawing(self, rows: Sequence[Row], folder: Path) -> Scenes:
        return Scenes(rows, self.labels, *read_by(folder))

    # batches ------------------------------------------------------------------------------------------------

    def collate(self, features: Sequence[Features]) -> Batch:
        import torch

        batch = super().collate(features)
        if "labels" in features[0]:
            batch["labels"] = torch.from_numpy(filled([row["labels"] for row in features]))
            batch["size"] = torch.from_numpy(np.stack([row["size"] for row in features]))
        return batch

    # what lies in a network's folder ------------------------------------------------------------------------

    def check_inputs(self, folder: Path) -> None:
        if (inputs_of(folder) / FILE).is_file():
            check_whole(processor(folder.resolve()))

    def write_as_judged(self, folder: Path) -> None:
        write_detector_processor(folder)

    def snippet(self, opening: str, folder: Path, background: bool) -> str:
        return SNIPPET.format(
            runtime=opening,
            prepare=picture_code(processor(folder.resolve()), 3),
            labels=list(self.labels),
            scores=SOFTMAX if background else SIGMOID,
        ).replace("\n\n    order", "\n    order")


def filled(objects: Sequence[Array]) -> Array:
    """[B, T, 5] float32 of objects [n, 5] of each row, T at least 1: filled up with `NO_OBJECT`."""
    found = np.zeros((len(objects), max(1, *(len(one) for one in objects)), 5), dtype=np.float32)
    found[..., 0] = NO_OBJECT
    for row, one in zip(found, objects, strict=True):
        row[: len(one)] = one
    return found


def check_whole(reader: Processor) -> None:
    """Raises ModelError where a processor cuts pictures, so that boxes would no longer fit, or does not resize them."""
    if reader.crop is not None or reader.resize is None:
        does = "cuts pictures" if reader.crop is not None else "does not bring pictures to one size"
        raise ModelError(
            f"{FILE} {does}, and a detector here reads whole pictures of one size: give it do_resize: true, size: "
            "{height, width} and no crop; boxes are shares of the picture's sides, so stretching does them no harm"
        )
