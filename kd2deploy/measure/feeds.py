"""Named arrays as files: how inputs and outputs travel between the coordinator and its workers."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from kd2deploy.core import Feed


@contextmanager
def exchange(within: Path | None) -> Iterator[Path]:
    """A folder for inputs and outputs, gone afterwards.

    `within` a folder of the work that they belong to: what a kill leaves is found there and removed with it. None is
    the system's own place for such folders.
    """
    if within is not None:
        within.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kd2deploy-", dir=within) as folder:
        yield Path(folder)


def write_feed(feed: Feed, file: Path) -> None:
    np.savez(file, **cast(dict[str, Any], dict(feed)))


def read_feed(file: Path) -> Feed:
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def write_feeds(feeds: Sequence[Feed], folder: Path) -> Path:
    """One .npz per input, named so that they sort in the order given. Returns the folder, which it makes."""
    folder.mkdir()
    for place, feed in enumerate(feeds):
        write_feed(feed, folder / f"{place:06d}.npz")
    return folder


def read_feeds(folder: Path) -> list[Feed]:
    return [read_feed(file) for file in sorted(folder.glob("*.npz"))]
