"""Texts to token ids in chunks, so that neither whole texts' tokens nor those behind the cut are ever kept."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kd2deploy.core.features import Ragged
from kd2deploy.networks.foreign import refused_as

CHUNK_ROWS, CHUNK_CHARACTERS = 1000, 2_000_000
"""What goes through the tokenizer at once: enough to keep its threads busy, little enough to hold."""
NAMES = ("input_ids", "token_type_ids")
CHARACTERS_PER_TOKEN = 64
"""A text is cut before it is tokenized behind so many characters for each token that the network reads; where that
left too few tokens, the whole text is read."""
Pair = tuple[str, str]


def token_columns(reader: Any, texts: Iterable[Pair], pair: bool, length: int) -> dict[str, Ragged]:
    """`input_ids` and, where the tokenizer has them, `token_type_ids` of texts cut to `length` tokens."""
    parts: dict[str, list[Ragged]] = {}
    for chunk in chunks(texts):
        for name, rows in tokens(reader, chunk, pair, length).items():
            parts.setdefault(name, []).append(Ragged.of(rows, len(reader) if name == "input_ids" else 1))
    return {name: Ragged.joined(found) for name, found in parts.items()}


def chunks(texts: Iterable[Pair]) -> Iterator[list[Pair]]:
    """The texts in order, at most CHUNK_ROWS and, but for a single long one, CHUNK_CHARACTERS at a time."""
    found: list[Pair] = []
    characters = 0
    for text in texts:
        size = len(text[0]) + len(text[1])
        if found and (len(found) == CHUNK_ROWS or characters + size > CHUNK_CHARACTERS):
            yield found
            found, characters = [], 0
        found.append(text)
        characters += size
    if found:
        yield found


def tokens(reader: Any, texts: Sequence[Pair], pair: bool, length: int) -> dict[str, list[list[int]]]:
    """Rows of numbers by name. Long texts are cut first, and read whole where that left too few tokens."""
    if pair or not cut_is_safe(reader):
        return read(reader, texts, pair, length)
    begun = [(beginning(text, CHARACTERS_PER_TOKEN * length), other) for text, other in texts]
    found = read(reader, begun, pair, length)
    for place, (short, whole) in enumerate(zip(begun, texts, strict=True)):
        if len(short[0]) < len(whole[0]) and len(found["input_ids"][place]) < length:
            for name, rows in read(reader, [whole], pair, length).items():
                found[name][place] = rows[0]
    return found


def read(reader: Any, texts: Sequence[Pair], pair: bool, length: int) -> dict[str, list[list[int]]]:
    known = tokenized(reader, texts, pair, truncation=True, max_length=length, return_attention_mask=False)
    return {name: known[name] for name in NAMES if name in known}


def tokenized(reader: Any, texts: Sequence[Pair], pair: bool, **how: Any) -> Any:
    """What the tokenizer makes of texts. Raises ModelError for one that cannot: an unknown word may be the first to
    show that its file lacks a token."""
    with refused_as("the tokenizer cannot read the texts"):
        return reader([text for text, _ in texts], [other for _, other in texts] if pair else None, **how)


def beginning(text: str, room: int) -> str:
    """The text up to its last white space within `room` characters; all of it where it is shorter or has none."""
    if len(text) <= room:
        return text
    end = max(text.rfind(space, 0, room) for space in " \n\t")
    return text[:end] if end > 0 else text


def cut_is_safe(reader: Any) -> bool:
    """Whether the first tokens of a text do not depend on what follows behind a later white space.

    So it is where texts are split at white space before anything else, and cut at their end.
    """
    split = reader.backend_tokenizer.pre_tokenizer
    return reader.truncation_side == "right" and split is not None and len(split.pre_tokenize_str("a b")) > 1
