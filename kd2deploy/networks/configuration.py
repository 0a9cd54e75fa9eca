"""A model folder's configuration, read as plain values; and as transformers reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kd2deploy.core.reading import object_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.config_fields import faults_of
from kd2deploy.networks.foreign import refused_as

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
