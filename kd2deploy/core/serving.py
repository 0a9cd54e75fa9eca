"""What a bundle and its clients must know of a session: where its file lies, which server opens it, and in which words.

A session class says it as `serving`; one that says nothing has its file in a folder of its own name, which this program
alone opens.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kd2deploy.core.artifact import Artifact
from kd2deploy.core.session import session_named

BY_THIS_PROGRAM = """\
from pathlib import Path

from kd2deploy.exporters.bundle import open_bundle

run = open_bundle(Path("."), trust={trust}).run
"""


@dataclass(frozen=True)
class Told:
    """What a server is told of a session's options."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    """The backend's own."""
    untold: tuple[str, ...] = ()
    """What it has no word for, and may do otherwise."""


def nothing(session: Mapping[str, Any]) -> Told:
    return Told()


@dataclass(frozen=True)
class Serving:
    """How what a session opens is kept and served. Every part has a meaning when it is left out."""

    place: str | Callable[[Artifact], str] = ""
    """Where the artifact stands in a bundle; the class's name in small letters where nothing is said."""
    opens: str = ""
    """The file to open, of an artifact that is a folder."""
    backend: str = ""
    """NVIDIA Triton's backend that opens its files, each as `model` with its own ending; none where nothing is said."""
    told: Callable[[Mapping[str, Any]], Told] = nothing
    """What that backend is told of the session's options."""
    code: str | Callable[[Artifact, Mapping[str, Any]], str] = BY_THIS_PROGRAM
    """Python that opens `{file}`, for a network of transformers by its class `{auto}`, with the session's options, and
    defines `run(feed) -> {output: array}`."""
    rebuilt: bool = False
    """Whether it belongs to one device, driver and library, so that what it was built of is kept beside it."""
    network: bool = False
    """Whether it is the student's own folder, which stands at a bundle's top."""


def serving(artifact: Artifact) -> Serving:
    """What the session of an artifact says. Raises TrustError for a session that is neither ours nor trusted."""
    found: Serving = getattr(session_named(artifact.opened_by), "serving", Serving())
    return found


def place_in_bundle(artifact: Artifact) -> str:
    """Where an artifact stands in a bundle. Raises TrustError as `serving` does."""
    place = serving(artifact).place
    if callable(place):
        return place(artifact)
    return place or artifact.opened_by.rpartition(".")[2].lower()


def opened_in_bundle(artifact: Artifact) -> str:
    """The file of a bundle that is opened to run an artifact."""
    opens = serving(artifact).opens
    return f"{place_in_bundle(artifact)}/{opens}" if opens else place_in_bundle(artifact)


def code_that_opens(artifact: Artifact, auto: str, file: str = "", session: Mapping[str, Any] | None = None) -> str:
    """Python that opens an artifact where it lies in a bundle, or as the `file` that is named, and defines `run`.

    `auto` is the class of transformers for its network, `session` the options that it was judged with.
    """
    filled = {"{file}": repr(file or opened_in_bundle(artifact)), "{auto}": auto, "{trust}": repr([artifact.opened_by])}
    code = serving(artifact).code
    code = code(artifact, session or {}) if callable(code) else code
    for name, value in filled.items():
        code = code.replace(name, value)
    return code
