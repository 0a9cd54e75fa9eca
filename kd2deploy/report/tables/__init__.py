"""The report's tables: one function each, which gives None where the run has nothing to show for it."""

from kd2deploy.report.tables.contenders import contenders, costs, phases, sessions
from kd2deploy.report.tables.end_to_end import crowded, end_to_end
from kd2deploy.report.tables.examples import examples
from kd2deploy.report.tables.headline import facts, gates
from kd2deploy.report.tables.origin import data, lineage, machine_state, stages
from kd2deploy.report.tables.roofline import roofline
from kd2deploy.report.tables.scores import by_class, class_drops, classes, floors, metrics
from kd2deploy.report.tables.speed import lengths, medians_by_length, per_unit, speedups
from kd2deploy.report.tables.students import candidates, drop_chain, layers, seeds
from kd2deploy.report.tables.table import Cell, Fact, Table, pairs
from kd2deploy.report.tables.tried import tried

__all__ = [
    "Cell",
    "Fact",
    "Table",
    "by_class",
    "candidates",
    "class_drops",
    "classes",
    "contenders",
    "costs",
    "crowded",
    "data",
    "drop_chain",
    "end_to_end",
    "examples",
    "facts",
    "floors",
    "gates",
    "layers",
    "lengths",
    "lineage",
    "machine_state",
    "medians_by_length",
    "metrics",
    "pairs",
    "per_unit",
    "phases",
    "roofline",
    "seeds",
    "sessions",
    "speedups",
    "stages",
    "tried",
]
