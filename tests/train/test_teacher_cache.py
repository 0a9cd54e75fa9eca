"""The teacher's cached answers: the same as live ones, filled once, and refused where they would not be."""

import dataclasses
import errno
import json
import os
import shutil
import threading
from functools import cached_property

import numpy as np
import pytest
import torch
from small_text import small_bert, small_rows, small_task
from tiny_models import save_encoder
from transcripts import Transcripts
from transformers import AutoConfig, BertForTokenClassification

from kd2deploy.core import Look, Method, TaskLoss, View, Weighted
from kd2deploy.core.locks import held
from kd2deploy.core.watcher import Silent
from kd2deploy.errors import RunError, TrainError
from kd2deploy.methods.contrastive import contrastive
from kd2deploy.methods.hidden import hidden
from kd2deploy.methods.logit import SoftTargets, logit
from kd2deploy.recipe import Caching
from kd2deploy.run import readable_os_errors
from kd2deploy.stages.job import Model
from kd2deploy.stages.kept import Kept, cache_for
from kd2deploy.tasks._text_networks import TextNetworks
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train import shards
from kd2deploy.train.compact import Compact
from kd2deploy.train.distiller import Distiller, networks
from kd2deploy.train.engine import Training, distill
from kd2deploy.train.settings import Settings
from kd2deploy.train.shards import Filling
from kd2deploy.train.teacher_cache import TeacherCache, rows_hash, unfit, unfit_answers, unfit_top


class Other(View):
    name = "other"

    def forward(self, batch):
        return Look(batch, batch)


class Counted:
    """The number of rows that a network was run on."""

    def __init__(self, net):
        self.rows = 0
        net.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, net, inputs, named):
        self.rows += len(named["input_ids"])


def filled(folder, rows=20, teacher=None, **more):
    teacher = small_bert(4, 32, seed=2) if teacher is None else teacher
    found = {"teacher_hash": "abc", "compact": Compact(batch=4)} | more
    return TeacherCache.open_or_fill(folder, small_task(), teacher, small_rows(rows), **found)


def test_a_disk_without_room_for_the_whole_cache_is_refused_at_once(tmp_path, monkeypatch):
    def full(descriptor, offset, size):
        assert offset + size == os.fstat(descriptor).st_size
        raise OSError(errno.ENOSPC, "No space left on device")

    teacher = small_bert(4, 32, seed=2)
    run = Counted(teacher)
    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        with pytest.raises(RunError, match="is full"), readable_os_errors(tmp_path):
            filled(tmp_path, teacher=teacher)
    assert run.rows == 4
    assert filled(tmp_path, teacher=teacher).arrays["logits"].shape == (20, 3)


@pytest.mark.parametrize("builder", [logit, contrastive])
def test_cached_losses_equal_live_ones_to_float_tolerance(tmp_path, builder):
    # The cache was filled in batches of other rows, with other padding: equal to rounding, about 1e-6, not to the bit.
    task, teacher, student = small_task(), small_bert(4, 32, seed=2), small_bert(seed=1)
    method, batch = builder(), task.reader.collate(small_rows(20)[3:11])
    method.bind(networks(task, student, teacher, task.reader.collate(small_rows(2)), rows=20, epochs=1.0, steps=5))
    live = Distiller(task, student, method, teacher)(**batch)
    cached = Distiller(task, student, method, None, filled(tmp_path))(**batch)
    assert set(live) == set(cached)
    for name in live:
        torch.testing.assert_close(cached[name], live[name], rtol=1e-5, atol=1e-5)


def test_a_training_with_a_cache_never_runs_the_teacher(tmp_path):
    teacher = small_bert(4, 32, seed=2)
    rows = [{**row, "index": 100 + row["index"]} for row in small_rows(16)]  # as left by a split: not their places
    cache = TeacherCache.open_or_fill(tmp_path / "cache", small_task(), teacher, rows, teacher_hash="abc")
    run = Counted(teacher)
    settings = Settings(epochs=2, batch=4, keep="last", learning_rate=1e-3)
    losses = []
    for name, found in [("with", cache), ("without", None)]:
        trained = distill(
            Training(small_task(), small_bert(seed=1), logit(), rows, settings, teacher=teacher, cache=found),
            tmp_path / name,
        )
        losses.append([entry["loss"] for entry in trained.history])
        assert run.rows == (2 if name == "with" else 2 + 2 + 32)  # two rows to read the sizes off
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of two batches."""
    monkeypatch.setattr(shards, "BATCHES", 2)


def test_a_filled_cache_is_opened_without_the_teacher_and_an_interrupted_one_goes_on(tmp_path, small_shards):
    teacher = small_bert(4, 32, seed=2)
    run = Counted(teacher)

    class Stopped(Exception):
        pass

    def stop(done, rows):
        if done == 12:
            raise Stopped

    with pytest.raises(Stopped):
        filled(tmp_path / "cut", teacher=teacher, on_progress=stop)
    assert run.rows == 12
    (said,) = (tmp_path / "cut").glob("*.partial/shard-*/filled.json")
    known = json.loads(said.read_text())
    assert known["seconds"] > 0
    said.write_text(json.dumps({**known, "seconds": 1000.0}))
    cut = filled(tmp_path / "cut", teacher=teacher)
    assert run.rows == 24, "the shard that was worked on is filled anew, those before it are not"
    again = filled(tmp_path / "cut", teacher=teacher)
    assert run.rows == 24
    whole = filled(tmp_path / "whole", teacher=teacher)
    assert 1000 < cut.seconds == again.seconds
    assert [file.name for file in cut.folder.parent.iterdir()] == [cut.folder.name], "nothing is left of the shards"
    index = torch.arange(20)
    assert torch.equal(cut.lookup(index).logits, whole.lookup(index).logits)
    assert torch.equal(again.lookup(index).embedding, whole.lookup(index).embedding)


def test_another_teacher_or_other_rows_make_another_cache(tmp_path):
    one = filled(tmp_path)
    assert filled(tmp_path, teacher_hash="other").folder != one.folder
    assert filled(tmp_path, rows=19).folder != one.folder
    assert filled(tmp_path).folder == one.folder


def test_rows_encoded_otherwise_are_refused(tmp_path):
    cache = filled(tmp_path)
    rows = small_rows(20)
    cache.require_rows(rows)
    rows[7] = {**rows[7], "input_ids": rows[7]["input_ids"][:-1]}
    with pytest.raises(ValueError, match="filled from other rows"):
        cache.require_rows(rows)
    with pytest.raises(ValueError, match="filled from other rows"):
        cache.require_rows(small_rows(19))


def test_only_what_the_teacher_reads_is_hashed():
    rows = small_rows(3)
    assert rows_hash(rows) == rows_hash([{**row, "labels": 0} for row in rows])
    own = [{**row, "teacher.input_ids": row["input_ids"]} for row in rows]
    changed = [{**row, "input_ids": row["input_ids"] + 1} for row in own]
    assert rows_hash(own) == rows_hash(changed) != rows_hash(rows)


def test_a_method_that_reads_more_than_is_kept_is_refused_with_the_reason(tmp_path):
    assert unfit(logit()) is None
    assert "hidden" in unfit(hidden())
    random_view = Method(Other(), task=Weighted(TaskLoss()), soft=Weighted(SoftTargets(4.0, "other")))
    assert "view 'other'" in unfit(random_view)
    with pytest.raises(ValueError, match="cannot be cached here: term 'hidden' reads the teacher's hidden"):
        filled(tmp_path).require(hidden())


def test_answers_without_a_fixed_shape_are_refused(tmp_path):
    class PositionNetworks(TextNetworks):
        def observe(self, net, batch, *, needs=frozenset()):
            seen = super().observe(net, batch, needs=needs | {"hidden"})
            return dataclasses.replace(seen, logits=seen.hidden[-1])

    class PerPosition(TextClassification):
        @cached_property
        def networks(self):
            return PositionNetworks(self.labels, self.reader)

    task = PerPosition(labels=small_task().labels, max_length=16)
    with pytest.raises(TrainError, match=r"answers every position of a row, .*; train without the teacher cache"):
        TeacherCache.open_or_fill(tmp_path, task, small_bert(), small_rows(8), teacher_hash="abc")


def test_two_processes_fill_a_cache_together(tmp_path, small_shards):
    """The other holds a shard and has filled another; this one fills the rest and waits for the first."""
    whole = filled(tmp_path / "whole", rows=24)
    root = tmp_path / "shared"
    root.mkdir()
    place = root / whole.folder.name
    other = Filling(place, small_task(), small_bert(4, 32, seed=2), small_rows(24), Compact(batch=4), None)
    other.partial.mkdir()
    order = sorted(range(24), key=lambda row: -small_task().reader.length(small_rows(24)[row]))
    other.fill(1, order[8:16], 8)
    began, go_on = threading.Event(), threading.Event()

    def hold():
        with held(other.lock(0)):
            began.set()
            go_on.wait()
            other.fill(0, order[:8], 0)

    holder = threading.Thread(target=hold)
    holder.start()
    began.wait()
    told = []

    def progress(done, rows):
        told.append(done)
        go_on.set()

    found = filled(root, rows=24, on_progress=progress)
    holder.join()
    assert told == [20, 24], "it asked about the last shard alone"
    index = torch.arange(24)
    assert torch.equal(found.lookup(index).logits, whole.lookup(index).logits)


def test_the_likeliest_classes_alone_keep_their_probability_and_the_rest_its_sum(tmp_path):
    exact = filled(tmp_path)
    cache = filled(tmp_path, compact=Compact(top=1))
    index = torch.tensor([3, 0, 19])
    one, other = (found.lookup(index).logits.softmax(-1) for found in (exact, cache))
    best = one.argmax(-1, keepdim=True)
    torch.testing.assert_close(other.gather(1, best), one.gather(1, best), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(other.sum(-1), torch.ones(3), rtol=1e-5, atol=1e-6)
    rest = other.scatter(1, best, 0).sort(-1).values
    torch.testing.assert_close(rest[:, 1], rest[:, 2])
    torch.testing.assert_close(other.argmax(-1), one.argmax(-1))
    assert "as the 1 likeliest of 3 classes: " in cache.said
    assert exact.said == ""


def test_half_precision_is_read_back_in_full_and_its_effect_is_told(tmp_path):
    exact, cache = filled(tmp_path), filled(tmp_path, compact=Compact(half=True))
    assert {kept.dtype for kept in cache.arrays.values()} == {np.dtype(np.float16)}
    index = torch.arange(20)
    one, other = exact.lookup(index), cache.lookup(index)
    assert other.logits.dtype == other.embedding.dtype == torch.float32
    torch.testing.assert_close(other.logits, one.logits, rtol=1e-3, atol=1e-3)
    assert cache.said.startswith(
        "the teacher's answers are kept as float16: 50 % of the bytes, at a mean KL divergence of"
    )


def test_the_change_that_is_told_is_the_mean_divergence_of_the_rows(tmp_path):
    exact, cache = filled(tmp_path), filled(tmp_path, compact=Compact(top=2, half=True))
    one, other = (found.lookup(torch.arange(20)).logits.double().log_softmax(-1) for found in (exact, cache))
    wanted = float((one.exp() * (one - other)).sum(-1).mean())
    told = json.loads((cache.folder / "filled.json").read_text())["changed"]["1"]
    assert told == pytest.approx(wanted, rel=1e-3, abs=1e-9)


def test_logits_that_float16_cannot_hold_are_refused():
    with pytest.raises(TrainError, match=r"reach 1e\+05, which float16 cannot hold; set `teacher_cache"):
        Compact(half=True).kept({"logits": np.full((2, 3), 1e5, np.float32)})


def test_the_likeliest_classes_are_refused_where_a_row_has_no_one_class_or_too_few():
    assert "must be less than the number of classes, which is 3" in unfit_top(
        small_task(), small_bert(), small_rows(2), 3
    )
    assert unfit_top(small_task(), small_bert(), small_rows(2), 2) is None


def test_a_counter_without_its_arrays_starts_anew(tmp_path):
    cache = filled(tmp_path)
    shutil.rmtree(cache.folder)
    partial = cache.folder.with_suffix(".partial")
    partial.mkdir()
    (partial / "left.npy").write_bytes(b"")
    again = filled(tmp_path)
    assert set(again.arrays) == {"logits", "embedding"}


def test_a_teacher_that_answers_every_position_is_run_where_the_choice_is_free(tmp_path):
    """`auto` goes on without a cache; only who asked for one is told that it cannot be had."""
    save_encoder(tmp_path / "teacher", labels=["none", "good", "bad"], layers=1, hidden=16)
    net = BertForTokenClassification(AutoConfig.from_pretrained(tmp_path / "teacher"))
    net.save_pretrained(tmp_path / "teacher")
    task = Transcripts()
    net = task.networks.load(tmp_path / "teacher")
    rows = task.reader.encode(
        [{"text": "a good plot", "label": "+"}, {"text": "dull", "label": "-"}], tmp_path / "teacher"
    )
    assert "answers every position" in unfit_answers(task, net, rows)
    kept = Kept(tmp_path / "cache", Caching(), task, Silent())
    teacher = Model(tmp_path / "teacher", "abc", task)
    assert cache_for(kept, logit(), net, teacher, rows, Settings(epochs=3)) is None
    assert unfit_answers(small_task(), small_bert(), small_rows(2)) is None
