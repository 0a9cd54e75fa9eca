"""What a search is worth and what it costs: a recipe as it is written, and as `tune` leaves it under a budget.

    python benchmarks/tuned.py [--steps 9000] [--jobs N]

benchmarks/defaults/r52-few.yaml: Reuters R52, 52 classes, few labels, a student of 2 x 128, random weights. Methods,
settings and the control's settings are searched on the validation rows; then both recipes are trained over three seeds
and judged on the evaluation rows.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import record

from kd2deploy.flows.compress import Result, compress
from kd2deploy.flows.tune import tune
from kd2deploy.recipe import Recipe

RECIPE = Path(__file__).parent / "defaults" / "r52-few.yaml"
METHODS = ["dist", "logit", "logit_standardization"]


def row(name: str, results: Sequence[Result], seconds: float) -> dict[str, Any]:
    found = results[0].report.distillation
    assert found is not None
    students, controls = ([100 * getattr(seed, role) for seed in found.seeds] for role in ("student", "control"))
    return {
        "recipe": name,
        "method": found.method,
        "student": statistics.mean(students),
        "control": statistics.mean(controls),
        "of each seed": students,
        "of each seed, control": controls,
        "minutes in all": seconds / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--jobs", type=int)
    given = parser.parse_args()
    said = Recipe.read(RECIPE).spec() | {
        "seeds": [0, 1, 2],
        "control": True,
        "variants": ["onnx"],
        "measurement": {"processes": 3, "cap_s": 3.0},
        "tune": {"methods": METHODS, "steps": given.steps},
    }
    with tempfile.TemporaryDirectory(prefix="kd2deploy-tuned-") as place:
        recipe = Recipe.parse(said)
        began = time.perf_counter()
        written = compress(recipe, Path(place) / "run", jobs=given.jobs)
        between = time.perf_counter()
        told, tuned = tune(recipe, Path(place) / "run", jobs=given.jobs)
        rows = [
            row("as written", written, between - began),
            row("as tuned, in the same folder", tuned, time.perf_counter() - between),
        ]
        searches = [
            {
                "of": search.role,
                "trials": len(search.trials),
                "ended early": search.count("pruned"),
                "own": dict(search.own),
                "won": dict(search.winner.params),
                "on the validation rows": [one.score for one in (search.own_trial, search.winner) if one],
                "again with other seeds": {one.trial: one.scores for one in search.finals},
                "steps": search.steps,
                "minutes": search.seconds / 60,
            }
            for search in told.searches
        ]
    record("tuned", rows, {"steps": given.steps, "jobs": given.jobs, "searches": searches})


if __name__ == "__main__":
    main()
