"""Text classification and regression: one sentence or a pair, read by any encoder of transformers."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from kd2deploy.core import TEACHER_PREFIX, Batch, Features, Observation, Port, Row, Scores, Task
from kd2deploy.errors import DataError, ModelError
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
    score_values,
    squared_error,
    target_value,
)
from kd2deploy.tasks._folder import arguments_of, network, read_config, tokenizer
from kd2deploy.tasks._snippets import reading_code, runtime_code
from kd2deploy.tasks._tokens import check_reading, longest, pad_of, read_alike

TOKEN_TYPED = frozenset({"albert", "bert", "electra", "funnel", "mobilebert", "rembert", "squeezebert", "xlnet"})
"""Model types whose networks tell the two texts of a pair apart by token types, and whose ONNX form has that input."""


def ports_of(folder: Path) -> dict[str, Any]:
    """The task's arguments that depend on the network: whether the one in `folder` reads token types."""
    config = read_config(folder)
    return {"token_types": config["model_type"] in TOKEN_TYPED and config.get("type_vocab_size", 2) > 1}


SNIPPET = """\
{runtime}

{reading}
{labels}

def logits({texts}):
    return run(encoded({texts}))["logits"]


def answer({texts}):
    found = logits({texts})
    return {answer}


print(answer({example}))
"""


class TextClassification(Task):
    """Rows `text` (and `text_pair`) with `label`: a class, or a number when there are no `labels`; None is unlabelled.

    Features hold `input_ids` and, where the tokenizer tells texts apart, `token_type_ids`; the attention mask is made
    when they are padded. `token_types` says whether the deployed network has that third input (see `ports_of`).
    """

    name: ClassVar[str] = "text_classification"
    auto: ClassVar[str] = "AutoModelForSequenceClassification"
    shares: ClassVar[frozenset[str]] = SHARES
    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "sentence", "sentence1", "premise", "question", "review", "content", "body"),
        "text_pair": ("text_pair", "sentence2", "hypothesis", "answer", "passage"),
        "label": ("label", "labels", "class", "category", "target", "intent", "score"),
    }

    def __init__(
        self,
        labels: Sequence[str] | None = None,
        max_length: int = 128,
        metric: str | None = None,
        pair: bool = False,
        token_types: bool = False,
    ) -> None:
        if max_length < 1:
            raise ValueError(f"max_length must be positive, got {max_length}")
        self.labels = tuple(labels or ())
        if len(set(self.labels)) < len(self.labels) or len(self.labels) == 1:
            raise ValueError(f"labels must be at least two different names, got {list(self.labels)}")
        self.max_length, self.pair, self.token_types = max_length, pair, token_types
        self.metric = resolve_metric(metric, len(self.labels))
        self.binary = self.metric == "accuracy"
        names = ("input_ids", "attention_mask", "token_type_ids") if token_types else ("input_ids", "attention_mask")
        self.inputs = tuple(Port(name, "int64", ("batch_size", "sequence_length")) for name in names)
        self.outputs = (Port("logits", "float32", ("batch_size", len(self.labels) or 1)),)

    def spec(self) -> dict[str, Any]:
        return {
            "use": self.name,
            "labels": list(self.labels),
            "max_length": self.max_length,
            "metric": self.metric,
            "pair": self.pair,
            "token_types": self.token_types,
        }

    def at(self, folder: Path) -> "TextClassification":
        arguments = {key: value for key, value in self.spec().items() if key != "use"}
        arguments["max_length"] = min(self.max_length, longest(folder))
        return TextClassification(**{**arguments, **ports_of(folder)})

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("text", "text_pair") if arguments.get("pair") else ("text",)

    @classmethod
    def flaw(cls, value: Any) -> str:
        return "" if isinstance(value, str) else f"{value!r} is no text"

    # networks -----------------------------------------------------------------------------------------------

    def load(self, folder: Path) -> nn.Module:
        net = network(self.auto, folder)
        check_labels(net.config, self.labels, folder)
        config: Any = net.config
        if config.pad_token_id is None:  # a network that looks for its last word would not find it in a batch
            config.pad_token_id = pad_of(folder)
        return net

    def check_inputs(self, folder: Path) -> None:
        check_reading(folder)

    def observe(self, net: nn.Module, batch: Batch, *, needs: frozenset[str] = frozenset()) -> Observation:
        config: Any = net.config
        taken = arguments_of(net)
        inputs = {name: value for name, value in batch.items() if name in taken and name != "labels"}
        if "inputs_embeds" in inputs:
            inputs.pop("input_ids", None)
        attends, dropouts = "attentions" in needs, Dropouts()
        if attends and config._attn_implementation != "eager":
            net.set_attn_implementation("eager")  # type: ignore[operator]
        read: list[Tensor] = []
        handle = observed_embedding(self.head(net), read) if "embedding" in needs else None
        try:
            with dropouts if attends else nullcontext():
                seen = net(
                    **inputs, output_hidden_states="hidden" in needs, output_attentions=attends, return_dict=True
                )
        finally:
            if handle is not None:
                handle.remove()
        mask = batch.get("attention_mask")
        shown = inputs["inputs_embeds"][..., 0] if "inputs_embeds" in inputs else inputs["input_ids"]
        return Observation(
            logits=seen.logits,
            hidden=tuple(seen.hidden_states or ()) if "hidden" in needs else (),
            attentions=tuple(map(dropouts.before, seen.attentions or ())) if attends else (),
            embedding=read[-1] if read else None,
            mask=torch.ones_like(shown, dtype=torch.bool) if mask is None else mask.bool(),
            loss=self.loss(seen.logits, batch.get("labels")),
        )

    def reads_alike(self, one: Path, other: Path) -> bool:
        return read_alike(one, other)

    def loss(self, logits: Tensor, labels: Tensor | None) -> Tensor | None:
        """Cross-entropy, or squared error for regression, over the labelled rows."""
        if labels is None:
            return None
        return cross_entropy(logits, labels) if self.labels else squared_error(logits, labels)

    def head(self, net: nn.Module) -> nn.Module:
        return head_of(net, len(self.labels) or 1)

    def continuous_input(self, net: nn.Module, batch: Batch) -> tuple[str, Tensor]:
        if "inputs_embeds" in batch:
            return "inputs_embeds", batch["inputs_embeds"]
        words: nn.Module = net.get_input_embeddings()  # type: ignore[operator]
        embedded: Tensor = words(batch["input_ids"])
        return "inputs_embeds", embedded

    def token_table(self, net: nn.Module) -> Tensor:
        table: Tensor = net.get_input_embeddings().weight  # type: ignore[operator]
        return table

    # data ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        if not rows:
            return []
        reader, pad = tokenizer(folder.resolve()), pad_of(folder)
        if pad is None:
            raise ModelError(f"the tokenizer in {folder} has no padding token; set one and save it there")
        texts = [self.texts_of(row) for row in rows]
        known = reader(
            [text for text, _ in texts],
            [other for _, other in texts] if self.pair else None,
            truncation=True,
            max_length=min(self.max_length, longest(folder), reader.model_max_length),
            return_attention_mask=False,
        )
        names = [name for name in ("input_ids", "token_type_ids") if name in known]
        labels = [label_index(row, self.labels) if self.labels else target_value(row) for row in rows]
        return [
            {
                **{name: np.asarray(known[name][place], dtype=np.int64) for name in names},
                "pad_id": pad,
                "labels": labels[place],
                "index": int(row.get("index", place)),
            }
            for place, row in enumerate(rows)
        ]

    def texts_of(self, row: Row) -> tuple[str, str]:
        """The row's text and its pair's. Raises DataError where one is missing or not a text."""
        wanted = ("text", "text_pair") if self.pair else ("text",)
        for name in wanted:
            if not isinstance(row.get(name), str):
                raise DataError(f"row {row.get('index', '?')}: {name} is {row.get(name)!r}, and must be a text")
        return row["text"], row["text_pair"] if self.pair else ""

    def collate(self, features: Sequence[Features]) -> Batch:
        batch: Batch = {name: torch.from_numpy(array) for name, array in padded(features, "").items()}
        if TEACHER_PREFIX + "input_ids" in features[0]:
            own = padded(features, TEACHER_PREFIX)
            batch.update({TEACHER_PREFIX + name: torch.from_numpy(array) for name, array in own.items()})
        if "labels" in features[0]:
            kind = torch.int64 if self.labels else torch.float32
            batch["labels"] = torch.tensor([row["labels"] for row in features], dtype=kind)
        if "index" in features[0]:
            batch["index"] = torch.tensor([row["index"] for row in features], dtype=torch.int64)
        return batch

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        arrays = padded(features, "")
        if self.token_types and "token_type_ids" not in arrays:
            arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
        return {port.name: arrays[port.name] for port in self.inputs}

    def length(self, features: Features) -> int:
        return len(features["input_ids"])

    # export -------------------------------------------------------------------------------------------------

    def deployed(self, net: nn.Module) -> nn.Module:
        return Deployed(net, tuple(port.name for port in self.inputs))

    def example(self, net: nn.Module, batch: int, **sizes: int) -> dict[str, Tensor]:
        """Random words, the last of several rows padded in its last quarter; `sequence_length` up to 32 by default."""
        config: Any = net.config
        length = sizes.get("sequence_length", min(self.max_length, 32))
        words = [
            word for word in range(min(5, config.vocab_size - 1), config.vocab_size) if word != config.pad_token_id
        ]
        drawn = torch.randint(len(words), (batch, length), generator=torch.Generator().manual_seed(0))
        found = {"input_ids": torch.tensor(words)[drawn], "attention_mask": torch.ones_like(drawn)}
        if batch > 1 and length > 3:
            found["input_ids"][-1, -(length // 4) :] = config.pad_token_id or 0
            found["attention_mask"][-1, -(length // 4) :] = 0
        if self.token_types:
            found["token_type_ids"] = torch.zeros_like(drawn)
            if self.pair:
                found["token_type_ids"][:, length // 2 :] = found["attention_mask"][:, length // 2 :]
        return found

    # judging ------------------------------------------------------------------------------------------------

    def score(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Scores:
        if not self.labels:
            return score_values(outputs["logits"], np.array([target_value(row) for row in rows], dtype=np.float64))
        truth = np.array([label_index(row, self.labels) for row in rows], dtype=np.int64)
        return score_classes(outputs["logits"], truth, self.labels)

    def headline(self, truth: Array, predictions: Array) -> float:
        return METRICS[self.metric](truth, predictions)

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return agreement_of(one["logits"], other["logits"])

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        return answers_of(outputs["logits"], self.labels)

    def row(self, given: str, other: str | None = None) -> Row:
        if self.pair and other is None:
            raise DataError("this task reads pairs; give the second text too")
        return {"text": given, "text_pair": other, "label": None} if self.pair else {"text": given, "label": None}

    def snippet(self, file: str, folder: Path) -> str:
        texts = "texts, others" if self.pair else "texts"
        answer = "[labels[place] for place in found.argmax(-1)]" if self.labels else "found[:, 0].tolist()"
        reader, inputs = tokenizer(folder.resolve()), [port.name for port in self.inputs]
        return SNIPPET.format(
            runtime=runtime_code(file, self.auto),
            reading=reading_code(reader, folder, texts, min(self.max_length, reader.model_max_length), inputs),
            texts=texts,
            labels=f"labels = {list(self.labels)!r}\n" if self.labels else "",
            answer=answer,
            example="['a first text'], ['a second one']" if self.pair else "['a text', 'another']",
        )


class Deployed(nn.Module):
    """Positional inputs, a tuple with the logits."""

    def __init__(self, net: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.names = net, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.net(**dict(zip(self.names, inputs, strict=True)), return_dict=True).logits,)


def padded(features: Sequence[Features], prefix: str) -> dict[str, Array]:
    """The inputs under `prefix`, padded on the right to the longest row, with their attention mask: int64 [B, L]."""
    lengths = [len(row[prefix + "input_ids"]) for row in features]
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    found = {"input_ids": np.full_like(mask, features[0].get(prefix + "pad_id", 0)), "attention_mask": mask}
    if prefix + "token_type_ids" in features[0]:
        found["token_type_ids"] = np.zeros_like(mask)
    for name in found.keys() - {"attention_mask"}:
        for place, row in enumerate(features):
            found[name][place, : lengths[place]] = row[prefix + name]
    return found
