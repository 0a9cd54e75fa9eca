"""The command line. Exit codes: 0 PASS (or done), 1 FAIL, 2 user error, 3 INCONCLUSIVE, 4 INVALID."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from kd2deploy.cli.errors import USER_ERROR, errors_shown
from kd2deploy.cli.trusting import Trusted

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From a big model to a small, fast, deployed one, with proof. "
    "Exit codes: 0 PASS, 1 FAIL, 2 user error, 3 INCONCLUSIVE, 4 INVALID.",
)

RecipePath = Annotated[Path | None, typer.Argument(help="A recipe; `kd2deploy init` writes one.", show_default=False)]
Out = Annotated[Path | None, typer.Option(help="The run's folder; by default runs/ and the recipe's name.")]
TeacherName = Annotated[str | None, typer.Option(help="Folder, hub id or package:MODULE of the fine-tuned teacher.")]
Train = Annotated[str | None, typer.Option(help="Training data: csv, tsv, jsonl or parquet.")]
Eval = Annotated[str | None, typer.Option(help="Evaluation data, used for judging alone.")]
Column = Annotated[str | None, typer.Option(help="Name of the column in the data.")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens read of a text; 128, or what the bundle says.", min=1)]
TargetName = Annotated[list[str] | None, typer.Option(help="Target by name (`kd2deploy targets`) or YAML file.")]


@app.command()
def compress(
    recipe: RecipePath = None,
    teacher: TeacherName = None,
    train: Train = None,
    eval: Eval = None,
    task: Annotated[str | None, typer.Option(help="The task by name: text_classification if not given.")] = None,
    text: Column = None,
    text_pair: Column = None,
    label: Column = None,
    target: TargetName = None,
    speedup: Annotated[float | None, typer.Option(help="Least speedup over the eager teacher.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Largest loss of the metric, absolute: 0.01.")] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Largest P99 latency in milliseconds.")] = None,
    method: Annotated[str | None, typer.Option(help="Distillation method (`kd2deploy methods`): logit.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of distillation: 5.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds; give several for a spread.")] = None,
    out: Out = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, start nothing.")
    ] = False,
    trust: Trusted = None,
) -> None:
    """One command from teacher to judged bundle: plan, distill, export, measure, judge, report."""
    flags = {
        "teacher": teacher,
        "train": train,
        "eval": eval,
        "task": task,
        "columns": {"text": text, "text_pair": text_pair, "label": label},
        "targets": target,
        "gates": {"min_speedup": speedup, "max_drop": max_drop, "p99_ms": p99_ms},
        "method": method,
        "epochs": epochs,
        "seeds": seed,
    }
    with errors_shown():
        from kd2deploy.cli.flags import recipe_from

        found, name = recipe_from(recipe, flags)
        if dry_run:
            from kd2deploy.cli.overview import overview

            overview(found)
            return
        carry_out(found, out or Path("runs") / name)


@app.command()
def plan(
    recipe: Annotated[Path, typer.Argument(help="A recipe with `student: {plan: ...}`.")], out: Out = None
) -> None:
    """Profile before training: time untrained candidates on the target and show which could pass."""
    with errors_shown():
        carry_out(read(recipe), out or default_folder(recipe), "plan")


@app.command()
def distill(recipe: Annotated[Path, typer.Argument(help="A recipe.")], out: Out = None) -> None:
    """Train the students (and controls) of a recipe, and stop there."""
    with errors_shown():
        carry_out(read(recipe), out or default_folder(recipe), "distill")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to write to; an empty one for a pack.")],
    model: Annotated[
        str | None, typer.Argument(help="A fine-tuned network: folder, hub id or package:MODULE.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="A finished run's folder or a bundle, instead of a network.")
    ] = None,
    target: Annotated[str, typer.Option(help="Target by name or YAML file.")] = "cpu",
    variant: Annotated[list[str] | None, typer.Option(help="Only these variants of the target.")] = None,
    teacher: TeacherName = None,
    train: Train = None,
    data: Annotated[str | None, typer.Option(help="Rows to judge by in a pack; else those to calibrate on.")] = None,
    task: Annotated[str, typer.Option(help="The task by name.")] = "text_classification",
    text: Column = None,
    text_pair: Column = None,
    label: Column = None,
    max_length: MaxLength = None,
    speedup: Annotated[float | None, typer.Option(help="Least speedup over the eager teacher, in a pack.")] = None,
    max_drop: Annotated[float | None, typer.Option(help="Largest loss of the metric, in a pack: 0.01.")] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Largest P99 latency in milliseconds, in a pack.")] = None,
    trust: Trusted = None,
) -> None:
    """Export a network for a target, each link checked for agreement.

    Where no such device is here, and teacher and data are known, a pack is written: take it to the device, where its
    finish.py builds, measures and judges. A run's folder knows them; so does a bundle, but for a teacher that was
    fine-tuned; for another network give --teacher, --train and --data.
    """
    with errors_shown():
        from kd2deploy.cli.progress import on_terminal
        from kd2deploy.elsewhere import Wanted
        from kd2deploy.elsewhere import export as write

        columns = {"text": text, "text_pair": text_pair, "label": label}
        gates = {"min_speedup": speedup, "max_drop": max_drop, "p99_ms": p99_ms}
        wanted = Wanted(out, target, variant, teacher, train, data, task, columns, gates, max_length)
        with on_terminal() as watcher:
            lines = write(model, source, wanted, watcher)
        for line in lines:
            typer.echo(line)


@app.command()
def profile(
    models: Annotated[list[str], typer.Argument(help="Networks or bundles; the first is the baseline.")],
    target: Annotated[str, typer.Option(help="Target by name or YAML file.")] = "cpu",
    data: Annotated[str | None, typer.Option(help="Rows to draw real inputs from.")] = None,
    task: Annotated[str, typer.Option(help="The task by name.")] = "text_classification",
    text: Column = None,
    text_pair: Column = None,
    max_length: MaxLength = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json, report.html and report.md.")] = None,
    trust: Trusted = None,
) -> None:
    """Time networks and bundles side by side on a target, with intervals."""
    with errors_shown():
        from kd2deploy.alone import profile_alone
        from kd2deploy.report import print_report

        columns = {"text": text, "text_pair": text_pair}
        print_report(profile_alone(models, target, data, task, columns, out, max_length))


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run's folder, or its report.json.")]) -> None:
    """Show a run's verdict again and render its pages anew; exits as the run did."""
    with errors_shown():
        from kd2deploy.measure.verdict import EXIT_CODES, Outcome
        from kd2deploy.pipeline import write
        from kd2deploy.report import print_report
        from kd2deploy.report.report import Report

        file = run / "report.json" if run.is_dir() else run
        found = Report.read(file)
        write(found, file.parent)
        print_report(found)
        if found.verdict is not None:
            raise typer.Exit(EXIT_CODES[Outcome(found.verdict.outcome)])


@app.command()
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    inputs: Annotated[list[str], typer.Argument(help="Texts, or image files; `-` reads lines from standard input.")],
    pair: Annotated[str | None, typer.Option(help="The second text, for tasks on pairs.")] = None,
    trust: Trusted = None,
) -> None:
    """Answer with the deployed file of a bundle."""
    with errors_shown():
        import json

        from kd2deploy.alone import predict_alone

        given = [line.rstrip("\n") for line in sys.stdin] if inputs == ["-"] else inputs
        for answer in predict_alone(bundle, given, pair):
            typer.echo(json.dumps(answer, ensure_ascii=False))


@app.command()
def finish(
    pack: Annotated[Path, typer.Argument(help="A pack's folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to; by default the pack's own `result`.")] = None,
    trust: Trusted = None,
) -> None:
    """Build, measure and judge a pack with the program that is installed here, running nothing that the pack brings."""
    with errors_shown():
        from kd2deploy.cli.progress import on_terminal
        from kd2deploy.finish import finish as build
        from kd2deploy.pack import RESULT
        from kd2deploy.report import print_report

        with on_terminal() as watcher:
            result = build(pack, out or pack / RESULT, watcher)
        print_report(result.report)
        raise typer.Exit(result.exit_code)


@app.command()
def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle's or pack's folder.")],
    key: Annotated[
        Path, typer.Option(help="An EC private key in PEM form (openssl ecparam -name prime256v1 -genkey).")
    ],
) -> None:
    """Sign a bundle, so that others can tell that it is yours and unchanged."""
    with errors_shown():
        from kd2deploy.signing import sign as signed

        typer.echo(f"signed {bundle}: {signed(bundle, key, os.environ.get('KD2DEPLOY_KEY_PASSWORD'))}")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle's or pack's folder.")],
    key: Annotated[Path | None, typer.Option(help="The writer's public key in PEM form.", show_default=False)] = None,
) -> None:
    """Check that a bundle is whole; with a key, that its holder has signed it as it is."""
    with errors_shown():
        from kd2deploy.signing import verify as verified

        if verified(bundle, key):
            typer.echo(f"{bundle} is whole, and signed by the holder of {key}")
        else:
            typer.echo(f"{bundle} is whole: no file was changed, lost or added since its SHA256SUMS was written")
            typer.echo("who wrote it was not checked: whoever changes a bundle can write its sums anew; give --key")


@app.command()
def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="A few hundred rows, two to three minutes; proves the machinery.")
    ] = False,
    out: Out = None,
) -> None:
    """The main job on real news text: fine-tune, plan, distill, export, measure, judge."""
    with errors_shown():
        from importlib import resources

        name = "demo_quick" if quick else "demo"
        file = Path(str(resources.files("kd2deploy").joinpath(f"recipes/{name}.yaml")))
        carry_out(read(file), out or Path("runs") / name)


@app.command()
def compare(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe; by default the committed comparison.", show_default=False)
    ] = None,
    methods: Annotated[str, typer.Option(help="`all`, or names with commas: logit,rail_kd,dkd.")] = "all",
    seeds: Annotated[int, typer.Option(help="How many seeds; each trains every method.", min=1, max=100)] = 5,
    budget: Annotated[
        Literal["steps", "time"],
        typer.Option(
            help="What is equal: optimizer steps, or the wall-clock time that plain logit distillation takes."
        ),
    ] = "steps",
    out: Out = None,
) -> None:
    """Train every method and the no-teacher control at an equal budget: one table, one plot, paired intervals."""
    with errors_shown():
        from importlib import resources

        from kd2deploy.cli.progress import on_terminal
        from kd2deploy.compare import compare as run
        from kd2deploy.report.comparison_pages import print_comparison

        file = recipe or Path(str(resources.files("kd2deploy").joinpath("recipes/compare.yaml")))
        seeded = read(file).model_copy(update={"seeds": list(range(seeds))})
        folder = out or Path("runs") / (file.stem if file.stem.startswith("compare") else f"compare-{file.stem}")
        with on_terminal() as watcher:
            found = run(seeded, folder, methods.replace(" ", "").split(","), budget, watcher)
        print_comparison(found)
        typer.echo(f"comparison  {folder / f'comparison-{budget}.html'}  (also .md, .svg and .json)")


@app.command()
def init(
    teacher: Annotated[str, typer.Option(help="Folder, hub id or package:MODULE of the teacher.")],
    train: Annotated[str, typer.Option(help="Training data: csv, tsv, jsonl or parquet.")],
    eval: Annotated[str, typer.Option(help="Evaluation data.")],
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.yaml"),
) -> None:
    """Write a commented recipe for a teacher and data."""
    with errors_shown():
        from kd2deploy.cli.flags import written_recipe

        if out.exists():
            from kd2deploy.errors import Fault, RecipeError

            raise RecipeError([Fault("--out", f"{out} exists already; name another file")])
        out.write_text(written_recipe(teacher, train, eval), encoding="utf-8")
        typer.echo(f"wrote {out}; now: kd2deploy compress {out}")


@app.command()
def methods() -> None:
    """List the distillation methods with their arguments and sources."""
    with errors_shown():
        from kd2deploy.cli.overview import methods_table

        methods_table()


@app.command()
def targets() -> None:
    """List the deployment targets, with what was really run on them."""
    with errors_shown():
        from kd2deploy.cli.overview import targets_table

        targets_table()


@app.command()
def doctor() -> None:
    """What is installed, which runtimes really work here, and what this machine can do, in about five seconds."""
    with errors_shown():
        from kd2deploy.cli.doctor import examine

        raise typer.Exit(0 if examine() else USER_ERROR)


def carry_out(recipe: Any, folder: Path, until: Literal["plan", "distill", "export", "bundle"] = "bundle") -> None:
    """Run a recipe under progress bars, show the report, and leave with the verdict's exit code."""
    from kd2deploy.cli.progress import on_terminal
    from kd2deploy.pipeline import compress as run
    from kd2deploy.pipeline import worst
    from kd2deploy.report import print_report

    with on_terminal() as watcher:
        results = run(recipe, folder, watcher, until)
    for result in results:
        print_report(result.report)
        pages = result.folder
        typer.echo(f"report  {pages / 'report.html'}  (also .md and .json)")
        for student in result.students if until == "distill" else ():
            typer.echo(f"student {student}")
        if result.bundle is not None:
            typer.echo(f"bundle  {result.bundle}")
        if result.pack is not None:
            typer.echo(f"pack    {result.pack}  (no such device is here: run its finish.py there)")
    raise typer.Exit(worst(results))


def read(recipe: Path) -> Any:
    from kd2deploy.recipe import Recipe

    return Recipe.read(recipe)


def default_folder(recipe: Path) -> Path:
    return Path("runs") / recipe.stem


def main() -> None:
    """The console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
