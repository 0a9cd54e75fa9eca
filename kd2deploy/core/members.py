"""A student of several networks: a folder whose `members.json` names them and says how their answers become one.

    {"format": 1, "members": ["large", "small"], "combine": "mean", "weights": [2, 1]}

The folder is data: it names folders inside itself and one of three words, and nothing that is called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from kd2deploy.core.reading import inside, object_of
from kd2deploy.errors import ModelError

MEMBERS, FORMAT = "members.json", 1
PIPELINE = "model_index.json"
"""What the folder of several networks that diffusers runs as one pipeline has in place of a configuration."""
Combine = Literal["mean", "mean_probability", "sum"]
"""Of the members' logits (of a regression's numbers), or of the probabilities that they stand for."""
LONGEST = 200
"""Bytes of a member's name."""
FIELDS = ("format", "members", "combine", "weights")
BESIDE = frozenset({"onnx", "ort", "openvino", "tensorrt", "torch", "triton_models"})
"""Folders that a bundle keeps beside its network."""
REMEDY = 'write {"format": 1, "members": ["FOLDER", "FOLDER"], "combine": "mean"}'


@dataclass(frozen=True)
class Members:
    """What `members.json` says."""

    names: tuple[str, ...]
    """Folders below it."""
    combine: Combine
    weights: tuple[float, ...]
    """One for each member."""

    @property
    def shares(self) -> tuple[float, ...]:
        """What each member's answer is multiplied with: of a mean they add up to 1."""
        whole = 1.0 if self.combine == "sum" else sum(self.weights)
        return tuple(weight / whole for weight in self.weights)

    def to_json(self) -> dict[str, Any]:
        found = {"format": FORMAT, "members": list(self.names), "combine": self.combine}
        return found | ({} if set(self.weights) == {1.0} else {"weights": list(self.weights)})


def members_in(folder: Path) -> Members | None:
    """What a folder of several networks says of them; None for the folder of one.

    Raises ModelError, and TrustError for a member outside of the folder.
    """
    path = folder / MEMBERS
    if not path.is_file():
        return None
    found = object_of(path, ModelError, REMEDY)
    for fault in faults_of(found):
        raise ModelError(f"{path} {fault}; {REMEDY}")
    names = tuple(found["members"])
    for name in names:
        place = inside(folder, name)
        if not place.is_dir():
            raise ModelError(f"{path} names the member {name!r}, and there is no folder {place}; copy it there")
        if (place / MEMBERS).is_file():
            raise ModelError(f"{path} names the member {name!r}, which is itself one of several; name its members here")
    return Members(names, found["combine"], tuple(map(float, found.get("weights") or [1.0] * len(names))))


def faults_of(found: Mapping[str, Any]) -> list[str]:
    """What is wrong with the values of a file, before any folder is looked at."""
    names, combine, weights = found.get("members"), found.get("combine"), found.get("weights")
    faults = [f"has a field {short(field)}, which is not known here" for field in found if field not in FIELDS]
    if found.get("format") != FORMAT or isinstance(found.get("format"), bool):
        faults.append(f"has format {short(found.get('format'))}, and this version reads {FORMAT}")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        return [*faults, f"has members {short(names)}, which must be the names of two folders or more"]
    if len(set(names)) < len(names):
        faults.append("names a member twice: give it a weight instead")
    faults += [f"names the member {short(name)}, which is too long" for name in names if len(name.encode()) > LONGEST]
    faults += [
        f"names the member {short(name)}: a bundle keeps other files in a folder of that name, so give it another one"
        for name in names
        if Path(name).parts[:1] and Path(name).parts[0] in BESIDE
    ]
    if combine not in get_args(Combine):
        faults.append(f"has combine {short(combine)}; known: {', '.join(get_args(Combine))}")
    if weights is not None and not fitting(weights, len(names), above_zero=combine != "sum"):
        kind = "numbers" if combine == "sum" else "numbers above 0"
        faults.append(f"has weights {short(weights)}, which must be {len(names)} {kind}, one for each member")
    return faults


def fitting(weights: object, count: int, *, above_zero: bool) -> bool:
    if not isinstance(weights, list) or len(weights) != count:
        return False
    numbers = [one for one in weights if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) == count and all(abs(one) < 1e9 and (one > 0 or not above_zero) for one in numbers)


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# what stands for a folder -----------------------------------------------------------------------------------


def networks_in(folder: Path) -> Sequence[Path]:
    """The folders of single networks: the members of a student of several, else the folder itself."""
    found = members_in(folder)
    return [folder] if found is None else [folder / name for name in found.names]


def holds_network(folder: Path) -> bool:
    """Whether a folder looks like that of a network, or of several."""
    return any((folder / name).is_file() for name in ("config.json", MEMBERS))


def holds_weights(folder: Path) -> bool:
    """Whether a result may depend on what a folder holds: a network, several, or a pipeline of diffusers."""
    return holds_network(folder) or (folder / PIPELINE).is_file()
