"""Trackers: what a run is told of by TensorBoard, Weights & Biases or MLflow, through Accelerate's classes for them.

Each training is a run of its own, named after its stage, and so is each target's verdict; all of one run folder are
grouped under its name. What is written lies in the run folder's `tracking/`, which no stage deletes. A server is used
where the tracker's own settings name one (`MLFLOW_TRACKING_URI`, `WANDB_MODE`, a W&B login). Trackers are no part of
what a stage is made of: turning one on trains nothing anew.
"""

import hashlib
import importlib.util
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd2deploy.errors import TrackError

FOLDER = "tracking"
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""What to install for each, by the name of its module."""

Told = Callable[[int, Mapping[str, float]], None]
"""Called with an optimizer step and the figures there."""


def absent(name: str) -> str:
    """Why a tracker cannot be used here, with the remedy; empty where it can."""
    if name not in PACKAGES:
        return f"there is no tracker {name!r}; there are {', '.join(PACKAGES)}"
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed; pip install {PACKAGES[name]}"
    return ""


@dataclass(frozen=True)
class Trackers:
    """The trackers that a recipe names, for one run folder."""

    names: tuple[str, ...]
    folder: Path

    @contextmanager
    def training(self, name: str, settings: Mapping[str, Any]) -> Iterator[Told]:
        """A run for one training, named after its stage; `settings` are plain values and shown as its configuration."""
        with self._opened(name) as tracked:
            for one in tracked:
                with asked(one.name):
                    if one.name == "tensorboard":  # whose hyperparameters would be a run beside the run
                        one.log({"settings": "\n".join(f"    {key}: {value}" for key, value in settings.items())})
                    else:
                        one.store_init_configuration(dict(settings))

            def tell(step: int, values: Mapping[str, float]) -> None:
                for one in tracked:
                    with asked(one.name):
                        one.log({plain(key): value for key, value in values.items()}, step=step)

            yield tell

    def verdict(self, name: str, figures: Mapping[str, float], sentence: str, page: Path, text: Path) -> None:
        """A run for a verdict: its figures, its sentence, and the report (`page` is HTML, `text` Markdown)."""
        with self._opened(name) as tracked:
            for one in tracked:
                with asked(one.name):
                    one.log({plain(key): value for key, value in figures.items()}, step=0)
                    ATTACH[one.name](one, sentence, page, text)

    @contextmanager
    def _opened(self, name: str) -> Iterator[Sequence[Any]]:
        from accelerate import PartialState

        PartialState()  # Accelerate's trackers ask it which process is the first
        started = []
        place = self.folder / FOLDER
        try:
            for tracker in self.names:
                place.mkdir(parents=True, exist_ok=True)
                with asked(tracker):
                    one = START[tracker](self.folder, place, name)
                    one.start()
                started.append(one)
            yield started
        finally:
            for one in started:
                with asked(one.name):
                    one.finish()


def plain(name: str) -> str:
    """A figure's name in the letters that every tracker takes."""
    return re.sub(r"[^\w.\- :/]", "", name)


# one function per tracker: how its run is started, and where a report goes --------------------------------------


def tensorboard_run(folder: Path, place: Path, name: str) -> Any:
    from accelerate.tracking import TensorBoardTracker

    return TensorBoardTracker(name, place / "tensorboard")


def wandb_run(folder: Path, place: Path, name: str) -> Any:
    """Offline unless somebody is logged in or WANDB_MODE says otherwise; `wandb sync` uploads it later."""
    import wandb
    from accelerate.tracking import WandBTracker

    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
    return WandBTracker(
        os.environ.get("WANDB_PROJECT", "kd2deploy"),
        name=f"{folder.name}/{name}",
        group=folder.name,
        id=mark_of(folder, name),
        resume="allow" if mode == "online" else None,
        dir=str(place),
        mode=mode,
        settings=wandb.Settings(silent=True, console="off"),
    )


def mlflow_run(folder: Path, place: Path, name: str) -> Any:
    """In the run folder unless MLFLOW_TRACKING_URI names a server; a training that goes on goes on in its run."""
    import mlflow
    from accelerate.tracking import MLflowTracker

    local = not os.environ.get("MLFLOW_TRACKING_URI")
    if local:
        mlflow.set_tracking_uri(f"sqlite:///{(place / 'mlflow.db').resolve()}")
    mark = mark_of(folder, name)
    known = mlflow.search_runs(
        experiment_names=[folder.name], filter_string=f"tags.kd2deploy = '{mark}'", output_format="list"
    )
    return MLflowTracker(
        folder.name,
        (place / "mlflow").resolve().as_uri() if local else None,
        run_id=known[0].info.run_id if known else None,
        run_name=None if known else name,
        tags={"kd2deploy": mark},
    )


def mark_of(folder: Path, name: str) -> str:
    """An id that the same training in the same folder has again when it goes on after a kill."""
    return hashlib.sha256(f"{folder.resolve()}\n{name}".encode()).hexdigest()[:16]


def to_tensorboard(one: Any, sentence: str, page: Path, text: Path) -> None:
    one.log({"verdict": sentence, "report": text.read_text(encoding="utf-8")})


def to_wandb(one: Any, sentence: str, page: Path, text: Path) -> None:
    import wandb

    one.tracker.summary["verdict"] = sentence
    one.log({"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)}, step=0)


def to_mlflow(one: Any, sentence: str, page: Path, text: Path) -> None:
    import mlflow

    mlflow.set_tag("verdict", sentence)
    for file in (page, text):
        mlflow.log_artifact(str(file))


START: dict[str, Callable[[Path, Path, str], Any]] = {
    "tensorboard": tensorboard_run,
    "wandb": wandb_run,
    "mlflow": mlflow_run,
}
ATTACH: dict[str, Callable[[Any, str, Path, Path], None]] = {
    "tensorboard": to_tensorboard,
    "wandb": to_wandb,
    "mlflow": to_mlflow,
}


@contextmanager
def asked(tracker: str) -> Iterator[None]:
    """One line for whatever a tracker refuses, and none of its own on the terminal, which belongs to the bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    refusals: tuple[type[Exception], ...] = (OSError, *own_errors(tracker))
    try:
        yield
    except refusals as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise TrackError(
            f"the tracker {tracker} failed: {line}; see to it, or leave it out of `report_to`, and run the same "
            "command again: what is finished stays"
        ) from error
    finally:
        logging.disable(before)


def own_errors(tracker: str) -> tuple[type[Exception], ...]:
    """What a tracker's library raises of its own."""
    if tracker == "mlflow":
        from mlflow.exceptions import MlflowException

        return (MlflowException,)
    if tracker == "wandb":
        from wandb.errors import Error

        return (Error,)
    return ()
