"""Rows in files: how fast they are prepared and encoded beside the library `datasets` alone, and in how much memory.

    python benchmarks/rows.py [--rows 10000 100000] [--words 100] [--eval 2000] [--name rows]

A csv file of texts in quotation marks, whose words are of a made-up vocabulary of 30,000, and two classes. Each case is
a process of its own with a cache of its own, timed from the file to what comes of it; the imports before are not timed.
Seconds are those of the processor, all threads together, since others may use the machine. `anonymous` is
the peak of the memory that is the process's own, sampled every 10 ms, and `resident` the peak that Linux counts with
pages of mapped files, which it takes back when memory is short; both without what the process held before.

Cases: `datasets` loads the csv file into its cache, `prepare` also checks, splits, hashes and compares the rows, of
mapped files, of files that are held (as all were before), and of files that an earlier run has mapped. `encode` makes
tokens of prepared rows as a training reads them, `datasets, encode` by `map` in batches of 1,000.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _common import record
from encode_memory import memory, save_tokenizer

CASES = ("datasets", "prepare, mapped", "prepare, mapped before", "prepare, held", "datasets, encode", "encode, mapped")
LENGTH = 128
SAMPLED_S = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--eval", type=int, default=2_000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--name", default="rows", help="of the file of results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(child(given.child, Path.cwd())))
        return
    found = []
    for rows in given.rows:
        with TemporaryDirectory() as place:
            folder = Path(place)
            known = save_tokenizer(folder)
            size_mb = write(folder / "train.csv", known, rows, given.words, seed=0)
            write(folder / "eval.csv", known, given.eval, given.words, seed=1)
            for case in given.cases:
                figures = timed(case, folder)
                found.append(
                    {
                        "rows": rows,
                        "file, MB": size_mb,
                        "case": case,
                        "rows a CPU second": rows / figures.pop("s"),
                        **figures,
                    }
                )
    record(given.name, found, {"words": given.words, "evaluation rows": given.eval, "max_length": LENGTH})


def write(file: Path, known: list[str], rows: int, words: int, seed: int) -> float:
    """A csv file of random texts; its size in MB."""
    drawn = np.random.default_rng(seed)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            writer.writerow([" ".join(known[at] for at in drawn.integers(len(known), size=words)), drawn.integers(2)])
    return file.stat().st_size / 1e6


def timed(case: str, folder: Path) -> dict[str, float]:
    """A case in a process of its own, in the folder of the files."""
    with TemporaryDirectory() as cache:
        own = {
            "KD2DEPLOY_CACHE": cache,
            "HF_HOME": cache,
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        command = [sys.executable, str(Path(__file__).resolve()), "--child", case]
        environment = {**os.environ, **own}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=folder, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def child(case: str, folder: Path) -> dict[str, float]:
    work = ready(case, folder)
    peak, over = [memory("RssAnon")], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLED_S):
            peak[0] = max(peak[0], memory("RssAnon"))

    before, resident = peak[0], memory("VmRSS")
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    work()
    seconds = time.process_time() - began
    over.set()
    watcher.join()
    return {
        "s": seconds,
        "anonymous, MB": (peak[0] - before) / 1e6,
        "resident, MB": (memory("VmHWM") - resident) / 1e6,
    }


def ready(case: str, folder: Path) -> Callable[[], Any]:
    """What is timed, once all is imported and whatever it starts from is there."""
    import datasets
    import torch  # noqa: F401 (imported before anything is timed, as in any run)

    from kd2deploy.data import _mapped
    from kd2deploy.data.files import files
    from kd2deploy.data.prepare import prepare
    from kd2deploy.networks.tokenizer import tokenizer
    from kd2deploy.stages.job import encoded
    from kd2deploy.tasks.text_classification import TextClassification

    _mapped.LARGE_MB = float("inf") if "held" in case else 0.0
    datasets.disable_progress_bars()

    def prepared() -> Any:
        return prepare(files("train.csv", "eval.csv"), TextClassification, {})

    def loaded() -> Any:
        named = {"train": "train.csv", "eval": "eval.csv"}
        return datasets.load_dataset("csv", data_files=named)["train"]

    if case == "datasets":
        return loaded
    if case == "datasets, encode":
        rows, reader = loaded(), tokenizer(folder.resolve())
        cut = {"truncation": True, "max_length": LENGTH, "return_attention_mask": False}
        return lambda: rows.map(lambda batch: reader(batch["text"], **cut), batched=True, remove_columns=["text"])
    if case == "encode, mapped":
        task, train = TextClassification(["0", "1"], max_length=LENGTH), prepared().train
        return lambda: encoded(task, train, folder)
    if case == "prepare, mapped before":
        files("train.csv", "eval.csv")
    return prepared


if __name__ == "__main__":
    main()
