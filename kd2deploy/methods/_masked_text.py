"""Masked text that a generator fills in, as inputs of both networks that the generator can be trained through.

Sources: Rashid, Lioutas, Rezagholizadeh, "MATE-KD: Masked Adversarial TExt, a Companion to Knowledge Distillation",
2021, arXiv:2105.05912 (mask, fill, substitute); Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax",
2017, arXiv:1611.01144, section 2.2 (straight-through).
Departs from it: none. Random numbers are drawn per token that may be masked, so padding does not change the draw.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def may_be_masked(
    input_ids: Int64[Tensor, "B L"],
    attention_mask: Int64[Tensor, "B L"] | Bool[Tensor, "B L"],
    special_ids: Sequence[int],
) -> Bool[Tensor, "B L"]:
    """True at every word: neither padding nor a special token."""
    special = torch.tensor(list(special_ids), dtype=input_ids.dtype, device=input_ids.device)
    return attention_mask.bool() & ~torch.isin(input_ids, special)


def drawn_mask(allowed: Bool[Tensor, "B L"], rate: float) -> Bool[Tensor, "B L"]:
    """Each allowed position, independently, with probability `rate`; from torch's global generator."""
    chosen = torch.zeros_like(allowed)
    chosen[allowed] = torch.rand(int(allowed.sum()), device=allowed.device) < rate
    return chosen


def straight_through_gumbel(logits: Float[Tensor, "N V"], temperature: float = 1.0) -> Float[Tensor, "N V"]:
    """A token drawn from each row, exactly one-hot in float32; its gradient is that of the soft sample.

    `F.gumbel_softmax(hard=True)` adds in the other order, which leaves its ones a rounding error away from 1.
    """
    soft = F.gumbel_softmax(logits.float(), tau=temperature)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def substituted(
    embeddings: Float[Tensor, "B L D"],
    mask: Bool[Tensor, "B L"],
    tokens: Float[Tensor, "N V"],
    table: Float[Tensor, "V D"],
) -> Float[Tensor, "B L D"]:
    """The N masked positions, row by row, become `tokens @ table`; all others stay what they are, to the bit."""
    words = tokens.to(table.dtype) @ table
    return embeddings.index_put((mask,), words.to(embeddings.dtype))
