import pytest
import torch
from tiny_networks import TinyText, networks, observation, parity, run, sizes, step_of, text_batch

from kd2deploy.methods.ctc_frame_kd import Posteriors, ctc_frame_kd, interpolated, posterior_distance

FRAMES = sizes(hidden=(8, 8, 8), classes=3, positions=6)


def frames_of(count=6, mask=None, rows=4):
    return observation(FRAMES, batch=rows, logits=torch.randn(rows, count, 3), mask=mask)


@pytest.mark.parametrize("case", parity("ctc_frame_kd"))
def test_parity_with_an_independent_computation(case):
    student, teacher = (
        observation(sizes(classes=2), logits=case[name], mask=case["mask"]) for name in ("student", "teacher")
    )
    assert Posteriors()(step_of(student, teacher)).item() == pytest.approx(case["expected"], abs=1e-6)


def test_the_distance_lies_between_nothing_and_two():
    sure = torch.tensor([[99.0, 0.0], [0.0, 99.0]])
    assert posterior_distance(sure, sure.softmax(-1)).tolist() == [0, 0]
    torch.testing.assert_close(posterior_distance(sure, sure.softmax(-1).flip(0)), torch.tensor([2.0, 2.0]))


def test_it_vanishes_where_the_student_is_the_teacher():
    seen = frames_of()
    assert Posteriors()(step_of(seen, seen)).item() == pytest.approx(0, abs=1e-7)


def test_padded_frames_do_not_count():
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] * 6, [True] + [False] * 5])
    student, teacher = frames_of(mask=mask), frames_of(mask=mask)
    before = Posteriors()(step_of(student, teacher))
    student.logits[~mask] = 50 * torch.randn_like(student.logits[~mask])
    torch.testing.assert_close(Posteriors()(step_of(student, teacher)), before)


def test_a_short_row_weighs_as_much_as_a_long_one():
    mask = torch.tensor([[True] * 6, [True] + [False] * 5])
    student, teacher = (frames_of(mask=mask, rows=2) for _ in range(2))
    each = posterior_distance(student.logits, teacher.logits.softmax(-1))
    expected = (each[0].mean() + each[1, 0]) / 2
    torch.testing.assert_close(Posteriors()(step_of(student, teacher)), expected)


def test_the_blank_is_a_class_like_any_other():
    student, teacher = frames_of(), frames_of()
    order = torch.tensor([2, 0, 1])
    turned = [observation(FRAMES, logits=seen.logits[..., order], mask=seen.mask) for seen in (student, teacher)]
    torch.testing.assert_close(Posteriors()(step_of(*turned)), Posteriors()(step_of(student, teacher)))


def test_equal_frame_rates_are_left_alone_to_the_bit():
    given = torch.rand(2, 5, 3).softmax(-1)
    counts = torch.tensor([5, 3])
    assert torch.equal(interpolated(given, counts, counts, 5)[0], given[0])
    assert torch.equal(interpolated(given, counts, counts, 5)[1, :3], given[1, :3])


def test_a_slower_teacher_is_spread_over_the_students_frames():
    """Two distributions over four frames: middles at 1/4 and 3/4 of the row, frames at 1/8, 3/8, 5/8 and 7/8."""
    given = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]])
    found = interpolated(given, torch.tensor([2]), torch.tensor([4]), 5)
    torch.testing.assert_close(found[0, :, 1], torch.tensor([0.0, 0.25, 0.75, 1.0, 1.0]))
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 5))


def test_a_faster_teacher_is_read_in_between():
    given = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    found = interpolated(given, torch.tensor([4]), torch.tensor([2]), 2)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([0.5, 0.5]))


def test_another_frame_rate_is_learnt_by_row():
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    theirs = torch.tensor([[True] * 3, [True] * 2 + [False]])
    student = observation(FRAMES, batch=2, logits=torch.randn(2, 6, 3), mask=mask)
    constant = torch.randn(2, 1, 3).expand(2, 3, 3).clone()
    constant[1, 2] = 50.0 * torch.tensor([1.0, -1.0, 0.0])
    teacher = observation(FRAMES, batch=2, logits=constant, mask=theirs)
    found = Posteriors()(step_of(student, teacher))
    each = posterior_distance(student.logits, constant[:, :1].softmax(-1).expand(2, 6, 3))
    torch.testing.assert_close(found, (each[0].mean() + each[1, :4].mean()) / 2)


def test_one_answer_per_row_is_one_frame():
    torch.manual_seed(0)
    student, teacher = TinyText(), TinyText()
    batch = text_batch(padded=2)
    loss = run(ctc_frame_kd(soft=1.0), student, teacher, batch)
    logits = student(batch["attention_mask"], batch["input_ids"])[0]
    theirs = teacher(batch["attention_mask"], batch["input_ids"])[0]
    expected = torch.nn.functional.cross_entropy(logits, batch["labels"])
    expected = expected + (logits.softmax(-1) - theirs.softmax(-1)).square().sum(-1).mean()
    torch.testing.assert_close(loss, expected)


def test_bad_arguments_and_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="soft"):
        ctc_frame_kd(soft=-1.0)
    with pytest.raises(ValueError, match="ctc_frame_kd compares logits: the student has 3 classes and the teacher 4"):
        ctc_frame_kd().bind(networks(sizes(), sizes(classes=4)))
