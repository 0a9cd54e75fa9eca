"""What a reader must know beside the verdict: how noisy it was, why it is slow, which class was lost."""

from collections.abc import Sequence
from functools import partial

from kd2deploy.core import Target
from kd2deploy.core.figures import as_given, count_of, figure, listed, percent
from kd2deploy.core.losses import ClassDrop
from kd2deploy.measure.class_drops import LEAST_ROWS, too_few
from kd2deploy.measure.crowded import crowded_speedup
from kd2deploy.measure.diagnosis import Case, diagnose
from kd2deploy.measure.end_to_end import end_to_end, split
from kd2deploy.measure.intervals import shown
from kd2deploy.measure.latency import speedup
from kd2deploy.measure.machine import copy_gb_per_s, describe_machine, device_copy_gb_per_s
from kd2deploy.measure.statistics import CV_LIMIT, noise
from kd2deploy.measure.timing import Timing
from kd2deploy.report import UNSTEADY, Finding
from kd2deploy.report.formats import with_interval
from kd2deploy.stages.field import Field
from kd2deploy.stages.judge import Judged

BANDWIDTH_S = 0.1
"""Seconds for measuring the memory's bandwidth."""
HEAVY = 0.05
"""A class that loses so much of its recall is told, whatever the mean says. Ours."""
LOST_CLASS = "lost class"
MOST_CLASSES = 3
"""Classes that are named; the report's table holds them all."""


def findings(field: Field, judged: Judged, target: Target, cap_s: float) -> tuple[Finding, ...]:
    """All that stands under "What to know" and was measured; the gravest first."""
    found = [
        *lost_classes(judged.class_drops, field.compared_with("eager")),
        *unsteady(field, target, cap_s),
        *why_slow(field, target),
        *around_the_network(field),
        *faster_in_a_crowd(field),
        *untold_classes(judged.class_drops),
    ]
    return tuple(found)


def lost_classes(drops: Sequence[ClassDrop], who: str) -> list[Finding]:
    """The classes that lose heavily: first those that surely lost something, even as the worst of many."""
    heavy = [one for one in drops if one.is_told and one.lost >= HEAVY]
    heavy.sort(key=lambda one: (one.sure_from <= 0, -one.lost))
    found = [lost_class(one, who) for one in heavy[:MOST_CLASSES]]
    if len(heavy) > MOST_CLASSES:
        more = count_of(len(heavy) - MOST_CLASSES, "more class loses", "more classes lose")
        lost = f"{as_given(HEAVY, 'points')} points or more of recall"
        found.append(Finding(f"{more} {lost}: see the table of classes.", word=LOST_CLASS))
    return found


def lost_class(one: ClassDrop, who: str) -> Finding:
    before, after = (figure(value, "share") for value in (one.before, one.after))
    known = with_interval(one.drop, "points")
    rows = count_of(one.rows, "row")
    said = f"The class {one.label} falls from a recall of {before} ({who}) to {after} (deployed): {known} on {rows}"
    if one.sure_from <= 0:
        return Finding(f"{said}, too few to be sure.", "more evaluation rows of this class.", word=LOST_CLASS)
    return Finding(
        f"{said}.",
        "more training rows of this class; `gates.max_class_drop` holds a run to what a class may lose.",
        word=LOST_CLASS,
    )


def untold_classes(drops: Sequence[ClassDrop]) -> list[Finding]:
    few = too_few(drops)
    if not few:
        return []
    has = "classes has" if len(few) == 1 else "classes have"
    return [
        Finding(
            f"{len(few):,} of {len(drops):,} {has} fewer than {LEAST_ROWS} evaluation rows, so that nothing is known "
            f"of what is lost there: {listed(few)}.",
            "more evaluation rows.",
            word="untold class",
        )
    ]


def unsteady(field: Field, target: Target, cap_s: float) -> list[Finding]:
    """Said once for all timings: that they were noisy or cut short, and what that means.

    Silent where it touches few contenders, none of which a limit rests on: the table marks these.
    """
    timed = [entry.timing for entry in field.entries if entry.timing is not None and entry.timing.blocks]
    noisy = {one.name: noise(one.samples_ms, one.inputs).cv for one in timed}
    noisy = {name: cv for name, cv in noisy.items() if cv > CV_LIMIT}
    cut = [one.name for one in timed if not one.settled]
    baseline = field.baseline(target.gates.against)
    rest_on = {field.deployed.name, baseline.name if baseline else ""}
    touched = {*noisy, *cut}
    if not touched or (not touched & rest_on and 2 * len(touched) < len(timed)):
        return []
    parts = []
    if noisy:
        spread = " to ".join(dict.fromkeys(percent(cv) for cv in (min(noisy.values()), max(noisy.values()))))
        parts.append(
            f"{how_many(len(noisy), timed)} noisy: single requests of one input spread by {spread}, where "
            f"{as_given(CV_LIMIT, 'share')} % is calm"
        )
    if cut:
        parts.append(f"{how_many(len(cut), timed)} cut short at the cap of {cap_s:g} s, before the median had settled")
    sentence = "; ".join(parts)
    return [
        Finding(
            f"{sentence[0].upper()}{sentence[1:]}. The intervals hold this noise, and every limit is judged by its "
            "interval's pessimistic end.",
            "stop what else runs on the machine, or raise `measurement.cap_s`."
            if cut
            else "stop what else runs on the machine.",
            word=UNSTEADY,
        )
    ]


def around_the_network(field: Field) -> list[Finding]:
    """That the deployed network is the smaller part of a whole request, where it is."""
    whole = end_to_end(field.deployed.timing)
    if whole is None:
        return []
    took = split(whole)
    around = took.preparing_ms + took.rest_ms
    if around <= took.network_ms:
        return []
    return [
        Finding(
            f"Of a whole request {figure(around, 'ms')} go to making its input and its answer, and "
            f"{figure(took.network_ms, 'ms')} to the deployed network: a smaller one would hardly be noticed.",
            "ask for several rows at a time, or make inputs where the requests come from.",
            field.deployed.name,
            "around the network",
        )
    ]


def faster_in_a_crowd(field: Field) -> list[Finding]:
    """That another variant is surely faster than the deployed one beside a busy neighbour, where one is."""
    own = field.deployed.timing
    others = [one for one in field.entries if one.role == "variant" and not one.deployed and one.timing is not None]
    ratios = {one.name: found.interval for one in others if (found := crowded_speedup(own, one.timing)) is not None}
    sure = {name: ratio for name, ratio in ratios.items() if ratio.low > 1}
    if not sure:
        return []
    best = max(sure, key=lambda name: sure[name].estimate)
    return [
        Finding(
            f"Beside a busy neighbour {best} is {with_interval(shown(sure[best]), 'ratio')} faster than the deployed "
            f"{field.deployed.name}, which was chosen without one.",
            f"deploy it where the machine is shared with others: `variants: [{best}]`.",
            field.deployed.name,
            "slower in a crowd",
        )
    ]


def how_many(touched: int, timed: Sequence[Timing]) -> str:
    if touched == len(timed):
        return f"all {len(timed)} timings are" if len(timed) > 1 else "the timing is"
    return f"{touched} of {len(timed)} timings {'is' if touched == 1 else 'are'}"


def why_slow(field: Field, target: Target) -> list[Finding]:
    """Why the student is not as fast as wanted, where it is not."""
    baseline, deployed = field.baseline(target.gates.against), field.deployed
    slow, fast = baseline.timing if baseline else None, deployed.timing
    if slow is None or fast is None:
        return []
    ratio = speedup(slow, fast)
    case = Case(
        fast,
        slow,
        ratio.interval,
        target.gates.min_speedup,
        machine=describe_machine(),
        precision=deployed.artifact.precision,
        size_mb=deployed.artifact.weights_mb,
        bandwidth=partial(device_copy_gb_per_s if target.device == "cuda" else copy_gb_per_s, BANDWIDTH_S),
    )
    return [Finding(one.sentence, one.remedy, deployed.name, one.word) for one in diagnose(case)]
