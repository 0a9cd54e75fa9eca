"""Copies of one file raced against each other: how often is a difference found where there is none?

    python benchmarks/same_against_same.py --state quiet --minutes 15
    python benchmarks/same_against_same.py --state busy --minutes 10
    python benchmarks/same_against_same.py --show

Students of three sizes with random weights, as plain ONNX in ONNX Runtime on every core. `busy` adds a neighbour: a
child process that spins on one core. All pairs of a race's copies are compared, which are fewer independent comparisons
than pairs. Each race is written down when it is done, and the same command goes on from there until there are `--pairs`
of them in that state; a race that would not end within `--minutes`, judged by those before it, is not begun.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, shown
from _same_pairs import Raced, pair_rows, place_rows, raced

from kd2deploy.core import Artifact, Feed, Target, build_task, made
from kd2deploy.exporters.onnx import onnx_from_torch
from kd2deploy.measure.latency import race
from kd2deploy.measure.machine import describe_machine
from kd2deploy.measure.neighbours import in_use
from kd2deploy.measure.protocol import full
from kd2deploy.measure.timing import Contender
from kd2deploy.recipe import Measurement
from kd2deploy.recipe.resolve import load_target

NAME = "same_against_same"
SIZES = ((2, 128), (2, 384), (6, 384))
SPEC: dict[str, Any] = {"use": "text_classification", "labels": ["no", "yes"], "max_length": 128, "token_types": True}
FIRST_GUESS_S = 240.0
"""What a race may take, as long as none has been done."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", choices=("quiet", "busy"), default="quiet")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--copies", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--out", type=Path, default=RESULTS / f"{NAME}.json")
    parser.add_argument("--show", action="store_true", help="print the tables of what has been raced, and race nothing")
    given = parser.parse_args()
    races = earlier(given.out)
    if not given.show:
        go_on(races, given)
    for rows in (pair_rows(races), place_rows(races)):
        print(table(rows))


def go_on(races: list[Raced], given: argparse.Namespace) -> None:
    """Race until there are enough pairs or the time is over; each race is kept as soon as it is done."""
    ends = time.monotonic() + 60 * given.minutes
    with tempfile.TemporaryDirectory(prefix="kd2deploy-same-") as place:
        graphs: dict[str, Artifact] = {}
        while True:
            done = [one for one in races if one.state == given.state]
            if sum(len(one.pairs) for one in done) >= given.pairs:
                break
            longest = max((one.seconds for one in done if one.copies == given.copies), default=FIRST_GUESS_S)
            if time.monotonic() + longest > ends:
                print(f"the time is over: {sum(len(one.pairs) for one in done)} pairs so far; the same command goes on")
                break
            layers, hidden = min(SIZES, key=lambda size: sum(one.file == file_name(*size) for one in done))
            name = file_name(layers, hidden)
            if name not in graphs:
                graphs[name] = student(layers, hidden, Path(place, name))
            races.append(one_race(graphs[name], name, given.copies, given.state, Path(place)))
            write(races, given.out)
            print(f"{name}, {given.state}: {len(races[-1].pairs)} pairs in {races[-1].seconds:.0f} s", flush=True)


def one_race(graph: Artifact, name: str, copies: int, state: str, folder: Path) -> Raced:
    """A race by the full protocol with a recipe's defaults, of copies that are files of their own."""
    wanted, plan = Measurement.model_validate({}), full()
    plan = replace(
        plan,
        processes=wanted.processes,
        block_s=wanted.block_s,
        throughput_s=wanted.throughput_s,
        stop=replace(plan.stop, cap_s=wanted.cap_s),
    )
    files = [folder / f"copy-{place}.onnx" for place in range(copies)]
    for file in files:
        shutil.copyfile(graph.path, file)
    contenders = [Contender(f"copy {place}", replace(graph, path=file)) for place, file in enumerate(files)]
    with neighbour() if state == "busy" else nullcontext():
        began, used = time.monotonic(), in_use()
        timings = race(contenders, SPEC, target(), requests(), plan)
        others, _ = in_use().others_since(used)
    return raced(
        [timings[contender.name] for contender in contenders],
        plan,
        file=name,
        state=state,
        others=others,
        seconds=time.monotonic() - began,
    )


@contextmanager
def neighbour() -> Iterator[None]:
    """Somebody else's process, which spins on one core as long as this one lives."""
    spinning = subprocess.Popen([sys.executable, "-c", f"import os\nwhile os.getppid() == {os.getpid()}: pass"])
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


def target() -> Target:
    return load_target("cpu")


def student(layers: int, hidden: int, folder: Path) -> Artifact:
    """A BERT with random weights, exported as the target's `onnx` variant is."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=2000,
        num_attention_heads=hidden // 32,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        id2label=dict(enumerate(SPEC["labels"])),
    )
    net = folder / "net"
    BertForSequenceClassification(config).save_pretrained(net)
    return onnx_from_torch(
        made(net, "kd2deploy.exporters.torch.TorchSession"), build_task(SPEC), target(), folder, requests()[:4]
    )


def requests() -> list[Feed]:
    """Single texts of 8 to 100 tokens, short ones the most."""
    rng = np.random.default_rng(0)
    feeds: list[Feed] = []
    for _ in range(256):
        ids = rng.integers(5, 2000, (1, int(np.clip(rng.gamma(2.0, 15.0), 8, 100))))
        feeds.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
    return feeds


def file_name(layers: int, hidden: int) -> str:
    return f"{layers} x {hidden}"


def earlier(file: Path) -> list[Raced]:
    return [Raced.from_json(one) for one in json.loads(file.read_text())["races"]] if file.is_file() else []


def write(races: Sequence[Raced], file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    whole = {
        "benchmark": NAME,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine().to_json(),
        "rows": pair_rows(races),
        "places": place_rows(races),
        "races": [one.to_json() for one in races],
    }
    file.write_text(json.dumps(whole, indent=1) + "\n")


def table(rows: Sequence[dict[str, object]]) -> str:
    if not rows:
        return "nothing has been raced yet"
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([shown(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


if __name__ == "__main__":
    main()
