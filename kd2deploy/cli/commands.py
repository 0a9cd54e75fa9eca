"""The commands. Exit codes: 0 PASS (or done), 1 FAIL, 2 user error, 3 INCONCLUSIVE, 4 INVALID, 70 a fault of ours."""

import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kd2deploy.cli.errors import USER_ERROR
from kd2deploy.cli.interrupts import end_at_sigterm
from kd2deploy.cli.options import Json, LogLevel, Quiet, Verbose, asked, command
from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, console, lines, screen, showing
from kd2deploy.cli.trusting import Trusted
from kd2deploy.core.watcher import Watcher

if TYPE_CHECKING:
    from kd2deploy.flows.compress import Result
    from kd2deploy.recipe import Recipe
    from kd2deploy.report import Report

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="From a big model to a small, fast, deployed one, with proof. "
    "Exit codes: 0 PASS, 1 FAIL, 2 user error, 3 INCONCLUSIVE, 4 INVALID, 70 a fault of the program.",
)


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
Column = Annotated[str | None, typer.Option(help="Name of the column in the data.")]
MaxLength = Annotated[int | None, typer.Option(help="Tokens read of a text; 128, or what the bundle says.", min=1)]
TargetName = Annotated[
    list[str] | None,
    typer.Option(autocompletion=target_names, help="Target by name (`kd2deploy targets`) or YAML file."),
]
OneTarget = Annotated[str, typer.Option(autocompletion=target_names, help="Target by name or YAML file.")]


def version_shown(wanted: bool) -> None:
    if wanted:
        from kd2deploy import __version__

        typer.echo(f"kd2deploy {__version__}")
        raise typer.Exit


@app.callback()
def before_every_command(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=version_shown, is_eager=True, help="Print the version.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log_level: LogLevel = "warning",
) -> None:
    context.with_resource(showing(asked(json, quiet, verbose, log_level)))


@command(app)
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
    max_class_drop: Annotated[
        float | None, typer.Option(help="Largest loss of any class's recall, absolute: 0.05.")
    ] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Largest P99 latency in milliseconds.")] = None,
    method: Annotated[
        str | None,
        typer.Option(autocompletion=method_names, help="Distillation method (`kd2deploy methods`): logit."),
    ] = None,
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
        if dry_run:
            from kd2deploy.cli.overview import overview

            planned = overview(found)
        else:
            results = carried_out(found, out or Path("runs") / name, watcher)
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
def distill(recipe: Annotated[Path, typer.Argument(help="A recipe.")], out: Out = None) -> None:
    """Train the students (and controls) of a recipe, and stop there."""
    carry_out(recipe, out, "distill")


@command(app)
def export(
    out: Annotated[
        Path, typer.Option(parser=folder, metavar="PATH", help="Folder to write to; an empty one for a pack.")
    ],
    model: Annotated[
        str | None, typer.Argument(help="A fine-tuned network: folder, hub id or package:MODULE.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="A finished run's folder or a bundle, instead of a network.")
    ] = None,
    target: OneTarget = "cpu",
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
    max_class_drop: Annotated[
        float | None, typer.Option(help="Largest loss of any class's recall, in a pack: 0.05.")
    ] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Largest P99 latency in milliseconds, in a pack.")] = None,
    trust: Trusted = None,
) -> None:
    """Export a network for a target, each link checked for agreement.

    Where no such device is here, and teacher and data are known, a pack is written: take it to the device, where its
    finish.py builds, measures and judges. A run's folder knows them; so does a bundle, but for a teacher that was
    fine-tuned; for another network give --teacher, --train and --data.
    """
    columns = {"text": text, "text_pair": text_pair, "label": label}
    gates = {"min_speedup": speedup, "max_drop": max_drop, "max_class_drop": max_class_drop, "p99_ms": p99_ms}
    with on_terminal() as watcher:
        from kd2deploy.flows.export import Wanted
        from kd2deploy.flows.export import export as write

        wanted = Wanted(out, target, variant, teacher, train, data, task, columns, gates, max_length)
        written = write(model, source, wanted, watcher)
    answer({"folder": str(out), "written": written}, lines(written))


@command(app)
def profile(
    models: Annotated[list[str], typer.Argument(help="Networks or bundles; the first is the baseline.")],
    target: OneTarget = "cpu",
    data: Annotated[str | None, typer.Option(help="Rows to draw real inputs from.")] = None,
    task: Annotated[str, typer.Option(help="The task by name.")] = "text_classification",
    text: Column = None,
    text_pair: Column = None,
    max_length: MaxLength = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=folder, metavar="PATH", help="Folder for report.json, report.html and report.md."),
    ] = None,
    trust: Trusted = None,
) -> None:
    """Time networks and bundles side by side on a target, with intervals."""
    columns = {"text": text, "text_pair": text_pair}
    with on_terminal() as watcher:
        from kd2deploy.flows.profile import profile_alone

        found = profile_alone(models, target, data, task, columns, out, max_length, watcher)
    answer_report(found)


@command(app)
def report(run: Annotated[Path, typer.Argument(help="A run's folder, or its report.json.")]) -> None:
    """Show a run's verdict again and render its pages anew; exits as the run did."""
    from kd2deploy.flows.compress import write
    from kd2deploy.measure.verdict import EXIT_CODES, Outcome
    from kd2deploy.report.report import Report

    file = run / "report.json" if run.is_dir() else run
    found = Report.read_checked(file)
    answer_report(found)
    try:
        write(found, file.parent)
    except OSError as error:  # to read is all that was asked for: the pages are as they were
        typer.echo(f"warning: the pages in {file.parent} are not rendered anew ({error.strerror})", err=True)
    if found.verdict is not None:
        raise typer.Exit(EXIT_CODES[Outcome(found.verdict.outcome)])


@command(app, context_settings={"ignore_unknown_options": True})
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    inputs: Annotated[list[str], typer.Argument(help="Texts, or image files; `-` reads lines from standard input.")],
    pair: Annotated[str | None, typer.Option(help="The second text, for tasks on pairs.")] = None,
    trust: Trusted = None,
) -> None:
    """Answer with the deployed file of a bundle: one JSON object per input, at once; with --json one list of them."""
    import json

    from kd2deploy.flows.predict import predict_alone

    answers = predict_alone(bundle, typed_lines() if inputs == ["-"] else inputs, pair)
    if screen().json:
        answer(list(answers), lines([]))
        return
    for one in answers:
        typer.echo(json.dumps(one, ensure_ascii=False))


def typed_lines() -> Iterator[str]:
    """Lines of standard input as they come, so that a program that writes them may wait for each answer."""
    while line := sys.stdin.readline():
        yield line.rstrip("\n")


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
def sign(
    bundle: Annotated[Path, typer.Argument(help="A bundle's or pack's folder.")],
    key: Annotated[
        Path, typer.Option(help="An EC private key in PEM form (openssl ecparam -name prime256v1 -genkey).")
    ],
) -> None:
    """Sign a bundle, so that others can tell that it is yours and unchanged."""
    from kd2deploy.flows.signing import sign as signed

    done = signed(bundle, key, os.environ.get("KD2DEPLOY_KEY_PASSWORD"))
    answer({"bundle": bundle, "signature": done}, lines([f"signed {bundle}: {done}"]))


@command(app)
def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle's or pack's folder.")],
    key: Annotated[Path | None, typer.Option(help="The writer's public key in PEM form.", show_default=False)] = None,
) -> None:
    """Check that a bundle is whole; with a key, that its holder has signed it as it is."""
    from kd2deploy.flows.signing import verify as verified

    proven = verified(bundle, key)
    said = [f"{bundle} is whole, and signed by the holder of {key}"]
    if not proven:
        said = [
            f"{bundle} is whole: no file was changed, lost or added since its SHA256SUMS was written",
            "who wrote it was not checked: whoever changes a bundle can write its sums anew; give --key",
        ]
    answer({"bundle": bundle, "whole": True, "signed": bool(proven)}, lines(said))


@command(app)
def push(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    name: Annotated[str, typer.Argument(help="Where to, on the Hugging Face hub: user/name.")],
    public: Annotated[bool, typer.Option("--public", help="For everyone to see; private if not given.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be uploaded; needs no network.")] = False,
) -> None:
    """Upload a bundle to the Hugging Face hub, private unless --public is given."""
    from kd2deploy.flows.push import push as upload

    said = upload(bundle, name, public=public, dry_run=dry_run)
    answer({"bundle": bundle, "name": name, "public": public, "uploaded": not dry_run, "lines": said}, lines(said))


@command(app)
def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="A few hundred rows, two to three minutes; proves the machinery.")
    ] = False,
    out: Out = None,
) -> None:
    """The main job on real news text: fine-tune, plan, distill, export, measure, judge."""
    from importlib import resources

    name = "demo_quick" if quick else "demo"
    file = Path(str(resources.files("kd2deploy").joinpath(f"recipes/{name}.yaml")))
    carry_out(file, out or Path("runs") / name)


@command(app)
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
    from importlib import resources

    file = recipe or Path(str(resources.files("kd2deploy").joinpath("recipes/compare.yaml")))
    folder = out or Path("runs") / (file.stem if file.stem.startswith("compare") else f"compare-{file.stem}")
    page = folder / f"comparison-{budget}.html"
    screen().folder = folder
    with on_terminal() as watcher:
        from kd2deploy.flows.compare import compare as run
        from kd2deploy.recipe import Recipe

        seeded = Recipe.read(file).model_copy(update={"seeds": list(range(seeds))})
        found = run(seeded, folder, methods.replace(" ", "").split(","), budget, watcher)

    def draw() -> None:
        from kd2deploy.report.comparison_pages import print_comparison

        print_comparison(found, console())
        typer.echo(f"comparison  {page}  (also .md, .svg and .json)")

    answer({"page": str(page), "comparison": dataclasses.asdict(found)}, draw)


@command(app)
def init(
    teacher: Annotated[str, typer.Option(help="Folder, hub id or package:MODULE of the teacher.")],
    train: Annotated[str, typer.Option(help="Training data: csv, tsv, jsonl or parquet.")],
    eval: Annotated[str, typer.Option(help="Evaluation data.")],
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
    out.write_text(written_recipe(teacher, train, eval, task, columns), encoding="utf-8")
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
    works = all(good for good, _, _ in checks)
    runtimes = [{"name": name, "works": good, "found": said} for good, name, said in checks]
    found = {"works": works, "machine": facts, "runtimes": runtimes}
    answer(found, lambda: examine.print_findings(facts, checks))
    raise typer.Exit(0 if works else USER_ERROR)


# what the commands share ------------------------------------------------------------------------------------

Until = Literal["plan", "distill", "export", "bundle"]


def carry_out(recipe: Path, out: Path | None, until: Until = "bundle") -> None:
    """Run a recipe, show what it came to, and leave with the verdict's exit code."""
    with on_terminal() as watcher:
        from kd2deploy.recipe import Recipe

        results = carried_out(Recipe.read(recipe), out or Path("runs") / recipe.stem, watcher, until)
    end(results, until)


def carried_out(recipe: "Recipe", folder: Path, watcher: Watcher, until: Until = "bundle") -> "list[Result]":
    from kd2deploy.flows.compress import compress as run

    screen().folder = folder
    return run(recipe, folder, watcher, until)


def end(results: "Sequence[Result]", until: Until = "bundle") -> None:
    """Show the results and leave with the worst verdict's exit code."""
    from kd2deploy.flows.compress import worst
    from kd2deploy.report import print_report

    def draw() -> None:
        for result in results:
            print_report(result.report, console())
            typer.echo(f"report  {result.folder / 'report.html'}  (also .md and .json)")
            for student in result.students if until == "distill" else ():
                typer.echo(f"student {student}")
            if result.bundle is not None:
                typer.echo(f"bundle  {result.bundle}")
            if result.pack is not None:
                typer.echo(f"pack    {result.pack}  (no such device is here: run its finish.py there)")

    answer({"exit_code": worst(results), "targets": [plain_result(result) for result in results]}, draw)
    raise typer.Exit(worst(results))


def plain_result(result: "Result") -> dict[str, Any]:
    """What one target came to: the verdict, and where everything lies. The report's JSON has all figures."""
    report = result.report
    return {
        "target": result.target,
        "outcome": result.outcome.value if result.outcome else None,
        "verdict": dataclasses.asdict(report.verdict) if report.verdict else None,
        "report": result.folder / "report.json",
        "page": result.folder / "report.html",
        "bundle": result.bundle,
        "pack": result.pack,
        "students": list(result.students),
    }


def answer_report(found: "Report") -> None:
    """A report as tables, or its JSON."""
    import json

    from kd2deploy.report import print_report

    answer(json.loads(found.to_json()), lambda: print_report(found, console()))


def main() -> None:
    """The console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    end_at_sigterm()
    app()
