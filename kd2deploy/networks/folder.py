"""A model folder: checked before anything is loaded from it, and loaded from safetensors only."""

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd2deploy.errors import ModelError
from kd2deploy.networks.configuration import config_in, quiet, read_config
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.size import refuse_too_large
from kd2deploy.networks.weights import check_finite, check_precision, check_weights, weight_files, wrapped_by


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


def arguments_of(net: nn.Module) -> frozenset[str]:
    """Names of the arguments that a network takes."""
    return frozenset(inspect.signature(net.forward).parameters)
