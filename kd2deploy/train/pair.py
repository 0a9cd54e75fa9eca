"""Whether a teacher and a student can be distilled: what they read and what they answer."""

from pathlib import Path
from typing import Any

from kd2deploy.core import Task
from kd2deploy.errors import ModelError
from kd2deploy.tasks._classification import labels_of
from kd2deploy.tasks._folder import check_folder, read_config, tokenizer
from kd2deploy.tasks._images import FILE, processor

PROBES = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "ÀÉÎ õü ß straße, naïve café; ΑΒΓ — “quotes” … 日本語 😀",
    "UPPER lower  double  spaces\ttabs\nlines don't can't e-mail@example.org",
    "pneumonoultramicroscopicsilicovolcanoconiosis x7 3.14159 (a+b)*c",
)
"""Texts whose pieces differ between vocabularies, cases, accents and special tokens."""


def tokenizers_agree(one: Path, other: Path) -> bool:
    """Whether two networks read the same inputs from the same rows.

    Text: equal vocabularies, and equal pieces, special tokens and token types for texts and pairs. Images: the same
    processing, channels and size. Folders without either agree, for what they read does not depend on them.
    """
    pictures = [(folder / FILE).is_file() for folder in (one, other)]
    if any(pictures):
        return all(pictures) and read_alike(one, other)
    texts = [
        (folder / "tokenizer_config.json").is_file() or (folder / "tokenizer.json").is_file() for folder in (one, other)
    ]
    return texts[0] == texts[1] and (not texts[0] or pieces_alike(one, other))


def read_alike(one: Path, other: Path) -> bool:
    channels = [read_config(folder).get("num_channels", 3) for folder in (one, other)]
    return processor(one.resolve()) == processor(other.resolve()) and channels[0] == channels[1]


def pieces_alike(one: Path, other: Path) -> bool:
    readers = [tokenizer(folder.resolve()) for folder in (one, other)]
    if readers[0].pad_token_id != readers[1].pad_token_id or readers[0].get_vocab() != readers[1].get_vocab():
        return False
    first, second = (encoded(reader) for reader in readers)
    return first == second


def encoded(reader: Any) -> dict[str, Any]:
    """The inputs of the probes, alone and in pairs."""
    alone = reader(list(PROBES), return_attention_mask=False)
    pairs = reader(list(PROBES), list(reversed(PROBES)), return_attention_mask=False)
    return {"alone": dict(alone), "pairs": dict(pairs)}


def check_pair(task: Task, teacher: Path, student: Path) -> None:
    """Raises ModelError with the remedy unless both networks answer the same classes in the same order.

    A task's own labels must be theirs too. Names that were never given (LABEL_0 ...) are taken in order.
    """
    wanted = list(getattr(task, "labels", ()))
    for who, folder in (("teacher", teacher), ("student", student)):
        found = labels_of(check_folder(folder))
        if not wanted:
            if len(found) > 1:
                raise ModelError(
                    f"the {who} answers {len(found)} classes, and the task has none; name them as `labels`"
                )
            continue
        if found and len(found) != len(wanted):
            raise ModelError(
                f"the {who} answers {len(found)} classes ({', '.join(found)}), the task has {len(wanted)} "
                f"({', '.join(wanted)}); give a {who} fine-tuned on this task, or name its labels under `task`"
            )
        if found not in ([], wanted, [f"LABEL_{place}" for place in range(len(found))]):
            raise ModelError(
                f"the {who} answers its classes in another order or by other names ({', '.join(found)}) than the task "
                f"({', '.join(wanted)}); write `labels: [{', '.join(found)}]` under `task`"
            )
