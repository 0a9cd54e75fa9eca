"""Single steps on networks and bundles."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from kd2deploy.cli.app import app
from kd2deploy.cli.ending import answer_report
from kd2deploy.cli.flags import Column, MaxLength, OneTarget, TeacherName, Train, folder
from kd2deploy.cli.options import command
from kd2deploy.cli.progress import on_terminal
from kd2deploy.cli.screen import answer, lines, screen
from kd2deploy.cli.trusting import Trusted


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
    models: Annotated[
        list[str], typer.Argument(help="Networks, bundles or exported files; the first is the baseline.")
    ],
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
    """Time networks, bundles and exported files side by side on a target, with intervals."""
    columns = {"text": text, "text_pair": text_pair}
    with on_terminal() as watcher:
        from kd2deploy.flows.given import Given
        from kd2deploy.flows.profile import profile_alone

        found = profile_alone(models, target, Given(task, columns, data, max_length), out, watcher)
    answer_report(found)


@command(app, context_settings={"ignore_unknown_options": True})
def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Texts, or files (pictures, audio); `-` reads lines of standard input, `--` goes before a text as -v."
        ),
    ],
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
