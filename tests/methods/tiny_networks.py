"""A tiny transformer, its task, and steps of random tensors: what the methods' own tests are made of."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import config
from torch import nn

import kd2deploy
from kd2deploy.core import Look, Networks, Observation, Pair, Port, Progress, Sizes, Step, clean_look
from kd2deploy.recipe import Recipe

PARITY = Path(__file__).parents[1] / "parity"
RECIPES = Path(kd2deploy.__file__).parent / "recipes" / "methods"


def parity(name):
    """The tensors of a parity case, float64, with the header left out."""
    cases = json.loads((PARITY / f"{name}.json").read_text())["cases"]
    return [{key: as_tensor(value) for key, value in case.items()} for case in cases]


@contextmanager
def unchecked():
    """Without the tests' own checks of types, which would forestall a method's refusal."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


def committed_trainings(method):
    """The entries under `distill` of the method's own recipe."""
    return Recipe.read(RECIPES / f"{method}.yaml").distill


def as_tensor(value):
    if not isinstance(value, list):
        return value
    return torch.from_numpy(np.array(value))


class TinyText(nn.Module):
    """Word embeddings, blocks of self-attention, and a head on the first position."""

    def __init__(self, width=8, blocks=2, classes=3, heads=2, words=11):
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.mixers = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.head = nn.Linear(width, classes)
        self.heads = heads

    def forward(self, attention_mask, input_ids=None, inputs_embeds=None):
        state = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        hidden, attentions = [state], []
        for mixer in self.mixers:
            query, key, value = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in mixer(state).chunk(3, -1)
            )
            scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
            attention = scores.masked_fill(attention_mask[:, None, None] == 0, -torch.inf).softmax(-1)
            state = torch.tanh(state + (attention @ value).transpose(1, 2).flatten(-2))
            hidden.append(state)
            attentions.append(attention)
        return self.head(state[:, 0]), tuple(hidden), tuple(attentions)


class TinyTask:
    """As much of a task as the methods read."""

    inputs = (Port("input_ids", "int64", ("batch", "sequence")), Port("attention_mask", "int64", ("batch", "sequence")))
    outputs = (Port("logits", "float32", ("batch", "labels")),)
    networks = property(lambda self: self)

    def observe(self, net, batch, *, needs=frozenset()):
        arguments = {name: batch[name] for name in ("input_ids", "inputs_embeds", "attention_mask") if name in batch}
        logits, hidden, attentions = net(**arguments)
        labels = batch.get("labels")
        return Observation(
            logits=logits if logits.shape[-1] > 1 else None,
            values=logits if logits.shape[-1] == 1 else None,
            hidden=hidden,
            attentions=attentions,
            embedding=hidden[-1][:, 0],
            mask=batch["attention_mask"].bool(),
            loss=None if labels is None else F.cross_entropy(logits, labels),
        )

    def continuous_input(self, net, batch):
        return "inputs_embeds", net.words(batch["input_ids"])

    def token_table(self, net):
        return None

    def turned(self, batch, quarters):
        return None

    def head(self, net):
        return net.head


def text_batch(rows=4, length=5, padded=0, classes=3, words=11):
    """Random words; all but the first row end in `padded` positions of padding."""
    mask = torch.ones(rows, length, dtype=torch.long)
    if padded:
        mask[1:, -padded:] = 0
    return {
        "input_ids": torch.randint(words, (rows, length)) * mask,
        "attention_mask": mask,
        "labels": torch.randint(classes, (rows,)),
        "index": torch.arange(rows),
    }


def sizes(hidden=(8, 8, 8), classes=3, embedding=None, heads=None, positions=5):
    width = hidden[-1] if hidden else 0
    heads = (2,) * (len(hidden) - 1) if heads is None else heads
    return Sizes(tuple(hidden), classes, width if embedding is None else embedding, heads, positions)


def networks(of_student=None, of_teacher=None, **changes):
    """Two networks by their sizes alone."""
    found = {
        "task": TinyTask(),
        "student": nn.Identity(),
        "student_sizes": of_student or sizes(),
        "teacher": nn.Identity(),
        "teacher_sizes": of_teacher or sizes((6, 6, 6, 6, 6)),
        "epochs": 3.0,
        "steps": 30,
    }
    return Networks(**{**found, **changes})


def networks_of(student, teacher, **changes):
    """Two tiny text networks as the distiller would describe them."""

    def read(net):
        width = net.words.embedding_dim
        return sizes((width,) * (len(net.mixers) + 1), net.head.out_features, heads=(net.heads,) * len(net.mixers))

    return networks(read(student), read(teacher), student=student, teacher=teacher, **changes)


def observation(of, batch=4, mask=None, **fixed):
    """Random answers of a network of these sizes."""
    made = {
        "logits": torch.randn(batch, of.classes),
        "hidden": tuple(torch.randn(batch, of.positions, width) for width in of.hidden),
        "attentions": tuple(torch.randn(batch, h, of.positions, of.positions).softmax(-1) for h in of.heads),
        "embedding": torch.randn(batch, of.embedding),
        "mask": mask,
        "loss": torch.rand(()),
    }
    return Observation(**{**made, **fixed})


def step_of(student, teacher, batch=None, progress=None, view="clean"):
    batch = batch or {}
    return Step(batch, {view: Pair(student, teacher, clean_look(batch))}, progress or at())


def at(epoch=0.0, epochs=3.0, step=0, steps=30):
    return Progress(step=step, steps=steps, epoch=epoch, epochs=epochs)


def run(method, student, teacher, batch, progress=None):
    """A method's loss on a batch with two tiny text networks, every term computed whatever it weighs."""
    task, progress = TinyTask(), progress or at()
    method.tick(progress)
    looks = {"clean": Look(batch, batch)} | {view.name: view(batch) for view in method.views}
    pairs = {}
    for name, look in looks.items():
        with torch.no_grad():
            theirs = task.networks.observe(teacher, look.teacher)
        pairs[name] = Pair(task.networks.observe(student, look.student), theirs, look)
    step = Step(batch, pairs, progress)
    return sum(weighted.at(progress) * weighted.term(step) for weighted in method.weighted.values())
