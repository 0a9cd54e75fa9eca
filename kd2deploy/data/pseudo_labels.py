"""Pseudo-labels: a run's own training rows, those without a label with the teacher's answer where it is sure."""

from kd2deploy.data.tables import Made
from kd2deploy.errors import DataError


def pseudo_labels(least_probability: float = 0.9) -> Made:
    """For the `data` of a training. A row without a label gets the teacher's answer as its label where that has
    `least_probability` at least; the others stay without. The default is ours. Raises DataError."""
    if not 0 < least_probability <= 1:
        raise DataError(f"pseudo_labels: least_probability must be above 0 and at most 1, got {least_probability:g}")
    return Made(
        "kd2deploy.stages.made_data.pseudo_labelled", {"least_probability": least_probability}, probabilities=True
    )
