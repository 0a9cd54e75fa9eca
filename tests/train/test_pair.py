from pathlib import Path

import pytest
from tiny_models import WORDS, save_encoder, save_image_net, save_image_processor, save_tokenizer

from kd2deploy.errors import ModelError
from kd2deploy.tasks.text_classification import TextClassification
from kd2deploy.train.pair import check_pair, tokenizers_agree


def test_equal_tokenizers_agree(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_tokenizer(tmp_path / name)
    assert tokenizers_agree(tmp_path / "one", tmp_path / "other")


def test_another_vocabulary_order_or_token_types_do_not_agree(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "one")
    save_tokenizer(tmp_path / "order", words=WORDS[::-1])
    save_tokenizer(tmp_path / "larger", words=[*WORDS, "more"])
    save_tokenizer(tmp_path / "untyped", token_types=False)
    for name in ("order", "larger", "untyped"):
        assert not tokenizers_agree(tmp_path / "one", tmp_path / name), name


def test_another_case_rule_does_not_agree(tmp_path: Path) -> None:
    for name in ("one", "cased"):
        save_tokenizer(tmp_path / name)
    file = tmp_path / "cased" / "tokenizer.json"
    file.write_text(file.read_text().replace('"lowercase": true', '"lowercase": false'))
    assert not tokenizers_agree(tmp_path / "one", tmp_path / "cased")


def test_images_agree_by_processing_and_channels(tmp_path: Path) -> None:
    for name, channels in (("one", 1), ("same", 1), ("colour", 3), ("size", 1)):
        save_image_net(tmp_path / name, "resnet", channels=channels)
    save_image_processor(tmp_path / "size", 32)
    assert tokenizers_agree(tmp_path / "one", tmp_path / "same")
    assert not tokenizers_agree(tmp_path / "one", tmp_path / "colour")
    assert not tokenizers_agree(tmp_path / "one", tmp_path / "size")


def test_pair_of_the_tasks_labels_passes(tmp_path: Path) -> None:
    save_encoder(tmp_path / "teacher", labels=["neg", "pos"])
    save_encoder(tmp_path / "student", labels=["LABEL_0", "LABEL_1"])
    check_pair(TextClassification(["neg", "pos"]), tmp_path / "teacher", tmp_path / "student")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["pos", "neg"], r"another order.*labels: \[pos, neg\]"),
        (["neg", "pos", "odd"], "answers 3 classes"),
    ],
)
@pytest.mark.parametrize("who", ["teacher", "student"])
def test_other_labels_are_refused_by_name(who: str, labels: list[str], words: str, tmp_path: Path) -> None:
    for name in ("teacher", "student"):
        save_encoder(tmp_path / name, labels=labels if name == who else ["neg", "pos"])
    with pytest.raises(ModelError, match=f"the {who} answers.*{words}|the {who} {words}"):
        check_pair(TextClassification(["neg", "pos"]), tmp_path / "teacher", tmp_path / "student")


def test_classifier_is_refused_for_regression(tmp_path: Path) -> None:
    save_encoder(tmp_path / "one", labels=[])
    save_encoder(tmp_path / "classes", labels=["neg", "pos"])
    check_pair(TextClassification(), tmp_path / "one", tmp_path / "one")
    with pytest.raises(ModelError, match="the task has none"):
        check_pair(TextClassification(), tmp_path / "classes", tmp_path / "one")
