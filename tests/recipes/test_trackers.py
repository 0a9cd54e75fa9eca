"""A run that tells three trackers at once, and what each of them can be asked afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from other_processes import PATIENCE_S
from recipes.small_run import recipe, written

from kd2deploy.errors import RecipeError
from kd2deploy.recipe import Recipe
from kd2deploy.train.trackers import FOLDER, PACKAGES, absent

pytestmark = pytest.mark.recipe

TRACKERS = [name for name in PACKAGES if not absent(name)]
TERMS = {"loss", "term.soft", "term.task", "learning_rate", "validation accuracy"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, made from the command line as a user does."""
    assert set(TRACKERS) == set(PACKAGES), "the test extra brings all trackers"
    folder = tmp_path_factory.mktemp("tracked")
    file = written(folder, report_to=TRACKERS, control=False, measurement={"processes": 3, "cap_s": 1, "block_s": 0.02})
    command = [sys.executable, "-m", "kd2deploy", "compress", str(file), "--out", str(folder / "mine")]
    # whatever the machine's owner is logged in to stays out of it
    owned = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "MLFLOW_"))}
    own = {"WANDB_MODE": "offline", "WANDB__SERVICE_WAIT": str(int(PATIENCE_S))}
    done = subprocess.run(command, capture_output=True, text=True, env={**owned, **own}, check=False)
    assert done.returncode in (0, 1, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert "mlflow" not in done.stderr, "trackers' own lines stay off the terminal"
    return folder / "mine"


def stages(run: Path) -> set[str]:
    return {place.name for place in (run / "stages").iterdir() if place.name.startswith(("student-seed", "teacher"))}


def test_tensorboard_holds_a_run_per_training_and_the_report(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run / FOLDER / "tensorboard"
    assert {place.name for place in folder.iterdir()} == {*stages(run), "verdict-cpu"}
    (student,) = folder.glob("student-seed0-*")
    events = EventAccumulator(str(student))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= TERMS
    scores = events.Scalars("validation accuracy")
    assert [event.step for event in scores] == [9, 18, 27, 36]
    assert all(0 <= event.value <= 1 for event in scores)
    verdict = EventAccumulator(str(folder / "verdict-cpu"))
    verdict.Reload()
    assert "gate/max_drop" in verdict.Tags()["scalars"]
    report = verdict.Tensors("report/text_summary")[0].tensor_proto.string_val[0].decode()
    assert report == (run / "report.md").read_text()


def test_mlflow_holds_a_run_per_training_with_its_settings_and_the_pages(run: Path) -> None:
    """Read in a process of its own: the store is set for the whole library, and it warns of its own parts."""
    code = """
import sys, json, mlflow
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}")
runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
print(json.dumps({run.info.run_name: [run.data.params, run.data.metrics, run.data.tags,
    [one.path for one in mlflow.MlflowClient().list_artifacts(run.info.run_id)]] for run in runs}))
"""
    database = str(run / FOLDER / "mlflow.db")
    done = subprocess.run([sys.executable, "-c", code, database], capture_output=True, text=True, check=True)
    import json

    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {*stages(run), "verdict-cpu"}
    params, metrics, _, _ = found[next(name for name in found if name.startswith("student"))]
    assert (params["method"], params["epochs"]) == ("logit", "4.0")
    assert set(metrics) >= TERMS
    _, metrics, tags, artifacts = found["verdict-cpu"]
    assert "gate/max_drop" in metrics
    assert tags["verdict"].startswith(("PASS", "FAIL", "INCONCLUSIVE"))
    assert sorted(artifacts) == ["report.html", "report.md"]


def test_wandb_holds_offline_runs_that_can_be_synced(run: Path) -> None:
    files = sorted((run / FOLDER / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == len(stages(run)) + 1
    whole = b"".join(file.read_bytes() for file in files)
    for name in (*TERMS, *stages(run), "verdict-cpu", "gate/max_drop"):
        assert name.encode() in whole, name
    assert len(list((run / FOLDER / "wandb").glob("offline-run-*/files/media/html/*.html"))) == 1


def test_turning_a_tracker_off_trains_nothing_anew(run: Path) -> None:
    from kd2deploy.flows.compress import compress

    before = {place: place.stat().st_mtime_ns for place in (run / "stages").iterdir()}
    file = run.parent / "recipe.yaml"
    quieter = Recipe.parse(recipe(run.parent, control=False, measurement={"processes": 3, "cap_s": 1, "block_s": 0.02}))
    assert "report_to" in file.read_text()
    compress(quieter, run)
    assert {place: place.stat().st_mtime_ns for place in (run / "stages").iterdir()} == before


def test_a_server_that_is_not_there_is_one_line_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, as MLflow remembers its server; 9 is the port that discards."""
    code = """
import sys
from pathlib import Path
from kd2deploy.errors import TrackError
from kd2deploy.train.trackers import Trackers
try:
    with Trackers(("mlflow",), Path(sys.argv[1])).training("student-seed0", {}):
        print("trained")
except TrackError as error:
    print(error)
"""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the tracker mlflow failed: ")
    assert "report_to" in done.stdout


def test_a_tracker_that_there_is_not_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RecipeError, match=r"report_to\[0\].*'tensorboard', 'wandb' or 'mlflow'"):
        Recipe.parse(recipe(tmp_path, report_to=["wandbb"]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"report_to\[0\]: wandb is not installed; pip install wandb"):
        Recipe.parse(recipe(tmp_path, report_to=["wandb"]))
