"""A run is a folder. A stage that is done is reused, never redone; a stage that was killed is continued.

A stage's fingerprint is the hash of its specification, its parents' hashes, the versions and the seed. Its outputs are
written to a folder that is renamed when complete, so a kill at any instant loses at most the work since the last
checkpoint, and the same command continues. The record is the last thing written into that folder: where it stands there
and holds, a kill came between it and the new name, and only the name is missing.
"""

import hashlib
import importlib
import json
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kd2deploy.core.artifact import files_of, sha256_of
from kd2deploy.core.fingerprint import LAYOUT
from kd2deploy.core.fingerprint import fingerprint as fingerprint
from kd2deploy.core.fingerprint import versions as versions
from kd2deploy.core.locks import held
from kd2deploy.core.os_errors import readable_os_errors as readable_os_errors
from kd2deploy.core.reading import object_of
from kd2deploy.core.watcher import Watcher
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


Needs = Literal["nothing", "gpu", "target"]
Work = Callable[[Mapping[str, Any], Mapping[str, Any], Path, Watcher], Mapping[str, Any]]
"""A stage's work: (specification, inputs, folder, who is told) -> plain values. The folder may hold what a killed
attempt left."""


@dataclass(frozen=True)
class Stage:
    """A piece of work as plain values, so that another process, or another machine, may do it."""

    name: str
    spec: Mapping[str, Any]
    """What its result depends on, beside its parents."""
    parents: Mapping[str, str]
    """Hashes of what it is made of."""
    work: str
    """Dotted name of a `Work`."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Where what it is made of lies, and whom its trackers tell: no part of its fingerprint."""
    needs: Needs = "nothing"
    """`gpu`: the device that trains, where there is one. `target`: the target's machine alone, for it measures."""
    keeps: str = ""
    """Dotted name of what says of a result whether it is worth keeping; left out, every result is. One that is not is
    given back all the same, and the same command does the work again."""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.name, self.spec, self.parents)

    def function(self) -> Work:
        found: Work = named(self.work)
        return found

    def is_kept(self, result: Mapping[str, Any]) -> bool:
        return not self.keeps or bool(named(self.keeps)(result))


def named(dotted: str) -> Any:
    """What a dotted name of the program's own stands for."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Done:
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
    """A run folder. One process leads the work in it; others may do single stages, each of which is held by one."""

    def __init__(
        self, folder: Path, on_stage: Callable[[str, str], None] = lambda name, state: None, finished: bool = False
    ) -> None:
        self.folder = folder
        self.on_stage = on_stage
        self.finished = finished
        """Whether the work must have been done: a stage that was not is then an error."""
        self.done: list[Done] = []
        self.outdated = 0
        """Finished stages here of another layout, until it was said that they are made anew."""

    @contextmanager
    def locked(self) -> Iterator["Run"]:
        """Lead the work in the folder, or raise RunError if it cannot be written or another process leads there."""
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
                self.outdated = outdated(self.folder / STAGES)
                yield self
            finally:
                lock.release()

    def carry_out(self, stage: Stage, tell: Watcher) -> Done:
        """The stage's result, from its folder if an equal one was done before, else by doing its work here.

        The work is given a folder that may hold what a killed attempt left (checkpoints). Where another process does
        the same stage it is waited for.
        """
        name, folder = stage.name, self.place(stage)
        partial = working(folder)
        if (folder / RECORD).is_file():
            return self.fetched(stage, reused=True)
        if self.finished:
            raise RunError(
                f"{self.folder} has no finished stage {name!r} of this recipe, data and versions; run the recipe there "
                "again with `kd2deploy compress`"
            )
        if self.outdated:
            of = "stage here is" if self.outdated == 1 else "stages here are"
            tell.say(f"{self.outdated} finished {of} of another state of kd2deploy: left alone, and made anew")
            self.outdated = 0
        why = why_made(folder, stage) if log.isEnabledFor(logging.INFO) else ""
        with held(partial, lambda: self.on_stage(name, "waiting")):
            partial.mkdir(exist_ok=True)  # it got its name while it was waited for
            if (folder / RECORD).is_file():
                partial.rmdir()
                return self.fetched(stage, reused=True)
            self.on_stage(name, "running")
            log.info("%s is made in %s: %s", name, folder, why)
            record = recorded(partial) or worked(partial, stage, tell)
            if not stage.is_kept(record["result"]):
                return self.collected(name, partial, record, reused=False)
            write_json(partial / RECORD, sealed(record))
            rename(partial, folder)
        return self.collected(name, folder, record, reused=False)

    def place(self, stage: Stage) -> Path:
        """Where a stage stands once it is done."""
        return self.folder / STAGES / f"{stage.name}-{stage.fingerprint[:12]}"

    def has(self, stage: Stage) -> bool:
        return (self.place(stage) / RECORD).is_file()

    def fetched(self, stage: Stage, reused: bool) -> Done:
        """A stage that is done, `reused` or just now by another process."""
        folder = self.place(stage)
        return self.collected(stage.name, folder, self.reuse(stage.name, folder), reused)

    def collected(self, name: str, folder: Path, record: Mapping[str, Any], reused: bool) -> Done:
        """A stage that is done, and told so."""
        result = rebased(record["result"], working(folder), folder)
        done = Done(name, folder, record["sha256"], result, record["seconds"], reused)
        self.done.append(done)
        self.on_stage(name, "reused" if reused else "done")
        if reused:
            log.info("%s is reused from %s", name, folder)
        else:
            log.info("%s took %.1f s", name, done.seconds)
        return done

    def reuse(self, name: str, folder: Path) -> dict[str, Any]:
        """The record of a finished stage. Raises RunError where it or its files are not as the stage left them."""
        record = read_json(folder / RECORD)
        if not is_sealed(record) or digest_without_record(folder) != record["sha256"]:
            raise RunError(
                f"{folder} was changed after the stage {name!r} was done; delete that folder and run the command again"
            )
        return record


def working(folder: Path) -> Path:
    """Where a stage is worked on that will stand in `folder`; itself for a folder that is worked on."""
    return folder if folder.name.endswith(PARTIAL) else folder.with_name(f".{folder.name}{PARTIAL}")


def why_made(folder: Path, stage: Stage) -> str:
    """Why no finished stage answers: what is other than in the latest of this name."""
    if working(folder).is_dir():
        return "an earlier attempt there was cut short, or met what makes it void"
    finished = [
        record for record in folder.parent.glob(f"{stage.name}-*/{RECORD}") if MARK.fullmatch(record.parent.name)
    ]
    for record in sorted(finished, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            before = object_of(record, RunError, "")
        except RunError:  # damaged: the next one tells
            continue
        if before.get("name") == stage.name:
            return "other than before: " + ", ".join(changes(before, {"spec": stage.spec, "parents": stage.parents}))
    return "it was not done before"


def outdated(stages: Path) -> int:
    """How many finished stages were made under another layout, so that none of this one's can be among them."""
    found = 0
    for file in stages.glob(f"*/{RECORD}"):
        try:
            other = object_of(file, RunError, "").get("layout") != LAYOUT
        except RunError:  # damaged: whoever needs it says so
            continue
        found += other and MARK.fullmatch(file.parent.name) is not None
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What of a stage's specification and parents differs from a record's; where nothing does, what else may."""
    found = []
    for part, values in json.loads(json.dumps(now, default=str)).items():
        known = before.get(part)
        earlier = known if isinstance(known, Mapping) else {}
        found += [key for key in sorted({*values, *earlier}) if values.get(key) != earlier.get(key)]
    return found or ["the versions of packages, or code and files that it names"]


def worked(partial: Path, stage: Stage, tell: Watcher) -> dict[str, Any]:
    """The record of a stage's work, which is done now."""
    about = {"name": stage.name, "fingerprint": stage.fingerprint, "spec": stage.spec, "parents": dict(stage.parents)}
    spec, inputs = json.loads(json.dumps([stage.spec, stage.inputs]))  # as another process would be given them
    started = time.perf_counter()
    try:
        result = json.loads(json.dumps(dict(stage.function()(spec, inputs, partial, tell))))
    finally:
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    seconds = time.perf_counter() - started
    return {**about, "layout": LAYOUT, "seconds": seconds, "sha256": sha256_of(partial), "result": result}


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
