"""The session that runs a .tflite file in LiteRT's interpreter, and the code that opens one without this program."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from kd2deploy.core import Artifact, Feed, Ports, Target
from kd2deploy.core.serving import Serving
from kd2deploy.errors import SessionError, first_line
from kd2deploy.exporters._cpu import intra_op_threads, isa
from kd2deploy.exporters.litert.sizes import filled, holds

OPENED_BY = "kd2deploy.exporters.litert.LitertSession"
REMEDY = "pip install 'kd2deploy[litert]'"
Array = np.ndarray[Any, Any]
CODE = """\
import os

import numpy
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter({file}, num_threads=os.cpu_count())
runners = [interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()]


def run(feed):
    # Shapes are fixed: a request is filled up with zeros to the next length, and run so many rows at a time.
    runner, asked = next((one, shapes) for one, shapes in by_size if holds(shapes, feed))
    rows, at_once = len(next(iter(feed.values()))), next(iter(asked.values()))["shape"][0]
    parts = [
        runner(**{name: filled(feed[name][begin : begin + at_once], one) for name, one in asked.items()})
        for begin in range(0, rows, at_once)
    ]
    return {name: numpy.concatenate([part[name] for part in parts])[:rows] for name in parts[0]}


def holds(asked, feed):
    return all((numpy.array(feed[name].shape[1:]) <= one["shape"][1:]).all() for name, one in asked.items())


def filled(array, asked):
    whole = numpy.zeros(asked["shape"], asked["dtype"])
    whole[tuple(map(slice, array.shape))] = array
    return whole


by_size = [(one, one.get_input_details()) for one in runners]
by_size.sort(key=lambda pair: sum(numpy.prod(one["shape"]) for one in pair[1].values()))
"""


class LitertSession:
    """A file in LiteRT's interpreter, which gives XNNPACK what it can compute; threads are fixed.

    A request is run at the smallest of the file's sizes that holds it, as many rows at a time as the file is made for.
    Raises SessionError where the runtime is missing, for bytes that are no such file or not those that were hashed, and
    for a request that no size of the file holds.
    """

    serving: ClassVar[Serving] = Serving("litert/model.tflite", code=CODE)

    def __init__(self, artifact: Artifact, ports: Ports, target: Target) -> None:
        library = runtime()
        content = artifact.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != artifact.sha256:
            raise SessionError(f"{artifact.path} was changed after it was made: make it anew")
        self.threads = intra_op_threads(target)
        try:
            self._interpreter = library.Interpreter(model_content=content, num_threads=self.threads)
            self._runners = {
                name: self._interpreter.get_signature_runner(name) for name in self._interpreter.get_signature_list()
            }
        except (ValueError, RuntimeError) as error:
            raise SessionError(f"LiteRT cannot open {artifact.path}: {first_line(error)}") from error
        asked = {name: runner.get_input_details() for name, runner in self._runners.items()}
        self._types = {one: each["dtype"] for inputs in asked.values() for one, each in inputs.items()}
        self._shapes: dict[str, dict[str, tuple[int, ...]]] = {
            name: {one: tuple(map(int, each["shape"])) for one, each in inputs.items()}
            for name, inputs in sorted(asked.items(), key=lambda pair: places(pair[1]))
        }
        unknown = set(self._types) - {port.name for port in ports.inputs}
        if unknown or not self._shapes:
            said = (
                f"reads {sorted(unknown)}, which task {ports.called} does not feed" if unknown else "has no signature"
            )
            raise SessionError(f"{artifact.path} {said}: it is no file of this converter")
        self._ports, self._precision = ports, artifact.precision
        self._chosen: dict[tuple[tuple[int, ...], ...], str] = {}
        self._outputs = [port.name for port in ports.outputs]

    def run(self, feed: Feed) -> dict[str, Array]:
        name = self._holding(feed)
        parts = []
        for given, rows in self._portions(name, feed):
            try:
                answers = self._runners[name](**given)
            except (RuntimeError, ValueError) as error:
                raise SessionError(f"LiteRT cannot run this request: {first_line(error)}") from error
            parts.append({one: answers[one][:rows] for one in self._outputs})
        return parts[0] if len(parts) == 1 else {one: np.concatenate([part[one] for part in parts]) for one in parts[0]}

    def portions(self, feeds: Sequence[Feed]) -> dict[str, list[dict[str, Array]]]:
        """What each signature would be given of these requests, cut where they are longer: what calibrates a file."""
        found = {}
        for name, shapes in self._shapes.items():
            cut = [
                {one: feed[one][(slice(None), *map(slice, shape[1:]))] for one, shape in shapes.items()}
                for feed in feeds
            ]
            found[name] = [given for feed in cut for given, _ in self._portions(name, feed)]
        return found

    def describe(self) -> dict[str, str]:
        return {
            "runtime": f"ai-edge-litert {version('ai-edge-litert')}",
            "device": "CPU",
            "provider": "XNNPACK",
            "precision": self._precision,
            "threads": str(self.threads),
            "isa": isa(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._runners, self._interpreter

    def _holding(self, feed: Feed) -> str:
        """The smallest signature that holds the request. Raises SessionError where none does."""
        key = tuple(feed[name].shape for name in self._types)
        if key in self._chosen:
            return self._chosen[key]
        for name, shapes in self._shapes.items():
            if holds(shapes, feed, self._ports):
                self._chosen[key] = name
                return name
        given = {name: feed[name].shape for name in self._types}
        raise SessionError(
            f"the request has the shapes {given}, and the file takes at most {next(reversed(self._shapes.values()))}: "
            "set shapes of litert_from_torch ({axis: [smallest, usual, largest]}) and export anew"
        )

    def _portions(self, name: str, feed: Feed) -> Iterator[tuple[dict[str, Array], int]]:
        """What the signature is given, one run after the other, and how many of its rows are the request's."""
        shapes = self._shapes[name]
        rows, at_once = len(next(iter(feed.values()))), next(iter(shapes.values()))[0]
        for begin in range(0, rows, at_once):
            given = {
                one: filled(feed[one][begin : begin + at_once], shape, self._types[one])
                for one, shape in shapes.items()
            }
            yield given, min(at_once, rows - begin)


def places(details: dict[str, Any]) -> int:
    """How many numbers a signature reads."""
    return sum(math.prod(map(int, one["shape"])) for one in details.values())


def runtime() -> Any:
    """LiteRT's interpreter. Raises SessionError where it is not installed."""
    try:
        from ai_edge_litert import interpreter
    except ModuleNotFoundError as error:
        raise SessionError(f"LiteRT is not installed: {REMEDY}") from error
    return interpreter
