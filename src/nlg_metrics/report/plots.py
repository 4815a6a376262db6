"""The report's figures as SVG images in the page itself: training curves, and scores with their intervals."""

from __future__ import annotations

import base64
import importlib
import io
import math
from collections.abc import Mapping
from typing import Any

from nlg_metrics.report.run_files import Series, TrainingLog, smoothed

BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#a0aec0"
# How the known series are titled, in the page's order; others follow under their own names.
TITLES = {
    ("loss",): "Loss",
    ("ppl",): "Validation perplexity",
    ("lr",): "Learning rate",
    ("grad_norm",): "Gradient norm",
    ("tokens_per_s",): "Tokens per second",
}
_SKIPPED = {"epoch", "peak_memory_mib"}
_DRAWN = 1e30  # an axis that reaches further overflows
_MOST_POINTS = 2000  # of a curve; a page with 40,000 would be slow


def curves(log: TrainingLog) -> list[dict[str, str]]:
    """One figure a measure: `{"title", "image"}`; training and validation of the same measure share one."""
    names: dict[str, dict[str, Series]] = {}
    for kind, series in log.series.items():
        for name, one in series.items():
            if name not in _SKIPPED:
                names.setdefault(name, {})[kind] = one
    known = [key[0] for key in TITLES]
    order = [name for name in known if name in names] + sorted(name for name in names if name not in known)
    return [
        {"title": TITLES.get((name,), f"{name} ({', '.join(names[name])})"), "image": _curve(name, names[name])}
        for name in order
    ]


def _curve(name: str, kinds: Mapping[str, Series]) -> str:
    figure, axes = _figure(5.6, 3.0)
    finite: list[float] = []
    for kind, series in kinds.items():
        steps, values = _thinned(series)
        finite += [value for value in values if math.isfinite(value)]
        if kind == "train" and name in ("loss", "grad_norm"):
            axes.plot(steps, values, color=GREY, linewidth=0.7, alpha=0.7)
            axes.plot(steps, smoothed(values), color=BLUE, linewidth=1.4, label="training (running mean)")
        elif kind == "valid":
            axes.plot(steps, values, color=ORANGE, marker="o", markersize=3.5, linewidth=1.2, label="validation")
            _mark_best(axes, name, series)
        else:
            axes.plot(steps, values, color=BLUE, linewidth=1.2, label=_label(kind))
    if name == "loss" and finite and min(finite) > 0 and max(finite) > 20 * min(finite):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    if len(kinds) > 1:
        axes.legend(frameon=False, fontsize=8)
    return _image(figure)


def _mark_best(axes: Any, name: str, series: Series) -> None:
    pairs = [(value, step) for value, step in zip(series.values, series.steps, strict=True) if abs(value) < _DRAWN]
    if name in ("loss", "ppl") and pairs:
        value, step = min(pairs)
        note = f"best {value:.4g} at step {step:,}"
        axes.annotate(note, (step, value), xytext=(0, 10), textcoords="offset points", ha="center", fontsize=8)


def _thinned(series: Series) -> tuple[list[int], list[float]]:
    """Every k-th point, always with the last, so that no curve has more than `_MOST_POINTS`; NaN where too large."""
    stride = math.ceil(len(series.steps) / _MOST_POINTS)
    keep = list(range(0, len(series.steps), max(1, stride)))
    if keep and keep[-1] != len(series.steps) - 1:
        keep.append(len(series.steps) - 1)
    values = [series.values[place] for place in keep]
    return [series.steps[place] for place in keep], [v if abs(v) < _DRAWN else math.nan for v in values]


def intervals(rows: Mapping[str, tuple[float, float, float]]) -> str:
    """A dot and a bar for each row (name -> value, low, high), as an image; rows top to bottom."""
    figure, axes = _figure(3.6, 0.5 + 0.3 * len(rows))
    for place, (value, low, high) in enumerate(rows.values()):
        axes.plot([low, high], [place, place], color=BLUE, linewidth=2.2, solid_capstyle="butt")
        axes.plot([value], [place], color=BLUE, marker="o", markersize=5)
    axes.set_yticks(range(len(rows)), [_label(name) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.locator_params(axis="x", nbins=5)
    return _image(figure)


def _label(name: str) -> str:
    """A name out of a file as matplotlib may have it: not a page long, and no formula between dollars."""
    return (name if len(name) <= 40 else f"{name[:40]}…").replace("$", r"\$")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # The object interface: no window, no global state, no backend to choose.
    figure = importlib.import_module("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color="#e2e8f0", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _image(figure: Any) -> str:
    """The figure as a data URI; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with importlib.import_module("matplotlib").rc_context({"svg.hashsalt": "lora-nlg", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
