"""The report of a run as plain data: what was asked, what was measured, what follows. JSON first, pages from it.

Everything that a partial run lacks is empty or None, and every page leaves its section out. Metrics are in the task's
own unit, 0..1 where `TaskInfo.metric_unit` is "share"; times are in milliseconds unless the name says otherwise.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from kd2deploy.core.examples import Example, Shown
from kd2deploy.core.losses import ClassDrop, DropLink
from kd2deploy.core.roofline import Peaks
from kd2deploy.core.speedups import Speedup
from kd2deploy.core.tried import Tried
from kd2deploy.core.verdict import Verdict
from kd2deploy.core.written import write_text
from kd2deploy.errors import RunError
from kd2deploy.report.measurement import Floor, Measurement, Role
from kd2deploy.report.origin import ArtifactRecord, DataInfo, Finding, Plain, StageTime, TaskInfo
from kd2deploy.report.training import Candidate, Curve, Distillation, LayerMap

SCHEMA_VERSION = 6


@dataclass(frozen=True)
class Report:
    """A whole run, or as much of it as there was."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "allow_inf_nan": False}

    title: str
    verdict: Verdict | None = None
    target: str = ""
    target_about: str = ""
    workload: str = ""
    """One request in words: "batch 1, real lengths drawn from the evaluation set"."""
    task: TaskInfo | None = None
    data: DataInfo | None = None
    contenders: tuple[Measurement, ...] = ()
    tried: tuple[Tried, ...] = ()
    """All ways to deploy, in the target's order; those that were near enough are among the contenders too."""
    speedups: tuple[Speedup, ...] = ()
    drop_chain: tuple[DropLink, ...] = ()
    class_drops: tuple[ClassDrop, ...] = ()
    """The largest first; those with too few rows last."""
    examples: tuple[Example, ...] = ()
    """Rows whose answers changed most, where the task tells answers in words."""
    floors: tuple[Floor, ...] = ()
    shown: tuple[Shown, ...] = ()
    """Rows in pictures, where the task shows such."""
    distillation: Distillation | None = None
    curves: tuple[Curve, ...] = ()
    generator: str = ""
    """The masked language model that wrote text for the student, and how long a derived one was trained."""
    candidates: tuple[Candidate, ...] = ()
    layer_map: LayerMap | None = None
    lineage: tuple[ArtifactRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """What was not done and why: variant or stage -> reason."""
    machine: Mapping[str, Plain] = field(default_factory=dict)
    machine_before: Mapping[str, Plain] = field(default_factory=dict)
    """Clocks, temperature, load before the timed window; `machine_after` has the same keys."""
    machine_after: Mapping[str, Plain] = field(default_factory=dict)
    peaks: Peaks | None = None
    """What the machine can do at most; None on a device."""
    protocol: Mapping[str, Plain] = field(default_factory=dict)
    """How it was measured: clock, warm-up, rounds, processes, threads."""
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    command: str = ""
    recipe: str = ""
    """The recipe's text as it was run."""
    started: str = ""
    """ISO 8601 with the zone."""
    finished: str = ""
    stages: tuple[StageTime, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def deployed(self) -> Measurement | None:
        """The contender that is shipped, if one was chosen."""
        return next((contender for contender in self.contenders if contender.deployed), None)

    @property
    def compared_with(self) -> Literal["teacher", "baseline"]:
        """What the deployed artifact is compared with: a baseline where one stands apart from the teacher."""
        return "baseline" if self.first("baseline") or self.first("baseline_same_runtime") else "teacher"

    @property
    def before(self) -> Measurement | None:
        """The contender of that name, as it ran before."""
        if self.compared_with == "baseline":
            return self.first("baseline") or self.first("baseline_same_runtime")
        return self.first("teacher") or self.first("teacher_same_runtime")

    def first(self, role: Role) -> Measurement | None:
        """The first contender in a role."""
        return next((contender for contender in self.contenders if contender.role == role), None)

    def _repr_html_(self) -> str:
        from kd2deploy.report.notebook import notebook_html

        return notebook_html(self)

    def to_json(self) -> str:
        """The report as JSON text. Raises RunError where a number is not finite: use `estimate` to make figures."""
        try:
            return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError as error:
            raise RunError(f"the report holds a number that is not finite; leave it out or say why: {error}") from error

    @staticmethod
    def from_json(text: str) -> "Report":
        """The report that `to_json` wrote. Raises RunError with the place of what does not fit."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RunError(f"not a report: {error}; give the report.json of a run") from error
        version = found.get("schema_version") if isinstance(found, dict) else None
        if version != SCHEMA_VERSION:
            raise RunError(
                f"a report of schema {version}, this version reads {SCHEMA_VERSION}; run the same command again in its "
                "folder, which keeps what is still valid and writes the report anew"
            )
        try:
            return _parser().validate_json(text)
        except ValidationError as error:
            faults = (f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()[:5])
            raise RunError("the report was changed by hand: " + "; ".join(faults)) from error

    def write(self, path: Path) -> Path:
        """Write `to_json` to a file, and its digest beside it, which a kill between the two leaves right for either."""
        text, beside = self.to_json(), digest_of(path)
        line = f"{sha256_of_text(text)}  {path.name}\n"
        write_text(beside, line + (beside.read_text(encoding="utf-8", errors="replace") if beside.exists() else ""))
        write_text(path, text)
        write_text(beside, line)
        return path

    @staticmethod
    def read_checked(path: Path) -> "Report":
        """`read`, of a file that is still what `write` wrote: what may be shown as a run's verdict. Raises RunError.

        It shows an edit, not a forgery: whoever edits the file may write the digest anew.
        """
        beside = digest_of(path)
        report = Report.read(path)
        try:
            said = [line.partition(" ")[0] for line in beside.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError):
            raise RunError(
                f"{path} has no readable {beside.name} beside it, so nothing shows that it is what the run wrote; run "
                "the same command again there: finished stages are kept"
            ) from None
        if sha256_of_text(path.read_text(encoding="utf-8")) not in said:
            raise RunError(
                f"{path} was changed after the run wrote it, so its verdict is not shown; run the same command again "
                "there: finished stages are kept"
            )
        return report

    @staticmethod
    def read(path: Path) -> "Report":
        """Read what `write` wrote. Raises RunError."""
        try:
            return Report.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"{path}: {error.strerror}; give the report.json of a run") from error
        except UnicodeDecodeError as error:
            raise RunError(f"{path} is not a report: {error}; give the report.json of a run") from error


def digest_of(path: Path) -> Path:
    """Where the digest of a report's file lies, as `sha256sum --check` reads it."""
    return path.with_name(path.name + ".sha256")


def sha256_of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _parser() -> TypeAdapter[Report]:
    return TypeAdapter(Report)
