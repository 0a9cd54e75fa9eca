"""Speech recognition: CTC networks of transformers, audio prepared and transcripts spelt as their folder says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kd2deploy.core import Array, Port, Row, Task
from kd2deploy.errors import ModelError
from kd2deploy.networks.ctc_vocabulary import pieces_of, vocabulary
from kd2deploy.networks.hearing import has_hearing, hearing
from kd2deploy.tasks._speech_reader import SpeechReader
from kd2deploy.tasks._transcript_metric import TranscriptMetric
from kd2deploy.tasks._transcripts import Transcripts, Unknown

if TYPE_CHECKING:
    from kd2deploy.tasks._speech_networks import SpeechNetworks

ENGLISH = "abcdefghijklmnopqrstuvwxyz'"


class SpeechCtc(Task):
    """Rows `audio` (a file's path, or its bytes) with `label`: the transcript; None is unlabelled.

    `alphabet` and `sampling_rate` are those of a network that has no vocabulary or feature extractor yet. `pieces`,
    `blank` and `bins` are read off a network's folder.
    """

    name: ClassVar[str] = "speech_ctc"
    pipeline: ClassVar[str] = "automatic-speech-recognition"
    requires: ClassVar[str] = "speech"
    reads = SpeechReader
    own_target: ClassVar[bool] = True
    reader: SpeechReader

    def __init__(
        self,
        metric: str = "wer",
        alphabet: str = ENGLISH,
        unknown: Unknown = "refuse",
        max_seconds: float = 30.0,
        sampling_rate: int = 16_000,
        bins: int = 0,
        pieces: Sequence[str] | None = None,
        blank: int = 0,
    ) -> None:
        if not alphabet.strip() or any(one.isspace() for one in alphabet):
            raise ValueError(f"alphabet must be characters without white space, got {alphabet!r}")
        self.alphabet = alphabet
        self.transcripts = Transcripts(tuple(pieces) if pieces else pieces_of(alphabet), blank, unknown)
        if not 0 <= blank < len(self.transcripts.pieces):
            raise ValueError(f"blank must be one of the {len(self.transcripts.pieces)} symbols, got {blank}")
        self.reader = SpeechReader(self.transcripts, sampling_rate, bins, max_seconds, alphabet)
        self.metric = TranscriptMetric(self.transcripts, metric)
        self.inputs = self.reader.ports
        self.outputs = (Port("logits", "float32", ("batch_size", "frames", len(self.transcripts.pieces))),)

    @cached_property
    def networks(self) -> SpeechNetworks:
        from kd2deploy.tasks._speech_networks import SpeechNetworks

        return SpeechNetworks(self.transcripts, self.reader)

    def spec(self) -> dict[str, Any]:
        return {
            "use": self.name,
            "metric": self.metric.name,
            "alphabet": self.alphabet,
            "unknown": self.transcripts.unknown,
            "max_seconds": self.reader.max_seconds,
            "sampling_rate": self.reader.sampling_rate,
            "bins": self.reader.bins,
            "pieces": list(self.transcripts.pieces),
            "blank": self.transcripts.blank,
        }

    def at(self, folder: Path) -> SpeechCtc:
        arguments = {name: value for name, value in self.spec().items() if name != "use"}
        known, by = vocabulary(folder.resolve()), hearing(folder.resolve())
        if known is not None:
            arguments |= {"pieces": known.pieces, "blank": known.blank}
        if has_hearing(folder):
            arguments["sampling_rate"] = by.sampling_rate
        return SpeechCtc(**{**arguments, "bins": by.mel.bins if by.mel else 0})

    def floors(self, train: Sequence[Row], asked: Sequence[Row], folder: Path) -> Mapping[str, Mapping[str, Array]]:
        """Nothing said, which gets every word wrong, and the transcript that occurs most often, where one does."""
        known = self.reader.written_by(folder)
        commonest = Counter(self.transcripts.right(row) for row in train).most_common(1)
        said = {"silence": "", **{f"always {text!r}": text for text, count in commonest if count > 1}}
        found: dict[str, Mapping[str, Array]] = {}
        for name, text in said.items():
            try:
                found[name] = {"logits": self.saying(known.spelt(text) if text else [], len(asked))}
            except ModelError:  # a transcript that the vocabulary cannot write
                continue
        return found

    def saying(self, symbols: Sequence[int], rows: int) -> Array:
        """[rows, T, C]: logits that spell the symbols in every row."""
        blank = self.transcripts.blank
        frames = [blank, *chain.from_iterable((one, blank) for one in symbols)]
        one = np.eye(len(self.transcripts.pieces), dtype=np.float32)[frames]
        return np.broadcast_to(one, (rows, *one.shape))

    def snippet(self, opening: str, folder: Path) -> str:
        return self.reader.snippet(opening, folder)
