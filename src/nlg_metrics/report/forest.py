"""Scores with their intervals beside the published rows of the same corpus, each credited: a small forest plot each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlg_metrics.report.published import COLUMNS, PUBLISHED, column_score, unit

_PRINTED = re.compile(r"(?P<value>[\d.]+)(?:±(?P<spread>[\d.]+))?$")


@dataclass
class Dot:
    """A score and its bar; `places` are low, value and high in per cent of the plot's width."""

    value: float
    low: float
    high: float
    shown: str
    places: tuple[float, ...] = ()


@dataclass
class Row:
    """A system's dots, one a column or None.

    Attributes:
        label: the run, or base and method of a published row.
        source: who reported it; empty for a run.
        run: the run's place among the page's, None for a published row.
        dots: in the order of the forest's titles.
    """

    label: str
    source: str
    run: int | None
    dots: list[Dot | None]


@dataclass
class Forest:
    """All systems' scores; every column has a scale of its own."""

    titles: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


Records = Sequence[tuple[int, str, Mapping[str, Any]]]


def forest(corpus: str | None, records: Records) -> Forest:
    """The forest of (place, label, record as in scores.json) of every run that has scores.

    Args:
        corpus: of `COLUMNS`, whose metrics are shown in the papers' units beside the published rows, and the others as
            the scorer prints them; None: all metrics of the records and of their subsets.
        records: the runs' scores.
    """
    columns = _published(corpus, records) if corpus else []
    covered = {_entry_name(corpus, column, records) for column in COLUMNS[corpus]} if corpus else set()
    columns += [column for column in _plain(records, bool(corpus)) if column[0] not in covered]
    rows = [Row(label, "", place, []) for place, label, _ in records]
    rows += [Row(f"{row.model}, {row.method}", row.source, None, []) for row in (PUBLISHED[corpus] if corpus else ())]
    for _, dots in columns:
        _place([dot for dot in dots if dot])
        for row, dot in zip(rows, [*dots, *[None] * len(rows)], strict=False):
            row.dots.append(dot)
    return Forest([title for title, _ in columns], rows if columns else [])


def _published(corpus: str, records: Records) -> list[tuple[str, list[Dot | None]]]:
    """Columns of the papers' tables: our dots, then the published ones."""
    named = {"U": "unseen", "S": "seen", "A": "all"}
    columns = []
    for place, column in enumerate(COLUMNS[corpus]):
        entries = [column_score(corpus, column, record) for _, _, record in records]
        if not any(entries):
            continue
        dots = [_dot(entry, unit(corpus, column)) for entry in entries]
        dots += [_printed(row.values[place]) for row in PUBLISHED[corpus]]
        metric, _, subset = column.partition(" ")
        columns.append((f"{metric}, {named[subset]}" if subset else metric, dots))
    return columns


def _entry_name(corpus: str, column: str, records: Records) -> str:
    entries = [column_score(corpus, column, record) for _, _, record in records]
    return next((str(entry["name"]) for entry in entries if entry), "")


def _plain(records: Records, whole: bool) -> list[tuple[str, list[Dot | None]]]:
    """Columns as the scorer prints them; `whole`: without those of the subsets."""
    titles: dict[str, tuple[str, str]] = {}
    for _, _, record in records:
        for subset, scores in _parts(record).items():
            for key, entry in scores.items():
                if not (whole and subset):
                    titles[entry["name"] + (f", {subset}" if subset else "")] = (subset, key)
    return [
        (title, [_dot(_parts(record).get(subset, {}).get(key), 1.0) for _, _, record in records])
        for title, (subset, key) in titles.items()
    ]


def _parts(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {"": record["scores"], **{name: part["scores"] for name, part in record.get("subsets", {}).items()}}


def _dot(entry: Mapping[str, Any] | None, scale: float) -> Dot | None:
    if entry is None:
        return None
    value, interval = entry["value"] * scale, entry.get("interval")
    if not interval:
        return Dot(value, value, value, _short(value))
    low, high = (end * scale for end in interval)
    return Dot(value, low, high, f"{_short(value)} [{_short(low)}, {_short(high)}]")


def _printed(text: str) -> Dot | None:
    match = _PRINTED.match(text)
    if not match:
        return None
    value, spread = float(match["value"]), float(match["spread"] or 0)
    return Dot(value, value - spread, value + spread, text)


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _place(dots: Sequence[Dot]) -> None:
    """Give every dot of a column its place on their common scale."""
    ends = [end for dot in dots for end in (dot.low, dot.high) if math.isfinite(end)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    for dot in dots:
        shares = ((end - low + margin) / (high - low + 2 * margin) for end in (dot.low, dot.value, dot.high))
        dot.places = tuple(round(100 * share, 2) if math.isfinite(share) else 50.0 for share in shares)
