"""The fields of config.json that are read here, each of its type, and those that would fetch or run code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

IMPLEMENTATIONS = frozenset(
    {"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "paged_attention"}
)
LARGEST = 2**31 - 1
MOST_CLASSES = 1_000_000
MOST_BLOCKS = 1000
"""Of one kind: the deepest networks have a few hundred, and even a sketch of a million takes minutes."""
BLOCKS = ("layers", "layer", "depth", "blocks", "groups", "experts")
"""Words in the names of fields that say how many blocks there are."""


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LARGEST


def is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= LARGEST


def is_numbered(value: Any) -> bool:
    """{"0": "neg", "1": "pos"}: whole numbers, each once."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value.values()):
        return False
    keys = [str(key) for key in value]
    numbers = all(key.isascii() and key.isdigit() and len(key) < 10 for key in keys)
    return numbers and len({*map(int, keys)}) == len(keys)


FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "num_channels": (is_count, "a whole number above 0"),
    "num_labels": (lambda value: is_count(value) and value <= MOST_CLASSES, "a whole number of classes"),
    "vocab_size": (is_count, "a whole number above 0"),
    "type_vocab_size": (lambda value: value == 0 or is_count(value), "a whole number"),
    "max_position_embeddings": (is_place, "a whole number"),
    "pad_token_id": (is_place, "a whole number"),
    "id2label": (is_numbered, 'names by their places: {"0": "neg", "1": "pos"}'),
    "problem_type": (lambda value: isinstance(value, str), "a text"),
}


def faults_of(config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a configuration; a field that is null is not set."""
    if not isinstance(config.get("model_type"), str):
        yield "names no model_type"
    for name, (fits, wanted) in FIELDS.items():
        if config.get(name) is not None and not fits(config[name]):
            yield f"sets {name} to {shown(config[name])}, which must be {wanted}"
    for path, value in everywhere(config):
        name = path.rpartition(".")[2]
        if any(word in name for word in BLOCKS) and largest(value) > MOST_BLOCKS:
            yield f"sets {path} to {shown(value)}, and no network of more than {MOST_BLOCKS} blocks is built"
        if name == "auto_map":
            yield "wants to run code of its own (auto_map), and remote code is not trusted"
        if name.endswith("attn_implementation") and isinstance(value, str) and value not in IMPLEMENTATIONS:
            yield f"sets {path} to {shown(value)}, which would be fetched and run; remote code is not trusted"


def everywhere(found: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Every field, those of inner configurations too; names of classes are none."""
    for name, value in found.items():
        yield f"{before}{name}", value
        if isinstance(value, Mapping) and name not in ("id2label", "label2id"):
            yield from everywhere(value, f"{before}{name}.")


def largest(value: Any) -> int:
    """The largest whole number of a field that holds one or a list of them; 0 where there is none."""
    found = value if isinstance(value, list | tuple) else [value]
    return max((one for one in found if isinstance(one, int)), default=0)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
