"""A task of the tests' own: which good and bad words stand in a text, in their order, judged by the share of errors.

Its targets differ in length, lower is better, and it is not what any of the program's own tasks is. All that it needs
stands in this file, but for its networks: who runs a deployed file need not wait for torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from recipes.words import BAD, GOOD

from kd2deploy.core import Features, Metric, Port, Reader, Row, Scores, Task, mark_of
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.networks.tokens import pad_of

if TYPE_CHECKING:
    from transcript_networks import TranscriptNetworks

    from kd2deploy.core import Batch

Array = np.ndarray[Any, Any]
SYMBOLS = ("", "+", "-")
"""What a position answers; the first is nothing."""
UNSAID = -100
"""At positions that nothing is learnt at."""


def transcript(text: str) -> str:
    """`+` for every good word and `-` for every bad one."""
    return "".join("+" if word in GOOD else "-" for word in text.split() if word in (*GOOD, *BAD))


def said_at(places: Array) -> list[int]:
    """The symbols [L] that are something, in their order."""
    return [int(one) for one in places if one]


def edits(said: Sequence[int], right: Sequence[int]) -> int:
    """The Levenshtein distance."""
    row = list(range(len(right) + 1))
    for at, one in enumerate(said, 1):
        before, row[0] = row[0], at
        for place, other in enumerate(right, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (one != other))
    return row[-1]


class TranscriptReader(Reader):
    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("text",)

    @classmethod
    def target_flaw(cls, label: Any) -> str:
        return "" if isinstance(label, str) and set(label) <= {"+", "-"} else f"{label!r} is not made of + and -"

    def row(self, given: str, other: str | None = None) -> Row:
        return {"text": given, "label": None}

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        read, pad = tokenizer(folder.resolve()), pad_of(folder)
        known = set(read.convert_tokens_to_ids([*GOOD, *BAD]))
        found = []
        for place, row in enumerate(rows):
            ids = read(row["text"], truncation=True, max_length=16)["input_ids"]
            said = iter(row["label"] or "")
            answers = [SYMBOLS.index(next(said, "")) if one in known else 0 for one in ids]
            labels = answers if row["label"] is not None else [UNSAID] * len(ids)
            found.append({"input_ids": np.array(ids), "pad": pad, "labels": labels, "index": row.get("index", place)})
        return found

    def length(self, features: Features) -> int:
        return len(features["input_ids"])

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        longest = max(map(self.length, features))
        shape = (len(features), longest)
        found = {"input_ids": np.full(shape, features[0]["pad"]), "attention_mask": np.zeros(shape, dtype=np.int64)}
        for place, each in enumerate(features):
            found["input_ids"][place, : self.length(each)] = each["input_ids"]
            found["attention_mask"][place, : self.length(each)] = 1
        return found

    def collate(self, features: Sequence[Features]) -> Batch:
        import torch

        batch = {name: torch.from_numpy(array) for name, array in self.feed(features).items()}
        batch["labels"] = torch.full_like(batch["input_ids"], UNSAID)
        for place, each in enumerate(features):
            batch["labels"][place, : self.length(each)] = torch.tensor(each["labels"])
        batch["index"] = torch.tensor([each["index"] for each in features])
        return batch


class ErrorRate(Metric):
    """Edits over symbols, both summed over the examples: no mean over examples."""

    name, unit, higher_is_better = "error_rate", "share", False

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        right = [[SYMBOLS.index(one) for one in row["label"]] for row in rows]
        said = [said_at(places) for places in outputs["logits"].argmax(-1)]
        found = {
            "edits": np.array([edits(one, other) for one, other in zip(said, right, strict=True)]),
            "symbols": np.array([len(one) for one in right]),
            "right": np.empty(len(rows), dtype=object),
        }
        found["right"][:] = [np.array(one, dtype=np.int64) for one in right]
        return found

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        rate = self.at(statistics, np.arange(len(statistics["edits"])))
        return Scores({"error_rate": rate}, statistics, mark_of(statistics["right"]))

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        symbols = statistics["symbols"][places].sum()
        return float(statistics["edits"][places].sum() / symbols) if symbols else float("nan")

    def kept(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"symbols": outputs["logits"].argmax(-1).astype(np.int8)}

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        return {"top1": float((one["symbols"] == other["symbols"]).all(-1).mean())}

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        said = [said_at(places) for places in outputs["logits"].argmax(-1)]
        return [{"transcript": "".join(SYMBOLS[one] for one in each)} for each in said]


class Transcripts(Task):
    name = "transcripts"
    reads = TranscriptReader
    own_target = True

    def __init__(self) -> None:
        self.reader, self.metric = TranscriptReader(), ErrorRate()
        self.inputs = tuple(Port(name, "int64", ("batch", "sequence")) for name in ("input_ids", "attention_mask"))
        self.outputs = (Port("logits", "float32", ("batch", "sequence", len(SYMBOLS))),)

    @cached_property
    def networks(self) -> TranscriptNetworks:
        from transcript_networks import TranscriptNetworks

        return TranscriptNetworks()

    def spec(self) -> dict[str, Any]:
        return {"use": "transcripts.Transcripts"}

    def at(self, folder: Path) -> Transcripts:
        return self

    def snippet(self, opening: str, folder: Path) -> str:
        return f"{opening}\nprint(run({{'input_ids': [[5, 6]], 'attention_mask': [[1, 1]]}}))\n"
