"""What the methods' shared contract needs to know of a method: its arguments, and what does not hold for it and why.

A method that needs nothing said here gets one case with its defaults. `CASES` names several, or arguments that suit
networks of 2 and 4 blocks and widths 16 and 32; `EXCEPT` lists, per test, which method or case is left out and the
reason.
"""

import copy
import importlib
import pkgutil
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from grounds import OBJECTS, OF_OBJECTS, OF_PICTURES, PICTURES, TEXTS, Ground
from small_masked_lm import SmallMaskedLm
from small_text import small_pair

import kd2deploy.methods
from kd2deploy.core import Method, Progress, augmentation
from kd2deploy.train.classes import classes_of
from kd2deploy.train.distiller import Distiller, networks
from kd2deploy.train.own_batches import OwnBatches

GAME: dict[str, Any] = {"generator": SmallMaskedLm(), "ascents": 1, "descents": 2, "generator_rate": 1e-3}

CASES: dict[str, dict[str, dict[str, Any]]] = {
    # method: {case: arguments}
    "cilda": {"": GAME},
    "combined_kd": {"phase 1": {"phase": 1, **GAME}, "phase 2": {"phase": 2}},
    "contrastive": {"in the batch": {}, "with a bank": {"bank": 8}},
    "crd": {"": {"negatives": 32}},
    "data_free": {"": {"made": 0}},  # for texts, which are not made of noise; pictures: its own file
    "dckd": {"whole": {"codebook_steps": 2}, "one answer of the teacher": {"codebook_steps": 2, "consistent": 0.0}},
    "dcd": {"alone": {}, "with soft targets": {"soft": 1.0}},
    "dual_augmentation": {"single": {"views": "single"}},  # for texts, which are not augmented; pictures: its own file
    "detr_kd": {"": {"confident": 0.0}},  # small random networks are sure of nothing
    "dynamic_temperature": {"flsw": {}, "cwsm": {"hardness": "cwsm"}, "adjusted": {"adjustment": "ps"}},
    "knowledge_adjustment": {"ps": {}, "lsr": {"adjustment": "lsr"}},
    "lmcl": {"": {"every": 5, "levels": 2}},
    "mate_kd": {"": GAME},
    "mlkd": {"by label": {}, "each by itself": {"by_label": False}},
    "residual_kd": {
        "student": {"learns": "student"},
        "student by attention": {"learns": "student", "transfer": "attention"},
        "assistant": {"learns": "assistant"},
        "both": {},
    },
}
PAIRS = frozenset({"residual_kd"})
"""Methods whose student is two networks whose logits are summed."""

OF_ONE_CLASS = {
    "ctc_frame_kd",
    "dkd",
    "dist",
    "dynamic_temperature",
    "inter_kd",
    "knowledge_adjustment",
    "lmcl",
    "logit_standardization",
    "mixup_kd",
    "mutual",
    "pckd",
}
"""Methods of classes that exclude each other."""
GROUPED = {"mlkd-by label"}
"""Cases that group rows by their one class."""

MIXED_BY_PLACE = "the rows that are mixed are drawn at random, by their place in the batch"
DRAWN_BY_PLACE = "the words that are masked are drawn at random, by their place in the batch"

OWN_MAPS = "each side has a random map of its own, so equal embeddings are not the minimum"
CORRECTED = "the least is at the corrected teacher, where the teacher is wrong"

EXCEPT: dict[str, dict[str, str]] = {
    "minimum": {
        "cr_ild": "the student's answers to mixed rows are compared with its answers to plain rows, which differ",
        "contrastive": OWN_MAPS,
        "dckd-whole": "the teacher's answer to a changed input is not its answer to the input",
        "crd": OWN_MAPS,
        "data_free": OWN_MAPS,
        "dcd": OWN_MAPS,
        "dual_augmentation": OWN_MAPS,
        "inter_kd": "the heads on inner layers start at random, so an equal student is not the minimum",
        "dynamic_temperature-adjusted": CORRECTED,
        "knowledge_adjustment": CORRECTED,
        "lmcl": "it reads no teacher, and imagines steps, which copies of a frozen network cannot take",
        "mgd": "what is generated of the student's maps starts at random",
        "mlkd": OWN_MAPS,
        "pckd": OWN_MAPS,
        "rail_kd": "each side has a random map of its own, so equal hidden states are not the minimum",
        "residual_kd": "the student is two networks, and the teacher is one",
    },
    "padding": dict.fromkeys({"dckd", *OF_OBJECTS}, "pictures of a training are of one size"),
    "order": {
        "cilda": DRAWN_BY_PLACE,
        "combined_kd": DRAWN_BY_PLACE,
        "dckd": "the noise of the negatives is drawn by their place in the batch",
        "inconsistent_kd": "rows are changed at random, by their place in the batch",
        "mate_kd": DRAWN_BY_PLACE,
        "mgd": "the places that are masked are drawn at random, by the row's place in the batch",
        "crd": "the negatives are drawn at random, by the anchor's place in the batch",
        "mix_kd": MIXED_BY_PLACE,
        "mixup_kd": MIXED_BY_PLACE,
    },
    "processes": {
        "cr_ild": "each row is mixed with another of its own process",
        "crd": "the negatives are drawn at random, in each process others",
        "inconsistent_kd": "rows are changed at random, in each process otherwise",
        "mgd": "the places that are masked are drawn at random, in each process others",
        "mix_kd": MIXED_BY_PLACE,
        "mixup_kd": MIXED_BY_PLACE,
    },
    "falls": {"crd": "the banks move with the networks, and the loss rises before it falls"},
}


@dataclass(frozen=True)
class Case:
    """One way to build one method."""

    method: str
    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method}-{self.name}" if self.name else self.method

    def build(self) -> Method:
        module = importlib.import_module(f"kd2deploy.methods.{self.method}")
        return getattr(module, self.method)(**copy.deepcopy(self.arguments))


def method_names() -> list[str]:
    found = (module.name for module in pkgutil.iter_modules(kd2deploy.methods.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def all_cases() -> list[Case]:
    return [
        Case(method, name, arguments)
        for method in method_names()
        for name, arguments in CASES.get(method, {"": {}}).items()
    ]


def holds_for(test: str) -> list[Case]:
    """The cases that a test is run on."""
    return [case for case in all_cases() if not {case.method, str(case)} & EXCEPT[test].keys()]


def ground_of(case: Case) -> Ground:
    """The task and the networks that a method is held to: texts, but for methods of pictures and of objects in them."""
    if case.method in OF_OBJECTS:
        return OBJECTS
    return PICTURES if case.method in OF_PICTURES else TEXTS


def student_of(case: Case, dropout: float = 0.0) -> torch.nn.Module:
    """A small network, or two of them where the method trains a pair."""
    return small_pair(dropout) if case.method in PAIRS else ground_of(case).small(1, dropout=dropout)


def bound(
    case: Case, *, student=None, teacher=None, seed: int = 0, rows: int = 24, on: Ground | None = None
) -> Distiller:
    """A distiller of two small networks (without dropout), its method bound with seeded heads."""
    ground, method = on or ground_of(case), case.build()
    task = ground.task()
    if student is None:
        student = student_of(case) if on is None else on.small(1)
    teacher = ground.large(2) if teacher is None else teacher
    batch = task.reader.collate(list(ground.rows(2)))
    torch.manual_seed(seed)
    shown = networks(task, student, teacher, batch, rows=rows, epochs=2.0, steps=100)
    drawn = augmentation(type(task.reader), ground.augment)
    own = OwnBatches(task, ground.rows(24), batch=8, seed=seed, augmentation=drawn)
    method.bind(replace(shown, batches=own, classes=partial(classes_of, ground.rows(rows))))
    distiller = Distiller(task, student, method, teacher)
    distiller.progress = halfway(0)
    return distiller


def halfway(step: int) -> Progress:
    """In the middle of a long training, where every scheduled weight counts and none moves much within 30 steps."""
    return Progress(step=5000 + step, steps=10_000, epoch=1.0 + step / 5000, epochs=2.0)


def outcome_of(distiller: Distiller, batch, *, seed: int = 0):
    """The outcome of a forward in the middle of a training."""
    torch.manual_seed(seed)
    distiller.progress = halfway(0)
    return distiller.outcome(batch)
