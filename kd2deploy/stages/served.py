"""Contenders as they are asked end to end: the race's requests as a client sends them, and what they are read by."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kd2deploy.core import Row, Target
from kd2deploy.errors import ModelError
from kd2deploy.exporters.bundle import write_network
from kd2deploy.measure.accuracy import timing_places
from kd2deploy.measure.timing import Contender, Served
from kd2deploy.stages.job import Model


def served(
    contenders: Sequence[Contender], models: Sequence[Model], rows: Sequence[Row], target: Target, place: Path
) -> list[Contender]:
    """The contenders, each made of one of `models`, with requests of `rows`; files that they need lie in `place`.

    All read as a bundle does, the teacher too: what is won is then never the tokenizer's library. Where that cannot be
    written, the network's folder is read as it is.
    """
    drawn = timing_places(len(rows), target.workload.batch, target.workload.inputs)
    wanted = {at for one in drawn for at in one}
    sent = {at: models[0].task.reader.sent(rows[at], place / f"{at:06d}") for at in wanted}
    requests = [[sent[at] for at in one] for one in drawn]
    known: dict[Path, tuple[Path, bool]] = {}
    found = []
    for contender, model in zip(contenders, models, strict=True):
        if model.folder not in known:
            known[model.folder] = read_by(model, place / f"read-by-{len(known)}")
        found.append(replace(contender, served=Served(requests, model.task.spec(), *known[model.folder])))
    return found


def read_by(model: Model, place: Path) -> tuple[Path, bool]:
    """The folder that a network's rows are read by, and whether it is written as a bundle's is."""
    try:
        write_network(model.folder, place, model.task, weights=False)
    except ModelError:  # which a bundle of it would be refused for
        return model.folder, False
    return place, True
