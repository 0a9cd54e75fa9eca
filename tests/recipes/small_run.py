"""A whole compression of a tiny encoder on a few hundred made-up sentences: seconds, and every stage is real."""

import csv
import random
from pathlib import Path
from typing import Any

import yaml
from recipes.words import BAD, GOOD
from tiny_models import WORDS, save_encoder

FILLING = [word for word in WORDS if word not in (*GOOD, *BAD) and not word.startswith("##")]


def write_rows(file: Path, count: int, seed: int) -> Path:
    """Sentences whose label says which kind of word stands in them more often."""
    drawn = random.Random(seed)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sentence", "label"])
        for _ in range(count):
            label = drawn.choice(["neg", "pos"])
            words = drawn.choices(GOOD if label == "pos" else BAD, k=2) + drawn.choices(FILLING, k=drawn.randint(2, 8))
            drawn.shuffle(words)
            writer.writerow([" ".join(words), label])
    return file


def recipe(folder: Path, **changes: Any) -> dict[str, Any]:
    """The recipe, its data and its teacher's start, all written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "encoder").exists():
        save_encoder(folder / "encoder", layers=4, hidden=32)
        write_rows(folder / "train.csv", 160, seed=0)
        write_rows(folder / "eval.csv", 120, seed=1)
    found = {
        "task": {"use": "text_classification", "max_length": 16},
        "data": {
            "use": "files",
            "train": str(folder / "train.csv"),
            "eval": str(folder / "eval.csv"),
            "text": "sentence",
            "label": "label",
        },
        "teacher": {
            "from": str(folder / "encoder"),
            "fine_tune": {"epochs": 4, "learning_rate": 3e-3, "batch": 16, "checkpoint_every": 5},
        },
        "student": {"shrink": {"layers": 1, "hidden": 16}},
        "distill": [{"method": "logit", "epochs": 4, "learning_rate": 5e-3, "batch": 16, "checkpoint_every": 5}],
        "targets": ["cpu"],
        "variants": ["onnx"],
        "measurement": {"processes": 3, "cap_s": 2, "block_s": 0.02},
        "gates": {"max_drop": 0.5},
    }
    return {**found, **changes}


def written(folder: Path, **changes: Any) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(folder, **changes)))
    return file
