"""Plain Python that serves a deployed file without this package: its runtime, and how texts and pictures are read."""

from collections.abc import Sequence
from pathlib import PurePath

from kd2deploy.networks.image_processor import Processor
from kd2deploy.tasks._images import MODES

ONNX = """\
import onnxruntime

session = onnxruntime.InferenceSession({file!r}, providers=onnxruntime.get_available_providers())


def run(feed):
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, {{port.name: feed[port.name] for port in session.get_inputs()}})))
"""

OPENVINO = """\
import openvino

compiled = openvino.compile_model({file!r}, "CPU")


def run(feed):
    found = compiled({{port.any_name: feed[port.any_name] for port in compiled.inputs}})
    return {{port.any_name: found[port] for port in compiled.outputs}}
"""

TENSORRT = """\
import pathlib

import tensorrt
import torch

runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
engine = runtime.deserialize_cuda_engine(pathlib.Path({file!r}).read_bytes())
context = engine.create_execution_context()
ports = [engine.get_tensor_name(place) for place in range(engine.num_io_tensors)]
inputs = [name for name in ports if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT]


def run(feed):
    held = {{name: torch.from_numpy(feed[name]).cuda() for name in inputs}}
    for name, value in held.items():
        context.set_input_shape(name, tuple(value.shape))
    for name in ports:
        if name not in held:
            held[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=torch.float32, device="cuda")
        context.set_tensor_address(name, held[name].data_ptr())
    context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    return {{name: held[name].cpu().numpy() for name in ports if name not in inputs}}
"""

TORCH = """\
import torch
from transformers import {auto}

net = {auto}.from_pretrained({folder!r}).eval()


@torch.inference_mode()
def run(feed):
    return {{"logits": net(**{{name: torch.from_numpy(value) for name, value in feed.items()}}).logits.numpy()}}
"""

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


def runtime_code(file: str, auto: str) -> str:
    """Code that opens `file` with its runtime and defines `run(feed) -> {output: array}`; by the file's ending.

    What is neither ONNX, OpenVINO nor a TensorRT engine is a folder of transformers, opened by its class `auto`.
    """
    ending = PurePath(file).suffix
    if ending == ".onnx":
        return ONNX.format(file=file)
    if ending == ".xml":
        return OPENVINO.format(file=file)
    if ending in (".engine", ".plan", ".trt"):
        return TENSORRT.format(file=file)
    return TORCH.format(auto=auto, folder=str(PurePath(file).parent) if ending == ".safetensors" else file)
