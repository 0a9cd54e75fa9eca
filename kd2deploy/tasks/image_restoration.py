"""Image restoration: pictures enlarged and freed of noise, by any such network of transformers and by one of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.core import Array, Port, Row, Task
from kd2deploy.core.examples import Shown
from kd2deploy.tasks._degrading import Degradation
from kd2deploy.tasks._patches import PictureRows
from kd2deploy.tasks._picture_metric import PictureMetric, pixels_of
from kd2deploy.tasks._restoration_reader import RestorationReader
from kd2deploy.tasks._strips import strip
from kd2deploy.tasks._tiles import tile_code

if TYPE_CHECKING:
    from kd2deploy.tasks._restoration_networks import RestorationNetworks

SNIPPET = """\
{opening}
import numpy
from PIL import Image, ImageOps

{tiles}

def restored(path, tile=256):
    with Image.open(path) as stored:
        picture = ImageOps.exif_transpose(stored)
    if picture.mode.startswith("I;16"):  # greys of 16 bits: the upper byte
        picture = Image.fromarray((numpy.asarray(picture) >> 8).astype("uint8"))
    pixels = numpy.asarray(picture.convert("RGB"), dtype="float32").transpose(2, 0, 1)[None] / numpy.float32(255)
    answer = lambda part: run({{"pixel_values": numpy.ascontiguousarray(part)}})["reconstruction"]  # noqa: E731
    whole = max(pixels.shape[-2:]) <= tile
    found = answer(pixels) if whole else in_tiles(answer, pixels, {scale}, tile)
    return Image.fromarray(numpy.rint(found[0].clip(0, 1) * 255).astype("uint8").transpose(1, 2, 0))


restored("picture.png").save("restored.png")
"""


class ImageRestoration(Task):
    """Rows `image` (a picture, a uint8 array or a path) with `label`: the clean picture.

    Where both are one picture the input is made of it, `scale` times smaller and with Gaussian `noise`.
    """

    name: ClassVar[str] = "image_restoration"
    pipeline: ClassVar[str] = "image-to-image"
    requires: ClassVar[str] = "vision"
    reads = RestorationReader
    own_target: ClassVar[bool] = True
    floors_learn: ClassVar[bool] = False
    reader: RestorationReader

    def __init__(self, scale: int = 2, noise: float = 0.0, metric: str = "psnr") -> None:
        self.degradation = Degradation(scale, noise)
        self.reader = RestorationReader(self.degradation)
        self.metric = PictureMetric(self.degradation, metric)
        self.inputs = (Port("pixel_values", "float32", ("batch_size", 3, "height", "width")),)
        self.outputs = (Port("reconstruction", "float32", ("batch_size", 3, "out_height", "out_width")),)

    @cached_property
    def networks(self) -> RestorationNetworks:
        from kd2deploy.tasks._restoration_networks import RestorationNetworks

        return RestorationNetworks(self.degradation.scale)

    def spec(self) -> dict[str, Any]:
        of = self.degradation
        return {"use": self.name, "scale": of.scale, "noise": of.noise, "metric": self.metric.name}

    def at(self, folder: Path) -> ImageRestoration:
        return self

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        return self.reader.floors(asked, folder)

    def shown(self, rows: Sequence[Row], answers: Mapping[str, Sequence[Mapping[str, Array]]]) -> Sequence[Shown]:
        return [
            strip(self.panels(row, {who: found[place] for who, found in answers.items()}), f"Picture {place + 1}")
            for place, row in enumerate(rows)
        ]

    def panels(self, row: Row, answers: Mapping[str, Mapping[str, Array]]) -> dict[str, Array]:
        """[H, W, 3] uint8 each: the input with its pixels enlarged, what was made of it, and the clean picture."""
        (read,) = PictureRows([row], self.degradation)
        times = self.degradation.scale
        given = read["pixel_values"].transpose(1, 2, 0).repeat(times, axis=0).repeat(times, axis=1)
        restored = {who: pixels_of(found["reconstruction"][0]) for who, found in answers.items()}
        return {"input": given, **restored, "clean": read["labels"].transpose(1, 2, 0)}

    def snippet(self, opening: str, folder: Path) -> str:
        return SNIPPET.format(opening=opening, tiles=tile_code(), scale=self.degradation.scale)
