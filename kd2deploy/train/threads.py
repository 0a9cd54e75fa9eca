"""PyTorch's threads in this process: it counts the machine's cores, whatever a container's quota grants of them."""

import torch

from kd2deploy.core import usable_cores


def keep_to_granted_cores() -> None:
    """No more threads than may really run at once; more would spend the quota early and then all stand still."""
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
