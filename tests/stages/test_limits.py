"""What a machine and a network can do at most, as the report holds timings against it."""

from pathlib import Path

from tiny_detectors import SIDE, made_rows, save_detector, small_task

from kd2deploy.core import Target
from kd2deploy.core.artifact import sha256_of
from kd2deploy.flows.given import requests_of
from kd2deploy.stages.job import Model
from kd2deploy.stages.limits import network_gflop

CPU = Target("cpu", "", "cpu", {})


def test_a_network_that_hands_a_weight_to_a_part_of_it_is_counted_too(tmp_path: Path) -> None:
    """A YOLOS gives its table of positions to what fits it to the picture: a weight among a module's arguments."""
    folder = save_detector(tmp_path / "net", "yolos")
    model = Model(folder, sha256_of(folder), small_task())
    (feed, *_) = requests_of(model, CPU, made_rows(2), batch=1)
    patch, hidden = 8, 32
    assert network_gflop(model, feed) * 1e9 > 2 * (SIDE // patch) ** 2 * 3 * patch**2 * hidden, "its first layer alone"
