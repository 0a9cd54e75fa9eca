"""Every method on classifiers of pictures, a ResNet and a ViT as students: it learns them, or is refused by name."""

import atexit
import copy
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from contract import PAIRS, Case, all_cases, bound, halfway, outcome_of
from grounds import OF_OBJECTS, OF_PICTURES, Ground
from tiny_models import save_image_net
from torch import nn

from kd2deploy.core import Features
from kd2deploy.core.members import Members
from kd2deploy.networks.several import Several
from kd2deploy.tasks.image_classification import ImageClassification

LABELS = ("zero", "one", "two")
BY_PLACE = frozenset({"attention", "cr_ild", "hidden", "residual_kd"})
"""Methods that compare positions one by one, of which a ResNet and a ViT have other numbers."""
WORDS = "works on words, and the task's networks read none"
REFUSED = {
    **dict.fromkeys(OF_PICTURES, "compares values, .* this task shows scores of classes"),
    **dict.fromkeys(OF_OBJECTS, "compares .*(feature maps|queries|scores of classes)"),
    **dict.fromkeys(("cilda", "combined_kd-phase 1", "mate_kd"), WORDS),
}
REFUSED_BY = {
    "resnet": {
        "cr_ild": "attentions",
    },
    "vit": {"rail_kd": "needs teacher blocks of one width"},
}


@functools.cache
def processor() -> Path:
    """A folder that says how pictures are read."""
    folder = Path(tempfile.mkdtemp(prefix="kd2deploy-processor-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_image_net(folder, "resnet")
    return folder


def rows(count: int) -> Sequence[Features]:
    draw = np.random.default_rng(5)
    pictures = draw.integers(0, 256, size=(count, 16, 16), dtype=np.uint8)
    made = [{"image": one, "label": LABELS[number % 3], "index": number} for number, one in enumerate(pictures)]
    return task().reader.drawing(made, processor())


def task() -> ImageClassification:
    return ImageClassification(LABELS, channels=1, height=16, width=16)


@functools.cache
def made(family: str, width: int, blocks: int, seed: int, dropout: float = 0.0) -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

    torch.manual_seed(seed)
    if family == "resnet":
        sizes = [width // 2, width]
        config = ResNetConfig(
            num_channels=1, num_labels=3, embedding_size=4, hidden_sizes=sizes, depths=[1, blocks], layer_type="basic"
        )
        return ResNetForImageClassification(config)
    vit = ViTConfig(
        num_channels=1,
        num_labels=3,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=2,
        intermediate_size=width,
        image_size=16,
        patch_size=8,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
    )
    return ViTForImageClassification(vit)


def network(family: str, width: int, blocks: int, seed: int, dropout: float = 0.0) -> nn.Module:
    return copy.deepcopy(made(family, width, blocks, seed, dropout))


def ground(family: str, other: str) -> Ground:
    """Students of a family, teachers of the other."""
    return Ground(
        task,
        lambda seed, dropout=0.0: network(family, 8, 2, seed, dropout),
        lambda seed: network(other, 16, 4, seed).eval(),
        rows,
        {"flip": 0.5},
    )


FAMILIES = ("resnet", "vit")
every_family = pytest.mark.parametrize("family", FAMILIES)
every_method = pytest.mark.parametrize("case", all_cases(), ids=str)


def ground_for(case: Case, family: str) -> Ground:
    """A teacher of the other family, but for what compares their positions."""
    other = next(one for one in FAMILIES if one != family)
    return ground(family, family if case.method in BY_PLACE else other)


def student(case: Case, family: str, dropout: float = 0.0) -> nn.Module:
    if case.method not in PAIRS:
        return ground_for(case, family).small(1, dropout=dropout)
    members = [network(family, 8, blocks, seed, dropout) for seed, blocks in ((1, 2), (3, 1))]
    return Several(members, Members(("student", "assistant"), "sum", (1.0, 1.0)), "single_label_classification").eval()


def refused(case: Case, family: str) -> str:
    """What the refusal of a method says; empty where it is to learn."""
    known = REFUSED | REFUSED_BY[family]
    return known.get(str(case), known.get(case.method, ""))


@every_family
@every_method
def test_every_method_teaches_a_classifier_of_pictures_or_is_refused_by_name(case: Case, family: str) -> None:
    on = ground_for(case, family)
    if reason := refused(case, family):
        with pytest.raises(ValueError, match=f"{case.method}.*{reason}"):
            bound(case, student=student(case, family), on=on)
        return
    distiller = bound(case, student=student(case, family), on=on).train()
    batch = on.batch(8)
    teacher = copy.deepcopy(distiller.teacher)
    optimizer = torch.optim.AdamW([weight for weight in distiller.parameters() if weight.requires_grad], lr=2e-3)
    losses = []
    for step in range(12):
        distiller.progress = halfway(step)
        found = outcome_of(distiller, batch) if step == 0 else distiller.outcome(batch)
        optimizer.zero_grad()
        found.loss.backward()
        assert any(weight.grad is not None and weight.grad.any() for weight in distiller.student.parameters())
        optimizer.step()
        losses.append(found.loss.item())
    assert np.isfinite(losses).all()
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), distiller.teacher.parameters(), strict=True))
