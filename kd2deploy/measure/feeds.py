"""Named arrays as files: how inputs and outputs travel between the coordinator and its workers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from kd2deploy.core import Feed


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
