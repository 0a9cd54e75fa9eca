"""Training rows made of a frozen teacher alone: a generator's inputs, and variants that diffusion makes of them.

Source: Li, Zhang, He, Xie, Li, Qin, "Towards Effective Data-Free Knowledge Distillation via Diverse Diffusion
Augmentation", ACM MM 2024, arXiv:2410.17606: the bank's beginning, the variants and the filter; the authors' code has
the first of these alone. So the features that the filter compares, the teacher's embeddings, and how many variants
there are and how alike they must be, are ours. So is the diffusion model where none is named: a small one of the bank.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd2deploy.core import Task
from kd2deploy.core.figures import count_of
from kd2deploy.core.step import embedding_of
from kd2deploy.core.watcher import Watcher
from kd2deploy.data.splits import Row, Splits
from kd2deploy.errors import DataError
from kd2deploy.methods.data_free import NOISE, Range, made_by, normalizations, strangeness
from kd2deploy.networks.variation import Variation
from kd2deploy.stages.job import SEED, Model
from kd2deploy.stages.made_data import MadeRows
from kd2deploy.train.checkpoint import downloaded
from kd2deploy.train.diffusion import STEPS, fit, varied

CHUNK = 64
"""Inputs that are varied at a time."""
Vary = Callable[[Tensor], Tensor]
"""Inputs [B, ...] in 0..1 to one variant of each."""


@dataclass(frozen=True)
class Asked:
    """What the data source of the recipe says."""

    rounds: int
    made: int
    steps: int
    variants: int
    least: float
    strength: float
    variation: str | None


@dataclass(frozen=True)
class Known:
    """A frozen teacher, and what its inputs look like: nothing else is known."""

    task: Task
    folder: Path
    net: nn.Module
    argument: str
    shape: torch.Size
    """Of one input."""
    between: Range
    classes: int

    @classmethod
    def of(cls, teacher: Model, classes: int) -> "Known":
        """Raises DataError where nothing can be made of the teacher."""
        task, extremes = teacher.task, teacher.task.reader.extremes()
        if not extremes or classes < 2:
            raise DataError(f"data_free makes pictures of classes, and {task.name} reads others; name other data")
        net = task.networks.load(teacher.folder).requires_grad_(False)
        if not normalizations(net):
            raise DataError(
                "data_free makes inputs by the teacher's batch normalizations, and it has none; use a "
                "teacher such as a ResNet"
            )
        net = net.to("cuda" if torch.cuda.is_available() else "cpu")
        device = next(net.parameters()).device
        batch = task.reader.collate(task.reader.encode(extremes, teacher.folder))
        argument, inputs = task.networks.continuous_input(net, batch)
        return cls(task, teacher.folder, net, argument, inputs.shape[1:], Range.of(inputs.to(device)), classes)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def shown(self, made: Tensor) -> dict[str, Tensor]:
        """What the teacher is shown of inputs in 0..1."""
        return {self.argument: self.between.values(made)}

    def round(self, made: int, steps: int) -> tuple[Tensor, Tensor]:
        """[made, ...] inputs in 0..1 of a new generator, and the labels that they are made for."""
        labels = torch.randint(self.classes, (made,)).to(self.device)
        generator = self.task.networks.synthesizer(self.shape, NOISE)
        assert generator is not None, "a task whose inputs lie between extremes makes them of noise"

        def loss(inputs: Tensor) -> Tensor:
            return strangeness(self.task.networks, self.net, self.shown(inputs), labels)

        return made_by(generator.to(self.device), made, steps, loss), labels

    @torch.no_grad()
    def embedding(self, made: Tensor) -> Tensor:
        """[B, D]: the teacher's."""
        needs = frozenset({"embedding"})
        return embedding_of(self.task.networks.observe(self.net, self.shown(made), needs=needs))

    def rows(self, made: Tensor, labels: Sequence[int]) -> list[Row]:
        rows = self.task.reader.rows_of(made.float().cpu().numpy(), self.folder)
        return [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]


def made_bank(options: Mapping[str, Any], splits: Splits, teacher: Model, tell: Watcher) -> MadeRows:
    """A `Maker`: it reads the teacher and how many classes there are, and no row. Raises DataError, ModelError."""
    asked, known = Asked(**options), Known.of(teacher, len(splits.labels))
    with seeded(known.device):
        bank, labels = begun(known, asked, tell)
        rows = known.rows(bank, labels)
        said = (
            f"{count_of(len(rows), 'input')} of a generator in {count_of(asked.rounds, 'round')}, made of the teacher"
        )
        if not asked.variants:
            return MadeRows(rows, f"{said}; no variants")
        vary, who = varying(known, asked, bank, tell)
        more = variants_of(known, asked, bank, labels, vary, tell)
    count = len(rows) * asked.variants
    said += (
        f"; {len(more):,} of their {count_of(count, 'variant')} by {who} kept, at a cosine of {asked.least:g} or more"
    )
    return MadeRows(rows + more, said)


@contextmanager
def seeded(device: torch.device) -> Iterator[None]:
    """The same random numbers inside the block each time, and those outside as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(SEED)
        yield


def begun(known: Known, asked: Asked, tell: Watcher) -> tuple[Tensor, list[int]]:
    """The generators' inputs [N, ...] in 0..1, of 16 bits and on the CPU, and their labels."""
    inputs: list[Tensor] = []
    labels: list[int] = []
    for number in range(asked.rounds):
        made, wanted = known.round(asked.made, asked.steps)
        inputs.append(made.half().cpu())
        labels += wanted.tolist()
        tell.advance("rounds of a generator", number + 1, asked.rounds)
    return torch.cat(inputs), labels


def varying(known: Known, asked: Asked, bank: Tensor, tell: Watcher) -> tuple[Vary, str]:
    """What makes variants, and what it is. Raises ModelError for a named model that is none."""
    if asked.variation is not None:
        place = Path(asked.variation).expanduser()
        named = Variation(place if place.is_dir() else downloaded(asked.variation), known.device.type, SEED)
        return lambda inputs: named(inputs, asked.strength), f"{named.name} ({asked.variation})"
    denoiser = known.task.networks.denoiser(known.shape)
    assert denoiser is not None, "a task whose inputs lie between extremes finds noise in them"
    denoiser = denoiser.to(known.device)
    fit(denoiser, bank.float(), STEPS, lambda done, total: tell.advance("a diffusion model of the bank", done, total))
    small = "a small diffusion model that was trained on these inputs (no `variation` was named)"
    return lambda inputs: varied(denoiser, inputs, asked.strength), small


def variants_of(
    known: Known, asked: Asked, bank: Tensor, labels: Sequence[int], vary: Vary, tell: Watcher
) -> list[Row]:
    """Rows of the variants that are like enough to what they are made of, with its label."""
    found: list[Row] = []
    for at in range(0, len(bank), CHUNK):
        inputs, answers = bank[at : at + CHUNK].float().to(known.device), labels[at : at + CHUNK]
        looks = known.embedding(inputs)
        for _ in range(asked.variants):
            made = vary(inputs)
            kept = alike(known.embedding(made), looks, asked.least).tolist()
            found += [row for row, keep in zip(known.rows(made, answers), kept, strict=True) if keep]
        tell.advance("variants", min(at + CHUNK, len(bank)), len(bank))
    return found


def alike(one: Tensor, other: Tensor, least: float) -> Tensor:
    """[B] bool: whether the cosine of two rows' embeddings is at least so much; -1 takes all."""
    return F.cosine_similarity(one, other, dim=-1).clamp(-1, 1) >= least
