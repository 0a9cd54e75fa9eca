"""Speech made by eSpeak NG, the library inside a published wheel: no system package is needed."""

import io
import json
import platform
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core.cache import cache_folder
from kd2deploy.data._wheels import Wheel, fetched
from kd2deploy.errors import DataError

PACKAGE = "espeakng-loader==0.2.4"
WHEELS = {
    ("linux", "x86_64"): Wheel(
        PACKAGE,
        "espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
    ),
    ("darwin", "arm64"): Wheel(
        PACKAGE,
        "espeakng_loader-0.2.4-py3-none-macosx_11_0_arm64.whl",
        "d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",
    ),
}
LIBRARIES = {"linux": "libespeak-ng.so", "darwin": "libespeak-ng.dylib"}


class Line(NamedTuple):
    """A text, the voice that says it, at so many words a minute and so high (0..100)."""

    text: str
    voice: str
    rate: int = 175
    pitch: int = 50


def spoken(lines: Sequence[Line]) -> tuple[int, list[NDArray[np.int16]]]:
    """The sampling rate, and the samples of every line; equal lists of lines sound alike, to the bit.

    The wheel is fetched and unpacked on the first call. Raises DataError for a voice that there is not.
    """
    home = library_folder(cache_folder())
    command = [sys.executable, "-m", "kd2deploy.data._speaking", str(home), LIBRARIES[sys.platform]]
    done = subprocess.run(command, input=json.dumps(lines).encode(), capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DataError(f"nothing was spoken: {said}; if the library is damaged, delete {home}")
    with np.load(io.BytesIO(done.stdout)) as found:
        return int(found["sampling_rate"]), [found[str(place)] for place in range(len(lines))]


def library_folder(folder: Path) -> Path:
    """eSpeak with its voices, fetched into `folder`. Raises DataError on a machine that no pinned library is for."""
    wheel = WHEELS.get((sys.platform, platform.machine()))
    if wheel is None:
        raise DataError(
            f"{PACKAGE} has no library for {sys.platform} on {platform.machine()} that is pinned here; "
            "make the data on another machine, or name another data set"
        )
    return unpacked(fetched(wheel, folder), folder / "espeakng-0.2.4")


def unpacked(wheel: Path, home: Path) -> Path:
    """The folder with the library and its data, written once and whole."""
    from filelock import FileLock

    with FileLock(f"{home}.lock"):
        if not home.is_dir():
            scratch = home.with_name(f".{home.name}.partial")
            with zipfile.ZipFile(wheel) as package:
                inside = [name for name in package.namelist() if name.startswith("espeakng_loader/")]
                package.extractall(scratch, inside)
            (scratch / "espeakng_loader").rename(home)
            scratch.rmdir()
    return home
