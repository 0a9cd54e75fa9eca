"""Which settings of which method to begin with: the same trainings on data of several kinds, and ranks over them.

python benchmarks/defaults.py OUT [--seeds 3] [--jobs N]

The recipes in benchmarks/defaults/ differ in what a default may depend on: two classes or fifty-two, few labels or
many, a student from random weights or cut out of the teacher, texts or pictures. Each method takes part with the
arguments of its committed recipe, and again with those of settings.yaml. Trainings that are done are not done again.
"""

import argparse
import csv
from pathlib import Path

from kd2deploy.data.reuters import reuters
from kd2deploy.flows.compare.over_data import compare_over, named
from kd2deploy.flows.compare.settings import own, seeded
from kd2deploy.report.ranking_pages import print_ranking

HERE = Path(__file__).parent / "defaults"
METHODS = (
    "logit_standardization",
    "dkd",
    "dist",
    "knowledge_adjustment",
    "contrastive",
    "rail_kd",
    "hidden",
)
"""One of each kind: those that read the answer, the embedding, and the layers; a step costs at most three plain."""
SIDES = {
    "politics": ("talk.politics.guns", "talk.politics.mideast", "talk.politics.misc"),
    "religion": ("alt.atheism", "soc.religion.christian", "talk.religion.misc"),
}


def two_sides(folder: Path) -> None:
    """Six of 20 Newsgroups as two classes, in the official split: `two-sides-train.csv` and `two-sides-eval.csv`."""
    tables = reuters("20newsgroups")
    side_of = {label: side for side, labels in SIDES.items() for label in labels}
    for split, rows in (("train", tables.train), ("eval", tables.eval)):
        with (folder / f"two-sides-{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["text", "label"])
            writer.writerows([row["text"], side_of[row["label"]]] for row in rows if row["label"] in side_of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--only", nargs="*", help="names of recipes; all by default")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    two_sides(given.out)
    files = [file for file in sorted(HERE.glob("*.yaml")) if file.name != "settings.yaml"]
    recipes = {
        name: seeded(file, given.seeds) for name, file in named(files).items() if not given.only or name in given.only
    }
    recipes = {
        name: recipe.model_copy(update={"data": placed(recipe.data, given.out)}) for name, recipe in recipes.items()
    }
    found = compare_over(recipes, given.out, METHODS, jobs=given.jobs, settings=own(HERE / "settings.yaml"))
    print_ranking(found)


def placed(data: object, folder: Path) -> object:
    """A recipe's data whose files this script has written."""
    if not isinstance(data, dict) or data.get("use") != "files":
        return data
    return {**data, **{split: str(folder / data[split]) for split in ("train", "eval")}}


if __name__ == "__main__":
    main()
