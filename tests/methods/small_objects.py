"""Objects in small pictures, a network that finds them, and as much of a task as methods for detectors read.

Queries are the cells of a grid, each of which answers for the object whose centre lies in it: nothing is to be matched.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from kd2deploy.core import Observation, Port, Progress
from kd2deploy.core.port import NO_OBJECT
from kd2deploy.tasks._detection_networks import DetectionNetworks
from kd2deploy.train.distiller import Distiller, networks

SIDE, CLASSES, MOST = 16, 3, 3
"""Pixels a side, classes, and the most objects in a picture."""
GIVEN = 64.0
"""Pixels a side that the pictures are said to have had: boxes that are 8 pixels here are not small."""


class Grid(nn.Module):
    """Maps of 8 x 8 and 4 x 4 cells; a query for each of the latter."""

    def __init__(self, width, background):
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, width, 3, 2, 1), nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.head, self.background = nn.Conv2d(2 * width, CLASSES + background + 4, 1), background

    def forward(self, pixels):
        fine = torch.tanh(self.fine(pixels))
        coarse = torch.tanh(self.coarse(fine))
        answers = self.head(coarse).flatten(2).transpose(1, 2)
        return answers[..., :-4], answers[..., -4:].sigmoid(), (fine, coarse)


def grid(width=8, *, background=True, seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Grid(width, background).eval()


class GridTask:
    inputs = (Port("pixel_values", "float32", ("batch", 3, SIDE, SIDE)),)
    outputs = (Port("logits", "float32", ("batch", 16, CLASSES + 1)), Port("boxes", "float32", ("batch", 16, 4)))
    networks = property(lambda self: self)

    def observe(self, net, batch, *, needs=frozenset()):
        logits, boxes, features = net(batch["pixel_values"])
        found = Observation(
            logits=logits,
            features=features if "features" in needs else (),
            background=net.background,
            extras={"boxes": boxes},
        )
        if "labels" not in batch:
            return found
        matched = cells_of(batch["labels"])
        loss = own_loss(found, matched, batch["labels"])
        return replace(found, loss=loss, extras={"boxes": boxes, "matched": matched})

    def continuous_input(self, net, batch):
        return "pixel_values", batch["pixel_values"]

    regions = DetectionNetworks.regions
    cropped = DetectionNetworks.cropped


def cells_of(labels):
    """[B, 16] int64: the place of the object whose centre lies in each cell, -1 for none."""
    columns, lines = ((labels[..., axis] * 4).long().clamp(0, 3) for axis in (1, 2))
    found = torch.full((len(labels), 16), -1, dtype=torch.int64)
    for row, place in (labels[..., 0] >= 0).nonzero().tolist():
        found[row, lines[row, place] * 4 + columns[row, place]] = place
    return found


def own_loss(seen, matched, labels):
    """Cross-entropy of all cells, and the distance of the boxes of those that answer for an object."""
    answers = matched >= 0
    wanted = labels.gather(1, matched.clamp(min=0)[..., None].expand(-1, -1, 5))
    classes = wanted[..., 0].long().where(answers, CLASSES)
    if seen.background:
        of_classes = F.cross_entropy(seen.logits.flatten(0, 1), classes.flatten())
    else:
        targets = F.one_hot(classes, CLASSES + 1)[..., :-1].float()
        of_classes = F.binary_cross_entropy_with_logits(seen.logits, targets)
    return of_classes + (seen.extras["boxes"] - wanted[..., 1:]).abs().where(answers[..., None], 0).mean()


def object_batch(rows=6):
    """Coloured boxes of 2 to 8 pixels a side on noise, 1 to `MOST` in a picture, each class in a colour of its own."""
    drawn = torch.Generator().manual_seed(0)

    def one_of(least, most):
        return int(torch.randint(least, most + 1, (), generator=drawn))

    pixels = 0.1 * torch.randn(rows, 3, SIDE, SIDE, generator=drawn)
    labels = torch.zeros(rows, MOST, 5)
    labels[..., 0] = NO_OBJECT
    for row in range(rows):
        for place in range(1 + row % MOST):
            kind, width, height = one_of(0, CLASSES - 1), 2 * one_of(1, 4), 2 * one_of(1, 4)
            left, top = one_of(0, SIDE - width), one_of(0, SIDE - height)
            pixels[row, kind, top : top + height, left : left + width] += 1
            box = torch.tensor([left + width / 2, top + height / 2, width, height]) / SIDE
            labels[row, place] = torch.tensor([kind, *box])
    return {"pixel_values": pixels, "labels": labels, "size": torch.full((rows, 2), GIVEN), "index": torch.arange(rows)}


def at_share(done):
    """So large a share of a training of 300 steps over 24 epochs."""
    return Progress(step=round(300 * done), steps=300, epoch=24 * done, epochs=24.0)


def distilled(method, student=None, teacher=None, seed=0, **changes):
    """A distiller of small networks, its method bound with seeded heads, at the beginning of its training."""
    student = grid(8, seed=1) if student is None else student
    teacher = grid(12, seed=2) if teacher is None else teacher
    shown = networks(GridTask(), student, teacher, object_batch(2), rows=6, epochs=24.0, steps=300)
    torch.manual_seed(seed)
    method.bind(replace(shown, **changes))
    found = Distiller(GridTask(), student, method, teacher)
    found.progress = at_share(0)
    return found


def outcome(distiller, batch=None, seed=0):
    torch.manual_seed(seed)
    return distiller.outcome(object_batch() if batch is None else batch)
