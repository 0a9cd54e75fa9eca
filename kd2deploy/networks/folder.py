"""A model folder, of one network or of several: checked before anything is loaded, and loaded from safetensors only."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd2deploy.core.members import members_in, networks_in
from kd2deploy.errors import ModelError
from kd2deploy.networks import own
from kd2deploy.networks.configuration import config_in, quiet, read_config, read_configs
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.labels import SINGLE
from kd2deploy.networks.several import Several, check_inputs_alike, single, taken_by
from kd2deploy.networks.size import refuse_too_large
from kd2deploy.networks.weights import (
    IN_TRAINING_ALONE,
    check_finite,
    check_precision,
    check_weights,
    weight_files,
    wrapped_by,
)


def check_folder(folder: Path) -> dict[str, Any]:
    """The folder's configuration, once its weights are known to be whole safetensors. Raises ModelError."""
    for place, config in zip(networks_in(folder), read_configs(folder), strict=True):
        check_precision(place, config)
        for file in weight_files(place):
            check_weights(file)
    check_inputs_alike(folder)
    return read_config(folder)


def network(auto: str, folder: Path, answers: str = SINGLE) -> nn.Module:
    """The network that transformers' class `auto` finds in `folder`, float32, in eval mode; or several as one.

    `answers` is the problem type by transformers' name: what members whose probabilities are averaged answer.
    Raises ModelError for a folder that `check_folder` refuses, for a model type that `auto` does not know, where
    weights are missing (a head that was never trained is not loaded as if it had been), and where one is not finite.
    """
    check_folder(folder)
    if (how := members_in(folder)) is not None:
        return Several([network(auto, place) for place in networks_in(folder)], how, answers).eval()
    refuse_too_large(auto, config_in(folder))
    with quiet(), refused_as(f"{folder} cannot be loaded by {auto}"):
        net, info = own.auto(auto).from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    spared = [name for name in info["missing_keys"] if name.endswith(IN_TRAINING_ALONE)]
    missing = sorted(set(info["missing_keys"]) - set(spared))
    if missing:
        raise ModelError(
            wrapped_by(folder, net)
            or f"{folder} has no weights for {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}: "
            f"it is not a trained {auto.removeprefix('AutoModelFor')} model; fine-tune it first (`teacher: fine_tune`)"
        )
    assert isinstance(net, nn.Module)
    with torch.no_grad():
        for name in spared:
            net.get_parameter(name).zero_()
    check_finite(folder, net)
    return net.eval()


def arguments_of(net: nn.Module) -> frozenset[str]:
    """Names of the arguments that a network takes."""
    return frozenset().union(*map(taken_by, single(net)))
