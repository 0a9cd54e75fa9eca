"""How much of some texts a network reads: what is cut off, and what its tokenizer has no word for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kd2deploy.core import Reading
from kd2deploy.tasks._encoding import Pair, chunks, tokenized

CUT_TOLD = 0.1
"""Share of the rows that may be cut before it is told. Ours."""
UNKNOWN_TOLD = 0.05
"""Share of the tokens that may be unknown before it is told. Ours."""
MOSTLY = 0.5
"""Share of one text's tokens that may be unknown before it is told. Ours."""
COUNTED = 100_000
"""Characters of a text that are counted; what lies behind them is taken to be like them."""


@dataclass(frozen=True)
class Counts:
    """Of rows: how many there are, are cut, and hold no token; of their tokens: in all, cut off, unknown."""

    rows: int = 0
    rows_cut: int = 0
    rows_empty: int = 0
    tokens: int = 0
    tokens_cut: int = 0
    unknown: int = 0

    @property
    def cut_share(self) -> float:
        return self.tokens_cut / max(self.tokens, 1)

    @property
    def unknown_share(self) -> float:
        return self.unknown / max(self.tokens, 1)


def counted(reader: Any, texts: Sequence[Pair], pair: bool, length: int) -> Counts:
    """What a network reads of texts that are cut to `length` tokens, the special ones among them."""
    room = length - reader.num_special_tokens_to_add(pair)
    found = dict.fromkeys(("rows_cut", "rows_empty", "tokens", "tokens_cut", "unknown"), 0)
    for chunk in chunks(texts):
        begun = [(text[:COUNTED], other[:COUNTED]) for text, other in chunk]
        known = tokenized(
            reader,
            begun,
            pair,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # that a text is longer than the network reads is what is counted here
        )
        for ids, short, whole in zip(known["input_ids"], begun, chunk, strict=True):
            times = sum(map(len, whole)) / max(sum(map(len, short)), 1)
            tokens = round(len(ids) * times)
            found["tokens"] += tokens
            found["tokens_cut"] += max(tokens - room, 0)
            found["rows_cut"] += tokens > room
            found["rows_empty"] += tokens == 0
            if reader.unk_token_id is not None:
                found["unknown"] += round(ids.count(reader.unk_token_id) * times)
    return Counts(rows=len(texts), **found)


def reading_of(counts: Counts, length: int) -> Reading:
    """The counts in words: for a whole set of rows, or for one that is to be answered."""
    figures = {
        f"rows cut at {length} tokens": percent(counts.rows_cut / max(counts.rows, 1)),
        "tokens cut off": percent(counts.cut_share),
        "tokens unknown to the tokenizer": percent(counts.unknown_share),
    }
    return Reading(figures, tuple(doubts_of_one(counts, length) if counts.rows == 1 else doubts(counts, length)))


def doubts(counts: Counts, length: int) -> list[str]:
    found = []
    if counts.rows_cut > CUT_TOLD * counts.rows:
        found.append(
            f"{percent(counts.rows_cut / counts.rows)} of the rows are cut at {length} tokens, and "
            f"{percent(counts.cut_share)} of all tokens with them: raise `max_length` if what is cut off matters"
        )
    if counts.unknown_share > UNKNOWN_TOLD:
        found.append(
            f"{percent(counts.unknown_share)} of the tokens are unknown to the tokenizer: take a network whose "
            "vocabulary knows the language of the texts"
        )
    if counts.rows_empty:
        found.append(f"{counts.rows_empty:,} of {counts.rows:,} rows hold nothing that the tokenizer keeps")
    return found


def doubts_of_one(counts: Counts, length: int) -> list[str]:
    if counts.rows_empty:
        return ["the text is empty: the answer says nothing about it"]
    found = []
    if counts.rows_cut:
        found.append(f"cut at {length} tokens: {percent(counts.cut_share)} of the text was not read")
    if counts.unknown_share > MOSTLY:
        found.append(f"{percent(counts.unknown_share)} of the text is unknown to the tokenizer")
    return found


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
