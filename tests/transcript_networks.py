"""The networks of the tests' own task, each position answered by itself; see transcripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transcripts import UNSAID

from kd2deploy.core import Batch, Observation, TaskNetworks
from kd2deploy.networks.folder import arguments_of, network


class TranscriptNetworks(TaskNetworks):
    auto = "AutoModelForTokenClassification"

    def load(self, folder: Path) -> nn.Module:
        return network(self.auto, folder)

    def answers(self) -> Mapping[str, Any]:
        names = dict(enumerate(("none", "good", "bad")))
        return {"id2label": names, "label2id": {name: place for place, name in names.items()}}

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        shown = {name: batch[name] for name in batch if name in arguments_of(net) and name != "labels"}
        seen, mask = net(**shown, output_hidden_states="hidden" in needs), batch["attention_mask"]
        loss = None
        if "labels" in batch:
            weight = torch.tensor([0.2, 1.0, 1.0])  # most positions say nothing
            logits, labels = seen.logits.flatten(0, 1), batch["labels"].flatten()
            each = nn.functional.cross_entropy(logits, labels, weight, ignore_index=UNSAID, reduction="none")
            counted = weight[labels.clamp(min=0)] * (labels != UNSAID)
            loss = each.sum() / counted.sum().clamp(min=0.2)  # 0, and not nan, where no row has a label
        return Observation(seen.logits, hidden=tuple(seen.hidden_states or ()), mask=mask.bool(), loss=loss)

    def head(self, net: nn.Module) -> nn.Module:
        return net.classifier  # type: ignore[return-value]

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return "inputs_embeds", net.get_input_embeddings()(batch["input_ids"])  # type: ignore[operator]

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net)

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        drawn = torch.Generator().manual_seed(0)
        words = torch.randint(5, net.config.vocab_size, (batch, sizes.get("sequence", 8)), generator=drawn)  # type: ignore[union-attr]
        return {"input_ids": words, "attention_mask": torch.ones_like(words)}


class Deployed(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        # what is padding says nothing, so that a row answers the same in every batch
        silent = (1 - attention_mask)[..., None] * torch.tensor([100.0, 0.0, 0.0])
        return (self.net(input_ids=input_ids, attention_mask=attention_mask).logits + silent,)
