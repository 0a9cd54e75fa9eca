"""CTC networks of every family: loaded, observed, deployed, and their loss."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_speech import FAMILIES, noise, save_speech, speech_task

from kd2deploy.errors import ModelError
from kd2deploy.tasks._losses import ctc
from kd2deploy.tasks._speech_networks import SILENCE, masking_that_fits

EVERYTHING = frozenset({"hidden", "attentions", "embedding"})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("speech")
    return {family: save_speech(place / family, family) for family in FAMILIES}


def batch_of(task: Any, folder: Path, *seconds: float) -> dict[str, torch.Tensor]:
    by = task.reader
    from kd2deploy.networks.hearing import hearing

    features = [
        {by.heard_as: hearing(folder).features(noise(one, seed)), "labels": torch.tensor([3, 4]).numpy(), "index": seed}
        for seed, one in enumerate(seconds)
    ]
    return dict(by.collate(features))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_network_shows_logits_states_and_a_mask_per_frame(family: str, folders: dict[str, Path]) -> None:
    folder = folders[family]
    task = speech_task().at(folder)
    net = task.networks.load(folder)
    batch = batch_of(task, folder, 0.5, 0.3)
    seen = task.networks.observe(net, batch, needs=EVERYTHING)
    assert seen.logits is not None
    assert seen.mask is not None
    frames = seen.logits.shape[1]
    assert seen.logits.shape == (2, frames, 7)
    assert seen.mask.shape == (2, frames)
    assert seen.mask.sum(1).tolist()[0] > seen.mask.sum(1).tolist()[1] > 0
    assert [tuple(states.shape) for states in seen.hidden] == [(2, frames, 16)] * 3
    assert [attention.shape[:2] for attention in seen.attentions] == [(2, 4)] * 2
    assert seen.embedding is not None
    assert seen.embedding.shape == (2, 16)
    assert seen.loss is not None
    assert seen.loss.isfinite()
    assert task.networks.observe(net, {name: batch[name] for name in batch if name != "labels"}).loss is None


UNMASKED = {"wav2vec2-conformer"}
"""Families whose convolutions read on into padding, in transformers: the last frames of a row depend on its batch."""


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - UNMASKED))
def test_padding_changes_no_answer_and_says_the_blank(family: str, folders: dict[str, Path]) -> None:
    folder = folders[family]
    task = speech_task().at(folder)
    deployed = task.networks.deployed(task.networks.load(folder)).eval()
    both = task.reader.feed([{**one} for one in features_of(task, folder, 0.5, 0.3)])
    alone = task.reader.feed(features_of(task, folder, 0.5, 0.3)[1:])
    with torch.no_grad():
        (padded,), (single,) = (deployed(*map(torch.from_numpy, feed.values())) for feed in (both, alone))
    counted = single.shape[1]
    torch.testing.assert_close(padded[1, : counted - 1], single[0, : counted - 1], atol=1e-4, rtol=1e-3)
    assert (padded[1, counted + 1 :].argmax(-1) == 0).all()
    assert padded[1, -1].tolist() == [0.0] + [SILENCE] * 6


def features_of(task: Any, folder: Path, *seconds: float) -> list[dict[str, Any]]:
    from kd2deploy.networks.hearing import hearing

    return [{task.reader.heard_as: hearing(folder).features(noise(one, seed))} for seed, one in enumerate(seconds)]


def test_a_network_whose_first_norm_hears_padding_is_shown_no_mask(tmp_path: Path) -> None:
    folder = save_speech(tmp_path / "net", feat_extract_norm="group")
    task = speech_task().at(folder)
    net = task.networks.load(folder)
    batch = batch_of(task, folder, 0.5, 0.3)
    shown = {name: value for name, value in batch.items() if name in ("input_values", "attention_mask")}
    seen = task.networks.observe(net, shown)
    with torch.no_grad():
        torch.testing.assert_close(seen.logits, net(input_values=batch["input_values"]).logits)
    assert seen.mask is not None
    assert not seen.mask.all(), "the frames that count are known all the same"


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_block_is_skipped_in_training(family: str, folders: dict[str, Path]) -> None:
    folder = folders[family]
    task = speech_task().at(folder)
    net = task.networks.load(folder).train()
    batch = batch_of(task, folder, 0.3, 0.3)
    for _ in range(8):
        assert len(task.networks.observe(net, batch, needs=frozenset({"hidden"})).hidden) == 3


def test_rows_shorter_than_what_is_masked_at_once_are_trained_on_unmasked(tmp_path: Path) -> None:
    folder = save_speech(tmp_path / "net", mask_time_prob=0.5, mask_time_length=10)
    task = speech_task().at(folder)
    net = task.networks.load(folder).train()
    batch = batch_of(task, folder, 0.04, 0.04)  # 7 frames
    seen = task.networks.observe(net, batch)
    assert seen.logits is not None
    assert seen.logits.isfinite().all()
    config: Any = net.config
    assert config.apply_spec_augment
    with masking_that_fits(net, 100):
        assert config.apply_spec_augment


def test_the_loss_by_hand() -> None:
    """Two frames, blank and one symbol, all equally likely: three of four paths spell it."""
    even, labels = torch.zeros(1, 2, 2), torch.tensor([[1]])
    heard = torch.ones(1, 2, dtype=torch.bool)
    assert ctc(even, heard, labels, 0).item() == pytest.approx(math.log(4 / 3), abs=1e-6)
    rather = torch.tensor([[[0.0, math.log(3.0)]] * 2])
    assert ctc(rather, heard, labels, 0).item() == pytest.approx(math.log(16 / 15), abs=1e-6)
    one = torch.tensor([[True, False]])
    assert ctc(even, one, labels, 0).item() == pytest.approx(math.log(2), abs=1e-6), "the second frame is padding"
    assert ctc(even, heard, torch.tensor([[0, -100]]), 1).item() == pytest.approx(math.log(4 / 3), abs=1e-6)


def test_the_loss_is_per_symbol_over_the_labelled_rows_that_can_be_spelt() -> None:
    logits = torch.zeros(3, 4, 3, requires_grad=True)
    heard = torch.ones(3, 4, dtype=torch.bool)
    labels = torch.tensor([[1, 2], [-100, -100], [1, 1]])
    heard[2, 2:] = False  # two equal symbols need three frames, and there are two
    whole = ctc(logits, heard, labels, 0)
    alone = ctc(logits[:1], heard[:1], labels[:1], 0)
    assert whole.item() == pytest.approx(alone.item() / 2)
    whole.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[1:].any()
    assert ctc(logits[1:2], heard[1:2], labels[1:2], 0).item() == 0


def test_the_loss_is_transformers_own(folders: dict[str, Path]) -> None:
    folder = folders["wav2vec2"]
    task = speech_task().at(folder)
    net = task.networks.load(folder)
    config: Any = net.config
    config.ctc_loss_reduction = "mean"
    batch = batch_of(task, folder, 0.5, 0.3)
    theirs = net(**{name: batch[name] for name in ("input_values", "attention_mask", "labels")}).loss
    assert task.networks.observe(net, batch).loss.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_a_pair_must_spell_alike(folders: dict[str, Path], tmp_path: Path) -> None:
    networks = speech_task().networks
    networks.check_pair(folders["wav2vec2"], folders["hubert"])
    from kd2deploy.train.checkpoint import create

    other = create(
        {"model_type": "wav2vec2", **FAMILIES["wav2vec2"]}, tmp_path / "other", speech_task(alphabet="abce"), 0
    )
    with pytest.raises(ModelError, match="answer different symbols"):
        networks.check_pair(folders["wav2vec2"], other)


def test_another_frame_rate_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    networks = speech_task().networks
    assert networks.differences(folders["wav2vec2"], folders["wavlm"]) == ()
    slow = save_speech(tmp_path / "slow", conv_stride=[5, 16], conv_kernel=[10, 16])
    (said,) = networks.differences(slow, folders["wav2vec2"])
    assert "the teacher answers every 10 ms and the student every 5 ms" in said


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = save_speech(tmp_path / "net")
    task = speech_task(alphabet="abc")
    with pytest.raises(ModelError, match="answers 7 symbols, and the vocabulary beside it has 6"):
        task.networks.load(folder)


def test_a_published_network_that_lacks_what_is_masked_with_is_loaded(tmp_path: Path) -> None:
    """facebook/wav2vec2-base-960h among them: the vector is read in training alone."""
    from safetensors.torch import load_file, save_file

    folder = save_speech(tmp_path / "net", mask_time_prob=0.5)
    weights = load_file(folder / "model.safetensors")
    whole = speech_task().at(folder).networks.load(folder)
    weights.pop("wav2vec2.masked_spec_embed")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = speech_task().at(folder).networks.load(folder)
    assert not found.get_parameter("wav2vec2.masked_spec_embed").any()
    batch = batch_of(speech_task().at(folder), folder, 0.3)
    networks = speech_task().at(folder).networks
    torch.testing.assert_close(networks.observe(found, batch).logits, networks.observe(whole, batch).logits)
    weights.pop("lm_head.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"has no weights for lm_head\.weight"):
        speech_task().at(folder).networks.load(folder)
