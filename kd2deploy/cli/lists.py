"""What there is, and where to begin."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from kd2deploy.cli.app import app
from kd2deploy.cli.errors import USER_ERROR
from kd2deploy.cli.flags import Column, Unlabelled, folder, method_names, target_names
from kd2deploy.cli.options import command
from kd2deploy.cli.screen import answer, lines


@command(app)
def init(
    teacher: Annotated[str, typer.Option(help="Folder, hub id or package:MODULE of the teacher.")],
    train: Annotated[str, typer.Option(help="Training data: csv, tsv, jsonl or parquet.")],
    eval: Annotated[str, typer.Option(help="Evaluation data.")],
    unlabelled: Unlabelled = None,
    task: Annotated[str | None, typer.Option(help="The task by name, where the data does not tell.")] = None,
    text: Column = None,
    text_pair: Column = None,
    label: Column = None,
    out: Annotated[Path, typer.Option(parser=folder, metavar="PATH", help="The recipe to write.")] = Path(
        "recipe.yaml"
    ),
) -> None:
    """Write a commented recipe for a teacher and data."""
    from kd2deploy.cli.written import written_recipe

    if out.exists():
        from kd2deploy.errors import Fault, RecipeError

        raise RecipeError([Fault("--out", f"{out} exists already; name another file")])
    columns = {"text": text, "text_pair": text_pair, "label": label}
    out.write_text(written_recipe(teacher, train, eval, task, columns, unlabelled), encoding="utf-8")
    answer({"recipe": str(out)}, lines([f"wrote {out}; now: kd2deploy compress {out}"]))


@command(app)
def methods(
    name: Annotated[
        str | None, typer.Argument(autocompletion=method_names, help="One method, in detail.", show_default=False)
    ] = None,
) -> None:
    """List the distillation methods; one in detail, with its source and arguments."""
    from kd2deploy.cli import catalogue

    if name is None:
        listed = catalogue.methods()
        answer([dataclasses.asdict(one) for one in listed], lambda: catalogue.print_methods(listed))
    else:
        found = catalogue.method(name)
        answer(dataclasses.asdict(found), lambda: catalogue.print_method(found))


@command(app)
def targets(
    name: Annotated[
        str | None,
        typer.Argument(autocompletion=target_names, help="One target or YAML file, in detail.", show_default=False),
    ] = None,
) -> None:
    """List the deployment targets, with what was really run on them; one in detail, with its variants."""
    from kd2deploy.cli import catalogue

    if name is None:
        listed = catalogue.targets()
        answer(listed, lambda: catalogue.print_targets(listed))
    else:
        found = catalogue.plain_target(name)
        answer(found, lambda: catalogue.print_target(found))


@command(app)
def doctor() -> None:
    """What is installed, which runtimes really work here, and what this machine can do, in about five seconds."""
    from kd2deploy.cli import doctor as examine

    facts, checks = examine.machine_facts(), examine.runtime_checks()
    works = all(stands != "FAIL" for stands, _, _ in checks)
    runtimes = [
        {"name": name, "state": stands, "works": stands == "ok", "found": said} for stands, name, said in checks
    ]
    found = {"works": works, "machine": facts, "runtimes": runtimes}
    answer(found, lambda: examine.print_findings(facts, checks))
    raise typer.Exit(0 if works else USER_ERROR)
