import pytest
import torch
from torch import nn

from kd2deploy.methods._two_players import evaluating, generator_plays, learning


def test_ten_for_the_generator_then_a_hundred_for_the_student():
    turns = [turn for turn in range(230) if generator_plays(turn, 10, 100)]
    assert turns == [*range(10), *range(110, 120), *range(220, 230)]


def test_without_ascents_the_generator_never_plays():
    assert not any(generator_plays(turn, 0, 3) for turn in range(20))


def test_a_module_learns_inside_the_block_only_even_when_it_fails():
    layer = nn.Linear(2, 2).requires_grad_(False)

    def fails():
        with learning(layer) as weights:
            assert [weight.requires_grad for weight in weights] == [True, True]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not any(weight.requires_grad for weight in layer.parameters())


def test_every_module_gets_its_own_mode_back():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    net[1].eval()
    before = [module.training for module in net.modules()]
    with evaluating(net):
        assert torch.equal(net(torch.ones(9)), torch.ones(9))
    assert [module.training for module in net.modules()] == before == [True, True, False, False]
