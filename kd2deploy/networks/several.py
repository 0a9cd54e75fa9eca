"""Several networks that answer as one: what a folder with `members.json` is opened as."""

import inspect
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from kd2deploy.core.members import MEMBERS, Members, networks_in
from kd2deploy.core.step import Batch, Observation
from kd2deploy.errors import ModelError
from kd2deploy.networks.image_processor import FILE
from kd2deploy.networks.image_processor import read_alike as pictures_alike
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.networks.labels import MULTI, REGRESSION
from kd2deploy.networks.tokens import has_tokenizer
from kd2deploy.networks.tokens import read_alike as texts_alike

Observe = Callable[[nn.Module, Batch, frozenset[str]], Observation]
"""What one module shows of itself: its logits as it gives them, and what is needed beside."""


class Several(nn.Module):
    """Members that read the same inputs; their logits are combined. Trained and saved like a model of transformers."""

    hides = frozenset({"hidden", "attentions", "embedding"})
    """See `shown_by`: they have no layers in common."""

    def __init__(self, members: Sequence[nn.Module], how: Members, answers: str) -> None:
        """`answers` is what transformers calls the members' problem type: how logits stand for probabilities."""
        super().__init__()
        if how.combine == "mean_probability" and answers == REGRESSION:
            raise ModelError(f"{MEMBERS} combines by mean_probability, and a regression answers none; use mean")
        configs: list[Any] = [member.config for member in members]
        for config in configs:
            config.problem_type = config.problem_type or answers  # saved again, the folder says it to everybody
        self.members = nn.ModuleList(members)
        self.how, self.answers = how, answers
        self.takes = [read_by(member) for member in members]

    @property
    def config(self) -> Any:
        """What holds for all members."""
        configs: list[Any] = [member.config for member in self.members]
        words = [config.vocab_size for config in configs if getattr(config, "vocab_size", None)]
        return SimpleNamespace(
            model_type="set of several networks",
            vocab_size=min(words, default=None),
            pad_token_id=getattr(configs[0], "pad_token_id", None),
        )

    def forward(self, **inputs: Any) -> SequenceClassifierOutput:
        found = [
            member(**{name: value for name, value in inputs.items() if name in takes}, return_dict=True).logits
            for member, takes in zip(self.members, self.takes, strict=True)
        ]
        return SequenceClassifierOutput(logits=combined(found, self.how, self.answers))

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        for name, member in zip(self.how.names, self.members, strict=True):
            member.save_pretrained(Path(folder) / name, **options)  # type: ignore[operator]
        (Path(folder) / MEMBERS).write_text(json.dumps(self.how.to_json(), indent=2) + "\n", encoding="utf-8")

    def set_attn_implementation(self, name: str) -> None:
        for member in self.members:
            member.set_attn_implementation(name)  # type: ignore[operator]

    def get_input_embeddings(self) -> NoReturn:
        raise ModelError(
            "several networks have no table of word embeddings in common; take a method that reads answers alone, such "
            "as logit"
        )

    @property
    def base_model(self) -> NoReturn:
        self.get_input_embeddings()


def shown_by(net: nn.Module, needs: frozenset[str]) -> frozenset[str]:
    """What of an observation's `needs` a network can show of itself: all but what a kind of our own `hides`."""
    hidden: frozenset[str] = getattr(net, "hides", frozenset())
    return needs - hidden


def each_seen(net: nn.Module, batch: Batch, needs: frozenset[str], observe: Observe) -> Observation:
    """What a network shows of itself. Several, where `members` is needed, are run one by one: then each shows what it
    has, and the answer is made of theirs."""
    if not isinstance(net, Several) or "members" not in needs:
        return observe(net, batch, shown_by(net, needs))
    seen = tuple(
        observe(member, read_alone(member, batch, takes), shown_by(member, needs))
        for member, takes in zip(net.members, net.takes, strict=True)
    )
    logits = [one.logits for one in seen if one.logits is not None]
    return Observation(logits=combined(logits, net.how, net.answers), mask=seen[0].mask, members=seen)


def read_alone(member: nn.Module, batch: Batch, takes: frozenset[str]) -> Batch:
    """The batch without what the member has an argument for and is not to be given."""
    withheld = taken_by(member) - takes - {"labels"}
    return {name: value for name, value in batch.items() if name not in withheld}


def single(net: nn.Module) -> Sequence[nn.Module]:
    """The members of several networks; a network by itself."""
    return list(net.members) if isinstance(net, Several) else [net]


def taken_by(net: nn.Module) -> frozenset[str]:
    """Names of the arguments that one network takes."""
    return frozenset(inspect.signature(net.forward).parameters)


def read_by(net: nn.Module) -> frozenset[str]:
    """The inputs that a member is given: what it has an argument for, token types only where it tells them apart."""
    taken = taken_by(net) - {"labels", "return_dict"}
    return taken if getattr(net.config, "type_vocab_size", 2) > 1 else taken - {"token_type_ids"}


def combined(logits: Sequence[Tensor], how: Members, answers: str) -> Tensor:
    """One answer [B, C] of the members' [B, C] each; where probabilities are averaged, the logits of their mean."""
    if how.combine != "mean_probability":
        return torch.stack([share * one for share, one in zip(how.shares, logits, strict=True)]).sum(0)
    if answers == MULTI:
        yes, no = (log_mean([F.logsigmoid(sign * one) for one in logits], how.shares) for sign in (1, -1))
        return yes - no
    return log_mean([one.log_softmax(-1) for one in logits], how.shares)


def log_mean(logs: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """log(sum of share * exp(log)), without leaving logarithms."""
    return torch.stack([one + math.log(share) for one, share in zip(logs, shares, strict=True)]).logsumexp(0)


def check_inputs_alike(folder: Path) -> None:
    """Raises ModelError where a member's own tokenizer or image processor reads otherwise than what all are read by."""
    home = inputs_of(folder)
    for place in networks_in(folder):
        if place == home:
            continue
        if has_tokenizer(place) and not texts_alike(home, place):
            raise ModelError(
                f"the members of {folder} read texts in different ways: the tokenizer in {place} is not "
                f"that of {home}; all members must have one tokenizer"
            )
        if (place / FILE).is_file() and not pictures_alike(home, place):
            raise ModelError(
                f"the members of {folder} read pictures in different ways: {place / FILE} is not "
                f"{home / FILE}; all members must have one image processor"
            )
