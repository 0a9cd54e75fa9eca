"""A LoRA adapter's folder made into a whole network: merged into its base once, and kept in the cache."""

import hashlib
import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kd2deploy.core.artifact import sha256_of
from kd2deploy.core.cache import cache_folder
from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import ADAPTER, quiet
from kd2deploy.networks.weights import weight_files

log = logging.getLogger(__name__)

WEIGHTS = "adapter_model.safetensors"
AUTO = {"SEQ_CLS": "AutoModelForSequenceClassification", "TOKEN_CLS": "AutoModelForTokenClassification"}
"""The class that loads the base, by the adapter's `task_type`."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and no whole network; a base's config.json may lie beside it."""
    return (folder / ADAPTER).is_file() and not any(folder.glob("model*.safetensors*"))


def merged(folder: Path, locate: Callable[[str], Path]) -> Path:
    """The folder of the network that an adapter and its base make together; `locate` finds the base by its name.

    Raises ModelError with the lines to do it by hand where peft is not installed, and for what is no LoRA adapter of a
    classifier.
    """
    described = object_of(folder / ADAPTER, ModelError, "save the adapter anew")
    base, kind = str(described.get("base_model_name_or_path")), str(described.get("task_type"))
    what = f"{folder} is a {described.get('peft_type', 'PEFT')} adapter of {base} and no whole network"
    if described.get("peft_type") != "LORA" or kind not in AUTO:
        raise ModelError(f"{what}; merge it yourself: {by_hand(folder, base, AUTO.get(kind, 'AutoModelFor...'))}")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{what}, and has no {WEIGHTS}; save it with safe_serialization=True")
    if importlib.util.find_spec("peft") is None:
        raise ModelError(
            f"{what}; pip install 'kd2deploy[lora]' and it is merged, or do it yourself: "
            f"{by_hand(folder, base, AUTO[kind])}"
        )
    if base.startswith("package:"):
        raise ModelError(f"{what}: a file may not name a package to import; merge it yourself, or give a folder")
    start = (folder / base).resolve() if (folder / base).is_dir() else locate(base)
    out = cache_folder() / "merged" / mark(folder, start)
    if (out / "config.json").is_file():
        log.info("%s and its base are reused, merged, from %s", folder, out)
    else:
        merge(folder, start, AUTO[kind], out)
        log.info("%s was merged into its base in %s", folder, out)
    return out


def by_hand(folder: Path, base: str, auto: str) -> str:
    return (
        f"PeftModel.from_pretrained({auto}.from_pretrained({base!r}, num_labels=...), {str(folder)!r})"
        ".merge_and_unload().save_pretrained(NEW_FOLDER), and the tokenizer beside it"
    )


def mark(folder: Path, base: Path) -> str:
    """Sixteen digits that stand for an adapter's and its base's very bytes."""
    files = [folder / WEIGHTS, folder / ADAPTER, base / "config.json", *weight_files(base)]
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()[:16]


def merge(folder: Path, base: Path, auto: str, out: Path) -> None:
    import peft
    import transformers

    from kd2deploy.train.checkpoint import copy_inputs, saved

    own = folder if (folder / "config.json").is_file() else base
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for what it calls otherwise now
        try:
            config = transformers.AutoConfig.from_pretrained(own, local_files_only=True)
            answers = answers_of(folder)
            if answers is not None and config.num_labels != answers:
                config.num_labels = answers
            net: Any = getattr(transformers, auto).from_pretrained(
                base, config=config, use_safetensors=True, local_files_only=True, ignore_mismatched_sizes=True
            )
            whole = peft.PeftModel.from_pretrained(net, str(folder)).merge_and_unload()
        except (ValueError, RuntimeError, OSError, KeyError) as error:
            raise ModelError(f"{folder} cannot be merged into {base}: {str(error).splitlines()[0]}") from error
        saved(whole, out, inputs_from=base)
    copy_inputs(folder, out)


def answers_of(folder: Path) -> int | None:
    """How many answers the adapter's own head gives: the height of the last matrix that is no part of a LoRA pair."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as opened:
        heads = [name for name in sorted(opened.keys()) if name.endswith("weight") and ".lora_" not in name]
        shapes = [opened.get_slice(name).get_shape() for name in heads]
    matrices = [shape for shape in shapes if len(shape) == 2]
    return int(matrices[-1][0]) if matrices else None
