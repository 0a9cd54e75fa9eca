"""What the stages that train have in common."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kd2deploy.core.watcher import Watcher
from kd2deploy.run import read_json, rename, write_json

DONE = "done.json"
"""The last word of a training stage: what is kept and the stage's result. Only once it stands is the rest dropped."""
WEIGHTS = ("model.safetensors", "config.json")


def watched(watcher: Watcher, what: str) -> Callable[[int, int, float, float | None], None]:
    """The engine's progress as the watcher's."""

    def tell(step: int, steps: int, epoch: float, loss: float | None) -> None:
        watcher.advance(what, step, steps, "" if loss is None else f"loss {loss:.3f}")

    return tell


def keep_only(folder: Path, trained: Path, start: Path, name: str, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep the trained network with what it reads its inputs by, as `folder/name`, and drop checkpoints and the rest.

    Returns `result`, which `finished` gives back should a kill come before the stage is over.
    """
    kept, aside = folder / name, folder / f"{name}.new"
    for left in (kept, aside):
        shutil.rmtree(left, ignore_errors=True)
    aside.mkdir()
    for file in start.iterdir():
        if file.is_file() and file.name not in WEIGHTS:
            shutil.copy2(file, aside / file.name)
    shutil.copytree(trained, aside, dirs_exist_ok=True)
    rename(aside, kept)
    write_json(folder / DONE, {"kept": name, "result": dict(result)})
    finished(folder)
    return result


def keep_nothing(folder: Path, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keep of a training its result alone."""
    write_json(folder / DONE, {"kept": "", "result": dict(result)})
    finished(folder)
    return result


def finished(folder: Path) -> Mapping[str, Any] | None:
    """The result of a training stage that was over when it was killed, its remains dropped; None where it was not."""
    if not (folder / DONE).is_file():
        return None
    found = read_json(folder / DONE)
    for other in folder.iterdir():
        if other.name not in (DONE, found["kept"]):
            remove(other)
    result: Mapping[str, Any] = found["result"]
    return result


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
