from collections.abc import Iterator

import pytest
import torch

from kd2deploy.train import threads


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("granted", "kept"), [(2, 2), (3, 3), (64, 4)])
def test_a_training_keeps_to_the_cores_that_a_quota_grants(
    granted: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: granted)
    torch.set_num_threads(4)
    threads.keep_to_granted_cores()
    assert torch.get_num_threads() == kept
