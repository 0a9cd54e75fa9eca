"""Kill a small run at random instants over all its stages, continue it, and compare what comes out with a whole run.

    python benchmarks/kills.py --kills 200 > kills.json

Each life begins in an empty folder. It is killed (SIGKILL to the program and all its workers) at random instants of one
stage after the other, several times in each, then it is let through, and is killed again while the finished run writes
its report and bundle anew.
After each kill what stands under the final names must be whole; at the end networks, figures that rest on no timing and
the bundle's files must be those of a run that nobody killed.
"""

import argparse
import hashlib
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _killed_run import LAST, REPORT, Lived, Until, live

TIMED = frozenset({"README.md", "report.json"})
"""Files of a bundle that tell of the run's own times."""
TIMES, TIMES_MEASURED = 8, 2
"""Kills of a life per stage; fewer in the measurement, which begins anew each time and takes longest."""


def same_whatever_happened(folder: Path) -> dict[str, Any]:
    """What a kill must not change: networks, files of the bundle, and the report's figures that rest on no timing."""
    report = json.loads((folder / "report.json").read_text())
    sums = dict(line.split("  ", 1)[::-1] for line in (folder / "bundle" / "SHA256SUMS").read_text().splitlines())
    kept = ("name", "role", "sha256", "size_mb", "metric", "metrics", "classes", "precision", "parameters")
    return {
        "networks": networks(folder),
        "bundle": {name: found for name, found in sums.items() if name not in TIMED},
        "report": {name: report[name] for name in ("data", "curves", "drop_chain", "distillation", "lineage", "seeds")},
        "contenders": [{key: one[key] for key in kept if key in one} for one in report["contenders"]],
        "stages": [one["name"] for one in report["stages"]],
    }


def networks(folder: Path) -> dict[str, str]:
    """Hashes of the weights by stage."""
    return {
        re.sub("-[0-9a-f]{12}/", "/", weights.relative_to(folder).as_posix()): sha256(weights)
        for weights in sorted((folder / "stages").rglob("model.safetensors"))
    }


def torn(folder: Path) -> list[str]:
    """What stands under a final name and is not whole."""
    found = []
    bundle, pages = folder / "bundle", {"report.json": "}", "report.html": "</html>", "report.md": ""}
    for name, end in pages.items():
        page = folder / name
        if page.exists() and (not page.stat().st_size or not page.read_text().rstrip().endswith(end)):
            found.append(name)
    if bundle.exists():
        listed = (bundle / "SHA256SUMS").read_text().splitlines() if (bundle / "SHA256SUMS").exists() else ["  none"]
        wrong = [line[66:] for line in listed if sha256(bundle / line[66:]) != line[:64]]
        found += [f"bundle/{name}" for name in wrong]
    return found


def left_over(folder: Path) -> list[str]:
    """What a finished run should have cleared away."""
    patterns = ("stages/.*", ".bundle*", "*.new", "**/.scratch")
    return sorted({path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern)})


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def lengths(whole: Lived) -> dict[str, float]:
    """Seconds that each stage of a whole run took."""
    starts = [*whole.began.values(), whole.ended_s]
    return {stage: after - at for stage, at, after in zip(whole.began, starts, starts[1:], strict=False)}


def killed_in(stage: str, took: Mapping[str, float], drawn: random.Random, folder: Path, until: Until) -> Lived:
    """A run that is killed at a random instant of a stage, or of the first that it does after it."""
    order, struck = list(took), False

    def kill(now: str) -> float | None:
        nonlocal struck
        if struck or order.index(now) < order.index(stage):
            return None
        struck = True
        return drawn.uniform(0, took[now])

    return live(folder, kill, until)


def life(
    folder: Path,
    took: Mapping[str, float],
    drawn: random.Random,
    wanted: int,
    times: int = TIMES,
    until: Until = "bundle",
) -> dict[str, Any]:
    """At most `wanted` kills in one folder, each followed by a look at it, and a run that is let through."""
    order = list(took)
    kills: Counter[str] = Counter()
    faults: list[str] = []
    crash = folder.with_name("crash.txt")

    def strike(stage: str) -> int:
        lived = killed_in(stage, took, drawn, folder, until)
        if lived.code is None:
            kills[lived.at] += 1
        elif lived.code == 70:
            faults.append(f"after {dict(kills)}: {crash.read_text()}")
        faults.extend(f"after {dict(kills)}: {name} is torn" for name in torn(folder))
        return order.index(lived.at) if lived.code is None else len(order)

    reached = 0
    for place, stage in enumerate(order):
        for _ in range(TIMES_MEASURED if stage == LAST else times):
            if kills.total() < wanted and reached <= place:
                reached = max(reached, strike(stage))
    ends = [live(folder, until=until).code]
    for _ in range(times if REPORT in took else 0):
        if kills.total() < wanted:
            strike(REPORT)
    ends.append(live(folder, until=until).code)
    faults += [f"ended with {code}: {crash.read_text() if crash.exists() else ''}" for code in ends if code]
    faults += [f"left over: {name}" for name in left_over(folder)]
    return {"kills": kills, "faults": faults}


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two plain values are not the same."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for place, pair in pairs for found in differences(*pair, f"{path}[{place}]")]
    return [] if one == other else [f"{path}: {one!r} became {other!r}"]


def count(kills: int, seed: int, place: Path, minutes: float = 1e9) -> dict[str, Any]:
    """So many kills, or as many as fit into the time, in words that JSON can hold."""
    drawn, begun = random.Random(seed), time.monotonic()
    whole = live(place / "whole")
    assert whole.code == 0, (place / "crash.txt").read_text()
    took, expected = lengths(whole), same_whatever_happened(place / "whole")
    by_stage: Counter[str] = Counter()
    faults: list[str] = []
    lives = 0
    while by_stage.total() < kills and time.monotonic() - begun < 60 * minutes:
        folder = place / f"life-{lives}"
        found = life(folder, took, drawn, kills - by_stage.total())
        by_stage += found["kills"]
        faults += found["faults"]
        faults += [f"life {lives}{one}" for one in differences(expected, same_whatever_happened(folder))]
        lives += 1
        print(f"{by_stage.total()} kills in {lives} lives, {len(faults)} faults", file=sys.stderr)
        shutil.rmtree(folder)
    return {
        "kills": by_stage.total(),
        "lives": lives,
        "by_stage": dict(by_stage),
        "faults": faults,
        "seconds_of_a_whole_run": {stage: round(seconds, 2) for stage, seconds in took.items()},
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "seed": seed,
    }


def main() -> int:
    from kd2deploy.measure.machine import describe_machine
    from kd2deploy.run import versions

    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kills", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--minutes", type=float, default=1e9, help="begin no further life after so many")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="kd2deploy-kills-") as place:
        found = count(given.kills, given.seed, Path(place), given.minutes)
    date = datetime.now(UTC).date().isoformat()
    print(
        json.dumps({**found, "date": date, "versions": versions(), "machine": describe_machine().to_json()}, indent=1)
    )
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
