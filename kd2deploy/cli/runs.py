"""Commands that run a recipe or go on from a run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kd2deploy.cli.app import app
from kd2deploy.cli.ending import answer_report, carried_out, carry_out, end
from kd2deploy.cli.flags import (
    Column,
    Eval,
    Jobs,
    Nproc,
    On,
    Out,
    RecipePath,
    TargetName,
    TeacherName,
    Train,
    Unlabelled,
    folder,
    method_names,
    workers,
)
from kd2deploy.cli.launched import wanted
from kd2deploy.cli.options import command
from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, screen
from kd2deploy.cli.trusting import Trusted


@command(app)
def compress(
    recipe: RecipePath = None,
    teacher: TeacherName = None,
    train: Train = None,
    eval: Eval = None,
    unlabelled: Unlabelled = None,
    task: Annotated[str | None, typer.Option(help="The task by name: text_classification if not given.")] = None,
    text: Column = None,
    text_pair: Column = None,
    label: Column = None,
    target: TargetName = None,
    speedup: Annotated[float | None, typer.Option(help="Least speedup over the eager teacher.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Largest loss of the metric, absolute: 0.01.")] = None,
    max_class_drop: Annotated[
        float | None, typer.Option(help="Largest loss of any class's recall, absolute: 0.05.")
    ] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Largest P99 latency in milliseconds.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            autocompletion=method_names, help="Distillation method (`kd2deploy methods`): dist for classes, else logit."
        ),
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of distillation: 5.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds; give several for a spread.")] = None,
    out: Out = None,
    jobs: Jobs = None,
    on: On = None,
    nproc: Nproc = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, start nothing.")
    ] = False,
    trust: Trusted = None,
) -> None:
    """One command from teacher to judged bundle: plan, distill, export, measure, judge, report."""
    shared = wanted(nproc)
    flags = {
        "teacher": teacher,
        "train": train,
        "eval": eval,
        "unlabelled": unlabelled,
        "task": task,
        "columns": {"text": text, "text_pair": text_pair, "label": label},
        "targets": target,
        "gates": {
            "min_speedup": speedup,
            "max_drop": max_drop,
            "max_class_drop": max_class_drop,
            "p99_ms": p99_ms,
        },
        "method": method,
        "epochs": epochs,
        "seeds": seed,
    }
    with on_terminal() as watcher:
        from kd2deploy.recipe.from_flags import recipe_from

        found, name = recipe_from(recipe, flags)
        found = found.shared_by(shared.processes, shared.shard_teacher)
        if dry_run:
            from kd2deploy.cli.overview import overview

            planned = overview(found)
        else:
            results = carried_out(found, out or Path("runs") / name, watcher, jobs=workers(jobs, on))
    if dry_run:
        answer(planned.to_json(), planned.print)
    else:
        end(results)


@command(app)
def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe with `student: {plan: ...}`.")], out: Out = None
) -> None:
    """Profile before training: time untrained candidates on the target and show which could pass."""
    carry_out(recipe, out, "plan")


@command(app)
def distill(
    recipe: Annotated[Path, typer.Argument(help="A recipe.")],
    out: Out = None,
    jobs: Jobs = None,
    on: On = None,
    nproc: Nproc = None,
) -> None:
    """Train the students (and controls) of a recipe, and stop there."""
    carry_out(recipe, out, "distill", workers(jobs, on), wanted(nproc))


@command(app)
def compare(
    recipes: Annotated[
        list[Path] | None,
        typer.Argument(
            help="A recipe, or several to rank the methods over; by default the committed comparison.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="`all`, or names with commas: logit,rail_kd,dkd. All, where no --settings are given."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="A YAML file of further entrants: a name each, and a method as under `distill`."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many seeds; each trains every method.", min=1, max=100)] = 5,
    budget: Annotated[
        Literal["steps", "time"],
        typer.Option(
            help="What is equal: optimizer steps, or the wall-clock time that plain logit distillation takes."
        ),
    ] = "steps",
    out: Out = None,
    jobs: Jobs = None,
    on: On = None,
) -> None:
    """Train every method and the no-teacher control at an equal budget: one table, one plot, paired intervals."""
    from kd2deploy.cli.contests import Contestants, compared, ranked

    wanted = methods if methods is not None else "" if settings else "all"
    who = Contestants([name for name in wanted.replace(" ", "").split(",") if name], settings, seeds)
    files, crew = recipes or [], workers(jobs, on)
    if len(files) > 1:
        ranked(who, files, out, budget, crew)
    else:
        compared(who, files[0] if files else None, out, budget, crew)


@command(app)
def tune(
    recipe: Annotated[Path, typer.Argument(help="A recipe; its `tune` section says what is searched.")],
    steps: Annotated[
        int | None, typer.Option(help="Budget of each search: optimizer steps of all its trials.", min=1)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Or minutes of all its trials, added up over --jobs.", min=0.01)
    ] = None,
    space: Annotated[
        Path | None, typer.Option(help="A YAML file with a `tune` section's fields, in place of the recipe's.")
    ] = None,
    out: Out = None,
    jobs: Jobs = None,
    on: On = None,
) -> None:
    """Search settings and methods under a budget, the control too; train the best over all seeds and judge it once."""
    from kd2deploy.cli.tuning import Budgeted, tuned

    tuned(recipe, Budgeted(space, steps, minutes), out, jobs, on)


DEMOS = {
    "text": ("demo", "demo_quick"),
    "images": ("demo_images", "digits"),
    "detection": ("demo_detection", "detection"),
    "restoration": ("demo_restoration", "restoration"),
    "speech": ("demo_speech", "demo_speech_quick"),
}
"""The recipes of the demos, whole and quick."""


@command(app)
def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="A few hundred rows, about three minutes; proves the machinery.")
    ] = False,
    all_labels: Annotated[
        bool,
        typer.Option("--all-labels", help="The case in which distillation brings nothing: every row has its label."),
    ] = False,
    task: Annotated[
        Literal["text", "images", "detection", "restoration", "speech"],
        typer.Option(
            help="`images`: Fashion-MNIST, with a teacher that is trained from nothing (quick: digits). `detection`: "
            "Tux Paint's stamps on Debian's photos (quick: drawn shapes). `restoration`: "
            "Debian's background photos, made twice as large (quick: scikit-learn's two photos). "
            "`speech`: spoken digits."
        ),
    ] = "text",
    out: Out = None,
) -> None:
    """The main job on real news text, few labels and many texts: fine-tune, plan, distill, export, measure, judge."""
    from importlib import resources

    if quick and all_labels:
        raise typer.BadParameter("--quick and --all-labels are two demos: give one of them")
    if all_labels and task != "text":
        raise typer.BadParameter("--all-labels is a demo on texts; in the others every row has its label anyway")
    name = "demo_all_labels" if all_labels else DEMOS[task][quick]
    file = Path(str(resources.files("kd2deploy").joinpath(f"recipes/{name}.yaml")))
    carry_out(file, out or Path("runs") / name)


@command(app)
def finish(
    pack: Annotated[Path, typer.Argument(help="A pack's folder.")],
    out: Annotated[
        Path | None,
        typer.Option(parser=folder, metavar="PATH", help="Folder to write to; by default the pack's own `result`."),
    ] = None,
    trust: Trusted = None,
) -> None:
    """Build, measure and judge a pack with the program that is installed here, running nothing that the pack brings."""
    with on_terminal() as watcher:
        from kd2deploy.flows.finish import finish as build
        from kd2deploy.flows.pack import RESULT

        screen().folder = out or pack / RESULT
        result = build(pack, out or pack / RESULT, watcher)
    end([result])


@command(app)
def report(run: Annotated[Path, typer.Argument(help="A run's folder, or its report.json.")]) -> None:
    """Show a run's verdict again and render its pages anew; exits as the run did."""
    from kd2deploy.report.pages import write_report
    from kd2deploy.report.report import Report

    file = run / "report.json" if run.is_dir() else run
    found = Report.read_checked(file)
    answer_report(found)
    try:
        write_report(found, file.parent)
    except OSError as error:  # to read is all that was asked for: the pages are as they were
        typer.echo(f"warning: the pages in {file.parent} are not rendered anew ({error.strerror})", err=True)
    if found.verdict is not None:
        raise typer.Exit(found.verdict.exit_code)
