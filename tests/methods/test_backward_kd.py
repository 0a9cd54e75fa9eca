from dataclasses import replace

import pytest
import torch
from tiny_game import DroppingText, WordTask, players, sentences, snapshot, terms_of, unchanged
from tiny_networks import TinyText, at, networks, parity, run, sizes
from torch import nn

from kd2deploy.core import Observation, Port
from kd2deploy.methods.backward_kd import MovedSamples, backward_kd, least_squares_map
from kd2deploy.methods.logit import logit


class Pixels(nn.Module):
    """A linear network on raw pixels."""

    def __init__(self, inputs=6, classes=3):
        super().__init__()
        self.layer = nn.Linear(inputs, classes)

    def forward(self, pixel_values):
        return torch.tanh(self.layer(pixel_values.flatten(1))) * 3


class PixelTask:
    name = "tiny_pixels"
    inputs = (Port("pixel_values", "float32", ("batch", 1, 2, 3)),)
    networks = property(lambda self: self)

    def observe(self, net, batch, *, needs=frozenset()):
        return Observation(logits=net(batch["pixel_values"]))

    def continuous_input(self, net, batch):
        return "pixel_values", batch["pixel_values"]

    def token_table(self, net):
        return None


class Linear(nn.Module):
    """Logits linear in the mean word embedding of a one-word text."""

    def __init__(self, weight, table):
        super().__init__()
        self.words = nn.Embedding.from_pretrained(table, freeze=False)
        self.weight = weight

    def forward(self, attention_mask, input_ids=None, inputs_embeds=None):
        state = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        return state[:, 0] @ self.weight, (state,), ()


@pytest.mark.parametrize("case", parity("backward_kd"))
def test_parity_with_an_independent_computation(case):
    case = {name: value.float() if isinstance(value, torch.Tensor) else value for name, value in case.items()}
    student, teacher = Linear(case["student"], case["start"]), Linear(case["teacher"], case["start_teacher"])
    rows, classes = len(case["start"]), case["student"].shape[1]
    both = sizes((3,), classes), sizes((4,), classes)
    view = MovedSamples(case["steps"], case["rate"])
    view.bind(networks(*both, task=WordTask(), student=student, teacher=teacher))
    view.token_map = case["q"]
    look = view({"input_ids": torch.arange(rows)[:, None], "attention_mask": torch.ones(rows, 1, dtype=torch.long)})
    moved_by = look.student["inputs_embeds"][:, 0] - case["start"]
    torch.testing.assert_close(moved_by, case["expected"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        look.teacher["inputs_embeds"][:, 0], case["start_teacher"] + case["expected"] @ case["q"], rtol=1e-4, atol=1e-5
    )


def test_by_hand_one_step_up_a_squared_distance():
    """Student x, teacher 0: the square's gradient is 2x, so a step of 0.1 takes 1 to 1.2 and two take it to 1.44."""
    for steps, expected in ((0, 1.0), (1, 1.2), (2, 1.44)):
        student, teacher = Linear(torch.eye(1), torch.ones(1, 1)), Linear(torch.zeros(1, 1), torch.ones(1, 1))
        view = MovedSamples(steps, 0.1)
        view.bind(networks(sizes((1,), 1), sizes((1,), 1), task=WordTask(), student=student, teacher=teacher))
        look = view({"input_ids": torch.zeros(1, 1, dtype=torch.long), "attention_mask": torch.ones(1, 1).long()})
        assert look.student["inputs_embeds"].item() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["text", "pixels"])
def test_moved_samples_are_further_apart_and_more_steps_further(kind):
    found = []
    for steps in (0, 1, 3):
        view, batch = (text_view if kind == "text" else pixel_view)(steps, rate=1e-2)
        found.append(apart(view, view(batch)))
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("kind", ["text", "pixels"])
def test_the_gradient_goes_through_the_teacher(kind):
    view, batch = (text_view if kind == "text" else pixel_view)(1, rate=1.0)
    look = view(batch)
    argument = "inputs_embeds" if kind == "text" else "pixel_values"
    task, student, teacher = view.networks
    start = task.networks.continuous_input(student, batch)[1].detach().requires_grad_(True)
    fixed = task.networks.observe(teacher, batch).logits.detach()
    answer = task.networks.observe(
        student, {name: value for name, value in batch.items() if name != "input_ids"} | {argument: start}
    )
    (without,) = torch.autograd.grad((answer.logits - fixed).square().sum(), start)
    assert not torch.allclose(look.student[argument] - start, without, atol=1e-3)


def test_nothing_of_either_network_changes_or_keeps_a_gradient():
    view, batch = text_view(3, student=DroppingText())
    _, student, teacher = view.networks
    student.train()
    before = snapshot(student), snapshot(teacher)
    view(batch)
    assert unchanged(student, before[0])
    assert unchanged(teacher, before[1])
    assert all(weight.grad is None for net in (student, teacher) for weight in net.parameters())
    assert student.modes == [False] * 3
    assert student.training
    assert not list(view.parameters())


def test_every_look_starts_from_the_original_and_follows_the_current_student():
    view, batch = text_view(2)
    first = view(batch).student["inputs_embeds"]
    assert torch.equal(first, view(batch).student["inputs_embeds"])
    _, student, _ = view.networks
    with torch.no_grad():
        student.head.weight.add_(1.0)
    assert not torch.equal(first, view(batch).student["inputs_embeds"])
    assert torch.equal(batch["input_ids"], sentences_again())


def test_moved_samples_enter_the_distillation_alone():
    method = backward_kd()
    _, _, nets = players()
    method.bind(nets)
    look = method.views[0](sentences())
    assert "labels" not in look.student
    assert "labels" not in look.teacher
    assert [name for name, weighted in method.weighted.items() if "moved" in weighted.term.views] == ["moved"]
    assert "labels" not in method.weighted["moved"].term.needs


def test_equal_tables_are_mapped_by_exactly_the_identity():
    table = torch.randn(9, 4)
    assert torch.equal(least_squares_map(table, table.clone()), torch.eye(4))


def test_the_map_recovers_a_linear_relation_and_is_least_squares_otherwise():
    student, q = torch.randn(40, 4), torch.randn(4, 6)
    torch.testing.assert_close(least_squares_map(student, student @ q), q, rtol=1e-4, atol=1e-5)
    teacher = torch.randn(40, 6)
    residual = student @ least_squares_map(student, teacher) - teacher
    torch.testing.assert_close(student.T @ residual, torch.zeros(4, 6), atol=1e-4, rtol=0)


def test_the_map_of_dependent_columns_is_finite_and_of_least_norm():
    student = torch.randn(20, 2)[:, [0, 1, 1]]
    q = least_squares_map(student, student[:, :1] * 2 + student[:, 1:2] * 4)
    torch.testing.assert_close(q, torch.tensor([[2.0], [2.0], [2.0]]), rtol=1e-4, atol=1e-4)


def test_the_map_follows_the_students_table_once_per_epoch():
    view, _ = text_view(1)
    _, student, teacher = view.networks
    first = view.token_map.clone()
    with torch.no_grad():
        student.words.weight.mul_(2.0)
    view.tick(at(epoch=0.9))
    assert torch.equal(view.token_map, first)
    view.tick(at(epoch=1.0))
    torch.testing.assert_close(view.token_map, first / 2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(view.token_map, least_squares_map(student.words.weight.data, teacher.words.weight.data))


def test_a_resumed_training_keeps_the_map_of_its_epoch():
    view, batch = text_view(1)
    _, student, teacher = view.networks
    view.tick(at(epoch=1.0))
    with torch.no_grad():
        student.words.weight.mul_(2.0)
    resumed = text_view(1, student=student, teacher=teacher)[0]
    resumed.load_state_dict(view.state_dict())
    for one in (view, resumed):
        one.tick(at(epoch=1.5))
    assert torch.equal(resumed(batch).teacher["inputs_embeds"], view(batch).teacher["inputs_embeds"])


def test_without_steps_it_is_logit_batch_for_batch_with_its_gradient():
    student, teacher, nets = players()
    one, other = backward_kd(steps=0, temperature=2.0, alpha=0.7), logit(temperature=2.0, alpha=0.7)
    for method in (one, other):
        method.bind(nets)
    for _ in range(3):
        batch = sentences()
        losses = [run(method, student, teacher, batch) for method in (one, other)]
        torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
        gradients = [torch.autograd.grad(loss, list(student.parameters())) for loss in losses]
        for mine, theirs in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_padding_is_not_moved_and_does_not_change_the_loss():
    student, teacher, nets = players()
    method = backward_kd(rate=1.0)
    method.bind(nets)
    batch = sentences(padded=2)
    look = method.views[0](batch)
    outside = batch["attention_mask"] == 0
    assert torch.equal(look.student["inputs_embeds"][outside], student.words(batch["input_ids"])[outside])
    shorter = {**batch, "input_ids": batch["input_ids"][1:, :4], "attention_mask": batch["attention_mask"][1:, :4]}
    longer = {**batch, "input_ids": batch["input_ids"][1:], "attention_mask": batch["attention_mask"][1:]}
    shorter["labels"] = longer["labels"] = batch["labels"][1:]
    terms = [terms_of(method, student, teacher, rows) for rows in (shorter, longer)]
    torch.testing.assert_close(terms[0]["moved"], terms[1]["moved"])


def test_bad_arguments_and_networks_are_refused():
    for arguments, message in (
        ({"steps": -1}, "steps must be 0 or more, got -1"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"alpha": 2.0}, "alpha must lie in 0..1"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            backward_kd(**arguments)
    with pytest.raises(ValueError, match=r"backward_kd .* `student` and `teacher` have 12 and 11 tokens; use"):
        backward_kd().bind(players(TinyText(words=12))[2])
    with pytest.raises(ValueError, match="backward_kd compares logits: the student has 2 classes"):
        backward_kd().bind(players(TinyText(classes=2))[2])
    with pytest.raises(ValueError, match=r"backward_kd moves one input .* read different ones; use"):
        backward_kd().bind(replace(pixel_networks(), shares_inputs=False))


def text_view(steps, rate=0.1, student=None, teacher=None):
    torch.manual_seed(0)
    _, _, nets = players(student, teacher)
    view = MovedSamples(steps, rate)
    view.bind(nets)
    torch.manual_seed(1)
    return view, sentences()


def sentences_again():
    torch.manual_seed(1)
    return sentences()["input_ids"]


def pixel_networks():
    torch.manual_seed(0)
    both = Pixels(), Pixels().eval().requires_grad_(False)
    return networks(sizes((), heads=()), sizes((), heads=()), task=PixelTask(), student=both[0], teacher=both[1])


def pixel_view(steps, rate=0.1):
    view = MovedSamples(steps, rate)
    view.bind(pixel_networks())
    torch.manual_seed(1)
    return view, {"pixel_values": torch.randn(5, 1, 2, 3), "labels": torch.randint(3, (5,))}


def apart(view, look):
    task, student, teacher = view.networks
    distance = task.networks.observe(student, look.student).logits - task.networks.observe(teacher, look.teacher).logits
    return distance.square().sum(-1).mean().item()
