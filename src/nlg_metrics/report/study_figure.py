"""The figure of a study: a panel a measure over rank, targets or learning rate, a line for each way of scaling."""

from __future__ import annotations

import importlib
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nlg_metrics.report.studies import Cell, lowest_is_best


def study_figure(groups: Mapping[str, Sequence[Cell]], x: str, columns: Sequence[str]) -> bytes | None:
    """Draw a study as PNG: means over seeds, bars for the sample deviation.

    Args:
        groups: label of a line -> its cells.
        x: the field of a cell on the axis: `r`, `lr` (both logarithmic) or `targets`.
        columns: the measures; those that no cell has are left out.

    Returns:
        The image; None where there is no number to draw.
    """
    cells = [cell for group in groups.values() for cell in group]
    shown = [name for name in columns if any(cell.measures.get(name) for cell in cells)]
    if not shown:
        return None
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    across = min(3, len(shown))
    down = math.ceil(len(shown) / across)
    figure, grid = pyplot.subplots(
        down, across, figsize=(3.7 * across, 2.9 * down), squeeze=False, layout="constrained"
    )
    places = list(grid.flat)
    values = list(dict.fromkeys(getattr(cell, x) for cell in cells))
    for axis, name in zip(places, shown, strict=False):
        for label, group in groups.items():
            drawn = [cell for cell in group if cell.measures.get(name)]
            xs = [values.index(cell.targets) if x == "targets" else getattr(cell, x) for cell in drawn]
            means = [statistics.fmean(cell.measures[name]) for cell in drawn]
            bars = [statistics.stdev(seeds) if len(seeds := cell.measures[name]) > 1 else 0.0 for cell in drawn]
            line = "none" if x == "targets" else "-"  # nothing lies between two sets of weights
            axis.errorbar(xs, means, bars, marker=".", capsize=2, linewidth=1.2, linestyle=line, label=label)
        axis.set(title=name, xlabel={"r": "rank", "lr": "learning rate"}.get(x, x))
        _set_ticks(axis, x, values)
        axis.ticklabel_format(axis="y", useOffset=False)
        means = [statistics.fmean(found) for cell in cells if (found := cell.measures.get(name))]
        _cut(axis, means, lowest_is_best(name))
    if len(groups) > 1:
        places[0].legend(fontsize=7)
    for axis in places[len(shown) :]:
        axis.remove()
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return file.getvalue()


def _set_ticks(axis: Any, x: str, values: Sequence[Any]) -> None:
    if x == "targets":
        axis.set_xticks(range(len(values)), values, rotation=30)
        axis.margins(x=0.1)
        return
    axis.set_xscale("log", base=2 if x == "r" else 10)
    if x == "r":
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()


def _cut(axis: Any, means: Sequence[float], lowest: bool) -> None:
    """Settings that went wrong would flatten the rest: the axis ends where the others do.

    They are those beyond Tukey's outer fence on the worse side, 3 interquartile ranges from the quartile, and 1.5 times
    as bad as it; the lines to them leave the panel. What is far better than the rest stays.
    """
    if len(means) < 4:
        return
    low, _, high = statistics.quantiles(means, n=4, method="inclusive")
    reach = 3 * (high - low)
    worst = max(high + reach, 1.5 * high) if lowest else min(low - reach, low / 1.5)
    kept = [mean for mean in means if (mean <= worst if lowest else mean >= worst)]
    room = 0.15 * (max(kept) - min(kept))
    if len(kept) < len(means) and room:
        axis.set_ylim(min(kept) - room, max(kept) + room)
