import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, matthews_corrcoef
from tiny_models import ENCODERS, encoder_config, save_encoder, save_tokenizer

from kd2deploy.core import build_task, made
from kd2deploy.core.serving import code_that_opens
from kd2deploy.core.step import clean_look
from kd2deploy.errors import DataError, ModelError
from kd2deploy.exporters.onnx import OPENED_BY
from kd2deploy.tasks._class_metric import macro_f1, matthews, pearson, spearman
from kd2deploy.tasks._losses import cross_entropy, squared_error
from kd2deploy.tasks._text_reader import ports_of
from kd2deploy.tasks.text_classification import TextClassification

LABELS = ["neg", "pos"]
ROWS = [
    {"text": "a good film", "label": "pos", "index": 4},
    {"text": "the plot was very dull, not fun", "label": 0, "index": 5},
    {"text": "fine", "label": None, "index": 6},
]
ALL = frozenset({"hidden", "attentions", "embedding"})


@pytest.mark.parametrize("family", ENCODERS)
class TestEveryFamily:
    @pytest.fixture
    def folder(self, family: str, tmp_path: Path) -> Path:
        return save_encoder(tmp_path, family)

    def test_observation_has_what_was_asked_for(self, folder: Path) -> None:
        task = TextClassification(LABELS).at(folder)
        net = task.networks.load(folder)
        batch = task.reader.collate(task.reader.encode(ROWS, folder))
        seen = task.networks.observe(net, batch, needs=ALL)
        rows, length = batch["input_ids"].shape
        assert [states.shape for states in seen.hidden] == [(rows, length, 16)] * 3
        assert [maps.shape for maps in seen.attentions] == [(rows, 4, length, length)] * 2
        assert seen.embedding is not None
        assert seen.mask is not None
        torch.testing.assert_close(task.networks.head(net)(seen.embedding), seen.logits)
        assert seen.mask.tolist() == batch["attention_mask"].bool().tolist()
        for maps in seen.attentions:
            torch.testing.assert_close(
                maps.sum(-1)[seen.mask[:, None].expand(-1, 4, -1)], torch.ones(4 * int(seen.mask.sum()))
            )

    def test_continuous_input_replaces_the_words(self, folder: Path) -> None:
        task = TextClassification(LABELS).at(folder)
        net = task.networks.load(folder)
        batch = task.reader.collate(task.reader.encode(ROWS, folder))
        name, embedded = task.networks.continuous_input(net, batch)
        plain, replaced = task.networks.observe(net, batch), task.networks.observe(net, {**batch, name: embedded})
        torch.testing.assert_close(replaced.logits, plain.logits)
        moved = task.networks.observe(net, {**batch, name: embedded.roll(1, dims=-1)})
        assert not torch.allclose(moved.logits, plain.logits, atol=1e-3)

    def test_deployed_network_answers_as_the_observed_one(self, folder: Path) -> None:
        task = TextClassification(LABELS).at(folder)
        net = task.networks.load(folder)
        features = task.reader.encode(ROWS, folder)
        feed = task.reader.feed(features)
        assert list(feed) == [port.name for port in task.inputs]
        assert {array.dtype for array in feed.values()} == {np.dtype(np.int64)}
        (logits,) = task.networks.deployed(net)(*(torch.from_numpy(array) for array in feed.values()))
        torch.testing.assert_close(logits, task.networks.observe(net, task.reader.collate(features)).logits)

    def test_requests_are_made_as_features_are_fed(self, folder: Path) -> None:
        task = TextClassification(LABELS, max_length=6).at(folder)
        prepare, rows = task.reader.preparing(folder), [*ROWS, {"text": "good film " * 400, "label": None}]
        for some in (rows, rows[:1], rows[-1:]):
            made, fed = prepare(some), task.reader.feed(task.reader.encode(some, folder))
            assert made.keys() == fed.keys()
            assert all(np.array_equal(made[name], fed[name]) for name in fed)

    def test_padding_and_padded_examples_do_not_change_an_answer(self, folder: Path) -> None:
        task = TextClassification(LABELS).at(folder)
        net = task.networks.load(folder)
        features = task.reader.encode(ROWS, folder)
        together = task.networks.observe(net, task.reader.collate(features)).logits
        for place, row in enumerate(features):
            alone = task.networks.observe(net, task.reader.collate([row])).logits[0]
            torch.testing.assert_close(alone, together[place], atol=1e-5, rtol=1e-4)

    def test_example_runs_and_is_the_same_each_time(self, folder: Path) -> None:
        task = TextClassification(LABELS).at(folder)
        net = task.networks.load(folder)
        first, again = (task.networks.example(net, 3, sequence_length=12) for _ in range(2))
        assert list(first) == [port.name for port in task.inputs]
        assert all(torch.equal(first[name], again[name]) for name in first)
        (logits,) = task.networks.deployed(net)(*first.values())
        assert logits.shape == (3, 2)
        assert logits.std() > 1e-3


def test_token_types_are_a_port_only_where_the_network_reads_them(tmp_path: Path) -> None:
    reads = {family: ports_of(save_encoder(tmp_path / family, family))["token_types"] for family in ENCODERS}
    assert reads == {
        "bert": True,
        "distilbert": False,
        "roberta": False,
        "electra": True,
        "deberta-v2": False,
        "modernbert": False,
    }


def test_task_is_rebuilt_from_its_spec() -> None:
    task = TextClassification(LABELS, max_length=17, metric="macro_f1", pair=True, token_types=True)
    again = build_task(task.spec())
    assert again.spec() == task.spec()
    assert again.inputs == task.inputs


def test_loss_counts_labelled_rows_alone() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([2, -100, 0, -100])
    expected = torch.nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([2, 0]))
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    nothing = cross_entropy(logits, torch.full((4,), -100))
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_regression_loss_counts_numbers_alone() -> None:
    values = torch.tensor([[1.0], [5.0]], requires_grad=True)
    loss = squared_error(values, torch.tensor([3.0, math.nan]))
    loss.backward()
    assert loss.item() == 4
    assert values.grad is not None
    assert values.grad.tolist() == [[-4.0], [0.0]]


def test_teacher_inputs_are_padded_by_their_own_width(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    task = TextClassification(LABELS)
    own = task.reader.encode(ROWS, tmp_path)
    features = [
        {**row, "teacher.input_ids": np.arange(2 + place, dtype=np.int64), "teacher.pad_id": 9}
        for place, row in enumerate(own)
    ]
    look = clean_look(task.reader.collate(features))
    assert look.teacher["input_ids"].tolist() == [[0, 1, 9, 9], [0, 1, 2, 9], [0, 1, 2, 3]]
    assert look.teacher["attention_mask"].sum(1).tolist() == [2, 3, 4]
    assert look.student["input_ids"].shape[1] == max(task.reader.length(row) for row in own)
    assert look.teacher["labels"].tolist() == [1, 0, -100]
    assert look.student["index"].tolist() == [4, 5, 6]


def test_pairs_are_told_apart_by_token_types_and_truncated(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    task = TextClassification(LABELS, max_length=8, pair=True, token_types=True)
    row = {"text": "a good film", "text_pair": "the plot was very dull not fun", "label": 1}
    (found,) = task.reader.encode([row], tmp_path)
    assert len(found["input_ids"]) == 8
    assert found["token_type_ids"].tolist() == sorted(found["token_type_ids"].tolist())
    assert set(found["token_type_ids"].tolist()) == {0, 1}
    with pytest.raises(DataError, match="text_pair"):
        task.reader.encode([{"text": "a"}], tmp_path)


@pytest.mark.parametrize("label", ["good", 2, -1])
def test_label_outside_the_task_is_refused(label: Any, tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    with pytest.raises(DataError, match="row 3"):
        TextClassification(LABELS).reader.encode([{"text": "a", "label": label, "index": 3}], tmp_path)


def test_metrics_are_those_of_scikit_learn() -> None:
    truth, answers = np.random.default_rng(0).integers(0, 4, (2, 200))
    answers[:100] = truth[:100]
    assert macro_f1(truth, answers) == pytest.approx(f1_score(truth, answers, average="macro"))
    assert matthews(truth, answers) == pytest.approx(matthews_corrcoef(truth, answers))
    assert matthews(truth, np.zeros_like(truth)) == 0


def test_correlations_of_numbers_worked_out_by_hand_and_zero_for_a_constant() -> None:
    one, other = np.array([1.0, 2.0, 3.0, 10.0]), np.array([2.0, 1.0, 3.0, 3.0])
    # deviations (-3, -2, -1, 6) and (-0.25, -1.25, 0.75, 0.75): 7 / sqrt(50 * 2.75)
    assert pearson(one, other) == pytest.approx(7 / (50 * 2.75) ** 0.5)
    # ranks (1, 2, 3, 4) and (2, 1, 3.5, 3.5): 3.5 / sqrt(5 * 4.5)
    assert spearman(one, other) == pytest.approx(3.5 / (5 * 4.5) ** 0.5)
    assert spearman(other, np.ones(4)) == pearson(np.ones(4), other) == 0


def test_scores_of_classes() -> None:
    task = TextClassification(LABELS)
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]], dtype=np.float32)
    scores = task.metric.score({"logits": logits}, [{"label": "neg"}, {"label": 0}, {"label": 0}])
    assert scores.correct.tolist() == [1, 0, 1]
    assert scores.hits["neg"].tolist() == [1, 0, 1]
    assert scores.classes == {"neg": pytest.approx(2 / 3)}
    assert scores.metrics["accuracy"] == task.metric.at(scores.statistics, np.arange(3)) == pytest.approx(2 / 3)
    assert task.metric.at(scores.statistics, np.array([1, 1, 0, 1])) == pytest.approx(1 / 4)
    with pytest.raises(DataError, match="no label"):
        task.metric.score({"logits": logits}, [{"label": None}] * 3)
    with pytest.raises(DataError, match="not finite"):
        task.metric.score({"logits": logits * np.nan}, [{"label": 0}] * 3)


def test_regression_end_to_end(tmp_path: Path) -> None:
    save_encoder(tmp_path, labels=[])
    task = TextClassification().at(tmp_path)
    assert (task.metric.name, task.metric.higher_is_better, task.labels) == ("spearman", True, ())
    net = task.networks.load(tmp_path)
    rows = [{"text": "good", "label": 1.5}, {"text": "bad", "label": "-2"}, {"text": "dull", "label": None}]
    seen = task.networks.observe(net, task.reader.collate(task.reader.encode(rows, tmp_path)))
    assert seen.loss is not None
    assert seen.logits is None, "a number is no score of a class"
    assert seen.values is not None
    assert seen.loss.item() == pytest.approx(((seen.values[:2, 0] - torch.tensor([1.5, -2.0])) ** 2).mean().item())
    values = seen.values.detach().numpy()
    scores = task.metric.score({"logits": values[:2]}, rows[:2])
    assert scores.correct is None
    assert scores.metrics["rmse"] == pytest.approx(math.sqrt(np.mean((values[:2, 0] - [1.5, -2]) ** 2)), rel=1e-5)
    assert task.metric.answer({"logits": values})[0] == {"value": pytest.approx(values[0, 0])}
    assert task.metric.agreement({"logits": values}, {"logits": values}) == {"top1": 1.0, "cosine": pytest.approx(1.0)}


def test_agreement_and_answers_of_classes() -> None:
    task = TextClassification(LABELS)
    one = np.array([[1.0, 0.0], [0.0, 1.0]])
    other = np.array([[2.0, 0.0], [1.0, 0.0]])
    assert task.metric.agreement({"logits": one}, {"logits": other}) == {"top1": 0.5, "cosine": pytest.approx(0.5)}
    assert task.metric.answer({"logits": one})[1] == {
        "label": "pos",
        "probability": pytest.approx(1 / (1 + math.exp(-1))),
    }


def test_metric_must_fit_the_labels() -> None:
    with pytest.raises(ValueError, match="classification; choose one of accuracy"):
        TextClassification(LABELS, metric="pearson")
    with pytest.raises(ValueError, match="regression; choose one of spearman"):
        TextClassification(metric="accuracy")


def test_network_with_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path)
    with pytest.raises(ModelError, match="answers 2 classes"):
        TextClassification(["a", "b", "c"]).networks.load(tmp_path)


def test_body_without_a_head_is_not_loaded_as_a_classifier(tmp_path: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_config(encoder_config()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no weights for classifier.*fine-tune"):
        TextClassification(LABELS).networks.load(tmp_path)


def test_ten_thousand_rows_go_through_the_tokenizer_in_ten_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kd2deploy.networks.tokenizer import tokenizer

    save_tokenizer(tmp_path)
    reader = tokenizer(tmp_path.resolve())
    calls = []
    encode_batch = type(reader)._encode_plus
    monkeypatch.setattr(type(reader), "_encode_plus", lambda *a, **k: calls.append(1) or encode_batch(*a, **k))
    assert (
        len(TextClassification(LABELS).reader.encode([{"text": "a good film", "label": 0}] * 10_000, tmp_path))
        == 10_000
    )
    assert len(calls) == 10


@pytest.mark.parametrize("pair", [False, True])
def test_snippet_serves_the_deployed_file(pair: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnx import TensorProto, helper, save

    save_tokenizer(tmp_path)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "l"])
    mask = helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "l"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["words"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["attention_mask"], ["shown"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["words"], ["mean"], axes=[1]),
        helper.make_node("ReduceMean", ["shown"], ["other"], axes=[1]),
        helper.make_node("Concat", ["other", "mean"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(nodes, "words", [ids, mask], [logits])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    task = TextClassification(LABELS, pair=pair)
    names: dict[str, Any] = {}
    task.reader.write_as_judged(tmp_path)
    opening = code_that_opens(made(tmp_path / "model.onnx", OPENED_BY), "", "model.onnx")
    exec(task.snippet(opening, tmp_path), names)
    given = (["a good film"], ["fine"]) if pair else (["a good film"],)
    assert names["answer"](*given) == ["pos"]
    texts = ["a good film", "very bad " * 100, "fine", ""]
    columns = (texts, texts[::-1]) if pair else (texts,)
    expected = task.reader.feed(
        task.reader.encode([task.reader.row(*row) for row in zip(*columns, strict=True)], tmp_path)
    )
    for name, array in names["encoded"](*columns).items():
        np.testing.assert_array_equal(array, expected[name])
    row = task.reader.row("a good film", "fine" if pair else None)
    (features,) = task.reader.encode([row], tmp_path)
    found = names["run"](task.reader.feed([features]))
    assert found["logits"][0, 1] == pytest.approx(features["input_ids"].mean())
