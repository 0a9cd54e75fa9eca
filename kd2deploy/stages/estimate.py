"""estimate: how long a whole run may take, from the time of a step and what the protocol allows. Arithmetic alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from kd2deploy.core.figures import count_of
from kd2deploy.report.formats import seconds

START_S = 5.0
"""Allowed for each fresh process that opens a contender, to score or to time it."""
VARIANT_S = 20.0
"""Allowed for a variant's conversions, its score and its quick timing."""


@dataclass(frozen=True)
class Part:
    """One kind of work, and how its time was reckoned."""

    name: str
    seconds: float
    how: str
    timed: bool = False
    """On this machine, now; else by what is allowed for it."""


@dataclass(frozen=True)
class Pace:
    """What was timed of one training on this machine."""

    name: str
    runs: int
    """One for each seed."""
    steps: int
    """Optimizer steps of the whole training."""
    step_s: float
    scores: int
    """Times that it is scored on the validation rows."""
    score_s: float
    setup_s: float = 0.0
    """Before the first step: the teacher's answers to every row, where they are kept."""


def training(pace: Pace) -> Part:
    """The same training, once per seed; at most, where it may stop early."""
    steps_s, scored_s = pace.steps * pace.step_s, pace.scores * pace.score_s
    how = f"{count_of(pace.steps, 'step')} of {1000 * pace.step_s:.3g} ms, {seconds(scored_s)} of validation"
    how = f"{pace.runs} seeds, each {how}" if pace.runs > 1 else how
    how += f"; the teacher's answers once, {seconds(pace.setup_s)}" if pace.setup_s else ""
    return Part(pace.name, pace.runs * (steps_s + scored_s) + pace.setup_s, how, timed=True)


def exports(target: str, variants: int) -> Part:
    return Part(
        f"export {target}", variants * VARIANT_S, f"{count_of(variants, 'variant')}, {VARIANT_S:g} s allowed for each"
    )


def measuring(target: str, timed: int, scored: int, cap_s: float, processes: int) -> Part:
    """At most: a contender that settles sooner is timed no longer."""
    starts = timed * processes + scored
    opened = count_of(starts, "process", "processes")
    how = f"at most {count_of(timed, 'contender')} of {cap_s:g} s, {opened} with {START_S:g} s allowed for each"
    return Part(f"measure {target}", timed * cap_s + starts * START_S, how)


def lines(parts: Sequence[Part], uncounted: Sequence[str] = ()) -> list[str]:
    """The sum first, then its parts, then what no part counts. Only where a training was timed is the sum said to rest
    on that, and to be of the whole."""
    whole = seconds(sum(part.seconds for part in parts))
    timed = any(part.timed for part in parts)
    first = "in all, estimated from a few steps timed now, on this machine as busy as it is"
    return [
        f"about {whole} {first if timed else 'for what can be told before a training was timed, by fixed allowances'}",
        *(f"{part.name}: {seconds(part.seconds)}; {part.how}" for part in parts),
        *(f"not counted: {one}" for one in uncounted),
    ]
