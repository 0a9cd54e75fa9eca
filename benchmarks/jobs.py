"""A comparison of eight short trainings one after another, and by two processes side by side.

    python benchmarks/jobs.py [--steps 400] [--rounds 2]

Eight methods on scikit-learn's digits with the networks of kd2deploy/recipes/digits.yaml, from the same finished
teacher: data, teacher and start are made before and not timed. One after another has all threads, two have half of them
each. The scores may differ by that alone, as sums of numbers do that are added in another order.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import record

from kd2deploy.flows.compare import compare
from kd2deploy.recipe import Recipe

METHODS = ("logit", "dkd", "dist", "logit_standardization", "crd", "mix_kd", "hidden", "attention")
RECIPE = Path("kd2deploy/recipes/digits.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    said = Recipe.read(RECIPE).spec()
    (training,) = said["distill"]
    said["distill"] = [{**{key: value for key, value in training.items() if key != "epochs"}, "steps": given.steps}]
    recipe = Recipe.parse(said)
    took: dict[int, list[float]] = {1: [], 2: []}
    scores: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="kd2deploy-jobs-") as place:
        made = Path(place) / "made"
        compare(recipe, made, methods=METHODS[:1])  # the teacher, and all that is made once
        for at in range(given.rounds):
            for jobs in (1, 2) if at % 2 == 0 else (2, 1):
                folder = Path(place) / f"{jobs}-{at}"
                shutil.copytree(made, folder, ignore=shutil.ignore_patterns("*-seed*", "score-*", "comparison-*"))
                began = time.perf_counter()
                found = compare(recipe, folder, methods=METHODS, jobs=jobs)
                took[jobs].append(time.perf_counter() - began)
                scores[jobs] = {one.method: one.runs[0].score for one in found.standings}
    alone = float(np.median(took[1]))
    rows = [
        {
            "jobs": jobs,
            "seconds": float(np.median(took[jobs])),
            "least": min(took[jobs]),
            "most": max(took[jobs]),
            "times as fast": alone / float(np.median(took[jobs])),
            "largest difference of a score": max(abs(scores[jobs][name] - score) for name, score in scores[1].items()),
        }
        for jobs in took
    ]
    record("jobs", rows, {"steps": given.steps, "rounds": given.rounds, "methods": METHODS, "cores": os.cpu_count()})


if __name__ == "__main__":
    main()
