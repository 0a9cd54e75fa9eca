"""Where a student best starts: as a copy of the fine-tuned teacher, of what that was fine-tuned from, or at random.

python benchmarks/starts.py OUT [--seeds 3] [--jobs N]

The text recipes of benchmarks/defaults/, each with all three starts, the same trainings and seeds. The control starts
where the student does; what it then knows of the teacher differs, so it stands beside each.
"""

import argparse
from pathlib import Path

from _common import record
from defaults import HERE, placed, two_sides

from kd2deploy.flows.compare import compare
from kd2deploy.flows.compare.settings import seeded
from kd2deploy.recipe import Recipe
from kd2deploy.report.comparison import Comparison
from kd2deploy.report.formats import with_interval

DATA = "two-sides-few", "r8-few", "r52-few", "news20-all"
STARTS = "copy", "pretrained", "random"
METHODS = "dist", "logit", "task_only"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    two_sides(given.out)
    rows = []
    for data in DATA:
        recipe = seeded(HERE / f"{data}.yaml", given.seeds)
        recipe = recipe.model_copy(update={"data": placed(recipe.data, given.out)})
        for start in STARTS:
            found = compare(started(recipe, start), given.out / data, ["dist"], jobs=given.jobs)
            rows.append({"data": data, "start": start, "teacher": f"{found.teacher:.2%}", **scores(found)})
            print(rows[-1], flush=True)
    record("starts", rows, {"seeds": given.seeds, "intervals": "95 %, over seeds"})


def started(recipe: Recipe, start: str) -> Recipe:
    assert recipe.student.shrink is not None
    shrink = recipe.student.shrink.model_copy(update={"initialise": start})
    return recipe.model_copy(update={"student": recipe.student.model_copy(update={"shrink": shrink})})


def scores(found: Comparison) -> dict[str, str]:
    return {one.method: with_interval(one.mean, "share") for one in found.standings if one.method in METHODS}


if __name__ == "__main__":
    main()
