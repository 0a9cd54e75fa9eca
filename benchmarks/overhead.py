"""What kd2deploy itself costs: start-up, and the share of a run that is neither training, exporting nor measuring.

    python benchmarks/overhead.py RUN

RUN is the folder of a run that was done in one go (nothing reused).
"""

import argparse
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from _common import record

from kd2deploy.report import Report

WORK = ("teacher", "plan", "student-seed", "control-seed", "export", "measure")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    report = Report.read(given.run / "report.json")
    whole = (datetime.fromisoformat(report.finished) - datetime.fromisoformat(report.started)).total_seconds()
    work = sum(stage.seconds for stage in report.stages if stage.name.startswith(WORK) and not stage.reused)
    modules = "import sys, kd2deploy; print('torch' in sys.modules or 'transformers' in sys.modules)"
    heavy = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True, check=True).stdout.strip()
    rows: list[dict[str, Any]] = [
        {"what": "kd2deploy --help, seconds (median of 10)", "figure": seconds("-m", "kd2deploy", "--help")},
        {"what": "import kd2deploy, seconds (median of 10)", "figure": seconds("-c", "import kd2deploy")},
        {"what": "import kd2deploy loads torch or transformers", "figure": heavy},
        {"what": "whole run, seconds", "figure": whole},
        {"what": "training, planning, exporting and measuring, seconds", "figure": work},
        {"what": "everything else, share of the run", "figure": (whole - work) / whole},
    ]
    record("overhead", rows, {"stages": {stage.name: round(stage.seconds, 1) for stage in report.stages}})


def seconds(*arguments: str) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
