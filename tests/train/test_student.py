import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ENCODERS, save_encoder, save_image_net

from kd2deploy.core import Batch
from kd2deploy.errors import ModelError
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.student import Trim, shrink

LABELS = ["neg", "pos"]
ROWS = [{"text": "a good film", "label": 1}, {"text": "the plot was very dull, not fun", "label": 0}]


def text(folder: Path, family: str = "bert", **sizes: Any) -> tuple[TextClassification, torch.nn.Module, Batch]:
    save_encoder(folder, family, **{"layers": 4, "hidden": 32, **sizes})
    task = TextClassification(LABELS).at(folder)
    return task, task.networks.load(folder), task.reader.collate(task.reader.encode(ROWS, folder))


def images(folder: Path, family: str, **sizes: Any) -> tuple[ImageClassification, torch.nn.Module, Batch]:
    save_image_net(folder, family, **sizes)
    task = ImageClassification(["zero", "one", "two"]).at(folder)
    drawn = np.random.default_rng(0).integers(0, 256, (4, 16, 16), dtype=np.uint8)
    rows = [{"image": one, "label": 0} for one in drawn]
    return (
        task,
        task.networks.load(folder),
        task.reader.collate(task.reader.encode(rows, folder)),
    )


@pytest.mark.parametrize("family", ENCODERS)
class TestEncoders:
    def test_full_size_student_answers_as_the_teacher(self, family: str, tmp_path: Path) -> None:
        task, net, batch = text(tmp_path / "teacher", family)
        made = shrink(tmp_path / "teacher", tmp_path / "student", task)
        student = task.networks.load(tmp_path / "student")
        assert torch.equal(task.networks.observe(student, batch).logits, task.networks.observe(net, batch).logits)
        assert made.copied_share == 1
        assert made.layer_map == ((0, 0), (1, 1), (2, 2), (3, 3))
        assert made.parameters == sum(weight.numel() for weight in net.parameters())
        assert not made.notes

    def test_shallow_student_has_exactly_the_teachers_weights(self, family: str, tmp_path: Path) -> None:
        task, net, _ = text(tmp_path / "teacher", family)
        made = shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(layers=2, keep=[0, 2]))
        assert made.layer_map == ((0, 0), (1, 2))
        assert made.copied_share == 1
        given = net.state_dict()
        for name, weight in task.networks.load(tmp_path / "student").state_dict().items():
            own = name.replace("layer.1.", "layer.2.").replace("layers.1.", "layers.2.")
            assert torch.equal(weight, given[own]), name

    @pytest.mark.parametrize("sizes", [{"hidden": 24}, {"intermediate": 20}, {"layers": 3, "hidden": 16, "heads": 2}])
    def test_narrow_student_starts_from_the_teacher_alone(
        self, family: str, sizes: dict[str, Any], tmp_path: Path
    ) -> None:
        task, _, batch = text(tmp_path / "teacher", family)
        made = shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(**sizes))
        student = task.networks.load(tmp_path / "student")
        config: Any = student.config
        assert made.copied_share == 1
        assert config.hidden_size == sizes.get("hidden", 32)
        assert config.num_hidden_layers == sizes.get("layers", 4)
        seen = task.networks.observe(student, batch, needs=frozenset({"hidden", "attentions"}))
        assert {states.shape[-1] for states in seen.hidden} == {config.hidden_size}
        assert seen.logits.isfinite().all()


@pytest.mark.parametrize("family", ["vit", "resnet", "convnext", "convnextv2"])
def test_full_size_image_student_answers_as_the_teacher(family: str, tmp_path: Path) -> None:
    task, net, batch = images(tmp_path / "teacher", family)
    made = shrink(tmp_path / "teacher", tmp_path / "student", task)
    student = task.networks.load(tmp_path / "student")
    assert torch.equal(task.networks.observe(student, batch).logits, task.networks.observe(net, batch).logits)
    assert made.copied_share == 1


def test_resnet_loses_layers_and_channels(tmp_path: Path) -> None:
    task, _, batch = images(tmp_path / "teacher", "resnet")
    made = shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(layers=[1, 2], hidden=[6, 12]))
    student: Any = task.networks.load(tmp_path / "student")
    assert (student.config.depths, student.config.hidden_sizes, student.config.embedding_size) == ([1, 2], [6, 12], 6)
    assert made.layer_map == ((0, 0), (1, 2), (2, 3))
    assert made.copied_share == 1
    assert task.networks.observe(student, batch).logits.isfinite().all()


def test_resnet_of_bottlenecks_as_resnet_50_is_loses_layers(tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification, ResNetConfig

    task, _, batch = images(tmp_path / "teacher", "resnet")
    config = ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[4, 2], id2label=dict(enumerate("abc"))
    )
    assert config.layer_type == "bottleneck"
    config.id2label = task.networks.load(tmp_path / "teacher").config.id2label  # type: ignore[union-attr]
    config.label2id = {name: place for place, name in config.id2label.items()}
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "teacher")
    made = shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(layers=[3, 1]))
    student = task.networks.load(tmp_path / "student")
    assert "layer_types" not in student.config.to_dict()  # type: ignore[operator, union-attr]
    assert made.copied_share == 1
    assert task.networks.observe(student, batch).logits.isfinite().all()


def test_resnet_whose_extra_channels_are_silent_keeps_its_answers(tmp_path: Path) -> None:
    """Half of every stage's channels are zero: cutting them is exact, if every convolution is cut alike."""
    task, net, batch = images(tmp_path / "teacher", "resnet")
    silence_every_other(net)
    net.save_pretrained(tmp_path / "teacher")  # type: ignore[operator]
    shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(hidden=[4, 8]))
    student = task.networks.load(tmp_path / "student")
    torch.testing.assert_close(task.networks.observe(student, batch).logits, task.networks.observe(net, batch).logits)


@pytest.mark.parametrize("family", ["convnext", "convnextv2"])
def test_a_convnext_loses_the_same_channels_wherever_they_run(family: str, tmp_path: Path) -> None:
    """Every second channel, and every second unit inside a block, carries nearly nothing."""
    task, net, batch = images(tmp_path / "teacher", family)
    widths = (8, 16, 32, 64)  # of the stages and inside their blocks; no kernel, class or colour has such a size
    with torch.no_grad():
        for weight in net.parameters():
            for axis, size in enumerate(weight.shape if weight.dim() > 1 else ()):
                if size in widths:
                    weight.index_fill_(axis, torch.arange(1, size, 2), 1e-4)
    net.save_pretrained(tmp_path / "teacher")  # type: ignore[operator]
    made = shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(hidden=[4, 8]))
    student = task.networks.load(tmp_path / "student")
    assert made.copied_share == 1
    for name, weight in student.state_dict().items():
        expected = net.state_dict()[name]
        for axis, size in enumerate(expected.shape):
            if size in widths:
                expected = expected.index_select(axis, torch.arange(0, size, 2))
        assert torch.equal(weight, expected), name
    assert task.networks.observe(student, batch).logits.isfinite().all()


def test_convnext_loses_layers(tmp_path: Path) -> None:
    task, net, batch = images(tmp_path / "teacher", "convnextv2")
    made = shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(layers=[1, 2]))
    student = task.networks.load(tmp_path / "student")
    assert made.layer_map == ((0, 0), (1, 2), (2, 3))
    assert task.networks.observe(student, batch).logits.isfinite().all()
    given = net.state_dict()
    assert all(torch.equal(weight, given[name]) for name, weight in student.state_dict().items())


def silence_every_other(net: torch.nn.Module) -> None:
    """Every second channel gives 0 and is not read."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "normalization" in name:
                weight[1::2] = 0
            elif weight.dim() == 4:
                weight[1::2] = 0
                if weight.shape[1] > 1:
                    weight[:, 1::2] = 0
            elif name == "classifier.1.weight":
                weight[:, 1::2] = 0


def test_silent_heads_and_units_are_the_ones_that_go(tmp_path: Path) -> None:
    """Two of four heads and half of the feed-forward units write nothing: cutting them is exact."""
    task, net, batch = text(tmp_path / "teacher")
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if "attention.output.dense.weight" in name:
                weight[:, 8:16] = 0
                weight[:, 24:] = 0
            elif ".output.dense.weight" in name:
                weight[:, ::2] = 0
    net.save_pretrained(tmp_path / "teacher")  # type: ignore[operator]
    shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(intermediate=32))
    student = task.networks.load(tmp_path / "student")
    torch.testing.assert_close(task.networks.observe(student, batch).logits, task.networks.observe(net, batch).logits)
    given = net.state_dict()["bert.encoder.layer.0.attention.self.value.weight"]
    shrink(tmp_path / "teacher", tmp_path / "narrow", task, Trim(hidden=16, heads=2))
    narrow = task.networks.load(tmp_path / "narrow").state_dict()["bert.encoder.layer.0.attention.self.value.weight"]
    kept = [int((given[:, None] == row[None, :, None]).any(-1).all(-1).nonzero()[0, 0]) for row in narrow]
    assert kept == [*range(8), *range(16, 24)]


def test_narrower_heads_scale_their_queries_and_nothing_else(tmp_path: Path) -> None:
    """q.k is divided by the root of the width, so half the width asks for queries of sqrt(1/2)."""
    task, net, _ = text(tmp_path / "teacher")
    shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(hidden=16, heads=4))
    given, own = net.state_dict(), task.networks.load(tmp_path / "student").state_dict()
    for part, scale in (("query", math.sqrt(0.5)), ("key", 1.0), ("value", 1.0)):
        name = f"bert.encoder.layer.1.attention.self.{part}.bias"
        nearest = (own[name][:, None] - scale * given[name]).abs().min(1)
        assert nearest.values.max() < 1e-7, part
        assert [int(place) // 8 for place in nearest.indices] == [head for head in range(4) for _ in range(4)]


@pytest.mark.parametrize("measured", [True, False])
def test_silent_dimensions_are_the_ones_that_go(measured: bool, tmp_path: Path) -> None:
    """Dimensions that no norm lets through go first, whatever their other weights say; measured or read off."""
    task, net, batch = text(tmp_path / "teacher", layers=1)
    body: Any = net
    quiet = [1, 5, 9, 30, 31, 2, 3, 17]
    with torch.no_grad():
        for name, weight in body.named_parameters():
            if "LayerNorm" in name:
                weight[quiet] = 0
    body.save_pretrained(tmp_path / "teacher")
    shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(hidden=24), samples=[batch] if measured else None)
    student: Any = task.networks.load(tmp_path / "student")
    left = [place for place in range(32) if place not in quiet]
    words = body.bert.embeddings.word_embeddings.weight[:, left]
    assert torch.equal(student.bert.embeddings.word_embeddings.weight, words)


def test_copied_narrow_student_learns_its_teacher_faster_than_a_random_one(tmp_path: Path) -> None:
    task, net, _ = text(tmp_path / "teacher", layers=2, hidden=64)
    words = torch.randint(5, 21, (64, 12), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": words, "attention_mask": torch.ones_like(words)}
    wanted = task.networks.observe(net, batch).logits.detach()
    errors = {}
    for start in ("copy", "random"):
        shrink(tmp_path / "teacher", tmp_path / start, task, Trim(hidden=48, initialise=start))
        student = task.networks.load(tmp_path / start)
        optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
        for _ in range(40):
            error = ((task.networks.observe(student, batch).logits - wanted) ** 2).mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        errors[start] = error.item()
    assert errors["copy"] < errors["random"]


def test_random_student_depends_on_the_seed_alone(tmp_path: Path) -> None:
    task, _, _ = text(tmp_path / "teacher")
    weights = []
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        made = shrink(tmp_path / "teacher", tmp_path / name, task, Trim(layers=1, initialise="random"), seed=seed)
        assert (made.copied_share, made.layer_map) == (0, ())
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_student_reads_as_its_teacher(tmp_path: Path) -> None:
    task, _, batch = text(tmp_path / "teacher")
    shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(layers=1))
    again = task.reader.collate(task.reader.encode(ROWS, tmp_path / "student"))
    assert all(torch.equal(again[name], batch[name]) for name in batch)


@pytest.mark.parametrize(
    ("family", "sizes", "words"),
    [
        ("bert", {"layers": 5}, "layers must be 1 to the teacher's 4"),
        ("bert", {"hidden": 64}, "hidden must be 1 to the teacher's 32"),
        ("bert", {"hidden": 24, "heads": 2}, "12 wide.*at least 3 heads"),
        ("bert", {"hidden": 30, "heads": 4}, "not a multiple of 4 heads"),
        ("bert", {"layers": 2, "keep": [2, 1]}, "in order"),
        ("bert", {"layers": [1, 1]}, "one stack"),
        ("electra", {"hidden": 8, "heads": 1}, "as wide as its word embeddings"),
        ("modernbert", {"hidden": 16, "heads": 4}, "by position"),
    ],
)
def test_impossible_sizes_are_refused(family: str, sizes: dict[str, Any], words: str, tmp_path: Path) -> None:
    task, _, _ = text(tmp_path / "teacher", family)
    with pytest.raises(ModelError, match=words):
        shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(**sizes))


@pytest.mark.parametrize(
    ("family", "sizes", "words"),
    [
        ("mobilenet_v2", {}, "cannot be shrunk.*resnet.*model_type: mobilenet_v2, .*with depth_multiplier"),
        ("convnext", {"layers": 1}, "2 stages"),
        ("resnet", {"layers": 1}, "2 stages"),
        ("resnet", {"heads": 1}, "neither heads"),
        ("resnet", {"layers": [3, 1]}, "each 1 to the teacher's"),
        ("resnet", {"keep": "last"}, "leave `keep`"),
    ],
)
def test_impossible_image_students_are_refused(family: str, sizes: dict[str, Any], words: str, tmp_path: Path) -> None:
    task, _, _ = images(tmp_path / "teacher", family)
    with pytest.raises(ModelError, match=words):
        shrink(tmp_path / "teacher", tmp_path / "student", task, Trim(**sizes))
