import pytest
import torch
from torch import nn

from kd2deploy.methods._two_players import ascents_before, evaluating, learning


def test_ten_for_the_generator_before_every_hundred_of_the_student_counted_without_a_gap():
    found = {turn: ascents_before(turn, 10, 100) for turn in range(230)}
    assert {turn: list(ascents) for turn, ascents in found.items() if ascents} == {
        0: [*range(10)],
        100: [*range(10, 20)],
        200: [*range(20, 30)],
    }


def test_without_ascents_the_generator_never_plays():
    assert not any(ascents_before(turn, 0, 3) for turn in range(20))


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
