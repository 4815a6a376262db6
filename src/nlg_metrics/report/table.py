"""The table of runs side by side: scores, size, rate, scale, steps, time, and the settings in which they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlg_metrics.report.run_files import RunFiles, TrainingLog
from nlg_metrics.report.settings import shown


@dataclass(frozen=True)
class RunColumns:
    """What a row is made from: a run, its scores as in scores.json, and its settings."""

    label: str
    run: RunFiles
    record: Mapping[str, Any] | None
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it sorts by (empty: last), and the metric whose tests belong in it."""

    shown: str
    sort: str
    metric: str = ""


@dataclass(frozen=True)
class Table:
    """Headings and rows; every row begins with the run's label."""

    headings: list[str]
    rows: list[list[Cell]]


def run_table(columns: Sequence[RunColumns], differing: Sequence[str]) -> Table:
    """The table; a column nothing is known of is left out.

    Args:
        columns: a row each.
        differing: names of the settings in which the runs differ.
    """
    metrics: dict[str, str] = {}
    for one in columns:
        for key, entry in (one.record["scores"] if one.record else {}).items():
            metrics.setdefault(key, entry["name"])
    found: list[tuple[str, list[Cell]]] = [("run", [Cell(one.label, one.label) for one in columns])]
    found += [(name, [_score(one, key) for one in columns]) for key, name in metrics.items()]
    found += [
        ("parameters", [_number(one.run.parameters) for one in columns]),
        ("lr", [_setting(one, "lr") for one in columns]),
        ("scale", [_scale(one.run.adapter) for one in columns]),
        ("steps", [_number(one.run.log.last_step if one.run.log else None) for one in columns]),
        ("training time", [_time(one.run.log) for one in columns]),
        ("best validation loss", [_best(one.run.log) for one in columns]),
    ]
    found += [(name, [_setting(one, name) for one in columns]) for name in differing if name != "lr"]
    kept = [(name, cells) for name, cells in found if any(cell.shown for cell in cells)]
    return Table([name for name, _ in kept], [list(row) for row in zip(*(cells for _, cells in kept), strict=True)])


def _score(one: RunColumns, key: str) -> Cell:
    entry = one.record["scores"].get(key) if one.record else None
    return Cell("", "") if entry is None else Cell(f"{entry['value']:.4f}", repr(float(entry["value"])), key)


def _number(value: int | None) -> Cell:
    return Cell("", "") if not value else Cell(f"{value:,}", str(value))


def _setting(one: RunColumns, name: str) -> Cell:
    return Cell(one.settings.get(name, ""), one.settings.get(name, ""))


def _scale(adapter: Mapping[str, Any] | None) -> Cell:
    targets = adapter.get("targets") if adapter else None
    found = targets.values() if isinstance(targets, dict) else ()
    scales = [target["scaling"] for target in found if isinstance(target, dict) and "scaling" in target]
    text = ", ".join(dict.fromkeys(shown(scale) for scale in scales))
    return Cell(text, text)


def _time(log: TrainingLog | None) -> Cell:
    """Seconds of training, validation apart, summed over every session of the run."""
    series = log.series.get("speed", {}).get("seconds") if log else None
    if series is None:
        return Cell("", "")
    seconds = sum(value for value in series.values if math.isfinite(value))
    hours, rest = divmod(round(seconds), 3600)
    text = f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
    return Cell(text, f"{seconds:.3f}")


def _best(log: TrainingLog | None) -> Cell:
    series = log.series.get("valid", {}).get("loss") if log else None
    finite = [value for value in series.values if math.isfinite(value)] if series else []
    return Cell(f"{min(finite):.4f}", repr(min(finite))) if finite else Cell("", "")
