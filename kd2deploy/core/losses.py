"""What is lost on the way to the deployed file: step by step, and class by class."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kd2deploy.core.estimate import Estimate


@dataclass(frozen=True)
class DropLink:
    """One step on the way from what is compared with to the deployed file, in order; the first has no delta."""

    step: str
    metric: Estimate | None
    delta: Estimate | None = None
    """Against the step before, paired; negative is a loss."""
    agreement: Mapping[str, float] = field(default_factory=dict)
    """With the step before: `top1` share of equal answers, `cosine`."""
    sha256: str = ""
    """Of the artifact that was scored."""


@dataclass(frozen=True)
class ClassDrop:
    """What one class loses of its recall, 0..1, on its `rows` of the evaluation set."""

    label: str
    rows: int
    before: float
    """Recall of what is compared with."""
    after: float
    """Recall of the deployed file."""
    drop: Estimate
    """`before` - `after`, paired, with the class's own interval; without a value where the rows are too few."""
    sure_from: float
    """The lower end of the drop when all classes are to hold at once: above 0 the class surely lost something."""

    @property
    def is_told(self) -> bool:
        """Whether there are rows enough to say anything."""
        return self.drop.value is not None

    @property
    def lost(self) -> float:
        return self.before - self.after
