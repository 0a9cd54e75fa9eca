import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.methods._masked_text import drawn_mask, may_be_masked, straight_through_gumbel, substituted


def test_special_tokens_and_padding_may_never_be_masked():
    ids = torch.tensor([[1, 5, 6, 2, 0], [1, 7, 2, 9, 0]])
    attended = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    allowed = may_be_masked(ids, attended, special_ids=(0, 1, 2))
    assert allowed.tolist() == [[False, True, True, False, False], [False, True, False, False, False]]


def test_the_share_of_masked_words_is_the_rate():
    allowed = torch.rand(400, 200) < 0.5
    mask = drawn_mask(allowed, 0.3)
    assert not (mask & ~allowed).any()
    assert mask.sum().item() / allowed.sum().item() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(("rate", "all_or_none"), [(0.0, False), (1.0, True)])
def test_the_ends_of_the_rate_are_exact(rate, all_or_none):
    allowed = torch.rand(50, 20) < 0.5
    assert torch.equal(drawn_mask(allowed, rate), allowed & all_or_none)


@given(extra=st.integers(0, 7), seed=st.integers(0, 1000))
def test_padding_does_not_change_which_words_are_drawn(extra, seed):
    allowed = torch.rand(3, 5, generator=torch.Generator().manual_seed(seed)) < 0.7
    torch.manual_seed(seed)
    mask = drawn_mask(allowed, 0.5)
    torch.manual_seed(seed)
    assert torch.equal(drawn_mask(F.pad(allowed, (0, extra)), 0.5)[:, :5], mask)


def test_a_drawn_token_is_exactly_one_hot():
    drawn = straight_through_gumbel(torch.randn(500, 30))
    assert torch.equal(drawn.detach(), F.one_hot(drawn.argmax(-1), 30).float())


def test_tokens_are_drawn_with_the_probabilities_of_the_logits():
    logits = torch.tensor([0.1, 0.2, 0.7]).log()
    drawn = straight_through_gumbel(logits.expand(20_000, 3)).mean(0)
    torch.testing.assert_close(drawn, torch.tensor([0.1, 0.2, 0.7]), atol=0.015, rtol=0)


def test_the_gradient_of_a_drawn_token_is_that_of_the_soft_sample():
    logits, direction = torch.randn(4, 7, requires_grad=True), torch.randn(4, 7)
    torch.manual_seed(5)
    (hard,) = torch.autograd.grad((straight_through_gumbel(logits, 0.7) * direction).sum(), logits)
    torch.manual_seed(5)
    (soft,) = torch.autograd.grad((F.gumbel_softmax(logits, tau=0.7) * direction).sum(), logits)
    assert torch.equal(hard, soft)
    assert hard.abs().sum() > 0


def test_masked_positions_become_rows_of_the_table_and_the_others_stay_to_the_bit():
    embeddings, table = torch.randn(2, 3, 4), torch.randn(5, 4)
    mask = torch.tensor([[False, True, False], [True, False, True]])
    found = substituted(embeddings, mask, F.one_hot(torch.tensor([3, 0, 4]), 5).float(), table)
    assert torch.equal(found[~mask], embeddings[~mask])
    assert torch.equal(found[mask], table[[3, 0, 4]])


def test_nothing_masked_changes_nothing():
    embeddings = torch.randn(2, 3, 4)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert torch.equal(substituted(embeddings, nothing, torch.zeros(0, 5), torch.randn(5, 4)), embeddings)
