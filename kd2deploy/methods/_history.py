"""The student as it was: a moving average of its weights, and a model that now and then takes a step towards that.

Source: Zhou et al., "Dynamic Contrastive Knowledge Distillation for Efficient Image Restoration", AAAI 2025,
arXiv:2412.08939, and the authors' code: history = 0.1 * history + 0.9 * average every K steps.
Departs from it: K is a share of the training, which is theirs (1000, 2000, 3000 of 250,000 steps) at their length; the
average's decay rises to theirs from the first step on, so that a short training has one too.
"""

import copy

import torch
from torch import Tensor, nn

from kd2deploy.core import Progress

STAYS = 0.1
"""Share of itself that the history model keeps when it moves."""
DECAY = 0.999
SHARES = ((0.4, 1 / 250), (0.8, 2 / 250), (1.0, 3 / 250))
"""Up to which share of a training it moves every so large a share of it."""


def interval(progress: Progress) -> int:
    """K, in steps."""
    share = next((every for until, every in SHARES if progress.done < until), SHARES[-1][1])
    return max(1, round(share * progress.steps))


def decay_at(step: int) -> float:
    """Of the average: what it keeps of itself at a step."""
    return min(DECAY, (1 + step) / (10 + step))


@torch.no_grad()
def moved(target: nn.Module, towards: nn.Module, keeps: float) -> None:
    """target = keeps * target + (1 - keeps) * towards, weight by weight; whole numbers are copied."""
    for own, other in zip(tensors(target), tensors(towards), strict=True):
        if own.is_floating_point():
            own.mul_(keeps).add_(other.to(own.dtype), alpha=1 - keeps)
        else:
            own.copy_(other)


def tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


class History(nn.Module):
    """Both copies, frozen and in eval mode; the student itself is none of its submodules."""

    def __init__(self, student: nn.Module, every: int | None = None) -> None:
        super().__init__()
        self.student, self.every = (student,), every
        self.average = copy.deepcopy(student).requires_grad_(False).eval()
        self.history = copy.deepcopy(student).requires_grad_(False).eval()

    def follow(self, progress: Progress) -> None:
        """Once before each forward: nothing before the student's first step."""
        if progress.step == 0:
            return
        moved(self.average, self.student[0], decay_at(progress.step))
        every = interval(progress) if self.every is None else self.every
        if progress.step % every == 0:
            moved(self.history, self.average, STAYS)
