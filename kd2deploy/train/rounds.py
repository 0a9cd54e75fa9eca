"""When a training shuffles, scores, checkpoints and stops."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import TrainerCallback

from kd2deploy.train.resume import mark_whole, remove, step_of

if TYPE_CHECKING:
    from kd2deploy.train.engine import Engine


class Rounds(TrainerCallback):
    """Everything is decided at the end of a step, so that a checkpoint taken there holds the scores of that step."""

    def __init__(self, engine: "Engine") -> None:
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
            self.engine.read_losses()  # here, where every process does; one alone writes the checkpoint
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
