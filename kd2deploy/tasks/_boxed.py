"""One picture with the objects that are in it, and those that several networks found, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np

from kd2deploy.core import Array
from kd2deploy.core.examples import Shown
from kd2deploy.tasks._strips import GAP, WHITE, png

SIDE = 240
"""Pixels of the longer side of a picture as it is shown."""
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075", "#a9a9a9")
"""Of the classes, in turn."""
Box = tuple[str, int, float | None, Sequence[float]]
"""What is written at a box, its class's place, its score (None for the truth), and its corners as shares."""


def strip(picture: Array, panels: Mapping[str, Sequence[Box]], title: str) -> Shown:
    """The picture [H, W, 3] uint8 once for each panel with its boxes, from left to right."""
    parts = [boxed(picture, boxes) for boxes in panels.values()]
    height, width = parts[0].shape[:2]
    whole = np.full((height, len(parts) * (width + GAP) - GAP, 3), WHITE, dtype=np.uint8)
    for place, part in enumerate(parts):
        left = place * (width + GAP)
        whole[:, left : left + width] = part
    return Shown(f"{title}, from left to right: {', '.join(panels)}", png(whole))


def boxed(picture: Array, boxes: Sequence[Box]) -> Array:
    from PIL import Image, ImageDraw

    shown = Image.fromarray(picture)
    times = SIDE / max(shown.size)
    shown = shown.resize((max(1, round(shown.width * times)), max(1, round(shown.height * times))))
    draw = ImageDraw.Draw(shown)
    for name, kind, score, (left, top, right, bottom) in boxes:
        colour = COLOURS[kind % len(COLOURS)]
        x, y = left * (shown.width - 1), top * (shown.height - 1)
        draw.rectangle(
            (x, y, max(x, right * (shown.width - 1)), max(y, bottom * (shown.height - 1))), outline=colour, width=2
        )
        text = name if score is None else f"{name} {score:.2f}"
        _, _, wide, high = draw.textbbox((0, 0), text)
        draw.rectangle((x, y, x + wide + 2, y + high + 1), fill=colour)
        draw.text((x + 1, y), text, fill="white")
    return np.asarray(shown, dtype=np.uint8)
