"""The verdict: PASS, FAIL, INCONCLUSIVE or INVALID, from intervals and never from point estimates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kd2deploy.core import Gates
from kd2deploy.core.estimate import Estimate, is_vague
from kd2deploy.core.figures import SUFFIX, Unit, apart, as_given, count_of, ends, figure
from kd2deploy.core.verdict import Bound, GateResult, Outcome, Verdict
from kd2deploy.measure.intervals import Figure, Interval, TooFew, shown
from kd2deploy.measure.phrases import PHRASES, Metric, Told


@dataclass(frozen=True, slots=True)
class Gate:
    """How one limit is read: which way it binds and in which unit it is printed."""

    title: str
    """`{before}` stands for what the deployed file is compared with."""
    bound: Bound
    unit: Unit
    of_time: bool = False
    """Whether it is timed: more of it is known by more samples, and not by more rows."""


GATES: Mapping[str, Gate] = {
    "max_drop": Gate("metric drop against the {before}", "at_most", "points"),
    "max_class_drop": Gate("largest drop of any class's recall against the {before}", "at_most", "points"),
    "min_retention": Gate("metric kept of the {before}'s", "at_least", "share"),
    "min_gap_closed": Gate("gap closed between control and teacher", "at_least", "share"),
    "min_speedup": Gate("speedup over the {before}", "at_least", "ratio", of_time=True),
    "end_to_end": Gate("speedup end to end over the {before}", "at_least", "ratio", of_time=True),
    "p50_ms": Gate("median latency", "at_most", "ms", of_time=True),
    "p99_ms": Gate("P99 latency", "at_most", "ms", of_time=True),
    "min_throughput": Gate("throughput", "at_least", "rate", of_time=True),
    "max_size_mb": Gate("size of the deployed file", "at_most", "mb"),
}
"""Every limit of `kd2deploy.core.Gates` but `baseline`, which is a choice and not a limit."""

NO_GAP = "the teacher is not surely better than the control"
QUIET = "measure again on a quiet machine, or for longer"


def judge(
    gates: Gates,
    figures: Mapping[str, Figure | float | None],
    breaches: Sequence[str] = (),
    remarks: Mapping[str, str] | None = None,
    metric: Metric | None = None,
    subjects: Mapping[str, str] | None = None,
    caveat: str = "",
) -> Verdict:
    """Every limit that is set, held against the figure of the same name in `figures`.

    A figure is an Interval, a TooFew, or a plain number that is known exactly (a file's size); one that is missing,
    None or not a number fails its gate. `breaches` are preflight findings, each a sentence: any makes the verdict
    INVALID, because numbers taken of the wrong thing prove nothing; the gates are still shown. `remarks` are what else
    is to be known of a figure; they change no outcome. `subjects` name what a figure is of (`Told.subject`). `caveat`
    ends the sentence: what whoever reads no further must know.
    """
    limits = {name: getattr(gates, name) for name in GATES}
    results = tuple(
        remarked(
            gate(name, limit, figures.get(name), metric or Metric(), (subjects or {}).get(name, "")),
            (remarks or {}).get(name, ""),
        )
        for name, limit in limits.items()
        if limit is not None
    )
    if breaches:
        more = f" (and {count_of(len(breaches) - 1, 'more reason')})" if breaches[1:] else ""
        return Verdict(Outcome.INVALID, f"INVALID: {breaches[0]}{more}", results, tuple(breaches))
    if not results:
        return Verdict(Outcome.PASS, "PASS: no gate was set, so nothing could fail")
    outcomes = {result.outcome for result in results}
    worst = next(o for o in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS) if o in outcomes)
    sentence = "; ".join(filter(None, (in_one_sentence(results, worst), caveat)))
    return Verdict(worst, f"{worst.value}: {sentence}", results)


def in_one_sentence(results: Sequence[GateResult], worst: Outcome) -> str:
    """What decided it, what was gained first; of the limits that did not decide only how many there are."""
    told = sorted(results, key=lambda result: list(PHRASES).index(result.name))
    decisive = ", ".join(result.brief for result in told if result.outcome is worst)
    held = sum(result.outcome is Outcome.PASS for result in results)
    unsure = sum(result.outcome is Outcome.INCONCLUSIVE for result in results)
    if worst is Outcome.PASS:
        return decisive
    others = [f"{count_of(held, 'other limit holds', 'other limits hold')}"] if held else []
    if worst is Outcome.FAIL and unsure:
        others.append(f"{unsure} cannot be told" if held else f"{count_of(unsure, 'other limit')} cannot be told")
    return "; ".join([decisive, ", ".join(others)] if others else [decisive])


def gate(
    name: str, limit: float, figure: Figure | float | None, metric: Metric | None = None, subject: str = ""
) -> GateResult:
    """PASS only if the pessimistic end clears the limit, FAIL only if the optimistic end misses it."""
    metric = metric or Metric()
    kind = replace(GATES[name], title=GATES[name].title.format(before=metric.before))
    unit = metric.difference if name == "max_drop" else kind.unit
    if isinstance(figure, TooFew):
        of = "rows of a class" if name == "max_class_drop" else "samples"
        text = f"{kind.title} cannot be told: {figure.has:,} {of}, {figure.needs:,} needed"
        return GateResult(name, kind.bound, limit, unit, Estimate(None), Outcome.INCONCLUSIVE, text, text)
    if isinstance(figure, int | float):
        figure = Interval(float(figure), float(figure), float(figure))
    if figure is None or any(math.isnan(end) for end in (figure.estimate, figure.low, figure.high)):
        text = f"{kind.title} was not measured, and a missing figure fails"
        return GateResult(name, kind.bound, limit, unit, Estimate(None), Outcome.FAIL, text, text)
    outcome = _outcome(kind.bound, limit, figure)
    if kind.unit == "ratio" and is_vague(figure.low, figure.high):
        missed = outcome is Outcome.FAIL
        text = f"{kind.title} {'is missed' if missed else 'cannot be told'}: {between(figure)}"
        text, known = f"{text} ({as_given(limit, unit)}x asked)", shown(figure)
        outcome = Outcome.FAIL if missed else Outcome.INCONCLUSIVE
        return GateResult(name, kind.bound, limit, unit, known, outcome, f"{text}; {QUIET}", text)
    if name == "min_gap_closed" and not math.isfinite(figure.low) and not math.isfinite(figure.high):
        text = f"{kind.title} cannot be told: {NO_GAP}"
        return GateResult(name, kind.bound, limit, unit, Estimate(None), Outcome.INCONCLUSIVE, text, text)
    told = Told(
        figure,
        limit,
        unit,
        metric if name == "max_drop" else replace(metric, suffix=""),
        subject,
        outcome is Outcome.INCONCLUSIVE,
        apart(figure.estimate, limit, unit, figure.high - figure.low),
    )
    return GateResult(
        name,
        kind.bound,
        limit,
        unit,
        shown(figure),
        outcome,
        in_full(kind, told, outcome),
        PHRASES[name](told),
    )


def between(ratio: Interval) -> str:
    """An interval so wide that its middle is left out."""
    if math.isfinite(ratio.high):
        return f"it lies between {figure(ratio.low, 'ratio')} and {figure(ratio.high, 'ratio')}"
    return f"all that is known is that it is at least {figure(ratio.low, 'ratio')}"


def in_full(kind: Gate, told: Told, outcome: Outcome) -> str:
    """The figure with its interval, the limit, and how the two stand to each other."""
    found = told.found
    pessimistic = found.high if kind.bound == "at_most" else found.low
    places = (
        max(told.places, apart(pessimistic, told.limit, told.unit, found.high - found.low))
        if math.isfinite(pessimistic)
        else told.places
    )
    known = ends(found.estimate, found.low, found.high, told.unit, places=places)
    number = figure(found.estimate, told.unit, suffix=told.metric.suffix, places=places)
    bound = as_given(told.limit, told.unit) + (SUFFIX[told.unit] or f" {told.metric.suffix}".rstrip())
    more = "more samples or a quieter machine are" if kind.of_time else "more evaluation rows are"
    remark = {
        Outcome.PASS: "holds",
        Outcome.FAIL: "is missed",
        Outcome.INCONCLUSIVE: f"lies inside the interval: {more} needed",
    }[outcome]
    exact = found.low == found.estimate == found.high
    measured = " ".join(filter(None, (number, "" if exact else known)))
    return f"{kind.title} is {measured}; {kind.bound.replace('_', ' ')} {bound} {remark}"


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
