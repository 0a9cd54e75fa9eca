"""predict: a bundle's answers to what is typed."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kd2deploy.exporters.bundle import read_bundle


def predict_alone(folder: Path, given: Iterable[str], other: str | None) -> Iterator[dict[str, Any]]:
    """The deployed file's answers, each as soon as its input is there, one by one as they would be served; `notes` say
    where little of the input was read."""
    bundle = read_bundle(folder)
    reader = bundle.reader
    prepare = reader.preparing(folder)
    with bundle.open() as session:
        for text in given:
            row = {**reader.row(text, other), "index": 0}
            doubts = reader.reading([row], folder).doubts
            noted = {"notes": list(doubts)} if doubts else {}
            found = bundle.task.metric.answer(session.run(prepare([row])))
            yield from ({**answer, **noted} for answer in found)
