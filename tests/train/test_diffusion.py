"""A small diffusion model: how noise is laid on and taken away, and that one learns."""

import pytest
import torch
from torch import Tensor, nn

from kd2deploy.train import diffusion
from kd2deploy.train.diffusion import fit, noised, signal, varied


class Knowing(nn.Module):
    """Finds the noise in inputs that were all the same before."""

    def __init__(self, clean: float) -> None:
        super().__init__()
        self.clean = clean

    def forward(self, inputs: Tensor, time: Tensor) -> Tensor:
        left = signal(time).reshape(-1, 1, 1, 1)
        return (inputs - left.sqrt() * self.clean) / (1 - left).sqrt().clamp(min=1e-6)


class Constant(nn.Module):
    """The same guess for every value."""

    def __init__(self) -> None:
        super().__init__()
        self.guess = nn.Parameter(torch.tensor(3.0))

    def forward(self, inputs: Tensor, time: Tensor) -> Tensor:
        return self.guess.expand(inputs.shape)


def test_an_inputs_variance_goes_from_all_to_none() -> None:
    found = signal(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5, 0.0]))


def test_noise_is_laid_on_by_each_inputs_own_time() -> None:
    inputs, noise = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), -3.0)
    found = noised(inputs, torch.tensor([0.0, 1.0]), noise)
    torch.testing.assert_close(found[0], inputs[0])
    torch.testing.assert_close(found[1], noise[1])


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
def test_a_model_that_finds_the_noise_gives_the_inputs_it_knows(strength: float) -> None:
    found = varied(Knowing(0.5), torch.full((3, 1, 4, 4), 0.1), strength)
    shown = torch.full((3, 1, 4, 4), 0.75)  # 0.5 in -1..1
    torch.testing.assert_close(found, shown, atol=1e-4, rtol=0)


def test_no_strength_gives_the_inputs_back() -> None:
    inputs = torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(varied(Constant(), inputs, 0.0), inputs)


def test_variants_stay_in_range_and_differ_from_each_other() -> None:
    inputs = torch.rand(3, 1, 4, 4)
    one, other = (varied(Constant(), inputs, 0.5) for _ in range(2))
    assert one.min() >= 0
    assert one.max() <= 1
    assert not torch.equal(one, other)


def test_a_denoiser_learns_and_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "RATE", 0.1)
    denoiser, told = Constant(), []
    fit(denoiser, torch.rand(5, 1, 4, 4), 60, lambda done, total: told.append((done, total)))
    assert abs(denoiser.guess.item()) < 1, "noise has mean 0, and the guess began at 3"
    assert told[-1] == (60, 60)
    assert not denoiser.training
