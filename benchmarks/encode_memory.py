"""What encoding takes: the peak of memory and what is kept, for many rows of text.

    python benchmarks/encode_memory.py [--rows 200000] [--words 100]

Rows are words of a made-up vocabulary of 30,000, so that a word is a token. Each case is a process of its own; figures
are differences to the process with its rows and tokenizer loaded. They do not depend on other work on the machine.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _common import record

CASES = (128, 32)
"""`max_length`: nothing is cut, and most of each text is."""
SYLLABLES = [first + second for first, second in product("bdfgklmnprstvz", "aeiou")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(encoding(given.rows, given.words, given.child)))
        return
    sizes = ["--rows", str(given.rows), "--words", str(given.words)]
    found = []
    for length in CASES:
        command = [sys.executable, __file__, *sizes, "--child", str(length)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append({"max_length": length, **json.loads(done.stdout.splitlines()[-1])})
    record("encode_memory", found, {"rows": given.rows, "words": given.words})


def encoding(rows: int, words: int, length: int) -> dict[str, Any]:
    from kd2deploy.stages.job import encoded
    from kd2deploy.tasks.text_classification import TextClassification

    with TemporaryDirectory() as folder:
        known = save_tokenizer(Path(folder))
        task = TextClassification(["no", "yes"], max_length=length)
        drawn = np.random.default_rng(0)
        texts = (" ".join(known[place] for place in drawn.integers(len(known), size=words)) for _ in range(rows))
        made = [{"text": text, "label": at % 2, "index": at} for at, text in enumerate(texts)]
        encoded(task, made[:10], Path(folder))
        before, started = memory("VmRSS"), time.perf_counter()
        features = encoded(task, made, Path(folder))
        seconds, peak = time.perf_counter() - started, memory("VmHWM")
        gc.collect()
        kept = memory("VmRSS")
    return {
        "tokens a row": sum(task.reader.length(row) for row in features) / rows,
        "peak, GB a million rows": (peak - before) / rows * 1e6 / 1e9,
        "kept, GB a million rows": (kept - before) / rows * 1e6 / 1e9,
        "rows a second": rows / seconds,
    }


def save_tokenizer(folder: Path) -> list[str]:
    """A tokenizer of 30,000 words of three syllables, and these."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = ["".join(parts) for parts, _ in zip(product(SYLLABLES, repeat=3), range(30_000), strict=False)]
    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *known])}
    built = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    build: Any = PreTrainedTokenizerFast
    build(tokenizer_object=built, model_max_length=512, **special).save_pretrained(folder)
    return known


def memory(field: str) -> int:
    """Bytes, as Linux counts them for this process: VmRSS now, VmHWM at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


if __name__ == "__main__":
    main()
