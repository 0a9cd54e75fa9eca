"""Static embeddings: one table of word vectors, their mean over a text, and a small head.

No word sees another, so a text costs one look at the table per token. Configuration and network are like those of
transformers, so that they are loaded, trained, saved and counted as any other.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from kd2deploy.core.own import STATIC


class StaticConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    model_type = STATIC
    attribute_map: ClassVar[dict[str, str]] = {"hidden_size": "dim"}

    def __init__(
        self, vocab_size: int = 30522, dim: int = 256, dropout: float = 0.1, pad_token_id: int = 0, **others: Any
    ) -> None:
        self.vocab_size, self.dim, self.dropout, self.pad_token_id = vocab_size, dim, dropout, pad_token_id
        super().__init__(**others)


class StaticForSequenceClassification(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Logits of the normalised mean [B, D] of the words' vectors: one hidden layer as wide, then the classes."""

    hides = frozenset({"hidden", "attentions"})
    """See `networks.several.shown_by`: it has no layers."""
    config_class = StaticConfig
    base_model_prefix = "static"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.hidden = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.dim, int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def set_input_embeddings(self, value: nn.Module) -> None:
        assert isinstance(value, nn.Embedding)
        self.words = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """`inputs_embeds` [B, L, D] in place of `input_ids` [B, L]; the mask [B, L] says which positions count."""
        vectors = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        mask = torch.ones_like(vectors[..., 0]) if attention_mask is None else attention_mask.to(vectors.dtype)
        mean = (vectors * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1.0)
        hidden = torch.relu(self.hidden(self.norm(mean)))
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(hidden)))
