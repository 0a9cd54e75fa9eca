import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kd2deploy.cli import app
from kd2deploy.core.estimate import Estimate, estimate, needs
from kd2deploy.core.verdict import GateResult, Outcome, Verdict
from kd2deploy.errors import RunError
from kd2deploy.report import (
    SCHEMA_VERSION,
    ArtifactRecord,
    Curve,
    CurvePoint,
    Latency,
    LayerMap,
    Measurement,
    Report,
    thinned,
)
from kd2deploy.report.plots import accuracy_latency
from tests.report.example import example

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=12)
plain = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), numbers, words)
estimates = st.builds(Estimate, st.none() | numbers, st.none() | numbers, st.none() | numbers, words)
outcomes = st.sampled_from(Outcome)
roles = st.sampled_from(["teacher", "teacher_same_runtime", "control", "student", "variant"])
gate_results = st.builds(
    GateResult,
    words,
    st.sampled_from(["at_most", "at_least"]),
    numbers,
    st.sampled_from(["share", "points", "ratio", "ms", "mb", "number"]),
    estimates,
    outcomes,
    words,
)
timings = st.builds(
    Latency,
    median=estimates,
    p90=estimates,
    p99=estimates,
    samples=st.integers(0, 10**9),
    samples_ms=st.lists(numbers, max_size=3).map(tuple),
)
reports = st.builds(
    Report,
    title=words,
    verdict=st.none() | st.builds(Verdict, outcomes, words, st.lists(gate_results, max_size=2).map(tuple)),
    contenders=st.lists(
        st.builds(
            Measurement,
            words,
            roles,
            metric=st.none() | estimates,
            metrics=st.dictionaries(words, numbers, max_size=2),
            timing=st.none() | timings,
        ),
        max_size=2,
    ).map(tuple),
    curves=st.lists(
        st.builds(
            Curve,
            words,
            roles,
            st.lists(st.builds(CurvePoint, numbers, st.dictionaries(words, numbers, max_size=2)), max_size=2).map(
                tuple
            ),
        ),
        max_size=2,
    ).map(tuple),
    layer_map=st.none() | st.builds(LayerMap, words, st.lists(st.tuples(words, words), max_size=2).map(tuple)),
    lineage=st.lists(
        st.builds(ArtifactRecord, words, words, st.none() | words, details=st.dictionaries(words, plain, max_size=2)),
        max_size=2,
    ).map(tuple),
    machine=st.dictionaries(words, plain, max_size=3),
    seeds=st.lists(st.integers(0, 2**31), max_size=3).map(tuple),
)


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@settings(deadline=None)  # the first example builds the parser
@given(reports)
def test_a_report_survives_json(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report


def test_the_whole_example_survives_json_and_the_disk(tmp_path_factory: pytest.TempPathFactory) -> None:
    report = example()
    path = report.write(tmp_path_factory.mktemp("run") / "report.json")
    assert Report.read(path) == report
    json.loads(path.read_text(encoding="utf-8"), parse_constant=refused)


@given(st.none() | st.floats(), st.none() | st.floats(), st.none() | st.floats())
def test_figures_are_finite_whatever_was_measured(value: float | None, low: float | None, high: float | None) -> None:
    made = estimate(value, low, high)
    assert all(one is None or math.isfinite(one) for one in (made.value, made.low, made.high))
    endless = low is not None and high is not None and not math.isfinite(low) and not math.isfinite(high)
    if value is None:
        assert made.note == ""
    elif not math.isfinite(value):
        assert made.note == "not finite"
    else:
        assert made.note == ("too few for an interval" if endless else "")
    text = Report(
        "x", verdict=Verdict(Outcome.PASS, "", (GateResult("g", "at_most", 1.0, "ms", made, Outcome.PASS, ""),))
    ).to_json()
    json.loads(text, parse_constant=refused)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_when_writing(value: float) -> None:
    with pytest.raises(RunError, match="not finite"):
        Report("x", machine={"load": value}).to_json()


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"PASS"', '"PASSED"', "verdict.outcome"),
        ('"title"', '"titel"', "titel"),
        (f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99', "schema 99"),
        (
            f'"schema_version": {SCHEMA_VERSION}',
            '"schema_version": 1',
            f"schema 1, this version reads {SCHEMA_VERSION}",
        ),
        ('"seeds": []', '"seeds": ["one"]', "seeds.0"),
        ("}", "", "not a report"),
    ],
)
def test_a_report_changed_by_hand_is_refused_with_the_place(old: str, new: str, place: str) -> None:
    text = Report("x", verdict=Verdict(Outcome.PASS, "")).to_json()
    assert old in text
    with pytest.raises(RunError, match=place):
        Report.from_json(text.replace(old, new))


def test_an_edited_report_is_not_shown_as_a_verdict(tmp_path: Path) -> None:
    path = example(Outcome.FAIL).write(tmp_path / "report.json")
    assert Report.read_checked(path) == example(Outcome.FAIL)
    path.write_text(path.read_text(encoding="utf-8").replace('"FAIL"', '"PASS"'), encoding="utf-8")
    with pytest.raises(RunError, match="was changed after the run wrote it"):
        Report.read_checked(path)
    (tmp_path / "report.json.sha256").unlink()
    with pytest.raises(RunError, match=r"no readable report\.json\.sha256 beside it"):
        Report.read_checked(path)


@pytest.mark.parametrize("writes", range(3))
def test_a_kill_between_report_and_digest_leaves_a_verdict_that_is_shown(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = example(Outcome.FAIL).write(tmp_path / "report.json")
    left = iter(range(writes))

    def mortal(file: Path, text: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        file.write_text(text, encoding="utf-8")

    with monkeypatch.context() as moment:
        moment.setattr("kd2deploy.report.report.write_text", mortal)
        with pytest.raises(KeyboardInterrupt):
            example(Outcome.PASS).write(path)
    assert Report.read_checked(path) == example(Outcome.FAIL if writes < 2 else Outcome.PASS)


def test_the_command_refuses_an_edited_report_with_one_line_and_leaves_its_pages(tmp_path: Path) -> None:
    path = example(Outcome.FAIL).write(tmp_path / "report.json")
    assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 1
    page = (tmp_path / "report.html").read_bytes()
    path.write_text(path.read_text(encoding="utf-8").replace('"FAIL"', '"PASS"'), encoding="utf-8")
    refused = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert refused.exit_code == 2
    assert "was changed after the run wrote it" in " ".join(refused.output.split())
    assert "Traceback" not in refused.output
    assert (tmp_path / "report.html").read_bytes() == page


def test_a_missing_file_is_an_error_with_its_name(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(RunError, match=r"report\.json"):
        Report.read(tmp_path_factory.mktemp("none") / "report.json")


@given(st.lists(numbers, min_size=1, max_size=50), st.integers(2, 20))
def test_thinning_keeps_order_and_both_ends(samples: list[float], most: int) -> None:
    kept = thinned(samples, most)
    assert len(kept) == min(len(samples), most)
    assert list(kept) == sorted(kept)
    assert (kept[0], kept[-1]) == (min(samples), max(samples))


def test_a_percentile_without_enough_samples_says_what_it_needs() -> None:
    assert needs(6636) == Estimate(None, note="n/a (needs 6,636)")


def test_the_deployed_contender_and_the_first_of_a_role_are_found() -> None:
    report = example()
    assert report.deployed is not None
    assert report.deployed.name == "student, ONNX int8"
    control = report.first("control")
    assert control is not None
    assert control.name == "control, ONNX int8"
    assert Report("x").deployed is None


@pytest.mark.parametrize(("higher", "worst", "at"), [(True, "lowest", 91.43), (False, "highest", 93.43)])
def test_the_limit_of_the_metric_lies_on_its_worse_side(higher: bool, worst: str, at: float) -> None:
    """The teacher has 92.43 %, and a point may be lost."""
    report = example()
    assert report.task is not None
    drawn = accuracy_latency(replace(report, task=replace(report.task, higher_is_better=higher)))
    assert drawn is not None
    limits = {text.text: text.y for text in drawn.layout.annotations}
    assert limits[f"{worst} metric allowed"] == pytest.approx(at)
