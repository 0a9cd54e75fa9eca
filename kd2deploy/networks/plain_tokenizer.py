"""A bundle's tokenizer.json read by the tokenizers library alone: transformers and torch take seconds to import.

Only where the two files are known to say the same: a bundle is not written before both have read the same tokens.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.tokenizer import check_most

REMEDY = "copy the bundle again"


class PlainTokenizer:
    """What the encoding of texts asks of a tokenizer of transformers, under the same names."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        object_of(folder / "tokenizer.json", ModelError, REMEDY)
        said = object_of(folder / "tokenizer_config.json", ModelError, REMEDY)
        with refused_as(f"the tokenizer in {folder} cannot be loaded"):
            self.backend_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.backend_tokenizer.no_padding()
        self.model_max_length: Any = said.get("model_max_length")
        check_most(self.model_max_length, folder)
        self.truncation_side = "left" if said.get("truncation_side") == "left" else "right"
        self.unk_token_id = self.number(said.get("unk_token"))
        self.pad_token_id = self.number(said.get("pad_token"))
        self.tells_texts_apart = "token_type_ids" in (said.get("model_input_names") or ())

    def number(self, token: Any) -> int | None:
        return self.backend_tokenizer.token_to_id(token) if isinstance(token, str) else None

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))

    def num_special_tokens_to_add(self, pair: bool) -> int:
        return int(self.backend_tokenizer.num_special_tokens_to_add(pair))

    def __call__(
        self,
        texts: Sequence[str],
        others: Sequence[str] | None = None,
        *,
        truncation: bool = False,
        max_length: int = 0,
        add_special_tokens: bool = True,
        **_: Any,
    ) -> Mapping[str, list[list[int]]]:
        """`input_ids` and, where the network reads them, `token_type_ids`; other wishes of transformers' are for what
        is not given here."""
        if truncation:
            self.backend_tokenizer.enable_truncation(max_length, direction=self.truncation_side)
        else:
            self.backend_tokenizer.no_truncation()
        rows = list(texts) if others is None else list(zip(texts, others, strict=True))
        found = self.backend_tokenizer.encode_batch(rows, add_special_tokens=add_special_tokens)
        ids = {"input_ids": [one.ids for one in found]}
        return ids | {"token_type_ids": [one.type_ids for one in found]} if self.tells_texts_apart else ids


@functools.lru_cache(maxsize=8)
def plain_tokenizer(folder: Path) -> PlainTokenizer:
    """The tokenizer in a bundle's `folder`. Raises ModelError."""
    return PlainTokenizer(folder)
