"""A bundle's tokenizer files: they say what was judged, so that every client cuts and pads a text alike.

What a training leaves there does not: the judged length stands in the task alone, tokenizer.json may hold a truncation
and a fixed padding of long ago, and transformers 5 names classes that transformers 4 does not know.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kd2deploy.errors import ModelError
from kd2deploy.networks.tokenizer import tokenizer
from kd2deploy.networks.tokens import PROBES, pad_of, read_length

CUT = (*PROBES, "", " ".join(PROBES) * 64, "שלום עולם, مرحبا بالعالم 123")
"""The probes, and texts that are empty, longer than what is read, or run from right to left."""
LEFT_BY_TRAINING = frozenset(
    {"backend", "is_local", "name_or_path", "max_length", "stride", "pad_to_multiple_of", "padding", "truncation"}
    | {"truncation_strategy", "padding_strategy", "pad_token_type_id", "tokenizer_file", "special_tokens_map_file"}
)
"""Fields of tokenizer_config.json that say where a tokenizer came from, or how it was called last."""
IN_EVERY_VERSION = {"TokenizersBackend": "PreTrainedTokenizerFast"}
"""What transformers 5 calls a class that transformers 4 and transformers.js know by another name."""
SAID_ELSEWHERE = ("special_tokens_map.json", "added_tokens.json")
Ids = list[list[int]]


def write_tokenizer(folder: Path, max_length: int, inputs: Sequence[str]) -> None:
    """Write tokenizer.json and tokenizer_config.json in a bundle's `folder` as its texts were read when judged.

    They are cut to at most `max_length` tokens and padded on the right to the longest of their batch. `inputs` are the
    network's. Raises ModelError where the files, read again, give other tokens.
    """
    from tokenizers import Tokenizer

    reader = read(folder)
    length = read_length(reader, folder, max_length)
    judged = by_transformers(reader, length)
    pad = pad_of(folder) or 0
    pad_token = str(reader.convert_ids_to_tokens(pad))
    plain = Tokenizer.from_str(reader.backend_tokenizer.to_str())
    plain.enable_truncation(length, direction=reader.truncation_side)
    plain.enable_padding(direction="right", pad_id=pad, pad_token=pad_token)
    plain.save(str(folder / "tokenizer.json"))
    write_config(folder / "tokenizer_config.json", reader, inputs, model_max_length=length, pad_token=pad_token)
    for name in SAID_ELSEWHERE:
        (folder / name).unlink(missing_ok=True)
    if by_transformers(read(folder), None) != judged or by_tokenizers(folder) != judged:
        raise ModelError(
            f"{type(reader).__name__} reads otherwise than its own tokenizer.json, so clients of the bundle would see "
            "other tokens than were judged; save the tokenizer as PreTrainedTokenizerFast beside the model"
        )


def write_config(file: Path, reader: Any, inputs: Sequence[str], **fields: Any) -> None:
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    kind = type(reader).__name__
    found = {name: value for name, value in said.items() if name not in LEFT_BY_TRAINING} | {
        "tokenizer_class": IN_EVERY_VERSION.get(kind, kind),
        "model_input_names": [name for name in inputs if name in reader.model_input_names],
        "padding_side": "right",
        "truncation_side": reader.truncation_side,
        **{name: token for name, token in reader.special_tokens_map.items() if isinstance(token, str)},
        **fields,
    }
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


# what clients read ------------------------------------------------------------------------------------------


def read(folder: Path) -> Any:
    """The tokenizer as the files stand now, past the cache."""
    return tokenizer.__wrapped__(folder)


def by_transformers(reader: Any, length: int | None) -> Ids:
    """Token ids of `CUT`, alone and then in pairs, cut at `length` or at what the tokenizer itself says."""
    found: Ids = []
    for others in (None, list(reversed(CUT))):
        found += reader(list(CUT), others, truncation=True, max_length=length)["input_ids"]
    return found


def by_tokenizers(folder: Path) -> Ids:
    """The same by tokenizer.json alone."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone = [plain.encode(text).ids for text in CUT]
    return alone + [plain.encode(*pair).ids for pair in zip(CUT, reversed(CUT), strict=True)]
