"""Exported files as their folder remembers them: which variant each is, of which network, and how it is opened.

It is data, as a bundle is: a session or task of others in it is not run unless it is trusted.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kd2deploy.core import Artifact, build_task
from kd2deploy.core.reading import inside, object_of
from kd2deploy.core.session import options_of
from kd2deploy.core.written import write_text
from kd2deploy.errors import SessionError
from kd2deploy.recipe.resolve import short
from kd2deploy.stages.convert import Exported
from kd2deploy.stages.job import Model, model_at

EXPORTED, FORMAT = "export.json", 1


@dataclass(frozen=True)
class Remembered:
    """One variant's file."""

    artifact: Artifact
    """Its path as it lies in the folder."""
    session: dict[str, Any]
    network: str
    """The folder of the network that it was made of, whose tokenizer or image processor reads its rows."""
    task: dict[str, Any]

    def opened(self, folder: Path, name: str) -> tuple[Exported, Model]:
        """The file, verified, and its network. Raises SessionError, TrustError, ModelError."""
        options_of(self.artifact.opened_by, self.session)  # whose code it names, before anything is read
        task = build_task(self.task)
        artifact = replace(self.artifact, path=inside(folder, str(self.artifact.path))).verify()
        model = model_at(Path(self.network), task)
        return Exported(name, (artifact,), artifact, self.session), model


def remember(folder: Path, model: Model, made: Iterable[Exported]) -> None:
    """Note what was exported beside what the folder remembers already."""
    kept: dict[str, Any] = {}
    if (folder / EXPORTED).is_file():
        kept = {name: {**vars(one), "artifact": one.artifact.to_json()} for name, one in recalled(folder).items()}
    for one in made:
        artifact = {**one.artifact.to_json(), "path": one.artifact.path.relative_to(folder).as_posix()}
        network, task = str(model.folder.resolve()), model.task.spec()
        kept[one.name] = {"artifact": artifact, "session": dict(one.session), "network": network, "task": task}
    write_text(folder / EXPORTED, json.dumps({"format": FORMAT, "variants": kept}, indent=2, default=list) + "\n")


def recalled(folder: Path) -> Mapping[str, Remembered]:
    """Every variant that a folder remembers. Raises SessionError for what this program has not written."""
    path = folder / EXPORTED
    found = object_of(path, SessionError, "export the network again")
    if found.get("format") != FORMAT:
        raise SessionError(
            f"{path} has format {short(found.get('format'))}, and this version reads {FORMAT}; export it anew"
        )
    try:
        return TypeAdapter(dict[str, Remembered]).validate_python(found.get("variants"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SessionError(f"{path} was not written by kd2deploy: {where}: {first['msg']}; export again") from None


def home_of(path: Path) -> Path | None:
    """The folder of exported files that a path is, or lies in; None where it lies in none."""
    near = (path, *path.absolute().parents[:3])
    return next((folder for folder in near if (folder / EXPORTED).is_file()), None)


def files_at(path: Path) -> dict[str, tuple[Exported, Model]]:
    """What a path names of the exported files by variant: one of them, or all of the folder that it is.

    Raises SessionError for a file that its folder does not remember.
    """
    folder = home_of(path)
    assert folder is not None, "asked for a path that lies in such a folder"
    names = recalled(folder)
    if folder.resolve() != path.resolve():
        within = path.resolve().relative_to(folder.resolve()).as_posix()
        names = {name: one for name, one in names.items() if within in at_and_above(one.artifact.path)}
        if not names:
            raise SessionError(f"{path} is none of the files that {folder / EXPORTED} names; give one of them")
    return {name: one.opened(folder, name) for name, one in names.items()}


def at_and_above(path: Path) -> set[str]:
    return {path.as_posix(), *(parent.as_posix() for parent in path.parents)} - {"."}
