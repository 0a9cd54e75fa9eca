"""A whole compression where a text may have several labels: what the words of the text are about."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_processes import PATIENCE_S
from recipes.fields import filled
from recipes.small_run import recipe
from tiny_models import WORDS

from kd2deploy.exporters.bundle import read_bundle
from kd2deploy.flows.compress import Result, compress
from kd2deploy.recipe import Recipe

pytestmark = pytest.mark.recipe

ABOUT = {"praise": ("good", "fine", "fun"), "blame": ("bad", "dull"), "pace": ("slow",), "story": ("plot",)}
FILLING = [word for word in WORDS if not word.startswith("##") and not any(word in about for about in ABOUT.values())]


def write_rows(file: Path, count: int, seed: int) -> Path:
    """Sentences, each with the labels of the words in it; one label in fifty is wrong."""
    drawn = random.Random(seed)
    with file.open("w") as stream:
        for _ in range(count):
            about = [label for label in ABOUT if drawn.random() < 0.35]
            words = [drawn.choice(ABOUT[label]) for label in about] + drawn.choices(FILLING, k=drawn.randint(2, 6))
            drawn.shuffle(words)
            said = [label for label in ABOUT if (label in about) != (drawn.random() < 0.02)]
            stream.write(json.dumps({"sentence": " ".join(words), "label": said}) + "\n")
    return file


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("several")
    changes: dict[str, Any] = {
        "task": {"use": "text_multilabel", "max_length": 16, "metric": "macro_f1"},
        "data": {
            "use": "files",
            "train": str(write_rows(folder / "train.jsonl", 320, seed=0)),
            "eval": str(write_rows(folder / "eval.jsonl", 120, seed=1)),
            "text": "sentence",
        },
        "variants": ["onnx", "onnx-int8"],
        "control": False,
    }
    whole = recipe(folder, **changes)
    whole["teacher"]["fine_tune"] |= {"epochs": 12, "learning_rate": 2e-3}
    (found,) = compress(Recipe.parse(whole), folder / "run")
    return found


def test_the_student_is_judged_by_sets_of_labels(result: Result) -> None:
    report = result.report
    assert report.verdict is not None
    assert report.verdict.outcome in ("PASS", "INCONCLUSIVE", "FAIL")
    deployed = report.deployed
    assert deployed is not None
    assert set(deployed.metrics) == {"micro_f1", "macro_f1", "average_precision", "subset_accuracy"}
    assert deployed.metric is not None
    assert deployed.metric.low is not None
    assert deployed.metric.low < deployed.metrics["macro_f1"] < (deployed.metric.high or 0)
    teacher = next(one for one in report.contenders if one.role == "teacher")
    assert teacher.metrics["average_precision"] > 0.6  # it learnt words: by chance it is the labels' share, 0.36
    assert set(deployed.classes) == set(deployed.by_class["F1"]) == set(ABOUT)
    assert "contenders.by_class" in filled(report)
    page = (result.folder / "report.html").read_text()
    assert "F1 per class" in page
    assert "threshold of the student" in page
    (drop,) = [gate for gate in report.verdict.gates if gate.name == "max_drop"]
    assert drop.estimate.low is not None


def test_the_bundle_answers_by_the_threshold_it_was_judged_at(result: Result) -> None:
    import onnxruntime
    from transformers import AutoTokenizer

    assert result.bundle is not None
    task = read_bundle(result.bundle).task
    threshold = task.metric.choices()["threshold"]
    assert threshold == pytest.approx(float(result.report.protocol["threshold of the student"] or 0))
    texts = ["a good film", "the plot was slow", "dull dull plot", "the"]
    done = subprocess.run(
        [sys.executable, "-m", "kd2deploy", "predict", str(result.bundle), *texts],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    read = AutoTokenizer.from_pretrained(result.bundle)
    session = onnxruntime.InferenceSession(str(result.bundle / "onnx" / "model.onnx"))
    names = {port.name for port in session.get_inputs()}
    for text, line in zip(texts, done.stdout.splitlines(), strict=True):
        feed = {name: value for name, value in read([text], return_tensors="np").items() if name in names}
        (logits,) = session.run(None, {name: value.astype(np.int64) for name, value in feed.items()})
        expected = dict(zip(task.labels, (1 / (1 + np.exp(-logits[0]))).tolist(), strict=True))  # type: ignore[attr-defined]
        answer = json.loads(line)
        assert answer["probabilities"] == pytest.approx(expected, abs=2e-2)  # the deployed file may be rounded
        assert set(answer["labels"]) == {name for name, share in answer["probabilities"].items() if share >= threshold}


def test_the_bundles_network_serves_sigmoids_in_a_pipeline(result: Result) -> None:
    from transformers import pipeline

    served = pipeline("text-classification", model=str(result.bundle), top_k=None, device="cpu")
    (found,) = served(["the plot was slow and good"])
    assert {one["label"] for one in found} == set(ABOUT)
    assert sum(one["score"] for one in found) != pytest.approx(1, abs=1e-3)
