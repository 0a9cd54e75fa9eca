"""What a shortened cache of the teacher's answers costs: the same trainings from answers kept whole, halved and cut.

    python benchmarks/kept_answers.py [--seeds 3] [--steps 300]

benchmarks/defaults/r52-few.yaml: Reuters R52, 52 classes, few labels, a student of 2 x 128 from random weights, by
`dist` and by `logit`. All have one teacher, one order of rows and one start; only what is kept of each answer differs.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from _common import record

from kd2deploy.flows.compare import compare
from kd2deploy.recipe import Recipe

RECIPE = Path(__file__).parent / "defaults" / "r52-few.yaml"
METHODS = ("dist", "logit")
KEPT: dict[str, Any] = {
    "all, float32": {"use": "on"},
    "all, float16": {"use": "on", "precision": "float16"},
    "top 16, float16": {"use": "on", "precision": "float16", "top": 16},
    "top 4, float16": {"use": "on", "precision": "float16", "top": 4},
    "top 1, float16": {"use": "on", "precision": "float16", "top": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    rows = []
    whole: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="kd2deploy-kept-") as place:
        for name, caching in KEPT.items():
            said = Recipe.read(RECIPE).spec()
            (training,) = said["distill"]
            said |= {"distill": [{**training, "steps": given.steps}], "teacher_cache": caching}
            said["seeds"] = list(range(given.seeds))
            for one in compare(Recipe.parse(said), Path(place), methods=METHODS).standings:
                if one.method not in METHODS:
                    continue
                scores = [100 * run.score for run in one.runs]
                apart = [
                    mine - theirs for mine, theirs in zip(scores, whole.setdefault(one.method, scores), strict=True)
                ]
                rows.append(
                    {
                        "method": one.method,
                        "kept": name,
                        "accuracy": statistics.mean(scores),
                        "of each seed": scores,
                        "against all, points": statistics.mean(apart),
                        "of each seed, points": apart,
                    }
                )
    record("kept_answers", rows, {"seeds": given.seeds, "steps": given.steps})


if __name__ == "__main__":
    main()
