"""What every test runs under: one thread, no network, seeded generators, and the shape checker on the methods."""

import os

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

# Before any test imports a method, or the methods would stay unchecked.
install_import_hook("kd2deploy.methods", "whole_numbers.typechecked")
torch.set_num_threads(1)
# Wall-clock time proves nothing on a shared machine, and what is generated is the same in every run.
hypothesis.settings.register_profile(
    "kd2deploy",
    deadline=None,
    print_blob=True,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile("explore", hypothesis.settings.get_profile("kd2deploy"), derandomize=False)
hypothesis.settings.load_profile("kd2deploy")


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of one file of tests the next, whichever it is, finds no module that tests wrote and no trust in one."""
    from kd2deploy.core.trust import _named
    from kd2deploy.recipe.resolve import read_target

    trusted, modules = set(_named), set(sys.modules)
    yield
    _named.intersection_update(trusted)
    read_target.cache_clear()  # whoever reads a target trusts what it names
    for name in sys.modules.keys() - modules:
        file = getattr(sys.modules[name], "__dict__", {}).get("__file__")
        if file is not None and Path(file).is_relative_to(tmp_path_factory.getbasetemp()):
            del sys.modules[name]
