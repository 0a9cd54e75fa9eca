"""The symbols that a CTC network answers, as its folder's vocabulary says: characters, or pieces of words.

A symbol is what it adds to a transcript: a letter, a space for the end of a word, a piece with the space before it,
nothing for the blank and for other special tokens. Who decodes needs these and the blank's number alone.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.core.figures import count_of
from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.config_fields import MOST_CLASSES
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.inputs import inputs_of

CHARACTERS, PIECES, SAID = "vocab.json", "tokenizer.json", "tokenizer_config.json"
BLANK, UNKNOWN, SPACE = "<pad>", "<unk>", "|"
SPECIAL = ("pad_token", "unk_token", "bos_token", "eos_token")
WORD_BEGINS = "▁"
"""What stands for the space before a word in pieces of sentencepiece."""
REMEDY = "save the network's tokenizer beside it anew"


@dataclass(frozen=True)
class Vocabulary:
    """What every class of a network's logits adds to a transcript."""

    pieces: tuple[str, ...]
    blank: int
    tokenizer: Path | None = None
    """The file that cuts words into pieces; None where a text is spelt by its symbols, the longest that fits first."""

    def spelt(self, text: str) -> list[int]:
        """The symbols of a text. Raises ModelError for a character that none writes."""
        if self.tokenizer is not None:
            with refused_as(f"{self.tokenizer} cannot read a transcript"):
                return list(opened(self.tokenizer).encode(text, add_special_tokens=False).ids)
        numbers = {piece: place for place, piece in reversed(list(enumerate(self.pieces))) if piece}
        longest, found, at = max(map(len, numbers)), [], 0
        while at < len(text):
            for length in range(min(longest, len(text) - at), 0, -1):
                if text[at : at + length] in numbers:
                    found.append(numbers[text[at : at + length]])
                    at += length
                    break
            else:
                raise ModelError(f"no symbol of the vocabulary writes {text[at]!r}")
        return found


@functools.lru_cache(maxsize=4)
def opened(file: Path) -> Any:
    from tokenizers import Tokenizer

    with refused_as(f"{file} cannot be loaded"):
        return Tokenizer.from_file(str(file))


@functools.lru_cache(maxsize=8)
def vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary of the network in `folder`; None where there is none. Raises ModelError where it does not fit."""
    place, config = inputs_of(folder), read_config(folder)
    if not (place / CHARACTERS).is_file() and not (place / PIECES).is_file():
        return None
    said = object_of(place / SAID, ModelError, REMEDY) if (place / SAID).is_file() else {}
    characters = (place / CHARACTERS).is_file()
    numbers, special = characters_in(place, said) if characters else pieces_in(place)
    blank = config.get("pad_token_id")
    if blank is None:
        blank = numbers.get(str(said.get("pad_token", BLANK)))
    size = config.get("vocab_size") or 0
    if size > MOST_CLASSES:
        raise ModelError(f"{folder} answers {size:,} symbols, and no network of more than {MOST_CLASSES:,} is built")
    outside = [token for token, number in numbers.items() if not 0 <= number < size]
    if blank is None or not 0 <= blank < size:
        raise ModelError(f"{folder} names no blank: set pad_token_id in config.json to the vocabulary's padding token")
    if [token for token in outside if token not in special]:
        raise ModelError(
            f"the vocabulary in {folder} has {token_shown(outside)}, beyond the network's "
            f"{count_of(size, 'class', 'classes')} (vocab_size in config.json); {REMEDY}"
        )
    written = [""] * size
    for token, number in numbers.items():
        if number < size and token not in special and number != blank:
            written[number] = text_of_token(token, said) if characters else token.replace(WORD_BEGINS, " ")
    if not any(written):
        raise ModelError(f"the vocabulary in {folder} writes nothing; {REMEDY}")
    return Vocabulary(tuple(written), int(blank), None if characters else place / PIECES)


def characters_in(place: Path, said: Mapping[str, Any]) -> tuple[dict[str, int], frozenset[str]]:
    """Numbers by token of vocab.json, and which tokens are special."""
    found = object_of(place / CHARACTERS, ModelError, REMEDY)
    if all(isinstance(each, dict) for each in found.values()):
        language = said.get("target_lang")
        if not isinstance(language, str) or language not in found:
            raise ModelError(f"{place / CHARACTERS} holds several languages; name one as target_lang in {SAID}")
        found = found[language]
    require_numbers(found, place / CHARACTERS)
    defaults = dict(zip(SPECIAL, (BLANK, UNKNOWN, "<s>", "</s>"), strict=True))
    return found, frozenset(content(said.get(name, default)) for name, default in defaults.items())


def pieces_in(place: Path) -> tuple[dict[str, int], frozenset[str]]:
    """The same of tokenizer.json. Raises ModelError for pieces of bytes, which no transcript is joined of."""
    found = object_of(place / PIECES, ModelError, REMEDY)
    with refused_as(f"{place / PIECES} is no vocabulary"):
        known, added = found.get("model", {}).get("vocab", {}), found.get("added_tokens") or []
        if "ByteLevel" in json.dumps([found.get("decoder"), found.get("pre_tokenizer")]):
            raise ModelError(
                f"{place / PIECES} cuts words into bytes, which is not supported; use pieces of characters"
            )
        if isinstance(known, list):
            known = {token: number for number, (token, _) in enumerate(known)}
        numbers = {**known, **{one["content"]: one["id"] for one in added}}
        require_numbers(numbers, place / PIECES)
        special = {one["content"] for one in added if one.get("special")}
        return numbers, frozenset(
            special | {token for token in numbers if token.startswith("<") and token.endswith(">")}
        )


def require_numbers(found: Mapping[str, Any], file: Path) -> None:
    """Raises ModelError unless every token has a number."""
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in found.values()):
        raise ModelError(f"{file} is no vocabulary (token: number); {REMEDY}")


def content(token: Any) -> str:
    """A special token as tokenizer_config.json writes it: a text, or an object that holds one."""
    return str(token.get("content", "")) if isinstance(token, Mapping) else str(token or "")


def text_of_token(token: str, said: Mapping[str, Any]) -> str:
    between = content(said.get("word_delimiter_token", SPACE))
    return " " if token == between else token


def token_shown(tokens: Sequence[str]) -> str:
    return ", ".join(map(repr, tokens[:3])) + (" ..." if len(tokens) > 3 else "")


def pieces_of(alphabet: str) -> tuple[str, ...]:
    """The symbols of a new network: blank, unknown, the space between words, and the characters of an alphabet."""
    return ("", "", " ", *dict.fromkeys(alphabet))


def save_vocabulary(folder: Path, alphabet: str) -> None:
    """Writes the files of `pieces_of`, as transformers' Wav2Vec2CTCTokenizer reads them."""
    tokens = (BLANK, UNKNOWN, SPACE, *dict.fromkeys(alphabet))
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / CHARACTERS).write_text(json.dumps(numbers, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    said = {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": BLANK,
        "unk_token": UNKNOWN,
        "bos_token": None,
        "eos_token": None,
        "word_delimiter_token": SPACE,
        "replace_word_delimiter_char": " ",
    }
    (folder / SAID).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
