"""Scores with their intervals beside the published rows of the same corpus, each credited: a small forest plot each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nlg_metrics.report.published import COLUMNS, PUBLISHED, column_score, unit

_PRINTED = re.compile(r"(?P<value>[\d.]+)(?:±(?P<spread>[\d.]+))?$")


@dataclass
class ForestRow:
    """A dot and its bar. `low`, `value` and `high` are also given in per cent of the plot's width, for drawing.

    Attributes:
        label: the run, or base and method of a published row.
        source: who reported it; empty for a run.
        run: the run's place, None for a published row.
        shown: the value as printed, with its interval or spread.
    """

    label: str
    source: str
    run: int | None
    value: float
    low: float
    high: float
    shown: str
    places: tuple[float, float, float] = (50.0, 50.0, 50.0)


@dataclass
class Forest:
    """One metric's rows on one scale, from `first` to `last`."""

    title: str
    rows: list[ForestRow]
    first: str
    last: str


def forests(corpus: str | None, records: Sequence[tuple[int, str, Mapping[str, Any]]]) -> list[Forest]:
    """A forest a metric, of (place, label, record as in scores.json) of every run that has scores.

    Args:
        corpus: of `COLUMNS`, whose metrics are shown in the papers' units beside the published rows; None: every
            metric of the records, and of their subsets, as the scorer prints it.
        records: the runs' scores.
    """
    if corpus is not None:
        found = [_published(corpus, place, column, records) for place, column in enumerate(COLUMNS[corpus])]
        covered = {column_score(corpus, column, records[0][2])["name"] for column in COLUMNS[corpus]
                   if records and column_score(corpus, column, records[0][2])}  # fmt: skip
        rest = _plain(records, without=covered)
        return [forest for forest in found if forest] + [forest for forest in rest if "·" not in forest.title]
    return _plain(records)


def _plain(records: Sequence[tuple[int, str, Mapping[str, Any]]], without: set[str] | None = None) -> list[Forest]:
    rows: dict[str, list[ForestRow]] = {}
    for place, label, record in records:
        parts = {"": record["scores"], **{f" · {n}": p["scores"] for n, p in record.get("subsets", {}).items()}}
        for suffix, scores in parts.items():
            for entry in scores.values():
                if entry["name"] not in (without or ()):
                    rows.setdefault(entry["name"] + suffix, []).append(_row(place, label, entry, 1.0))
    return [_scaled(title, of) for title, of in rows.items()]


def _published(
    corpus: str, place: int, column: str, records: Sequence[tuple[int, str, Mapping[str, Any]]]
) -> Forest | None:
    entries = [(run, label, column_score(corpus, column, record)) for run, label, record in records]
    rows = [_row(run, label, entry, unit(corpus, column)) for run, label, entry in entries if entry]
    if not rows:
        return None
    for row in PUBLISHED[corpus]:
        if match := _PRINTED.match(row.values[place]):
            value, spread = float(match["value"]), float(match["spread"] or 0)
            name = f"{row.model}, {row.method}"
            rows.append(ForestRow(name, row.source, None, value, value - spread, value + spread, row.values[place]))
    named = {"U": "unseen", "S": "seen", "A": "all"}
    metric, _, subset = column.partition(" ")
    return _scaled(f"{metric} · {named[subset]}" if subset else metric, rows)


def _row(place: int, label: str, entry: Mapping[str, Any], scale: float) -> ForestRow:
    value = entry["value"] * scale
    low, high = (end * scale for end in entry.get("interval") or (entry["value"], entry["value"]))
    bounds = f" [{_short(low)}, {_short(high)}]" if entry.get("interval") else ""
    return ForestRow(label, "", place, value, low, high, _short(value) + bounds)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _scaled(title: str, rows: list[ForestRow]) -> Forest:
    ends = [end for row in rows for end in (row.low, row.high) if math.isfinite(end)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    first, span = low - margin, (high - low) + 2 * margin
    for row in rows:
        row.places = tuple(  # type: ignore[assignment]
            round(100 * (end - first) / span, 2) if math.isfinite(end) else 50.0 for end in (row.low, row.value, row.high)
        )
    return Forest(title, rows, _short(low), _short(high))
