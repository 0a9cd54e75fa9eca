"""Arguments and options that several commands have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kd2deploy.stages import executor


def folder(name: str | Path) -> Path:
    """A folder or file to write to, as it is typed; a default is a path already."""
    if not str(name).strip():
        raise typer.BadParameter("it is empty; name a place to write to")
    return Path(name)


def names_of(kind: str) -> list[str]:
    """For the shell's completion, which must be quick: the names are the files'."""
    home = Path(__file__).parent.parent
    files = (home / "methods").glob("[!_]*.py") if kind == "methods" else (home / "profiles").glob("*.yaml")
    return sorted(file.stem if kind == "methods" else file.stem.replace("_", "-") for file in files)


def method_names(incomplete: str) -> list[str]:
    return [name for name in names_of("methods") if name.startswith(incomplete)]


def target_names(incomplete: str) -> list[str]:
    return [name for name in names_of("targets") if name.startswith(incomplete)]


RecipePath = Annotated[Path | None, typer.Argument(help="A recipe; `kd2deploy init` writes one.", show_default=False)]


Out = Annotated[
    Path | None,
    typer.Option(parser=folder, metavar="PATH", help="The run's folder; by default runs/ and the recipe's name."),
]


TeacherName = Annotated[str | None, typer.Option(help="Folder, hub id or package:MODULE of the fine-tuned teacher.")]


Train = Annotated[str | None, typer.Option(help="Training data: csv, tsv, jsonl or parquet.")]


Eval = Annotated[str | None, typer.Option(help="Evaluation data, used for judging alone.")]


Unlabelled = Annotated[str | None, typer.Option(help="Rows to distil on that need no label.")]


Column = Annotated[str | None, typer.Option(help="Name of the column in the data.")]


Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        help="Trainings and exports at a time, each in a process of its own with its part of the threads.",
    ),
]


Nproc = Annotated[
    int | None,
    typer.Option(
        "--nproc",
        min=1,
        help="Processes that share each training: each takes `batch` rows of a step, on a GPU of its own where there "
        "are any.",
    ),
]


On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="CLUSTER",
        help="`ray`, or `ray://host:port`: trainings and exports on a Ray cluster, --jobs of them at a time at most.",
    ),
]


def workers(jobs: int | None, on: str | None) -> "executor.Jobs":
    """Who does what does not depend on each other, as `--jobs` and `--on` say. Raises RecipeError."""
    if on is None:
        return jobs
    from kd2deploy.errors import Fault, RecipeError
    from kd2deploy.stages.executor import Cluster

    if on != "ray" and not on.startswith("ray://"):
        raise RecipeError([Fault("--on", f"is `ray` or `ray://host:port`, got {on!r}")])
    return Cluster(on, jobs)


MaxLength = Annotated[int | None, typer.Option(help="Tokens read of a text; 128, or what the bundle says.", min=1)]


TargetName = Annotated[
    list[str] | None,
    typer.Option(autocompletion=target_names, help="Target by name (`kd2deploy targets`) or YAML file."),
]


OneTarget = Annotated[str, typer.Option(autocompletion=target_names, help="Target by name or YAML file.")]
