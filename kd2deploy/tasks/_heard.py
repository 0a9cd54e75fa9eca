"""What some rows of audio are like, for a person: how long, how loud, and whether their transcripts can be true."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kd2deploy.core import Reading
from kd2deploy.core.figures import percent

SILENT = 1e-3
"""Loudest sample below which nobody is heard: 60 dB under full scale. Ours."""
TOLD = 0.01
"""Share of the rows that may be odd before it is told. Ours."""


@dataclass(frozen=True)
class Counts:
    """Of rows: how many, how long in all and in the middle (s), how many are silent, and how many cannot be learnt."""

    rows: int
    seconds: float
    median: float
    silent: int
    crowded: int
    """Rows whose transcript has more symbols than their audio has frames for."""


def counts_of(
    waves: Sequence[NDArray[np.float32]], spelt: Sequence[Sequence[int] | None], frames: Sequence[int], rate: int
) -> Counts:
    """What rows at `rate` are like, by their symbols (None where there is no transcript) and frames."""
    lasting = [len(wave) / rate for wave in waves]
    needed = [0 if symbols is None else aligned_in(symbols) for symbols in spelt]
    return Counts(
        rows=len(waves),
        seconds=sum(lasting),
        median=float(np.median(lasting)) if lasting else 0.0,
        silent=sum(float(np.abs(wave).max(initial=0)) < SILENT for wave in waves),
        crowded=sum(least > given for least, given in zip(needed, frames, strict=True)),
    )


def aligned_in(symbols: Sequence[int]) -> int:
    """The fewest frames that can spell the symbols: equal ones side by side need a blank between them."""
    return len(symbols) + sum(one == other for one, other in pairwise(symbols))


def reading_of(counts: Counts) -> Reading:
    figures = {"minutes of audio": f"{counts.seconds / 60:.1f}", "seconds per row (median)": f"{counts.median:.1f}"}
    doubts, few = [], counts.rows == 1
    if counts.silent > (0 if few else TOLD * counts.rows):
        said = "nothing is heard" if few else f"{percent(counts.silent / counts.rows)} of the rows are silent"
        doubts.append(f"{said} (below -60 dB): is this the right file?")
    if counts.crowded > (0 if few else TOLD * counts.rows):
        doubts.append(
            f"{percent(counts.crowded / max(counts.rows, 1))} of the rows are too short for their transcript, so that "
            "nothing is learnt of them: do audio and transcripts belong together?"
        )
    return Reading(figures, tuple(doubts))
