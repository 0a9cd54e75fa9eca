"""A run is a folder. A stage that is done is reused, never redone; a stage that was killed is continued.

A stage's fingerprint is the hash of its specification, its parents' hashes, the versions and the seed. Its outputs are
written to a folder that is renamed when complete, so a kill at any instant loses at most the work since the last
checkpoint, and the same command continues.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from kd2deploy.core.artifact import files_of, sha256_of
from kd2deploy.errors import RunError

STAGES = "stages"
RECORD = "stage.json"
VERSIONED = (
    "kd2deploy",
    "torch",
    "transformers",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13",
)


@dataclass(frozen=True)
class Stage:
    """A finished stage: its folder, its plain-valued result, and the hash that its children are fingerprinted by."""

    name: str
    folder: Path
    sha256: str
    result: Mapping[str, Any]
    seconds: float
    reused: bool

    def path(self, name: str) -> Path:
        return self.folder / name


class Run:
    """A run folder, held by one process at a time."""

    def __init__(self, folder: Path, on_stage: Callable[[str, str], None] = lambda name, state: None) -> None:
        self.folder = folder
        self.on_stage = on_stage
        self.done: list[Stage] = []

    @contextmanager
    def locked(self) -> Iterator["Run"]:
        """Hold the folder, or raise RunError if it cannot be written or another process holds it."""
        import filelock

        with readable_os_errors(self.folder):
            try:
                (self.folder / STAGES).mkdir(parents=True, exist_ok=True)
            except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
                raise RunError(f"{self.folder} cannot be made ({error.strerror}); choose another with --out") from error
            lock = filelock.FileLock(self.folder / ".lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                raise RunError(
                    f"another kd2deploy is at work in {self.folder}; wait for it, or give this one `--out FOLDER`"
                ) from None
            try:
                yield self
            finally:
                lock.release()

    def stage(
        self, name: str, spec: Mapping[str, Any], parents: Mapping[str, str], work: Callable[[Path], Mapping[str, Any]]
    ) -> Stage:
        """The stage's result, from its folder if an equal one was done before, else by doing the work.

        `work` is given a folder that may hold what a killed attempt left (checkpoints), and returns plain values.
        """
        mark = fingerprint(name, spec, parents)
        folder = self.folder / STAGES / f"{name}-{mark[:12]}"
        if (folder / RECORD).is_file():
            stage = self.reuse(name, folder)
        else:
            self.on_stage(name, "running")
            partial = folder.with_name(f".{folder.name}.partial")
            partial.mkdir(exist_ok=True)
            started = time.perf_counter()
            result = json.loads(json.dumps(dict(work(partial))))
            seconds = time.perf_counter() - started
            digest = sha256_of(partial)
            record = {"name": name, "fingerprint": mark, "spec": spec, "parents": dict(parents), "seconds": seconds}
            write_json(partial / RECORD, {**record, "sha256": digest, "result": result})
            rename(partial, folder)
            stage = Stage(name, folder, digest, rebased(result, partial, folder), seconds, reused=False)
        self.done.append(stage)
        self.on_stage(name, "reused" if stage.reused else "done")
        return stage

    def reuse(self, name: str, folder: Path) -> Stage:
        record = read_json(folder / RECORD)
        found = digest_without_record(folder)
        if found != record["sha256"]:
            raise RunError(
                f"{folder} was changed after the stage {name!r} was done; delete that folder and run the command again"
            )
        partial = folder.with_name(f".{folder.name}.partial")
        return Stage(name, folder, found, rebased(record["result"], partial, folder), record["seconds"], reused=True)


def rebased(result: Any, old: Path, new: Path) -> Any:
    """Paths inside the working folder become paths inside the finished one, wherever the run was moved to."""
    if isinstance(result, dict):
        return {key: rebased(value, old, new) for key, value in result.items()}
    if isinstance(result, list):
        return [rebased(value, old, new) for value in result]
    if isinstance(result, str) and old.name in result:
        return str(new) + result.split(old.name, 1)[1]
    return result


def digest_without_record(folder: Path) -> str:
    """The hash that the folder had before its record was written."""
    record = folder / RECORD
    aside = record.read_bytes()
    whole = hashlib.sha256()
    for file in files_of(folder):
        if file != record:
            whole.update(json.dumps([file.relative_to(folder).as_posix(), sha256_of(file)]).encode())
    assert aside
    return whole.hexdigest()


def fingerprint(name: str, spec: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    whole = {"name": name, "spec": spec, "parents": dict(parents), "versions": versions()}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of what a result may depend on, as far as they are installed."""
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def rename(old: Path, new: Path) -> None:
    """Make a finished folder appear at once, its contents on the disk before its name."""
    for file in files_of(old):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    old.rename(new)


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    aside.replace(path)


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged ({error}); delete its folder and run the command again") from None


WRITE_FAILED = ("os error 28", "No space left", "file write failed", "unexpected pos")
"""How safetensors and torch say that a file could not be written whole; neither raises an OSError."""


@contextmanager
def readable_os_errors(folder: Path) -> Iterator[None]:
    """A full disk or a folder that cannot be written is the user's to fix: say so, with the place."""
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RunError(f"{error.filename or folder} cannot be written; choose another folder with --out") from error
        raise
    except (SafetensorError, RuntimeError) as error:
        if any(words in str(error) for words in WRITE_FAILED):
            raise disk_full(folder) from error
        raise


def disk_full(folder: Path) -> RunError:
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free / 1e6
    return RunError(
        f"the disk of {folder} is full ({free:.0f} MB free); free some room and run the same command again: "
        "finished stages are kept"
    )
