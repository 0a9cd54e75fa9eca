"""Files for LiteRT: the network's own answers at every length and of several rows, in fp32 and in int8."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest
from conftest import TEXTS, Case

from kd2deploy.core import Artifact, Feed, Target, Workload, made, open_session
from kd2deploy.core.serving import code_that_opens, opened_in_bundle
from kd2deploy.errors import SessionError
from kd2deploy.exporters.litert import OPENED_BY, LitertSession, int8_from_litert, litert_from_torch
from kd2deploy.exporters.torch import TorchSession

pytestmark = [
    pytest.mark.litert,
    pytest.mark.skipif(importlib.util.find_spec("litert_torch") is None, reason="LiteRT is not installed"),
    pytest.mark.filterwarnings("default"),
]
SHAPES = {"sequence_length": [4, 8, 16]}
Answers = Mapping[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory, text: Case) -> Artifact:
    folder = tmp_path_factory.mktemp("text")
    return litert_from_torch(text.source, text.task, text.target, folder, text.samples, shapes=SHAPES)


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory, image: Case) -> Artifact:
    """Of two rows at a time."""
    target = replace(image.target, workload=Workload(batch=2))
    return litert_from_torch(image.source, image.task, target, tmp_path_factory.mktemp("image"), image.samples)


def answers(case: Case, artifact: Artifact, feeds: list[Feed]) -> list[tuple[Answers, Answers]]:
    """The network's and the file's, of each request."""
    ports = case.task.ports
    with TorchSession(case.source, ports, case.target) as net, LitertSession(artifact, ports, case.target) as file:
        return [(net.run(feed), file.run(feed)) for feed in feeds]


def apart(case: Case, artifact: Artifact, feeds: list[Feed] | None = None) -> float:
    """The largest distance of any output from the network's own."""
    pairs = answers(case, artifact, feeds or case.samples)
    assert all(one[name].shape == other[name].shape for one, other in pairs for name in one)
    return max(float(np.abs(one[name] - other[name]).max()) for one, other in pairs for name in one)


def repeated(feed: Feed, rows: int) -> Feed:
    return {name: np.repeat(one[:1], rows, axis=0) for name, one in feed.items()}


def together(feeds: list[Feed]) -> Feed:
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def test_a_text_network_answers_alike_at_every_length(text: Case, text_file: Artifact) -> None:
    assert text_file.precision == "fp32"
    assert [sizes["sequence_length"] for sizes in text_file.details["sizes"]] == [4, 8, 16]
    whole = repeated(text.samples[0], 1)
    longest = {name: np.concatenate([one] * 4, axis=1)[:, :16] for name, one in whole.items()}
    shorter = [{name: one[:, :length] for name, one in longest.items()} for length in (1, 4, 5, 8, 9, 16)]
    assert apart(text, text_file, [*text.samples, *shorter]) < 1e-4


def test_several_rows_of_different_texts_answer_as_each_alone(text: Case, text_file: Artifact) -> None:
    rows = text.task.reader.encode([{"text": words, "label": None} for words in TEXTS], text.source.path)
    several = text.task.reader.feed(list(rows))
    assert len(several["input_ids"]) == len(TEXTS)
    assert apart(text, text_file, [several]) < 1e-4
    with LitertSession(text_file, text.task.ports, text.target) as session:
        alone = [session.run(feed)["logits"] for feed in text.samples]
        assert np.allclose(session.run(several)["logits"], np.concatenate(alone), atol=1e-4)


def test_a_picture_network_answers_alike_where_rows_fill_the_files_and_where_they_do_not(
    image: Case, image_file: Artifact
) -> None:
    assert image_file.details["sizes"] == [{"batch_size": 2}]
    requests = [together(image.samples[:count]) for count in (1, 2, 5)]
    assert apart(image, image_file, requests) < 1e-4


def test_inputs_and_answers_go_by_their_names_in_any_order(text: Case, text_file: Artifact) -> None:
    (feed,) = text.samples[:1]
    with LitertSession(text_file, text.task.ports, text.target) as session:
        there = session.run(feed)
        turned = session.run(dict(reversed(feed.items())))
    assert list(there) == [port.name for port in text.task.outputs]
    assert all(np.array_equal(there[name], turned[name]) for name in there)


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_int8_answers_nearly_alike_and_is_smaller(
    image: Case, image_file: Artifact, mode: Literal["dynamic", "static"], tmp_path: Path
) -> None:
    small = int8_from_litert(image_file, image.task, image.target, tmp_path, image.samples, mode=mode)
    assert (small.precision, small.parent, small.details["mode"]) == ("int8", image_file.sha256, mode)
    assert small.size_mb < 0.8 * image_file.size_mb  # most of a network this small is no weight
    assert 0 < apart(image, small) < 0.1
    pairs = answers(image, small, image.samples)
    assert all(one["logits"].argmax() == other["logits"].argmax() for one, other in pairs)


@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_a_text_network_in_int8_is_near_at_every_length(
    text: Case, text_file: Artifact, mode: Literal["dynamic", "static"], tmp_path: Path
) -> None:
    small = int8_from_litert(text_file, text.task, text.target, tmp_path, text.samples, mode=mode)
    assert 0 < apart(text, small) < 0.1


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_computes_with_the_targets_threads(image: Case, image_file: Artifact, threads: int) -> None:
    before = psutil.Process().num_threads()
    with LitertSession(image_file, image.task.ports, Target("here", "", "cpu", {}, threads=threads)) as session:
        session.run(image.samples[0])
        assert psutil.Process().num_threads() == before + threads - 1
        told = session.describe()
    assert (told["threads"], told["provider"], told["precision"]) == (str(threads), "XNNPACK", "fp32")


def damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


@pytest.mark.parametrize("change", [damaged, cut])
def test_other_bytes_than_those_that_were_made_are_refused(
    image: Case, image_file: Artifact, change: Callable[[Path], None], tmp_path: Path
) -> None:
    copy = tmp_path / "model.tflite"
    copy.write_bytes(image_file.path.read_bytes())
    change(copy)
    moved = replace(image_file, path=copy)
    with pytest.raises(SessionError, match="was changed after it was made"):
        open_session(moved, image.task.ports, image.target)
    with pytest.raises(SessionError, match="was changed after it was made"):
        LitertSession(moved, image.task.ports, image.target)


def test_what_is_no_such_file_is_refused(image: Case, text_file: Artifact, tmp_path: Path) -> None:
    (tmp_path / "nonsense.tflite").write_bytes(b"nonsense" * 100)
    with pytest.raises(SessionError, match="LiteRT cannot open"):
        open_session(made(tmp_path / "nonsense.tflite", OPENED_BY), image.task.ports, image.target)
    with pytest.raises(SessionError, match="which task image_classification does not feed"):
        open_session(text_file, image.task.ports, image.target)


def test_a_request_that_no_size_holds_is_refused(text: Case, text_file: Artifact) -> None:
    longer = {name: np.repeat(one[:, :1], 17, axis=1) for name, one in text.samples[0].items()}
    with (
        LitertSession(text_file, text.task.ports, text.target) as session,
        pytest.raises(SessionError, match="set shapes of litert_from_torch"),
    ):
        session.run(longer)


def test_the_cards_code_opens_the_file_without_this_program(text: Case, text_file: Artifact) -> None:
    assert opened_in_bundle(text_file) == "litert/model.tflite"
    scope: dict[str, Any] = {}
    code = code_that_opens(text_file, "", str(text_file.path))
    assert "kd2deploy" not in code
    exec(code, scope)
    for feed in (*text.samples, repeated(text.samples[0], 3)):
        with LitertSession(text_file, text.task.ports, text.target) as session:
            expected = session.run(feed)
        found = scope["run"](feed)
        assert all(np.allclose(found[name], expected[name], atol=1e-5) for name in expected)
