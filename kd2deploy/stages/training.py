"""What the stages that train have in common."""

import shutil
from collections.abc import Callable
from pathlib import Path

from kd2deploy.progress import Watcher

WEIGHTS = ("model.safetensors", "config.json")


def watched(watcher: Watcher, what: str) -> Callable[[int, int, float, float], None]:
    """The engine's progress as the watcher's."""

    def tell(step: int, steps: int, epoch: float, loss: float) -> None:
        watcher.advance(f"{what}, epoch {epoch:.1f}, loss {loss:.3f}" if step == steps else what, step, steps)

    return tell


def keep_only(folder: Path, trained: Path, start: Path, name: str) -> Path:
    """The trained network with what it reads its inputs by, as `folder/name`; checkpoints and the rest are dropped."""
    kept = folder / name
    kept.mkdir(exist_ok=True)
    for file in start.iterdir():
        if file.is_file() and file.name not in WEIGHTS:
            shutil.copy2(file, kept / file.name)
    for file in trained.iterdir():
        shutil.copy2(file, kept / file.name)
    for other in folder.iterdir():
        if other.is_dir() and other != kept:
            shutil.rmtree(other)
        elif other.is_file():
            other.unlink()
    return kept
