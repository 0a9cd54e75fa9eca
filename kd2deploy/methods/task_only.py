"""Training on the labels alone: how a teacher is fine-tuned, and the control that every student is compared with.

Source: the task's own loss, as transformers defines it for the network.
Departs from it: none.
"""

from kd2deploy.core import Method, TaskLoss, Weighted


def task_only() -> Method:
    """The task loss, and nothing of a teacher."""
    return Method(task=Weighted(TaskLoss()))
