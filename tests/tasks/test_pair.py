from pathlib import Path

import pytest
from tiny_models import save_encoder

from kd2deploy.errors import ModelError
from kd2deploy.tasks.text_classification import TextClassification


def test_pair_of_the_tasks_labels_passes(tmp_path: Path) -> None:
    save_encoder(tmp_path / "teacher", labels=["neg", "pos"])
    save_encoder(tmp_path / "student", labels=["LABEL_0", "LABEL_1"])
    TextClassification(["neg", "pos"]).networks.check_pair(tmp_path / "teacher", tmp_path / "student")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["pos", "neg"], r"another order.*labels: \[pos, neg\]"),
        (["neg", "pos", "odd"], "answers 3 classes"),
    ],
)
@pytest.mark.parametrize("who", ["teacher", "student"])
def test_other_labels_are_refused_by_name(who: str, labels: list[str], words: str, tmp_path: Path) -> None:
    for name in ("teacher", "student"):
        save_encoder(tmp_path / name, labels=labels if name == who else ["neg", "pos"])
    with pytest.raises(ModelError, match=f"the {who} answers.*{words}|the {who} {words}"):
        TextClassification(["neg", "pos"]).networks.check_pair(tmp_path / "teacher", tmp_path / "student")


def test_classifier_is_refused_for_regression(tmp_path: Path) -> None:
    save_encoder(tmp_path / "one", labels=[])
    save_encoder(tmp_path / "classes", labels=["neg", "pos"])
    TextClassification().networks.check_pair(tmp_path / "one", tmp_path / "one")
    with pytest.raises(ModelError, match="the task has none"):
        TextClassification().networks.check_pair(tmp_path / "classes", tmp_path / "one")
