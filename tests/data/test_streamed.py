"""Splits of the hub that are read as they come. A folder stands for the hub: the library streams it alike."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kd2deploy.core.mapped import Mapped
from kd2deploy.data.hub import hub
from kd2deploy.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
"""The library leaves the files of a stream that is not read to its end to be closed by Python."""


@pytest.fixture
def on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as `datasets` reads it, of several files a split, and a cache of its own."""
    monkeypatch.setenv("KD2DEPLOY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    for part in range(3):
        rows = "".join(f"row {part * 100 + at},{at % 2}\n" for at in range(100))
        (folder / f"train-{part}.csv").write_text(f"sentence,label\n{rows}")
    (folder / "validation.csv").write_text("sentence,label\nfine,1\npoor,0\n")
    yield folder
    gc.collect()


def test_a_stream_brings_the_rows_that_a_download_does(on_the_hub: Path) -> None:
    whole, stream = hub(str(on_the_hub), text="sentence"), hub(str(on_the_hub), text="sentence", stream=True)
    assert isinstance(stream.train, Mapped)
    assert list(stream.train) == list(whole.train)
    assert list(stream.eval) == list(whole.eval)
    assert stream.labels == whole.labels


def test_of_a_stream_no_more_is_read_than_asked_for_and_the_next_run_reads_none(
    on_the_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hub(str(on_the_hub), text="sentence", stream=True, most=20)
    drawn = [row["text"] for row in found.train]
    assert len(set(drawn)) == 20
    assert drawn != [f"row {at}" for at in range(20)], "they are drawn, not the first"
    assert len(found.eval) == 2, "all that is judged is read"
    monkeypatch.setattr("kd2deploy.data._streamed.batches_of", None)
    again = hub(str(on_the_hub), text="sentence", stream=True, most=20)
    assert [row["text"] for row in again.train] == drawn


def test_a_changed_source_is_streamed_anew(on_the_hub: Path) -> None:
    before = hub(str(on_the_hub), text="sentence", stream=True)
    (on_the_hub / "train-3.csv").write_text("sentence,label\nnew,1\n")
    after = hub(str(on_the_hub), text="sentence", stream=True)
    assert len(after.train) == len(before.train) + 1


def test_pictures_are_streamed_too_and_names_of_classes_are_known(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "validation"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / split / name / "one.png")
    found = hub(str(tmp_path), stream=True, most=1)
    (row,) = found.train
    assert isinstance(row["image"], bytes | str)
    assert found.labels == ("cat", "dog")


@pytest.mark.parametrize("wrong", [{"most": 5}, {"most": 0, "stream": True}])
def test_a_number_of_rows_belongs_to_a_stream(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="write `stream: true` beside it, or use `limit_train`"):
        hub("anything", **wrong)


def test_rows_of_another_kind_than_the_first_are_one_clear_line(on_the_hub: Path) -> None:
    (on_the_hub / "train-2.csv").write_text("sentence,label\ngood,seldom\n")
    with pytest.raises(DataError, match="do not have the columns of its first ones"):
        hub(str(on_the_hub), text="sentence", stream=True)


def test_a_network_that_is_lost_on_the_way_is_one_clear_line(on_the_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise ConnectionError("the other side is gone")

    monkeypatch.setattr("kd2deploy.data._streamed.batches_of", lost)
    with pytest.raises(DataError, match=r"cannot be loaded: the other side is gone; check the name and the network"):
        hub(str(on_the_hub), text="sentence", stream=True)
    assert not list((on_the_hub.parent / "cache").rglob("*.arrow*")), "no half of it is left"
