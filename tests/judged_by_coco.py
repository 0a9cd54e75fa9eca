"""What pycocotools itself says of found objects."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any


def judged(
    truth: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]], pictures: int, classes: int
) -> list[float]:
    """COCOeval's summary of annotations and results in COCO's words, whose pictures and classes are numbered from 0."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        whole = COCO()
        whole.dataset = {
            "info": {},
            "images": [{"id": at} for at in range(pictures)],
            "categories": [{"id": at} for at in range(classes)],
            "annotations": [{"id": at, **one} for at, one in enumerate(truth, 1)],
        }
        whole.createIndex()
        judge = COCOeval(whole, whole.loadRes(list(answers)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(value) for value in judge.stats]
