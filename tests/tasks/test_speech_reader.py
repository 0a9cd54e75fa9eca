"""Rows of audio as a network reads them, in training and as a server sends them."""

from pathlib import Path

import numpy as np
import pytest
from tiny_speech import FAMILIES, RATE, noise, rows, save_speech, speech_task, spelt, wav

from kd2deploy.core import build_task
from kd2deploy.data.prepare import prepare, with_training_rows
from kd2deploy.data.tables import Tables
from kd2deploy.errors import DataError
from kd2deploy.measure.latency import elements
from kd2deploy.tasks._heard import aligned_in
from kd2deploy.tasks.speech_ctc import SpeechCtc

pytest.importorskip("soundfile", reason="soundfile is not installed (extra speech)")
pytest.importorskip("soxr", reason="soxr is not installed (extra speech)")


@pytest.fixture(scope="module", params=["wav2vec2", "parakeet_ctc"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_speech(tmp_path_factory.mktemp("speech") / request.param, request.param)


def test_a_task_at_a_folder_reads_what_the_network_there_does(folder: Path) -> None:
    task = SpeechCtc().at(folder)
    assert task.reader.sampling_rate == RATE
    assert task.reader.bins == (16 if "parakeet" in folder.name else 0)
    assert len(task.transcripts.pieces) == 7
    again = build_task(task.spec())
    assert again.spec() == task.spec()
    assert again.inputs == task.inputs


def test_rows_become_padded_inputs_with_a_mask_and_labels(folder: Path) -> None:
    task = speech_task().at(folder)
    given = [{"audio": spelt("ab c"), "label": "ab c", "index": 0}, {"audio": spelt("d"), "label": None, "index": 1}]
    features = task.reader.encode(given, folder)
    batch = task.reader.collate(features)
    assert set(batch) == {task.reader.heard_as, "attention_mask", "labels", "index"}
    assert batch["labels"].tolist() == [[3, 4, 2, 5], [-100] * 4]
    lengths = [task.reader.length(one) for one in features]
    assert batch["attention_mask"].sum(-1).tolist() == lengths
    assert lengths[0] > lengths[1]
    assert not batch[task.reader.heard_as][1, lengths[1] :].any()
    feed = task.reader.feed(features)
    assert list(feed) == [port.name for port in task.inputs]
    assert feed["attention_mask"].dtype == np.int64


def test_a_second_of_audio_is_one_unit_of_size(folder: Path) -> None:
    reader = speech_task().at(folder).reader
    feed = reader.preparing(folder)([{"audio": wav(noise(1.0))}])
    unit = reader.size_unit(folder)
    assert unit.elements == elements(feed)
    assert unit.lasts_ms == 1000


def test_a_request_is_what_was_scored(folder: Path) -> None:
    task, (row,) = speech_task().at(folder), rows(1)
    prepared = task.reader.preparing(folder)([row])
    scored = task.reader.feed(task.reader.encode([row], folder))
    for name, array in scored.items():
        np.testing.assert_array_equal(prepared[name], array)


def test_a_row_is_sent_as_a_file(folder: Path, tmp_path: Path) -> None:
    reader = speech_task().at(folder).reader
    audio = spelt("ab")
    sent = reader.sent({"audio": audio, "label": "ab"}, tmp_path / "row")
    assert sent["label"] is None
    assert Path(sent["audio"]).read_bytes() == audio
    np.testing.assert_array_equal(
        reader.preparing(folder)([sent])["attention_mask"],
        reader.preparing(folder)([{"audio": audio}])["attention_mask"],
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"audio": wav(noise(5.0)), "label": "a"}, r"row 7 lasts 5\.0 s, longer than max_seconds \(4\)"),
        ({"audio": wav(noise(0.002)), "label": "a"}, r"row 7 lasts 0\.002 s"),
        (
            {"audio": spelt("ab"), "label": "ab, c"},
            r"row 7: the network has no symbol for ',' in the transcript 'ab, c'",
        ),
        ({"audio": spelt("ab"), "label": "  "}, "row 7: nothing is left of the transcript"),
    ],
)
def test_rows_that_cannot_be_learnt_are_refused_by_number(row: dict[str, object], words: str, folder: Path) -> None:
    with pytest.raises(DataError, match=words):
        speech_task().at(folder).reader.encode([{**row, "index": 7}], folder)


def test_unknown_characters_are_dropped_where_that_is_asked(folder: Path) -> None:
    task = speech_task(unknown="drop").at(folder)
    (one,) = task.reader.encode([{"audio": spelt("ab"), "label": "A-b!", "index": 0}], folder)
    assert one["labels"].tolist() == [3, 2, 4]


def test_data_are_prepared_with_transcripts_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(spelt("ab"))
    given = [{"audio": str(path), "label": "ab"}, *({"audio": row["audio"], "label": row["label"]} for row in rows(4))]
    splits = prepare(Tables(train=given, eval=given[1:]), SpeechCtc, {})
    assert splits.eval[0]["label"] == given[1]["label"]
    assert any(row["audio"] == path for row in (*splits.train, *splits.validation))
    assert splits.overlap == 4
    for bad, words in (({"audio": b"text", "label": "a"}, "no audio"), ({"audio": path, "label": 3}, "3 is no text")):
        with pytest.raises(DataError, match=words):
            prepare(Tables(train=[*given, bad], eval=given), SpeechCtc, {})


def test_what_is_odd_in_the_rows_is_told(folder: Path) -> None:
    reader = speech_task().at(folder).reader
    silent = {"audio": wav(np.zeros(RATE, dtype=np.float32)), "label": "a", "index": 0}
    crowded = {"audio": wav(noise(0.1)), "label": "abcd " * 20 + "a", "index": 1}
    found = reader.reading([silent, crowded, *rows(6)], folder)
    assert "are silent" in found.doubts[0]
    assert "too short for their transcript" in found.doubts[1]
    assert reader.reading(rows(6), folder).doubts == ()
    assert "nothing is heard" in reader.reading([{**silent, "label": None}], folder).doubts[0]


def test_equal_symbols_side_by_side_need_a_frame_between() -> None:
    assert aligned_in([3, 3, 4]) == 4
    assert aligned_in([]) == 0


def test_floors_say_nothing_and_the_commonest_transcript(folder: Path) -> None:
    pytest.importorskip("jiwer", reason="jiwer is not installed (extra speech)")
    task = speech_task().at(folder)
    train = [{"label": "ab"}, {"label": "ab"}, {"label": "c"}]
    asked = [{"label": "ab", "index": 0}, {"label": "c d", "index": 1}]
    found = {name: task.metric.score(outputs, asked) for name, outputs in task.floors(train, asked, folder).items()}
    assert found["silence"].metrics["wer"] == 1
    assert found["always 'ab'"].metrics["wer"] == pytest.approx(2 / 3)


def test_bad_arguments_are_refused() -> None:
    for arguments, words in (
        ({"alphabet": "a b"}, "without white space"),
        ({"metric": "accuracy"}, "choose one of wer, cer"),
        ({"max_seconds": 0.0}, "must be positive"),
        ({"blank": 40}, "blank must be one of"),
    ):
        with pytest.raises(ValueError, match=words):
            SpeechCtc(**arguments)  # type: ignore[arg-type]


def test_every_family_is_named() -> None:
    from kd2deploy.networks.frames import SPECTRA, WAVES

    assert set(FAMILIES) == WAVES | SPECTRA


def test_a_transcript_is_spelt_by_the_networks_own_alphabet_whoever_asks(folder: Path) -> None:
    """The task before it is asked at a folder has another alphabet."""
    other = SpeechCtc(alphabet="XYZ")
    (one,) = other.reader.encode([{"audio": spelt("ab"), "label": "Ab", "index": 0}], folder)
    assert one["labels"].tolist() == [3, 4]


def test_rows_of_a_trainings_own_keep_their_transcripts() -> None:
    splits = prepare(Tables(train=rows(6), eval=rows(3, seed=50)), SpeechCtc, {})
    others = [{"audio": row["audio"], "label": row["label"]} for row in rows(4, seed=90)]
    found = with_training_rows(splits, Tables(train=others, eval=[]), SpeechCtc, {}, "error")
    assert [row["label"] for row in found.train] == [row["label"] for row in others]
    with pytest.raises(DataError, match="3 is no text"):
        with_training_rows(splits, Tables(train=[{**others[0], "label": 3}], eval=[]), SpeechCtc, {}, "error")
