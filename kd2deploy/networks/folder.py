"""A model folder: checked before anything is loaded from it, and loaded from safetensors only."""

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.config_fields import faults_of
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.size import refuse_too_large
from kd2deploy.networks.weights import check_finite, check_precision, check_weights, weight_files, wrapped_by

ADAPTER = "adapter_config.json"


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder. Raises ModelError where there is none, or where it asks for remote code."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a folder; give the folder that holds config.json and model.safetensors")
    path = folder / "config.json"
    if not path.is_file():
        if (folder / ADAPTER).is_file():
            raise ModelError(f"{folder} is an adapter and no whole network; merge it into its base and save that")
        raise ModelError(f"{folder} has no config.json, so it is not a model that transformers saved")
    config = object_of(path, ModelError, "save the model anew")
    for fault in faults_of(config):
        raise ModelError(f"{path} {fault}; save the model anew with save_pretrained")
    return config


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder's configuration, once its weights are known to be whole safetensors. Raises ModelError."""
    config = read_config(folder)
    check_precision(folder, config)
    for file in weight_files(folder):
        check_weights(file)
    return config


def network(auto: str, folder: Path) -> nn.Module:
    """The network that transformers' class `auto` finds in `folder`, float32, in eval mode.

    Raises ModelError for a folder that `check_folder` refuses, for a model type that `auto` does not know, where
    weights are missing (a head that was never trained is not loaded as if it had been), and where one is not finite.
    """
    import transformers

    check_folder(folder)
    refuse_too_large(auto, config_in(folder))
    with quiet(), refused_as(f"{folder} cannot be loaded by {auto}"):
        net, info = getattr(transformers, auto).from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            wrapped_by(folder, net)
            or f"{folder} has no weights for {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}: "
            f"it is not a trained {auto.removeprefix('AutoModelFor')} model; fine-tune it first (`teacher: fine_tune`)"
        )
    assert isinstance(net, nn.Module)
    check_finite(folder, net)
    return net.eval()


def config_in(folder: Path) -> Any:
    """transformers' own configuration of a folder. Raises ModelError."""
    import transformers

    read_config(folder)
    with quiet(), refused_as(f"{folder / 'config.json'} is no configuration that transformers reads"):
        return transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what matters in them is raised as an error."""
    import transformers

    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@functools.lru_cache(maxsize=8)
def tokenizer(folder: Path) -> Any:
    """The fast tokenizer in `folder`. Raises ModelError where there is none."""
    from transformers import AutoTokenizer

    if not (folder / "tokenizer_config.json").is_file() and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder} has no tokenizer; save it beside the model: tokenizer.save_pretrained({str(folder)!r})"
        )
    for name in ("tokenizer_config.json", "tokenizer.json"):
        if (folder / name).is_file():
            said = object_of(folder / name, ModelError, "save the tokenizer anew")
            if "auto_map" in said:
                raise ModelError(f"{folder / name} wants to run code of its own (auto_map); remote code is not trusted")
    with quiet(), refused_as(f"the tokenizer in {folder} cannot be loaded"):
        found = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True, trust_remote_code=False)
    if not found.is_fast:
        raise ModelError(
            f"the tokenizer in {folder} has no fast version (tokenizer.json); convert it and save it there"
        )
    most = found.model_max_length
    if isinstance(most, bool) or not isinstance(most, int | float) or not most >= 1:
        raise ModelError(f"the tokenizer in {folder} sets model_max_length to {most!r}, which must be a number above 0")
    return found


def arguments_of(net: nn.Module) -> frozenset[str]:
    """Names of the arguments that a network takes."""
    return frozenset(inspect.signature(net.forward).parameters)
