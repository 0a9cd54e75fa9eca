"""The tokenizer in a folder."""

import functools
from pathlib import Path
from typing import Any

from kd2deploy.core.own import is_static
from kd2deploy.core.reading import object_of
from kd2deploy.core.trust import short
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import quiet
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.networks.own import register


@functools.lru_cache(maxsize=8)
def tokenizer(folder: Path) -> Any:
    """The fast tokenizer in `folder`. Raises ModelError where there is none."""
    from transformers import AutoTokenizer

    folder = inputs_of(folder)
    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder} has no tokenizer; save it beside the model: tokenizer.save_pretrained({str(folder)!r})"
        )
    for name in ("tokenizer_config.json", "tokenizer.json"):
        if (folder / name).is_file():
            said = object_of(folder / name, ModelError, "save the tokenizer anew")
            if "auto_map" in said:
                raise ModelError(f"{folder / name} wants to run code of its own (auto_map); remote code is not trusted")
    if is_static(folder):
        register()
    with quiet(), refused_as(f"the tokenizer in {folder} cannot be loaded"):
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
    if not found.is_fast:
        raise ModelError(
            f"the tokenizer in {folder} has no fast version (tokenizer.json); convert it and save it there"
        )
    check_most(found.model_max_length, folder)
    return found


def check_most(most: Any, folder: Path) -> None:
    """Raises ModelError where what the tokenizer in `folder` says of its longest text is no length."""
    if isinstance(most, bool) or not isinstance(most, int | float) or not most >= 1:
        raise ModelError(
            f"the tokenizer in {folder} sets model_max_length to {short(most)}, which must be a number above 0"
        )
