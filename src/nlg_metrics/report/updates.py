"""The page's section on updates, from what `lora-nlg analyze` wrote: the dial, maps of size and similarity, a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nlg_metrics.report.analysis_file import MEASURES, Analysis
from nlg_metrics.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    drawable,
    escaped,
    number,
    spread,
    svg,
    ticks,
)
from nlg_metrics.report.table import Cell, Table

_TITLES = {"loss": "Validation loss", "bleu": "BLEU"}
_MOST_CELLS = 32  # of a map in each direction


@dataclass
class Drawing:
    """A figure of the section.

    Attributes:
        title: above it.
        svg: the drawing.
        run: whose colour it has.
        facts: sentences below it.
    """

    title: str
    svg: str
    run: int = 0
    facts: list[str] = field(default_factory=list)


@dataclass
class UpdateSection:
    """What the section shows; empty lists are left out."""

    dials: list[Drawing]
    sizes: list[Drawing]
    table: Table
    similarity: list[Drawing]


def update_section(runs: Sequence[tuple[str, Analysis | None]]) -> UpdateSection | None:
    """The section of (label, analysis) of every run of the page; None where no run has been analysed."""
    analysed = [(place, label, found) for place, (label, found) in enumerate(runs) if found]
    if not analysed:
        return None
    entries = [(place, label, found.run) for place, label, found in analysed]
    sizes = [_size_map(place, label, run) for place, label, run in entries]
    seen: set[tuple[str, ...]] = set()
    maps = []
    for place, _, found in analysed:
        for pair in found.pairs:
            if (key := (str(found.path), *pair["runs"])) not in seen:
                seen.add(key)
                maps += _similarity_maps(place, pair)
    return UpdateSection(_dials(entries), sizes, _table(entries), maps)


Entry = tuple[int, str, Mapping[str, Any]]
"""Place on the page, label, a run's entry."""


def _dials(entries: Sequence[Entry]) -> list[Drawing]:
    """For each measure the dials of all runs over the factor and, of several, over factor × ‖ΔW‖."""
    drawings = []
    for name in MEASURES:
        lines = [(place, label, run, _points(run, name)) for place, label, run in entries]
        lines = [line for line in lines if len(line[3]) > 1]
        if not lines:
            continue
        facts = [_best(label, name, points) for _, label, _, points in lines]
        plain = [(place, label, points) for place, label, _, points in lines]
        drawings.append(_dial(name, "the factor of ΔW", plain, facts))
        if len(lines) > 1:
            moved = [(place, label, [(x * run["norm"], y) for x, y in xys]) for place, label, run, xys in lines]
            drawings.append(_dial(name, "factor × ‖ΔW‖", moved, []))
    return drawings


def _points(run: Mapping[str, Any], name: str) -> list[tuple[float, float]]:
    found = [(float(point["factor"]), point.get(name)) for point in run["dial"]]
    return [(x, float(y)) for x, y in found if isinstance(y, int | float) and drawable(y) and drawable(x)]


def _best(label: str, name: str, points: Sequence[tuple[float, float]]) -> str:
    sign = 1 if name == "loss" else -1
    factor, value = min(points, key=lambda point: (sign * point[1], abs(point[0] - 1)))
    trained = dict(points).get(1.0)
    as_trained = "" if trained is None or factor == 1 else f"; as trained {trained:.4g}"
    return f"{label}: best {value:.4g} at {factor:g}{as_trained}"


def _dial(
    name: str, axis: str, lines: Sequence[tuple[int, str, Sequence[tuple[float, float]]]], facts: list[str]
) -> Drawing:
    """A measure over what `axis` says, a line for each (place, label, points)."""
    title = f"{_TITLES[name]} over {axis}"
    xs = [x for _, _, points in lines for x, _ in points]
    ys = [y for _, _, points in lines for _, y in points]
    low, high = min(ys), max(ys)
    if name == "loss" and low > 0:  # one that went wrong would flatten the rest
        high = min(high, 3 * low)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low, high, left, right = low - margin, high + margin, min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1

    def x_of(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (x - left) / (right - left)

    def y_of(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - min(y, high)) / (high - low)

    parts = []
    for value in ticks(low, high, 5):
        y = y_of(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in ticks(left, right, 5):
        anchor = "end" if x_of(value) > WIDTH - 30 else "middle"
        parts.append(
            f'<text x="{x_of(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="{anchor}">{number(value)}</text>'
        )
    bottom = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escaped(axis)}</text>')
    for place, label, points in lines:
        line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        marks = "".join(
            f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3"><title>{escaped(label)}: {y:.4g} at {x:.3g}</title>'
            "</circle>"
            for x, y in points
        )
        parts.append(f'<g class="curve s{place % 8}" data-run="{place}"><polyline points="{line}"/>{marks}</g>')
    return Drawing(title, svg(WIDTH, HEIGHT, title, parts), facts=facts)


def _size_map(place: int, label: str, run: Mapping[str, Any]) -> Drawing:
    """‖ΔW‖/‖W‖, layers × parts."""
    layers = list(dict.fromkeys(part["layer"] for part in run["parts"]))
    parts = list(dict.fromkeys(part["part"] for part in run["parts"]))
    found = {(part["layer"], part["part"]): part["relative"] for part in run["parts"]}
    rows = [[_value(found.get((layer, part))) for part in parts] for layer in layers]
    names = ["embedding" if layer is None else f"layer {layer}" for layer in layers]
    drawn, most = _map(f"{label}: ‖ΔW‖/‖W‖ by layer and part", names, parts, rows)
    return Drawing(label, drawn, place, [f"darkest {most:.3g}"])


def _similarity_maps(place: int, pair: Mapping[str, Any]) -> list[Drawing]:
    """φ(i, j), a map a part and matrix; black is 1 in all of them."""
    first, second = pair["runs"]
    drawings = []
    for grid in pair["grids"]:
        phi = grid["phi"]
        down, across = spread(len(phi), _MOST_CELLS), spread(len(phi[0]), _MOST_CELLS)
        rows = [[_value(phi[i][j]) for j in across] for i in down]
        title = f"{grid['part']}, {grid['matrix']}, layer {pair['layer']}: i of {first}, j of {second}"
        names, columns = [f"i = {i + 1}" for i in down], [str(j + 1) for j in across]
        drawn, _ = _map(title, names, columns, rows, most=1.0)
        corner = f"φ({len(phi)}, {len(phi[0])}) = {_value(phi[-1][-1]):.2f}, by chance {float(grid['chance']):.2f}"
        drawings.append(Drawing(title, drawn, place, [f"φ(1, 1) = {_value(phi[0][0]):.2f}; {corner}"]))
    return drawings


def _map(
    label: str, names: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[float]], most: float | None = None
) -> tuple[str, float]:
    """A heat map, and the value of its darkest colour."""
    finite = [value for row in rows for value in row if drawable(value)]
    top = max(finite, default=0.0) if most is None else most
    tall = 18 if len(rows) <= 16 else 9
    left, wide = 76, (WIDTH - 76 - RIGHT) / len(columns)
    parts = []
    for y, (name, row) in enumerate(zip(names, rows, strict=True)):
        if tall > 10 or y % 2 == 0:  # every second label, where rows are lower than text
            parts.append(f'<text x="{left - 6}" y="{4 + (y + 1) * tall - 4}" text-anchor="end">{escaped(name)}</text>')
        for x, value in enumerate(row):
            if not drawable(value):
                continue
            share = min(1.0, max(0.0, value / top)) if top else 0.0
            told = f"{escaped(name)}, {escaped(columns[x])}: {value:.3g}"
            place = f'x="{left + x * wide:.1f}" y="{4 + y * tall}" width="{wide + 0.2:.1f}" height="{tall}"'
            parts.append(f'<rect {place} fill-opacity="{share:.2f}"><title>{told}</title></rect>')
    bottom = 4 + tall * len(rows)
    for x in spread(len(columns), 8):
        place = f'x="{left + (x + 0.5) * wide:.1f}" y="{bottom + 14}"'
        parts.append(f'<text {place} text-anchor="middle">{escaped(columns[x])}</text>')
    return svg(WIDTH, bottom + 20, label, parts, "chart heat"), top


def _table(entries: Sequence[Entry]) -> Table:
    headings = [
        *("run, part", "‖ΔW‖", "‖ΔW‖/‖W‖", "effective rank", "of rank", "directions for 90%"),
        *("‖UᵀWV‖ of ΔW", "of W", "random", "amplification"),
    ]
    rows = []
    for _, label, run in entries:
        for part in dict.fromkeys(entry["part"] for entry in run["parts"]):
            own = [entry for entry in run["parts"] if entry["part"] == part]
            amplified = [entry["amplification"] for entry in own]
            values = [
                math.sqrt(sum(_value(entry["norm"]) ** 2 for entry in own)),
                *(_mean(own, name) for name in ("relative", "effective_rank", "rank", "directions_90")),
                *(_mean(amplified, name) for name in ("own", "weight", "random", "factor")),
            ]
            named = f"{label}, {part}"
            rows.append([Cell(named, named), *(Cell(_shown(value), _sort(value)) for value in values)])
    return Table(headings, rows)


def _mean(entries: Iterable[Mapping[str, Any]], name: str) -> float:
    values = [value for entry in entries if math.isfinite(value := _value(entry[name]))]
    return sum(values) / len(values) if values else math.nan


def _value(value: object) -> float:
    """A number of the file; NaN for null, which stands for what JSON has no number for."""
    return float(value) if isinstance(value, int | float) else math.nan


def _shown(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _sort(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""
