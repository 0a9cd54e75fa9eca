"""The engine: trains a student under any method with transformers' Trainer, and survives being killed at any instant.

The Trainer brings schedules, mixed precision, accumulation, several devices and trackers. It is used for training only:
the validation score comes from a function that is handed in. Two of its private methods are overridden, `_save` and
`_load_from_checkpoint`, because it can save neither a module that is not a PreTrainedModel but holds one, nor the inner
optimizers of a method.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from kd2deploy.core import Progress, augments, averaged
from kd2deploy.errors import TrainError
from kd2deploy.networks.configuration import quiet
from kd2deploy.train.arguments import refuse_misfits, training_arguments
from kd2deploy.train.distiller import TERM, held_still, same_attention
from kd2deploy.train.fake_quantize import fake_quantized
from kd2deploy.train.ledger import Clock, Ledger, Trained, identity, require_finite, require_same, unusable
from kd2deploy.train.length import counts, in_epochs
from kd2deploy.train.loading import in_a_line
from kd2deploy.train.optimizer import optimizer_of
from kd2deploy.train.order import Order
from kd2deploy.train.precision import resolved
from kd2deploy.train.resume import last_whole, remove, write_json
from kd2deploy.train.rounds import Rounds
from kd2deploy.train.schedule import dropping
from kd2deploy.train.settings import Settings
from kd2deploy.train.sharded import blocks_of, placed
from kd2deploy.train.training import Training

__all__ = ["Trained", "Training", "distill"]

STUDENT, PARTS, LEDGER, TRAINED = "student.safetensors", "parts.pt", "ledger.json", "trained.json"

APART, SEEDS = 15_485_863, 2**31
"""Added to the seed once for each process before this one; and beyond this no seed goes."""
VALIDATION = "validation"
TOLD = frozenset({"learning_rate", "grad_norm", "epoch"})
"""What the Trainer logs that a tracker is told, beside the losses."""

Score = Callable[[nn.Module], float]
OnProgress = Callable[[int, int, float, float | None], None]
OnFigures = Callable[[int, Mapping[str, float]], None]


GiveUp = Callable[[Sequence[Mapping[str, Any]], int], bool]


@dataclass(frozen=True)
class Ears:
    """Who is asked for a score or whether to go on, and who is told of a training; its result does not depend on the
    latter."""

    score: Score | None = None
    on_progress: OnProgress | None = None
    on_figures: OnFigures | None = None
    give_up: GiveUp | None = None


def distill(
    training: Training,
    folder: Path,
    *,
    score: Score | None = None,
    on_progress: OnProgress | None = None,
    on_figures: OnFigures | None = None,
    give_up: GiveUp | None = None,
    device: Literal["cpu", "cuda"] | None = None,
) -> Trained:
    """Train the student under the method; the kept student is left in it and saved in `folder`.

    `score(student)` is the validation score, higher is better; the student is in eval mode and torch's generators are
    put back after it. `on_progress(step, steps, epoch, loss)` is called after every step; its loss is the mean over the
    last few, None before there is one. `on_figures(step, figures)` is told losses, terms, learning rate and validation
    score as they come, for trackers. `give_up(history, steps)` is asked after each score, with all of them and the
    number of steps that the training was to have; where it says yes, the training ends there.
    The same call on the same folder continues from the last whole checkpoint, or returns a finished training at once;
    on a CPU the result is the same to the bit as without the interruption. Raises ValueError where method, networks and
    settings do not fit, and TrainError where the loss is no longer finite or the folder holds another training.
    """
    student, method = training.student, training.method
    training = replace(training, settings=resolved(in_epochs(training.settings, training.size), device))
    settings = training.settings
    with quiet(), same_attention(student), fake_quantized(student, settings.quantize):
        arguments = training_arguments(settings, folder, training.seed, method, device, training.size)
        refuse_misfits(method, settings, arguments, score is not None, training.features, training.size)
        require_all(settings, arguments.world_size)
        run = identity(settings, training.seed, method, training.size)
        set_seed(training.seed)
        training.bind(arguments)
        finished = folder / TRAINED
        if finished.exists():
            return reopened(finished, run, student)
        if training.cache is not None:
            training.cache.require(method, augmented=augments(type(training.task.reader), settings.augment))
            training.cache.require_rows(training.features)
        if training.teacher is not None:
            placed(training.teacher, settings, arguments.device)
        with held_still(method.still):
            engine = Engine(training, arguments, folder, Ledger(run), Ears(score, on_progress, on_figures, give_up))
            if arguments.process_index:  # or all would drop and draw the same for the rows of each
                set_seed((training.seed + APART * arguments.process_index) % SEEDS)
            checkpoint = last_whole(folder) if folder.exists() else None
            with in_a_line():
                engine.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            return engine.finish()


def require_fit(training: Training) -> None:
    """Bind the method as `distill` would, and train nothing.

    Torch's generators are left as they were. Raises ValueError where `distill` would refuse to start.
    """
    training = replace(training, settings=resolved(in_epochs(training.settings, training.size)))
    settings, student, method = training.settings, training.student, training.method
    with quiet(), same_attention(student), fake_quantized(student, settings.quantize):
        arguments = training_arguments(settings, Path(), 0, method, None, training.size)
        refuse_misfits(method, settings, arguments, True, training.features, training.size)
        with torch.random.fork_rng(devices=[]):
            training.bind(arguments)
    if settings.cuts_teacher and training.teacher is not None:
        blocks_of(training.teacher)


def require_all(settings: Settings, processes: int) -> None:
    """ValueError where other than all that are to share a training have been started, or a launcher started more."""
    if settings.processes != processes:
        raise ValueError(
            f"the settings say processes: {settings.processes}, and {processes} are there to train together; "
            "`kd2deploy` starts as many as the settings say, and a program of your own under torchrun says so in them"
        )


def reopened(finished: Path, run: Mapping[str, Any], student: nn.Module) -> Trained:
    """A finished training: its student's weights are put into `student`."""
    found = json.loads(finished.read_text())
    require_same(found["run"], run, finished.parent)
    load_model(student, finished.parent / STUDENT)
    remove_checkpoints(finished.parent)
    return replace(Trained.from_json(found["trained"]), student=finished.parent / "student")


def remove_checkpoints(folder: Path) -> None:
    """Delete what only an unfinished training needs."""
    for left in (*folder.glob("checkpoint-*"), *folder.glob("best-*")):
        remove(left)


class Engine(Trainer):
    """The one subclass of the Trainer."""

    def __init__(
        self, training: Training, arguments: TrainingArguments, folder: Path, ledger: Ledger, ears: Ears
    ) -> None:
        settings, features = training.settings, training.features
        self.distiller, self.settings, self.ledger, self.ears = training.distiller(), settings, ledger, ears
        lengths = [training.task.reader.length(row) for row in features] if training.by_length else None
        self.order = Order(lengths, len(features), settings.batch, arguments.seed, training.alike)
        self.forwards_per_epoch, self.steps_per_epoch = counts(settings, len(features))
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.means: dict[str, float] = {}
        self.clock = Clock()
        self.features, self.folder = training.numbered, folder
        super().__init__(model=self.distiller, args=arguments, train_dataset=self.features, callbacks=[Rounds(self)])
        self.loss_is_scaled_for_ga = False
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> Any:
        loader: DataLoader[Any] = DataLoader(
            self.features,
            batch_size=self.settings.batch,
            sampler=self.order,
            collate_fn=self.distiller.task.reader.collate,
            pin_memory=self.args.dataloader_pin_memory,
            num_workers=self.settings.loaders,
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self.distiller))
            self.optimizer = optimizer_of(self.distiller, decayed, self.settings)
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        if self.settings.schedule == "drops" and self.lr_scheduler is None:
            found = optimizer or self.create_optimizer()
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler = dropping(found, self.settings, num_training_steps, warmup)
        scheduler: torch.optim.lr_scheduler.LRScheduler = super().create_scheduler(num_training_steps, optimizer)
        return scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        forwards = self.ledger.forwards
        self.distiller.progress = Progress(
            step=forwards,
            steps=math.ceil(self.settings.epochs * self.forwards_per_epoch),
            epoch=forwards / self.forwards_per_epoch,
            epochs=float(self.settings.epochs),
        )
        found = model(**inputs)
        self.ledger.forwards += 1
        self.ledger.rows += next(iter(inputs.values())).shape[0]
        values = {name: value.detach() for name, value in found.items()}
        self.pending.append((self.state.global_step + 1, values))
        return (found["loss"], found) if return_outputs else found["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self.read_losses()
        super().log({**logs, **self.means}, start_time)
        self.show({**{name: value for name, value in logs.items() if name in TOLD}, **self.means})

    def tell(self) -> None:
        """How far the training is."""
        if self.ears.on_progress and self.is_world_process_zero():
            state = self.state
            self.ears.on_progress(state.global_step, state.max_steps, float(state.epoch or 0.0), self.means.get("loss"))

    def show(self, figures: Mapping[str, float]) -> None:
        """Figures of this step, for trackers."""
        if self.ears.on_figures and figures and self.is_world_process_zero():
            self.ears.on_figures(self.state.global_step, figures)

    def read_losses(self) -> None:
        """Fetch the losses of the steps since the last call, in one transfer; of each the mean over the processes.
        TrainError if one is not finite."""
        if not self.pending:
            return
        flat = torch.stack([value.float() for _, values in self.pending for value in values.values()])
        found = iter(averaged(flat).tolist())
        sums: dict[str, tuple[float, int]] = {}
        for step, values in self.pending:
            read = {name: next(found) for name in values}
            require_finite(read, step, self.settings, self.folder)
            for name, value in read.items():
                total, count = sums.get(name, (0.0, 0))
                sums[name] = (total + value, count + 1)
        self.pending.clear()
        self.means = {name: total / count for name, (total, count) in sums.items()}
        for name, (total, count) in sums.items():
            before, counted = self.ledger.sums.get(name, (0.0, 0))
            self.ledger.sums[name] = (before + total, counted + count)

    def close_round(self) -> None:
        """Write the history's next entry; score the student, and keep it if it is the best so far."""
        self.read_losses()
        self.require_finite_weights()
        ledger, step = self.ledger, self.state.global_step
        means = {
            name.removeprefix(TERM): total / count for name, (total, count) in ledger.sums.items() if name != "loss"
        }
        total, count = ledger.sums.get("loss", (0.0, 1))
        ledger.sums = {}
        assert self.lr_scheduler is not None
        entry = {
            "step": step,
            "epoch": step / self.steps_per_epoch,
            "loss": total / count,
            "terms": means,
            "learning_rate": self.lr_scheduler.get_last_lr()[0],
            "score": None,
        }
        ledger.history.append(entry)
        if self.ears.score is None:
            ledger.kept_step = step
            return
        with self.clock.scoring():
            entry["score"] = found = self.scored(self.ears.score)
        self.show({VALIDATION: found})
        worth = self.distiller.task.metric.worth
        if ledger.best is None or worth(found) > worth(ledger.best):
            ledger.best, ledger.since_best = found, 0
            if self.settings.keep == "best":
                ledger.kept_step = step
                self.keep_best(step)
        else:
            ledger.since_best += 1
        if self.settings.keep == "last":
            ledger.kept_step = step
        tired = self.settings.patience is not None and ledger.since_best >= self.settings.patience
        asked = self.ears.give_up
        ledger.stopped_early = tired or (asked is not None and asked(ledger.history, self.state.max_steps))

    def scored(self, score: Score) -> float:
        """The student's score, the same in all processes; torch's generators are left as they were."""
        student = self.distiller.student
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        found = [0.0]
        with torch.random.fork_rng(devices), torch.no_grad():
            student.eval()
            if self.is_world_process_zero():
                found = [float(score(student))]
            student.train()
        if self.args.world_size > 1:
            torch.distributed.broadcast_object_list(found, src=0)
        if not math.isfinite(found[0]):
            raise TrainError(
                f"the validation score at step {self.state.global_step} is {found[0]}; check the rows scored"
            )
        return found[0]

    def keep_best(self, step: int) -> None:
        if self.is_world_process_zero():
            folder = self.folder / f"best-{step}"
            folder.mkdir(exist_ok=True)
            save_model(self.distiller.student, str(folder / STUDENT))

    def require_finite_weights(self) -> None:
        with torch.no_grad():
            finite = torch.stack([weight.isfinite().all() for weight in self.distiller.parameters()]).all()
        if not finite:
            raise TrainError(unusable("a weight", self.state.global_step, self.settings, self.folder))

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        self.read_losses()
        self.require_finite_weights()
        if not self.args.should_save:
            return
        assert output_dir is not None
        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(self.distiller.student, str(folder / STUDENT))
        torch.save(self.distiller.method.state_dict(), folder / PARTS)
        ledger = self.clock.added_to(self.ledger)
        write_json(folder / LEDGER, asdict(ledger))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        found = Ledger(**json.loads((folder / LEDGER).read_text()))
        require_same(found.run, self.ledger.run, folder.parent)
        self.ledger = found
        load_model(self.distiller.student, folder / STUDENT)
        parts = torch.load(folder / PARTS, map_location="cpu", weights_only=True)
        self.distiller.method.load_state_dict(parts)

    def finish(self) -> Trained:
        """Load the kept student, save it, write down the result and drop the checkpoints."""
        ledger, folder = self.clock.added_to(self.ledger), self.folder
        student = self.distiller.student
        self.accelerator.wait_for_everyone()
        if ledger.kept_step != self.state.global_step:
            load_model(student, folder / f"best-{ledger.kept_step}" / STUDENT)
        self.distiller.student.eval()
        last = ledger.history[-1]["score"]
        trained = Trained(
            student=folder / "student",
            steps=self.state.global_step,
            kept_step=ledger.kept_step,
            score=ledger.best if self.settings.keep == "best" else last,
            stopped_early=ledger.stopped_early,
            seconds=ledger.seconds,
            scoring_seconds=ledger.scoring_seconds,
            samples_per_second=ledger.rows * self.args.world_size / ledger.seconds,
            seconds_per_step=ledger.seconds / self.state.global_step,
            history=tuple(ledger.history),
        )
        if self.is_world_process_zero():
            save_model(student, str(folder / STUDENT))
            student.save_pretrained(trained.student)  # type: ignore[operator]
            write_json(folder / TRAINED, {"run": ledger.run, "trained": trained.to_json()})
            remove_checkpoints(folder)
        self.accelerator.wait_for_everyone()
        return trained
