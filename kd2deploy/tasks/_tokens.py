"""What a network's tokenizer reads: how much of a text, and whether another one reads the same."""

import sys
from pathlib import Path
from typing import Any

from kd2deploy.tasks._folder import read_config, tokenizer

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


def longest(folder: Path) -> int:
    """How many tokens the network in `folder` has positions for; no limit where it has no table of them."""
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    positions = config.get("max_position_embeddings") or -1
    if positions < 0 or config.get("position_biased_input") is False:  # distances between tokens alone: DeBERTa-v3
        return sys.maxsize
    before = (config.get("pad_token_id") or 0) + 1 if config["model_type"] in COUNTED_FROM_PADDING else 0
    return int(positions) - before


def read_alike(one: Path, other: Path) -> bool:
    """Equal vocabularies, and equal pieces, special tokens and token types for texts and pairs.

    Folders without a tokenizer agree: what their networks read does not depend on them.
    """
    has = [
        any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
        for folder in (one, other)
    ]
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
