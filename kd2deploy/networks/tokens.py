"""What a network's tokenizer reads: how much of a text, and whether another one reads the same."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd2deploy.core.members import holds_network
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import read_config, read_configs
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.networks.tokenizer import tokenizer

COUNTED_FROM_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "longformer",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
    }
    | {"xlm-roberta-xl", "xmod"}
)
"""Model types whose first position is the one behind the padding token's number, so that much less is left of them."""
PROBES = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "ÀÉÎ õü ß straße, naïve café; ΑΒΓ — “quotes” … 日本語 😀",
    "UPPER lower  double  spaces\ttabs\nlines don't can't e-mail@example.org",
    "pneumonoultramicroscopicsilicovolcanoconiosis x7 3.14159 (a+b)*c",
)
"""Texts whose pieces differ between vocabularies, cases, accents and special tokens."""


SHOWN = 3
"""Tokens named in a message."""


def longest(folder: Path) -> int:
    """How many tokens the network in `folder` has positions for; no limit where it has no table of them. Of several
    networks the fewest."""
    return min(map(positions_of, read_configs(folder))) if holds_network(folder) else sys.maxsize


def positions_of(config: Mapping[str, Any]) -> int:
    positions = config.get("max_position_embeddings") or -1
    if positions < 0 or config.get("position_biased_input") is False:  # distances between tokens alone: DeBERTa-v3
        return sys.maxsize
    before = (config.get("pad_token_id") or 0) + 1 if config["model_type"] in COUNTED_FROM_PADDING else 0
    return int(positions) - before


def read_length(reader: Any, folder: Path, max_length: int) -> int:
    """How many tokens are read of a text, special ones included: what the task, the network and its tokenizer allow."""
    return int(min(max_length, longest(folder), reader.model_max_length))  # which may be infinite: no limit


def read_alike(one: Path, other: Path) -> bool:
    """Equal vocabularies, and equal pieces, special tokens and token types for texts and pairs.

    Folders without a tokenizer agree: what their networks read does not depend on them.
    """
    has = [has_tokenizer(folder) for folder in (one, other)]
    return has[0] == has[1] and (not has[0] or pieces_alike(one, other))


def pieces_alike(one: Path, other: Path) -> bool:
    readers = [tokenizer(folder.resolve()) for folder in (one, other)]
    if readers[0].pad_token_id != readers[1].pad_token_id or readers[0].get_vocab() != readers[1].get_vocab():
        return False
    first, second = (probed(reader) for reader in readers)
    return first == second


def probed(reader: Any) -> dict[str, Any]:
    """The inputs of the probes, alone and in pairs."""
    alone = reader(list(PROBES), return_attention_mask=False)
    pairs = reader(list(PROBES), list(reversed(PROBES)), return_attention_mask=False)
    return {"alone": dict(alone), "pairs": dict(pairs)}


def has_tokenizer(folder: Path) -> bool:
    return any((inputs_of(folder) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))


def pad_of(folder: Path, reader: Any = None) -> int | None:
    """The padding token's number: the network's own, else its tokenizer's; None where neither names one.

    `reader` is the tokenizer, where it is open already."""
    own = read_config(folder).get("pad_token_id") if holds_network(folder) else None
    if own is None and has_tokenizer(folder):
        own = (reader or tokenizer(folder.resolve())).pad_token_id
    return None if own is None else int(own)


# whether tokenizer and network fit ------------------------------------------------------------------------------


def check_reading(folder: Path) -> None:
    """Raises ModelError where the tokenizer in `folder` does not fit the network there, or is read in two ways."""
    reader, config = tokenizer(folder.resolve()), read_config(folder)
    for one in read_configs(folder):
        check_rows(folder, reader, one.get("vocab_size"))
    if pad_of(folder) is None:
        raise ModelError(
            f"the tokenizer in {folder} has no padding token, and config.json names none: set one that the network "
            "knows and save it: tokenizer.pad_token = tokenizer.eos_token; tokenizer.save_pretrained(FOLDER)"
        )
    if None not in (own := (reader.pad_token_id, config.get("pad_token_id"))) and own[0] != own[1]:
        raise ModelError(
            f"{folder} pads in two ways: the tokenizer with {own[0]} ({reader.pad_token!r}), and config.json says "
            f"pad_token_id {own[1]}; set one to the other, as the network was trained"
        )
    if (inputs_of(folder) / "tokenizer.json").is_file():
        check_one_reading(inputs_of(folder), reader)


def check_rows(folder: Path, reader: Any, rows: int | None) -> None:
    """Raises ModelError for tokens that the network has no embedding for; more embeddings than tokens are fine."""
    beyond = sorted((number, token) for token, number in reader.get_vocab().items() if rows and number >= rows)
    if beyond:
        shown = ", ".join(f"`{token}`" for _, token in beyond[:SHOWN])
        raise ModelError(
            f"the tokenizer in {folder} knows {beyond[-1][0] + 1} tokens and the network {rows}: {shown}"
            f"{' ...' if len(beyond) > SHOWN else ''} have no embedding; "
            f"model.resize_token_embeddings({beyond[-1][0] + 1}), train them, and save both, or leave the tokens out"
        )


def check_one_reading(folder: Path, reader: Any) -> None:
    """Raises ModelError where transformers builds another tokenizer than tokenizer.json describes: what is deployed is
    read by either."""
    from tokenizers import Tokenizer

    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.no_truncation()
    plain.no_padding()
    for text in PROBES:
        one, other = reader(text)["input_ids"], plain.encode(text).ids
        if one != other:
            at = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), -1)
            raise ModelError(
                f"{folder} holds two tokenizers: transformers makes {len(one)} tokens of {text!r} by "
                f"tokenizer_config.json ({type(reader).__name__}), and tokenizer.json makes {len(other)} "
                f"({piece(reader, one, at)} against {piece(reader, other, at)}). Keep the one that the network was "
                'trained with: for tokenizer.json set "tokenizer_class": "PreTrainedTokenizerFast" in '
                "tokenizer_config.json; for the other AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            )


def piece(reader: Any, ids: list[int], at: int) -> str:
    return repr(reader.convert_ids_to_tokens(ids[at])) if 0 <= at < len(ids) else "nothing"
