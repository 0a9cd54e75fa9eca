"""Plain Python that reads texts and pictures for a deployed file without this package."""

from collections.abc import Sequence

from kd2deploy.networks.image_processor import Processor
from kd2deploy.tasks._images import MODES, ODD

TOKENIZERS = """\
import numpy
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts and pads as it was judged


def encoded({texts}):
    found = tokenizer.encode_batch({batch})
    arrays = {{
        "input_ids": [one.ids for one in found],
        "attention_mask": [one.attention_mask for one in found],
        "token_type_ids": [one.type_ids for one in found],
    }}
    return {{name: numpy.array(arrays[name], dtype="int64") for name in {inputs}}}

"""

PICTURES = """\
import numpy
from PIL import Image, ImageOps

mean = numpy.array({mean}, dtype="float32").reshape(-1, 1, 1)  # of the bytes, per channel
std = numpy.array({std}, dtype="float32").reshape(-1, 1, 1)


def prepared(path):
    with Image.open(path) as stored:
        picture = ImageOps.exif_transpose(stored)
    if picture.mode.startswith("I;16"):  # greys of 16 bits: the upper byte
        picture = Image.fromarray((numpy.asarray(picture) >> 8).astype("uint8"))
    if picture.mode in {odd!r}:
        raise SystemExit(f"{{path}} holds {{picture.mode}}, which was refused in training too; save it as RGB")
    picture = picture.convert({mode!r})
{steps}\
    found = numpy.asarray(picture, dtype="float32").reshape({height}, {width}, {channels}).transpose(2, 0, 1){flip}
    return ((found - mean) / std)[None]

"""
STRETCH = """\
    picture = picture.resize(({width}, {height}), {resample})
"""
SHORTEST_EDGE = """\
    width, height = picture.size
    longer = int({edge} * max(width, height) / min(width, height))
    picture = picture.resize(({edge}, longer) if width <= height else (longer, {edge}), {resample})
"""
CROP = """\
    left, top = (picture.width - {width}) // 2, (picture.height - {height}) // 2
    picture = picture.crop((left, top, left + {width}, top + {height}))
"""


def picture_code(reader: Processor, channels: int) -> str:
    """Code that defines `prepared(path) -> pixels [1, C, H, W]` as the processor `reader` reads pictures."""
    steps = ""
    if reader.resize is not None:
        steps += STRETCH.format(height=reader.resize[0], width=reader.resize[1], resample=reader.resample)
    elif reader.shortest_edge is not None:
        steps += SHORTEST_EDGE.format(edge=reader.shortest_edge, resample=reader.resample)
    if reader.crop is not None:
        steps += CROP.format(height=reader.crop[0], width=reader.crop[1])
    height, width = reader.out
    return PICTURES.format(
        mean=list(reader.mean),
        std=list(reader.std),
        mode=MODES[channels],
        odd=ODD,
        steps=steps,
        height=height,
        width=width,
        channels=channels,
        flip="[::-1]  # blue, green, red" if reader.flip else "",
    )


def reading_code(texts: str, inputs: Sequence[str]) -> str:
    """Code that defines `encoded(texts) -> {input: array}` as the bundle's tokenizer.json reads them."""
    batch = f"list(zip({texts}))" if "," in texts else texts
    return TOKENIZERS.format(texts=texts, batch=batch, inputs=list(inputs))
