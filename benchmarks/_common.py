"""What the benchmarks share: the machine in words, and results as JSON and as a Markdown table."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kd2deploy.measure.machine import describe_machine, state

RESULTS = Path(__file__).parent / "results"


def record(name: str, rows: Sequence[Mapping[str, Any]], notes: Mapping[str, Any]) -> None:
    """Write `results/<name>.json` and print the rows as a Markdown table."""
    RESULTS.mkdir(exist_ok=True)
    whole = {
        "benchmark": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine().to_json(),
        "load": state().load,
        "notes": dict(notes),
        "rows": list(rows),
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(shown(row[column]) for column in columns) + " |")
    print(f"\n{json.dumps(whole['notes'])}\nwritten to {RESULTS / name}.json")


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
