"""Every method with no argument given is the method with its documented ones, and these are its terms and weights."""

import dataclasses
import importlib

import pytest
import torch
from documented_methods import NO_DEFAULT, defaults
from tiny_networks import at

DOCUMENTED = defaults()
MIDDLE = at(epoch=15.0, epochs=30.0, step=150, steps=300)
WEIGHTS = {
    "annealing_kd": {"task": 0.0, "annealed": 1.0},
    "attention": {"task": 1.0, "maps": 1.0},
    "backward_kd": {"task": 0.5, "soft": 0.25, "moved": 0.25},
    "cilda": {"task": 1 / 3, "soft": 1 / 3, "adversarial_task": 2 / 9, "adversarial_soft": 1 / 9},
    "combined_kd": {"clean": 0.5, "adversarial": 0.5},
    "continuation_kd": {"task": 0.4, "hinge": 0.6},
    "contrastive": {"task": 1.0, "contrast": 0.8},
    "cr_ild": {"attention": 1.0, "hidden": 1.0, "consistency": 0.05},
    "ctc_frame_kd": {"task": 1.0, "frames": 1.0},
    "data_free": {"task": 1.0, "soft": 1.0, "alignment": 30.0},
    "dcd": {"task": 1.0, "consistent": 1.0},
    "dckd": {"task": 1.0, "output": 1.0, "consistent": 1.0, "contrast": 0.1, "mapping": 0.001},
    "crd": {"task": 1.0, "contrast": 0.8},
    "detr_kd": {"task": 1.0, "classes": 1.0, "boxes": 5.0, "overlap": 2.0},
    "dist": {"task": 1.0, "inter": 2.0, "intra": 2.0},
    "dkd": {"task": 1.0, "decoupled": 1.0},
    "dual_augmentation": {"task": 1.0, "consistent": 1.0},
    "dynamic_temperature": {"task": 0.1, "soft": 0.9},
    "fgd": {"task": 1.0, "features": 1.0},
    "hidden": {"task": 0.1, "soft": 0.9, "hidden": 0.1},
    "inconsistent_kd": {"task": 1.0, "features": 1.0, "adversarial": 1e-5},
    "inter_kd": {"task": 0.5, "branches": 0.5, "frames": 0.5, "branch_frames": 0.5},
    "knowledge_adjustment": {"soft": 1.0},
    "logit": {"task": 0.1, "soft": 0.9},
    "logit_standardization": {"task": 0.1, "soft": 9.0},
    "lmcl": {"task": 1.0, "contrast": 1.0},
    "mate_kd": {"task": 1 / 3, "soft": 1 / 3, "adversarial": 1 / 3},
    "mgd": {"task": 1.0, "features": 2e-5},
    "mix_kd": {"task": 1.0, "student_mixup": 1.0, "teacher_mixup": 1.0},
    "mlkd": {"alignment": 20.0, "correlation": 50.0, "contrast": 1.0, "task": 1.0},
    "pckd": {"task": 1.0, "soft": 0.1, "contrast": 0.02, "centres": 1.0, "alignment": 20.0},
    "mixup_kd": {"task": 0.1, "soft": 0.9},
    "mutual": {"task": 1.0, "vcl": 0.1, "icl": 0.1, "soft_vcl": 1.0, "soft_icl": 1.0},
    "rail_kd": {"task": 1 / 3, "soft": 1 / 3, "rail": 1 / 3},
    "residual_kd": {"own": 1.0, "features": 1.0, "task": 1.0, "residual": 1.0},
    "task_only": {"task": 1.0},
}
GIVEN = {"combined_kd": {"phase": 1}}
COUNTS = (
    *("dim", "bank", "steps", "ascents", "descents", "t_max", "stage", "negatives", "networks"),
    *("made", "every", "levels", "codebook_steps"),
)


def built(method, **arguments):
    return getattr(importlib.import_module(f"kd2deploy.methods.{method}"), method)(**GIVEN.get(method, {}), **arguments)


def plain(value):
    """A value that two parts can be compared by; a draw by what it draws."""
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    return value if isinstance(value, int | float | str | tuple | list | None) else type(value)


def told(method):
    """All that a method's parts hold, and its weights in the middle of a training."""
    torch.manual_seed(0)
    drawn = [view.draw(5)[0].tolist() for view in method.views if hasattr(view, "draw")]
    held = [
        {name: plain(value) for name, value in vars(module).items() if not name.startswith("_")}
        for module in method.modules()
        if module is not method
    ]
    return drawn, held, {name: weighted.at(MIDDLE) for name, weighted in method.weighted.items()}


@pytest.mark.parametrize("method", sorted(DOCUMENTED))
def test_a_method_without_arguments_is_the_one_with_its_documented_ones(method):
    said = {name: value for name, value in DOCUMENTED[method].items() if value is not NO_DEFAULT}
    whole = {name: int(value) if name in COUNTS and value is not None else value for name, value in said.items()}
    assert told(built(method)) == told(built(method, **whole))


@pytest.mark.parametrize("method", sorted(DOCUMENTED))
def test_its_terms_have_their_weights(method):
    found = {name: weighted.at(MIDDLE) for name, weighted in built(method).weighted.items()}
    assert found == pytest.approx(WEIGHTS[method])
