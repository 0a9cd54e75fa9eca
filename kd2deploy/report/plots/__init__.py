"""The report's figures: one function each, which gives None where the run has nothing to draw.

Text is escaped, since plotly reads a little HTML.
"""

from kd2deploy.report.plots.candidates import candidates
from kd2deploy.report.plots.contenders import accuracy_latency, latency
from kd2deploy.report.plots.dress import Figure
from kd2deploy.report.plots.drop_chain import drop_chain
from kd2deploy.report.plots.roofline import roofline
from kd2deploy.report.plots.training import distillation, training_losses, training_score

__all__ = [
    "Figure",
    "accuracy_latency",
    "candidates",
    "distillation",
    "drop_chain",
    "latency",
    "roofline",
    "training_losses",
    "training_score",
]
