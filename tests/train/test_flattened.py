"""A temperature that leaves nothing of the teacher's answers is told."""

import numpy as np
import pytest

from kd2deploy.core import Array, Method, Weighted
from kd2deploy.methods.contrastive import contrastive
from kd2deploy.methods.dist import dist
from kd2deploy.methods.logit import SoftTargets, logit
from kd2deploy.train.flattened import doubts, likeliest


def answers(top: float, classes: int = 20) -> Array:
    """[50, C] whose likeliest class has this probability and the others an even share of the rest."""
    logits = np.full((50, classes), np.log((1 - top) / (classes - 1)))
    logits[np.arange(50), np.arange(50) % classes] = np.log(top)
    return logits


def test_soft_answers_under_a_high_temperature() -> None:
    (said,) = doubts(logit(temperature=16.0), answers(0.4))
    softened = likeliest(answers(0.4), 16.0)
    assert 0.05 < softened < 0.085
    assert f"{softened:.2%} on".replace("%", " %") in said
    assert "where even shares are 5.00 % and undivided logits give 40.00 %; take a lower temperature" in said
    assert "the term 'soft' divides the teacher's logits by 16" in said


@pytest.mark.parametrize("method", [logit(temperature=1.0), dist(temperature=1.0), contrastive(temperature=0.07)])
def test_what_leaves_the_answers_apart_is_not_spoken_of(method: Method) -> None:
    assert doubts(method, answers(0.4)) == []


def test_sure_answers_bear_a_high_temperature() -> None:
    assert doubts(logit(temperature=4.0), answers(1 - 1e-6)) == []


def test_each_term_is_asked_and_answers_that_are_no_classes_are_not() -> None:
    two = Method(a=Weighted(SoftTargets(30.0)), b=Weighted(SoftTargets(30.0)))
    assert len(doubts(two, answers(0.3))) == 2
    assert doubts(two, None) == []
    assert doubts(two, answers(0.3)[:, :1]) == []
    assert doubts(two, answers(0.3)[:, None].repeat(3, axis=1)) == []
