"""A masked language model of the small text task's words, for methods that write text."""

import torch
from small_text import WORDS
from torch import Tensor, nn

from kd2deploy.core import MaskedLm


class SmallMaskedLm(MaskedLm):
    """Each position sees its own word and the mean of the sentence; dropout, so that its mode matters."""

    def __init__(self, words: int = WORDS, width: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.mask_id, self.special_ids = 4, (0, 2, 3, 4)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.words = nn.Embedding(words, width)
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Linear(width, words)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        state, counts = self.words(input_ids), attention_mask[..., None]
        around = (state * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True)
        return self.head(self.dropout(torch.tanh(state + around)))[positions]
