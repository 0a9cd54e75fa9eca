"""Our settings in the Trainer's words, and what is refused before anything runs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers import TrainingArguments

from kd2deploy.core import Features, Method, TaskLoss
from kd2deploy.core.figures import count_of
from kd2deploy.train.distiller import keeps_state
from kd2deploy.train.length import counts
from kd2deploy.train.settings import Settings

SCHEDULES = {"constant": "constant_with_warmup", "drops": "constant_with_warmup"}
"""By our names, where transformers has another; the engine makes the drops."""
LOG_EVERY = 10
"""Optimizer steps between two looks at the losses: the only place where the device is waited for."""


def training_arguments(
    settings: Settings,
    folder: Path,
    seed: int,
    method: Method,
    device: Literal["cpu", "cuda"] | None,
    rows: int,
) -> TrainingArguments:
    """The Trainer's arguments; what it would save, score, print or shuffle by itself is turned off."""
    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if device == "cuda" and on_cpu:
        raise ValueError("device cuda was asked for, and torch finds none; use cpu or install a CUDA build of torch")
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulate,
        lr_scheduler_type=SCHEDULES.get(settings.schedule, settings.schedule),
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        fp16=settings.precision == "fp16" and not on_cpu,
        use_cpu=on_cpu,
        seed=seed,
        report_to=[],
        logging_steps=LOG_EVERY,
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=not on_cpu,
        ddp_find_unused_parameters=may_leave_unused(method),
    )
    _, per_epoch = counts(settings, rows)
    arguments.warmup_steps = math.ceil(settings.warmup * math.ceil(settings.epochs * per_epoch))
    return arguments


def may_leave_unused(method: Method) -> bool:
    """Whether some step may leave a parameter without gradient: only then must DDP look for such parameters."""
    whole = any(isinstance(w.term, TaskLoss) and not callable(w.weight) and w.weight for w in method.weighted.values())
    return bool(method.views) or not whole or any(keeps_state(part) for part in method.parts)


def refuse_misfits(
    method: Method,
    settings: Settings,
    arguments: TrainingArguments,
    scores: bool,
    features: Sequence[Features],
    rows: int,
) -> None:
    """ValueError for what can be seen to fail before anything runs."""
    if not features:
        raise ValueError("there are no rows to train on")
    if settings.processes > 1 and method.by_itself:
        raise ValueError(f"processes is {settings.processes}, and the method {method.by_itself}; set it to 1")
    if fault := sharing_fault(settings.processes, rows, torch.cuda.device_count()):
        raise ValueError(f"processes {fault}")
    if settings.keep == "best" and not scores:
        raise ValueError("keep: best needs a validation score; give one, or set keep: last")
    if settings.patience is not None and not scores:
        raise ValueError("patience needs a validation score; give one, or leave patience out")
    together = method.rows_of_a_class
    if settings.batch % together:
        raise ValueError(
            f"the method compares rows of one class, and they come {together} at a time: batch must be a multiple of "
            f"{together}, got {settings.batch}"
        )
    inner = [type(part).__name__ for part in method.parts if part.optimizes_itself]
    if inner and settings.precision == "fp16":
        raise ValueError(f"{inner[0]} has an optimizer of its own, which fp16 loss scaling breaks; use bf16 or fp32")
    if settings.precision == "fp16" and arguments.device.type != "cuda":
        raise ValueError("precision fp16 needs a CUDA device; use bf16 or fp32 on a CPU")


def sharing_fault(processes: int, rows: int, gpus: int) -> str:
    """Why so many processes cannot share a training on so many rows, where torch shows so many GPUs; empty where they
    can."""
    if processes > max(1, rows):
        return f"is {processes}, and there are {count_of(rows, 'row')} to train on, not one for each; set it to fewer"
    if processes > 1 and 0 < gpus < processes:
        return (
            f"is {processes}, each with a GPU of its own, and torch shows {count_of(gpus, 'GPU')} here; set it to "
            f"{gpus}, or hide all (CUDA_VISIBLE_DEVICES=) to train on the processor"
        )
    return ""
