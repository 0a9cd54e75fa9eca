"""Several networks as one: what their folder says, what they answer together, and folders that are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from several import KINDS, LABELS, answers, save_pair, write_members
from tiny_models import SPECIAL, WORDS, save_encoder, save_image_net, save_image_processor, save_tokenizer

from kd2deploy.core import build_task, made, sha256_of
from kd2deploy.core.fingerprint import fingerprint
from kd2deploy.core.members import members_in
from kd2deploy.core.step import answer_of
from kd2deploy.errors import Kd2DeployError, ModelError
from kd2deploy.networks.configuration import config_in, read_config
from kd2deploy.networks.folder import check_folder
from kd2deploy.networks.several import Several
from kd2deploy.networks.weights import parameters_of
from kd2deploy.train.checkpoint import as_it_is, locate, with_head
from kd2deploy.train.distiller import sizes_of
from kd2deploy.train.student import shrink

TEXT = {"use": "text_classification", "labels": LABELS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mean_of_logits_is_the_mean_by_hand(tmp_path: Path, kind: str) -> None:
    task = save_pair(tmp_path, kind)
    _, whole, (one, other) = answers(task, tmp_path)
    torch.testing.assert_close(whole, (one + other) / 2)
    assert not torch.allclose(one, other)


def test_weights_count_and_a_sum_is_no_mean(tmp_path: Path) -> None:
    task = save_pair(tmp_path, weights=[3, 1])
    _, whole, (one, other) = answers(task, tmp_path)
    torch.testing.assert_close(whole, (3 * one + other) / 4)
    write_members(tmp_path, combine="sum")
    torch.testing.assert_close(answers(task, tmp_path)[1], one + other)
    write_members(tmp_path, combine="sum", weights=[1, -0.5])
    torch.testing.assert_close(answers(task, tmp_path)[1], one - other / 2)


@pytest.mark.parametrize(
    ("kind", "probability"), [("texts", "softmax"), ("pictures", "softmax"), ("labels", "sigmoid")]
)
def test_a_mean_of_probabilities_is_that_of_what_the_task_means_by_them(
    tmp_path: Path, kind: str, probability: str
) -> None:
    def shown(logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1) if probability == "softmax" else logits.sigmoid()

    task = save_pair(tmp_path, kind, "mean_probability", [1, 3])
    _, whole, (one, other) = answers(task, tmp_path)
    torch.testing.assert_close(shown(whole), (shown(one) + 3 * shown(other)) / 4)
    if kind == "labels":  # a folder that does not say so is told by its task
        for name in "ab":
            without(tmp_path / name / "config.json", "problem_type")
        torch.testing.assert_close(answers(task, tmp_path)[1], whole)


def test_a_probability_next_to_one_stays_finite(tmp_path: Path) -> None:
    how = members_in(write_members(save_bare(tmp_path), combine="mean_probability"))
    assert how is not None
    from kd2deploy.networks.several import combined

    far = [torch.tensor([[200.0, -200.0]]), torch.tensor([[150.0, -150.0]])]
    for answers_ in ("single_label_classification", "multi_label_classification"):
        assert combined(far, how, answers_).isfinite().all()


def test_two_classes_may_come_as_one_score_of_each_member(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save_encoder(tmp_path / name, labels=["pos"], layers=1, seed=seed)
    task = build_task(TEXT).at(write_members(tmp_path))
    net = task.networks.load(tmp_path)
    shown = task.networks.example(net, 3)
    with torch.inference_mode():
        found = task.networks.observe(net, shown).logits
    assert found is not None
    assert found.shape == (3, 2)
    assert (found[:, 0] == 0).all()


# what a folder is read as ---------------------------------------------------------------------------------------


def test_a_folder_of_several_is_read_like_one_of_a_single_network(tmp_path: Path) -> None:
    task = save_pair(tmp_path)
    alone = build_task(TEXT).at(tmp_path / "a")
    assert task.spec() == {**alone.spec(), "max_length": task.spec()["max_length"]}
    assert task.inputs == alone.inputs, "b reads no token types, and a does"
    assert locate(str(tmp_path)) == tmp_path
    assert parameters_of(tmp_path) == parameters_of(tmp_path / "a") + parameters_of(tmp_path / "b")
    one, other = (made(tmp_path / name, "x.Y").weights_mb for name in "ab")
    assert made(tmp_path, "x.Y").weights_mb == pytest.approx(one + other)
    rows = [task.reader.row("a good film")]
    found, expected = (one.reader.encode(rows, place)[0] for one, place in ((task, tmp_path), (alone, tmp_path / "a")))
    assert found["input_ids"].tolist() == expected["input_ids"].tolist()
    task.reader.check_inputs(tmp_path)
    before = fingerprint("x", {"method": {"use": "mate_kd", "generator": str(tmp_path)}}, {})
    (tmp_path / "b" / "more.txt").write_text("x")
    assert fingerprint("x", {"method": {"use": "mate_kd", "generator": str(tmp_path)}}, {}) != before


def test_the_shortest_member_says_how_much_is_read(tmp_path: Path) -> None:
    task = save_pair(tmp_path)
    file = tmp_path / "b" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_position_embeddings": 20}))
    assert task.at(tmp_path).reader.limits == {"sequence_length": 20}


def test_several_are_saved_as_such_a_folder_with_the_tokenizer_at_the_top(tmp_path: Path) -> None:
    task = save_pair(tmp_path / "pair", "texts", "mean_probability", [2, 1])
    as_it_is(tmp_path / "pair", tmp_path / "copy", task)
    assert members_in(tmp_path / "copy") == members_in(tmp_path / "pair")
    assert (tmp_path / "copy" / "tokenizer.json").is_file()
    torch.testing.assert_close(answers(task, tmp_path / "copy")[1], answers(task, tmp_path / "pair")[1])
    assert json.loads((tmp_path / "copy" / "b" / "config.json").read_text())["problem_type"]
    first = sha256_of(tmp_path / "copy")
    as_it_is(tmp_path / "copy", tmp_path / "again", task)
    assert sha256_of(tmp_path / "again") == first


def test_what_needs_the_inside_of_one_network_is_refused_in_a_line(tmp_path: Path) -> None:
    task = save_pair(tmp_path / "pair")
    net = task.networks.load(tmp_path / "pair")
    assert isinstance(net, Several)
    shown = task.networks.example(net, 2)
    seen = task.networks.observe(net, shown, needs=frozenset({"hidden", "attentions", "embedding"}))
    assert (seen.hidden, seen.attentions, seen.embedding) == ((), (), None)
    with pytest.raises(ModelError, match="no table of word embeddings in common"):
        task.networks.continuous_input(net, shown)
    with pytest.raises(ModelError, match="neither cut nor given another head"):
        config_in(tmp_path / "pair")
    with pytest.raises(ModelError, match="neither cut nor given another head"):
        with_head(tmp_path / "pair", tmp_path / "new", task)
    with pytest.raises(ModelError, match="set of several networks cannot be shrunk"):
        shrink(tmp_path / "pair", tmp_path / "new", task)


@pytest.mark.parametrize("kind", KINDS)
def test_each_member_shows_what_it_answers_and_holds_to_what_asks_for_it(tmp_path: Path, kind: str) -> None:
    task = save_pair(tmp_path, kind, combine="sum")
    net = task.networks.load(tmp_path)
    shown = task.networks.example(net, 3)
    shown["labels"] = {"numbers": torch.rand(3), "labels": torch.ones(3, 3).long()}.get(kind, torch.tensor([0, 1, 0]))
    inside = frozenset({"hidden", "embedding"})
    with torch.inference_mode():
        whole, seen = task.networks.observe(net, shown), task.networks.observe(net, shown, needs=inside | {"members"})
    assert whole.members == ()
    torch.testing.assert_close(answer_of(seen), answer_of(whole))
    torch.testing.assert_close(seen.loss, whole.loss)
    assert (seen.hidden, seen.embedding) == ((), None)
    assert len(seen.members) == 2
    for name, member in zip("ab", seen.members, strict=True):
        alone = build_task(task.spec()).networks
        with torch.inference_mode():
            expected = alone.observe(alone.load(tmp_path / name), shown, needs=inside)
        for field in ("logits", "values", "embedding", "loss", "mask"):
            torch.testing.assert_close(getattr(member, field), getattr(expected, field))
        assert [tuple(state.shape) for state in member.hidden] == [tuple(state.shape) for state in expected.hidden]


def test_sizes_tell_each_member_and_whether_answers_are_plainly_added(tmp_path: Path) -> None:
    for combine, weights, summed in (("sum", None, True), ("sum", [1, 2], False), ("mean", None, False)):
        task = save_pair(tmp_path / f"{combine}{weights}", "pairs", combine, weights)
        net = task.networks.load(tmp_path / f"{combine}{weights}")
        sizes = sizes_of(task, net, task.networks.example(net, 2))
        assert sizes.summed == summed
        assert [len(one.hidden) for one in sizes.members] == [2, 2]
        assert all(one.embedding and one.classes == 2 for one in sizes.members)
        assert (sizes.embedding, sizes.hidden) == (0, ())


# broken and hostile folders -------------------------------------------------------------------------------------


def save_bare(folder: Path) -> Path:
    """Two folders that are there, with nothing in them."""
    for name in "ab":
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"members": ["a", "../b"]}, "names '../b', which is no file inside it"),
        ({"members": ["a", "/etc"]}, "names '/etc', which is no file inside it"),
        ({"members": ["a", "a\0b"]}, "no file inside it"),
        ({"members": ["a", "c"]}, "names the member 'c', and there is no folder"),
        ({"members": ["a", "."]}, "itself one of several"),
        ({"members": ["a"]}, "must be the names of two folders or more"),
        ({"members": "ab"}, "must be the names of two folders or more"),
        ({"members": ["a", 1]}, "must be the names of two folders or more"),
        ({"members": ["a", "b" * 300]}, "which is too long"),
        ({"members": ["a", "a"]}, "names a member twice: give it a weight instead"),
        ({"members": ["a", "onnx"]}, "a bundle keeps other files in a folder of that name"),
        ({"combine": "os.system"}, "combine 'os.system'; known: mean, mean_probability, sum"),
        ({"combine": ["mean"]}, "known: mean, mean_probability, sum"),
        ({"weights": [1]}, "must be 2 numbers above 0"),
        ({"weights": [1, 0]}, "must be 2 numbers above 0"),
        ({"weights": [1, True]}, "must be 2 numbers above 0"),
        ({"weights": [1, float("nan")]}, "must be 2 numbers above 0"),
        ({"combine": "sum", "weights": [1, "2"]}, "must be 2 numbers, one for each member"),
        ({"format": 2}, "has format 2, and this version reads 1"),
        ({"format": True}, "has format True, and this version reads 1"),
        ({"use": "subprocess.run"}, "has a field 'use', which is not known here"),
    ],
)
def test_what_members_json_may_not_say_is_one_line(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    write_members(save_bare(tmp_path), **fields)
    with pytest.raises(Kd2DeployError) as caught:
        locate(str(tmp_path))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "null", "{", '"a"', "[" * 100_000])
def test_a_file_that_is_no_object_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "members.json").write_text(text)
    with pytest.raises(ModelError, match=r"members\.json") as caught:
        locate(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_member_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    save_encoder(tmp_path / "elsewhere", labels=LABELS)
    folder = write_members(save_bare(tmp_path / "pair"))
    (folder / "b").rmdir()
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Kd2DeployError, match="a link that leads out"):
        locate(str(folder))


def test_members_are_checked_as_single_networks_are(tmp_path: Path) -> None:
    save_pair(tmp_path)
    nested = write_members(save_bare(tmp_path / "b"))
    with pytest.raises(ModelError, match="which is itself one of several"):
        check_folder(tmp_path)
    (nested / "members.json").unlink()
    (tmp_path / "b" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ModelError, match="truncated or damaged"):
        check_folder(tmp_path)
    shutil.rmtree(tmp_path / "b")
    (tmp_path / "b").mkdir()
    with pytest.raises(ModelError, match=r"b has no config\.json"):
        read_config(tmp_path)


def changed(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def without(file: Path, name: str) -> None:
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != name}))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"id2label": {"0": "pos", "1": "neg"}}, "answer different labels: a neg, pos, b pos, neg"),
        ({"problem_type": "multi_label_classification"}, "trained for different problems"),
        ({"pad_token_id": 1}, "pad with different tokens"),
    ],
)
def test_members_that_disagree_are_one_line(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    save_pair(tmp_path)
    changed(tmp_path / "b" / "config.json", **fields)
    with pytest.raises(ModelError, match=told) as caught:
        locate(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_members_with_tokenizers_or_processors_of_their_own_must_read_alike(tmp_path: Path) -> None:
    save_pair(tmp_path / "texts")
    shutil.copytree(tmp_path / "texts", tmp_path / "alike")
    save_tokenizer(tmp_path / "alike" / "b")
    check_folder(tmp_path / "alike")
    save_tokenizer(tmp_path / "texts" / "b", words=WORDS[::-1])
    with pytest.raises(ModelError, match="all members must have one tokenizer"):
        check_folder(tmp_path / "texts")
    save_pair(tmp_path / "pictures", "pictures")
    save_image_processor(tmp_path / "pictures" / "b", 16)
    with pytest.raises(ModelError, match="all members must have one image processor"):
        check_folder(tmp_path / "pictures")
    save_image_net(tmp_path / "pictures" / "b", "resnet", size=32, channels=3)
    with pytest.raises(ModelError, match="pictures of different channels"):
        check_folder(tmp_path / "pictures")


def test_a_number_has_no_probability(tmp_path: Path) -> None:
    task = save_pair(tmp_path, "numbers", "mean_probability")
    with pytest.raises(ModelError, match="a regression answers none; use mean"):
        task.networks.load(tmp_path)


def test_tokens_that_one_member_has_no_embedding_for_are_found(tmp_path: Path) -> None:
    task = save_pair(tmp_path)
    changed(tmp_path / "b" / "config.json", vocab_size=len(WORDS) + len(SPECIAL) - 2)
    with pytest.raises(ModelError, match="have no embedding"):
        task.reader.check_inputs(tmp_path)
