"""What the run was made of: data, artifacts, stages and the machine."""

from kd2deploy.core.figures import count_of, percent
from kd2deploy.report.formats import (
    MISSING,
    count,
    seconds,
    short_hash,
    size,
)
from kd2deploy.report.origin import ArtifactRecord, Plain
from kd2deploy.report.report import Report
from kd2deploy.report.tables.table import Cell, Table, names_of, pairs, plain, used


def data(report: Report) -> Table | None:
    known = report.data
    if known is None:
        return None
    overlap = None if known.overlap is None else f"{count_of(known.overlap, 'evaluation row')} also in the training set"
    values: dict[str, Plain] = {
        "source": known.source,
        "training rows": None if known.train_rows is None else count(known.train_rows),
        "evaluation rows": None if known.eval_rows is None else count(known.eval_rows),
        "overlap": overlap,
        "labels": ", ".join(report.task.labels) if report.task else None,
        "sha256": known.sha256,
        **known.details,
    }
    return pairs("The data", {name: value for name, value in values.items() if value not in (None, "")})


def lineage(report: Report) -> Table | None:
    """Every artifact under the one it was made from."""
    if not report.lineage:
        return None
    known = {one.sha256 for one in report.lineage}
    roots = [one for one in report.lineage if one.parent not in known or one.parent == one.sha256]
    ordered = list(dict.fromkeys(pair for root in roots for pair in _descent(report, root, 0, frozenset())))
    return used(
        Table(
            caption="Which artifact was made from which, and by what",
            head=("Artifact", "Made by", "Precision", "Size", "sha256", "Details"),
            rows=tuple(
                (
                    Cell(
                        ("\u2003" * (depth - 1) + "└ " if depth else "") + one.name,
                        under="★ deployed" if one.deployed else "",
                    ),
                    Cell(one.made_by, code=True),
                    Cell(one.precision),
                    Cell(size(one.size_mb)),
                    Cell(short_hash(one.sha256), code=True),
                    Cell(", ".join(f"{name}: {plain(value)}" for name, value in one.details.items() if value != "")),
                )
                for one, depth in ((report.lineage[place], depth) for place, depth in ordered)
            ),
            numbers=frozenset({3}),
            strong=frozenset(row for row, (place, _) in enumerate(ordered) if report.lineage[place].deployed),
        )
    )


def _descent(report: Report, root: ArtifactRecord, depth: int, seen: frozenset[str]) -> list[tuple[int, int]]:
    """(place in the lineage, depth) of an artifact and all that was made from it; a circle is cut."""
    found = [(report.lineage.index(root), depth)]
    for one in report.lineage:
        if one.parent == root.sha256 and one.sha256 not in seen | {root.sha256}:
            found += _descent(report, one, depth + 1, seen | {root.sha256})
    return found


def stages(report: Report) -> Table | None:
    if not report.stages:
        return None
    total = sum(stage.seconds for stage in report.stages)
    rows = [
        (
            Cell(stage.name),
            Cell(seconds(stage.seconds)),
            Cell(percent(stage.seconds / total) if total > 0 else MISSING),
            Cell("↻ reused" if stage.reused else ""),
        )
        for stage in report.stages
    ]
    rows.append((Cell("all"), Cell(seconds(total)), Cell(""), Cell("")))
    return used(
        Table(
            caption="What each stage took",
            head=("Stage", "Time", "Share", "Earlier run"),
            rows=tuple(rows),
            numbers=frozenset({1, 2}),
            strong=frozenset({len(rows) - 1}),
        )
    )


def machine_state(report: Report) -> Table | None:
    """The machine before and after the timed window: a drift there is a drift in the figures."""
    names = names_of((report.machine_before, report.machine_after))
    if not names:
        return None
    return Table(
        caption="The machine's state around the timed window",
        head=("", "Before", "After"),
        rows=tuple(
            (Cell(name), Cell(plain(report.machine_before.get(name))), Cell(plain(report.machine_after.get(name))))
            for name in names
        ),
    )
