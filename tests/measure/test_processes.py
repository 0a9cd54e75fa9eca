"""What the coordinator does with a worker that is of no use."""

from pathlib import Path

import pytest
from measured_sessions import CPU, Parity, sum_artifact
from other_processes import at_work

from kd2deploy.errors import MeasureError
from kd2deploy.measure.processes import WorkerProcess
from kd2deploy.measure.starting import RUNNING
from kd2deploy.measure.timing import Contender


def test_one_that_never_answers_is_given_up_with_what_can_be_done_and_is_ended(tmp_path: Path) -> None:
    before, others = set(RUNNING), at_work()
    hanging = Contender("hanging", sum_artifact(tmp_path), {"fault": "hangs"})
    with WorkerProcess(hanging, Parity().spec(), CPU, timeout_s=0.1) as worker:
        assert len(RUNNING - before) == 1
        with pytest.raises(MeasureError, match=r"hanging did not answer 'open' within 0\.1 s; .*fewer `inputs`"):
            worker.open()
    assert before == RUNNING
    assert at_work() <= others
