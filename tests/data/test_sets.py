"""Sets of labels in every way they are written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd2deploy.data.files import files
from kd2deploy.data.prepare import prepare
from kd2deploy.data.splits import Splits
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError
from kd2deploy.tasks.text_multilabel import TextMultilabel

SETS = [["plot", "sound"], ["sound"], ["plot"], [], ["cast", "plot"]] * 4
NAMES = ("cast", "plot", "sound")
HOT = [[0, 1, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]] * 4


def rows(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"text": f"row {place}", "label": label} for place, label in enumerate(labels)]


def split(sets: list[Any], judged: list[Any] | None = None, **arguments: Any) -> Splits:
    own: Any = arguments.pop("own", None)
    tables = Tables(train=rows(sets), eval=rows(judged or sets), labels=own)
    return prepare(tables, TextMultilabel, arguments, validation_share=0.2)


def sets_of(found: Splits) -> list[list[int]]:
    return [row["label"] for row in sorted([*found.train, *found.validation], key=lambda row: int(row["text"][4:]))]


@pytest.mark.parametrize(
    ("labels", "arguments"),
    [
        (SETS, {}),
        ([np.array(one, dtype=object) for one in SETS], {}),
        (HOT, {"labels": list(NAMES)}),
        ([[bool(one) for one in hot] for hot in HOT], {"labels": list(NAMES)}),
        (HOT, {"own": NAMES}),
        ([[place for place, one in enumerate(hot) if one] for hot in HOT], {"own": NAMES}),
        (["|".join(one) or None for one in SETS], {"separator": "|"}),
        ([" , ".join(one) for one in SETS], {"separator": ","}),
    ],
)
def test_sets_come_out_as_one_zero_or_one_for_each_label(labels: list[Any], arguments: dict[str, Any]) -> None:
    found = split(labels, **arguments)
    assert found.labels == NAMES
    assert sets_of(found) == HOT
    assert [row["label"] for row in found.eval] == HOT


def test_columns_of_zeros_and_ones_are_read_from_a_file(tmp_path: Path) -> None:
    lines = ["text,plot,sound,cast", *(f"row {n},{hot[1]},{hot[2]},{bool(hot[0])}" for n, hot in enumerate(HOT))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    tables = files(str(tmp_path / "rows.csv"), str(tmp_path / "rows.csv"))
    found = prepare(tables, TextMultilabel, {"label_columns": ["plot", "sound", "cast"]}, validation_share=0.2)
    assert found.labels == ("plot", "sound", "cast")
    assert sets_of(found) == [[plot, sound, cast] for cast, plot, sound in HOT]


def test_numbers_as_names_are_sorted_by_size() -> None:
    assert split([[10, 2], [1], [2], [10]] * 3).labels == ("1", "2", "10")


@pytest.mark.parametrize(
    ("labels", "judged", "arguments", "words"),
    [
        (["plot"] * 6, None, {}, r"no list of labels \('plot'\).*separator.*label_columns"),
        (HOT, None, {}, r"3 zeros and ones a row.*labels: \[3 names\]"),
        ([["a"]] * 6, None, {}, "one label in all rows"),
        ([[]] * 6, None, {}, "no label in all rows"),
        ([*SETS, None], None, {}, "row 21 has no label"),
        (SETS, [["plott"]] * 3, {}, r"'plott'\); did you mean 'plot'"),
        ([["plot"], ["cast"]] * 5, [["sound"]] * 3, {"labels": list(NAMES)}, "'sound' has no training row"),
        (SETS, None, {"label_columns": ["plot"]}, "no column 'plot'.*label_columns"),
    ],
)
def test_what_cannot_be_read_is_refused(
    labels: list[Any], judged: list[Any] | None, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        split(labels, judged, **arguments)


def test_a_mark_that_is_neither_is_refused_by_row() -> None:
    tables = Tables(train=[{"text": "a", "plot": 2, "cast": 0}], eval=[{"text": "a", "plot": 1, "cast": 0}])
    with pytest.raises(DataError, match="row 1 has 2 under 'plot'"):
        prepare(tables, TextMultilabel, {"label_columns": ["plot", "cast"]})


def test_labels_that_say_nothing_are_told() -> None:
    found = split([["plot", "cast"], ["plot"]] * 6, labels=["plot", "cast", "sound"])
    assert found.warnings[:2] == ("every training row has the label 'plot'", "no training row has the label 'sound'")


def test_rare_labels_are_spread_over_the_splits() -> None:
    labels = [["common", "rare"] if place % 10 == 0 else ["common"] for place in range(200)]
    found = split(labels)
    assert sum(row["label"][1] for row in found.validation) == 4
    assert sum(row["label"][1] for row in found.train) == 16


def test_few_labels_leave_the_other_rows_without() -> None:
    tables = Tables(train=rows(SETS), eval=rows(SETS))
    found = prepare(tables, TextMultilabel, {}, validation_share=0.2, limit_labels=6)
    assert len(found.labelled) + len(found.validation) == 6
    assert sum(row["label"] is None for row in found.train) > 6
