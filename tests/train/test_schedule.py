"""The learning rate that drops: at its shares of the steps, after its rise, and by what it is said to."""

import pytest
import torch

from kd2deploy.train.schedule import dropping, left_at
from kd2deploy.train.settings import Settings

DROPS = Settings(schedule="drops", drops=[0.625, 0.75, 0.875], drop_to=0.1, warmup=0.0)


@pytest.mark.parametrize(
    ("epoch", "left"), [(0, 1.0), (149, 1.0), (150, 0.1), (179, 0.1), (180, 0.01), (210, 0.001), (239, 0.001)]
)
def test_it_drops_at_150_180_and_210_of_240_epochs(epoch: int, left: float) -> None:
    assert left_at(epoch * 704, DROPS, 240 * 704, 0) == pytest.approx(left)


def test_it_rises_first_and_drops_after() -> None:
    settings = Settings(schedule="drops", drops=[0.5], drop_to=0.5)
    assert [left_at(step, settings, 8, 2) for step in range(8)] == [0, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_the_optimizers_rates_follow() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.4)
    schedule = dropping(optimizer, Settings(schedule="drops", drops=[0.5], drop_to=0.25), 4, 0)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.4, 0.4, 0.1, 0.1])
