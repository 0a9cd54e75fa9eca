import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import ENCODERS, WORDS, encoder_config, save_encoder, save_tokenizer

from kd2deploy.core import MaskedLm
from kd2deploy.errors import ModelError
from kd2deploy.methods.mate_kd import mate_kd
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.distiller import Distiller, networks
from kd2deploy.train.generator import (
    MaskedLms,
    derived_masked_lm,
    masking,
    named_masked_lm,
    restoration_loss,
)
from kd2deploy.train.own_batches import OwnBatches

TEXTS = ("the film is good", "a dull plot", "the plot was very slow", "not a bad film", "fun", "the film was fine")


@pytest.fixture
def task():
    return TextClassification(labels=("neg", "pos"), max_length=16)


@pytest.fixture
def teacher_folder(tmp_path):
    return save_encoder(tmp_path / "teacher")


@pytest.mark.parametrize("family", ENCODERS)
def test_a_derived_one_scores_the_teachers_words_and_is_tied_to_its_table(family, tmp_path, task):
    folder = save_encoder(tmp_path / family, family)
    teacher, features = task.networks.load(folder), rows_of(task, folder)
    before = copy.deepcopy(teacher.state_dict())
    made = derived_masked_lm(teacher, folder, task, features, steps=2)
    batch = task.reader.collate(features)
    positions = torch.rand(batch["input_ids"].shape) < 0.5
    logits = made(**read(batch), positions=positions)
    assert logits.shape == (positions.sum(), len(teacher.get_input_embeddings().weight))
    assert isinstance(made, MaskedLm)
    assert not made.training
    with torch.no_grad():
        made.table().mul_(2.0)
        doubled = made.transform(made.encoder(**read(batch)).last_hidden_state) @ made.table().T + made.bias
        torch.testing.assert_close(made(**read(batch), positions=positions), doubled[positions])
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_it_starts_from_the_teachers_own_encoder(teacher_folder, task):
    teacher = task.networks.load(teacher_folder)
    features = rows_of(task, teacher_folder)
    made, batch = derived_masked_lm(teacher, teacher_folder, task, features, steps=0), task.reader.collate(features)
    torch.testing.assert_close(
        made.encoder(**read(batch)).last_hidden_state, teacher.base_model(**read(batch)).last_hidden_state
    )


def test_training_makes_it_better_at_restoring_words(teacher_folder, task):
    teacher, features = task.networks.load(teacher_folder), rows_of(task, teacher_folder)
    batch = task.reader.collate(list(features) * 20)
    losses = []
    for steps in (0, 40):
        made = derived_masked_lm(teacher, teacher_folder, task, features, steps=steps)
        torch.manual_seed(0)
        with torch.no_grad():
            losses.append(restoration_loss(made, batch["input_ids"], batch["attention_mask"]).item())
    assert losses[1] < losses[0] - 0.3


def test_the_same_seed_gives_the_same_generator_and_random_numbers_go_on_as_before(teacher_folder, task):
    teacher, features = task.networks.load(teacher_folder), rows_of(task, teacher_folder)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = derived_masked_lm(teacher, teacher_folder, task, features, steps=3)
    assert torch.equal(torch.rand(3), expected)
    again = derived_masked_lm(teacher, teacher_folder, task, features, steps=3)
    other = derived_masked_lm(teacher, teacher_folder, task, features, steps=3, seed=1)
    assert same(one, again)
    assert not same(one, other)


def test_a_cached_one_is_read_back_to_the_bit(teacher_folder, task, tmp_path):
    teacher, features = task.networks.load(teacher_folder), rows_of(task, teacher_folder)
    cache = tmp_path / "generator.safetensors"
    made = derived_masked_lm(teacher, teacher_folder, task, features, steps=3, cache=cache)
    assert [file.name for file in tmp_path.glob("generator*")] == ["generator.safetensors"]
    again = derived_masked_lm(teacher, teacher_folder, task, features, steps=99, cache=cache)
    assert same(made, again)
    assert (again.steps, again.seconds) == (made.steps, made.seconds)
    assert (made.steps, made.seconds > 0) == (3, True)


def test_only_words_are_masked_while_it_learns(teacher_folder):
    class Watching(MaskedLm):
        mask_id, special_ids = masking(teacher_folder)

        def forward(self, input_ids, attention_mask, positions):
            seen.append(input_ids)
            return torch.zeros(int(positions.sum()), 30)

    seen = []
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]]).repeat(200, 1)
    loss = restoration_loss(Watching(), ids, (ids != 0).long())
    assert loss.item() == pytest.approx(torch.tensor(30.0).log().item(), rel=1e-5)
    masked = seen[0] != ids
    assert set(ids[masked].tolist()) == {5, 6, 7, 8}
    assert set(seen[0][masked].tolist()) == {4}
    assert masked.sum().item() / (ids > 4).sum().item() == pytest.approx(0.3, abs=0.05)


def test_text_without_any_word_costs_nothing(teacher_folder, task):
    teacher, features = task.networks.load(teacher_folder), rows_of(task, teacher_folder)
    made = derived_masked_lm(teacher, teacher_folder, task, features, steps=0)
    ids = torch.tensor([[2, 3]])
    assert restoration_loss(made, ids, torch.ones_like(ids)).item() == 0.0


def test_a_named_one_is_loaded_with_its_trained_head(teacher_folder, tmp_path):
    folder, net = save_masked_lm(tmp_path / "mlm")
    found = named_masked_lm(str(folder), teacher_folder)
    ids = torch.tensor([[2, 5, 4, 3]])
    expected = net(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found(ids, torch.ones_like(ids), ids == 4), expected[ids == 4])
    assert found.mask_id == 4
    assert set(found.special_ids) == {0, 1, 2, 3, 4}


def test_a_classifier_is_no_masked_language_model(teacher_folder, tmp_path):
    other = save_encoder(tmp_path / "classifier", seed=1)
    with pytest.raises(
        ModelError, match=r"is no trained masked language model .*; name another, or leave `generator` out"
    ):
        named_masked_lm(str(other), teacher_folder)


def test_another_vocabulary_is_refused(teacher_folder, tmp_path):
    folder, _ = save_masked_lm(tmp_path / "mlm")
    save_tokenizer(folder, words=[*WORDS[:-1], "boring"])
    with pytest.raises(ModelError, match=r"has another vocabulary than the teacher .*; name a masked"):
        named_masked_lm(str(folder), teacher_folder)


def test_a_tokenizer_without_a_mask_is_refused(teacher_folder, task):
    import json

    path = teacher_folder / "tokenizer_config.json"
    told = json.loads(path.read_text())
    told.pop("mask_token")
    path.write_text(json.dumps(told))
    with pytest.raises(ModelError, match=r"has no mask token.*such as logit or hidden"):
        masking(teacher_folder)


def test_no_texts_are_refused(teacher_folder, task):
    with pytest.raises(ModelError, match="no texts to derive"):
        derived_masked_lm(task.networks.load(teacher_folder), teacher_folder, task, [], steps=1)


@pytest.mark.parametrize("named", [False, True])
def test_mate_kd_plays_with_it(named, teacher_folder, tmp_path, task):
    teacher, student = (
        task.networks.load(teacher_folder),
        task.networks.load(save_encoder(tmp_path / "student", layers=1, seed=1)),
    )
    features = rows_of(task, teacher_folder)
    batch = task.reader.collate(features)
    mlm = str(save_masked_lm(tmp_path / "mlm")[0]) if named else None
    method = mate_kd(mlm, ascents=1, descents=1, generator_rate=0.01)
    nets = networks(task, student, teacher, batch, rows=len(features), epochs=1.0, steps=10)
    written = MaskedLms(teacher, teacher_folder, task, features, cache=cached(tmp_path, task, teacher_folder))
    method.bind(replace(nets, masked_lm=written, batches=OwnBatches(task, features, batch=4, seed=0)))
    assert list(written.given) == [mlm or "derived from the teacher, 1 step"]
    distiller = Distiller(task, student, method, teacher).train()
    before = copy.deepcopy(method.views[0].generator.state_dict())
    found = distiller.outcome(batch)
    assert not same(method.views[0].generator, before)
    found.loss.backward()
    assert set(found.values) == {"task", "soft", "adversarial"}
    assert all(weight.grad is not None for weight in student.get_input_embeddings().parameters())
    assert all(weight.grad is None for net in (teacher, method) for weight in net.parameters())


def rows_of(task, folder):
    return task.reader.encode([{"text": text, "label": place % 2} for place, text in enumerate(TEXTS)], folder)


def cached(tmp_path, task, folder):
    """A cache that is filled already, so that a whole derivation is not run here."""
    file = tmp_path / "cached.safetensors"
    derived_masked_lm(task.networks.load(folder), folder, task, rows_of(task, folder), steps=1, cache=file)
    return file


def read(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def same(one, other):
    mine = one.state_dict()
    theirs = other if isinstance(other, dict) else other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def save_masked_lm(folder):
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(5)
    net = AutoModelForMaskedLM.from_config(encoder_config("bert", layers=1)).eval()
    net.save_pretrained(folder)
    save_tokenizer(folder)
    return folder, net
