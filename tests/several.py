"""Folders of several tiny networks, and what their answers are by hand."""

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_models import SEVERAL, save_encoder, save_image_net, save_several
from torch import Tensor

from kd2deploy.core import Task, build_task

Save = Callable[[Path, int], object]
LABELS = ["neg", "pos"]
IMAGES = {"use": "image_classification", "labels": ["zero", "one", "two"]}
KINDS: dict[str, tuple[dict[str, Any], Sequence[Save]]] = {
    "texts": (
        {"use": "text_classification", "labels": LABELS},
        [
            lambda to, seed: save_encoder(to, "bert", labels=LABELS, seed=seed),
            lambda to, seed: save_encoder(to, "distilbert", labels=LABELS, seed=seed),
        ],
    ),
    "pairs": (
        {"use": "text_classification", "labels": LABELS, "pair": True},
        [lambda to, seed: save_encoder(to, labels=LABELS, layers=1, seed=seed)] * 2,
    ),
    "numbers": (
        {"use": "text_classification", "labels": []},
        [lambda to, seed: save_encoder(to, labels=["value"], layers=1, seed=seed)] * 2,
    ),
    "labels": (
        {"use": "text_multilabel", "labels": list(SEVERAL)},
        [lambda to, seed: save_several(to, layers=1, seed=seed)] * 2,
    ),
    "pictures": (
        IMAGES,
        [
            lambda to, seed: save_image_net(to, "resnet", size=32, seed=seed),
            lambda to, seed: save_image_net(to, "vit", size=32, seed=seed),
        ],
    ),
}
"""Each task, and what writes its two members. The first two and the pictures' are of different families."""


def save_pair(folder: Path, kind: str = "texts", combine: str = "mean", weights: Sequence[float] | None = None) -> Task:
    """`members.json`, and a and b beside it; only a has a tokenizer or processor. The task as this folder reads it."""
    spec, members = KINDS[kind]
    for seed, (name, save) in enumerate(zip("ab", members, strict=True)):
        save(folder / name, seed)
    if kind != "pictures":
        for left in ("tokenizer.json", "tokenizer_config.json"):
            (folder / "b" / left).unlink()
    write_members(folder, combine=combine, **({} if weights is None else {"weights": weights}))
    return build_task(spec).at(folder)


def write_members(folder: Path, **fields: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    said = {"format": 1, "members": ["a", "b"], "combine": "mean", **fields}
    (folder / "members.json").write_text(json.dumps(said))
    return folder


@torch.inference_mode()
def answers(task: Task, folder: Path, rows: int = 5) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
    """Seeded inputs, what the folder answers to them, and what each member does by itself."""
    net = task.networks.load(folder)
    shown = task.networks.example(net, rows)
    (whole,) = task.networks.deployed(net)(*(shown[port.name] for port in task.inputs))
    each = []
    for name in ("a", "b"):
        alone = build_task(task.spec()).networks.load(folder / name)
        taken = inspect.signature(alone.forward).parameters
        each.append(alone(**{key: value for key, value in shown.items() if key in taken}).logits)
    return shown, whole, each
