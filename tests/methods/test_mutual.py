import math

import pytest
import torch
import torch.nn.functional as F
from small_text import small_bert, small_rows, small_task
from tiny_networks import TinyText, networks, networks_of, parity, run, sizes, text_batch

from kd2deploy.methods.lmcl import lmcl
from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.mutual import (
    interactive,
    mutual,
    similarities,
    soft_contrast,
    soft_interactive,
    soft_vanilla,
    supervised_contrast,
    vanilla,
    with_weights_shuffled,
)
from kd2deploy.recipe import Recipe
from kd2deploy.train.distiller import Distiller
from kd2deploy.train.distiller import networks as described

LOSSES = {"vcl": vanilla, "icl": interactive, "soft_vcl": soft_vanilla, "soft_icl": soft_interactive}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("case", parity("mutual"))
def test_parity_with_an_independent_computation(case, name):
    vectors = [F.normalize(case[network], dim=-1) for network in ("one", "other")]
    found = LOSSES[name](vectors, case["labels"], case["temperature"])
    assert found.item() == pytest.approx(case[name], abs=1e-10)


def test_by_hand_three_rows_of_which_two_are_alike():
    similarity = torch.tensor([[9.0, 1.0, 0.0], [1.0, 9.0, 2.0], [5.0, 5.0, 9.0]])
    first = -math.log(math.e / (math.e + 1))
    second = -math.log(math.e / (math.e + math.e**2))
    found = supervised_contrast(similarity, torch.tensor([4, 4, 7]))
    assert found.item() == pytest.approx((first + second) / 2)


def test_a_row_itself_is_neither_positive_nor_in_the_sum():
    similarity, labels = torch.randn(4, 4), torch.tensor([0, 0, 1, 1])
    other = similarity + torch.diag(torch.randn(4))
    torch.testing.assert_close(supervised_contrast(similarity, labels), supervised_contrast(other, labels))


def test_an_anchor_without_a_positive_is_left_out_of_the_mean_and_stays_a_negative():
    similarity = torch.randn(3, 3)
    found = supervised_contrast(similarity, torch.tensor([0, 0, 1]))
    expected = -(similarity[0, 1] - similarity[0, 1:].logsumexp(0)) - (
        similarity[1, 0] - similarity[1, [0, 2]].logsumexp(0)
    )
    torch.testing.assert_close(found, expected / 2)


@pytest.mark.parametrize("labels", [[0, 1, 2], [-100, -100, 1], [3]])
def test_without_any_positive_there_is_a_zero_with_a_finite_gradient(labels):
    similarity = torch.randn(len(labels), len(labels), requires_grad=True)
    found = supervised_contrast(similarity, torch.tensor(labels))
    found.backward()
    assert found.item() == 0
    assert not similarity.grad.any()


def test_soft_targets_keep_the_diagonal_and_are_detached():
    learner, target = torch.randn(3, 3, requires_grad=True), torch.randn(3, 3, requires_grad=True)
    found = soft_contrast(learner, target)
    torch.testing.assert_close(found, softened_kl(learner, target, 3.0).mean())
    found.backward()
    assert learner.grad.any()
    assert target.grad is None


def test_the_interactive_losses_ask_both_ways():
    one, other = (F.normalize(torch.randn(4, 5), dim=-1) for _ in range(2))
    labels = torch.tensor([0, 1, 0, 1])
    there, back = similarities(one, other, 0.1), similarities(other, one, 0.1)
    torch.testing.assert_close(
        interactive([one, other], labels, 0.1), supervised_contrast(there, labels) + supervised_contrast(back, labels)
    )
    torch.testing.assert_close(
        soft_interactive([one, other], labels, 0.1), soft_contrast(there, back) + soft_contrast(back, there)
    )


def test_losses_are_summed_over_networks_and_ordered_pairs():
    vectors = [F.normalize(torch.randn(4, 5), dim=-1)] * 3
    labels = torch.tensor([0, 1, 0, 1])
    one = supervised_contrast(similarities(vectors[0], vectors[0], 0.1), labels)
    torch.testing.assert_close(vanilla(vectors, labels, 0.1), 3 * one)
    torch.testing.assert_close(interactive(vectors, labels, 0.1), 6 * one)


def test_one_network_has_its_task_loss_and_the_vanilla_loss_alone():
    student, batch = TinyText(), text_batch(rows=6)
    method = bound(student, networks=1)
    assert set(method.terms) == {"task", "vcl"}
    logits, hidden, _ = student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    vectors = F.normalize(method.terms["task"].heads[0](hidden[-1][:, 0]), dim=-1)
    expected = F.cross_entropy(logits, batch["labels"]) + 0.1 * vanilla([vectors], batch["labels"], 0.1)
    torch.testing.assert_close(run(method, student, student, batch), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_each_of_the_four_losses_can_be_switched_off(name):
    assert set(mutual().terms) - set(mutual(**{name: 0.0}).terms) == {name}


def test_nobody_teaches_and_every_network_gets_gradients():
    assert "teacher" not in mutual(soft=1.0).needs
    student, batch = TinyText(), text_batch(rows=6)
    method = bound(student, networks=3, soft=1.0)
    run(method, student, student, batch).backward()
    peers = method.terms["task"].peers
    assert len(peers) == 2
    for net in (student, *peers, *method.terms["task"].heads):
        assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


def test_the_task_term_is_the_sum_of_all_networks_losses():
    student, batch = TinyText(), text_batch()
    method = bound(student)
    (peer,) = method.terms["task"].peers
    expected = sum(
        F.cross_entropy(net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0], batch["labels"])
        for net in (student, peer)
    )
    found = run(bound(student, vcl=0.0, icl=0.0, soft_vcl=0.0, soft_icl=0.0), student, student, batch)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("count", "learners"), [(2, 2), (3, 1)])
def test_soft_targets_reach_both_of_two_networks_and_else_the_student_alone(count, learners):
    student, batch = TinyText(), text_batch()
    method = bound(student, networks=count, soft=1.0)
    whole = run(method, student, student, batch)
    without = bound(student, networks=count)
    without.load_state_dict(method.state_dict())
    nets = (student, *method.terms["task"].peers)
    logits = [net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0] for net in nets]
    mean = torch.stack(logits).mean(0)
    expected = sum(softened_kl(own, mean, 3.0).mean() for own in logits[:learners])
    torch.testing.assert_close(whole - run(without, student, student, batch), expected)


def test_vectors_have_unit_length_and_128_values():
    student, batch = TinyText(), text_batch()
    method = bound(student)
    run(method, student, student, batch)
    for vectors in method.terms["task"].last[1].vectors:
        assert vectors.shape == (4, 128)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(4))


def test_peers_begin_with_other_weights_of_the_students_kind():
    student = small_bert(2, 16, seed=1)
    peer = with_weights_shuffled(student)
    for (name, own), other in zip(student.named_parameters(), peer.parameters(), strict=True):
        assert torch.equal(own.flatten().sort().values, other.flatten().sort().values), name
        assert torch.equal(own, other) == (own.unique().numel() == 1), name
        assert own.data_ptr() != other.data_ptr()


def test_peers_are_run_once_for_all_terms():
    student, batch = TinyText(), text_batch()
    method = bound(student)
    calls = []
    method.terms["task"].peers[0].register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        run(method, student, student, batch)
    assert len(calls) == 2


@pytest.mark.parametrize("method_of", [mutual, lmcl])
def test_what_is_deployed_is_the_student_alone(method_of):
    student = small_bert(2, 16, seed=1)
    method, task = method_of(), small_task()
    method.bind(described(task, student, None, task.reader.collate(small_rows(2)), rows=8, epochs=1.0, steps=2))
    whole = Distiller(task, student, method)
    alone = sum(weight.numel() for weight in small_bert(2, 16).parameters())
    assert sum(weight.numel() for weight in whole.student.parameters()) == alone
    assert sum(weight.numel() for weight in whole.method.parameters()) > alone


@pytest.mark.parametrize("method_of", [mutual, lmcl])
def test_its_rows_come_in_pairs_of_a_class(method_of):
    assert method_of().rows_of_a_class == 2


def test_a_recipe_needs_no_teacher():
    found = {
        "task": "text_classification",
        "data": {"use": "reuters", "name": "r8"},
        "baseline": "models/finished",
        "student": {"create": {"model_type": "bert"}},
        "distill": [{"method": "mutual"}],
    }
    assert Recipe.parse(found).teacher is None


@pytest.mark.parametrize(
    "arguments", [{"networks": 0}, {"temperature": 0.0}, {"dim": 0}, {"vcl": -1.0}, {"soft_icl": -1.0}, {"soft": -1.0}]
)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        mutual(**arguments)


def test_a_student_without_an_embedding_is_refused():
    with pytest.raises(ValueError, match="mutual compares embeddings, and the student gives none"):
        mutual().bind(networks(sizes(embedding=0), student=TinyText()))


def bound(student, seed=0, **arguments):
    torch.manual_seed(seed)
    method = mutual(**arguments)
    method.bind(networks_of(student, student))
    return method
