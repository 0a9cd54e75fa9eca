"""What the Ray executor costs for each stage: stages that do nothing, in order, by processes, and on a local cluster.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/ray_overhead.py

Each executor does the stages twice. The first time holds what it takes to begin: a process that imports PyTorch, or
a cluster with its workers. The second, over as many new stages, is what one further stage costs.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _common import record

from kd2deploy.core.watcher import Silent, Watcher
from kd2deploy.run import Run, Stage
from kd2deploy.stages.executor import Cluster, Executor, executor_for


def nothing(spec: Mapping[str, Any], inputs: Mapping[str, Any], folder: Path, tell: Watcher) -> Mapping[str, Any]:
    """A stage's work."""
    return {}


def took(executor: Executor, run: Run, names: list[str]) -> float:
    """Seconds for stages of these names."""
    stages = [Stage(name, {}, {}, "ray_overhead.nothing") for name in names]
    began = time.perf_counter()
    executor.map(run, stages, Silent())
    return time.perf_counter() - began


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--stages", type=int, default=50)
    count = asked.parse_args().stages
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, jobs in (("in order", 1), ("2 processes", 2), ("Ray", Cluster("ray"))):
            with Run(Path(folder) / name.replace(" ", "-")).locked() as run:
                began = time.perf_counter()
                executor = executor_for(run, jobs)
                joined = time.perf_counter() - began
                first = took(executor, run, [f"first{at}" for at in range(count)])
                second = took(executor, run, [f"second{at}" for at in range(count)])
                rows.append(
                    {
                        "executor": name,
                        "at a time": executor.width,
                        "to join (s)": joined,
                        f"first {count} stages (s)": first,
                        "a further stage (ms)": 1e3 * second / count,
                    }
                )
    record("ray_overhead", rows, {"stages": count, "threads": os.environ.get("OMP_NUM_THREADS", "all")})


if __name__ == "__main__":
    main()
