"""What every test runs under: one thread, no network, seeded generators, and the shape checker on the methods."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

import random

import hypothesis
import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

# Before any test imports a method, or the methods would stay unchecked.
install_import_hook("kd2deploy.methods", "whole_numbers.typechecked")
torch.set_num_threads(1)
# Wall-clock time proves nothing on a shared machine.
hypothesis.settings.register_profile("kd2deploy", deadline=None, print_blob=True)
hypothesis.settings.load_profile("kd2deploy")


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
