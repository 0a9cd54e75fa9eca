"""What found objects are worth: COCO's average precision, matched by pycocotools.

Matches are made picture by picture and kept, so that the average precision of any pictures, some of them several times,
is that of their matches ranked together: an interval is of the figure itself, and not of a mean over pictures, which is
another one.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kd2deploy.core import Array, Metric, Row, Scores, mark_of
from kd2deploy.core.figures import count_of
from kd2deploy.errors import DataError
from kd2deploy.tasks._found import Found, found_in
from kd2deploy.tasks._objects import Objects, objects_of, pixels_of
from kd2deploy.tasks._picture_pairs import size_of

METRICS = ("map", "ap50")
MISSING = "average precision is counted by pycocotools; pip install 'kd2deploy[detection]'"
AREAS: Mapping[str, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
"""COCO's, in pixels of the picture as it is stored."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100
"""Objects that are looked at in a picture, the likeliest: COCO's."""
RIGHT, IGNORED = 1, 2
"""States of what is found; 0 is wrong."""
TOLD = 0.3
"""Score from which on a person is told of an object. Ours."""
ALIKE = 20
"""Of a picture's likeliest objects so many are compared between two artifacts. Ours."""
OVERLAP = 0.5
MARK = 8
KEPT_SORTED = 4


class DetectionMetric(Metric):
    """Average precision over classes and overlaps from 0.5 to 0.95 (`map`), or at an overlap of 0.5 (`ap50`)."""

    unit = "share"

    def __init__(self, labels: tuple[str, ...], name: str, background: bool) -> None:
        if name not in METRICS:
            raise ValueError(f"metric is one of {', '.join(METRICS)}, got {name!r}")
        self.labels, self.name, self.background = labels, name, background
        self._ranked: list[tuple[Array, Ranked]] = []

    def statistics(self, outputs: Mapping[str, Array], rows: Sequence[Row]) -> Mapping[str, Array]:
        """Of each picture: class, score and state [d, areas, thresholds] of what was found, and what there was."""
        check(outputs, rows)
        sizes = [size_of(row["image"]) for row in rows]
        truth = [right(row, self.labels, size) for row, size in zip(rows, sizes, strict=True)]
        answered = self.found(outputs)
        states = matched(truth, answered, sizes, len(self.labels))
        return {
            "kind": ragged([one.kind for one in states]),
            "score": ragged([one.score for one in states]),
            "state": ragged([one.state for one in states]),
            "objects": np.stack([one.objects for one in states]),
            "target": np.stack([digest(one, size) for one, size in zip(truth, sizes, strict=True)]),
        }

    def scores(self, statistics: Mapping[str, Array]) -> Scores:
        ones = np.ones(len(statistics["objects"]), dtype=np.int64)
        found = {"map": self.ranked(statistics, "all").precisions(ones)}
        values = {
            "map": mean(found["map"]),
            "ap50": mean(found["map"][:, 0]),
            "ap75": mean(found["map"][:, 5]),
            **{
                f"map_{area}": mean(self.ranked(statistics, area).precisions(ones))
                for area in ("small", "medium", "large")
            },
        }
        known = {name: value for name, value in values.items() if not np.isnan(value)}
        if self.name not in known:
            raise DataError("no picture to judge by shows an object, so precision is not defined; add some that do")
        each = zip(self.labels, found["map"].mean(1).tolist(), strict=True)
        precision = {label: value for label, value in each if not np.isnan(value)}
        by_class = {"Average precision": precision}
        return Scores(
            {self.name: known[self.name], **known}, statistics, mark_of(statistics["target"]), by_class=by_class
        )

    def at(self, statistics: Mapping[str, Array], places: Array) -> float:
        counts = np.bincount(places, minlength=len(statistics["objects"]))
        thresholds = slice(None) if self.name == "map" else slice(1)
        return mean(self.ranked(statistics, "all").precisions(counts, thresholds))

    def ranked(self, statistics: Mapping[str, Array], area: str) -> "Ranked":
        """What is found in all pictures, ranked; the bootstrap asks for the same one 2,000 times."""
        if area != "all":
            return Ranked.of(statistics, len(self.labels), list(AREAS).index(area))
        for known, ranked in self._ranked:
            if known is statistics["score"]:
                return ranked
        made = Ranked.of(statistics, len(self.labels), 0)
        self._ranked = [*self._ranked[-KEPT_SORTED + 1 :], (statistics["score"], made)]
        return made

    def found(self, outputs: Mapping[str, Array]) -> list[Found]:
        pairs = zip(outputs["logits"], outputs["pred_boxes"], strict=True)
        return [found_in(logits, boxes, self.background, MOST) for logits, boxes in pairs]

    # comparing and telling ----------------------------------------------------------------------------------

    def kept(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """[b, ALIKE, 6]: class, score and corners of the likeliest objects; a score of 0 where there are fewer."""
        found = np.zeros((len(outputs["logits"]), ALIKE, 6), dtype=np.float32)
        for row, one in zip(found, self.found(outputs), strict=True):
            most = one.first(ALIKE)
            row[: len(most.kind)] = np.column_stack([most.kind, most.score, corners(most.boxes)])
        return {"found": found}

    def agreement(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, float]:
        """`top1`: the share of what either finds that both find (same class, overlap of `OVERLAP`), by score."""
        pairs = zip(one["found"], other["found"], strict=True)
        return {"top1": float(np.mean([likeness(mine, theirs) for mine, theirs in pairs]))}

    def answer(self, outputs: Mapping[str, Array]) -> list[dict[str, Any]]:
        """The objects of each picture, corners as shares of its width and height."""
        return [
            {
                "objects": [
                    {
                        "label": self.labels[kind],
                        "score": round(float(score), 4),
                        "box": [round(float(v), 4) for v in box],
                    }
                    for kind, score, box in zip(one.kind, one.score, corners(one.boxes), strict=True)
                    if score >= TOLD
                ]
            }
            for one in self.found(outputs)
        ]


@dataclass(frozen=True)
class Matches:
    """What was found in one picture against what there was."""

    kind: Array
    """[d] int16: the class of each that was found, by class and then by score."""
    score: Array
    """[d] float64."""
    state: Array
    """[d, areas, thresholds] uint8: RIGHT, IGNORED, or 0 for wrong."""
    objects: Array
    """[classes, areas] int32: how many there were to be found."""


def matched(
    truth: Sequence[Objects], answered: Sequence[Found], sizes: Sequence[tuple[int, int]], classes: int
) -> list[Matches]:
    """pycocotools' matches of a batch of pictures."""
    try:
        from pycocotools import coco, cocoeval
    except ImportError as error:
        raise DataError(MISSING) from error
    for module in (coco, cocoeval):  # they tell of every step, and several threads may be here at once
        module.print = silent
    pictures = [{"id": at, "width": width, "height": height} for at, (width, height) in enumerate(sizes)]
    right_ones = [
        {
            "image_id": at,
            "category_id": int(kind),
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": int(crowd),
        }
        for at, one in enumerate(truth)
        for kind, box, crowd in zip(one.classes, one.boxes, one.crowd, strict=True)
    ]
    found = [
        {
            "image_id": at,
            "category_id": int(kind),
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "score": float(score),
        }
        for at, (one, size) in enumerate(zip(answered, sizes, strict=True))
        for kind, box, score in zip(one.kind, pixels_of(one.boxes, size), one.score, strict=True)
    ]
    categories = [{"id": at, "name": str(at)} for at in range(classes)]
    both = []
    for rows in (right_ones, found):
        whole = coco.COCO()
        whole.dataset = {
            "images": pictures,
            "categories": categories,
            "annotations": [{"id": at, **row} for at, row in enumerate(rows, 1)],  # 0 means to it: matched to none
        }
        whole.createIndex()
        both.append(whole)
    judge = cocoeval.COCOeval(*both, iouType="bbox")
    judge.params.areaRng, judge.params.areaRngLbl = [list(area) for area in AREAS.values()], list(AREAS)
    judge.params.maxDets = [MOST]
    judge.evaluate()
    return [of_picture(judge.evalImgs, at, len(sizes), classes) for at in range(len(sizes))]


def silent(*_: object) -> None:
    """In place of `print`."""


def of_picture(evaluated: Sequence[Any], at: int, pictures: int, classes: int) -> Matches:
    """One picture's matches out of pycocotools' list: class by class, area by area, picture by picture."""
    kinds, scores, states = [], [], []
    objects = np.zeros((classes, len(AREAS)), dtype=np.int32)
    for kind in range(classes):
        of_areas = [evaluated[(kind * len(AREAS) + area) * pictures + at] for area in range(len(AREAS))]
        if of_areas[0] is None:
            continue
        objects[kind] = [int((one["gtIgnore"] == 0).sum()) for one in of_areas]
        count = len(of_areas[0]["dtScores"])
        kinds.append(np.full(count, kind, dtype=np.int16))
        scores.append(np.array(of_areas[0]["dtScores"], dtype=np.float64))
        states.append(
            np.stack([np.where(one["dtIgnore"], IGNORED, one["dtMatches"] > 0).T for one in of_areas], axis=1).astype(
                np.uint8
            )
        )
    shape = (0, len(AREAS), len(THRESHOLDS))
    return Matches(
        np.concatenate([np.zeros(0, np.int16), *kinds]),
        np.concatenate([np.zeros(0), *scores]),
        np.concatenate([np.zeros(shape, np.uint8), *states]),
        objects,
    )


@dataclass(frozen=True)
class Curve:
    """Of one class at one overlap: the places, among all that is found of it, that its precision depends on."""

    right: Array
    """[r] where what is found is right: between them precision falls, and recall stands still."""
    ignored: Array
    """[i] where it does not count."""
    before: Array
    """[r] of the ignored ones, how many stand before each right one."""

    @classmethod
    def of(cls, state: Array) -> "Curve":
        (right,), (ignored,) = np.nonzero(state == RIGHT), np.nonzero(state == IGNORED)
        return cls(right, ignored, np.searchsorted(ignored, right))

    def precision(self, times: Array, through: Array, total: int) -> float:
        """Average precision where the n-th that is found stands there `times[n]` times, their sums being `through`."""
        right = np.cumsum(times[self.right])
        others = through[self.right] - right
        if len(self.ignored):
            others = others - np.concatenate([[0], np.cumsum(times[self.ignored])])[self.before]
        precision = right / (right + others + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        places = np.searchsorted(right / total, RECALLS, side="left")
        return float(envelope[places[places < len(right)]].sum() / len(RECALLS))


@dataclass(frozen=True)
class Ranked:
    """What is found of each class in all pictures, the likeliest first."""

    picture: tuple[Array, ...]
    """[n] of each class: the picture of each."""
    curves: tuple[tuple[Curve, ...], ...]
    """Of each class, for each threshold."""
    objects: Array
    """[pictures, classes]."""

    @classmethod
    def of(cls, statistics: Mapping[str, Array], classes: int, area: int) -> "Ranked":
        lengths = [len(one) for one in statistics["score"]]
        picture = np.repeat(np.arange(len(lengths)), lengths)
        kind, score = (np.concatenate(statistics[name].tolist()) for name in ("kind", "score"))
        state = np.concatenate(statistics["state"].tolist())[:, area]
        pictures, curves = [], []
        for one in range(classes):
            (places,) = np.nonzero(kind == one)
            order = places[np.argsort(-score[places], kind="mergesort")]  # as pycocotools ranks equal scores
            pictures.append(picture[order])
            curves.append(tuple(Curve.of(state[order, at]) for at in range(len(THRESHOLDS))))
        return cls(tuple(pictures), tuple(curves), statistics["objects"][:, :, area])

    def precisions(self, counts: Array, thresholds: slice = slice(None)) -> Array:
        """[classes, thresholds]: average precision where picture p stands there `counts[p]` times; nan for a class that
        none of them shows.

        A picture's second copy stands right behind the first. What is right twice is then two points of the curve, of
        which the second is the more precise, and what is wrong twice is none that counts: the envelope is that of the
        last copies.
        """
        found = np.full((len(self.picture), len(THRESHOLDS[thresholds])), np.nan)
        for kind, total in enumerate((counts[:, None] * self.objects).sum(0)):
            if total:
                times = counts[self.picture[kind]]
                through = np.cumsum(times)
                found[kind] = [one.precision(times, through, total) for one in self.curves[kind][thresholds]]
        return found


def mean(precisions: Array) -> float:
    """Over the classes that there are; nan where there are none."""
    known = precisions[~np.isnan(precisions)]
    return float(known.mean()) if len(known) else float("nan")


def right(row: Row, labels: tuple[str, ...], size: tuple[int, int]) -> Objects:
    found = objects_of(row, labels, size)
    if found is None:
        raise DataError(f"row {row.get('index', '?')} has no label to be judged by")
    return found


def check(outputs: Mapping[str, Array], rows: Sequence[Row]) -> None:
    """Raises DataError unless there are finite outputs for every row."""
    logits, boxes = outputs["logits"], outputs["pred_boxes"]
    if len(logits) != len(rows) or not len(rows):
        raise DataError(f"{count_of(len(logits), 'output')} cannot be scored against {count_of(len(rows), 'row')}")
    finite = np.isfinite(logits).all((-2, -1)) & np.isfinite(boxes).all((-2, -1))
    if not finite.all():
        row = rows[int(np.argmin(finite))].get("index", "?")
        raise DataError(f"the output for row {row} is not finite; the network or its conversion is broken")


def likeness(one: Array, other: Array) -> float:
    """Of two pictures' objects [k, 6]: twice the score that both give to the same ones, over the sum of both; 1 where
    there are none."""
    whole = float(one[:, 1].sum() + other[:, 1].sum())
    if whole == 0:
        return 1.0
    overlaps = overlap(one[:, 2:], other[:, 2:]) * (one[:, None, 0] == other[None, :, 0])
    overlaps *= (one[:, None, 1] > 0) & (other[None, :, 1] > 0)
    shared = 0.0
    for mine in range(len(one)):  # the likeliest first
        theirs = int(overlaps[mine].argmax())
        if overlaps[mine, theirs] >= OVERLAP:
            shared += min(one[mine, 1], other[theirs, 1])
            overlaps[:, theirs] = 0
    return float(2 * shared / whole)


def overlap(one: Array, other: Array) -> Array:
    """[n, m]: intersection over union of corners [n, 4] and [m, 4]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clip(0).prod(-1)
    areas = [(corner[:, 2:] - corner[:, :2]).clip(0).prod(-1) for corner in (one, other)]
    return np.asarray(both / np.maximum(areas[0][:, None] + areas[1][None] - both, 1e-12))


def corners(boxes: Array) -> Array:
    """[n, 4] left, top, right, bottom in 0..1 of centre and size."""
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], axis=1).clip(0, 1)


def digest(objects: Objects, size: tuple[int, int]) -> Array:
    """[MARK] uint8: a hash of what is in a picture."""
    said = [list(size), objects.classes.tolist(), objects.boxes.tolist(), objects.crowd.tolist()]
    return np.frombuffer(hashlib.sha256(json.dumps(said).encode()).digest()[:MARK], dtype=np.uint8)


def ragged(rows: Sequence[Array]) -> Array:
    found = np.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):
        found[place] = row
    return found
