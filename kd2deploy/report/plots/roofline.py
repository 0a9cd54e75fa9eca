"""What each artifact makes of the machine, below the roofs that the machine sets."""

from html import escape
from math import log10

from kd2deploy.core.figures import percent
from kd2deploy.report.plots.dress import FAINT, INK, ROLE_COLOR, ROLE_SYMBOL, Figure, blank, log_ticks
from kd2deploy.report.report import Report

DASHES = {"fp32": "solid", "bf16": "dash", "int8": "dot"}


def roofline(report: Report) -> Figure | None:
    """Operations per second against operations per byte of the weights, both logarithmic; a roof for each precision."""
    shown = [(one, one.reached) for one in report.contenders if one.reached is not None]
    if not shown or report.peaks is None:
        return None
    drawing = blank(360, legend_rows=len(shown))
    intensities = [known.flop_per_byte for _, known in shown]
    peaks, bandwidth = report.peaks.gflop_per_s, report.peaks.gb_per_s
    ridges = [peak / bandwidth for peak in peaks.values()]
    low, high = min(*intensities, *ridges) / 2, max(*intensities, *ridges) * 2
    for kind, peak in peaks.items():
        ridge = peak / bandwidth
        drawing.add_scatter(
            x=[low, ridge, high],
            y=[low * bandwidth, peak, peak],
            mode="lines",
            line={"color": FAINT, "dash": DASHES.get(kind, "solid"), "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        )
        drawing.add_annotation(
            x=log10(high),
            y=log10(peak),
            text=f"{kind} peak",
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            font={"size": 11, "color": "var(--soft)"},
        )
    for one, known in shown:
        color = ROLE_COLOR[one.role]
        drawing.add_scatter(
            x=[known.flop_per_byte],
            y=[known.gflop_per_s],
            mode="markers",
            marker={
                "symbol": ROLE_SYMBOL[one.role],
                "size": 15 if one.deployed else 10,
                "color": color,
                "line": {"color": INK if one.deployed else color, "width": 2 if one.deployed else 0},
            },
            name=("★ " if one.deployed else "") + escape(one.name),
            hovertext=f"<b>{escape(one.name)}</b><br>{percent(known.of_peak)} of the peak",
            hoverinfo="text",
        )
    rates = [known.gflop_per_s for _, known in shown]
    drawing.update_xaxes(title_text="operations per byte of the weights", **log_ticks([low, high]))
    drawing.update_yaxes(title_text="GFLOP/s", **log_ticks([*rates, *peaks.values()]))
    return drawing
