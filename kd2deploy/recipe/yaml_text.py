"""YAML that people write, read strictly: a key stands once, and a small file stays small.

The parser alone takes the last of two equal keys without a word, and lets a few lines of anchors stand for more values
than a machine can hold.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kd2deploy.core.reading import contents

LARGEST_MB = 0.064
"""Of a recipe or target file: those that people write have a few kB."""
MOST_VALUES = 50_000
"""Values that a file may stand for once its anchors are followed."""


def text_of(path: Path) -> str:
    """A small text file's contents. Raises OSError, and ValueError for what is no file, not UTF-8 or too large."""
    return contents(path, LARGEST_MB)


def parsed(text: str) -> Any:
    """The plain values of a YAML text. Raises ValueError with the line of what is wrong."""
    import yaml

    loader = None
    try:
        loader = yaml.SafeLoader(text)  # the faster one of C overflows its stack on deep nesting
        node = loader.get_single_node()
        if node is None:
            return None
        refuse_repeated(node)
        if spread(node, {}) > MOST_VALUES:
            raise ValueError(f"its anchors stand for more than {MOST_VALUES:,} values; write out what is meant")
        found = loader.construct_document(node)
        "".join(words(found)).encode()
        return found
    except UnicodeEncodeError:
        raise ValueError("it holds half of a character (a lone surrogate), which no file can hold") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, OverflowError, TypeError, AttributeError) as error:  # of values that are not what a tag says
        raise ValueError(" ".join(str(error).split())) from None
    finally:
        if loader is not None:
            loader.dispose()


def refuse_repeated(root: Any) -> None:
    """Raises ValueError where a mapping has the same key twice."""
    import yaml

    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            first: dict[tuple[str, str], Any] = {}
            for key, value in node.value:
                waiting += [key, value]
                before = first.setdefault((key.tag, key.value), key) if isinstance(key, yaml.ScalarNode) else key
                if before is not key:
                    lines = key.start_mark.line + 1, before.start_mark.line + 1
                    raise ValueError(f"line {lines[0]}: {key.value!r} stands in line {lines[1]} already; keep one")


def spread(node: Any, known: dict[int, float]) -> float:
    """How many values a node stands for, anchors followed; endless where one holds itself."""
    import yaml

    if id(node) not in known:
        known[id(node)] = float("inf")  # while it is being counted: a node inside itself
        inner: Iterator[Any] = iter(())
        if isinstance(node, yaml.SequenceNode):
            inner = iter(node.value)
        elif isinstance(node, yaml.MappingNode):
            inner = (part for pair in node.value for part in pair)
        known[id(node)] = 1 + sum(spread(part, known) for part in inner)
    return known[id(node)]


def words(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from words(key)
            yield from words(value)
    elif isinstance(found, list):
        for value in found:
            yield from words(value)
