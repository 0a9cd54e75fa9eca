"""What a report says that it was made by."""

import pytest

from kd2deploy.core.command import typed_command


@pytest.mark.parametrize(
    "program", ["/home/me/venv/bin/kd2deploy", "/home/me/lib/kd2deploy/__main__.py", "kd2deploy", "bin/kd2deploy"]
)
def test_a_command_names_the_program_and_not_where_it_lies(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program, "compress", "my recipe.yaml"])
    assert typed_command() == "kd2deploy compress 'my recipe.yaml'"


def test_a_program_of_ones_own_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/me/work/train.py"])
    assert typed_command() == "train.py"
