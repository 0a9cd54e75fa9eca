from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from measure.measured_sessions import Parity
from PIL import Image
from transcripts import Transcripts

from kd2deploy.data._columns import renamed
from kd2deploy.data.prepare import prepare, quotas
from kd2deploy.data.splits import Splits
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError
from kd2deploy.tasks.image_classification import ImageClassification
from kd2deploy.tasks.text_classification import TextClassification


def rows(count: int, classes: int = 2, start: str = "train") -> list[dict[str, Any]]:
    return [{"text": f"{start} {place}", "label": f"class {place % classes}", "extra": place} for place in range(count)]


def prepared(train: Any = None, judged: Any = None, **given: Any) -> Splits:
    sources = {name: given.pop(name) for name in ("validation", "unlabelled", "labels", "names") if name in given}
    task = given.pop("task", TextClassification)
    arguments = {"labels": given.pop("classes", None), "pair": given.pop("pair", False)}
    train = rows(40) if train is None else train
    judged = rows(10, start="eval") if judged is None else judged
    return prepare(Tables(train, judged, **sources), task, arguments, **given)


def test_splits_are_stratified_disjoint_and_numbered() -> None:
    found = prepared(rows(100, 4), rows(8, 4, "eval"), validation_share=0.2)
    assert (len(found.train), len(found.validation), len(found.eval)) == (80, 20, 8)
    assert found.labels == ("class 0", "class 1", "class 2", "class 3")
    assert Counter(row["label"] for row in found.validation) == dict.fromkeys(range(4), 5)
    texts = {row["text"] for row in found.train}
    assert not texts & {row["text"] for row in found.validation}
    assert all(row.keys() == {"text", "label", "index"} for row in found.train)
    assert [row["index"] for row in found.validation] == list(range(20))
    assert found.warnings == ()


def test_split_and_hash_depend_on_the_seed_and_the_rows() -> None:
    first, again, other = prepared(), prepared(), prepared(seed=1)
    assert first == again
    assert other.validation != first.validation
    assert other.sha256 != first.sha256
    changed = rows(40)
    changed[3]["text"] = "another"
    assert prepared(changed).sha256 != first.sha256


def test_own_validation_rows_are_used_as_they_are() -> None:
    found = prepared(validation=rows(6, start="held"))
    assert (len(found.train), len(found.validation)) == (40, 6)


def test_every_class_keeps_a_training_row() -> None:
    few = [*rows(30), {"text": "rare", "label": "rare"}]
    found = prepared(few, validation_share=0.9)
    assert {row["label"] for row in found.train} == {0, 1, 2}


def test_limits_keep_the_proportions() -> None:
    found = prepared(rows(100, 4), rows(40, 4, "eval"), limit_train=44, limit_eval=8)
    assert Counter(row["label"] for row in found.eval) == dict.fromkeys(range(4), 2)
    assert len(found.train) + len(found.validation) == 44


def test_few_labels_leave_the_other_rows_without_and_validation_rows_are_among_the_few() -> None:
    found = prepared(
        rows(100, 4), rows(8, 4, "eval"), limit_labels=8, unlabelled=[{"text": "free"}], validation_share=0.5
    )
    assert Counter(row["label"] for row in found.labelled) == dict.fromkeys(range(4), 1)
    assert Counter(row["label"] for row in found.validation) == dict.fromkeys(range(4), 1)
    assert len(found.train) + len(found.validation) == 101
    assert found.train[-1]["text"] == "free"
    assert found.train[-1]["label"] is None
    assert [row["index"] for row in found.train] == list(range(len(found.train)))
    with pytest.raises(DataError, match="each of 4 classes"):
        prepared(rows(100, 4), rows(8, 4, "eval"), limit_labels=3)


def test_few_labels_beside_validation_rows_of_their_own_are_all_trained_on() -> None:
    found = prepared(rows(100, 4), rows(8, 4, "eval"), validation=rows(12, 4, "held"), limit_labels=8)
    assert len(found.labelled) == 8
    assert len(found.validation) == 12


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 300))
def test_quotas_are_proportional_and_sum_up(sizes: list[int], wanted: int) -> None:
    found = quotas(sizes, wanted)
    assert sum(found) == min(wanted, sum(sizes))
    assert all(0 <= quota <= size for quota, size in zip(found, sizes, strict=True))
    if wanted >= len(sizes):
        assert min(found) >= 1


def test_numeric_labels_are_sorted_by_size_and_source_names_are_places() -> None:
    numbered = [{"text": str(place), "label": place % 11} for place in range(44)]
    assert prepared(numbered, numbered[:11]).labels == tuple(str(place) for place in range(11))
    named = [{"text": str(place), "label": place % 2} for place in range(20)]
    found = prepared(named, named[:4], labels=("zero", "one"))
    assert found.labels == ("zero", "one")
    assert [row["label"] for row in found.eval] == [0, 1, 0, 1]


def test_1_and_1_0_are_one_class() -> None:
    whole = [{"text": str(place), "label": str(place % 11)} for place in range(44)]
    points = [{"text": f"e{place}", "label": f"{place % 11}.0"} for place in range(11)]
    for train, judged, first in ((whole, points, "0"), (points * 4, whole, "0.0"), (whole + points, points, "0")):
        found = prepared(train, judged)
        assert (found.labels[0], len(found.labels)) == (first, 11)
        assert [row["label"] for row in found.eval[:11]] == list(range(11))
    # where both are classes of their own, each name means itself
    assert prepared(whole[:2] * 9, whole[:2], classes=["0", "1", "1.0"]).eval[1]["label"] == 1
    versions = [{"text": str(place), "label": ("1.1", "1.10")[place % 2]} for place in range(20)]
    assert prepared(versions, versions[:4]).labels == ("1.1", "1.10")


def test_labels_in_digits_of_another_script_are_words() -> None:
    odd = [{"text": str(place), "label": ("²", "3")[place % 2]} for place in range(20)]
    assert prepared(odd, odd[:4]).labels == ("3", "²")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (["plot", "sound"], r"row 3 has a list as label \(\['plot', 'sound'\]\), and this task takes one class a row"),
        ([1, 0, 1], r"a list as label"),
        (np.array([1, 0]), r"a list as label"),
        ({"a": 1}, r"a dictionary as label"),
    ],
)
@pytest.mark.parametrize("split", ["train", "judged"])
def test_lists_are_no_classes(label: Any, words: str, split: str) -> None:
    given = rows(12)
    given[2]["label"] = label
    with pytest.raises(DataError, match=words):
        prepared(**{split: given})


def test_what_the_source_says_is_told() -> None:
    tables = Tables(rows(40), rows(10), warnings=("two files were left out",))
    assert prepare(tables, TextClassification, {}).warnings[0] == "two files were left out"


def test_the_tasks_own_order_of_labels_wins() -> None:
    found = prepared(classes=["class 1", "class 0"])
    assert [row["label"] for row in found.eval[:2]] == [1, 0]


def test_regression_reads_numbers() -> None:
    values = [{"text": str(place), "label": f"{place / 4}"} for place in range(20)]
    found = prepared(values, values[:4], classes=[])
    assert found.labels == ()
    assert [row["label"] for row in found.eval] == [0.0, 0.25, 0.5, 0.75]
    values[6]["label"] = "much"
    with pytest.raises(DataError, match=r"my\.csv: row 7 has a label that is not a finite number \('much'\)"):
        prepared(values, values[:4], classes=[], names={"train": "my.csv"})


def test_overlap_is_counted_and_warned_of() -> None:
    train = rows(20)
    found = prepared(train, [*rows(6, start="eval"), train[3], train[4]])
    assert found.overlap == 2
    assert "2 of 8 evaluation rows" in found.warnings[0]


def test_pictures_overlap_by_what_is_in_them(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
    train = [{"image": image, "label": place % 2} for place, image in enumerate(drawn)]
    judged = [{"image": drawn[0].copy(), "label": 0}, {"image": drawn[1].T.copy(), "label": 1}]
    found = prepared(train, judged, task=ImageClassification)
    assert found.overlap == 1
    for place, name in zip((0, 1, 2, 0, 3), "abcde", strict=True):
        Image.fromarray(drawn[place]).save(tmp_path / name, "png")
    files = [{"image": str(tmp_path / name), "label": place % 2} for place, name in enumerate("abcde")]
    found = prepared(files[:3], files[3:], task=ImageClassification)
    assert found.overlap == 1


@pytest.mark.parametrize("field", ["text", "label"])
@pytest.mark.parametrize("value", [list(range(9999)), {"nested": list(range(9999))}, "x" * 99_999], ids=type)
def test_a_message_shows_the_beginning_of_what_a_row_holds(field: str, value: Any) -> None:
    judged = rows(12, start="judged")
    judged[4][field] = value
    if field == "text" and isinstance(value, str):  # is a text, and read
        prepared(judged=judged)
        return
    with pytest.raises(DataError, match="row 5 has") as caught:
        prepared(judged=judged)
    assert len(str(caught.value)) < 600


def test_a_header_of_thousands_of_columns_is_not_shown_in_full() -> None:
    wide = [{**{f"feature {number}": 0 for number in range(4000)}, "x" * 9999: 1}]
    with pytest.raises(DataError, match=r"no column 'yyyyy.* there are feature 0, .* \.\.\. \(4001 in all\)") as caught:
        renamed(wide, {"label": "y" * 9999}, "wide.csv")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("split", ["train", "judged", "validation", "unlabelled"])
def test_a_row_that_cannot_be_read_is_named_before_anything_is_trained(split: str, tmp_path: Path) -> None:
    texts = rows(12, start=split)
    texts[4]["text"] = 3.5
    with pytest.raises(DataError, match=r"row 5 has text that cannot be read: 3\.5 is no text"):
        prepared(**{split: texts})
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    grey = np.zeros((4, 4), dtype=np.uint8)
    pictures = {
        name: [{"image": grey, "label": place % 2} for place in range(6)] for name in ("train", "judged", split)
    }
    pictures[split][2] = {"image": str(tmp_path / "cut.png"), "label": 0}
    with pytest.raises(DataError, match=r"row 3 has image that cannot be read: .*cut\.png is not a picture"):
        prepared(**pictures, task=ImageClassification)


@pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
def test_missing_values_name_their_rows_or_are_dropped(empty: Any) -> None:
    train = rows(40)
    train[2]["text"] = train[7]["text"] = empty
    with pytest.raises(DataError, match=r"rows 3, 8 have no text; fill them in or set `missing: drop`"):
        prepared(train)
    found = prepared(train, missing="drop")
    assert len(found.train) + len(found.validation) == 38
    assert "train: 2 rows without text were left out" in found.warnings


def test_many_missing_rows_are_shortened() -> None:
    train = [{**row, "label": None} if place % 2 else row for place, row in enumerate(rows(40))]
    with pytest.raises(DataError, match=r"rows 2, 4, 6, 8, 10 \.\.\. \(20 in all\) have no label.*`unlabelled`"):
        prepared(train)


@pytest.mark.parametrize(
    ("train", "judged", "words"),
    [
        ([], None, "train has no rows"),
        (None, [], "eval has no rows"),
        (rows(10, 1), rows(4, 1), "every row has the label 'class 0'"),
        ([{"text": "a", "labl": 1}] * 3, None, "no column 'label'; did you mean 'labl'"),
        ([{"sentence": "a", "label": 1}] * 3, None, "no column 'text'"),
        (None, rows(9, 3, "eval"), "rows 3, 6, 9 have a label that is not among the classes"),
        (rows(2), rows(2), "too few rows"),
        (None, rows(1), "an interval takes at least two"),
    ],
)
def test_data_that_cannot_be_used_is_refused(train: Any, judged: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepared(train, judged)


def test_class_that_is_judged_but_never_trained_is_refused() -> None:
    with pytest.raises(DataError, match="'class 2' has no training row"):
        prepared(judged=rows(9, 3, "eval"), labels=("class 0", "class 1", "class 2"))


def test_declared_class_without_rows_is_warned_of() -> None:
    assert any("'class 2'" in warning for warning in prepared(labels=("class 0", "class 1", "class 2")).warnings)


def test_pairs_need_their_second_text() -> None:
    with pytest.raises(DataError, match="no column 'text_pair'"):
        prepared(pair=True)


def test_rows_of_other_tasks_pass_unchanged() -> None:
    sounds = [{"audio": f"{place}.wav", "words": "a b"} for place in range(20)]
    found = prepared(sounds, sounds[:3], task=Parity)
    assert found.eval[2] == {"audio": "2.wav", "words": "a b", "index": 2}
    assert len(found.train) == 18


def test_a_label_of_a_tasks_own_kind_that_is_none_is_told_by_file_and_row() -> None:
    good = [{"text": "fun", "label": "+"}, {"text": "dull", "label": "-"}]
    bad = [good[0], {"text": "slow", "label": "-?"}, good[1], {"text": "fun", "label": 3}]
    for train, judged, name in ((bad, good * 5, "a.csv"), (good * 5, bad, "b.csv")):
        with pytest.raises(DataError, match=rf"^{name}: rows 2, 4 have a label that cannot be learnt: ") as caught:
            prepared(train, judged, task=Transcripts, names={"train": "a.csv", "eval": "b.csv"})
        assert "'-?' is not made of + and -" in str(caught.value)
    assert len(prepared(good * 5, good, task=Transcripts).eval) == 2
