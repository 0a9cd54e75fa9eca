"""A training stage that is killed after its training: the result is kept, and nothing is trained again."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.run import Run, Stage
from kd2deploy.stages import training
from kd2deploy.stages.training import finished, keep_only


def train(*given: Any) -> Mapping[str, Any]:
    raise AssertionError("a test puts its own in this place")


class Killed(BaseException):
    """What a kill is to a program: nothing after it runs."""


class Trainings:
    """A stage's work, and how often it trained."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, spec: object, inputs: object, folder: Path, tell: Watcher) -> Mapping[str, Any]:
        done = finished(folder)
        if done is not None:
            return done
        start, student = folder / "start", folder / "training-0" / "student"
        start.mkdir(exist_ok=True)
        for name in ("tokenizer.json", "config.json"):
            (start / name).write_text("of the start")
        if not student.exists():
            self.count += 1
            student.mkdir(parents=True)
            for name in ("model.safetensors", "config.json"):
                (student / name).write_text("trained")
        return keep_only(folder, student, start, "student", {"score": 0.5, "path": str(folder / "student")})


def killed(*_: object) -> None:
    raise Killed


def half_removed(path: Path) -> None:
    if path.name == "training-0":
        (path / "student" / "model.safetensors").unlink()
        raise Killed
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("instant", "there"),
    [
        ("shutil.copy2", killed),
        ("kd2deploy.stages.training.rename", killed),
        ("kd2deploy.stages.training.write_json", killed),
        ("kd2deploy.stages.training.remove", killed),
        ("kd2deploy.stages.training.remove", half_removed),
        ("kd2deploy.run.rename", killed),
    ],
)
def test_a_kill_after_the_training_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str, there: Any
) -> None:
    work = Trainings()
    monkeypatch.setattr(f"{__name__}.train", work)
    described = Stage("student", {}, {}, f"{__name__}.train")
    with Run(tmp_path).locked() as run:
        with monkeypatch.context() as moment:
            moment.setattr(instant, there)
            with pytest.raises(Killed):
                run.carry_out(described, Silent())
        stage = run.carry_out(described, Silent())
        again = run.carry_out(described, Silent())
    assert work.count == 1
    assert again.reused
    assert again.result == stage.result == {"score": 0.5, "path": str(stage.path("student"))}
    assert {file.name for file in stage.folder.iterdir()} == {"student", training.DONE, "stage.json"}
    kept = {file.name: file.read_text() for file in stage.path("student").iterdir()}
    assert kept == {"model.safetensors": "trained", "config.json": "trained", "tokenizer.json": "of the start"}
