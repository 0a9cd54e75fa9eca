"""Whether a teacher and a student can be distilled: what they answer."""

from collections.abc import Sequence
from pathlib import Path

from kd2deploy.core.figures import count_of
from kd2deploy.errors import ModelError
from kd2deploy.networks.folder import check_folder
from kd2deploy.networks.labels import labels_of, score_names


def check_pair(labels: Sequence[str], teacher: Path, student: Path) -> None:
    """Raises ModelError with the remedy unless both networks answer the same classes in the same order.

    A task's own labels must be theirs too. Names that were never given (LABEL_0 ...) are taken in order.
    """
    wanted = list(labels)
    for who, folder in (("teacher", teacher), ("student", student)):
        config = check_folder(folder)
        found = score_names(config, wanted) or labels_of(config)
        if not wanted:
            if len(found) > 1:
                raise ModelError(
                    f"the {who} answers {len(found)} classes, and the task has none; name them as `labels`"
                )
            continue
        if found and len(found) != len(wanted):
            raise ModelError(
                f"the {who} answers {count_of(len(found), 'class', 'classes')} ({', '.join(found)}), the task has "
                f"{len(wanted)} ({', '.join(wanted)}); give a {who} fine-tuned on this task, or name its labels under "
                "`task`"
            )
        if found not in ([], wanted, [f"LABEL_{place}" for place in range(len(found))]):
            raise ModelError(
                f"the {who} answers its classes in another order or by other names ({', '.join(found)}) than the task "
                f"({', '.join(wanted)}); write `labels: [{', '.join(found)}]` under `task`"
            )
