"""YAML as people and attackers write it: a line that says what is wrong, in seconds."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kd2deploy.errors import RecipeError
from kd2deploy.recipe import Recipe
from kd2deploy.recipe.resolve import load_target
from kd2deploy.recipe.yaml_text import parsed


def faults(file: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        Recipe.read(file)
    with pytest.raises(RecipeError):
        load_target(str(file))
    return str(caught.value)


def bomb(levels: int = 9) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: a\ndata: b\ntask: c\n", "line 3: 'task' stands in line 1 already"),
        ("distill:\n- {method: logit, epochs: 1, epochs: 2}\n", "line 2: 'epochs' stands in line 2 already"),
        (bomb(), "its anchors stand for more than 50,000 values"),
        ("a: &a [*a]\n", "its anchors stand for more than"),
        ("[" * 30_000, "nested too deeply"),
        ("seeds: [" + ",".join(map(str, range(2_000_000))) + "]", "larger than the 0.064 MB"),
        ('task: "\\ud800"\n', "half of a character"),
        ("task: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("task: !!bool maybe\n", "not valid YAML"),
        ("epochs: " + "9" * 5000, "4300 digits"),
        ("a: 2001-99-99", "month must be in 1..12"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    said = faults(file)
    assert words in said
    assert "\n" not in said


def test_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    assert "no regular file" in faults(tmp_path / "recipe.yaml")
    assert "no regular file" in faults(Path("/dev/zero"))


def test_a_merge_may_be_overridden_and_an_anchor_used() -> None:
    assert parsed("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}
    assert parsed("") is None


@given(st.text(alphabet=st.sampled_from("ab:&*[]{}-,!<>\n \"'#|?%@0x1."), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed(text)
    except ValueError:
        return
