"""How audio becomes a network's inputs, and transcripts what is learnt of it.

Features hold the samples, or spectra, of one row as its network reads them; the attention mask is made when they are
padded. They are kept decoded: an hour at 16 kHz takes 230 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import TEACHER_PREFIX, Array, Features, Port, Prepare, Reader, Reading, Row, SizeUnit
from kd2deploy.errors import DataError, ModelError
from kd2deploy.networks.configuration import read_config
from kd2deploy.networks.ctc_vocabulary import Vocabulary, save_vocabulary, vocabulary
from kd2deploy.networks.frames import frames, front_end, shortest
from kd2deploy.networks.hearing import Hearing, has_hearing, hearing, save_hearing
from kd2deploy.tasks._audio import heard, unreadable
from kd2deploy.tasks._heard import counts_of, reading_of
from kd2deploy.tasks._served_audio import audio_code
from kd2deploy.tasks._targets import UNLABELLED
from kd2deploy.tasks._transcripts import Transcripts

if TYPE_CHECKING:
    from kd2deploy.core import Batch

HEARD_AS = ("input_values", "input_features")
LEAST_SPECTRA = 2
"""A spectrogram is divided by its deviation, which takes two."""
SNIPPET = """\
{runtime}
{prepare}
task = json.loads(pathlib.Path("bundle.json").read_text(encoding="utf-8"))["task"]
pieces, blank = task["pieces"], task["blank"]


def answer(path):
    symbols = run(prepared(path))["logits"][0].argmax(-1).tolist()
    kept = [one for one, before in zip(symbols, [blank, *symbols]) if one not in (before, blank)]
    return " ".join("".join(pieces[one] for one in kept).split())


print(answer("speech.wav"))
"""


class SpeechReader(Reader):
    """Audio of at most `max_seconds`, as waves or (`bins` above 0) as mel spectra; and its transcript."""

    columns: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "audio": ("audio", "path", "file", "audio_filepath", "wav", "clip"),
        "label": ("transcript", "transcription", "sentence", "text", "normalized_text", "label"),
    }
    named: ClassVar[tuple[str, ...]] = ("audio",)
    counted_in: ClassVar[str] = "values"

    def __init__(
        self, transcripts: Transcripts, sampling_rate: int, bins: int, max_seconds: float, alphabet: str
    ) -> None:
        if sampling_rate < 1 or bins < 0 or max_seconds <= 0:
            raise ValueError(
                f"sampling_rate and max_seconds must be positive, got {sampling_rate} and {max_seconds}, and bins 0 "
                f"or more, got {bins}"
            )
        self.transcripts, self.sampling_rate, self.bins = transcripts, sampling_rate, bins
        self.max_seconds, self.alphabet = max_seconds, alphabet

    @property
    def heard_as(self) -> str:
        """The network's argument for what it hears."""
        return HEARD_AS[self.bins > 0]

    @property
    def ports(self) -> tuple[Port, ...]:
        along = ("batch_size", "spectra") if self.bins else ("batch_size", "samples")
        return (
            Port(self.heard_as, "float32", (*along, self.bins) if self.bins else along),
            Port("attention_mask", "int64", along),
        )

    @classmethod
    def fields(cls, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        return ("audio",)

    @classmethod
    def flaw(cls, value: Any) -> str:
        return unreadable(value)

    @classmethod
    def target_flaw(cls, label: Any) -> str:
        return "" if isinstance(label, str) else f"{label!r} is no text"

    # rows ---------------------------------------------------------------------------------------------------

    def row(self, given: str, other: str | None = None) -> Row:
        return {"audio": given, "label": None}

    def reading(self, rows: Sequence[Row], folder: Path) -> Reading:
        by, strides = hearing(folder.resolve()), front_end(read_config(folder))
        waves = [heard(row["audio"], by.sampling_rate) for row in rows]
        spell = self.speller(folder)
        spelt = [None if row.get("label") is None else spell(row) for row in rows]
        per_frame = by.sampling_rate / by.per_second
        given = [max(0, int(frames(int(len(wave) / per_frame), strides))) for wave in waves]
        return reading_of(counts_of(waves, spelt, given, by.sampling_rate))

    def encode(self, rows: Sequence[Row], folder: Path) -> list[Features]:
        by, spell = hearing(folder.resolve()), self.speller(folder)
        least = self.fewest(folder, by)
        found: list[Features] = []
        for place, row in enumerate(rows):
            symbols = [] if row.get("label") is None else spell(row)
            features = {by.heard_as: self.listened(row, by, least), "labels": np.array(symbols, dtype=np.int64)}
            found.append({**features, "index": int(row.get("index", place))})
        return found

    def written_by(self, folder: Path) -> Vocabulary:
        """The vocabulary of the network in `folder`, or the one that it is to get."""
        return vocabulary(folder.resolve()) or Vocabulary(self.transcripts.pieces, self.transcripts.blank)

    def speller(self, folder: Path) -> Callable[[Row], list[int]]:
        """What gives the classes of a row's transcript, by the network in `folder`; it raises DataError for characters
        that no class writes."""
        known, unknown = self.written_by(folder), self.transcripts.unknown
        transcripts = Transcripts(known.pieces, known.blank, unknown)

        def spell(row: Row) -> list[int]:
            text, where = transcripts.right(row), f"row {row.get('index', '?')}"
            if foreign := transcripts.foreign(text):
                raise DataError(
                    f"{where}: the network has no symbol for {foreign!r} in the transcript {text!r}; mend it, or set "
                    "`unknown: drop` under `task`"
                )
            try:
                return known.spelt(text)
            except ModelError as error:
                raise DataError(f"{where}: {error} in the transcript {text!r}; mend it") from error

        return spell

    def listened(self, row: Row, by: Hearing, least: int) -> Array:
        """The samples or spectra of a row. Raises DataError for audio that is too short or too long."""
        wave, where = heard(row["audio"], by.sampling_rate), f"row {row.get('index', '?')}"
        seconds = len(wave) / by.sampling_rate
        if seconds > self.max_seconds:
            raise DataError(
                f"{where} lasts {seconds:.1f} s, longer than max_seconds ({self.max_seconds:g}); cut it where nobody "
                "speaks, or raise `max_seconds` under `task`"
            )
        if len(wave) < least:
            raise DataError(
                f"{where} lasts {seconds:.3f} s, and the network's first answer takes {least / by.sampling_rate:g} "
                "s; remove the row"
            )
        return by.features(wave)

    def fewest(self, folder: Path, by: Hearing) -> int:
        """Samples that a row must have."""
        units = shortest(front_end(read_config(folder)))
        return max(LEAST_SPECTRA, units) * by.mel.hop if by.mel else units

    def length(self, features: Features) -> int:
        return len(features[heard_in(features)])

    def size_unit(self, folder: Path) -> SizeUnit:
        by = hearing(folder.resolve())
        elements = by.per_second * (by.mel.bins if by.mel else 1)
        return SizeUnit("second of audio", "seconds of audio", elements, lasts_ms=1000.0)

    # batches ------------------------------------------------------------------------------------------------

    def collate(self, features: Sequence[Features]) -> Batch:
        import torch

        batch: Batch = {name: torch.from_numpy(array) for name, array in self.feed(features).items()}
        if any(name.startswith(TEACHER_PREFIX) for name in features[0]):
            own = heard_in(features[0], TEACHER_PREFIX)
            theirs = padded([row[TEACHER_PREFIX + own] for row in features], own)
            batch.update({TEACHER_PREFIX + name: torch.from_numpy(array) for name, array in theirs.items()})
        if "labels" in features[0]:
            batch["labels"] = torch.from_numpy(filled([row["labels"] for row in features], UNLABELLED))
        if "index" in features[0]:
            batch["index"] = torch.tensor([row["index"] for row in features], dtype=torch.int64)
        return batch

    def feed(self, features: Sequence[Features]) -> dict[str, Array]:
        name = heard_in(features[0])
        return padded([row[name] for row in features], name)

    # requests -----------------------------------------------------------------------------------------------

    def preparing(self, folder: Path) -> Prepare:
        by = hearing(folder.resolve())
        least = self.fewest(folder, by)
        return lambda rows: self.feed([{by.heard_as: self.listened(row, by, least)} for row in rows])

    def sent(self, row: Row, place: Path) -> Row:
        audio = row["audio"]
        if isinstance(audio, bytes):
            place.write_bytes(audio)
            audio = place
        return {"audio": audio, "label": None}

    # what lies in a network's folder ------------------------------------------------------------------------

    def check_inputs(self, folder: Path) -> None:
        front_end(read_config(folder))
        hearing(folder.resolve())
        vocabulary(folder.resolve())

    def reads_alike(self, one: Path, other: Path) -> bool:
        return hearing(one.resolve()) == hearing(other.resolve())

    def write_inputs(self, folder: Path) -> None:
        if not has_hearing(folder):
            save_hearing(folder, self.sampling_rate)
        if vocabulary.__wrapped__(folder.resolve()) is None:
            save_vocabulary(folder, self.alphabet)

    def write_as_judged(self, folder: Path) -> None:
        self.write_inputs(folder)

    def snippet(self, opening: str, folder: Path) -> str:
        """Code that goes on from `opening`, which defines `run`, and writes down what is said in a file."""
        return SNIPPET.format(runtime=opening, prepare=audio_code(hearing(folder.resolve())))


def heard_in(features: Features, prefix: str = "") -> str:
    """The argument that a row's samples or spectra are for: rows of a teacher that hears otherwise have its own."""
    return next(name for name in HEARD_AS if prefix + name in features)


def padded(rows: Sequence[Array], name: str) -> dict[str, Array]:
    """Rows of different lengths under `name`, zeros behind them, with their attention mask."""
    lengths = [len(row) for row in rows]
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return {name: filled(rows, 0), "attention_mask": mask}


def filled(rows: Sequence[Array], value: int) -> Array:
    """[B, longest, ...]: rows of different lengths, `value` behind them; one step at least."""
    longest = max(1, *map(len, rows))
    found = np.full((len(rows), longest, *rows[0].shape[1:]), value, dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found
