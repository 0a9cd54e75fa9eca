"""Finish on the device what was packed elsewhere: build, measure, judge, and write the same report and bundle."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import RunError
from kd2deploy.flows.compress import Result, deploy
from kd2deploy.flows.pack import Network, Pack, read_pack
from kd2deploy.run import Run, readable_os_errors, versions
from kd2deploy.stages.distill import Distilled
from kd2deploy.stages.job import Job
from kd2deploy.stages.students import Trainings
from kd2deploy.stages.telling import sign


def finish(folder: Path, out: Path, watcher: Watcher | None = None, *, trust: Sequence[str] = ()) -> Result:
    """Build, measure and judge a pack in the folder `out`; what an earlier attempt there has done is not done again.

    The pack is data: `trust` names what it may name of code of others.

    Raises Kd2DeployError for whatever is the user's to fix.
    """
    watcher = watcher or Silent()
    pack = read_pack(folder, out=out, trust=trust)
    run = Run(out, watcher.stage)
    with readable_os_errors(out), run.locked():
        begun = datetime.now(UTC)
        command = f"{pack.facts.command}; finish.py".removeprefix("; ")
        signed = partial(sign, run=run, command=command, began=begun, before=pack.facts.stages)
        job = Job(pack.recipe, run, watcher, pack.splits, pack.task, pack.about, pack.graphs)
        facts = replace(pack.facts, versions=versions())
        return deploy(job, facts, pack.begun_with, trainings_of(pack), pack.target, out, signed)


def trainings_of(pack: Pack) -> Trainings:
    """The packed students and controls, as the pipeline knows them after training. Raises RunError."""
    students, controls = (tuple(map(trained, pack.of(role))) for role in ("student", "control"))
    chosen = next((one for one in students if one.seed == pack.chosen_seed), None)
    if chosen is None:
        raise RunError(f"{pack.folder} lacks the student of seed {pack.chosen_seed}; copy the pack again")
    return Trainings(students, controls, chosen)


def trained(one: Network) -> Distilled:
    """A packed network; how its training went stands in the pack's report."""
    return Distilled.untrained(one.seed, one.model, "control" if one.role == "control" else "student")
