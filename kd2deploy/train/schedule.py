"""The one schedule of the learning rate that transformers does not have: it drops at given shares of the training."""

import torch
from torch.optim.lr_scheduler import LambdaLR

from kd2deploy.train.settings import Settings


def dropping(optimizer: torch.optim.Optimizer, settings: Settings, steps: int, warmup: int) -> LambdaLR:
    """A rise from 0 over the first `warmup` steps, then `drop_to` of what it was after each of the settings' drops."""
    return LambdaLR(optimizer, lambda step: left_at(step, settings, steps, warmup))


def left_at(step: int, settings: Settings, steps: int, warmup: int) -> float:
    """The share of the learning rate at a step, counted from 0."""
    dropped = sum(step >= share * steps for share in settings.drops or ())
    risen = min(1.0, step / warmup) if warmup else 1.0
    return risen * settings.drop_to**dropped
