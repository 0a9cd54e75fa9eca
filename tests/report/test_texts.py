"""The Markdown, the model card and the terminal."""

import io
import itertools
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from kd2deploy.core.device_times import DeviceTimes
from kd2deploy.core.estimate import Estimate, needs
from kd2deploy.core.verdict import Outcome, Verdict
from kd2deploy.measure.intervals import Interval
from kd2deploy.measure.intervals import shown as shown_figure
from kd2deploy.report import (
    UNSTEADY,
    ArtifactRecord,
    EndToEnd,
    Finding,
    Measurement,
    Report,
    TaskInfo,
    model_card,
    print_report,
    render_html,
    render_markdown,
    tables,
)
from kd2deploy.report.formats import with_interval
from kd2deploy.report.html import coded
from kd2deploy.report.markdown import escaped, fenced
from kd2deploy.report.notebook import notebook_html
from kd2deploy.report.sections import sections
from kd2deploy.report.tables import contenders, costs, facts, lineage
from kd2deploy.report.tables.table import Cell, told
from tests.report.example import HOSTILE, example, profile_alone

GITHUB = MarkdownIt("gfm-like", {"linkify": False})


def printed(report: Report, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_report(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def shown(html: str) -> str:
    """What a reader sees of a piece of HTML."""
    from html import unescape

    return unescape(re.sub(r"<[^>]+>", "", html))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_page_tells_the_verdict_before_anything_else(outcome: Outcome) -> None:
    report = example(outcome)
    assert report.verdict is not None
    for text in (render_markdown(report), printed(report, 200), model_card(report, "pass")):
        assert text.index(outcome) < text.index("91.81 %")
        assert report.verdict.sentence in text
    body = render_html(report).partition("<body>")[2]
    assert body.index('id="verdict"') < body.index('id="gates"') < body.index('id="comparison"')


def test_markdown_is_well_formed_and_shows_every_section() -> None:
    html = GITHUB.render(render_markdown(example()))
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert [section.title for section in sections(example())] == [shown(one) for one in headings[2:]]
    assert html.count("<table>") >= 12
    for table in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
        cells = {len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr>.*?</tr>", table, flags=re.DOTALL)}
        assert len(cells) == 1


def test_a_hostile_label_is_text_everywhere() -> None:
    markdown = GITHUB.render(render_markdown(example()))
    assert "<script" not in markdown
    assert HOSTILE in shown(markdown)
    assert "<script" not in GITHUB.render(model_card(example(), "pass"))
    assert "[red]" in printed(Report("x", findings=(Finding(HOSTILE),)))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1))
def test_any_text_is_shown_as_it_stands_in_a_table(text: str) -> None:
    html = GITHUB.render(f"| a |\n|---|\n| {escaped(text)}x |\n")
    cell = re.search(r"<td>(.*?)</td>", html, flags=re.DOTALL)
    assert cell is not None
    assert shown(cell.group(1)).split() == f"{' '.join(text.split())}x".split()


def test_a_fence_is_longer_than_the_backticks_in_its_text() -> None:
    assert fenced("a ``` b", "sh") == "````sh\na ``` b\n````"


def test_a_partial_report_leaves_its_missing_sections_out() -> None:
    titles = [section.title for section in sections(profile_alone())]
    assert titles == ["Accuracy and speed", "Latency", "Run it again"]
    assert sections(Report("empty")) == []
    assert "Gates" not in render_markdown(profile_alone())
    assert printed(Report("empty")) == ""
    assert '<div class="plot"' not in render_html(Report("empty"))
    assert "n/a (needs 662)" in printed(profile_alone())


def test_why_no_share_of_the_gap_is_stated_is_told() -> None:
    report = example()
    assert report.distillation is not None
    gap = Estimate(None, note="n/a (the teacher is no better than the control)")
    told = replace(report, distillation=replace(report.distillation, gap_closed=gap))
    assert "closed: n/a (the teacher is no better than the control)" in shown(GITHUB.render(render_markdown(told)))


def test_a_correlation_is_a_number_and_recall_a_share() -> None:
    told = replace(example(), task=TaskInfo("text_classification", "matthews", "number"))
    table = contenders(told)
    assert table is not None
    cells = dict(zip(table.head, table.rows[0], strict=True))
    assert "%" not in cells["matthews"].text
    assert cells["Lowest recall"].text.endswith(" %")


def test_the_least_and_the_processors_time_stand_beside_the_median() -> None:
    table = costs(example())
    assert table is not None
    assert table.head[1:3] == ("Least", "Processor time")
    assert all(cell.text.endswith(" ms") for row in table.rows for cell in row[1:3])


def test_a_devices_times_and_memory_are_shown_where_there_is_one() -> None:
    here = example()
    assert costs(here).head.count("On the device") == 0  # type: ignore[union-attr]
    first = here.contenders[0]
    assert first.timing is not None
    times = DeviceTimes(enqueue_ms=0.1, gpu_ms=1.5, compute_ms=1.62, copy_ms=0.2)
    there = replace(first, timing=replace(first.timing, device=times, peak_device_mb=220.25))
    table = costs(replace(here, contenders=(there, *here.contenders[1:])))
    assert table is not None
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert (row["On the device"].text, row["On the device"].under) == ("1.50 ms", "issued in 0.100 ms, copies 0.200 ms")
    assert row["Device memory"].text == "220 MB"


def test_a_baseline_is_not_called_a_teacher() -> None:
    report = example()
    renamed = {"teacher": "baseline", "teacher_same_runtime": "baseline_same_runtime"}
    others = tuple(replace(one, role=renamed.get(one.role, one.role)) for one in report.contenders)  # type: ignore[arg-type]
    apart = replace(report, contenders=others)
    assert apart.before is others[0]
    told = [f"{fact.label} {fact.under}" for fact in facts(apart)]
    assert any("faster than the eager PyTorch baseline" in line for line in told)
    assert not any("teacher" in line for line in told)
    assert "baseline, eager" in render_markdown(apart)


def test_no_page_says_the_outcome_twice_in_a_row() -> None:
    sentence = "INCONCLUSIVE: 4.10x [3.90, 4.30] faster (4x asked)"
    report = replace(example(), verdict=Verdict(Outcome.INCONCLUSIVE, sentence))
    pages = render_markdown(report), model_card(report, "pass"), render_html(report), notebook_html(report)
    for page in pages:
        words = re.findall(r"[A-Z]{4,}|4\.10x", shown(page).replace("\\", ""))
        assert not any(one == other == "INCONCLUSIVE" for one, other in itertools.pairwise(words)), page[:500]


def test_an_invalid_run_without_any_figure_still_makes_every_page() -> None:
    report = Report(
        "x",
        verdict=Verdict("INVALID", "The provider fell back.", reasons=("asked CUDA, got CPU",)),
        contenders=(Measurement("student", "student", deployed=True),),
    )
    for text in (render_html(report), render_markdown(report), printed(report), model_card(report, "pass")):
        assert "The provider fell back." in text
    assert "asked CUDA, got CPU" in render_html(report)


def test_the_model_card_holds_the_snippet_the_files_and_the_hash() -> None:
    card = model_card(
        example(), "session = open()\n", name="tickets", license="apache-2.0", files={"model.onnx": "net"}
    )
    assert card.split("---\n\n", 1)[1].startswith("# tickets\n")
    assert "```python\nsession = open()\n```" in card
    assert "apache\\-2.0" in card or "apache-2.0" in card
    assert "model.onnx" in card
    deployed = example().deployed
    assert deployed is not None
    assert deployed.sha256 in card


@pytest.mark.parametrize("outcome", [*Outcome, None])
def test_the_model_card_says_proven_of_a_pass_alone(outcome: Outcome | None) -> None:
    report = example(outcome or Outcome.PASS)
    card = model_card(report if outcome else replace(report, verdict=None), "pass")
    (first,) = [line for line in card.splitlines() if line.startswith("A distilled model for")]
    words = {
        Outcome.PASS: "proven on the target",
        Outcome.FAIL: "which missed a limit on the target",
        Outcome.INCONCLUSIVE: "not proven on the target",
        Outcome.INVALID: "must not be used",
        None: "not judged on the target",
    }
    assert words[outcome] in first
    assert (", proven" in first) == (outcome is Outcome.PASS)


def test_a_figure_without_an_interval_says_why() -> None:
    few = shown_figure(Interval(12.3, -math.inf, math.inf))
    assert with_interval(few, "ms") == "12.3 ms (too few for an interval)"
    assert told(few, "ms") == Cell("12.3 ms", under="too few for an interval")
    half = shown_figure(Interval(12.3, 12.1, math.inf))
    assert told(half, "ms").under == "[12.1, ..]"
    assert told(None, "ms") == Cell("n/a")
    assert told(needs(662), "ms") == Cell("n/a (needs 662)")
    report = example()
    first, *others = report.contenders
    assert first.timing is not None
    changed = replace(report, contenders=(replace(first, timing=replace(first.timing, median=few)), *others))
    for text in (render_html(changed), render_markdown(changed), printed(changed, 200)):
        assert "too few for an interval" in text


def test_signs_in_the_drop_chain_are_told_where_less_is_better() -> None:
    report = example()
    assert report.task is not None
    page = render_html(replace(report, task=replace(report.task, higher_is_better=False)))
    assert "what the step gained (+) or lost (-)" in page
    assert "+ is better, - is worse" in page
    assert "change against the step before" not in page


def test_the_model_cards_front_matter_is_what_a_hub_reads() -> None:
    from huggingface_hub import ModelCard

    told = model_card(example(), "pass", name="tickets", license="apache-2.0", pipeline="text-classification")
    data = ModelCard(told).data
    (result,) = data.eval_results
    shipped = example().deployed
    assert (data.license, data.pipeline_tag, data.library_name) == ("apache-2.0", "text-classification", "transformers")
    assert shipped is not None
    assert shipped.metric is not None
    assert (result.task_type, result.metric_type) == ("text-classification", "accuracy")
    assert result.metric_value == pytest.approx(shipped.metric.value)
    assert ModelCard(model_card(Report("empty"), "pass")).data.eval_results is None


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (
            "/home/ann/venv/bin/kd2deploy compress /home/ann/secret/r.yaml --out /data/x",
            "kd2deploy compress r.yaml --out x",
        ),
        ("/srv/lib/kd2deploy/__main__.py demo", "kd2deploy demo"),
        ("kd2deploy compress ~/mine/r.yaml", "kd2deploy compress r.yaml"),
        ("kd2deploy compress runs/r.yaml --seed 1", "kd2deploy compress runs/r.yaml --seed 1"),
        ("kd2deploy compress 'C:\\Users\\ann\\r.yaml'", "kd2deploy compress 'r.yaml'"),
    ],
)
def test_the_model_card_names_no_place_of_the_machine(command: str, shown: str) -> None:
    report = example()
    assert report.data is not None
    data = replace(report.data, source="train: /home/ann/secret/train.csv, eval: https://example.org/a/b.csv")
    card = model_card(replace(report, command=command, data=data), "pass")
    assert f"```sh\n{shown}\n```" in card
    assert "ann" not in card
    assert "https://example.org/a/b.csv" in card.replace("\\", "")


def test_the_model_card_says_what_to_install() -> None:
    assert "```sh\npip install numpy==2 tokenizers==1\n```" in model_card(
        example(), "pass", requirements=["numpy==2", "tokenizers==1"]
    )


def test_lineage_puts_every_artifact_under_its_parent_and_cuts_circles() -> None:
    table = lineage(example())
    assert table is not None
    assert [row[0].text.strip("\u2003└ ") for row in table.rows][-4:] == [
        "student",
        "student, ONNX",
        "student, fused",
        "student, int8",
    ]
    selfmade = lineage(Report("x", lineage=(ArtifactRecord("a", "1", "1"), ArtifactRecord("b", "2", "1"))))
    assert selfmade is not None
    assert len(selfmade.rows) == 2


def test_noise_that_one_finding_tells_is_not_told_again_in_every_row() -> None:
    def spreads(report: Report) -> list[str]:
        found = contenders(report)
        assert found is not None
        return [row[found.head.index("Spread (CV)")].under for row in found.rows]

    noisy = example()
    assert "⚑ noisy, ⚑ not settled" in spreads(noisy)
    told = replace(noisy, findings=(Finding("All 6 timings are noisy.", word=UNSTEADY),))
    assert set(spreads(told)) == {""}


def test_a_speedup_of_no_clear_size_is_told_by_its_ends() -> None:
    known = replace(example().speedups[0], ratio=Estimate(1378.0, 40.0, 9000.0), end_to_end=None)
    (fact,) = (fact for fact in facts(replace(example(), speedups=(known,))) if "faster" in fact.label)
    assert fact.value == "40.0x to 9,000x"
    open_ended = replace(known, ratio=Estimate(4.5, 4.1))
    (fact,) = (fact for fact in facts(replace(example(), speedups=(open_ended,))) if "faster" in fact.label)
    assert fact.value == "at least 4.10x"


def test_what_less_is_better_of_gains_where_it_falls() -> None:
    report = example()
    assert report.task is not None
    found = [tables.seeds(replace(report, task=replace(report.task, higher_is_better=one))) for one in (True, False)]
    gains = [[row[3].text for row in table.rows] for table in found if table]
    assert gains[0][:3] == ["+1.49 points", "+1.58 points", "+1.45 points"]
    assert gains[1][:3] == ["-1.49 points", "-1.58 points", "-1.45 points"]


def test_where_inputs_last_their_sizes_and_real_time_factors_are_told() -> None:
    """25 ms for a second is a fortieth of the time; 24 elements are 3 s at 8 a second."""
    task = TaskInfo("speech", "wer", counted_in="seconds of audio", unit_of_size="second of audio", unit_elements=8.0)
    first, *rest = example().contenders
    assert first.timing is not None
    timed = replace(first, timing=replace(first.timing, per_unit=Estimate(25.0, 24.0, 27.0)))
    report = replace(example(), task=replace(task, unit_lasts_ms=1000.0), contenders=(timed, *rest))
    found, lengths = tables.per_unit(report), tables.medians_by_length(report)
    assert found is not None
    assert found.head == ("Contender", "ms per second of audio", "Real-time factor")
    assert [(cell.text, cell.under) for cell in found.rows[0][1:]] == [
        ("25.0 ms", "[24.0, 27.0]"),
        ("0.0250", "[0.0240, 0.0270]"),
    ]
    assert lengths is not None
    assert lengths.head == ("Contender", "1.12 to 3.00", "3.12 to 6.38", "6.50 to 16.0")
    of_pixels = tables.per_unit(replace(report, task=task))
    assert of_pixels is not None
    assert of_pixels.head == ("Contender", "ms per second of audio")


def test_whole_requests_and_lengths_have_their_tables() -> None:
    """What could not be asked end to end says so in its place."""
    whole, lengths = tables.end_to_end(example()), tables.medians_by_length(example())
    assert whole is not None
    assert lengths is not None
    assert whole.head[3:6] == ("Making the input", "Network", "Making the answer")
    assert [cell.text for cell in whole.rows[0][3:]] == ["0.550 ms", "58.4 ms", "0.0700 ms", "220"]
    assert "tokens" in lengths.caption
    assert lengths.head == ("Contender", "9 to 24", "25 to 51", "52 to 128")
    assert all(len(row) == 4 for row in lengths.rows)
    first = example().contenders[0]
    assert first.timing is not None
    lost = replace(first, timing=replace(first.timing, end_to_end=EndToEnd(Estimate(None, note="no tokenizer"))))
    told = tables.end_to_end(replace(example(), contenders=(lost, example().contenders[1])))
    assert told is not None
    assert told.rows[0][1].text == "no tokenizer"
    assert tables.end_to_end(replace(example(), contenders=())) is None
    assert "faster end to end" in [fact.label for fact in facts(example())]


def test_every_way_to_deploy_is_told_with_how_far_it_came() -> None:
    told = tables.tried(example())
    assert told is not None
    assert [(row[0].text, row[1].text) for row in told.rows] == [
        ("onnx", "✗ surely slower"),
        ("student, ONNX int8", "★ deployed"),
        ("openvino", "○ raced to the end"),
        ("onnx-qdq", "✗ loses too much: not timed"),
        ("tensorrt_fp16", "✗ left out: see What to know"),
    ]
    assert told.strong == {1}
    assert "Throughput" not in told.head, "nothing was chosen by it"
    assert [row[4].text for row in told.rows] == ["1.55x", "", "1.02x", "", ""]
    assert [row[5].under for row in told.rows][:3] == ["against student, ONNX int8", "", "against student, ONNX int8"]
    alone = replace(example(), tried=example().tried[1:2])
    assert "choice" not in [section.key for section in sections(alone)]
    assert "choice" in [section.key for section in sections(example())]


def test_code_in_a_sentence_is_marked_on_the_page_and_nothing_else_is_let_through() -> None:
    assert coded("set `a.b` and <b>`c<d>`</b>") == (
        "set <code>a.b</code> and &lt;b&gt;<code>c&lt;d&gt;</code>&lt;/b&gt;"
    )
    assert coded("one ` alone") == "one ` alone"
