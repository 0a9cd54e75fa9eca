"""Static embeddings that start from the teacher's words."""

from pathlib import Path

import pytest
import torch
from tiny_models import save_encoder, save_image_net

from kd2deploy.errors import ModelError
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.static import principal, static

LABELS = ["neg", "pos"]


def test_principal_components_keep_what_differs_most() -> None:
    """Points on a plane in four dimensions: two components hold all of it, and all distances but for their scale."""
    torch.manual_seed(0)
    table = torch.randn(50, 2).double() @ torch.randn(2, 4).double() + 3.0
    found, share = principal(table, 2)
    assert share == pytest.approx(1.0)
    assert found.norm(dim=1).mean() == pytest.approx(1.0, rel=1e-5)
    before, after = torch.cdist(table, table), torch.cdist(found, found)
    torch.testing.assert_close(after / after.max(), before / before.max(), atol=1e-4, rtol=1e-3)
    assert found[:, 0].var() > found[:, 1].var()
    with pytest.raises(ValueError, match="at most the width of the teacher's word vectors, 4, got 5"):
        principal(table, 5)


def test_its_table_starts_from_the_teachers_words_and_it_reads_as_the_teacher_does(tmp_path: Path) -> None:
    teacher, out = save_encoder(tmp_path / "teacher", labels=LABELS, hidden=16), tmp_path / "student"
    task = TextClassification(LABELS)
    share, (note,) = static(teacher, out, task, dim=4, taught=True, seed=0)
    whole, net = task.networks.load(teacher), task.at(out).networks.load(out)
    expected, _ = principal(task.networks.token_table(whole).detach(), 4)
    table = task.networks.token_table(net)
    torch.testing.assert_close(table.detach(), expected)
    assert share == table.numel() / sum(weight.numel() for weight in net.parameters())
    assert "4 principal components" in note
    assert task.reader.reads_alike(teacher, out)
    task.networks.check_pair(teacher, out)


def test_random_ones_are_drawn_from_the_seed(tmp_path: Path) -> None:
    teacher, task = save_encoder(tmp_path / "teacher", labels=LABELS), TextClassification(LABELS)
    tables = []
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        assert static(teacher, tmp_path / name, task, dim=4, taught=False, seed=seed)[0] == 0.0
        tables.append(task.networks.token_table(task.networks.load(tmp_path / name)))
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_what_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    teacher = save_encoder(tmp_path / "teacher", labels=LABELS, hidden=16)
    with pytest.raises(
        ModelError, match="static: dim must be at most the width of the teacher's word vectors, 16, got 17"
    ):
        static(teacher, tmp_path / "student", TextClassification(LABELS), dim=17, taught=True, seed=0)
    pictures = save_image_net(tmp_path / "pictures")
    task = ImageClassification(["zero", "one", "two"]).at(pictures)
    with pytest.raises(ModelError, match="image_classification reads none"):
        static(pictures, tmp_path / "none", task, dim=4, taught=True, seed=0)
