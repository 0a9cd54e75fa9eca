"""The recipe: its fields, the names in it turned into functions, and what is wrong with one."""

from kd2deploy.recipe.answers import Answers
from kd2deploy.recipe.caching import Caching
from kd2deploy.recipe.faults import OUR_PACKAGES, is_labels_missing
from kd2deploy.recipe.methods import build_method, method_name, method_uses
from kd2deploy.recipe.schema import (
    Block,
    Distill,
    Measurement,
    Member,
    Plan,
    Recipe,
    Shrink,
    Static,
    Student,
    Teacher,
    Tune,
)

__all__ = [
    "OUR_PACKAGES",
    "Answers",
    "Block",
    "Caching",
    "Distill",
    "Measurement",
    "Member",
    "Plan",
    "Recipe",
    "Shrink",
    "Static",
    "Student",
    "Teacher",
    "Tune",
    "build_method",
    "is_labels_missing",
    "method_name",
    "method_uses",
]
