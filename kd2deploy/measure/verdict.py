"""The verdict: PASS, FAIL, INCONCLUSIVE or INVALID, from intervals and never from point estimates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from kd2deploy.core import Gates
from kd2deploy.measure.intervals import Figure, Interval, TooFew


class Outcome(Enum):
    """What a gate, or the whole run, came to. Exit code 2 is kept for errors that are the user's to fix."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self]


EXIT_CODES: Mapping[Outcome, int] = {
    Outcome.PASS: 0,
    Outcome.FAIL: 1,
    Outcome.INCONCLUSIVE: 3,
    Outcome.INVALID: 4,
}

Bound = Literal["at_most", "at_least"]
Unit = Literal["points", "share", "ratio", "ms", "mb"]
MetricUnit = Literal["share", "number"]
"""A `share` is 0..1, and its drops are told in points of a hundred; a `number` is told as it stands."""


@dataclass(frozen=True, slots=True)
class Gate:
    """How one limit is read: which way it binds and in which unit it is printed."""

    title: str
    bound: Bound
    unit: Unit


SIGNS: Mapping[Unit, str] = {"points": " points", "share": " %", "ratio": "x", "ms": " ms", "mb": " MB"}
HUNDREDTHS: frozenset[Unit] = frozenset({"points", "share"})

GATES: Mapping[str, Gate] = {
    "max_drop": Gate("metric drop against the teacher", "at_most", "points"),
    "min_retention": Gate("metric kept of the teacher's", "at_least", "share"),
    "min_gap_closed": Gate("gap closed between control and teacher", "at_least", "share"),
    "min_speedup": Gate("speedup over the teacher", "at_least", "ratio"),
    "p50_ms": Gate("median latency", "at_most", "ms"),
    "p99_ms": Gate("P99 latency", "at_most", "ms"),
    "max_size_mb": Gate("size of the deployed file", "at_most", "mb"),
}
"""Every limit of `kd2deploy.core.Gates` but `baseline`, which is a choice and not a limit."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """One limit, what was measured, and what follows. `estimate`, `low`, `high` are None where there is no figure."""

    name: str
    bound: Bound
    unit: Unit
    limit: float
    estimate: float | None
    low: float | None
    high: float | None
    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The overall outcome with its gates; `breaches` are what made it INVALID."""

    outcome: Outcome
    sentence: str
    gates: tuple[GateResult, ...] = ()
    breaches: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code


def judge(
    gates: Gates,
    figures: Mapping[str, Figure | float | None],
    breaches: Sequence[str] = (),
    remarks: Mapping[str, str] | None = None,
    metric_unit: MetricUnit = "share",
) -> Verdict:
    """Every limit that is set, held against the figure of the same name in `figures`.

    A figure is an Interval, a TooFew, or a plain number that is known exactly (a file's size); one that is missing,
    None or not a number fails its gate. `breaches` are preflight findings, each a sentence: any makes the verdict
    INVALID, because numbers taken of the wrong thing prove nothing; the gates are still shown. `remarks` are what else
    is to be known of a figure; they change no outcome.
    """
    limits = {name: getattr(gates, name) for name in GATES}
    results = tuple(
        remarked(gate(name, limit, figures.get(name), metric_unit), (remarks or {}).get(name, ""))
        for name, limit in limits.items()
        if limit is not None
    )
    outcomes = {result.outcome for result in results}
    if breaches:
        return Verdict(Outcome.INVALID, f"INVALID: {'; '.join(breaches)}", results, tuple(breaches))
    if not results:
        return Verdict(Outcome.PASS, "PASS: no gate was set, so nothing could fail")
    worst = next(o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS) if o in outcomes)
    decisive = [result.sentence for result in results if result.outcome is worst]
    return Verdict(worst, f"{worst.value}: {'; '.join(decisive)}", results)


def gate(name: str, limit: float, figure: Figure | float | None, metric_unit: MetricUnit = "share") -> GateResult:
    """PASS only if the pessimistic end clears the limit, FAIL only if the optimistic end misses it."""
    kind = GATES[name]
    if isinstance(figure, TooFew):
        text = f"{kind.title} cannot be told: {figure.has:,} samples, {figure.needs:,} needed"
        return GateResult(name, kind.bound, kind.unit, limit, None, None, None, Outcome.INCONCLUSIVE, text)
    if isinstance(figure, int | float):
        figure = Interval(float(figure), float(figure), float(figure))
    if figure is None or any(math.isnan(end) for end in (figure.estimate, figure.low, figure.high)):
        text = f"{kind.title} was not measured, and a missing figure fails"
        return GateResult(name, kind.bound, kind.unit, limit, None, None, None, Outcome.FAIL, text)
    outcome = _outcome(kind.bound, limit, figure)
    number = kind.unit == "points" and metric_unit == "number"
    scale, sign = (100 if kind.unit in HUNDREDTHS and not number else 1), "" if number else SIGNS[kind.unit]
    estimate, low, high, bound = (f"{end * scale:.3g}" for end in (figure.estimate, figure.low, figure.high, limit))
    found = f"{estimate}{sign} [{low}, {high}]"
    wanted = f"{kind.bound.replace('_', ' ')} {bound}{sign}"
    remark = {
        Outcome.PASS: "holds",
        Outcome.FAIL: "is missed",
        Outcome.INCONCLUSIVE: "lies inside the interval: more samples or a quieter machine are needed",
    }[outcome]
    sentence = f"{kind.title} is {found}; {wanted} {remark}"
    return GateResult(name, kind.bound, kind.unit, limit, figure.estimate, figure.low, figure.high, outcome, sentence)


def remarked(result: GateResult, remark: str) -> GateResult:
    return replace(result, sentence=f"{result.sentence} ({remark})") if remark else result


def _outcome(bound: Bound, limit: float, figure: Interval) -> Outcome:
    sign = 1 if bound == "at_least" else -1
    ends = sorted((sign * figure.low, sign * figure.high))
    if ends[0] >= sign * limit:
        return Outcome.PASS
    if ends[1] < sign * limit:
        return Outcome.FAIL
    return Outcome.INCONCLUSIVE
