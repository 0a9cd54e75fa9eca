"""Run folders: reuse, continuation after a kill, locks, damage and full disks."""

import errno
import json
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from other_processes import PATIENCE_S

from kd2deploy.core.fingerprint import LAYOUT
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import RunError
from kd2deploy.run import SCRATCH, Done, Run, Stage, fingerprint, readable_os_errors, write_json

Values = Mapping[str, Any]


def count(spec: Values, inputs: Values, folder: Path, tell: Watcher) -> Values:
    """A stage's work that tells how often it was begun in its folder."""
    marks = folder / "marks"
    marks.write_text(marks.read_text() + "x" if marks.exists() else "x")
    return {"path": str(folder / "marks"), "times": len(marks.read_text())}


def interrupted(spec: Values, inputs: Values, folder: Path, tell: Watcher) -> Values:
    count(spec, inputs, folder, tell)
    raise KeyboardInterrupt


def handing(spec: Values, inputs: Values, folder: Path, tell: Watcher) -> Values:
    (folder / SCRATCH / "kd2deploy-x").mkdir(parents=True)
    (folder / SCRATCH / "kd2deploy-x" / "feed.npz").write_text("an evaluation input")
    return {}


def told(spec: Values, inputs: Values, folder: Path, tell: Watcher) -> Values:
    """Shows what it is given."""
    return {"spec": spec, "inputs": inputs}


def never(result: Values) -> bool:
    return False


def above_two(result: Values) -> bool:
    return bool(result["times"] > 2)


def stage_of(
    name: str = "one", spec: Values | None = None, parents: Values | None = None, work: str = "count"
) -> Stage:
    return Stage(name, spec or {}, parents or {}, f"{__name__}.{work}")


def done(run: Run, *about: Any, **more: Any) -> Done:
    return run.carry_out(stage_of(*about, **more), Silent())


def test_an_equal_stage_is_reused_and_a_changed_one_is_not(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked():
        first = done(run, "one", {"a": 1}, {})
        again = done(run, "one", {"a": 1}, {})
        other = done(run, "one", {"a": 2}, {})
        child = done(run, "one", {"a": 1}, {"parent": other.sha256})
    assert (first.reused, again.reused, other.reused, child.reused) == (False, True, False, False)
    assert again.sha256 == first.sha256
    assert again.result == first.result
    assert Path(again.result["path"]).read_text() == "x"


def test_the_log_says_what_is_made_and_why_and_what_is_reused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, name = Run(tmp_path), "export-cpu"
    caplog.set_level("INFO", logger="kd2deploy")
    with run.locked():
        first = done(run, name, {"a": 1, "b": 1}, {"student": "x"})
        done(run, name, {"a": 1, "b": 1}, {"student": "x"})
        done(run, name, {"a": 2, "b": 1}, {"student": "y"})
        done(run, "export-cpu-2", {}, {})
    told = [record.getMessage() for record in caplog.records if " took " not in record.getMessage()]
    assert told[0] == f"{name} is made in {first.folder}: it was not done before"
    assert told[1] == f"{name} is reused from {first.folder}"
    assert told[2].endswith(": other than before: a, student")
    assert told[3].endswith(": it was not done before")


class Heard(Silent):
    """A watcher that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_stages_of_another_layout_are_made_anew_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    for layout, expected in ((LAYOUT - 1, []), (LAYOUT, ["2 finished stages here are of another state of kd2deploy"])):
        for module in ("kd2deploy.core.fingerprint", "kd2deploy.run"):
            monkeypatch.setattr(f"{module}.LAYOUT", layout)
        run = Run(tmp_path)
        with run.locked():
            found = [run.carry_out(stage_of(name), heard) for name in ("one", "two")]
        assert [one.reused for one in found] == [False, False]
        assert [line.partition(":")[0] for line in heard.said] == expected
    with Run(tmp_path).locked() as again:
        assert again.carry_out(stage_of("one"), heard).reused
    assert len(heard.said) == 1


def test_a_stage_that_was_cut_short_is_logged_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)
    caplog.set_level("INFO", logger="kd2deploy")
    with run.locked():
        run.carry_out(replace(stage_of(), keeps=f"{__name__}.never"), Silent())
        done(run)
    assert "cut short" in caplog.records[2].getMessage()


def test_a_killed_stage_continues_in_its_own_folder(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked():
        with pytest.raises(KeyboardInterrupt):
            done(run, work="interrupted")
        stage = done(run)
    assert stage.result["times"] == 2
    assert not list((tmp_path / "stages").glob(".*.partial"))


class Killed(BaseException):
    """What a kill is to a program: nothing after it runs."""


def killed(*_: object) -> None:
    raise Killed


@pytest.mark.parametrize(("instant", "times"), [("kd2deploy.run.rename", 1), ("pathlib.Path.replace", 2)])
def test_a_stage_that_was_killed_after_its_work_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: str, times: int
) -> None:
    with Run(tmp_path).locked() as run:
        with monkeypatch.context() as moment:
            moment.setattr(instant, killed)
            with pytest.raises(Killed):
                done(run)
        stage = done(run)
        again = done(run)
    assert stage.result["times"] == times
    assert again.reused
    assert again.result == stage.result
    assert {file.name for file in stage.folder.iterdir()} == {"marks", "stage.json"}


@pytest.mark.parametrize("left", ['{"half": ', "{}", '{"sha256": "of something else", "result": {}, "seconds": 0}'])
def test_a_record_that_does_not_hold_is_no_part_of_the_stage(tmp_path: Path, left: str) -> None:
    mark = fingerprint("one", {}, {})[:12]
    partial = tmp_path / "stages" / f".one-{mark}.partial"
    partial.mkdir(parents=True)
    (partial / "stage.json").write_text(left)
    with Run(tmp_path).locked() as run:
        stage = done(run)
        again = done(run)
    assert stage.result["times"] == 1
    assert again.reused


def test_what_processes_hand_each_other_is_no_part_of_a_stage_and_outlives_no_kill(tmp_path: Path) -> None:
    with Run(tmp_path).locked() as run:
        stage = done(run, work="handing")
        again = done(run, work="handing")
    assert again.reused
    assert [file.name for file in stage.folder.iterdir()] == ["stage.json"]
    left = tmp_path / "stages" / ".other-0123456789ab.partial"
    handing({}, {}, left, Silent())
    (left / "checkpoint").mkdir()
    with Run(tmp_path).locked():
        assert [path.name for path in left.iterdir()] == ["checkpoint"], "of another recipe, and kept but for inputs"


def test_a_result_that_is_not_worth_keeping_is_made_again(tmp_path: Path) -> None:
    with Run(tmp_path).locked() as run:
        first, second, third, fourth = (
            run.carry_out(replace(stage_of(), keeps=f"{__name__}.above_two"), Silent()) for _ in range(4)
        )
    assert [stage.result["times"] for stage in (first, second, third, fourth)] == [1, 2, 3, 3]
    assert [stage.reused for stage in (first, second, third, fourth)] == [False, False, False, True]
    assert Path(third.result["path"]).is_file()


def test_work_is_given_plain_values_as_another_process_would_be(tmp_path: Path) -> None:
    stage = Stage("one", {"sizes": (1, 2)}, {}, f"{__name__}.told", {"at": (3,)})
    with Run(tmp_path).locked() as run:
        assert run.carry_out(stage, Silent()).result == {"spec": {"sizes": [1, 2]}, "inputs": {"at": [3]}}
        with pytest.raises(TypeError, match="JSON"):
            run.carry_out(replace(stage, name="other", inputs={"at": Path()}), Silent())


def test_a_run_that_was_moved_is_still_reused(tmp_path: Path) -> None:
    with Run(tmp_path / "a").locked() as run:
        done(run)
    (tmp_path / "a").rename(tmp_path / "b")
    with Run(tmp_path / "b").locked() as run:
        stage = done(run)
    assert stage.reused
    assert Path(stage.result["path"]).is_relative_to(tmp_path / "b")


def test_changed_outputs_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked():
        stage = done(run)
        (stage.folder / "marks").write_text("forged")
        with pytest.raises(RunError, match="was changed after"):
            done(run)


def test_a_forged_record_is_refused(tmp_path: Path) -> None:
    """It says what opens the stage's files, so it is checked as they are."""
    run = Run(tmp_path)
    with run.locked():
        stage = done(run)
        file = stage.folder / "stage.json"
        found = json.loads(file.read_text())
        for changed in ({"result": {**found["result"], "opened_by": "subprocess.getoutput"}}, {"seconds": 0}, {"a": 1}):
            file.write_text(json.dumps({**found, **changed}))
            with pytest.raises(RunError, match="was changed after"):
                done(run)
        file.write_text(json.dumps({key: value for key, value in found.items() if key != "record_sha256"}))
        with pytest.raises(RunError, match="was changed after"):
            done(run)


def test_a_name_that_is_no_text_is_refused_before_any_work(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    with pytest.raises(RunError, match="no name in UTF-8"), Run(folder).locked():
        raise AssertionError("it was held")
    assert not folder.exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] can't allocate memory: you tried")])
def test_used_up_memory_is_one_line(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(RunError, match="ran out of memory"), Run(tmp_path).locked():
        raise error


def test_a_damaged_record_is_refused_with_the_remedy(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with run.locked():
        stage = done(run)
        (stage.folder / "stage.json").write_text('{"half": ')
        with pytest.raises(RunError, match="delete its folder"):
            done(run)


def test_a_folder_is_held_by_one_run(tmp_path: Path) -> None:
    with Run(tmp_path).locked(), pytest.raises(RunError, match="another kd2deploy is at work"), Run(tmp_path).locked():
        raise AssertionError("two runs held one folder")


def test_a_stage_that_somebody_works_on_is_waited_for_and_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stages").mkdir()
    working, waiting, go_on = threading.Event(), threading.Event(), threading.Event()

    def slow(*given: Any) -> Values:
        working.set()
        assert go_on.wait(PATIENCE_S)
        return count(*given)

    monkeypatch.setattr(f"{__name__}.told", slow)

    def heard(name: str, state: str) -> None:
        if state == "waiting":
            waiting.set()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(done, Run(tmp_path), work="told")
        assert working.wait(PATIENCE_S)
        other = pool.submit(done, Run(tmp_path, heard), work="told")
        another = done(Run(tmp_path), "another")
        assert waiting.wait(PATIENCE_S)
        go_on.set()
        found = [one.result(PATIENCE_S), other.result(PATIENCE_S)]
    assert [stage.reused for stage in (*found, another)] == [False, True, False]
    assert found[0].sha256 == found[1].sha256
    assert found[1].result["times"] == 1
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == sorted(
        stage.folder.name for stage in (found[0], another)
    )


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EROFS, "cannot be written"),
        (errno.EACCES, "mend its rights"),
        (errno.EEXIST, "another folder"),
    ],
)
def test_the_systems_refusals_become_readable(tmp_path: Path, number: int, word: str) -> None:
    with pytest.raises(RunError, match=word), readable_os_errors(tmp_path):
        raise OSError(number, "no", str(tmp_path))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written_does_not_ask_for_another_out(tmp_path: Path, number: int) -> None:
    with pytest.raises(RunError) as caught, readable_os_errors(tmp_path / "run"):
        raise OSError(number, "no", str(tmp_path / "cache" / "reuters"))
    assert str(tmp_path / "cache") in str(caught.value)
    assert "KD2DEPLOY_CACHE" in str(caught.value)
    assert "--out" not in str(caught.value)


@pytest.mark.parametrize("words", ["I/O error: No space left on device (os error 28)", "unexpected pos 64 vs 0"])
def test_writers_that_raise_their_own_errors_are_read_too(tmp_path: Path, words: str) -> None:
    with pytest.raises(RunError, match="is full"), readable_os_errors(tmp_path):
        raise RuntimeError(words)


def test_other_system_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), readable_os_errors(tmp_path):
        tmp_path.read_text()


def test_the_fingerprint_depends_on_everything_it_should() -> None:
    base = fingerprint("a", {"x": 1}, {"p": "1"})
    assert base == fingerprint("a", {"x": 1}, {"p": "1"})
    assert (
        len(
            {
                base,
                fingerprint("b", {"x": 1}, {"p": "1"}),
                fingerprint("a", {"x": 2}, {"p": "1"}),
                fingerprint("a", {"x": 1}, {"p": "2"}),
            }
        )
        == 4
    )


@pytest.mark.parametrize("method", ["my_methods.mine", {"use": "my_methods.mine"}, ["logit", "my_methods.mine"]])
def test_another_source_behind_a_dotted_name_is_another_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_methods", raising=False)  # another test may have imported one of that name
    spec = {"trainings": [{"method": method}]}
    source = tmp_path / "my_methods.py"
    marks = []
    for text in ("def mine(): ...", "def mine(): ...", "def mine(): return 1"):
        source.write_text(text)
        marks.append(fingerprint("one", spec, {}))
    assert marks[0] == marks[1] != marks[2]


def test_another_network_in_a_methods_folder_is_another_stage(tmp_path: Path) -> None:
    spec = {"trainings": [{"method": {"use": "mate_kd", "generator": str(tmp_path)}}]}
    marks = [fingerprint("one", spec, {})]
    (tmp_path / "config.json").write_text("{}")
    for weights in ("a", "a", "b"):
        (tmp_path / "model.safetensors").write_text(weights)
        marks.append(fingerprint("one", spec, {}))
    assert marks[0] != marks[1] == marks[2] != marks[3]


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(file, {"a": float("nan")})
    assert json.loads(file.read_text()) == {"a": 1}


def test_another_pipeline_that_rows_are_made_with_is_another_stage(tmp_path: Path) -> None:
    spec = {"made": {"use": "kd2deploy.stages.bank.made_bank", "variation": str(tmp_path)}}
    (tmp_path / "model_index.json").write_text("{}")
    marks = []
    for weights in ("a", "a", "b"):
        (tmp_path / "unet.safetensors").write_text(weights)
        marks.append(fingerprint("one", spec, {}))
    assert marks[0] == marks[1] != marks[2]
