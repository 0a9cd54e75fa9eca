"""Whole requests, from what a client sends to the answer, and requests beside a busy neighbour."""

from kd2deploy.report.formats import ms
from kd2deploy.report.measurement import EndToEnd
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, told, used


def end_to_end(report: Report) -> Table | None:
    shown = [(one, one.timing.end_to_end) for one in report.contenders if one.timing and one.timing.end_to_end]
    if not shown:
        return None
    return used(
        Table(
            caption="End to end: from what a client sends to the answer, with 95 % intervals; the parts are medians",
            head=("Contender", "End to end", "P90", "Making the input", "Network", "Making the answer", "Timed"),
            rows=tuple((Cell(one.name, tone=one.role), *_figures(whole)) for one, whole in shown),
            numbers=frozenset(range(1, 7)),
            strong=frozenset(place for place, (one, _) in enumerate(shown) if one.deployed),
        )
    )


def crowded(report: Report) -> Table | None:
    """What a request takes while somebody else works on the machine, beside what it takes alone."""
    shown = [(one, one.timing, one.timing.crowded) for one in report.contenders if one.timing and one.timing.crowded]
    if not shown:
        return None
    return used(
        Table(
            caption="Beside a busy neighbour: another process keeps one core at work meanwhile, with 95 % intervals",
            head=("Contender", "Alone", "Beside a neighbour", "P90 there", "Times as long", "Timed"),
            rows=tuple(
                (
                    Cell(one.name, tone=one.role),
                    told(timing.median, "ms"),
                    told(beside.median, "ms"),
                    told(beside.p90, "ms") if beside.p90 is not None else Cell(""),
                    told(beside.slowdown, "ratio") if beside.slowdown is not None else Cell(""),
                    Cell(f"{beside.samples:,}" if beside.samples else ""),
                )
                for one, timing, beside in shown
            ),
            numbers=frozenset(range(1, 6)),
            strong=frozenset(place for place, (one, *_) in enumerate(shown) if one.deployed),
        )
    )


def _figures(whole: EndToEnd) -> tuple[Cell, ...]:
    parts = (whole.preparing_ms, whole.network_ms, whole.rest_ms)
    timed = f"{whole.samples:,}" if whole.samples else ""
    return (
        told(whole.median, "ms"),
        told(whole.p90, "ms") if whole.p90 is not None else Cell(""),
        *(Cell(ms(part) if part is not None else "") for part in parts),
        Cell(timed),
    )
