import copy
import re
from dataclasses import replace

import pytest
import torch
from tiny_game import (
    MASK,
    DroppingText,
    TinyMaskedLm,
    WordTask,
    generators_sentences,
    players,
    sentences,
    snapshot,
    terms_of,
    unchanged,
)
from tiny_networks import TinyText, at, observation, parity, run, sizes, step_of, unchecked

from kd2deploy.core import Pair, Step, Term
from kd2deploy.methods._adversarial_text import AdversarialText
from kd2deploy.methods._divergence import Disagreement, soft_cross_entropy
from kd2deploy.methods._two_players import learning
from kd2deploy.methods.logit import softened_kl
from kd2deploy.methods.mate_kd import mate_kd


@pytest.mark.parametrize("case", parity("mate_kd"))
def test_parity_with_an_independent_computation(case):
    of = sizes(classes=case["student"].shape[-1])
    student = observation(of, batch=len(case["student"]), logits=case["student"].float())
    teacher = observation(of, batch=len(case["teacher"]), logits=case["teacher"].float())
    term = Disagreement("mate_kd", "clean", case["kind"], case["temperature"])
    assert term(step_of(student, teacher)).item() == pytest.approx(case["expected"], rel=1e-5)


def test_by_hand_a_sure_teacher_costs_the_students_surprise():
    sure, fair = torch.tensor([[50.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert soft_cross_entropy(fair, sure, 1.0).item() == pytest.approx(0.693147, abs=1e-5)
    assert softened_kl(sure, sure, 1.0).item() == pytest.approx(0.0, abs=1e-6)


def test_the_readings_agree_for_the_student_and_differ_for_the_generator():
    logits = [torch.randn(4, 3, requires_grad=True) for _ in range(2)]
    kl = torch.autograd.grad(softened_kl(*logits, 1.0).sum(), logits)
    cross = torch.autograd.grad(soft_cross_entropy(*logits, 1.0).sum(), logits)
    torch.testing.assert_close(kl[0], cross[0])
    assert not torch.allclose(kl[1], cross[1], atol=1e-2)


def test_one_output_is_compared_by_squared_error():
    of = sizes(classes=1)
    student = observation(of, batch=2, logits=None, values=torch.tensor([[1.0], [4.0]]))
    teacher = observation(of, batch=2, logits=None, values=torch.tensor([[0.0], [1.0]]))
    assert Disagreement("mate_kd", "clean", "kl", 1.0)(step_of(student, teacher)).item() == pytest.approx(5.0)


def test_gradient_reaches_the_generator_through_both_networks_word_embeddings():
    view, student, teacher = bound(mask_rate=1.0)
    task, batch = WordTask(), sentences()
    view.generator.eval().requires_grad_(True)
    torch.manual_seed(1)
    mask, tokens = view.filled(batch)
    look = view.look(batch, mask, tokens)
    for net, own in ((student, look.student), (teacher, look.teacher)):
        answer = task.networks.observe(net, own).logits.square().sum()
        gradients = torch.autograd.grad(answer, list(view.generator.parameters()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_the_generator_ascends_through_the_teacher_too():
    view, *_ = bound(mask_rate=1.0, generator_rate=0.1)
    batch, before = sentences(), [weight.detach().clone() for weight in view.generator.parameters()]
    through_both, through_the_student = (generators_gradient(view, batch, attached) for attached in (True, False))
    torch.manual_seed(1)
    view.ascend(batch)
    moved = torch.cat([(now - then).flatten() for now, then in zip(view.generator.parameters(), before, strict=True)])
    clear = through_both.abs() > 1e-6
    assert torch.equal(moved[clear].sign(), through_both[clear].sign())  # AdamW's first step goes by the sign
    assert not torch.equal(moved[clear].sign(), through_the_student[clear].sign())


def generators_gradient(view, batch, attached):
    """Of the objective, by all the generator's weights; `attached`: through the teacher's answer too."""
    task, student, teacher = view.networks
    torch.manual_seed(1)
    with learning(view) as weights:
        look = view.look(batch, *view.filled(batch))
        answers = [task.networks.observe(net, own) for net, own in zip((student, teacher), look, strict=True)]
        if not attached:
            answers[1] = replace(answers[1], logits=answers[1].logits.detach())
        gain = view.objective(Step(batch, {view.name: Pair(*answers, look)}, view.progress))
        return torch.cat([each.flatten() for each in torch.autograd.grad(gain, weights)])


def test_in_the_generators_move_only_the_generator_changes_and_no_gradient_is_left():
    view, student, teacher = bound(ascents=1, descents=1, generator_rate=0.1)
    student.train()
    before = [snapshot(net) for net in (student, teacher, view.generator)]
    view(sentences())
    assert unchanged(student, before[0])
    assert unchanged(teacher, before[1])
    assert not unchanged(view.generator, before[2])
    assert all(weight.grad is None for net in (student, teacher, view) for weight in net.parameters())


class Loud(Term):
    """Another term, times a thousand."""

    needs = frozenset({"teacher"})

    def __init__(self, term):
        super().__init__()
        self.term, self.views = term, term.views

    def forward(self, step):
        return 1e3 * self.term(step)


def test_the_generators_gradient_is_clipped_to_five_before_adamw_sees_it():
    view, *_ = bound(mask_rate=1.0, generator_rate=0.1)
    batch, raw = sentences(), generators_gradient(view, sentences(), attached=True)
    assert raw.norm() < 5 < 1e3 * raw.norm()
    for objective, norm in ((view.objective, None), (Loud(view.objective), 5.0)):
        view.objective = objective
        view.optimizer = torch.optim.AdamW(view.parameters(), lr=0.1, weight_decay=0.0)
        expected = norm or generators_gradient(view, batch, attached=True).norm().item()
        torch.manual_seed(1)
        view.ascend(batch)
        seen = torch.cat([state["exp_avg"].flatten() for state in view.optimizer.state.values()])
        assert seen.norm().item() == pytest.approx(0.1 * expected, rel=1e-4)  # a first mean is a tenth of the gradient


def test_on_the_students_turn_the_generator_and_the_teacher_stay():
    method, student, teacher, _ = bound_method(ascents=0)
    generator = method.views[0].generator
    before = [snapshot(net) for net in (teacher, generator)]
    optimizer = torch.optim.AdamW([*student.parameters(), *method.parameters()], lr=0.1)
    mine = snapshot(student)
    for _ in range(3):
        optimizer.zero_grad()
        run(method, student, teacher, sentences()).backward()
        optimizer.step()
    assert unchanged(teacher, before[0])
    assert unchanged(generator, before[1])
    assert not unchanged(student, mine)


def test_the_trainings_optimizer_is_never_offered_the_generator():
    method, *_ = bound_method(ascents=1, descents=1)
    for _ in range(4):
        assert not any(weight.requires_grad for weight in method.parameters())
        method.views[0](sentences())
    assert any(name.startswith("views.0.generator.") for name in method.state_dict())


def test_the_default_cycle_is_ten_and_a_hundred():
    view, *_ = bound(ascents=None, descents=None)
    assert (view.game.ascents, view.game.descents, view.cycle) == (10, 100, 100)
    assert bound(ascents=0)[0].cycle == 1


def test_every_mini_batch_teaches_the_student_and_the_generators_own_are_counted_on_over_epochs():
    asked = []

    def batches(number):
        asked.append(number)
        return generators_sentences(number)

    view, *_ = bound(ascents=2, descents=3, batches=batches)
    before = []
    for turn in range(7):
        view.tick(at(epoch=turn // 4))  # a border in the middle of a cycle
        batch = sentences()
        assert torch.equal(view(batch).student["index"], batch["index"])
        before.append(len(asked))
    assert before == [2, 2, 2, 4, 4, 4, 6]
    assert asked == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("steps", "arguments", "said"),
    [
        (316, {}, "mate_kd: 40 ascents at generator_rate 5e-07 move no weight .* 2e-05, .* to 5e-06 or more"),
        (20, {"generator_rate": 5e-6}, "10 ascents at generator_rate 5e-06 .* set generator_rate to 2e-05 or more"),
        (316, {"generator_rate": 5e-6}, None),
        (20_000, {}, None),
        (316, {"ascents": 0}, None),
    ],
)
def test_a_generator_that_would_stand_still_is_told_of_with_the_remedy(steps, arguments, said, caplog):
    mate_kd(TinyMaskedLm(), **arguments).bind(players(steps=steps)[2])
    assert (re.search(said, caplog.text) is not None) if said else not caplog.records


def test_a_generator_without_batches_of_its_own_is_refused_unless_it_never_ascends():
    with pytest.raises(ValueError, match="mate_kd has no batches for its generator to learn from; set `ascents: 0`"):
        mate_kd(TinyMaskedLm()).bind(players(batches=None)[2])
    mate_kd(TinyMaskedLm(), ascents=0).bind(players(batches=None)[2])


def test_three_words_in_ten_are_masked_by_default():
    view, *_ = bound(ascents=0)
    batch = sentences(rows=400, length=12)
    mask, _ = view.filled(batch)
    words = batch["input_ids"] >= 3
    assert mask[words].float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert not mask[~words].any()


def test_unmasked_positions_are_the_embeddings_to_the_bit_and_masked_ones_are_words():
    view, student, teacher = bound(ascents=0)
    batch = sentences(rows=16, length=12)
    mask, tokens = view.filled(batch)
    look = view.look(batch, mask, tokens)
    words = tokens.argmax(-1)
    for net, own in ((student, look.student), (teacher, look.teacher)):
        assert "input_ids" not in own
        assert torch.equal(own["inputs_embeds"][~mask], net.words(batch["input_ids"])[~mask])
        assert torch.equal(own["inputs_embeds"][mask], net.words(words))
    assert mask.any()
    assert not mask[:, 0].any()
    assert not mask[batch["attention_mask"] == 0].any()


def test_the_generator_reads_the_mask_token_at_the_masked_positions():
    view, *_ = bound(ascents=0, mask_rate=1.0)
    batch, read = sentences(), []
    view.generator.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    view(batch)
    words = batch["input_ids"] >= 3
    assert torch.equal(read[0], batch["input_ids"].masked_fill(words, MASK))


def test_without_masking_the_third_term_equals_the_second():
    method, student, teacher, _ = bound_method(ascents=0, mask_rate=0.0)
    terms = terms_of(method, student, teacher, sentences())
    assert terms["adversarial"] == terms["soft"]
    assert [method.weights[name] for name in ("task", "soft", "adversarial")] == [1 / 3] * 3


def test_the_filled_text_has_no_label():
    view, *_ = bound(ascents=0)
    look = view(sentences())
    assert "labels" not in look.student
    assert "labels" not in look.teacher
    assert "index" in look.student


@pytest.mark.parametrize("divergence", ["kl", "cross_entropy"])
def test_the_generator_learns_to_make_the_networks_disagree_on_text_it_did_not_see(divergence):
    view, *_ = bound(ascents=60, generator_rate=0.05, mask_rate=0.8, divergence=divergence)
    unseen = sentences(rows=64)

    def apart():
        torch.manual_seed(1)
        with torch.no_grad():
            found = [disagreement(view, unseen) for _ in range(8)]
        return sum(found) / len(found)

    before = apart()
    view(sentences())
    assert apart() > before + 0.02


def test_the_student_keeps_its_dropout_while_the_generator_ascends_and_the_generator_has_none():
    student = DroppingText()
    view, *_ = bound(student, ascents=1, descents=1)
    student.train()
    view.train()
    modes = []
    view.generator.register_forward_pre_hook(lambda net, _: modes.append(net.dropout.training))
    view(sentences())
    assert student.modes == [True]
    assert modes == [False, False]
    assert student.training
    assert view.generator.training


def test_a_resumed_game_goes_on_as_if_it_had_not_stopped():
    given, nets = TinyMaskedLm(), players()[2]
    batches = [sentences() for _ in range(5)]

    def fresh():
        method = mate_kd(given, ascents=2, descents=2, generator_rate=0.05)
        method.bind(nets)
        return method.views[0]

    def played(game, some):
        return [game(batch) for batch in some]

    whole, first, resumed = fresh(), fresh(), fresh()
    torch.manual_seed(4)
    looks = played(whole, batches)
    torch.manual_seed(4)
    played(first, batches[:3])
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    again = played(resumed, batches[3:])
    for mine, theirs in zip(again, looks[3:], strict=True):
        assert torch.equal(mine.student["inputs_embeds"], theirs.student["inputs_embeds"])
    assert unchanged(resumed, snapshot(whole))
    assert not unchanged(first, snapshot(whole))


def test_it_plays_in_bfloat16_too():
    method, student, teacher, _ = bound_method(ascents=1, descents=1, generator_rate=0.1)
    before = snapshot(method.views[0].generator)
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(method, student, teacher, sentences())
    assert not unchanged(method.views[0].generator, before)
    assert loss.dtype == torch.float32
    loss.backward()
    assert student.words.weight.grad.isfinite().all()


def test_a_given_generator_is_copied():
    given = TinyMaskedLm()
    before = snapshot(given)
    view, *_ = bound(generator=given, ascents=1, generator_rate=0.1)
    view(sentences())
    assert unchanged(given, before)


def test_a_named_generator_and_none_are_resolved_by_the_training_side():
    asked = []

    def masked_lm(name):
        asked.append(name)
        return TinyMaskedLm()

    for name in ("models/mlm", None):
        mate_kd(name).bind(players(masked_lm=masked_lm)[2])
    assert asked == ["models/mlm", None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": 0.5}, "task, soft, adversarial must sum to 1"),
        ({"mask_rate": 1.5}, "mask_rate must lie in 0..1"),
        ({"descents": 0}, "descents must be positive"),
        ({"ascents": -1}, "ascents must be 0 or more, got -1"),
        ({"generator_rate": 0.0}, "generator_rate must be positive"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"divergence": "js"}, "divergence must be kl or cross_entropy, got 'js'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        mate_kd(**arguments)


def test_networks_are_refused_before_a_generator_is_derived():
    def masked_lm(name):
        raise AssertionError("derived for nothing")

    with pytest.raises(ValueError, match="mate_kd compares logits"):
        mate_kd().bind(players(TinyText(classes=2), masked_lm=masked_lm)[2])


@pytest.mark.parametrize(
    ("student", "changes", "generator", "message"),
    [
        (TinyText(words=12), {}, TinyMaskedLm(), "mate_kd shows .* `student` and `teacher` have 12 and 11 tokens; use"),
        (
            None,
            {"shares_inputs": False},
            TinyMaskedLm(),
            "mate_kd .* `student` and `teacher` have different tokenizers",
        ),
        (None, {}, TinyMaskedLm(words=12), "mate_kd: `generator` scores 12 tokens and the student knows 11; name"),
        (None, {}, None, "mate_kd has no masked language model .*; set `generator`"),
        (TinyText(classes=2), {}, TinyMaskedLm(), "mate_kd compares logits: the student has 2 classes"),
        (None, {"teacher": None, "teacher_sizes": None}, TinyMaskedLm(), "mate_kd needs a teacher"),
    ],
)
def test_networks_that_cannot_play_are_refused(student, changes, generator, message):
    with pytest.raises(ValueError, match=message):
        mate_kd(generator).bind(players(student, **changes)[2])


def test_a_task_without_words_is_refused():
    class Images(WordTask):
        def token_table(self, net):
            return None

    with pytest.raises(ValueError, match="mate_kd works on words, and the task's networks read none; use logit"):
        mate_kd(TinyMaskedLm()).bind(players(task=Images())[2])


def bound_method(student=None, teacher=None, generator=None, batches=generators_sentences, **arguments):
    student, teacher, nets = players(student, teacher, batches=batches)
    arguments = {name: value for name, value in arguments.items() if value is not None}
    method = mate_kd(generator or TinyMaskedLm(), **arguments)
    method.bind(nets)
    return method, student, teacher, nets


def bound(student=None, teacher=None, **arguments):
    method, student, teacher, _ = bound_method(student, teacher, **arguments)
    view = method.views[0]
    assert isinstance(view, AdversarialText)
    return view, student, teacher


def disagreement(view, batch):
    """What the generator ascends, on the text that it writes now."""
    task, student, teacher = view.networks
    look = view.look(batch, *view.filled(batch))
    pair = Pair(task.networks.observe(student, look.student), task.networks.observe(teacher, look.teacher), look)
    return view.objective(Step(batch, {view.name: pair}, view.progress)).item()
