"""What the program says of a number of things is right for one of them too: `1 epoch`, never `1 epochs`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kd2deploy.core.figures import count_of

ROOT = Path(__file__).parent.parent
FILES = sorted(file for folder in ("kd2deploy", "exporters") for file in (ROOT / folder).rglob("*.py"))
COUNTED = re.compile(
    r"classes|contenders|cores|devices|epochs|examples|faults|fields|files|images|labels|lines|"
    r"methods|networks|outputs|pictures|processes|requests|rounds|rows|seeds|steps|students|"
    r"texts|threads|tokens|trainings|variants"
)
ALWAYS_MORE = {
    "tokens and the network": "a vocabulary",
    "tokens and the student": "a vocabulary",
    "tokens of": "two tokenizers' words of one text",
    "tokens": "what a text is cut to, or a vocabulary",
    "classes or more": "the least that a method needs, two or three",
    "classes; raise it": "fewer than two are refused before",
    "classes, and the task": "said of more than one alone",
    "rows hold nothing": "behind 'of', where there is more than one",
    "evaluation rows also": "behind 'of', or two and more",
    "evaluation rows stand": "behind 'of', where two are the least",
    "evaluation rows, so": "a threshold of ours",
    "rows were read": "behind fewer rows than lines",
    "lines, because": "of a file with lines that were joined",
    "pictures and": "a whole data set",
    "labels; install": "a whole data set",
    "labels. Methods": "every class has one, and there are two",
    "unlabelled rows;": "the rest of a training set",
    "cores": "a quota with decimals, behind 'of'",
    "seeds, each": "said of more than one alone",
    "processes)": "said of more than one alone",
    "requests in flight": "said of more than one alone",
    "requests a second": "a rate",
    "examples; give": "two are the least",
    "compares classes": "a method's name stands before it, and no number",
    "read texts": "names of networks stand before it, and no number",
    "read pictures": "names of networks stand before it, and no number",
    "rows:": "a split's name stands before it, and no number",
}
"""Words behind numbers that cannot be one, and why."""


def counted(file: Path) -> Iterator[tuple[int, str]]:
    """Line and words of every number in a text that a plural stands behind at once, or behind one other word."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant):
                words = str(text.value).split(" ")
                plural = next(
                    (at for at in (1, 2) if len(words) > at and COUNTED.fullmatch(words[at].strip(".,;:()"))), None
                )
                if words[0] == "" and plural is not None and not is_fraction(value):
                    yield node.lineno, " ".join(words[1:5])


def is_fraction(value: ast.FormattedValue) -> bool:
    """Whether it is written with decimals, as no count is."""
    spec = value.format_spec
    return spec is not None and any("f" in str(getattr(part, "value", "")) for part in ast.walk(spec))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_numbers_of_things_are_told_by_count_of(file: Path) -> None:
    found = [
        (line, words)
        for line, words in counted(file)
        if not any(words.strip(".,;:()") == known or words.startswith(known) for known in ALWAYS_MORE)
    ]
    assert not found, "write count_of(number, 'row'), or say above why it is never one"


def test_one_none_and_many() -> None:
    assert [count_of(number, "row") for number in (0, 1, 2, 1234567)] == [
        "no rows",
        "1 row",
        "2 rows",
        "1,234,567 rows",
    ]
    assert [count_of(number, "epoch") for number in (0.5, 1.0, 2.5)] == ["0.5 epochs", "1 epoch", "2.5 epochs"]
    assert count_of(2, "process", "processes") == "2 processes"
