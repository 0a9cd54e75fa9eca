"""Several processes for one training, as typed: `--nproc 2`, or an outer `torchrun` or `accelerate launch`.

Of the processes that an outer launcher starts the first leads, as it would by itself, and the others end at once: each
training gets as many processes of its own from the same launcher (`stages/together.py`). What the launcher says in
variables is taken out of the environment, or whatever runs below would take itself for a rank. Where Accelerate is
configured for FSDP, the teacher is cut into shards (`train/sharded.py`).
"""

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import typer

from kd2deploy.errors import RunError

VARIABLES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE"),
)
PREFIXES = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_")
FSDP, OFFLOADS = "ACCELERATE_USE_FSDP", "FSDP_OFFLOAD_PARAMS"
OTHERS = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "its own kinds of parallelism",
}
"""What Accelerate's configuration may ask for and is not to be had."""


@dataclass(frozen=True)
class Shared:
    """How each training is to be shared."""

    processes: int | None = None
    """None where only the recipe says so."""
    shard_teacher: bool = False


AS_WRITTEN = Shared()


def wanted(nproc: int | None) -> Shared:
    """How each training is to be shared, as typed or as a launcher says.

    Ends this process where another of an outer launcher's leads. Raises RunError for what cannot be had.
    """
    given = taken(os.environ)
    refuse_others(given)
    if "RANK" not in given or "WORLD_SIZE" not in given:
        return Shared(nproc)
    rank, world, local = (number(given, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if not 0 <= rank < world:
        raise RunError(f"the launcher says RANK={rank} of WORLD_SIZE={world}; ranks go from 0 to {world - 1}")
    if rank > 0:
        raise typer.Exit
    if local != world:
        raise RunError(
            f"of the {world} that the launcher started {local} run here, and a training is shared by processes of one "
            "machine; start it on one"
        )
    if nproc not in (None, world):
        raise RunError(f"--nproc says {nproc}, and the launcher started {world}; leave --nproc out")
    return Shared(world, shard_teacher=asked(given, FSDP))


def taken(environment: MutableMapping[str, str]) -> dict[str, str]:
    """The launcher's variables, which are no longer there."""
    names = [name for name in environment if name in VARIABLES or name.startswith(PREFIXES)]
    return {name: environment.pop(name) for name in names}


def refuse_others(given: Mapping[str, str]) -> None:
    """Raises RunError where Accelerate is configured to share a training in a way that is not done here."""
    for name, kind in OTHERS.items():
        if asked(given, name):
            raise RunError(
                f"Accelerate is configured for {kind}, and each process here holds its student whole (docs/scale.md "
                "says why); choose MULTI_GPU or FSDP in `accelerate config`, or type `kd2deploy compress --nproc N`"
            )
    if asked(given, FSDP) and asked(given, OFFLOADS):
        raise RunError(
            "Accelerate is configured to keep FSDP's shards in the processors' memory, and here they stay on the "
            "devices; leave fsdp_offload_params out"
        )


def asked(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "").lower() in ("1", "true", "yes")


def number(given: Mapping[str, str], name: str) -> int:
    """A variable of the launcher's; one that a hand-made launch leaves out is as if all ran here."""
    said = given.get(name, given["WORLD_SIZE"])
    try:
        return int(said)
    except ValueError:
        raise RunError(f"the launcher says {name}={said!r}, which is no number; start it by torchrun") from None
