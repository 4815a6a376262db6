"""The figure of a study: a panel a measure over rank, targets or learning rate, a line for each way of scaling."""

from __future__ import annotations

import importlib
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nlg_metrics.report.studies import LOSS, Cell


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
            axis.errorbar(xs, means, bars, marker=".", capsize=2, linewidth=1.2, label=label)
        axis.set(title=name, xlabel={"r": "rank", "lr": "learning rate"}.get(x, x))
        _set_ticks(axis, x, values)
        _cut(axis, [statistics.fmean(found) for cell in cells if (found := cell.measures.get(name))], name)
    places[0].legend(fontsize=7)
    for axis in places[len(shown) :]:
        axis.remove()
    file = io.BytesIO()
    figure.savefig(file, dpi=100, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return file.getvalue()


def _set_ticks(axis: Any, x: str, values: Sequence[Any]) -> None:
    if x == "targets":
        axis.set_xticks(range(len(values)), values)
        return
    axis.set_xscale("log", base=2 if x == "r" else 10)
    if x == "r":
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()


def _cut(axis: Any, means: Sequence[float], name: str) -> None:
    """A loss that went wrong would flatten the rest: the axis ends at three times the best."""
    if name == LOSS and max(means) > 3 * min(means) > 0:
        axis.set_ylim(0.95 * min(means), 3 * min(means))
