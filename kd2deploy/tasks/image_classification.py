"""Image classification: any image classifier of transformers, images prepared as its folder's processor says."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import TEACHER_PREFIX, Batch, Features, Observation, Port, Row, Scores, Task
from kd2deploy.tasks._attentions import Dropouts
from kd2deploy.tasks._classification import (
    METRICS,
    SHARES,
    Array,
    agreement_of,
    answers_of,
    check_labels,
    cross_entropy,
    head_of,
    label_index,
    observed_embedding,
    resolve_metric,
    score_classes,
    with_two_outputs,
)
from kd2deploy.tasks._folder import arguments_of, network, read_config
from kd2deploy.tasks._image_processor import FILE, processor, read_alike, save_processor
from kd2deploy.tasks._images import pixels, unreadable
from kd2deploy.tasks._served_pictures import write_processor
from kd2deploy.tasks._snippets import picture_code, runtime_code


def ports_of(folder: Path) -> dict[str, Any]:
    """The task's arguments that depend on the network: channels, height and width of what the one in `folder` reads."""
    height, width = processor(folder.resolve()).out
    return {"channels": int(read_config(folder).get("num_channels", 3)), "height": height, "width": width}


SNIPPET = """\
{runtime}
{prepare}
labels = {labels!r}


def answer(path):
    return labels[run({{"pixel_values": prepared(path)}})["logits"].argmax()]


print(answer("picture.png"))
"""


class ImageClassification(Task):
    """Rows `image` (a picture, a uint8 array or a path) with `label`: a class; None is unlabelled.

    Features hold the pixels as bytes with the mean and deviation that they are normalised by when collated, so that a
    data set takes a quarter of the memory.
    """

    name: ClassVar[str] = "image_classification"
    auto: ClassVar[str] = "AutoModelForImageClassification"
    pipeline: ClassVar[str] = "image-classification"
    shares: ClassVar[frozenset[str]] = SHARES

    def __init__(
        self,
        labels: Sequence[str],
        metric: str | None = None,
        channels: int = 3,
        height: int = 224,
        width: int = 224,
    ) -> None:
        self.labels = tuple(labels)
        if len(set(self.labels)) < len(self.labels) or len(self.labels) < 2:
            raise ValueError(f"labels must be at least two different names, got {list(self.labels)}")
        if min(channels, height, width) < 1:
            raise ValueError(f"channels, height and width must be positive, got {channels}, {height}, {width}")
        self.channels, self.height, self.width = channels, height, width
        self.metric = resolve_metric(metric, len(self.labels))
        self.binary = self.metric == "accuracy"
        self.inputs = (Port("pixel_values", "float32", ("batch_size", channels, height, width)),)
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels))),)

    def spec(self) -> dict[str, Any]:
        return {
            "use": self.name,
            "labels": list(self.labels),
            "metric": self.metric,
            "channels": self.channels,
            "height": self.height,
            "width": self.width,
        }

    def at(self, folder: Path) -> "ImageClassification":
        arguments = {key: value for key, value in self.spec().items() if key != "use"}
        return ImageClassification(**{**arguments, **ports_of(folder)})

    # networks -----------------------------------------------------------------------------------------------

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("image",)

    @classmethod
    def flaw(cls, value: Any) -> str:
        return unreadable(value)

    def reads_alike(self, one: Path, other: Path) -> bool:
        return read_alike(one, other)

    def load(self, folder: Path) -> nn.Module:
        net = network(self.auto, folder)
        net = with_two_outputs(net, self.labels)
        check_labels(net.config, self.labels, folder, self.problem_type)
        return net

    def fresh(self) -> dict[str, Any]:
        return {"num_channels": self.channels, "image_size": self.height}

    def write_inputs(self, folder: Path) -> None:
        if not (folder / FILE).is_file():
            save_processor(folder, self.channels, self.height, self.width)

    def write_as_judged(self, folder: Path) -> None:
        write_processor(folder, self.channels)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        config: Any = net.config
        wanted, dropouts = {"output_hidden_states": "hidden" in needs}, Dropouts()
        attends = "attentions" in needs and isinstance(getattr(config, "num_attention_heads", None), int)
        if attends:
            wanted["output_attentions"] = True
            if config._attn_implementation != "eager":
                net.set_attn_implementation("eager")  # type: ignore[operator]
        taken = arguments_of(net) - {"labels"}
        read: list[Tensor] = []
        handle = observed_embedding(self.head(net), read) if "embedding" in needs else None
        try:
            with dropouts if attends else nullcontext():
                seen = net(**{name: batch[name] for name in batch if name in taken}, **wanted, return_dict=True)
        finally:
            if handle is not None:
                handle.remove()
        labels = batch.get("labels")
        return Observation(
            logits=seen.logits,
            hidden=tuple(flattened(states) for states in seen.hidden_states) if "hidden" in needs else (),
            attentions=tuple(map(dropouts.before, seen.attentions)) if attends else (),
            embedding=read[-1] if read else None,
            loss=None if labels is None else cross_entropy(seen.logits, labels),
        )

    def head(self, net: nn.Module) -> nn.Module:
        return head_of(net, len(self.labels))

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        return "pixel_values", batch["pixel_values"]

    # data ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        reader = processor(folder.resolve())
        channels = int(read_config(folder).get("num_channels", 3))
        mean, std = reader.normalisation(channels)
        return [
            {
                "pixel_values": pixels(row, reader, channels),
                "mean": mean,
                "std": std,
                "labels": label_index(row, self.labels),
                "index": int(row.get("index", place)),
            }
            for place, row in enumerate(rows)
        ]

    def collate(self, features: Sequence[Features]) -> Batch:
        batch: Batch = {"pixel_values": torch.from_numpy(normalised(features, ""))}
        if TEACHER_PREFIX + "pixel_values" in features[0]:
            batch[TEACHER_PREFIX + "pixel_values"] = torch.from_numpy(normalised(features, TEACHER_PREFIX))
        for name in ("labels", "index"):
            if name in features[0]:
                batch[name] = torch.tensor([row[name] for row in features], dtype=torch.int64)
        return batch

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        return {"pixel_values": normalised(features, "")}

    def length(self, features: Features) -> int:
        return 1

    # export -------------------------------------------------------------------------------------------------

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net)

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Standard normal pixels."""
        shape = (batch, self.channels, self.height, self.width)
        return {"pixel_values": torch.randn(shape, generator=torch.Generator().manual_seed(0))}

    # judging ------------------------------------------------------------------------------------------------

    def score(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Scores:
        truth = np.array([label_index(row, self.labels) for row in rows], dtype=np.int64)
        return score_classes(outputs["logits"], truth, self.labels)

    def headline(self, truth: Array, predictions: Array) -> float:
        return METRICS[self.metric](truth, predictions)

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of(one["logits"], other["logits"])

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return answers_of(outputs["logits"], self.labels)

    def row(self, given: str, other: str | None = None) -> Row:
        return {"image": given, "label": None}

    def snippet(self, file: str, folder: Path) -> str:
        return SNIPPET.format(
            runtime=runtime_code(file, self.auto),
            prepare=picture_code(processor(folder.resolve()), self.channels),
            labels=list(self.labels),
        )


class Deployed(nn.Module):
    """Positional pixels, a tuple with the logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (self.net(pixel_values=pixel_values, return_dict=True).logits,)


def flattened(states: Tensor) -> Tensor:
    """Feature maps [B, D, H, W] as positions [B, H*W, D]; what is [B, L, D] already stays."""
    return states.flatten(2).transpose(1, 2) if states.dim() == 4 else states


def normalised(features: Sequence[Features], prefix: str) -> Array:
    """Bytes to float32 [B, C, H, W]: (pixel - mean) / std, both in the pixels' own unit."""
    stacked = np.stack([row[prefix + "pixel_values"] for row in features]).astype(np.float32)
    return np.asarray((stacked - features[0][prefix + "mean"]) / features[0][prefix + "std"], dtype=np.float32)
