"""What every method says of networks that do not fit it: its own name first, so that a sum of methods tells which."""

import importlib
import pkgutil
from dataclasses import replace

import pytest
from tiny_game import TinyMaskedLm, WordTask, players
from tiny_networks import sizes

import kd2deploy.methods
from kd2deploy.core import Port

ARGUMENTS = {
    "attention": {"kind": "relations", "states": 1.0},
    "cilda": {"generator": TinyMaskedLm()},
    "combined_kd": {"phase": 1, "generator": TinyMaskedLm()},
    "data_free": {"made": 0},
    "mate_kd": {"generator": TinyMaskedLm()},
}
TEACHERLESS = {"lmcl", "mutual", "task_only"}
METHODS = sorted(
    module.name for module in pkgutil.iter_modules(kd2deploy.methods.__path__) if not module.name.startswith("_")
)


class Frames(WordTask):
    outputs = (Port("logits", "float32", ("batch", "frames", "vocabulary")),)


class Wordless(WordTask):
    def token_table(self, net):
        return None


UNFIT = {
    "no teacher": {"teacher": None, "teacher_sizes": None},
    "other classes": {"student_sizes": sizes(classes=2)},
    "one class": {"student_sizes": sizes(classes=1), "teacher_sizes": sizes(classes=1)},
    "several labels": {"student_sizes": replace(sizes(), per_label=True)},
    "logits alone": {"teacher_sizes": sizes(())},
    "no attention": {"teacher_sizes": sizes((6,) * 4, heads=())},
    "no embedding": {"student_sizes": sizes(embedding=0)},
    "other positions": {"teacher_sizes": sizes((6,) * 4, positions=9)},
    "other inputs": {"shares_inputs": False},
    "shallow teacher": {"teacher_sizes": sizes((6, 6))},
    "frames": {"task": Frames()},
    "no words": {"task": Wordless(), "shares_inputs": False},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_begins_with_the_methods_name(method):
    said = {}
    for what, changes in UNFIT.items():
        built = getattr(importlib.import_module(f"kd2deploy.methods.{method}"), method)(**ARGUMENTS.get(method, {}))
        try:
            built.bind(players(**changes)[2])
        except ValueError as error:
            said[what] = str(error)
    assert {what: text for what, text in said.items() if text.split(" ")[0].rstrip(":") != method} == {}
    assert ("no teacher" in said) == (method not in TEACHERLESS)
