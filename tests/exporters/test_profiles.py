"""The targets as data: each is a whole Target whose variants name real converters and real options."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

import kd2deploy.profiles
from kd2deploy.core import Target
from kd2deploy.core.arguments import taken_by
from kd2deploy.recipe.steps import converter_of

HERE = "browser", "cpu", "cpu_2core", "mobile"
FILES = [Path(kd2deploy.profiles.__file__).with_name(f"{name}.yaml") for name in HERE]
OWN = ("source", "task", "target", "folder", "samples")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_profile_names_real_converters_and_options(file: Path) -> None:
    target = TypeAdapter(Target).validate_python(yaml.safe_load(file.read_text()))
    assert target.name == file.stem.replace("_", "-")
    assert target.measured
    for variant in target.variants.values():
        opened_by = "kd2deploy.exporters.torch.TorchSession"
        for step in variant.steps:
            made_by = converter_of(step)
            assert set(step) - {"use"} <= set(taken_by(made_by, len(OWN)))
            opened_by = import_module(".".join(made_by.__module__.split(".")[:3])).OPENED_BY
        module, _, name = opened_by.rpartition(".")
        assert set(variant.session) <= set(taken_by(getattr(import_module(module), name), 3))


def test_these_targets_are_there() -> None:
    assert all(file.is_file() for file in FILES)
