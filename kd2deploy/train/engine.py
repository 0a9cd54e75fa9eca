"""The engine: trains a student under any method with transformers' Trainer, and survives being killed at any instant.

The Trainer brings schedules, mixed precision, accumulation, several devices and trackers. It is used for training only:
the validation score comes from a function that is handed in. Two of its private methods are overridden, `_save` and
`_load_from_checkpoint`, because it can save neither a module that is not a PreTrainedModel but holds one, nor the inner
optimizers of a method.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from kd2deploy.core import Features, MaskedLm, Method, Progress, Task
from kd2deploy.errors import TrainError
from kd2deploy.train.arguments import counts, quiet_transformers, refuse_misfits, training_arguments
from kd2deploy.train.distiller import TERM, Distiller, networks, same_attention
from kd2deploy.train.fake_quantize import fake_quantized
from kd2deploy.train.ledger import Clock, Ledger, Trained, identity, require_finite, require_same, unusable
from kd2deploy.train.order import Numbered, Order
from kd2deploy.train.precision import resolved
from kd2deploy.train.resume import last_whole, mark_whole, remove, step_of, write_json
from kd2deploy.train.settings import Settings
from kd2deploy.train.teacher_cache import TeacherCache

__all__ = ["Trained", "distill"]

STUDENT, PARTS, LEDGER, TRAINED = "student.safetensors", "parts.pt", "ledger.json", "trained.json"

VALIDATION = "validation"
TOLD = frozenset({"learning_rate", "grad_norm", "epoch"})
"""What the Trainer logs that a tracker is told, beside the losses."""

Score = Callable[[nn.Module], float]
OnProgress = Callable[[int, int, float, float | None], None]
OnFigures = Callable[[int, Mapping[str, float]], None]


def distill(
    task: Task,
    student: nn.Module,
    method: Method,
    *,
    features: Sequence[Features],
    settings: Settings,
    folder: Path,
    seed: int,
    teacher: nn.Module | None = None,
    cache: TeacherCache | None = None,
    score: Score | None = None,
    on_progress: OnProgress | None = None,
    on_figures: OnFigures | None = None,
    masked_lm: Callable[[str | None], MaskedLm] | None = None,
    device: Literal["cpu", "cuda"] | None = None,
) -> Trained:
    """Train `student` under `method`; the kept student is left in it and saved in `folder`.

    `method` comes unbound, and is bound when this returns. `score(student)` is the validation score, higher is better;
    the student is in eval mode and torch's generators are put back after it. `on_progress(step, steps, epoch, loss)`
    is called after every step; its loss is the mean over the last few, None before there is one.
    `on_figures(step, figures)` is told losses, terms, learning rate and validation score as they come, for trackers.
    The same call on the same folder continues from the last whole checkpoint, or returns a finished training at once;
    on a CPU the result is the same to the bit as without the interruption. Raises ValueError where method, networks and
    settings do not fit, and TrainError where the loss is no longer finite or the folder holds another training.
    """
    assert isinstance(student, PreTrainedModel), "a student is a transformers model, saved by save_pretrained"
    settings = resolved(settings, device)
    with quiet_transformers(), same_attention(student), fake_quantized(student, settings.quantize):
        arguments = training_arguments(settings, folder, seed, method, device, len(features))
        refuse_misfits(method, settings, arguments, score is not None, features)
        run = identity(settings, seed, method, len(features), arguments.world_size)
        set_seed(seed)
        bind(task, student, method, teacher, features, len(features), settings, arguments, masked_lm)
        finished = folder / TRAINED
        if finished.exists():
            return reopened(finished, run, student)
        if cache is not None:
            cache.require_rows(features)
        if teacher is not None:
            teacher.to(arguments.device)
        distiller = Distiller(task, student, method, teacher, cache)
        engine = Engine(distiller, arguments, features, settings, folder, Ledger(run), score, on_progress, on_figures)
        checkpoint = last_whole(folder) if folder.exists() else None
        engine.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return engine.finish()


def require_fit(
    task: Task,
    student: nn.Module,
    method: Method,
    *,
    features: Sequence[Features],
    rows: int,
    settings: Settings,
    teacher: nn.Module | None = None,
    masked_lm: Callable[[str | None], MaskedLm] | None = None,
) -> None:
    """Bind `method` as `distill` would on so many rows, of which `features` are a few, and train nothing.

    Torch's generators are left as they were. Raises ValueError where `distill` would refuse to start.
    """
    settings = resolved(settings)
    with quiet_transformers(), same_attention(student), fake_quantized(student, settings.quantize):
        arguments = training_arguments(settings, Path(), 0, method, None, rows)
        refuse_misfits(method, settings, arguments, True, features)
        with torch.random.fork_rng(devices=[]):
            bind(task, student, method, teacher, features, rows, settings, arguments, masked_lm)


def reopened(finished: Path, run: Mapping[str, Any], student: PreTrainedModel) -> Trained:
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


def bind(
    task: Task,
    student: nn.Module,
    method: Method,
    teacher: nn.Module | None,
    features: Sequence[Features],
    rows: int,
    settings: Settings,
    arguments: TrainingArguments,
    masked_lm: Callable[[str | None], MaskedLm] | None,
) -> None:
    """Show the networks to the method's parts; heads are initialized here, from the seeded generator."""
    forwards, _ = counts(settings, rows, arguments.world_size)
    batch = task.collate(features[: min(2, len(features))])
    steps = math.ceil(settings.epochs * forwards)
    method.bind(networks(task, student, teacher, batch, rows, float(settings.epochs), steps, masked_lm))


class Engine(Trainer):
    """The one subclass of the Trainer."""

    def __init__(
        self,
        distiller: Distiller,
        arguments: TrainingArguments,
        features: Sequence[Features],
        settings: Settings,
        folder: Path,
        ledger: Ledger,
        score: Score | None,
        on_progress: OnProgress | None,
        on_figures: OnFigures | None,
    ) -> None:
        self.distiller, self.settings, self.ledger = distiller, settings, ledger
        self.score, self.on_progress, self.on_figures = score, on_progress, on_figures
        lengths = [distiller.task.length(row) for row in features] if settings.group_by_length else None
        self.order = Order(lengths, len(features), settings.batch, arguments.seed)
        self.forwards_per_epoch, self.steps_per_epoch = counts(settings, len(features), arguments.world_size)
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.means: dict[str, float] = {}
        self.clock = Clock()
        self.features, self.folder = Numbered(features), folder
        super().__init__(model=distiller, args=arguments, train_dataset=self.features, callbacks=[Rounds(self)])
        self.loss_is_scaled_for_ga = False
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> Any:
        loader: DataLoader[Any] = DataLoader(
            self.features,
            batch_size=self.settings.batch,
            sampler=self.order,
            collate_fn=self.distiller.task.collate,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self.distiller))
            groups = parameter_groups(self.distiller, decayed, self.settings)
            rate = self.settings.learning_rate
            if self.settings.optimizer == "sgd":
                self.optimizer = torch.optim.SGD(groups, lr=rate, momentum=self.settings.momentum)
            else:
                self.optimizer = torch.optim.AdamW(groups, lr=rate, fused=self.args.device.type == "cuda")
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

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
        if len(found) > 1:  # a batch that a view spent on itself has no terms, and its loss says nothing
            values = {name: value.detach() for name, value in found.items()}
            self.pending.append((self.state.global_step + 1, values))
        return (found["loss"], found) if return_outputs else found["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        self.read_losses()
        super().log({**logs, **self.means}, start_time)
        self.show({**{name: value for name, value in logs.items() if name in TOLD}, **self.means})

    def tell(self) -> None:
        """How far the training is."""
        if self.on_progress and self.is_world_process_zero():
            state = self.state
            self.on_progress(state.global_step, state.max_steps, float(state.epoch or 0.0), self.means.get("loss"))

    def show(self, figures: Mapping[str, float]) -> None:
        """Figures of this step, for trackers."""
        if self.on_figures and figures and self.is_world_process_zero():
            self.on_figures(self.state.global_step, figures)

    def read_losses(self) -> None:
        """Fetch the losses of the steps since the last call, in one transfer. TrainError if one is not finite."""
        if not self.pending:
            return
        flat = torch.stack([value.float() for _, values in self.pending for value in values.values()]).tolist()
        found = iter(flat)
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
        if self.score is None:
            ledger.kept_step = step
            return
        with self.clock.scoring():
            entry["score"] = found = self.scored(self.score)
        self.show({VALIDATION: found})
        if ledger.best is None or found > ledger.best:
            ledger.best, ledger.since_best = found, 0
            if self.settings.keep == "best":
                ledger.kept_step = step
                self.keep_best(step)
        else:
            ledger.since_best += 1
        if self.settings.keep == "last":
            ledger.kept_step = step
        ledger.stopped_early = self.settings.patience is not None and ledger.since_best >= self.settings.patience

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
        assert isinstance(student, PreTrainedModel)
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
            student.save_pretrained(trained.student)
            write_json(folder / TRAINED, {"run": ledger.run, "trained": trained.to_json()})
            remove_checkpoints(folder)
        self.accelerator.wait_for_everyone()
        return trained


class Rounds(TrainerCallback):
    """When to shuffle, score, checkpoint and stop. Everything is decided at the end of a step, so that a checkpoint
    taken there holds the scores of that step."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.engine.clock.start()
        self.engine.tell()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.engine.order.epoch = state.global_step // self.engine.steps_per_epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        settings, step = self.engine.settings, state.global_step
        self.engine.tell()
        last = step >= state.max_steps
        if last or self._due(settings.score_every, step):
            self.engine.close_round()
            if self.engine.ledger.stopped_early:
                control.should_training_stop = last = True
        if not last and self._due(settings.checkpoint_every, step):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.engine.accelerator.wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        mark_whole(folder / f"checkpoint-{state.global_step}")
        for checkpoint in folder.glob("checkpoint-*"):
            if step_of(checkpoint) != state.global_step:
                remove(checkpoint)
        for best in folder.glob("best-*"):
            if step_of(best) != self.engine.ledger.kept_step:
                remove(best)

    def _due(self, every: int | Literal["epoch"], step: int) -> bool:
        return step % (self.engine.steps_per_epoch if every == "epoch" else every) == 0


def parameter_groups(distiller: Distiller, decayed: set[str], settings: Settings) -> list[dict[str, Any]]:
    """Student and parts, each with and without weight decay; empty groups are left out."""
    groups = []
    rates = {"student.": settings.learning_rate, "method.": settings.parts_learning_rate or settings.learning_rate}
    named = [(name, weight) for name, weight in distiller.named_parameters() if weight.requires_grad]
    for prefix, rate in rates.items():
        for decay in (True, False):
            weights = [w for name, w in named if name.startswith(prefix) and (name in decayed) == decay]
            if weights:
                groups.append({"params": weights, "lr": rate, "weight_decay": settings.weight_decay if decay else 0.0})
    return groups
