"""CTC networks of transformers: how they are loaded, run and deployed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kd2deploy.core import Batch, Observation, TaskNetworks
from kd2deploy.core.members import members_in
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.ctc_vocabulary import vocabulary
from kd2deploy.networks.folder import arguments_of, network
from kd2deploy.networks.frames import SPECTRA, Stride, body_of, frames, front_end, hears_padding, seconds_per_frame
from kd2deploy.networks.hearing import hearing
from kd2deploy.tasks._attentions import Dropouts
from kd2deploy.tasks._losses import ctc
from kd2deploy.tasks._speech_reader import HEARD_AS, SpeechReader
from kd2deploy.tasks._transcripts import Transcripts

SILENCE = -20.0
"""Logit of every symbol but the blank, whose is 0, at frames that are padding: what an int8 file can hold too. Ours."""


class SpeechNetworks(TaskNetworks):
    """Networks that answer a symbol, or the blank, in every frame."""

    auto = "AutoModelForCTC"

    def __init__(self, transcripts: Transcripts, reader: SpeechReader) -> None:
        self.transcripts, self.reader = transcripts, reader

    def load(self, folder: Path) -> nn.Module:
        if members_in(folder) is not None:
            raise ModelError(f"{folder} holds several networks, and transcripts of several are not joined; name one")
        front_end(read_config(folder))  # raises for a network that is not supported
        net = network(self.auto, folder)
        config: Any = net.config
        if config.vocab_size != len(self.transcripts.pieces):
            raise ModelError(
                f"{folder} answers {config.vocab_size} symbols, and the vocabulary beside it has "
                f"{len(self.transcripts.pieces)}; save the network's own tokenizer there"
            )
        return with_every_block(net)

    def answers(self) -> dict[str, Any]:
        return {"vocab_size": len(self.transcripts.pieces), "pad_token_id": self.transcripts.blank}

    def check_pair(self, teacher: Path, student: Path) -> None:
        one, other = (vocabulary(folder.resolve()) for folder in (teacher, student))
        if one is None or other is None or (one.pieces, one.blank) != (other.pieces, other.blank):
            raise ModelError(
                "teacher and student answer different symbols; give the student the teacher's vocabulary (a student "
                "by `shrink` or `create` has it), or another teacher"
            )

    def differences(self, teacher: Path, student: Path) -> tuple[str, ...]:
        slow, fast = (
            seconds_per_frame(front_end(read_config(folder)), hearing(folder.resolve()).per_second)
            for folder in (teacher, student)
        )
        if abs(slow - fast) < 1e-9:
            return ()
        return (
            f"the teacher answers every {1000 * slow:g} ms and the student every {1000 * fast:g} ms: what it says is "
            "interpolated to the student's frames before they are compared",
        )

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        config: Any = net.config
        attends, dropouts = "attentions" in needs, Dropouts()
        if attends and config._attn_implementation != "eager":
            net.set_attn_implementation("eager")  # type: ignore[operator]
        inputs = {name: batch[name] for name in batch if name in arguments_of(net) and name != "labels"}
        if hears_padding(config.to_dict()):
            inputs.pop("attention_mask")
        strides = front_end(config.to_dict())
        counts = frames(batch["attention_mask"].sum(-1), strides)
        read: list[Tensor] = []
        handle = self.head(net).register_forward_pre_hook(lambda _, given: read.append(given[0]))
        try:
            with dropouts if attends else nullcontext(), masking_that_fits(net, int(counts.max())):
                seen = net(**inputs, output_hidden_states="hidden" in needs, output_attentions=attends)
        finally:
            handle.remove()
        found = Observation(
            logits=seen.logits,
            hidden=tuple(seen.hidden_states or ()) if "hidden" in needs else (),
            attentions=tuple(map(dropouts.before, seen.attentions or ())) if attends else (),
            mask=counted(counts, seen.logits.shape[1]),
        )
        if "embedding" in needs:
            found = replace(found, embedding=mean_of(read[-1], found.mask))
        return replace(found, loss=self.loss_of(seen.logits, found, batch["labels"])) if "labels" in batch else found

    def loss_of(self, logits: Tensor, seen: Observation, labels: Tensor) -> Tensor:
        assert seen.mask is not None, "which `observe` made"
        return ctc(logits, seen.mask, labels, self.transcripts.blank)

    def head(self, net: nn.Module) -> nn.Module:
        config: Any = net.config
        found: nn.Module = net.get_submodule("ctc_head" if config.model_type in SPECTRA else "lm_head")
        return found

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        config: Any = net.config
        name = HEARD_AS[config.model_type in SPECTRA]
        return name, batch[name]

    def deployed(self, net: nn.Module) -> nn.Module:
        config: Any = net.config
        strides = front_end(config.to_dict())
        return Deployed(net, self.reader.heard_as, strides, self.transcripts.blank, hears_padding(config.to_dict()))

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Standard normal waves or spectra; the last of several rows is silent in its last quarter, as padding."""
        along = self.reader.ports[1].axes[1]
        config: Any = net.config
        length = sizes.get(str(along), example_length(front_end(config.to_dict())))
        shape = (batch, length, self.reader.bins) if self.reader.bins else (batch, length)
        heard = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        mask = torch.ones(batch, length, dtype=torch.int64)
        if batch > 1:
            heard[-1, -(length // 4) :] = 0
            mask[-1, -(length // 4) :] = 0
        return {self.reader.heard_as: heard, "attention_mask": mask}


EXAMPLE_FRAMES = 24


def example_length(strides: tuple[Stride, ...]) -> int:
    """Samples or spectra of about so many frames."""
    length = 1
    for stride in strides:
        length *= stride.step
    return EXAMPLE_FRAMES * length + max(stride.kernel for stride in strides)


def counted(counts: Tensor, frames_in_all: int) -> Tensor:
    """[B, T]: which frames are heard, of rows with `counts` [B] of them."""
    return torch.arange(frames_in_all, device=counts.device)[None] < counts[:, None]


def mean_of(states: Tensor, mask: Tensor | None) -> Tensor:
    """[B, D]: the mean of [B, T, D] over the frames that are heard."""
    assert mask is not None, "which `observe` made"
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def with_every_block(net: nn.Module) -> nn.Module:
    """The same network without layer drop: blocks that are left out at random in training would leave holes in the
    hidden states that methods read."""
    config: Any = net.config
    body_of(config).layerdrop = 0.0
    if config.model_type in SPECTRA:
        encoder: Any = net.get_submodule("encoder")
        encoder.layerdrop = 0.0
    return net


@contextmanager
def masking_that_fits(net: nn.Module, longest: int) -> Iterator[None]:
    """Without SpecAugment, in a training, where no row has as many frames as are masked at once: transformers refuses
    such a batch."""
    config: Any = net.config
    masks = net.training and getattr(config, "apply_spec_augment", False)
    if not masks or longest > max(config.mask_time_length, 1):
        yield
        return
    config.apply_spec_augment = False
    try:
        yield
    finally:
        config.apply_spec_augment = True


class Deployed(nn.Module):
    """Positional samples or spectra and their mask, a tuple with the logits; frames that are padding say the blank, so
    that who reads the answer need not know how long it is."""

    silence: Tensor

    def __init__(
        self, net: nn.Module, heard_as: str, strides: tuple[Stride, ...], blank: int, hears_padding: bool
    ) -> None:
        super().__init__()
        config: Any = net.config
        self.net, self.heard_as, self.strides, self.hears_padding = net, heard_as, strides, hears_padding
        silence = torch.full((config.vocab_size,), SILENCE)
        silence[blank] = 0.0
        self.register_buffer("silence", silence.to(next(net.parameters()).device), persistent=False)

    def forward(self, heard: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        shown = {} if self.hears_padding else {"attention_mask": attention_mask}
        logits = self.net(**{self.heard_as: heard}, **shown).logits
        mask = counted(frames(attention_mask.sum(-1), self.strides), logits.shape[1])
        return (torch.where(mask[..., None], logits, self.silence.to(logits.dtype)),)
