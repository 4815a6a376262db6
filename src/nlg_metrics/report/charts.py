"""The report's drawings, as inline SVG that takes its colours from the page: curves of several runs, and heat maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nlg_metrics.report.run_files import Series, TrainingLog, smoothed
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

# Known measures in the page's order: name -> title and unit; others follow under their own names.
MEASURES = {
    "loss": ("Loss", "nats a token"),
    "ppl": ("Perplexity", ""),
    "bleu": ("BLEU in validation", ""),
    "lr": ("Learning rate", ""),
    "grad_norm": ("Gradient norm", ""),
    "tokens_per_s": ("Speed", "tokens a second"),
}
_SKIPPED_NAMES = {"epoch", "peak_memory_mib", "seconds"}
_SKIPPED_KINDS = {"update"}  # has a heat map of its own
_NOISY = {"loss", "grad_norm"}
_LOWER_IS_BEST = {"loss", "ppl"}
_MOST_POINTS = 400  # of a curve: one a unit of width
_MOST_MARKS = 60  # points drawn on a curve
_MOST_COLUMNS = 60  # of a heat map

_HEAT_LEFT, _HEAT_TOP = 92, 4  # room for the layers' names


@dataclass
class Curve:
    """One run's numbers of one measure and kind."""

    run: int
    label: str
    kind: str
    series: Series


@dataclass
class Chart:
    """One measure of all runs.

    Attributes:
        title: its name and unit.
        svg: the drawing; empty where no run has two points.
        facts: the sentences below it, one a curve that has a best or a last value.
    """

    title: str
    svg: str
    facts: list[str] = field(default_factory=list)


def charts(logs: Sequence[tuple[str, TrainingLog | None]]) -> list[Chart]:
    """A chart a measure, from (label, log) of every run."""
    measures: dict[str, list[Curve]] = {}
    for run, (label, log) in enumerate(logs):
        for kind, named in (log.series if log else {}).items():
            for name, series in named.items():
                if kind not in _SKIPPED_KINDS and name not in _SKIPPED_NAMES:
                    measures.setdefault(name, []).append(Curve(run, label, kind, series))
    order = [name for name in MEASURES if name in measures] + sorted(name for name in measures if name not in MEASURES)
    return [_chart(name, measures[name]) for name in order]


def _chart(name: str, curves: Sequence[Curve]) -> Chart:
    title, unit = MEASURES.get(name, (name.replace("_", " "), ""))
    titled = f"{title} ({unit})" if unit else title
    facts = [_fact(name, curve) for curve in curves if curve.kind != "train" or len(curve.series.steps) == 1]
    drawn = [curve for curve in curves if sum(map(drawable, curve.series.values)) > 1]
    return Chart(titled, curves_svg(name, titled, curves) if drawn else "", facts)


def _fact(name: str, curve: Curve) -> str:
    pairs = [(value, step) for value, step in zip(curve.series.values, curve.series.steps, strict=True)]
    finite = [pair for pair in pairs if drawable(pair[0])]
    who = f"{curve.label}, {'validation' if curve.kind == 'valid' else curve.kind}"
    if not finite:
        return f"{who}: no finite value"
    if len(pairs) == 1 or name not in (*_LOWER_IS_BEST, "bleu"):
        value, step = finite[-1]
        return f"{who}: {value:,.4g} at step {step:,}"
    value, step = min(finite) if name in _LOWER_IS_BEST else max(finite, key=lambda pair: (pair[0], -pair[1]))
    return f"{who}: best {value:.4g} at step {step:,}, of {len(pairs)}"


@dataclass(frozen=True)
class _Frame:
    """Where values lie in the drawing."""

    first_step: int
    last_step: int
    low: float
    high: float
    log: bool

    def x(self, step: float) -> float:
        span = max(1, self.last_step - self.first_step)
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.first_step) / span

    def y(self, value: float) -> float:
        scale = math.log if self.log else float
        share = (scale(self.high) - scale(value)) / (scale(self.high) - scale(self.low))
        return TOP + (HEIGHT - TOP - BOTTOM) * share


def _frame(name: str, curves: Sequence[Curve]) -> _Frame:
    steps = [step for curve in curves for step in (curve.series.steps[0], curve.series.steps[-1])]
    values = [value for curve in curves for value in _drawn_values(name, curve) if drawable(value)]
    low, high = min(values), max(values)
    log = name == "loss" and low > 0 and high > 20 * low
    if not log:
        margin = 0.05 * (high - low) or abs(high) * 0.05 or 1.0
        low, high = (min(low, 0.0) if low >= 0 and low < high / 3 else low - margin), high + margin
    elif low == high:
        high *= 1.1
    return _Frame(min(steps), max(steps), low, high, log)


def _drawn_values(name: str, curve: Curve) -> list[float]:
    return smoothed(curve.series.values) if curve.kind == "train" and name in _NOISY else curve.series.values


def curves_svg(name: str, title: str, curves: Sequence[Curve]) -> str:
    """All runs' curves in one frame: training solid (noisy ones as a running mean), the others dashed with points."""
    frame = _frame(name, curves)
    parts = _axes(frame)
    for curve in curves:
        steps, values = _thinned(curve.series.steps, _drawn_values(name, curve))
        points = [(step, value) for step, value in zip(steps, values, strict=True) if drawable(value)]
        line = " ".join(f"{frame.x(step):.1f},{frame.y(value):.1f}" for step, value in points)
        marks = ""
        if curve.kind != "train" and len(points) <= _MOST_MARKS:
            marks = "".join(_mark(frame, curve.label, step, value) for step, value in points)
        dashed = curve.kind != "train" and any(other.kind == "train" for other in curves)
        kind = f"curve{' dashed' if dashed else ''} s{curve.run % 8}"
        parts.append(f'<g class="{kind}" data-run="{curve.run}"><polyline points="{line}"/>{marks}</g>')
    label = f"{title} over steps {frame.first_step:,} to {frame.last_step:,}"
    return svg(WIDTH, HEIGHT, label, parts)


def _mark(frame: _Frame, label: str, step: int, value: float) -> str:
    told = escaped(f"{label}: {value:.4g} at step {step:,}")
    return f'<circle cx="{frame.x(step):.1f}" cy="{frame.y(value):.1f}" r="3"><title>{told}</title></circle>'


def _axes(frame: _Frame) -> list[str]:
    parts = []
    bottom = HEIGHT - BOTTOM
    for value in ticks(frame.low, frame.high, 5, frame.log):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for step in ticks(frame.first_step, frame.last_step, 5):
        x = frame.x(step)
        # The outermost labels lean inwards, so that none is cut off.
        anchor = "end" if x > WIDTH - 30 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{number(step)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">step</text>')
    return parts


def _thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Every k-th point, always with the last, so that no curve has many more than `_MOST_POINTS`."""
    keep = spread(len(steps), _MOST_POINTS)
    return [steps[place] for place in keep], [values[place] for place in keep]


@dataclass
class HeatMap:
    """How far each layer has moved: a run's update norms as layers × steps."""

    run: int
    label: str
    svg: str
    most: str


def heat_map(run: int, label: str, log: TrainingLog | None) -> HeatMap | None:
    """The norm of every adapted layer's update over the steps; None where it was not logged."""
    rows = log.series.get("update", {}) if log else {}
    if not rows:
        return None
    steps = max((series.steps for series in rows.values()), key=len)
    columns = [steps[place] for place in spread(len(steps), _MOST_COLUMNS)]
    most = max((value for series in rows.values() for value in series.values if drawable(value)), default=0.0)
    return HeatMap(run, label, _heat_svg(label, rows, columns, most), f"{most:.3g}")


def _heat_svg(label: str, rows: Mapping[str, Series], columns: Sequence[int], most: float) -> str:
    tall = 16 if len(rows) <= 16 else 10
    bottom = _HEAT_TOP + tall * len(rows)
    parts = []
    for row, (name, series) in enumerate(rows.items()):
        if tall > 10 or row % 2 == 0:  # every second label, where rows are lower than text
            y = _HEAT_TOP + (row + 1) * tall - 3.5
            parts.append(f'<text x="{_HEAT_LEFT - 6}" y="{y:.1f}" text-anchor="end">{escaped(_layer(name))}</text>')
        parts += _heat_cells(_layer(name), series, columns, (_HEAT_TOP + row * tall, tall), most)
    ends = [(_HEAT_LEFT, columns[0], "start")]
    if len(columns) > 1:
        ends.append((WIDTH - RIGHT, columns[-1], "end"))
    parts += [f'<text x="{x}" y="{bottom + 16}" text-anchor="{side}">{number(step)}</text>' for x, step, side in ends]
    parts.append(f'<text x="{(_HEAT_LEFT + WIDTH) / 2:.0f}" y="{bottom + 30}" text-anchor="middle">step</text>')
    described = f"{label}: update norms of {len(rows)} layers, largest {most:.3g}"
    return svg(WIDTH, bottom + 36, described, parts, "chart heat")


def _heat_cells(layer: str, series: Series, columns: Sequence[int], row: tuple[int, int], most: float) -> Iterator[str]:
    """A layer's rectangles; `row` is its top and height."""
    top, tall = row
    wide = (WIDTH - _HEAT_LEFT - RIGHT) / len(columns)
    values = dict(zip(series.steps, series.values, strict=True))
    for column, step in enumerate(columns):
        value = values.get(step, math.nan)
        if not drawable(value):
            continue
        share = value / most if most else 0.0
        x = _HEAT_LEFT + column * wide
        # A little wider than its place: no seams between neighbours.
        place = f'x="{x:.1f}" y="{top}" width="{wide + 0.2:.1f}" height="{tall}"'
        told = f"{escaped(layer)}, step {step:,}: {value:.4g}"
        yield f'<rect {place} fill-opacity="{share:.2f}"><title>{told}</title></rect>'


def _layer(name: str) -> str:
    """A layer's name without what all share: `transformer.h.11.attn.c_attn` is `11 c_attn`."""
    parts = name.split(".")
    numbers = [part for part in parts if part.isdigit()]
    return " ".join([*numbers[:1], parts[-1]])[:14]
