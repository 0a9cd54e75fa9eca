"""A whole compression of a speech network on a hundred tones that spell words: every stage is real."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from recipes.cards import by_card
from recipes.fields import filled
from tiny_speech import ALPHABET, RATE, SPECTRA, spelt, texts

from kd2deploy.flows.compress import Result, compress
from kd2deploy.recipe import Recipe

pytestmark = pytest.mark.recipe
for package in ("soundfile", "soxr", "jiwer"):
    pytest.importorskip(package, reason=f"{package} is not installed (extra speech)")


def write_rows(folder: Path, split: str, count: int, seed: int) -> Path:
    """A table of files beside it, and their transcripts."""
    lines = []
    for place, text in enumerate(texts(count, seed)):
        name = f"{split}-{place}.wav"
        (folder / name).write_bytes(spelt(text, seed + place))
        lines.append(json.dumps({"path": name, "said": text}))
    table = folder / f"{split}.jsonl"
    table.write_text("\n".join(lines) + "\n")
    return table


def parakeet(hidden: int) -> dict[str, Any]:
    return {"model_type": "parakeet_ctc", "encoder_config": {**SPECTRA, "hidden_size": hidden}}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("speech")
    training = {"learning_rate": 5e-3, "batch": 4, "checkpoint_every": 100}
    spec = {
        "task": {"use": "speech_ctc", "alphabet": ALPHABET, "sampling_rate": RATE},
        "data": {
            "use": "files",
            "train": str(write_rows(folder, "train", 96, seed=0)),
            "eval": str(write_rows(folder, "eval", 40, seed=1000)),
            "audio": "path",
            "label": "said",
        },
        "teacher": {"create": parakeet(32), "fine_tune": {"epochs": 6, **training}},
        "student": {"create": parakeet(16)},
        "distill": [{"method": {"use": "inter_kd", "soft": 0.3}, "epochs": 6, **training}],
        "control": False,
        "targets": ["cpu"],
        "variants": ["onnx", "onnx-int8"],
        "measurement": {"processes": 3, "cap_s": 2, "block_s": 0.02},
        "gates": {"max_drop": 2.0},
    }
    (found,) = compress(Recipe.parse(spec), folder / "run")
    return found


def test_speech_is_distilled_exported_measured_and_judged(result: Result) -> None:
    report = result.report
    assert report.verdict is not None
    assert report.task is not None
    assert (report.task.metric, report.task.higher_is_better) == ("wer", False)
    deployed = report.deployed
    assert deployed is not None
    assert set(deployed.metrics) == {"wer", "cer", "exact"}
    assert deployed.metric is not None
    assert deployed.metric.low is not None
    assert {floor.name for floor in report.floors} >= {"silence"}
    assert {"onnx", "onnx-int8"} & {contender.name for contender in report.contenders}


def test_a_teacher_learns_to_spell_tones(result: Result) -> None:
    teacher = next(one for one in result.report.contenders if one.role == "teacher")
    assert teacher.metrics["cer"] < 0.3, "what says nothing gets 1"


def test_the_rows_that_changed_most_are_shown_with_their_errors(result: Result) -> None:
    found = result.report.examples
    assert found, "a student of half the width says other words than its teacher"
    assert all(one.before != one.after for one in found)
    assert any(" > " in said for one in found for said in (one.before, one.after))
    assert "examples.after" in filled(result.report)
    page = (result.folder / "report.html").read_text()
    assert "whose answers changed most" in page


def test_heads_are_not_deployed(result: Result) -> None:
    from safetensors import safe_open

    assert result.bundle is not None
    with safe_open(result.bundle / "model.safetensors", framework="np") as weights:
        names = list(weights.keys())
    assert names
    assert not [name for name in names if "branches" in name or name.startswith("heads")]


@pytest.mark.parametrize("variant", ["onnx", "onnx-int8"])
def test_plain_onnxruntime_with_the_cards_own_code_gives_the_reports_score(result: Result, variant: str) -> None:
    import jiwer

    assert result.bundle is not None
    folder = result.folder.parent
    rows = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    clips = [folder / row["path"] for row in rows]
    each = "for path in sys.argv[1:]:\n    print(answer(path))"
    heard = by_card(result.bundle, variant, 'print(answer("speech.wav"))', each, *clips)
    right = [row["said"] for row in rows]
    (told,) = (one.metrics for one in result.report.contenders if one.name == variant)
    assert told["cer"] < 0.5, "what says nothing gets 1"
    assert jiwer.wer(right, heard) == pytest.approx(told["wer"], abs=1e-9)
    assert jiwer.cer(right, heard) == pytest.approx(told["cer"], abs=1e-9)


def test_predict_writes_down_what_is_said(result: Result) -> None:
    from kd2deploy.exporters.bundle import read_bundle

    assert result.bundle is not None
    clips = [result.folder.parent / f"eval-{place}.wav" for place in range(4)]
    asked = [sys.executable, "-m", "kd2deploy", "predict", str(result.bundle), *map(str, clips)]
    answered = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert answered.returncode == 0, answered.stderr
    bundle = read_bundle(result.bundle)
    prepare, heard = bundle.reader.preparing(result.bundle), []
    with bundle.open() as session:
        for clip in clips:
            heard += bundle.task.metric.answer(session.run(prepare([bundle.task.reader.row(str(clip))])))
    assert [json.loads(line)["transcript"] for line in answered.stdout.splitlines()] == [
        one["transcript"] for one in heard
    ]


def test_latency_is_told_per_second_of_audio(result: Result) -> None:
    report = result.report
    assert report.task is not None
    assert (report.task.counted_in, report.task.unit_of_size) == ("seconds of audio", "second of audio")
    timed = [one.timing for one in report.contenders if one.timing]
    assert timed
    assert all(timing.per_unit is not None for timing in timed)
    assert "Real-time factor" in (result.folder / "report.html").read_text()
