"""Multi-label text classification: networks, what each method makes of it, thresholds, answers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from other_processes import PATIENCE_S
from tiny_models import SEVERAL, save_encoder
from tiny_models import save_several as save

from kd2deploy.core import Artifact, build_task
from kd2deploy.core.serving import code_that_opens
from kd2deploy.core.step import counted_logits
from kd2deploy.errors import ModelError
from kd2deploy.networks.labels import MULTI, SINGLE
from kd2deploy.stages.job import TORCH_SESSION
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.tasks.text_multilabel import TextMultilabel
from kd2deploy.train.checkpoint import with_head
from kd2deploy.train.student import Trim, shrink
from kd2deploy.train.teacher_cache import TeacherCache

LABELS = list(SEVERAL)
ROWS: list[dict[str, Any]] = [
    {"text": "a good plot", "label": ["plot"], "index": 0},
    {"text": "the film was slow, not fun", "label": [0, 1, 1], "index": 1},
    {"text": "fine", "label": None, "index": 2},
    {"text": "very fine", "label": [], "index": 3},
]


def test_task_is_rebuilt_from_its_spec(tmp_path: Path) -> None:
    task = TextMultilabel(LABELS, 17, "macro_f1", threshold=0.3, separator="|")
    assert build_task(task.spec()).spec() == task.spec()
    chosen = TextMultilabel(LABELS, chosen=0.2).at(save(tmp_path))
    assert (chosen.metric.threshold, len(chosen.inputs), chosen.spec()["max_length"]) == (0.2, 3, 66)
    assert json.loads(json.dumps(chosen.spec())) == chosen.spec()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"labels": ["a"]}, "two different names"),
        ({"labels": ["a", "a"]}, "two different names"),
        ({"labels": LABELS, "metric": "accuracy"}, "micro_f1, macro_f1, average_precision, subset_accuracy"),
        ({"labels": LABELS, "threshold": 1.0}, "threshold is a probability"),
        ({"labels": LABELS, "max_length": 0}, "max_length"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TextMultilabel(**arguments)


# networks -----------------------------------------------------------------------------------------------------------


def test_each_label_is_shown_as_no_and_yes_of_its_own(tmp_path: Path) -> None:
    task = TextMultilabel(LABELS).at(save(tmp_path))
    net = task.networks.load(tmp_path)
    batch = task.reader.collate(task.reader.encode(ROWS, tmp_path))
    seen = task.networks.observe(net, batch, needs=frozenset({"embedding"}))
    (deployed,) = task.networks.deployed(net)(
        *(torch.from_numpy(one) for one in task.reader.feed(task.reader.encode(ROWS, tmp_path)).values())
    )
    torch.testing.assert_close(seen.logits.softmax(-1)[..., 1], deployed.sigmoid())
    assert batch["labels"].tolist() == [[1, 0, 0], [0, 1, 1], [-100] * 3, [0, 0, 0]]
    truth = batch["labels"][[0, 1, 3]].float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(deployed[[0, 1, 3]], truth)
    torch.testing.assert_close(seen.loss, expected)
    assert seen.embedding is not None
    torch.testing.assert_close(task.networks.head(net)(seen.embedding), deployed)


def test_as_many_labels_as_positions_are_still_no_positions(tmp_path: Path) -> None:
    task = TextMultilabel(LABELS).at(save(tmp_path))
    batch = {"input_ids": torch.tensor([[2, 5, 3], [2, 3, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    seen = task.networks.observe(task.networks.load(tmp_path), batch)
    assert seen.mask is not None
    assert seen.logits.shape[:-1] == seen.mask.shape
    assert counted_logits(seen).shape == (6, 2)


def test_networks_of_another_kind_are_refused_by_name(tmp_path: Path) -> None:
    several, one, unsaid = save(tmp_path / "several"), save(tmp_path / "one", SINGLE), save(tmp_path / "unsaid", None)
    with pytest.raises(ModelError, match=r"multi_label_classification.*sigmoid.*text_multilabel"):
        TextClassification(LABELS).networks.load(several)
    with pytest.raises(ModelError, match=r"single_label_classification.*softmax.*text_classification"):
        TextMultilabel(LABELS).networks.load(one)
    with pytest.raises(ModelError, match="answers 3 classes"):
        TextMultilabel(["a", "b"]).networks.load(several)
    for task in (TextMultilabel(LABELS), TextClassification(LABELS)):
        task.networks.load(unsaid)


def test_pictures_of_several_labels_are_refused(tmp_path: Path) -> None:
    from tiny_models import save_image_net

    file = save_image_net(tmp_path) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "problem_type": MULTI}))
    with pytest.raises(ModelError, match="multi_label_classification"):
        ImageClassification(["zero", "one", "two"], channels=1, height=16, width=16).networks.load(tmp_path)


@pytest.mark.parametrize("made", ["cut", "head"])
def test_students_say_that_their_labels_do_not_exclude_each_other(made: str, tmp_path: Path) -> None:
    from transformers import pipeline

    teacher, task = save(tmp_path / "teacher", None), TextMultilabel(LABELS)
    if made == "cut":
        shrink(teacher, tmp_path / "student", task, Trim(layers=1))
    else:
        with_head(teacher, tmp_path / "student", task)
    net = task.networks.load(tmp_path / "student")
    assert net.config.problem_type == MULTI  # type: ignore[union-attr]
    served = pipeline("text-classification", model=str(tmp_path / "student"), top_k=None, device="cpu")
    found = {one["label"]: one["score"] for one in served(["a good plot"])[0]}
    (expected,) = task.metric.answer({"logits": logits_of(task, net, tmp_path / "student", ["a good plot"])})
    assert found == pytest.approx(expected["probabilities"], abs=1e-5)


def logits_of(task: Any, net: torch.nn.Module, folder: Path, texts: list[str]) -> Any:
    features = task.reader.encode([task.reader.row(text) for text in texts], folder)
    with torch.no_grad():
        (found,) = task.at(folder).networks.deployed(net)(
            *(torch.from_numpy(x) for x in task.at(folder).reader.feed(features).values())
        )
    return found.numpy()


def test_a_cached_teacher_answers_as_a_live_one(tmp_path: Path) -> None:
    task = TextMultilabel(LABELS, max_length=12).at(save(tmp_path))
    teacher = task.networks.load(tmp_path)
    features = task.reader.encode([row for row in ROWS for _ in range(3)], tmp_path)
    features = [{**row, "index": place} for place, row in enumerate(features)]
    cache = TeacherCache.open_or_fill(tmp_path / "cache", task, teacher, features, teacher_hash="one")
    batch = task.reader.collate(features)
    found = cache.lookup(batch["index"])
    with torch.no_grad():
        live = counted_logits(task.networks.observe(teacher, batch))
    torch.testing.assert_close(counted_logits(found), live, atol=1e-5, rtol=1e-4)


# judging ------------------------------------------------------------------------------------------------------------


def test_the_threshold_is_chosen_for_a_network_and_used_in_scores_and_answers() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0]])
    shy = {"logits": np.where(truth > 0, -1.0, -3.0)}
    rows = [{"label": hot.tolist()} for hot in truth]
    task = TextMultilabel(LABELS)
    assert task.metric.score(shy, rows).metrics["micro_f1"] == 0
    tuned = task.tuned(shy, rows)
    assert tuned.metric.choices()["threshold"] < 0.27
    assert tuned.metric.score(shy, rows).metrics["micro_f1"] == 1
    assert [one["labels"] for one in tuned.metric.answer(shy)] == [["plot"], ["fun", "slow"], [], ["plot", "fun"]]
    scores = tuned.metric.score(shy, rows)
    assert tuned.metric.at(scores.statistics, np.arange(4)) == 1
    assert task.metric.at(scores.statistics, np.arange(4)) == 1  # the margins carry the network's own threshold
    fixed = TextMultilabel(LABELS, threshold=0.5)
    assert not fixed.metric.chooses
    assert fixed.tuned(shy, rows) is fixed


def test_agreement_counts_labels_one_by_one() -> None:
    task = TextMultilabel(LABELS)
    one, other = np.array([[1.0, -1, 1], [2, 2, -2]]), np.array([[1.0, 1, 1], [2, 2, -2]])
    assert task.metric.agreement({"logits": one}, {"logits": other})["top1"] == pytest.approx(5 / 6)
    assert task.metric.agreement({"logits": one}, {"logits": one}) == {"top1": 1.0, "cosine": pytest.approx(1.0)}


def test_the_cards_code_answers_from_the_threshold_on(tmp_path: Path) -> None:
    task = TextMultilabel(LABELS, chosen=0.31).at(save(tmp_path))
    task.reader.write_as_judged(tmp_path)
    network = Artifact(tmp_path, "", TORCH_SESSION)
    code = task.snippet(code_that_opens(network, task.networks.auto, str(tmp_path)), tmp_path)
    texts = ["a good plot", "the film was slow, not fun", "fine", "very dull film " * 30]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json\nprint(json.dumps(answer({texts!r})))"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    answered = task.metric.answer({"logits": logits_of(task, task.networks.load(tmp_path), tmp_path, texts)})
    assert [sorted(one) for one in json.loads(done.stdout.splitlines()[-1])] == [
        sorted(one["labels"]) for one in answered
    ]
    assert any(one["labels"] for one in answered)


# one output, two classes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sign"), [("LABEL_0", 1), ("pos", 1), ("neg", -1)])
@pytest.mark.parametrize("problem_type", [None, MULTI])
def test_one_sigmoid_is_two_classes(name: str, sign: int, problem_type: str | None, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    save(tmp_path, problem_type, labels=[name])
    task = TextClassification(["neg", "pos"]).at(tmp_path)
    batch = task.reader.collate(task.reader.encode([task.reader.row("a good plot"), task.reader.row("slow")], tmp_path))
    score = AutoModelForSequenceClassification.from_pretrained(tmp_path)(
        **{key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
    ).logits[:, 0]
    net = task.networks.load(tmp_path)
    seen = task.networks.observe(net, batch, needs=frozenset({"embedding"}))
    torch.testing.assert_close(seen.logits.softmax(-1)[:, 1], torch.sigmoid(sign * score))
    assert seen.embedding is not None
    shrink(tmp_path, tmp_path / "student", task, Trim(layers=1))
    student = task.networks.load(tmp_path / "student")
    assert student.config.id2label == {0: "neg", 1: "pos"}  # type: ignore[union-attr]
    assert student.config.problem_type == SINGLE  # type: ignore[union-attr]
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": name}


def test_a_number_is_no_two_classes(tmp_path: Path) -> None:
    save(tmp_path, "regression", labels=["LABEL_0"])
    with pytest.raises(ModelError, match="answers 1 class"):
        TextClassification(["neg", "pos"]).networks.load(tmp_path)
    assert TextClassification().networks.load(tmp_path).config.num_labels == 1  # type: ignore[union-attr]


def test_a_teacher_of_one_output_and_its_student_are_a_pair(tmp_path: Path) -> None:

    save(tmp_path / "teacher", None, labels=["LABEL_0"])
    save_encoder(tmp_path / "student", labels=["neg", "pos"])
    TextClassification(["neg", "pos"]).networks.check_pair(tmp_path / "teacher", tmp_path / "student")
    with pytest.raises(ModelError, match="answers 1 class"):
        TextClassification(["a", "b", "c"]).networks.check_pair(tmp_path / "teacher", tmp_path / "student")
