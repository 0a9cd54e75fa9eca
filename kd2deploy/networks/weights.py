"""A model folder's weight files: whole safetensors in full precision, under the network's own names, and finite."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kd2deploy.core.members import networks_in
from kd2deploy.core.reading import inside, object_of
from kd2deploy.errors import ModelError

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")
REMEDY_PICKLE = (
    "open it once where you trust it and save it anew: "
    "AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER) writes model.safetensors"
)
WRAPPERS: Mapping[str, tuple[str, str]] = {
    "_orig_mod.": ("a module compiled by torch.compile", "._orig_mod"),
    "module.": ("a DataParallel or DistributedDataParallel module", ".module"),
    "model.": ("a module around the network, such as Lightning's", ".model"),
}
"""What stands before every name where the module around a network was saved: what it was, and how to reach inside."""
INTEGERS = frozenset({"U8", "I8", "F8_E4M3", "F8_E5M2", "F4"})
"""Types, as safetensors names them, that whole weights are rounded to."""

IN_TRAINING_ALONE = ".masked_spec_embed"
"""How the weights end that stand for what is masked in a training: published networks lack them, and answer without."""
LEARNT = frozenset({"F64", "F32", "F16", "BF16"})
STATISTICS = (".running_mean", ".running_var")
"""What a normalization keeps of the batches that it has seen."""


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights: one, or the shards that the index names."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return shards_of(index)
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    pickles = [found.name for pattern in PICKLES for found in sorted(folder.glob(pattern))]
    if pickles:
        raise ModelError(
            f"{folder} holds {pickles[0]} but no safetensors, and only safetensors are loaded; {REMEDY_PICKLE}"
        )
    raise ModelError(f"{folder} holds no model.safetensors; save the model there with save_pretrained")


def parameters_of(folder: Path) -> int:
    """The elements of all weights that are learnt, by the headers of the files alone: no network is built.

    Where a folder holds several networks all are counted. A table of integers and a normalization's running statistics
    are stored beside the weights, and are buffers.
    """
    from safetensors import safe_open

    count = 0
    for file in (file for place in networks_in(folder) for file in weight_files(place)):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (no mapping)
                found = opened.get_slice(name)
                if found.get_dtype() in LEARNT and not name.endswith(STATISTICS):
                    count += math.prod(found.get_shape())
    return count


def shards_of(index: Path) -> list[Path]:
    """The files that an index of shards names. Raises ModelError for none, TrustError for one outside its folder."""
    remedy = "copy the model again, or save it anew with save_pretrained"
    places = object_of(index, ModelError, remedy).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        raise ModelError(f"{index} has no weight_map that says where each weight lies; {remedy}")
    return [inside(index.parent, shard) for shard in sorted(set(places.values()))]


def check_weights(file: Path) -> None:
    """Opens the header, which also compares the file's length with what it promises. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ModelError(f"{file} is named in the index and is not there; copy all shards of the model")
    try:
        with safe_open(file, framework="pt") as opened:
            types = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise ModelError(f"{file} is truncated or damaged ({error}); copy or download it again") from error
    rounded = [name for name, kind in types.items() if kind in INTEGERS and name.endswith("weight")]
    if rounded:
        raise ModelError(f"{file} holds {rounded[0]} as {types[rounded[0]]}: {REMEDY_QUANTIZED}")


REMEDY_QUANTIZED = (
    "give the checkpoint that it was quantized from, or write one where the library that did it is installed: "
    "AutoModelForSequenceClassification.from_pretrained(FOLDER).dequantize().save_pretrained(NEW_FOLDER)"
)


def check_precision(folder: Path, config: Mapping[str, Any]) -> None:
    """Raises ModelError for weights that a library has stored in a few bits: they can neither be trained nor cut."""
    found = config.get("quantization_config") or config.get("compression_config")
    if not found:
        return
    by = str(found.get("quant_method", "a library")) if isinstance(found, dict) else "a library"
    bits = bits_of(found) if isinstance(found, dict) else None
    raise ModelError(
        f"the weights in {folder} are stored by {by}{f' in {bits} bits' if bits else ' in fewer bits'} "
        f"(quantization_config in config.json): {REMEDY_QUANTIZED}"
    )


def bits_of(described: Mapping[str, Any]) -> int | None:
    """Bits of a stored weight, where a `quantization_config` says them plainly."""
    if described.get("load_in_4bit"):
        return 4
    if described.get("load_in_8bit"):
        return 8
    bits = described.get("bits")
    return bits if isinstance(bits, int) else None


def wrapped_by(folder: Path, net: nn.Module) -> str:
    """Why the names in `folder` are not the network's, with the remedy, where a wrapper's name stands before each of
    them; empty where none does."""
    from safetensors import safe_open

    names: set[str] = set()
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as opened:
            names |= set(opened.keys())
    wrappers = list(prefixes(names))
    if not wrappers or not fits({name[len("".join(wrappers)) :] for name in names}, net.state_dict()):
        return ""
    inside = "".join(WRAPPERS[one][1] for one in wrappers)
    return (
        f"all weights in {folder} begin with `{''.join(wrappers)}`: {WRAPPERS[wrappers[0]][0]} was saved; save the "
        f"network inside it: net{inside}.save_pretrained(FOLDER)"
    )


def prefixes(names: set[str]) -> Iterable[str]:
    """The wrappers' prefixes that all names share, outermost first."""
    while names:
        found = next((one for one in WRAPPERS if all(name.startswith(one) for name in names)), None)
        if found is None:
            return
        yield found
        names = {name[len(found) :] for name in names}


def fits(names: set[str], own: Iterable[str]) -> bool:
    """Whether most of the names are the network's own, or those of its body."""
    known = {name for whole in own for name in (whole, whole.partition(".")[2])}
    return len(names & known) > len(names) / 2


def check_finite(folder: Path, net: nn.Module) -> None:
    """Raises ModelError where a weight holds NaN or infinity."""
    with torch.no_grad():
        broken = [
            name
            for name, value in net.state_dict().items()
            if value.is_floating_point() and not bool(value.isfinite().all())
        ]
    if broken:
        raise ModelError(
            f"{folder} holds NaN or infinity in {len(broken)} of its weights ({', '.join(broken[:3])}"
            f"{' ...' if len(broken) > 3 else ''}): its training went wrong; give an earlier checkpoint"
        )
