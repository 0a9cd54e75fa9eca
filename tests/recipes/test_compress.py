"""The main job on a tiny model: every stage, the report, the bundle, reuse, and what happens when it is killed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from other_processes import PATIENCE_S, all_end, wait_until
from recipes.fields import EMPTY_HERE, empty
from recipes.small_run import recipe, written

from kd2deploy.errors import Kd2DeployError
from kd2deploy.flows.compress import Result, compress
from kd2deploy.recipe import Recipe

pytestmark = pytest.mark.recipe

COMMAND = [sys.executable, "-m", "kd2deploy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compress")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    (found,) = compress(Recipe.parse(recipe(folder)), folder / "run")
    return found


@pytest.fixture(scope="module")
def again(folder: Path, result: Result) -> Result:
    (found,) = compress(Recipe.parse(recipe(folder)), folder / "run")
    return found


@pytest.fixture(scope="module")
def failed(folder: Path, again: Result) -> Result:
    strict = recipe(folder, gates={"min_speedup": 1e9})  # beyond the widest interval of a busy machine too
    (found,) = compress(Recipe.parse(strict), folder / "run")
    compress(Recipe.parse(recipe(folder)), folder / "run")  # the folder's report is the first one's again
    return found


PLAN = {"plan": {"layers": [2, 1], "hidden": [32, 16], "candidates": 2, "static": [16]}}


@pytest.fixture(scope="module")
def planned(folder: Path) -> Result:
    """A run whose plan finds no candidate that can pass, and that was killed in it once."""
    gates = {"min_speedup": 10_000.0}
    file = written(folder, student=PLAN, gates=gates)
    killed_in(["kd2deploy.stages.plan.remove", "plan-cpu"], "compress", str(file), "--out", str(folder / "plan"))
    (found,) = compress(Recipe.parse(recipe(folder, student=PLAN, gates=gates)), folder / "plan")
    return found


def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, timeout=PATIENCE_S)


def test_the_report_says_what_was_measured_of_which_bytes(result: Result) -> None:
    report = result.report
    assert report.verdict is not None
    assert report.verdict.outcome in ("PASS", "INCONCLUSIVE")
    deployed = report.deployed
    assert deployed is not None
    assert deployed.timing is not None
    assert deployed.metric is not None
    onnx = result.bundle / "onnx" / "model.onnx"  # type: ignore[operator]
    assert hashlib.sha256(onnx.read_bytes()).hexdigest() == deployed.sha256
    roles = {contender.role for contender in report.contenders}
    assert roles >= {"teacher", "teacher_same_runtime", "control", "student", "variant"}
    assert {link.step for link in report.drop_chain} >= {"teacher", "student"}
    assert {curve.run for curve in report.curves} == {"teacher", "student, seed 0", "control, seed 0"}
    assert all(record.sha256 for record in report.lineage)
    for page in ("report.html", "report.md", "report.json"):
        assert (result.folder / page).stat().st_size > 1000


def test_no_field_of_a_report_is_filled_by_no_run(result: Result, failed: Result, planned: Result) -> None:
    lacking = empty(result.report, failed.report, planned.report)
    assert lacking == set(EMPTY_HERE), "fill it, delete it, or say why it may be empty"


def test_it_runs_again_without_doing_anything_again(again: Result, result: Result) -> None:
    assert all(stage.reused for stage in again.report.stages)
    assert again.report.verdict == result.report.verdict


def test_predict_and_plain_onnxruntime_answer_as_the_torch_student(folder: Path, result: Result) -> None:
    import onnxruntime
    from tokenizers import Tokenizer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = ["the film is good and fun", "a very dull plot", "not bad"]
    bundle = result.bundle
    assert bundle is not None
    student = AutoModelForSequenceClassification.from_pretrained(bundle).eval()
    read = AutoTokenizer.from_pretrained(bundle)
    theirs = [student(**read(text, return_tensors="pt")).logits.softmax(-1)[0].detach().numpy() for text in texts]
    done = run("predict", str(bundle), *texts)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(bundle / "onnx" / "model.onnx"), providers=["CPUExecutionProvider"])
    for text, answer, expected in zip(texts, answers, theirs, strict=True):
        ids = np.array([tokenizer.encode(text).ids])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        (logits,) = session.run(None, {port.name: feed[port.name] for port in session.get_inputs()})
        plain = np.exp(logits[0]) / np.exp(logits[0]).sum()
        np.testing.assert_allclose(plain, expected, atol=1e-4)
        assert answer["label"] == student.config.id2label[int(expected.argmax())]
        assert abs(answer["probability"] - expected.max()) < 1e-3


def test_the_cards_own_snippet_answers_as_the_torch_student(result: Result) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    assert result.bundle is not None
    texts = ["the film is good and fun", "a very dull plot", "not bad", "slow film " * 40]
    card = (result.bundle / "README.md").read_text()
    code = card.split("```python")[1].split("```")[0]
    assert "transformers" not in code
    code += f"\nprint(logits({texts!r}).tolist())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=result.bundle, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    read = AutoTokenizer.from_pretrained(result.bundle)(
        texts, padding=True, truncation=True, max_length=16, return_tensors="pt"
    )
    student = AutoModelForSequenceClassification.from_pretrained(result.bundle).eval()
    expected = student(**read).logits.detach().numpy()
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[-1]), expected, atol=1e-3)


def test_the_bundles_sums_hold(result: Result) -> None:
    assert result.bundle is not None
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=result.bundle, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_report_exits_as_the_run_did(result: Result) -> None:
    done = run("report", str(result.folder))
    assert done.returncode == result.exit_code, done.stderr
    assert result.report.verdict is not None
    assert result.report.verdict.outcome in done.stdout


def test_what_a_run_came_to_is_one_document_of_every_command_that_shows_it(folder: Path, result: Result) -> None:
    file = written(folder)
    told = json.loads(run("report", str(result.folder), "--json").stdout)
    assert told["verdict"]["outcome"] == result.outcome
    (trained,) = json.loads(run("distill", str(file), "--out", str(folder / "run"), "--json").stdout)["targets"]
    assert trained["outcome"] is None
    assert [Path(student) for student in trained["students"]] == list(result.students)
    whole = run("compress", str(file), "--out", str(folder / "run"), "--json")
    found = json.loads(whole.stdout)
    assert found["exit_code"] == whole.returncode == result.exit_code
    assert found["targets"][0]["bundle"] == str(result.bundle)


def test_an_impossible_gate_fails_with_the_whole_report(failed: Result) -> None:
    assert failed.exit_code == 1
    assert failed.report.findings
    assert (failed.folder / "report.html").exists()
    trained = {stage.name for stage in failed.report.stages if not stage.reused}
    assert not {name for name in trained if "seed" in name}, "nothing is trained again for another gate"


def test_the_plan_rejects_before_training_what_cannot_pass_also_when_it_was_killed(
    folder: Path, planned: Result
) -> None:
    assert planned.exit_code == 1
    assert {one.verdict for one in planned.report.candidates} == {"rejected"}
    assert not [stage for stage in planned.report.stages if "seed" in stage.name]
    file = written(folder, student=PLAN, gates={})
    done = run("plan", str(file), "--out", str(folder / "plan"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["targets"][0]["outcome"] is None
    (found,) = compress(Recipe.parse(recipe(folder, student=PLAN, gates={})), folder / "plan", until="plan")
    assert found.report.candidates[0].verdict == "chosen"
    table = found.report.candidates[-1]
    assert (table.name, table.verdict, table.shape) == ("static 16", "kept", {"dim": "16"})
    assert (table.parameters or 0) > 0


def state_of(folder: Path) -> dict[str, Any]:
    """What must be the same whether a run was killed or not: the trained weights."""
    return {
        stage.name.split("-")[0] + stage.name.split("-")[1]: hashlib.sha256(weights.read_bytes()).hexdigest()
        for stage in sorted((folder / "stages").glob("*seed*"))
        for weights in stage.rglob("model.safetensors")
    }


KILLED = """
import os, signal, sys, threading
from importlib import import_module

import kd2deploy.flows.compress
from kd2deploy.cli import main
from kd2deploy.run import Stage


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_in(instant):
    module, _, name = instant.rpartition(".")
    if module:
        setattr(import_module(module), name, die)
        return
    function = Stage.function

    def deadly(self):
        work = function(self)

        def work_and_die(*given):
            threading.Timer(0.2, die).start()
            work(*given)
            die()

        return work_and_die if self.name == instant else work

    Stage.function = deadly


for instant in sys.argv.pop(1).split():
    child = os.fork()
    if not child:
        die_in(instant)
        main()
    if os.waitpid(child, 0)[1] != signal.SIGKILL:
        sys.exit(f"no kill in {instant}")
"""
"""Runs the command once for each instant, and is killed in it: in a stage's work, or where a function is called."""


def killed_in(instants: list[str], *arguments: str) -> None:
    command = [sys.executable, "-c", KILLED, " ".join(instants), *arguments]
    with tempfile.TemporaryFile("w+") as said:  # not a pipe, which what the dead leave behind would hold open
        done = subprocess.run(command, stdout=said, stderr=said, timeout=2 * PATIENCE_S)
        said.seek(0)
        assert done.returncode == 0, said.read()


def test_killed_in_every_stage_the_same_command_ends_with_the_same_student(folder: Path, result: Result) -> None:
    file, killed = written(folder), folder / "killed"
    exports = ["convert-cpu", "convert-cpu-onnx", "export-cpu", "export-teacher-cpu"]
    stages = ["student", "student-seed0", "control-seed0", *exports, "measure-cpu"]
    after_training = ["kd2deploy.stages.training.rename", "kd2deploy.stages.training.remove", "kd2deploy.run.rename"]
    at_the_end = ["kd2deploy.stages.bundle.check", "kd2deploy.report.pages.render_html"]
    instants = ["look", "teacher", *after_training, *stages, *at_the_end]
    killed_in(instants, "compress", str(file), "--out", str(killed))
    (found,) = compress(Recipe.parse(recipe(folder)), killed)
    assert found.exit_code == result.exit_code
    assert found.bundle is not None
    assert state_of(killed) == state_of(folder / "run")
    assert not list((killed / "stages").glob(".*"))
    assert not list(killed.glob(".bundle*"))


def ended_when(appears: Callable[[], object], number: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and words of a command that is sent a signal once something appears; none of its workers is left."""
    command = [*COMMAND, *arguments]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, **environment})
        wait_until(appears, process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        code = process.wait(PATIENCE_S)
        assert all_end(workers)
        said.seek(0)
        return code, said.read()


def test_inputs_that_processes_hand_over_go_with_sigterm_and_with_the_next_start(folder: Path, result: Result) -> None:
    from kd2deploy.run import Run

    ended = folder / "ended"
    shutil.copytree(result.folder, ended)
    for stage in (ended / "stages").glob("measure-*"):
        shutil.rmtree(stage)
    command = ["compress", str(written(folder)), "--out", str(ended)]

    def handed() -> list[Path]:
        return list((ended / "stages").glob(".measure-*/.scratch/*/*"))

    code, said = ended_when(handed, signal.SIGTERM, *command)
    assert (code, said.strip().splitlines()[-1]) == (143, "terminated; the same command continues from here")
    assert not handed()
    code, said = ended_when(handed, signal.SIGKILL, *command)
    assert handed(), "nobody could clear away"
    with Run(ended).locked():
        assert not handed()


def test_a_command_without_a_run_leaves_no_inputs_at_sigterm(folder: Path, tmp_path: Path, result: Result) -> None:
    rows = ["--data", str(folder / "eval.csv"), "--text", "sentence"]

    def handed() -> list[Path]:
        return list(tmp_path.glob("kd2deploy-*/*"))

    code, said = ended_when(handed, signal.SIGTERM, "profile", str(result.bundle), *rows, TMPDIR=str(tmp_path))
    assert code == 143, said
    assert said.strip().splitlines()[-1] == "terminated; nothing is left half done, give the same command again"
    assert "Traceback" not in said
    assert not list(tmp_path.glob("kd2deploy-*"))


def test_two_runs_in_one_folder_are_kept_apart(folder: Path, result: Result) -> None:
    from kd2deploy.run import Run

    with Run(result.folder).locked():
        done = run("compress", str(written(folder)), "--out", str(result.folder))
    assert done.returncode == 2
    assert "another kd2deploy is at work" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_changed_artifact_is_refused(folder: Path, result: Result) -> None:
    copy = folder / "forged"
    shutil.copytree(result.folder, copy)
    exported = list((copy / "stages").glob("convert-cpu-*/**/*.onnx"))  # other tests' gates have left theirs here too
    assert exported
    for onnx in exported:
        whole = onnx.read_bytes()
        onnx.write_bytes(whole[:-1] + bytes([whole[-1] ^ 0xFF]))
    with pytest.raises(Kd2DeployError, match="was changed after"):
        compress(Recipe.parse(recipe(folder)), copy)


@pytest.mark.parametrize(
    ("name", "spoil", "word"),
    [
        ("empty", lambda text: "sentence,label\n", "row"),
        ("one class", lambda text: text.replace(",neg", ",pos"), "class"),
        ("no text", lambda text: text.replace("the film", "", 1) + ",pos\n", "row"),
        ("other columns", lambda text: text.replace("sentence,label", "review,label"), "sentence"),
    ],
)
def test_bad_data_gets_one_clear_message(folder: Path, tmp_path: Path, name: str, spoil: Any, word: str) -> None:
    base = recipe(folder)
    spoiled = tmp_path / "train.csv"
    spoiled.write_text(spoil((folder / "train.csv").read_text()))
    file = written(folder, data={**base["data"], "train": str(spoiled)})
    done = run("compress", str(file), "--out", str(tmp_path / "run"))
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.parametrize("fault", ["truncated", "pickle", "missing"])
def test_bad_weights_get_one_clear_message(folder: Path, tmp_path: Path, fault: str) -> None:
    teacher = tmp_path / "teacher"
    recipe(folder)
    shutil.copytree(folder / "encoder", teacher)
    weights = teacher / "model.safetensors"
    if fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        weights.rename(teacher / ("pytorch_model.bin" if fault == "pickle" else "elsewhere"))
    done = run("compress", str(written(folder, teacher={"from": str(teacher)})), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "safetensors" in done.stderr


def test_a_loss_that_is_not_finite_ends_with_one_message_and_keeps_the_rest(folder: Path, tmp_path: Path) -> None:
    changed = recipe(folder)
    changed["distill"] = [{**changed["distill"][0], "learning_rate": 1e30, "max_grad_norm": 0}]
    file = written(folder, distill=changed["distill"])
    done = run("compress", str(file), "--out", str(tmp_path / "run"))
    assert done.returncode == 2, done.stderr
    assert "finite" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "stages").glob("teacher-*")), "the teacher is kept"


def test_a_folder_that_cannot_be_written_is_refused(folder: Path) -> None:
    done = run("compress", str(written(folder)), "--out", "/proc/run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists() or os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_ends_with_one_message_and_continues_when_there_is_room(
    folder: Path, tmp_path: Path, result: Result
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this system lets nobody mount a small disk")
    try:
        done = run("compress", str(written(folder)), "--out", str(small / "run"))
        assert done.returncode == 2, done.stderr
        assert "full" in done.stderr
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        done = run("distill", str(written(folder)), "--out", str(small / "run"))
        assert done.returncode == 0, done.stderr
        assert state_of(small / "run") == state_of(folder / "run")
    finally:
        subprocess.run(["umount", str(small)], check=True)
