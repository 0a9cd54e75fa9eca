"""A run is a folder. A stage that is done is reused, never redone; a stage that was killed is continued.

A stage's fingerprint is the hash of its specification, its parents' hashes, the versions and the seed. Its outputs are
written to a folder that is renamed when complete, so a kill at any instant loses at most the work since the last
checkpoint, and the same command continues. The record is the last thing written into that folder: where it stands there
and holds, a kill came between it and the new name, and only the name is missing.
"""

import errno
import hashlib
import importlib.util
import json
import logging
import os
import re
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
from kd2deploy.core.reading import object_of
from kd2deploy.core.written import beside, flush, write_text
from kd2deploy.errors import RunError

log = logging.getLogger(__name__)

STAGES = "stages"
RECORD = "stage.json"
MARK = re.compile(r".*-[0-9a-f]{12}")
"""A finished stage's folder."""
PARTIAL = ".partial"
SCRATCH = ".scratch"
"""In a stage's working folder: what goes between processes, evaluation inputs among it, and must not stay."""
VERSIONED = (
    "kd2deploy",
    "torch",
    "transformers",
    "tokenizers",
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

    def __init__(
        self, folder: Path, on_stage: Callable[[str, str], None] = lambda name, state: None, finished: bool = False
    ) -> None:
        self.folder = folder
        self.on_stage = on_stage
        self.finished = finished
        """Whether the work must have been done: a stage that was not is then an error."""
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
                for left in (self.folder / STAGES).glob(f".*/{SCRATCH}"):
                    shutil.rmtree(left)
                yield self
            finally:
                lock.release()

    def stage(
        self,
        name: str,
        spec: Mapping[str, Any],
        parents: Mapping[str, str],
        work: Callable[[Path], Mapping[str, Any]],
        worth_keeping: Callable[[Mapping[str, Any]], bool] = lambda result: True,
    ) -> Stage:
        """The stage's result, from its folder if an equal one was done before, else by doing the work.

        `work` is given a folder that may hold what a killed attempt left (checkpoints), and returns plain values. A
        result that is not `worth_keeping` is returned all the same; the same command does the work again.
        """
        mark = fingerprint(name, spec, parents)
        folder = self.folder / STAGES / f"{name}-{mark[:12]}"
        partial = folder.with_name(f".{folder.name}{PARTIAL}")
        reused = (folder / RECORD).is_file()
        if reused:
            record = self.reuse(name, folder)
        elif self.finished:
            raise RunError(
                f"{self.folder} has no finished stage {name!r} of this recipe, data and versions; run the recipe there "
                "again with `kd2deploy compress`"
            )
        else:
            self.on_stage(name, "running")
            if log.isEnabledFor(logging.INFO):
                log.info("%s is made in %s: %s", name, folder, why_made(folder, name, spec, parents))
            partial.mkdir(exist_ok=True)
            about = {"name": name, "fingerprint": mark, "spec": spec, "parents": dict(parents)}
            record = recorded(partial) or worked(partial, about, work)
            if worth_keeping(record["result"]):
                write_json(partial / RECORD, sealed(record))
                rename(partial, folder)
            else:
                folder = partial
        result = rebased(record["result"], partial, folder)
        stage = Stage(name, folder, record["sha256"], result, record["seconds"], reused)
        self.done.append(stage)
        self.on_stage(name, "reused" if reused else "done")
        if reused:
            log.info("%s is reused from %s", name, folder)
        else:
            log.info("%s took %.1f s", name, stage.seconds)
        return stage

    def reuse(self, name: str, folder: Path) -> dict[str, Any]:
        """The record of a finished stage. Raises RunError where it or its files are not as the stage left them."""
        record = read_json(folder / RECORD)
        if not is_sealed(record) or digest_without_record(folder) != record["sha256"]:
            raise RunError(
                f"{folder} was changed after the stage {name!r} was done; delete that folder and run the command again"
            )
        return record


def why_made(folder: Path, name: str, spec: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """Why no finished stage answers: what is other than in the latest of this name."""
    partial = folder.with_name(f".{folder.name}{PARTIAL}")
    if partial.is_dir():
        return "an earlier attempt there was cut short, or met what makes it void"
    finished = [record for record in folder.parent.glob(f"{name}-*/{RECORD}") if MARK.fullmatch(record.parent.name)]
    for record in sorted(finished, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            before = object_of(record, RunError, "")
        except RunError:  # damaged: the next one tells
            continue
        if before.get("name") == name:
            return "other than before: " + ", ".join(changes(before, {"spec": spec, "parents": parents}))
    return "it was not done before"


def changes(before: Mapping[str, Any], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What of a stage's specification and parents differs from a record's; where nothing does, what else may."""
    found = []
    for part, values in json.loads(json.dumps(now, default=str)).items():
        known = before.get(part)
        earlier = known if isinstance(known, Mapping) else {}
        found += [key for key in sorted({*values, *earlier}) if values.get(key) != earlier.get(key)]
    return found or ["the versions of packages, or code and files that it names"]


def worked(partial: Path, about: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """The record of the work, which is done now."""
    started = time.perf_counter()
    try:
        result = json.loads(json.dumps(dict(work(partial))))
    finally:
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    seconds = time.perf_counter() - started
    return {**about, "seconds": seconds, "sha256": sha256_of(partial), "result": result}


def recorded(partial: Path) -> dict[str, Any] | None:
    """The record of a stage that was killed before it got its name; None, and no trace of one, where it is not whole.

    What a half-written or outdated record leaves would be taken for a part of the stage's outputs.
    """
    file = partial / RECORD
    try:
        record = object_of(file, RunError, "")
        if is_sealed(record) and digest_without_record(partial) == record["sha256"]:
            return record
    except RunError:  # there is none, or a kill or a loss of power cut it short
        pass
    for left in (file, beside(file)):
        left.unlink(missing_ok=True)
    return None


SEAL = "record_sha256"
RECORDED = {"name": str, "fingerprint": str, "seconds": int | float, "sha256": str, "result": dict}


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its own hash: it says what opens the stage's files, so it is checked as they are."""
    return {**record, SEAL: hash_of({key: value for key, value in record.items() if key != SEAL})}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record is whole and as it was written."""
    whole = all(isinstance(record.get(key), kind) for key, kind in RECORDED.items())
    return whole and record.get(SEAL) == hash_of({key: value for key, value in record.items() if key != SEAL})


def hash_of(found: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


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
    whole = hashlib.sha256()
    for file in files_of(folder):
        if file != record:
            whole.update(json.dumps([file.relative_to(folder).as_posix(), sha256_of(file)]).encode())
    return whole.hexdigest()


def fingerprint(name: str, spec: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    whole = {"name": name, "spec": spec, "parents": dict(parents), "versions": versions(), "outside": outside(spec)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


def outside(spec: Any, named: bool = False) -> dict[str, str]:
    """What the blocks of a specification draw from elsewhere, hashed: the source file that a dotted name lies in, and
    the contents of a network's folder that is given as an argument."""
    found: dict[str, str] = {}
    if isinstance(spec, Mapping):
        for key, value in spec.items():
            found |= outside(value, named=key in ("use", "method"))
            if "use" in spec and isinstance(value, str) and Path(value, "config.json").is_file():
                found[value] = sha256_of(Path(value))
    elif isinstance(spec, list | tuple):
        for value in spec:
            found |= outside(value, named)
    elif named and isinstance(spec, str) and "." in spec:
        source = importlib.util.find_spec(spec.rpartition(".")[0])
        if source is not None and source.has_location:
            found[spec] = sha256_of(Path(str(source.origin)))
    return found


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


def stage_of(folder: Path) -> str:
    """The name of the stage that a folder belongs to, its mark included, while it is worked on and after."""
    return folder.name.removeprefix(".").removesuffix(PARTIAL)


def rename(old: Path, new: Path) -> None:
    """Make a finished folder appear at once, its contents on the disk before its name."""
    for file in files_of(old):
        flush(file)
    old.rename(new)
    flush(new.parent)


def write_json(path: Path, value: Any) -> None:
    """Write a file whole or not at all."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. Raises RunError."""
    return object_of(path, RunError, "it is damaged: delete its folder and run the command again")


UNUSABLE = frozenset({errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG})
WRITE_FAILED = ("os error 28", "No space left", "file write failed", "unexpected pos")
"""How safetensors and torch say that a file could not be written whole; neither raises an OSError."""

ALLOCATION_FAILED = ("can't allocate memory", "out of memory", "bad allocation", "std::bad_alloc")
"""How torch says that the memory is used up, on a processor and on a device."""


@contextmanager
def readable_os_errors(folder: Path) -> Iterator[None]:
    """A full disk or a place that cannot be used is the user's to fix: say so, with the place."""
    from safetensors import SafetensorError

    if not is_text(folder):
        raise RunError(f"{os.fsencode(folder)!r} is no name in UTF-8, and reports could not name it; choose another")
    try:
        yield
    except MemoryError as error:
        raise out_of_memory() from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(folder) from error
        place = error.filename or folder
        inside = Path(os.fsdecode(place)).absolute().is_relative_to(folder.absolute())
        remedy = (
            "choose another folder with --out"
            if inside
            else "set the variable that names it (KD2DEPLOY_CACHE, HF_HOME)"
        )
        if error.errno == errno.EROFS:
            raise RunError(f"{place} cannot be written; {remedy}") from error
        if error.errno in UNUSABLE:
            raise RunError(f"{place} cannot be used ({error.strerror}); mend its rights, or {remedy}") from error
        raise
    except (SafetensorError, RuntimeError) as error:
        if any(words in str(error) for words in WRITE_FAILED):
            raise disk_full(folder) from error
        if any(words in str(error) for words in ALLOCATION_FAILED):
            raise out_of_memory() from error
        raise


def is_text(path: Path) -> bool:
    """Whether a path can be written into a file in UTF-8: the system's paths are bytes, and may be anything."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def out_of_memory() -> RunError:
    return RunError(
        "the machine ran out of memory; take a smaller `batch`, fewer rows or a smaller network, and run the same "
        "command again: finished stages are kept"
    )


def disk_full(folder: Path) -> RunError:
    free = shutil.disk_usage(folder if folder.exists() else folder.parent).free / 1e6
    return RunError(
        f"the disk of {folder} is full ({free:.0f} MB free); free some room and run the same command again: "
        "finished stages are kept"
    )
