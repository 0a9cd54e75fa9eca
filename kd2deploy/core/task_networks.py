"""The networks of a task: how they are loaded, run, taken apart and deployed. The part of a task that needs torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kd2deploy.errors import TrainError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kd2deploy.core.regions import Regions
    from kd2deploy.core.step import Batch, Observation


class TaskNetworks(ABC):
    """What a task's networks are, teacher and student alike."""

    auto: ClassVar[str]
    """Name of the transformers auto class that loads one."""
    problem_type: str = "single_label_classification"
    """What transformers calls it in a classifier's configuration; the labels of `multi_label_classification` do not
    exclude each other, and a row's label is then a set of them."""

    @abstractmethod
    def load(self, folder: Path) -> nn.Module:
        """The network in a folder, from safetensors only, in eval mode. Raises ModelError with the remedy."""

    def fresh(self) -> Mapping[str, Any]:
        """Configuration fields that a network made for this task must have, where its architecture knows them."""
        return {}

    def answers(self) -> Mapping[str, Any]:
        """Configuration fields that say what a network with a new head answers; empty where nothing needs saying."""
        return {}

    def check_pair(self, teacher: Path, student: Path) -> None:  # noqa: B027 (where nothing says what is answered)
        """Raise ModelError with the remedy unless the networks in two folders answer the same, and as the task does."""

    def differences(self, teacher: Path, student: Path) -> tuple[str, ...]:
        """What a person should know of how the networks in two folders answer, where they differ and fit all the
        same: a sentence each."""
        return ()

    @abstractmethod
    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        """Run a network on a batch. Ignores the keys that are not the network's arguments.

        Where the batch has `labels`, with the task's own loss over the rows that have one: 0, in the graph, for none.
        """

    def loss_of(self, logits: Tensor, seen: Observation, labels: Tensor) -> Tensor:
        """The task's own loss on the labels, if `logits` were what the network answered where it showed `seen`: for
        heads that a method puts on other layers. Raises TrainError where a task has no such loss."""
        raise TrainError(
            f"{type(self).__name__} has no loss of logits other than the network's own (`loss_of`), so heads on other "
            "layers cannot learn the labels; use another method"
        )

    @abstractmethod
    def head(self, net: nn.Module) -> nn.Module:
        """The layer whose input is the embedding."""

    @abstractmethod
    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        """The network's input as a tensor that can be mixed or differentiated, and the argument it replaces."""

    def turned(self, batch: Batch, quarters: int) -> Batch | None:
        """What one network reads, every row turned by 1 to 3 quarters of a full turn; None where rows cannot be."""
        return None

    def regions(self, batch: Batch) -> Regions | None:
        """Where in one network's inputs the things are that the labels of a batch tell of; None where labels tell of no
        places."""
        return None

    def cropped(self, batch: Batch, windows: Tensor) -> Batch | None:
        """What one network reads, of every row what lies in its window, as large as the row was, and of its label what
        is left there. `windows` [B, 4]: left, top, right and bottom in 0..1. None where rows cannot be cropped."""
        return None

    def synthesizer(self, shape: Sequence[int], noise: int) -> nn.Module | None:
        """A generator of random weights: noise [B, noise] to inputs [B, *shape] in 0..1, from the least value that
        inputs have to the greatest. None where inputs are not made of noise."""
        return None

    def denoiser(self, shape: Sequence[int]) -> nn.Module | None:
        """A network of random weights that finds the noise in inputs: inputs [B, *shape] with noise in them, and how
        much of them is noise [B] in 0..1, to that noise [B, *shape]. None where inputs are not made of noise."""
        return None

    def token_table(self, net: nn.Module) -> Tensor | None:
        """[V, D]: the network's own word embeddings, one row per token id; None where it reads no tokens."""
        return None

    @abstractmethod
    def deployed(self, net: nn.Module) -> nn.Module:
        """The network as exported: positional tensors in the order of the task's `inputs`, a tuple in the order of its
        `outputs`."""

    @abstractmethod
    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Seeded inputs for tracing, timing and checks; `sizes` set the dynamic axes by name."""
