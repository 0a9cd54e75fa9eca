"""Model folders: found by name, checked, given a head, or created from an architecture alone."""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd2deploy.core import Task
from kd2deploy.core.trust import refusal, short
from kd2deploy.errors import ModelError
from kd2deploy.networks.config_fields import faults_of
from kd2deploy.networks.configuration import config_in, quiet, read_config
from kd2deploy.networks.folder import check_folder
from kd2deploy.networks.foreign import refused_as
from kd2deploy.networks.inputs import inputs_of
from kd2deploy.networks.labels import answers_in
from kd2deploy.networks.own import auto, register
from kd2deploy.networks.size import refuse_too_large
from kd2deploy.networks.timm_folder import is_timm, opened_by_transformers
from kd2deploy.networks.tokens import pad_of
from kd2deploy.networks.weights import IN_TRAINING_ALONE, check_finite, wrapped_by
from kd2deploy.train.adapter import is_adapter, merged

TIMM = "timm:"
INPUT_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spm.model",
    "sentencepiece.*",
    "spiece.model",
    "chat_template*",
    "preprocessor_config.json",
    "processor_config.json",
    "feature_extractor_config.json",
)
"""What a tokenizer or processor consists of: copied beside every network that is made from another."""


def locate(name: str) -> Path:
    """The checked folder of a model: a local one, `package:MODULE` (its `get_model_path()`), `timm:NAME` or a hub id.

    A hub model is downloaded once, without pickles and without code; a LoRA adapter is merged into its base. Raises
    ModelError with the remedy for a name that leads nowhere, for pickle-only, truncated, quantized or code-carrying
    folders, and for a hub id without a network.
    """
    if name.startswith("package:"):
        folder = packaged(name.removeprefix("package:"))
    elif name.startswith(TIMM):
        folder = downloaded("timm/" + name.removeprefix(TIMM))
    elif Path(name).expanduser().exists():
        folder = Path(name).expanduser().resolve()
    elif name.count("/") > 1 or name.startswith((".", "/", "~")) or "\\" in name:
        raise ModelError(f"{name} does not exist (looked for in {Path.cwd()}); check the path")
    else:
        folder = downloaded(name)
    if is_timm(folder):
        folder = opened_by_transformers(folder)
    if is_adapter(folder):
        folder = merged(folder, locate)
    check_folder(folder)
    return folder


def packaged(module: str) -> Path:
    """The folder that a package of model weights names by `get_model_path()`.

    It is imported only where its own source says so; Python's own modules never are. Raises ModelError.
    """
    if why := refusal(module):
        raise ModelError(f"package:{short(module)} is no package of a network: {why}")
    try:
        source = importlib.util.find_spec(module)
        said = (
            Path(source.origin).read_text(encoding="utf-8", errors="replace")
            if source and source.origin
            else "get_model_path"
        )
        if "get_model_path" not in said:
            raise ModelError(f"package {module} has no get_model_path(), so it does not say where its model lies")
        found = importlib.import_module(module)
    except ImportError as error:
        raise ModelError(f"package:{module} is not installed; pip install {module.replace('_', '-')}") from error
    if not callable(getattr(found, "get_model_path", None)):
        raise ModelError(f"package {module} has no get_model_path(), so it does not say where its model lies")
    return Path(found.get_model_path())


def downloaded(name: str) -> Path:
    """A hub model's snapshot in the local cache. Raises ModelError."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model"]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name} is no folder here, and the hub cannot be reached to download it; give a local folder, "
            "`package:MODULE`, or run once where there is a network"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"{name} is no folder here, and the hub does not give it: {str(error).splitlines()[0]}; check the name"
        ) from error


def copy_inputs(source: Path, out: Path) -> None:
    """Copies the tokenizer's or processor's files."""
    for pattern in INPUT_FILES:
        for file in inputs_of(source).glob(pattern):
            if file.is_file():
                shutil.copyfile(file, out / file.name)


def with_head(source: Path, out: Path, task: Task, seed: int = 0) -> Path:
    """The task's network on the pretrained body in `source`, its head drawn from `seed`, saved in `out`.

    A head in `source` that already answers the task's labels in their order is kept. Raises ModelError where the body
    itself lacks weights or holds some that are not finite, and where its tokenizer does not fit it.
    """
    check_folder(source)
    task.reader.check_inputs(source)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        kind = auto(task.networks.auto)
        with refused_as(f"{source} cannot carry a head for {task.name}"):
            config = config_in(source)
            answers = task.at(source).networks.answers()
            same = config.id2label == answers.get("id2label")
            config.update(answers_in(config, answers))
            if getattr(config, "pad_token_id", None) is None:
                config.pad_token_id = pad_of(source)
            refuse_too_large(task.networks.auto, config)
            net, info = kind.from_pretrained(
                source,
                config=config,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                ignore_mismatched_sizes=not same,
                output_loading_info=True,
            )
        body = f"{net.base_model_prefix}."
        # a body saved without its pooler (a sentence encoder, a masked language model) gets a new one with the head
        new = (".pooler.", IN_TRAINING_ALONE)
        lacking = [key for key in info["missing_keys"] if key.startswith(body) and not any(part in key for part in new)]
        if lacking and (wrapped := wrapped_by(source, net)):
            raise ModelError(wrapped)
        if lacking:
            raise ModelError(f"{source} lacks weights of the body itself: {', '.join(sorted(lacking)[:3])} ...")
        check_finite(source, net)
        saved(net, out, inputs_from=source)
    task.reader.write_inputs(out)
    return out


def as_it_is(source: Path, out: Path, task: Task) -> Path:
    """The finished network in `source`, of several all, saved in `out` with what it reads its inputs by at the top.

    Raises ModelError where it does not answer the task, or its tokenizer does not fit it.
    """
    task.reader.check_inputs(source)
    return saved(task.at(source).networks.load(source), out, inputs_from=source)


def create(config: Mapping[str, Any], out: Path, task: Task, seed: int = 0, *, inputs_from: Path | None = None) -> Path:
    """A network of random weights by its architecture (`{model_type: resnet, depths: [2, 2]}`), saved in `out`.

    The tokenizer or processor is copied from `inputs_from`; a text network takes its vocabulary's size and padding
    from there too, unless `config` names them. An image network takes the task's sizes, and a plain processor where
    none is copied. Raises ModelError for a model type or field that transformers does not know.
    """
    import transformers

    register()
    given = dict(config)
    model_type = given.pop("model_type", None)
    if not isinstance(model_type, str) or model_type not in transformers.CONFIG_MAPPING:
        raise ModelError(
            f"create needs a `model_type` that transformers knows (bert, resnet, vit ...), got {short(model_type)}"
        )
    empty = transformers.CONFIG_MAPPING[model_type]()
    unknown = [name for name in given if not knows(empty, name)]
    if unknown:
        raise ModelError(
            f"a {model_type} has no field {unknown[0]!r}; see {model_type}'s configuration in transformers"
        )
    given = {name: value for name, value in task.networks.fresh().items() if knows(empty, name)} | given
    if inputs_from is not None:
        source = read_config(inputs_from)
        shared = (
            "vocab_size",
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "cls_token_id",
            "sep_token_id",
            "num_channels",
        )
        inherited = {name: source[name] for name in shared if source.get(name) is not None}
        inherited.setdefault("pad_token_id", pad_of(inputs_from))
        given = {name: value for name, value in inherited.items() if knows(empty, name)} | given
    answers = (task if inputs_from is None else task.at(inputs_from)).networks.answers()
    for fault in faults_of({"model_type": model_type, **given}):
        raise ModelError(f"create {fault}")
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with refused_as(f"a {model_type} cannot be created so"):
            built = transformers.AutoConfig.for_model(model_type, **{**given, **answers})
            built.architectures = built.architectures or []  # transformers looks through them where it knows several
            refuse_too_large(task.networks.auto, built)
            net = auto(task.networks.auto).from_config(built)
        saved(net, out, inputs_from=inputs_from)
    task.reader.write_inputs(out)
    with refused_as(f"a {model_type} of these sizes cannot run"):
        run_once(net, task.at(out))
    return out


def run_once(net: nn.Module, task: Task) -> None:
    """A configuration may ask for parts that do not fit each other, which shows only then."""
    given = task.networks.example(net, 2)
    with quiet(), torch.no_grad():
        task.networks.deployed(net).eval()(*(given[port.name] for port in task.inputs))


def knows(config: Any, name: str) -> bool:
    """Whether a configuration has the field, under its own name or the shared one."""
    return name in config.to_dict() or name in config.attribute_map


def saved(net: nn.Module, out: Path, *, inputs_from: Path | None) -> Path:
    """Writes the network's safetensors and configuration, and the inputs' files beside them."""
    out.mkdir(parents=True, exist_ok=True)
    with quiet():
        net.save_pretrained(out, safe_serialization=True)  # type: ignore[operator]
    if inputs_from is not None:
        copy_inputs(inputs_from, out)
    return out
