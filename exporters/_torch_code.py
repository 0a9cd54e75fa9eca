"""In which words anybody opens a network in PyTorch: one, or several whose answers are combined."""

import json
from collections.abc import Mapping
from typing import Any

from kd2deploy.core import Artifact
from kd2deploy.core.members import Members, members_in, networks_in
from kd2deploy.core.own import RESTORER, STATIC, THIN_RESNET, architecture_of

ONE = """\
import torch
from transformers import {auto}

net = {auto}.from_pretrained({file}).eval()


@torch.inference_mode()
def run(feed):
    return {"logits": net(**{name: torch.from_numpy(value) for name, value in feed.items()}).logits.numpy()}
"""
SEVERAL = """\
import inspect

import torch
from transformers import {auto}

names, weights = {names}, torch.tensor({weights})[:, None, None]
nets = [{auto}.from_pretrained({file}, subfolder=name).eval() for name in names]


def given(net, feed):
    taken = set(inspect.signature(net.forward).parameters)
    if getattr(net.config, "type_vocab_size", 2) < 2:
        taken.discard("token_type_ids")
    return {name: torch.from_numpy(value) for name, value in feed.items() if name in taken}


@torch.inference_mode()
def run(feed):
    found = torch.stack([net(**given(net, feed)).logits for net in nets])
    return {"logits": {combined}.numpy()}
"""
STATIC_CODE = """\
import torch
from safetensors.torch import load_file

weights = load_file({file} + "/model.safetensors")


@torch.inference_mode()
def run(feed):
    ids, mask = (torch.from_numpy(feed[name]) for name in ("input_ids", "attention_mask"))
    found = (weights["words.weight"][ids] * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    found = torch.nn.functional.layer_norm(found, found.shape[-1:], weights["norm.weight"], weights["norm.bias"])
    found = torch.relu(found @ weights["hidden.weight"].T + weights["hidden.bias"])
    return {"logits": (found @ weights["classifier.weight"].T + weights["classifier.bias"]).numpy()}
"""
OURS = """\
import torch
from kd2deploy.networks.own import auto

net = auto("{auto}").from_pretrained({file}).eval()


@torch.inference_mode()
def run(feed):
    return {"logits": net(**{name: torch.from_numpy(value) for name, value in feed.items()}).logits.numpy()}
"""
RESTORER_CODE = """\
import json

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

weights = load_file({file} + "/model.safetensors")
with open({file} + "/config.json", encoding="utf-8") as stream:
    config = json.load(stream)


def convolved(name, state):
    return F.conv2d(state, weights[name + ".weight"], weights[name + ".bias"], padding=1)


@torch.inference_mode()
def run(feed):
    pixels, times = torch.from_numpy(feed["pixel_values"]), config["upscale"]
    first = state = convolved("stem", pixels - 0.5)
    for block in range(config["blocks"]):
        state = state + convolved(f"body.{block}.second", convolved(f"body.{block}.first", state).relu())
    found = F.pixel_shuffle(convolved("tail", convolved("merge", state) + first), times)
    base = F.interpolate(pixels, scale_factor=float(times), mode="bicubic") if times > 1 else pixels
    return {"reconstruction": (base + found).clamp(0, 1).numpy()}
"""
WINDOWS_CODE = """\
import torch
from transformers import {auto}

net = {auto}.from_pretrained({file}).eval()


@torch.inference_mode()
def run(feed):
    pixels, window, times = torch.from_numpy(feed["pixel_values"]), net.config.window_size, net.config.upscale
    height, width = pixels.shape[-2:]
    whole = [(size + window - 1) // window * window for size in (height, width)]
    down, across = (torch.arange(one).clamp(max=size - 1) for one, size in zip(whole, (height, width)))
    found = net(pixels[:, :, down][:, :, :, across]).reconstruction  # filled up to whole windows
    return {"reconstruction": found[..., : height * times, : width * times].clamp(0, 1).numpy()}
"""
CODES = {STATIC: STATIC_CODE, THIN_RESNET: OURS, RESTORER: RESTORER_CODE, "swin2sr": WINDOWS_CODE}
"""By architecture; all others are opened in one way."""
LOGITS = "(weights * found).sum(0)"
CLASSES = "(weights * found.softmax(-1)).sum(0).log()"
LABELS = "torch.logit((weights * found.sigmoid()).sum(0))"
"""Where probabilities are averaged: of classes that exclude each other, and of labels that do not."""


def code_of(artifact: Artifact, session: Mapping[str, Any]) -> str:
    """For `Serving.code`: it defines `run`, for the network or the networks in the artifact's folder.

    In fp32 and not compiled, whatever was judged: who reads a card may have another device and no compiler.
    """
    how = members_in(artifact.path)
    if how is None:
        return CODES.get(architecture_of(artifact.path), ONE)
    filled = {
        "{names}": repr(list(how.names)),
        "{weights}": repr(list(how.shares)),
        "{combined}": combined(how, artifact),
    }
    code = SEVERAL
    for name, value in filled.items():
        code = code.replace(name, value)
    return code


def combined(how: Members, artifact: Artifact) -> str:
    if how.combine != "mean_probability":
        return LOGITS
    config = json.loads((networks_in(artifact.path)[0] / "config.json").read_text(encoding="utf-8"))
    return LABELS if config.get("problem_type") == "multi_label_classification" else CLASSES
