"""The commented recipe that `init` writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd2deploy.networks.configuration import is_body_alone, read_config
from kd2deploy.recipe.from_flags import EMPTY, described, given_files, usual_method


def written_recipe(
    teacher: str,
    train: str,
    eval: str,
    task: str | None = None,
    columns: Mapping[str, str | None] = EMPTY,
    unlabelled: str | None = None,
) -> str:
    """A recipe with every common choice in it, and what the others would be. Raises DataError, RecipeError."""
    block, found = described(train, task, columns)
    source = {"use": "files", **given_files(train=train, eval=eval, unlabelled=unlabelled), **found}
    return f"""# kd2deploy compress {{this file}}        (--dry-run checks it and prints the plan)
task: {flow(block)}           # metric: accuracy by default; labels: [] where the label is a number to be predicted
data: {flow(source)}
teacher:
  from: {quoted(teacher)}               # a folder, a hub id where there is a network, or package:MODULE
  {fine_tune_line(teacher)}
student:
  plan: {{}}                            # time untrained candidates, train the largest that clears the speed gate
  # shrink: {{layers: 4, hidden: 256}}  # or say the shape
  # from: DIR                         # or start from a checkpoint
distill:
  - method: {usual_method(block):<35}       # `kd2deploy methods` lists them all
    epochs: 5
    learning_rate: 2.0e-4
    batch: 32
    precision: auto                   # bf16 where the machine computes in it, else fp32
control: true                         # the same student without a teacher: what did distillation bring?
seeds: [0]                            # several give a spread
targets: [cpu]                        # `kd2deploy targets` lists them; or name a YAML file
gates: {{max_drop: 0.01, min_speedup: 4.0}}                    # also max_class_drop, end_to_end, p99_ms, min_throughput
"""


FINE_TUNE = "fine_tune: {steps: 300, learning_rate: 1.0e-4, batch: 32}"


def fine_tune_line(teacher: str) -> str:
    """How the teacher is trained first: written out where it is known to have no head, else as a comment."""
    folder = Path(teacher).expanduser()
    if (folder / "config.json").is_file() and is_body_alone(read_config(folder)):
        return f"{FINE_TUNE}       # it has no trained head for this task yet"
    return f"# {FINE_TUNE}     # for a teacher that is not trained on this task yet"


def flow(block: Mapping[str, Any]) -> str:
    """A block in one line of YAML; a task without arguments is its name."""
    if set(block) == {"use"}:
        return str(block["use"])
    return "{" + ", ".join(f"{key}: {quoted(value)}" for key, value in block.items()) + "}"


def quoted(value: Any) -> str:
    """As YAML writes it."""
    import yaml

    return str(yaml.safe_dump(value, width=10_000, default_flow_style=True).strip().removesuffix("...").strip())
