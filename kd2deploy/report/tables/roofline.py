"""How near every artifact comes to what the machine can do."""

from kd2deploy.core.figures import percent
from kd2deploy.core.roofline import Bound
from kd2deploy.report.formats import figure
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table

BOUND: dict[Bound, str] = {
    "compute": "products",
    "memory": "reading the weights",
    "overhead": "what every operation and call costs beside them",
}


def roofline(report: Report) -> Table | None:
    shown = [(one, one.reached) for one in report.contenders if one.reached is not None]
    if not shown or report.peaks is None:
        return None
    best = ", ".join(f"{rate:,.0f} GFLOP/s in {kind}" for kind, rate in report.peaks.gflop_per_s.items())
    return Table(
        caption=f"How near each comes to the machine's measured best: {best}; {report.peaks.gb_per_s:.3g} GB/s",
        head=(
            "Contender",
            "GFLOP a request",
            "GFLOP/s",
            "Of the peak",
            "FLOP per byte",
            "Of the bandwidth",
            "Bound by",
        ),
        rows=tuple(
            (
                Cell(one.name, under=one.precision, tone=one.role),
                Cell(figure(known.gflop, "number")),
                Cell(figure(known.gflop_per_s, "number")),
                Cell(percent(known.of_peak)),
                Cell(figure(known.flop_per_byte, "number")),
                Cell(percent(known.of_bandwidth), under="from the caches" if known.of_bandwidth > 1 else ""),
                Cell(BOUND[known.bound]),
            )
            for one, known in shown
        ),
        numbers=frozenset(range(1, 6)),
        strong=frozenset(place for place, (one, _) in enumerate(shown) if one.deployed),
    )
