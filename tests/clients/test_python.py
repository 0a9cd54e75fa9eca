"""Python's clients of a bundle: transformers' pipeline, the card's own lines, and optimum with its own packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.served import FILES, Served, check

pytestmark = pytest.mark.clients
ASK = """
import json, pathlib
texts = json.loads(pathlib.Path("texts.json").read_text())
answers = []
for text in texts:
    (row,) = logits([text])
    parts = numpy.exp(row.astype("float64") - row.max())
    answers.append({"label": answer([text])[0], "probability": float(parts.max() / parts.sum())})
assert answer(texts) == [one["label"] for one in answers]
print(json.dumps(answers))
"""
OPTIMUM = """
import json, sys
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

folder, file, texts = sys.argv[1], sys.argv[2], json.loads(sys.stdin.read())
model = ORTModelForSequenceClassification.from_pretrained(folder, subfolder="onnx", file_name=file)
ask = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
answers = [ask([text], truncation=True)[0] for text in texts]
print(json.dumps({"opened": str(model.model_path), "answers": answers}))
"""


def test_the_pipeline_answers_as_judged(served: Served) -> None:
    from transformers import pipeline

    ask = pipeline("text-classification", model=str(served.folder))
    check(ask(served.texts, truncation=True), served, "fp32")
    check(ask(served.texts, truncation=True, batch_size=16), served, "fp32")


def test_the_cards_lines_answer_as_judged_with_what_the_card_names_alone(served: Served, tmp_path: Path) -> None:
    python = environment(tmp_path / "fresh", "--requirement", str(served.folder / "requirements.txt"))
    code = (served.folder / "serve.py").read_text() + ASK
    (tmp_path / "asked.py").write_text(code)
    texts = served.folder.parent / "texts.json"
    texts.write_text(json.dumps(served.texts))
    code = code.replace('"texts.json"', repr(str(texts)))
    done = subprocess.run([python, "-c", code], cwd=served.folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout.splitlines()[-1]), served, "q8")


@pytest.mark.parametrize("name", FILES)
def test_optimum_opens_the_file_it_is_asked_for_and_answers_as_judged(name: str, served: Served) -> None:
    python = os.environ.get("KD2DEPLOY_OPTIMUM")
    if python is None:
        pytest.skip("KD2DEPLOY_OPTIMUM names no Python that has optimum-onnx: it needs an older transformers than ours")
    file = Path(FILES[name]).name
    done = subprocess.run(
        [python, "-c", OPTIMUM, str(served.folder), file],
        input=json.dumps(served.texts),
        capture_output=True,
        text=True,
        timeout=600,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["opened"]) == served.folder / FILES[name]
    check(found["answers"], served, name)


def environment(place: Path, *packages: str) -> str:
    """The Python of a fresh environment with these packages and nothing of ours. Skips where no registry is reached."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=300)
    python = str(place / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", *packages]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    if "Could not find a version" in done.stderr and "Max retries" in done.stderr:
        pytest.skip("no package registry is reached from here")
    assert done.returncode == 0, done.stderr
    return python
