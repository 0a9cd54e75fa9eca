import copy
import math

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import TinyText, networks_of, parity
from tiny_pictures import pictures, task_and_pair

from kd2deploy.methods._synthesis import Range, made_by, normalizations, statistics_distance, statistics_of, strangeness
from kd2deploy.methods._two_players import evaluating
from kd2deploy.methods.data_free import TURNS, Pool, data_free, in_turns
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.train.distiller import Distiller, networks
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings

SMALL = {"made": 4, "steps": 2, "every": 3}


def resnet(width: int, seed: int):
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(seed)
    config = ResNetConfig(
        num_channels=1, num_labels=3, embedding_size=4, hidden_sizes=[4, width], depths=[1, 1], layer_type="basic"
    )
    return ResNetForImageClassification(config)


def task_and_resnets():
    task = ImageClassification(("zero", "one", "two"), channels=1, height=16, width=16)
    return task, resnet(8, 1), resnet(16, 2).eval().requires_grad_(False)


def bound(**arguments):
    """A distiller of the pair, its method bound, and a batch of 3 pictures out of a bank of 5."""
    task, student, teacher = task_and_resnets()
    method, batch = data_free(**{**SMALL, **arguments}), pictures()
    torch.manual_seed(0)
    method.bind(networks(task, student, teacher, batch, rows=5, epochs=2.0, steps=10))
    return Distiller(task, student, method, teacher).train(), batch


def pool_of(distiller) -> Pool:
    (found,) = distiller.method.views
    return found


# what a frozen teacher tells -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", parity("data_free"))
def test_parity_of_the_statistics_and_their_gradient_with_an_independent_computation(case):
    seen = case["seen"].requires_grad_(True)
    found = statistics_distance(seen, case["mean"], case["variance"])
    assert found.item() == pytest.approx(case["distance"], abs=1e-12)
    (gradient,) = torch.autograd.grad(found, seen)
    torch.testing.assert_close(gradient, case["of_seen"], rtol=1e-6, atol=1e-8)


def test_statistics_by_hand():
    seen = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[5.0, 7.0], [0.0, 0.0]]])  # means 4 and 0, variances 5 and 0
    found = statistics_distance(seen, torch.tensor([1.0, 4.0]), torch.tensor([5.0, 2.0]))
    assert found.item() == pytest.approx(math.hypot(3, 4) + 2)


def test_statistics_vanish_where_a_layer_sees_what_it_saw():
    seen = torch.randn(6, 3, 4, 4)
    over = (0, 2, 3)
    found = statistics_distance(seen, seen.mean(over), seen.var(over, correction=0))
    assert found.item() == pytest.approx(0, abs=1e-5)


def test_the_running_statistics_of_every_normalization_are_asked_and_left_as_they_were():
    task, _, teacher = task_and_resnets()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with statistics_of(teacher) as apart:
        task.networks.observe(teacher, {"pixel_values": pictures()["pixel_values"]})
    assert len(apart) == len(normalizations(teacher)) > 2
    with statistics_of(teacher) as again:
        pass
    task.networks.observe(teacher, {"pixel_values": pictures()["pixel_values"]})
    assert not again, "nothing watches outside of the block"
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_strangeness_is_the_cross_entropy_and_the_statistics():
    task, _, teacher = task_and_resnets()
    batch = pictures()
    shown = {"pixel_values": batch["pixel_values"]}
    with statistics_of(teacher) as apart:
        logits = task.networks.observe(teacher, shown).logits
    expected = F.cross_entropy(logits, batch["labels"]) + sum(apart)
    torch.testing.assert_close(strangeness(task.networks, teacher, shown, batch["labels"]), expected)


# what a generator makes ------------------------------------------------------------------------------------------


def test_a_range_is_that_of_each_channel():
    inputs = torch.stack([torch.tensor([[-1.0, 2.0], [0.0, 8.0]]), torch.tensor([[1.0, 0.0], [4.0, 4.0]])])
    between = Range.of(inputs)
    assert between.lowest.tolist() == [[-1.0], [0.0]]
    assert between.highest.tolist() == [[2.0], [8.0]]
    torch.testing.assert_close(between.values(torch.full((1, 2, 2), 0.5)), torch.tensor([[[0.5, 0.5], [4.0, 4.0]]]))


def test_the_inputs_of_the_least_loss_are_kept():
    seen = []

    def loss(made):
        seen.append(made.detach().clone())
        return made.mean() * 0 + [3.0, 1.0, 2.0][len(seen) - 1]

    found = made_by(torch.nn.Sequential(torch.nn.Linear(256, 2), torch.nn.Sigmoid()), 5, 3, loss)
    assert torch.equal(found, seen[1])
    assert not found.requires_grad


def test_a_generator_learns_what_its_loss_asks_for():
    torch.manual_seed(0)
    kind = task_and_resnets()[0].networks
    found = made_by(kind.synthesizer((1, 8, 8), 256), 4, 30, lambda made: (made - 0.9).square().mean())
    assert found.shape == (4, 1, 8, 8)
    assert 0 <= found.min() <= found.max() <= 1
    first = made_by(kind.synthesizer((1, 8, 8), 256), 4, 1, lambda made: (made - 0.9).square().mean())
    assert (found - 0.9).square().mean() < (first - 0.9).square().mean()


def test_every_turn_of_every_label_is_told_apart():
    kind = task_and_resnets()[0].networks
    inputs = torch.arange(8.0).reshape(2, 1, 2, 2)
    turned, answers = in_turns(kind, "pixel_values", inputs, torch.tensor([0, 2]))
    assert answers.tolist() == [0, 8, 1, 9, 2, 10, 3, 11]
    for turn in range(TURNS):
        assert torch.equal(turned[2 * turn : 2 * turn + 2], inputs.rot90(turn, (-2, -1)))


# the pool --------------------------------------------------------------------------------------------------------


def test_the_pool_grows_before_the_first_of_every_few_mini_batches_and_keeps_its_labels():
    distiller, batch = bound()
    sizes = []
    for _ in range(7):
        distiller.outcome(batch)
        sizes.append(len(pool_of(distiller).inputs))
    assert sizes == [4, 4, 4, 8, 8, 8, 12]
    assert len(pool_of(distiller).labels) == 12
    assert set(pool_of(distiller).labels.tolist()) <= {0, 1, 2}


def test_the_pool_grows_in_bfloat16_too():
    distiller, batch = bound()
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(4):
            assert distiller.outcome(batch).loss.isfinite()
    assert len(pool_of(distiller).inputs) == 8


def test_the_head_has_four_outputs_for_each_class_and_begins_anew_with_each_generator():
    distiller, batch = bound()
    head = pool_of(distiller).turner
    assert head.out_features == 4 * 3
    assert not any(weight.requires_grad for weight in head.parameters())
    with torch.no_grad():
        head.weight.fill_(50.0)
    pool_of(distiller).grow("pixel_values", batch["pixel_values"])
    assert head.weight.abs().max() < 1
    first = head.weight.clone()
    pool_of(distiller).learn_turns("pixel_values", batch["pixel_values"], batch["labels"])
    assert not torch.equal(head.weight, first)
    pool_of(distiller).learn_turns("pixel_values", batch["pixel_values"], torch.full((3,), -100))


def test_what_the_head_can_tell_enters_the_making_with_a_negative_sign(monkeypatch):
    distiller, batch = bound()
    pool, values, told = pool_of(distiller), batch["pixel_values"], []

    def fixed(generator, count, steps, loss):
        made = torch.full((count, 1, 16, 16), 0.25)
        told.append(loss(made))
        return made

    monkeypatch.setattr("kd2deploy.methods.data_free.made_by", fixed)
    head = copy.deepcopy(pool.turner.state_dict())
    pool.grow("pixel_values", values)
    pool.turner.load_state_dict(head)  # which has begun anew
    shown = Range.of(values).values(torch.full((4, 1, 16, 16), 0.25))
    kind, student, teacher = pool.networks
    with evaluating(student):
        turns = pool.turn_loss("pixel_values", shown, pool.labels)
    strange = strangeness(kind, teacher, {"pixel_values": shown}, pool.labels)
    torch.testing.assert_close(told[0], strange - 10 * turns)


def test_rows_of_the_pool_stand_in_for_the_banks_with_their_own_labels():
    distiller, batch = bound(turning=0.0)
    pool = pool_of(distiller)
    pool.inputs, pool.labels = torch.full((7, 1, 16, 16), 9.0).half(), torch.ones(7, dtype=torch.long)
    pool.turn, pool.every = 1, 1000
    pool.rows = 7
    torch.manual_seed(0)
    seen = [pool(batch).student for _ in range(200)]
    of_pool = torch.stack([look["pixel_values"].flatten(1).eq(9).all(1) for look in seen])
    assert of_pool.float().mean().item() == pytest.approx(0.5, abs=0.1)
    labels = torch.stack([look["labels"] for look in seen])
    assert (labels[of_pool] == 1).all()
    assert torch.equal(labels[~of_pool], batch["labels"].expand(200, 3)[~of_pool])
    assert batch["labels"].tolist() == [0, 2, 1], "the training's own batch stays as it is"


def test_both_networks_see_the_same_and_the_teacher_stays_as_it_was():
    distiller, batch = bound()
    before = {name: value.clone() for name, value in distiller.teacher.state_dict().items()}
    student = {name: value.clone() for name, value in distiller.student.state_dict().items()}
    pool = pool_of(distiller)
    look = pool(batch)
    assert look.student is look.teacher
    assert all(torch.equal(value, before[name]) for name, value in distiller.teacher.state_dict().items())
    assert all(torch.equal(value, student[name]) for name, value in distiller.student.state_dict().items())
    assert all(weight.grad is None for weight in distiller.student.parameters())
    assert distiller.student.training


def test_the_loss_reaches_the_student_and_its_map_and_nothing_of_the_pool():
    distiller, batch = bound()
    distiller.outcome(batch).loss.backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in distiller.student.parameters())
    assert all(weight.grad is not None for weight in distiller.method.terms["alignment"].map.parameters())
    assert all(weight.grad is None for weight in pool_of(distiller).parameters())


def test_without_made_inputs_the_bank_alone_is_learnt_from():
    method = data_free(made=0)
    assert not method.views
    assert {view for weighted in method.weighted.values() for view in weighted.term.views} == {"clean"}


def test_a_killed_training_goes_on_with_its_pool(tmp_path):
    class Killed(Exception):
        pass

    def trained(folder, killed):
        task, student, teacher = task_and_resnets()
        rows = [
            {"pixel_values": torch.randn(1, 16, 16).numpy(), "mean": 0.0, "std": 1.0, "labels": at % 3, "index": at}
            for at in range(8)
        ]
        scores = iter(range(9))

        def score(net):
            if next(scores) == killed:
                raise Killed
            return 0.0

        settings = Settings(epochs=3, batch=4, learning_rate=1e-3, keep="last", score_every=3, checkpoint_every=2)
        distill(Training(task, student, data_free(**SMALL), rows, settings, 3, teacher), folder, score=score)
        return student

    torch.manual_seed(0)
    whole = trained(tmp_path / "whole", None)
    torch.manual_seed(0)
    with pytest.raises(Killed):
        trained(tmp_path / "cut", 0)
    torch.manual_seed(0)
    resumed = trained(tmp_path / "cut", None)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


# refusals --------------------------------------------------------------------------------------------------------


def test_a_teacher_without_batch_normalizations_is_refused():
    task, student, vit = task_and_pair()
    with pytest.raises(
        ValueError, match="data_free makes inputs by the teacher's batch normalizations, and it has none"
    ):
        data_free().bind(networks(task, student, vit, pictures(), rows=3, epochs=1.0, steps=3))


def test_pictures_that_are_not_square_are_refused_where_they_are_turned():
    kind = task_and_resnets()[0].networks
    with pytest.raises(ValueError, match="make them square, or set turning: 0"):
        in_turns(kind, "pixel_values", torch.zeros(2, 1, 4, 6), torch.tensor([0, 1]))


def test_texts_are_learnt_from_as_they_stand():
    method = data_free(made=0)
    method.bind(networks_of(TinyText(), TinyText()))
    assert method.terms["alignment"].by_position


@pytest.mark.parametrize(
    "arguments", [{"made": -1}, {"steps": 0}, {"every": 0}, {"turning": -1.0}, {"temperature": 0.0}, {"soft": -1.0}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        data_free(**arguments)
