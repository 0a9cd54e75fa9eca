"""The report of a run: plain data, and the pages made from it."""

from kd2deploy.report.html import render_html
from kd2deploy.report.markdown import render_markdown
from kd2deploy.report.measurement import Crowded, EndToEnd, Floor, Latency, Measurement, Phase, Role, thinned
from kd2deploy.report.model_card import model_card
from kd2deploy.report.origin import UNSTEADY, ArtifactRecord, DataInfo, Finding, Plain, StageTime, TaskInfo
from kd2deploy.report.report import SCHEMA_VERSION, Report
from kd2deploy.report.terminal import print_report
from kd2deploy.report.training import Candidate, Curve, CurvePoint, Distillation, LayerMap, SeedResult

__all__ = [
    "SCHEMA_VERSION",
    "UNSTEADY",
    "ArtifactRecord",
    "Candidate",
    "Crowded",
    "Curve",
    "CurvePoint",
    "DataInfo",
    "Distillation",
    "EndToEnd",
    "Finding",
    "Floor",
    "Latency",
    "LayerMap",
    "Measurement",
    "Phase",
    "Plain",
    "Report",
    "Role",
    "SeedResult",
    "StageTime",
    "TaskInfo",
    "model_card",
    "print_report",
    "render_html",
    "render_markdown",
    "thinned",
]
