"""A model folder's configuration, read as plain values; and as transformers reads it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kd2deploy.core.members import MEMBERS, members_in, networks_in
from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.config_fields import faults_of
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.labels import labels_of

ADAPTER = "adapter_config.json"
OPENED_WITH = {"timm_wrapper": "timm"}
"""By model type, the extra whose packages transformers opens the network with."""
PRETRAINED = ("Model", "ForMaskedLM", "ForPreTraining", "ForCausalLM", "LMHeadModel", "ForMaskedImageModeling")
"""How transformers' classes end that answer no task of ours."""


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder, of several networks the first's: in what they answer they agree.

    Raises ModelError where there is none, where it asks for remote code, or where members disagree."""
    return read_configs(folder)[0]


def read_configs(folder: Path) -> list[dict[str, Any]]:
    """The configurations of the networks in a folder: one, or its members'. Raises ModelError."""
    places = networks_in(folder)
    found = [config_of(place) for place in places]
    first = found[0]
    for place, config in zip(places[1:], found[1:], strict=True):
        for what, of in AGREED.items():
            one, other = of(first), of(config)
            if one != other:
                raise ModelError(
                    f"the members of {folder} {what}: {places[0].name} {told(one)}, {place.name} {told(other)}; all "
                    f"members must say the same in config.json"
                )
    return found


def extras_of(folder: Path) -> set[str]:
    """The extras of this program without which the networks in a folder cannot be opened. Raises ModelError."""
    return {OPENED_WITH[kind] for config in read_configs(folder) if (kind := config.get("model_type")) in OPENED_WITH}


def named(config: Mapping[str, Any]) -> list[str]:
    """What a network answers, by the names that transformers gives where the configuration has none."""
    return labels_of(config) or [f"LABEL_{place}" for place in range(config.get("num_labels") or 2)]


AGREED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "answer different labels": named,
    "are trained for different problems (problem_type)": lambda config: config.get("problem_type"),
    "read pictures of different channels (num_channels)": lambda config: config.get("num_channels"),
    "pad with different tokens (pad_token_id)": lambda config: config.get("pad_token_id"),
}
"""What the members of a student of several must have in common, by what it is called where they do not."""


def told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def config_of(folder: Path) -> dict[str, Any]:
    """`config.json` of one network."""
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


def config_in(folder: Path) -> Any:
    """transformers' own configuration of a folder. Raises ModelError."""
    from kd2deploy.networks.own import auto

    read_config(folder)
    if members_in(folder) is not None:
        raise ModelError(
            f"{folder} holds several networks ({MEMBERS}), which are neither cut nor given another head; name one of "
            "them alone"
        )
    with quiet(), refused_as(f"{folder / 'config.json'} is no configuration that transformers reads"):
        return auto("AutoConfig").from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def is_body_alone(config: Mapping[str, Any]) -> bool:
    """Whether a configuration says that its network was saved without a head, or with that of its pretraining alone."""
    saved = config.get("architectures") or []
    return bool(saved) and all(str(one).endswith(PRETRAINED) for one in saved)


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
