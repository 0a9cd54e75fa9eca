"""A training done by several processes together. torch's own launcher starts them, and ends all where one fails.

`together` is the leading process's end: it waits, tells its watcher what the first of them tells, and gets the result.
They run this module, with an order in a file: `python -m torch.distributed.run ... -m kd2deploy.stages.together ORDER`.
The leading process is none of them, so that nothing else of a run knows of ranks: it alone locks, records and measures.
They end when it does, however that came about: their standard input then ends.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist

from kd2deploy.core.ranks import leads
from kd2deploy.core.trust import trust, trusted
from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.errors import Kd2DeployError, Killed
from kd2deploy.run import SCRATCH, named, read_json, readable_os_errors, write_json
from kd2deploy.stages.elsewhere import LAST_WORDS, Pipe, environment, error_of, line_of

ORDER = "order.json"
PATIENCE = timedelta(days=7)
"""How long processes wait for one that scores, or has the teacher answer rows. Of a dead one the launcher ends all."""
KILLED = re.compile(r"failed \(exitcode: -(\d+)\)|exitcode +: -(?!15\b)(\d+)")
"""What torch's launcher says of a process that a signal ended: the first to end, and in its list of all. There 15 is
what it ends the others by itself with."""


def shared(
    processes: int, work: str, spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher
) -> Mapping[str, Any]:
    """What a `Work` of a dotted name gives: done here, or by so many processes together."""
    if processes > 1:
        return together(processes, work, spec, inputs, folder, tell)
    found: Mapping[str, Any] = named(work)(spec, inputs, folder, tell)
    return found


def together(
    processes: int, work: str, spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher
) -> Mapping[str, Any]:
    """What a `Work` of a dotted name gives in the first of so many processes that all do it.

    The threads of this process are divided among them. Raises what one of them raises, and `Killed` where one was.
    """
    order = folder / SCRATCH / ORDER
    order.parent.mkdir(exist_ok=True)
    threads = max(1, torch.get_num_threads() // processes)
    what = {"work": work, "spec": spec, "inputs": inputs, "folder": str(folder)}
    write_json(order, {**what, "threads": threads, "trusted": trusted()})
    with Launched(processes, order, threads) as launched:
        return launched.result(tell)


class Launched:
    """Processes that torch's launcher starts: a context manager, and leaving it ends them."""

    def __init__(self, processes: int, order: Path, threads: int) -> None:
        self.processes, self.order, self.threads = processes, order, threads

    def __enter__(self) -> Self:
        self.said = tempfile.TemporaryFile("w+")
        launcher = ["torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *launcher, f"--nproc-per-node={self.processes}", "-m", __name__, str(self.order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env=environment(self.threads),
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()  # what ends those that are still at work, and the launcher after them
        self.process.__exit__(None, None, None)
        self.said.close()

    def result(self, tell: Watcher) -> Mapping[str, Any]:
        """What the first of them gives, once all have ended. Raises what one of them raises."""
        assert self.process.stdout is not None
        found: Mapping[str, Any] | None = None
        crash = ""
        for said in self.process.stdout:
            line = json.loads(said)
            if line["do"] == "error":
                raise error_of(line)
            if line["do"] == "crash":
                crash = line["said"]
            elif line["do"] == "advance":
                tell.advance(line["what"], line["done"], line["total"], line["note"])
            elif line["do"] == "end":
                found = line["result"]
            elif line["do"] in ("say", "warn"):
                (tell.warn if line["do"] == "warn" else tell.say)(line["said"])
        if self.process.wait() or found is None:
            raise self.dead(crash)
        return found

    def dead(self, crash: str) -> Exception:
        """Why they ended. A `crash` of the first may be another's end, which it was talking to."""
        self.said.seek(0)
        said = self.said.read().strip()
        if killed := KILLED.search(said):
            by = f"signal {killed[1] or killed[2]} (9: out of memory?)"
            return Killed(
                f"of {self.processes} that trained together one was killed by {by}; run the same command again: it "
                "goes on from the last checkpoint"
            )
        return RuntimeError(crash or f"the {self.processes} that trained together ended: {said[-LAST_WORDS:]}")


def end_with_parent() -> None:
    """End this process as soon as the leading one is gone: every stage survives that."""
    while os.read(0, 1):  # not by way of sys.stdin, whose lock would be held while this process ends by itself
        pass
    os._exit(1)


def begin() -> None:
    """Meet the others."""
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cuda:nccl,cpu:gloo" if gpus else "gloo", timeout=PATIENCE)


def carry_out(order: Mapping[str, Any], pipe: Pipe) -> Mapping[str, Any]:
    """This process's part of the work."""
    torch.set_num_threads(order["threads"])
    trust(*order["trusted"])
    begin()
    folder = Path(order["folder"])
    with readable_os_errors(folder):
        found: Mapping[str, Any] = named(order["work"])(
            order["spec"], order["inputs"], folder, pipe if leads() else Silent()
        )
    return found


def main() -> None:
    """Do what the order says, with the others. What libraries print goes to standard error."""
    pipe = Pipe(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        result = carry_out(read_json(Path(sys.argv[1])), pipe)
    except Kd2DeployError as error:
        pipe.tell(**line_of(error))
        os._exit(1)  # the others wait for this one, and the launcher ends them
    except BaseException:
        pipe.tell(do="crash", said=traceback.format_exc()[-LAST_WORDS:])  # short: pipes keep such lines whole
        os._exit(1)
    first = leads()
    dist.destroy_process_group()
    if first:
        pipe.tell(do="end", result=result)


if __name__ == "__main__":
    main()
