"""The masked language model that adversarial-text methods write with: one from a folder, or one made of the teacher.

A folder's model is taken as it is. Where none is named, the teacher's own encoder is copied, given a head that is tied
to its word embeddings, and trained for a short while to restore masked words of the training texts: it has the
teacher's vocabulary by construction. How long, how fast and on how many words are ours; no paper derives a generator
like this.
"""

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from kd2deploy.core import Features, MaskedLm, Task
from kd2deploy.core.figures import count_of
from kd2deploy.core.locks import held
from kd2deploy.errors import ModelError
from kd2deploy.networks.folder import network
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.train.checkpoint import locate

STEPS, BATCH = 200, 16
"""Optimizer steps, and texts per step, of a derived generator's training: minutes on a CPU, seconds on a GPU."""
HEAD_RATE, ENCODER_RATE = 1e-3, 5e-5
"""Learning rates: the head starts from nothing, the encoder knows the language already."""
MASK_RATE = 0.3
"""Share of the words that it learns to restore: as many as it will be asked to fill."""


class FolderMaskedLm(MaskedLm):
    """A network that transformers loads for masked language modelling."""

    def __init__(self, net: nn.Module, mask_id: int, special_ids: Sequence[int]) -> None:
        super().__init__()
        self.net, self.mask_id, self.special_ids = net, mask_id, tuple(special_ids)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        logits: Tensor = self.net(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits[positions]


class TiedMaskedLm(MaskedLm):
    """An encoder with a small head whose last layer is the encoder's own table of word embeddings.

    `steps` and `seconds` say what its training took, whenever that was.
    """

    def __init__(self, encoder: nn.Module, mask_id: int, special_ids: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.mask_id, self.special_ids = encoder, mask_id, tuple(special_ids)
        self.steps, self.seconds = 0, 0.0
        config: Any = encoder.config
        words, width = self.table().shape
        self.transform = nn.Sequential(nn.Linear(config.hidden_size, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(words))

    def table(self) -> Tensor:
        """[V, D]: the encoder's word embeddings."""
        found: Tensor = self.encoder.get_input_embeddings().weight  # type: ignore[operator]
        return found

    def forward(self, input_ids: Tensor, attention_mask: Tensor, positions: Tensor) -> Tensor:
        state = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return F.linear(self.transform(state[positions]), self.table(), self.bias)


class MaskedLms:
    """What `Networks.masked_lm` is to be: a name gives `named_masked_lm`, None `derived_masked_lm`.

    `folder` is the teacher's, for its tokenizer; `steps` how long a derived one is trained, and `cache` a file that
    keeps it between runs.
    """

    def __init__(
        self,
        teacher: nn.Module,
        folder: Path,
        task: Task,
        features: Sequence[Features],
        *,
        steps: int = STEPS,
        cache: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.teacher, self.folder, self.task, self.features = teacher, folder, task, features
        self.steps, self.cache, self.seed = steps, cache, seed
        self.given: dict[str, float] = {}
        """What was asked for, in words, and the seconds that making it took."""

    def __call__(self, name: str | None) -> MaskedLm:
        if name is not None:
            named = named_masked_lm(name, self.folder)
            self.given[name] = 0.0
            return named
        derived = derived_masked_lm(
            self.teacher, self.folder, self.task, self.features, steps=self.steps, cache=self.cache, seed=self.seed
        )
        self.given[f"derived from the teacher, {count_of(derived.steps, 'step')}"] = derived.seconds
        return derived


def named_masked_lm(name: str, teacher: Path) -> MaskedLm:
    """The masked language model in a folder, `package:MODULE` or hub id, which must have the teacher's vocabulary.

    Raises ModelError where it has no trained head for masked words, or other words than the teacher.
    """
    folder = locate(name)
    mask_id, special_ids = masking(folder)
    if tokenizer(folder.resolve()).get_vocab() != tokenizer(teacher.resolve()).get_vocab():
        raise ModelError(
            f"generator {name} has another vocabulary than the teacher in {teacher}; name a masked language model with "
            "the teacher's tokenizer, or leave `generator` out to derive one from the teacher"
        )
    try:
        net = network("AutoModelForMaskedLM", folder)
    except ModelError as error:
        raise ModelError(
            f"generator {name} is no trained masked language model ({error}); name another, or leave "
            "`generator` out to derive one from the teacher"
        ) from error
    return FolderMaskedLm(net, mask_id, special_ids)


def derived_masked_lm(
    teacher: nn.Module,
    folder: Path,
    task: Task,
    features: Sequence[Features],
    *,
    steps: int = STEPS,
    cache: Path | None = None,
    seed: int = 0,
) -> TiedMaskedLm:
    """A copy of the teacher's encoder with a tied head, trained for `steps` to restore words of the features' texts.

    On the CPU in the end, in eval mode. The teacher and the global random generators are left as they were: the same
    seed gives the same generator. With a `cache` file that exists its weights are read instead, with what they took.
    Raises ModelError where the tokenizer has no mask token.
    """
    mask_id, special_ids = masking(folder)
    base: nn.Module = teacher.base_model  # type: ignore[assignment]
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng([place] if place.type == "cuda" else []), held_if(cache):
        torch.manual_seed(seed)
        found = TiedMaskedLm(copy.deepcopy(base).cpu(), mask_id, special_ids).requires_grad_(True)
        if cache is not None and cache.is_file():
            return read_back(found, cache)
        began = time.perf_counter()
        fit(found.to(place), task, features, steps)
        found.cpu().eval()
        found.steps, found.seconds = steps, time.perf_counter() - began
        if cache is not None:
            unfinished = cache.with_name(cache.name + ".writing")
            save_model(found, str(unfinished), {"steps": str(found.steps), "seconds": repr(found.seconds)})
            unfinished.replace(cache)
    return found


def held_if(cache: Path | None) -> AbstractContextManager[None]:
    """The folder of a cache held, so that two processes do not make the same generator."""
    return nullcontext() if cache is None else held(cache.parent)


def read_back(found: TiedMaskedLm, cache: Path) -> TiedMaskedLm:
    """The generator with the weights and the figures of a file that `derived_masked_lm` wrote, in eval mode."""
    load_model(found, cache)
    with safe_open(cache, "pt") as opened:
        kept = opened.metadata()
    found.steps, found.seconds = int(kept["steps"]), float(kept["seconds"])
    return found.eval()


def masking(folder: Path) -> tuple[int, tuple[int, ...]]:
    """The mask token's id and all special ids of the tokenizer in a folder. Raises ModelError where it has no mask."""
    reader = tokenizer(folder.resolve())
    if reader.mask_token_id is None:
        raise ModelError(
            f"the tokenizer in {folder} has no mask token, so no word can be masked and filled; "
            "use a method that writes no text, such as logit or hidden"
        )
    return int(reader.mask_token_id), tuple(sorted(int(token) for token in reader.all_special_ids))


def fit(generator: TiedMaskedLm, task: Task, features: Sequence[Features], steps: int) -> None:
    """Train to restore words: cross-entropy at the masked positions, the rates falling linearly to 0."""
    if not features:
        raise ModelError("there are no texts to derive a masked language model from; name one as `generator`")
    device = generator.bias.device
    head = [generator.bias, *generator.transform.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": head, "lr": HEAD_RATE}, {"params": generator.encoder.parameters(), "lr": ENCODER_RATE}],
        weight_decay=0.01,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
    generator.train()
    for _ in range(steps):
        chosen = torch.randperm(len(features))[:BATCH].tolist()
        batch = task.reader.collate([features[row] for row in chosen])
        ids, attended = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        loss = restoration_loss(generator, ids, attended)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def restoration_loss(generator: MaskedLm, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Cross-entropy in nats at words masked with `MASK_RATE`, mean over them; 0 where none was drawn."""
    special = torch.tensor(generator.special_ids, device=input_ids.device)
    words = attention_mask.bool() & ~torch.isin(input_ids, special)
    mask = words & (torch.rand(words.shape, device=words.device) < MASK_RATE)
    logits = generator(input_ids.masked_fill(mask, generator.mask_id), attention_mask, mask)
    return F.cross_entropy(logits.float(), input_ids[mask], reduction="sum") / mask.sum().clamp(min=1)
