"""An artifact: a file or folder with its hash, its origin and the session that opens it."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kd2deploy.core.members import networks_in
from kd2deploy.errors import SessionError

SIDECAR = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """Bytes on disk that can be opened, scored, timed and converted."""

    path: Path
    """A file, or a folder whose every file counts."""
    sha256: str
    opened_by: str
    """Dotted name of the session class: `kd2deploy.exporters.onnx.OnnxSession`; empty for answers, which are never
    run."""
    precision: str = "fp32"
    """fp32, fp16, bf16, int8: what the weights of the heavy operations are held in."""
    parent: str | None = None
    """sha256 of the artifact this one was made from."""
    made_by: str = ""
    """The converter's name."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the converter has to say: exporter, opset, fused nodes, excluded operations, versions."""
    computes: float = 1.0
    """Share of its network's operations that it computes: below 1 where results that nobody reads are left out."""

    @property
    def size_mb(self) -> float:
        return sum(file.stat().st_size for file in files_of(self.path)) / 1e6

    @property
    def weights_mb(self) -> float:
        """Size of what is loaded: a network's folder also holds its tokenizer, which does not count."""
        weights = [place / "model.safetensors" for place in networks_in(self.path)]
        known = all(file.is_file() for file in weights)
        return sum(file.stat().st_size for file in weights) / 1e6 if known else self.size_mb

    def verify(self) -> "Artifact":
        """Itself, or an error if the bytes are not those that were hashed."""
        if not self.path.exists():
            raise SessionError(f"{self.path} is gone; run the command again to make it anew")
        found = sha256_of(self.path)
        if found != self.sha256:
            raise SessionError(
                f"{self.path} was changed after it was made (sha256 {found[:12]}, recorded {self.sha256[:12]}); "
                "delete the stage's folder to make it anew"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "path": str(self.path)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Artifact":
        return cls(**{**found, "path": Path(found["path"])})


def made(
    path: Path,
    opened_by: str,
    *,
    parent: Artifact | None = None,
    made_by: str = "",
    precision: str = "fp32",
    details: Mapping[str, Any] | None = None,
    computes: float | None = None,
) -> Artifact:
    """The artifact at `path`, hashed as it stands now. It computes as much as its parent does, unless `computes` says
    otherwise."""
    return Artifact(
        path=path,
        sha256=sha256_of(path),
        opened_by=opened_by,
        precision=precision,
        parent=parent.sha256 if parent else None,
        made_by=made_by,
        details=dict(details or {}),
        computes=computes if computes is not None else parent.computes if parent else 1.0,
    )


def files_of(path: Path) -> list[Path]:
    """The files that an artifact consists of, in a fixed order."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != SIDECAR)


def sha256_of(path: Path) -> str:
    """Hash of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return hash_file(path).hexdigest()
    whole = hashlib.sha256()
    for file in files_of(path):
        whole.update(json.dumps([file.relative_to(path).as_posix(), hash_file(file).hexdigest()]).encode())
    return whole.hexdigest()


def hash_file(path: Path) -> "hashlib._Hash":
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")
