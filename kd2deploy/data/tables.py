"""What a data source returns: rows as they were read, under the task's own field names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Tables:
    """The splits of a data set. `eval` judges and nothing else; `validation` is split off `train` where it is None."""

    train: Rows
    eval: Rows
    validation: Rows | None = None
    unlabelled: Rows | None = None
    """Rows to distil on that need no label."""
    labels: tuple[str, ...] | None = None
    """The classes' names in their order, where the source knows them."""
    about: str = ""
    """Where it comes from, in a line."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What each split is called in messages, such as its file: `{"train": "data/train.csv"}`."""
    warnings: tuple[str, ...] = ()
    """What the source decided by itself and a person should know, such as files that it left out."""

    def name(self, split: str) -> str:
        return self.names.get(split, split)


@dataclass(frozen=True)
class Made:
    """Rows to train on that a stage makes of a run's own rows and its teacher: what a source may return for a training
    that names it as its `data`."""

    by: str
    """Dotted name of what makes them: a `kd2deploy.stages.made_data.Maker`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that it is given."""
    probabilities: bool = False
    """Whether the task's answers must have probabilities."""
    foretold: str = ""
    """What will be made, for a dry run, which then tries nothing; empty where it is to be tried on a few rows."""
    of_noise: bool = False
    """Whether inputs are made of noise: those of the task must lie between two extremes, and it must have classes."""
