"""How one text or a pair becomes a network's inputs: what all text tasks share.

Features hold `input_ids` and, where the tokenizer tells texts apart, `token_type_ids`; the attention mask is made when
they are padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import TEACHER_PREFIX, Array, Features, Port, Prepare, Reader, Reading, Row, ServerReader, Table
from kd2deploy.core.mapped import values_of
from kd2deploy.core.trust import short
from kd2deploy.errors import DataError, ModelError
from kd2deploy.networks.configuration import read_configs
from kd2deploy.networks.plain_tokenizer import plain_tokenizer
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.networks.tokens import check_reading, longest, pad_of, read_alike, read_length
from kd2deploy.tasks._encoding import token_columns, tokens
from kd2deploy.tasks._floors import Inputs, floors, weighted_words
from kd2deploy.tasks._reading import counted, reading_of
from kd2deploy.tasks._served_texts import server_code
from kd2deploy.tasks._served_tokens import write_tokenizer
from kd2deploy.tasks._snippets import reading_code
from kd2deploy.tasks._targets import Target

if TYPE_CHECKING:
    from kd2deploy.core import Batch

TOKEN_TYPED = frozenset({"albert", "bert", "electra", "funnel", "mobilebert", "rembert", "squeezebert", "xlnet"})
"""Model types whose networks tell the two texts of a pair apart by token types, and whose ONNX form has that input."""

SNIPPET = """\
{runtime}

{reading}
{constants}

def logits({texts}):
    return run(encoded({texts}))["logits"]


def answer({texts}):
    found = logits({texts})
    return {answer}


print(answer({example}))
"""


def ports_of(folder: Path) -> dict[str, Any]:
    """The task's arguments that depend on the network: whether the one in `folder`, or a member, reads token types."""
    return {"token_types": any(map(token_typed, read_configs(folder)))}


def token_typed(config: Mapping[str, Any]) -> bool:
    return config["model_type"] in TOKEN_TYPED and config.get("type_vocab_size", 2) > 1


class TextReader(Reader):
    """Texts cut at `max_length` tokens, alone or in pairs, with or without token types; and what is learned of them."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "sentence", "sentence1", "premise", "question", "review", "content", "body"),
        "text_pair": ("text_pair", "sentence2", "hypothesis", "answer", "passage"),
        "label": ("label", "labels", "class", "category", "target", "intent", "score"),
    }

    counted_in: ClassVar[str] = "tokens"

    def __init__(self, target: Target, max_length: int = 128, pair: bool = False, token_types: bool = False) -> None:
        if max_length < 1:
            raise ValueError(f"max_length must be positive, got {max_length}")
        self.target, self.max_length, self.pair, self.token_types = target, max_length, pair, token_types
        self.opened: Callable[[Path], Any] = tokenizer
        """What opens the tokenizer in a folder."""

    def spec(self) -> dict[str, Any]:
        """The arguments of a task that are its reader's."""
        return {"max_length": self.max_length, "pair": self.pair, "token_types": self.token_types}

    def spec_at(self, folder: Path) -> dict[str, Any]:
        """The same, as the network in `folder` reads texts."""
        return {**self.spec(), "max_length": min(self.max_length, longest(folder)), **ports_of(folder)}

    @property
    def ports(self) -> tuple[Port, ...]:
        names = ("input_ids", "attention_mask", *(("token_type_ids",) if self.token_types else ()))
        return tuple(Port(name, "int64", ("batch_size", "sequence_length")) for name in names)

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("text", "text_pair") if arguments.get("pair") else ("text",)

    @classmethod
    def implied(cls, columns: Mapping[str, str | None]) -> Mapping[str, Any]:
        return {"pair": True} if columns.get("text_pair") else {}

    @property
    def limits(self) -> Mapping[str, int]:
        return {"sequence_length": self.max_length}

    @classmethod
    def flaw(cls, value: Any) -> str:
        if not isinstance(value, str):
            return f"{short(value)} is no text"
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return f"it holds half of a surrogate pair ({value[error.start]!r}, character {error.start + 1})"
        return ""

    # rows ---------------------------------------------------------------------------------------------------

    def row(self, given: str, other: str | None = None) -> Row:
        if self.pair and other is None:
            raise DataError("this task reads pairs; give the second text too")
        return {"text": given, "text_pair": other, "label": None} if self.pair else {"text": given, "label": None}

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        reader = self.opened(folder.resolve())
        length = read_length(reader, folder, self.max_length)
        return reading_of(counted(reader, [self.texts(row) for row in rows], self.pair, length), length)

    def encode(self, rows: Sequence[Row], folder: Path) -> Table:
        if not rows:
            return Table({}, {}, 0)
        reader, pad, length = self.read_by(folder)
        columns = token_columns(reader, map(self.texts, rows), self.pair, length)
        index = np.array([place if at is None else int(at) for place, at in enumerate(values_of(rows, "index"))])
        return Table({**columns, "index": index, "labels": self.target.of(rows)}, {"pad_id": pad}, len(rows))

    def read_by(self, folder: Path) -> tuple[Any, int, int]:
        """The tokenizer in `folder`, its padding's number, and how many tokens it reads. Raises ModelError."""
        reader = self.opened(folder.resolve())
        pad = pad_of(folder, reader)
        if pad is None:
            raise ModelError(f"the tokenizer in {folder} has no padding token; set one and save it there")
        return reader, pad, read_length(reader, folder, self.max_length)

    def texts(self, row: Row) -> tuple[str, str]:
        """The row's text and its pair's. Raises DataError where one is missing or not a text."""
        for name in self.fields({"pair": self.pair}):
            if not isinstance(row.get(name), str):
                raise DataError(f"row {row.get('index', '?')}: {name} is {short(row.get(name))}, and must be a text")
        return row["text"], row["text_pair"] if self.pair else ""

    def length(self, features: Features) -> int:
        return len(features["input_ids"])

    def floors(self, train: Sequence[Row], asked: Sequence[Row]) -> dict[str, Mapping[str, Array]]:
        """The commonest answer, and a linear model of the words."""

        def words(rows: Sequence[Row]) -> Inputs | None:
            return weighted_words(*([" ".join(self.texts(row)) for row in some] for some in (rows, asked)))

        return floors(self.target, "TF-IDF with a linear model", words, train, len(asked))

    # batches ------------------------------------------------------------------------------------------------

    def collate(self, features: Sequence[Features]) -> Batch:
        import torch

        batch: Batch = {name: torch.from_numpy(array) for name, array in padded(features, "").items()}
        if TEACHER_PREFIX + "input_ids" in features[0]:
            own = padded(features, TEACHER_PREFIX)
            batch.update({TEACHER_PREFIX + name: torch.from_numpy(array) for name, array in own.items()})
        if "index" in features[0]:
            batch["index"] = torch.tensor([row["index"] for row in features], dtype=torch.int64)
        if "labels" in features[0]:
            labels = np.array([row["labels"] for row in features])
            batch["labels"] = torch.from_numpy(labels.astype(np.float32 if labels.dtype.kind == "f" else np.int64))
        return batch

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        arrays = padded(features, "")
        if self.token_types and "token_type_ids" not in arrays:
            arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
        return {port.name: arrays[port.name] for port in self.ports}

    # requests -----------------------------------------------------------------------------------------------

    def preparing(self, folder: Path) -> Prepare:
        reader, pad, length = self.read_by(folder)

        def prepare(rows: Sequence[Row]) -> dict[str, Array]:
            found = tokens(reader, [self.texts(row) for row in rows], self.pair, length)
            named = [{name: ids[place] for name, ids in found.items()} for place in range(len(rows))]
            return self.feed([{**one, "pad_id": pad} for one in named])

        return prepare

    # what lies in a network's folder ------------------------------------------------------------------------

    def check_inputs(self, folder: Path) -> None:
        check_reading(folder)

    def reads_alike(self, one: Path, other: Path) -> bool:
        return read_alike(one, other)

    def write_as_judged(self, folder: Path) -> None:
        write_tokenizer(folder, self.max_length, [port.name for port in self.ports])

    def served(self) -> TextReader:
        found = copy(self)
        found.opened = plain_tokenizer
        return found

    def server_reader(self) -> ServerReader:
        fields = self.fields({"pair": self.pair})
        code = server_code(fields, [port.name for port in self.ports], self.max_length)
        return ServerReader(fields, code, ("tokenizer.json",))

    def snippet(self, opening: str, constants: str, answer: str) -> str:
        """Code that goes on from `opening`, which defines `run`.

        `constants` are lines of their own, `answer` is an expression of the logits `found`.
        """
        texts = "texts, others" if self.pair else "texts"
        return SNIPPET.format(
            runtime=opening,
            reading=reading_code(texts, [port.name for port in self.ports]),
            texts=texts,
            constants=constants,
            answer=answer,
            example="['a first text'], ['a second one']" if self.pair else "['a text', 'another']",
        )


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
