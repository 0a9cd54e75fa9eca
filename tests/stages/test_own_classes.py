"""Classes and functions of a user's own that are not what they are used as: one line each, before anything is run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from recipes.words import BAD, GOOD
from torch import Tensor
from transcript_networks import TranscriptNetworks
from transcripts import ErrorRate, TranscriptReader, Transcripts

from kd2deploy import usable_as
from kd2deploy.cli import errors_shown
from kd2deploy.cli.errors import USER_ERROR
from kd2deploy.core import Artifact, Method, Reader, Step, Term, View, Weighted, converter
from kd2deploy.core.parts import Part
from kd2deploy.core.step import Batch, Look
from kd2deploy.core.task import build_task
from kd2deploy.core.trust import trust
from kd2deploy.data.tables import Tables
from kd2deploy.errors import Kd2DeployError, ModelError, RecipeError
from kd2deploy.recipe import Recipe, build_method
from kd2deploy.recipe.resolve import misfit
from kd2deploy.stages.prepare import prepare


class WithoutLabels(Transcripts):
    own_target = False


class FieldlessReader(TranscriptReader):
    fields = vars(Reader)["fields"]


class WithoutFields(Transcripts):
    own_target = False
    reads = FieldlessReader

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()


class NeedsMore(Transcripts):
    def __init__(self, words: int) -> None:
        super().__init__()


class Raises(Transcripts):
    def __init__(self) -> None:
        super().__init__()
        len(3)  # type: ignore[arg-type]


class ReadsTwice(TranscriptReader):
    def encode(self, rows: Any) -> Any:  # type: ignore[override]
        return rows


class OfAnotherReader(Transcripts):
    reads = ReadsTwice


class GivesAnotherReader(Transcripts):
    def __init__(self) -> None:
        super().__init__()
        self.reader = ReadsTwice()


class Rate(ErrorRate):
    def at(self, statistics: Any) -> float:  # type: ignore[override]
        return 0.0


class OfAnotherMetric(Transcripts):
    def __init__(self) -> None:
        super().__init__()
        self.metric = Rate()


class OfNoMetric(Transcripts):
    def __init__(self) -> None:
        super().__init__()
        self.metric = "error_rate"  # type: ignore[assignment]


class Nets(TranscriptNetworks):
    def observe(self, net: Any, batch: Any) -> Any:  # type: ignore[override]
        return net


class OfOtherNetworks(Transcripts):
    @property
    def networks(self) -> Nets:  # type: ignore[override]
        return Nets()


def write_spoken(file: Path) -> Path:
    """Sentences with what is said in them, for the tests' own task."""
    lines = [f"a {word} film,{'+' if word in GOOD else '-'}" for word in (*GOOD, *BAD)] * 4
    file.write_text("sentence,label\n" + "\n".join(lines) + "\n")
    return file


def rows(folder: Path, task: str, data: Any = None) -> Recipe:
    files = {split: str(write_spoken(folder / f"{split}.csv")) for split in ("train", "eval")}
    return Recipe.parse(
        {
            "task": {"use": task},
            "data": data or {"use": "files", **files, "text": "sentence", "label": "label"},
            "teacher": {"from": "teacher"},
            "student": {"shrink": {"layers": 1}},
            "distill": [{"method": "logit"}],
        }
    )


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (WithoutLabels, r"takes no `labels`.*own_target = True"),
        (WithoutFields, r"reads by FieldlessReader, which does not say its `fields`.*own_target = True"),
        (NeedsMore, r"NeedsMore needs it"),
        (Raises, r"Raises cannot be made: object of type 'int' has no len"),
        (OfAnotherReader, r"ReadsTwice.encode is called as encode\(rows, folder\), and its own takes \(rows\)"),
        (GivesAnotherReader, r"ReadsTwice.encode is called as encode\(rows, folder\)"),
        (OfAnotherMetric, r"Rate.at is called as at\(statistics, places\), and its own takes \(statistics\)"),
        (OfNoMetric, r"OfNoMetric.metric is str, no subclass of kd2deploy.core.Metric"),
        (OfOtherNetworks, r"Nets.observe is called as observe\(net, batch, needs\)"),
    ],
)
def test_a_task_that_cannot_be_called_as_tasks_are_is_refused_by_name(
    task: type[Transcripts], said: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=said):
        prepare(rows(tmp_path, f"{task.__module__}.{task.__qualname__}"))


def test_a_task_that_fits_is_prepared(tmp_path: Path) -> None:
    task, splits, _ = prepare(rows(tmp_path, "transcripts.Transcripts"))
    assert isinstance(task, Transcripts)
    assert len(splits.eval) == 24


def test_a_worker_that_cannot_make_the_task_says_so_in_a_line() -> None:
    trust(__name__)
    with pytest.raises(ModelError, match="Raises cannot be made: object of type 'int'"):
        build_task({"use": f"{__name__}.Raises"})


def no_tables() -> Tables:
    return [{"text": "a", "label": "b"}]  # type: ignore[return-value]


def test_a_data_source_that_returns_something_else_is_refused_by_name(tmp_path: Path) -> None:
    given = rows(tmp_path, "text_classification", {"use": f"{__name__}.no_tables"})
    with pytest.raises(RecipeError, match=r"data: .*no_tables returned list, and a data source returns Tables"):
        prepare(given)


class Short(Term):
    def forward(self) -> Tensor:  # type: ignore[override]
        raise AssertionError("nothing is called")


class Unbound(Term):
    def bind(self) -> None:  # type: ignore[override]
        """Lacks what it is bound to."""

    def forward(self, step: Step) -> Tensor:
        raise AssertionError("nothing is called")


class Sideways(View):
    name = "sideways"

    def forward(self, batch: Batch, angle: float) -> Look:  # type: ignore[override]
        raise AssertionError("nothing is called")


def short() -> Method:
    return Method(short=Weighted(Short()))


def unbound() -> Method:
    return Method(unbound=Weighted(Unbound()))


def sideways() -> Method:
    return Method(Sideways(), unbound=Weighted(Unbound()))


@usable_as("method")
def of_no_kind() -> Part:
    return Short()


@pytest.mark.parametrize(
    ("builder", "said"),
    [
        (short, r"Short.forward is called as forward\(step\), and its own takes \(\)"),
        (unbound, r"Unbound.bind is called as bind\(nets\)"),
        (sideways, r"Sideways.forward is called as forward\(batch\), and its own takes \(batch, angle\)"),
        (of_no_kind, r"of_no_kind: returned Short, and a method's builder returns"),
    ],
)
def test_a_method_whose_parts_cannot_be_called_is_refused_by_name(builder: Callable[..., Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_method(f"{__name__}.{builder.__name__}")


def test_a_converter_that_does_not_take_what_it_is_given_is_refused() -> None:
    def two(source: Artifact, folder: Path) -> Artifact:
        return source

    assert "is called with 5 arguments (source, task, target, folder, samples)" in misfit("converter", two)
    assert misfit("converter", converter()(two))


def failing(folder: Path, text: str) -> Any:
    """A function of a module of the user's own."""
    (folder / "my_own_code.py").write_text(text)
    trust("my_own_code")
    import my_own_code  # type: ignore[import-not-found]

    return my_own_code.fail


def test_what_fails_in_code_of_the_users_own_is_theirs_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    fail = failing(tmp_path, "import json\ndef fail():\n    return json.loads(3)\n")
    with pytest.raises(typer.Exit) as caught, errors_shown():
        fail()
    assert caught.value.exit_code == USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'my_own_code.py'} line 3 failed (TypeError:" in line
    assert "code of your own" in line
    assert issubclass(RecipeError, Kd2DeployError)
