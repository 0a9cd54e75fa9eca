import copy

import pytest
import torch
import torch.nn.functional as F
from tiny_networks import TinyText, networks, networks_of, parity, run, sizes, text_batch
from tiny_pictures import pictures, task_and_pair

from kd2deploy.methods._layers import features_of, levels_of, stepped
from kd2deploy.methods._maths import mean_over_positions
from kd2deploy.methods.lmcl import Shares, lmcl, pair_loss, weight_of
from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.mutual import interactive, soft_contrast, soft_interactive, soft_vanilla, vanilla
from kd2deploy.train.distiller import Distiller
from kd2deploy.train.distiller import networks as described

SHARES = Shares(0.1, 0.2, 0.3, 0.4, 0.1)


def vectors(rows=4):
    return [F.normalize(torch.randn(rows, 5), dim=-1) for _ in range(2)]


def bound(student, seed=0, **arguments):
    torch.manual_seed(seed)
    method = lmcl(**arguments)
    method.bind(networks_of(student, student))
    return method


@pytest.mark.parametrize("case", parity("lmcl"))
def test_parity_of_loss_and_gradients_with_an_independent_computation(case):
    learner, peer = (case[name].requires_grad_(True) for name in ("learner", "peer"))
    weights = weight_of(*(F.normalize(case[name], dim=-1) for name in ("told", "heeded")))
    torch.testing.assert_close(weights, case["weights"])
    shares = Shares(*(case[name] for name in Shares._fields))
    found = pair_loss(F.normalize(learner, dim=-1), F.normalize(peer, dim=-1), case["labels"], weights, shares)
    assert found.item() == pytest.approx(case["loss"], abs=1e-10)
    for gradient, expected in zip(torch.autograd.grad(found, (learner, peer)), ("of_learner", "of_peer"), strict=True):
        torch.testing.assert_close(gradient, case[expected], rtol=1e-6, atol=1e-8)


def test_with_a_weight_of_one_a_pair_both_ways_has_the_losses_of_mutual():
    one, other = vectors()
    labels, ones = torch.tensor([0, 1, 0, 1]), torch.ones(4)
    found = pair_loss(one, other, labels, ones, SHARES) + pair_loss(other, one, labels, ones, SHARES)
    losses = (vanilla, interactive, soft_vanilla, soft_interactive)
    expected = sum(share * loss([one, other], labels, 0.1) for share, loss in zip(SHARES, losses, strict=False))
    torch.testing.assert_close(found, expected)


def test_each_rows_losses_are_times_its_weight():
    one, other = vectors()
    labels, weights = torch.tensor([0, 1, 0, 1]), torch.rand(4)
    each = [pair_loss(one, other, labels, row, SHARES) for row in torch.eye(4)]
    torch.testing.assert_close(pair_loss(one, other, labels, weights, SHARES), (weights * torch.stack(each)).sum())


def test_soft_contrast_by_hand_of_two_rows():
    learner, target = torch.randn(2, 2), torch.randn(2, 2)
    rows = softened_kl(learner, target, 3.0)
    found = soft_contrast(learner, target, torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(found, (0.5 * rows[0] + 0.25 * rows[1]) / 2)


def test_weights_by_hand_lie_between_0_and_1():
    one, other = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    torch.testing.assert_close(weight_of(one, other), torch.tensor([0.731059, 0.5, 0.268941]))


@pytest.mark.parametrize(
    ("blocks", "levels", "expected"),
    [(3, 3, (1, 2)), (12, 3, (4, 8)), (2, 3, (1,)), (4, 1, ()), (-1, 3, ()), (1, 3, ())],
)
def test_early_layers_stand_at_equal_distances(blocks, levels, expected):
    assert levels_of(blocks, levels) == expected


def test_a_layers_features_are_the_mean_of_what_counts_and_the_last_the_embedding():
    student, batch = TinyText(), text_batch()
    task = networks_of(student, student).task
    seen = task.observe(student, batch, needs=frozenset({"hidden", "embedding"}))
    early, last = features_of(seen, (1,))
    torch.testing.assert_close(early, mean_over_positions(seen.hidden[1], seen.mask))
    assert torch.equal(last, seen.embedding)


def test_every_layer_learns_from_every_layer_of_the_other_network():
    student, batch = TinyText(blocks=3), text_batch(rows=6)
    method = bound(student, every=1000)
    run(method, student, student, batch)
    together = method.terms["task"]
    seen = together.last[1]
    assert len(seen.vectors[0]) == len(seen.vectors[1]) == 3
    calls = []
    weights = together.weights
    expected = 0.0
    for one, other in ((0, 1), (1, 0)):
        for layer in range(3):
            for heeded in range(3):
                mine = F.normalize(weights[one][layer](seen.features[one][layer]), dim=-1)
                theirs = F.normalize(weights[other][heeded](seen.features[other][heeded]), dim=-1)
                calls.append((one, layer, heeded))
                expected = expected + pair_loss(
                    seen.vectors[one][layer],
                    seen.vectors[other][heeded],
                    batch["labels"],
                    weight_of(mine, theirs),
                    together.shares,
                )
    assert len(calls) == 18
    torch.testing.assert_close(together.contrast_of(seen, batch["labels"]), expected)


def test_vectors_have_unit_length_and_128_values():
    student, batch = TinyText(), text_batch()
    method = bound(student)
    run(method, student, student, batch)
    for own in method.terms["task"].last[1].vectors:
        for layer in own:
            assert layer.shape == (4, 128)
            torch.testing.assert_close(layer.norm(dim=-1), torch.ones(4))


def test_a_step_is_traced_back_through():
    weight, rate = torch.tensor(3.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    after = stepped(rate * weight**2, {"weight": weight}, 0.1)["weight"]
    torch.testing.assert_close(after, weight - 0.1 * 2 * rate * weight)
    (found,) = torch.autograd.grad(after, rate)
    torch.testing.assert_close(found, torch.tensor(-0.6))


def test_the_weights_change_on_the_first_of_every_few_mini_batches_alone_and_no_network_does():
    student, batch = TinyText(), text_batch(rows=6)
    method = bound(student, every=3)
    together = method.terms["task"]
    before = {name: value.clone() for name, value in method.state_dict().items() if isinstance(value, torch.Tensor)}
    own = copy.deepcopy(student.state_dict())
    changed = []
    for _ in range(5):
        weights = [weight.clone() for weight in together.weights.parameters()]
        run(method, student, student, batch)
        changed.append(not all(map(torch.equal, weights, together.weights.parameters())))
    assert changed == [True, False, False, True, False]
    assert all(torch.equal(value, own[name]) for name, value in student.state_dict().items())
    for name, value in method.state_dict().items():
        if isinstance(value, torch.Tensor) and ".weights." not in name:
            assert torch.equal(value, before[name]), name
    assert not any(weight.requires_grad for weight in together.weights.parameters())


def test_the_weights_go_where_the_labels_loss_after_the_imagined_steps_is_smaller():
    student, batch = TinyText(), text_batch(rows=6)
    method = bound(student, every=1000, imagined=0.2, weight_rate=1.0)
    together = method.terms["task"]
    shown = dict(batch)
    before = together.loss_after(shown, batch["labels"]).item()
    for _ in range(5):
        together.learn(shown, batch["labels"])
    assert together.loss_after(shown, batch["labels"]).item() < before


def test_where_the_labels_loss_is_no_number_the_weights_stay(monkeypatch):
    student, batch = TinyText(), text_batch(rows=6)
    together = bound(student).terms["task"]
    known = [weight.clone() for weight in together.weights.parameters()]
    of = together.weights[0][0].weight
    monkeypatch.setattr(together, "loss_after", lambda shown, labels: of.sum() * float("nan"))
    together.learn(batch, batch["labels"])
    assert all(map(torch.equal, known, together.weights.parameters()))


def test_nobody_teaches_and_both_networks_get_gradients():
    assert "teacher" not in lmcl(soft=1.0).needs
    student, batch = TinyText(), text_batch(rows=6)
    method = bound(student, soft=1.0)
    run(method, student, student, batch).backward()
    together = method.terms["task"]
    for net in (student, together.peer, together.heads):
        assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())
    assert all(weight.grad is None for weight in together.weights.parameters())


def test_the_peer_is_run_once_for_all_terms():
    student, batch = TinyText(), text_batch()
    method = bound(student, every=1000, soft=1.0)
    run(method, student, student, batch)
    calls = []
    method.terms["task"].peer.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        run(method, student, student, batch)
    assert len(calls) == 2


def test_soft_targets_are_the_mean_answer_for_both():
    student, batch = TinyText(), text_batch()
    method = bound(student, every=1000, soft=1.0)
    run(method, student, student, batch)
    nets = (student, method.terms["task"].peer)
    logits = [net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0] for net in nets]
    mean = torch.stack(logits).mean(0)
    seen = method.terms["task"].last[1]
    found = [one.logits for one in seen.observations]
    torch.testing.assert_close(found, logits)
    whole, without = run(method, student, student, batch), bound(student, every=1000)
    without.load_state_dict(method.state_dict())
    expected = sum(softened_kl(own, mean, 3.0).mean() for own in logits)
    torch.testing.assert_close(whole - run(without, student, student, batch), expected)


def test_pictures_learn_through_their_normalizations_which_stay_as_they_were():
    task, student, _ = task_and_pair()
    batch, method = pictures(), lmcl(every=1)
    method.bind(described(task, student, None, batch, rows=3, epochs=1.0, steps=3))
    distiller = Distiller(task, student.train(), method).train()
    together = method.terms["task"]
    statistics = {name: value.clone() for name, value in student.named_buffers()}
    together.learn(dict(batch), batch["labels"])
    assert all(torch.equal(value, statistics[name]) for name, value in student.named_buffers())
    found = distiller.outcome(batch).loss
    found.backward()
    assert found.isfinite()


@pytest.mark.parametrize(
    "arguments",
    [
        {"levels": 0},
        {"temperature": 0.0},
        {"dim": 0},
        {"every": 0},
        {"weight_rate": 0.0},
        {"imagined": 0.0},
        {"vcl": -1.0},
    ],
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        lmcl(**arguments)


def test_a_student_without_an_embedding_is_refused():
    with pytest.raises(ValueError, match="lmcl compares embeddings, and the student gives none"):
        lmcl().bind(networks(sizes(embedding=0), student=TinyText()))
