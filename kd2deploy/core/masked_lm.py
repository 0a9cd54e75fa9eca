"""A masked language model: what adversarial-text methods fill masked positions with."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class MaskedLm(nn.Module, ABC):
    """Scores every token of the teacher's vocabulary at the positions asked for."""

    mask_id: int
    """The token that stands for a masked position."""
    special_ids: tuple[int, ...]
    """Tokens that are never masked: padding, separators, the classification token, the mask itself."""

    @abstractmethod
    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        """[B, L] ids, 0/1 mask and bool positions -> [N, V] logits of the N positions, row by row."""
