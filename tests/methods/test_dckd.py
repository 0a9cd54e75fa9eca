"""DCKD: the ratio, the distributions over codes, the history model, and what leaves which term away."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_restoration import made_rows, restorer, small_task, swin
from tiny_networks import parity
from torch import nn

from kd2deploy.core import Progress, augmentation
from kd2deploy.errors import ModelError
from kd2deploy.methods._codebook import Codebook, Layout, codebook_in, save_codebook
from kd2deploy.methods._codebook_training import Decoder, begin_at_latents, restoring_loss
from kd2deploy.methods._history import STAYS, History, decay_at, interval
from kd2deploy.methods.dckd import (
    LEVELS,
    Change,
    code_cross_entropy,
    code_probabilities,
    contrast,
    dckd,
    with_noise,
)
from kd2deploy.train.distiller import Distiller, networks
from kd2deploy.train.own_batches import OwnBatches

SMALL = Layout(base_channels=4, latent_channels=4, embed_dim=4, num_embeddings=6)


def at_step(step, steps=1000):
    return Progress(step=step, steps=steps, epoch=0.0, epochs=1.0)


def bound(student=None, teacher=None, **arguments):
    """A distiller of DCKD on small networks, and a batch of whole inputs of 16 pixels a side."""
    task = small_task()
    student, teacher = student or restorer(8, 2, seed=1), teacher or restorer(12, 3, seed=2)
    rows = task.reader.encode(made_rows(4, 32, 32), Path())
    batch = task.reader.collate(list(rows))
    method = dckd(**{"codebook_steps": 1, **arguments})
    own = OwnBatches(task, rows, batch=2, seed=0, augmentation=augmentation(type(task.reader), {"patch": 16}))
    shown = networks(task, student, teacher, batch, rows=4, epochs=1.0, steps=1000)
    method.bind(replace(shown, batches=own))
    distiller = Distiller(task, student, method, teacher)
    distiller.progress = at_step(0)
    return distiller, batch


# mathematics ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", parity("dckd"))
def test_the_formulas_agree_with_those_worked_out_by_hand(case):
    student, teacher = ([case[f"{who}_{level}"] for level in (1, 2)] for who in ("student", "teacher"))
    negatives = [[case[f"negatives_{level}"][one] for level in (1, 2)] for one in (0, 1)]
    assert contrast(student, teacher, negatives).item() == pytest.approx(case["contrast"], abs=1e-9)
    mine, theirs = (case[f"{who}_distances"].reshape(1, 1, 2).float() for who in ("student", "teacher"))
    assert code_cross_entropy(mine, theirs).item() == pytest.approx(case["cross_entropy"], abs=1e-6)
    assert code_cross_entropy(mine, theirs, as_published=True).item() == pytest.approx(case["published"], abs=1e-6)


def test_there_are_five_levels_with_the_papers_weights():
    assert LEVELS == (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    ones = [torch.ones(1, 1) for _ in LEVELS]
    zeros = [torch.zeros(1, 1) for _ in LEVELS]
    assert contrast(ones, zeros, [zeros]).item() == pytest.approx(sum(LEVELS), rel=1e-6)


def test_the_ratio_falls_towards_the_teacher_and_away_from_the_negatives_and_is_none_at_the_teacher():
    torch.manual_seed(0)
    student, teacher, negative = ([torch.randn(2, 3, 4, 4) for _ in LEVELS] for _ in range(3))
    start = contrast(student, teacher, [negative])
    nearer = [own + 0.1 * (other - own) for own, other in zip(student, teacher, strict=True)]
    farther = [other + 1.5 * (other - own) for own, other in zip(student, negative, strict=True)]
    assert contrast(nearer, teacher, [negative]) < start
    assert contrast(student, teacher, [farther]) < start
    assert contrast(student, teacher, [negative, negative]) < start
    assert contrast(teacher, teacher, [negative]).item() == 0


def test_the_nearest_code_is_the_likeliest_and_all_add_up_to_one():
    distances = torch.rand(2, 5, 7, generator=torch.Generator().manual_seed(0)) * 50
    found = code_probabilities(distances)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 5))
    assert torch.equal(found.argmax(-1), distances.argmin(-1))
    assert code_cross_entropy(distances, distances) < code_cross_entropy(distances.flip(-1), distances)


def test_negatives_have_noise_of_one_to_thirty_grey_levels_and_half_of_them_in_all_channels_alike():
    torch.manual_seed(0)
    plain = torch.full((400, 3, 16, 16), 0.5)
    noise = with_noise(plain) - plain
    deviation = noise.flatten(1).std(1) * 255
    assert 0.7 < deviation.min() < deviation.max() < 36
    grey = (noise[:, 0] == noise[:, 1]).flatten(1).all(1)
    assert 0.4 < grey.float().mean() < 0.6


@pytest.mark.parametrize("kinds", [(a, b, c, d) for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])
def test_every_change_is_undone(kinds):
    pictures = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    change = Change(*map(bool, kinds))
    torch.testing.assert_close(change.undone(change.done(pictures)), pictures)
    assert torch.equal(change.done(pictures), pictures) == (not any(kinds))


# the history model ----------------------------------------------------------------------------------------------


def test_its_steps_are_the_papers_at_its_length():
    found = [interval(at_step(step, 250_000)) for step in (0, 99_999, 100_000, 199_999, 200_000, 249_999)]
    assert found == [1000, 1000, 2000, 2000, 3000, 3000]
    assert interval(at_step(0, 100)) == 1


def test_it_moves_at_multiples_of_its_interval_alone_by_a_tenth_and_nine_tenths():
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, 1.0)
    found = History(student, every=3)
    nn.init.constant_(student.weight, 2.0)
    average, history = 1.0, 1.0
    for step in range(8):
        found.follow(at_step(step))
        if step:
            average = decay_at(step) * average + (1 - decay_at(step)) * 2.0
        if step and step % 3 == 0:
            history = STAYS * history + (1 - STAYS) * average
        assert found.average.weight.item() == pytest.approx(average, rel=1e-6)
        assert found.history.weight.item() == pytest.approx(history, rel=1e-6)
    assert decay_at(10**6) == 0.999
    assert not any(weight.requires_grad for weight in found.parameters())
    assert student.weight.item() == 2.0


# the whole ------------------------------------------------------------------------------------------------------


def test_only_the_students_weights_have_a_gradient_and_nothing_frozen_is_trained():
    distiller, batch = bound()
    distiller.train().outcome(batch).loss.backward()
    named = dict(distiller.named_parameters())
    assert all(weight.grad is None for name, weight in named.items() if not name.startswith("student."))
    assert {name.split(".")[0] for name, weight in named.items() if weight.requires_grad} == {"student"}


def test_there_are_as_many_negatives_as_are_asked_for_and_one_and_all_are_the_history_models(monkeypatch):
    import kd2deploy.methods.dckd as module

    seen = []
    original = module.restored

    def counted(kind, net, batch, change):
        seen.append((net, change))
        return original(kind, net, batch, change)

    monkeypatch.setattr(module, "restored", counted)
    distiller, batch = bound(negatives=4, consistent=0.0)
    distiller.train().outcome(batch)
    term = distiller.method.terms["contrast"]
    assert len(seen) == 5
    assert all(net is term.history.history for net, _ in seen)
    assert [change is with_noise for _, change in seen] == [False] + [True] * 4


def test_without_its_own_terms_it_is_the_distillation_of_outputs():
    distiller, batch = bound(consistent=0.0, contrast=0.0, mapping=0.0)
    found = distiller.outcome(batch)
    assert set(found.values) == {"task", "output"}
    one = distiller.task.networks.observe(distiller.student, batch).values
    other = distiller.task.networks.observe(distiller.teacher, batch).values
    torch.testing.assert_close(found.loss, (one - batch["labels"]).abs().mean() + (one - other).abs().mean())


def test_the_codes_alone_bring_their_own_codebook():
    distiller, batch = bound(contrast=0.0)
    assert set(distiller.outcome(batch).values) == {"task", "output", "consistent", "mapping"}


def test_it_runs_with_any_two_networks_that_answer_pictures_of_one_size():
    distiller, batch = bound(teacher=swin(16, (2, 2), seed=3))
    assert distiller.train().outcome(batch).loss.isfinite()


def test_a_codebook_of_ones_own_is_trained_once_before_the_first_batch_and_told():
    distiller, batch = bound(codebook_steps=2)
    guide = distiller.method.terms["contrast"].own
    before = guide.codebook.quantize.embedding.weight.clone()
    state = torch.get_rng_state()
    distiller.method.tick(at_step(0))
    assert torch.equal(torch.get_rng_state(), state), "the training draws what it would have drawn"
    made = guide.codebook.quantize.embedding.weight.clone()
    assert not torch.equal(made, before)
    distiller.outcome(batch)
    assert torch.equal(guide.codebook.quantize.embedding.weight, made)
    assert "small codebook that was trained for 2 steps" in distiller.method.terms["contrast"].notes[0]
    again, _ = bound(codebook_steps=2)
    again.method.load_state_dict(distiller.method.state_dict())
    again.method.tick(at_step(1))
    assert torch.equal(again.method.terms["contrast"].own.codebook.quantize.embedding.weight, made), "not made anew"


# codebooks ------------------------------------------------------------------------------------------------------


def test_a_codebook_is_the_same_out_of_its_folder(tmp_path):
    torch.manual_seed(0)
    found = Codebook(Layout(4, (1, 2, 2), 2, (False, False, True), 4, 4, 6)).eval()
    again = codebook_in(save_codebook(found, tmp_path / "own"))
    pictures = torch.rand(1, 3, 16, 16)
    assert again.layout == found.layout
    levels, latents = found(pictures)
    assert [one.shape[-1] for one in levels] == [16, 8, 4]
    torch.testing.assert_close(again(pictures)[1], latents)
    distances = found.distances(latents)
    apart = (latents[0, 3] - found.quantize.embedding.weight[5]).square().sum()
    torch.testing.assert_close(distances[0, 3, 5], apart)


def test_a_vqgan_of_transformers_is_read_and_encodes_alike(tmp_path):
    from transformers import ChameleonVQVAE, ChameleonVQVAEConfig

    shape = {"base_channels": 32, "channel_multiplier": [1, 2], "num_res_blocks": 1, "resolution": 16}
    config = ChameleonVQVAEConfig(
        **shape, attn_resolutions=[8], latent_channels=8, embed_dim=8, num_embeddings=16, in_channels=3
    )
    torch.manual_seed(0)
    theirs = ChameleonVQVAE(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = codebook_in(tmp_path)
    pictures = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        latents = theirs.quant_conv(theirs.encoder(pictures * 2 - 1)).flatten(2).transpose(1, 2)
        torch.testing.assert_close(ours(pictures)[1], latents, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no config.json and model.safetensors of a VQGAN"),
        ({"config.json": "{}", "model.safetensors": "x"}, "describes no VQGAN"),
    ],
)
def test_a_folder_that_holds_none_is_named_with_the_remedy(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelError, match=said):
        bound(codebook=str(tmp_path))


def test_codes_begin_at_latents_of_the_pictures():
    torch.manual_seed(0)
    found, pictures = Codebook(SMALL), torch.rand(4, 3, 32, 32)
    begin_at_latents(found, pictures)
    latents = found(pictures)[1].flatten(0, 1)
    nearest = torch.cdist(found.quantize.embedding.weight, latents).min(1).values
    assert nearest.max() < 0.2 * latents.std()


def test_a_codebook_learns_to_restore():
    torch.manual_seed(0)
    found, decoder = Codebook(SMALL), Decoder(SMALL)
    pictures = torch.rand(4, 3, 1, 1).expand(4, 3, 16, 16)
    optimizer = torch.optim.Adam([*found.parameters(), *decoder.parameters()], lr=3e-3)
    losses = []
    for _ in range(30):
        loss = restoring_loss(found, decoder, pictures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert math.fsum(losses[-3:]) < math.fsum(losses[:3])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"contrast": -1}, "contrast must be 0 or more"),
        ({"every": 0}, "every must be"),
        ({"codebook_steps": 0}, "1 or"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        dckd(**arguments)
