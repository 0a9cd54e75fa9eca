"""Folders of pictures to restore: clean ones, and beside them those that they are to be restored from, where there are.

Without a folder of inputs each row's input is made of its clean picture, as the task says.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from kd2deploy.data._pictures import endings, kinds_of, listed, pictures
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError

TIMES = re.compile(r"x[23468]$")
"""What stands behind the name of a picture that was made smaller: `0801x2` for `0801`."""


def picture_pairs(
    train: str,
    eval: str,
    *,
    validation: str | None = None,
    train_inputs: str | None = None,
    eval_inputs: str | None = None,
    validation_inputs: str | None = None,
    unlabelled: str | None = None,
) -> Tables:
    """Rows `image` and `label` of one folder of clean pictures per split, and of one of inputs where it is named.

    An input has its clean picture's name, folders included, with or without `x2`, `x3`, ... behind it; the ending may
    be another. `unlabelled` holds inputs alone. Raises DataError that names what has no partner.
    """
    given = {
        "train": (train, train_inputs),
        "eval": (eval, eval_inputs),
        "validation": (validation, validation_inputs),
    }
    notes: list[str] = []
    found = {
        split: pairs(Path(clean), Path(inputs) if inputs is not None else None, notes)
        for split, (clean, inputs) in given.items()
        if clean is not None
    }
    alone = None
    if unlabelled is not None:
        alone = [{"image": str(file)} for file in found_in(Path(unlabelled), notes).values()]
    named = {split: clean for split, (clean, _) in given.items() if clean is not None}
    return Tables(
        train=found["train"],
        eval=found["eval"],
        validation=found.get("validation"),
        unlabelled=alone,
        about=", ".join(f"{split}: {folder}" for split, folder in named.items()),
        names=named,
        warnings=tuple(dict.fromkeys(notes)),
    )


def pairs(clean: Path, inputs: Path | None, notes: list[str]) -> list[dict[str, Any]]:
    """Rows of a folder of clean pictures. Raises DataError where one has no input, or an input no clean picture."""
    targets = found_in(clean, notes)
    if inputs is None:
        return [{"image": str(file), "label": str(file)} for file in targets.values()]
    sources = found_in(inputs, notes)
    partners = {name if name in targets else TIMES.sub("", name): file for name, file in sources.items()}
    for folder, lacking, what in (
        (clean, sorted(targets.keys() - partners.keys()), "input"),
        (inputs, sorted(partners.keys() - targets.keys()), "clean picture"),
    ):
        if lacking:
            other, has = inputs if folder is clean else clean, "has" if len(lacking) == 1 else "have"
            raise DataError(f"{folder}: {listed(lacking)} {has} no {what} of that name in {other}")
    return [{"image": str(partners[name]), "label": str(file)} for name, file in targets.items()]


def found_in(folder: Path, notes: list[str]) -> dict[str, Path]:
    """The pictures below a folder by their names without endings, sorted. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder (read from {Path.cwd()}); check the path under `data`")
    known, others = endings(), Counter[str]()
    files = sorted(pictures(folder, known, others))
    if others:
        notes.append(f"{folder}: files of other kinds were left out: {kinds_of(others, known)}")
    if not files:
        raise DataError(f"{folder} holds no picture that is read")
    found: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise DataError(f"{folder} holds {found[name].name} and {file.name}: two pictures of one name; rename one")
        found[name] = file
    return found
