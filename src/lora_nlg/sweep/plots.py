"""The figure of a sweep: final loss over learning rate (or rank) for each scaling, and the update's size over rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_nlg.files import atomic_write
from lora_nlg.sweep.results import Cell, Result, best_rates, cells, families

FIGURE = "scaling.png"


def write_figure(path: str | Path, results: Sequence[Result]) -> Path | None:
    """Draw a sweep.

    A panel for each way of choosing the scaling: mean validation loss over the learning rate, a line for each rank,
    bars for the 95% interval over seeds, a star at each rank's best rate; losses beyond three times the best are cut.
    Where there is one rate alone, one panel: the loss over rank, a line for each alpha. The last panel: the relative
    size of the update over rank, at the middle of the rates that have one.

    Args:
        path: a `.png`.
        results: members of a sweep.

    Returns:
        The path; None if nothing was drawn, because every member diverged.
    """
    groups = families(cells(results))
    finite = [cell.mean for group in groups.values() for cell in group if math.isfinite(cell.mean)]
    if not finite:
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    by_rank = len({cell.lr for group in groups.values() for cell in group}) == 1
    panels = 1 if by_rank else len(groups)
    columns = min(3, panels + 1)
    rows = math.ceil((panels + 1) / columns)
    size = (3.6 * columns, 2.9 * rows)
    figure, grid = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    axes = list(grid.flat)
    lines = draw_ranks(axes[0], groups) if by_rank else _draw_rates(axes, groups)
    for axis in axes[:panels]:
        # Runs that went wrong would flatten the rest: the axis ends at three times the best loss.
        axis.set_ylim(0.95 * min(finite), 1.05 * max(loss for loss in finite if loss <= 3 * min(finite)))
    _draw_updates(axes[panels], groups)
    if not by_rank:  # else the lines of both panels are the same
        axes[panels].legend(fontsize=6, framealpha=0.4)
    wide = int(3.6 * columns / (0.5 + 0.07 * max(map(len, lines))))
    figure.legend(lines.values(), lines, loc="outside lower center", fontsize=7, ncols=max(1, min(wide, len(lines))))
    for axis in axes[panels + 1 :]:
        axis.remove()
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=100, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return Path(path)


def _draw_rates(axes: Sequence[Any], groups: Mapping[str, Sequence[Cell]]) -> dict[str, Any]:
    """A panel for each way of choosing the scaling: loss over learning rate, a line for each rank; label -> line."""
    from matplotlib import pyplot

    ranks = sorted({cell.r for group in groups.values() for cell in group})
    colour = {r: pyplot.get_cmap("viridis")(i / max(len(ranks) - 1, 1) * 0.9) for i, r in enumerate(ranks)}
    lines: dict[int, Any] = {}
    for axis, (label, group) in zip(axes, groups.items(), strict=False):
        best = best_rates(group)
        for r in sorted({cell.r for cell in group}):
            line = sorted((cell for cell in group if cell.r == r), key=lambda cell: cell.lr)
            lines[r] = _draw_line(axis, [cell.lr for cell in line], line, f"r = {r}", colour[r])
            if r in best:
                axis.plot(best[r].lr, best[r].mean, marker="*", markersize=11, color=colour[r], zorder=5)
        axis.set(xscale="log", xlabel="learning rate", ylabel="validation loss", title=label)
    return {f"r = {r}": lines[r] for r in ranks}


def draw_ranks(axis: Any, groups: Mapping[str, Sequence[Cell]]) -> dict[str, Any]:
    """For a sweep at one learning rate: loss over rank, a line for each alpha or other way of choosing the scaling.

    Returns:
        What each is called -> its line.
    """
    rates = {cell.lr for group in groups.values() for cell in group}
    lines = {}
    for number, (label, group) in enumerate(groups.items()):
        line = sorted(group, key=lambda cell: cell.r)
        lines[label] = _draw_line(axis, [cell.r for cell in line], line, label, f"C{number % 10}")
    ranks = sorted({cell.r for group in groups.values() for cell in group})
    axis.set(ylabel="validation loss", title=f"lr {min(rates):g}")
    _mark_ranks(axis, ranks)
    return lines


def _mark_ranks(axis: Any, ranks: Sequence[int]) -> None:
    axis.set(xscale="log", xlabel="rank")
    axis.set_xticks(ranks, [str(r) for r in ranks])
    axis.minorticks_off()


def _draw_line(axis: Any, places: Sequence[float], line: Sequence[Cell], label: str, colour: Any) -> Any:
    """Mean losses of the cells that are finite, bars for their intervals."""
    shown = [(place, cell) for place, cell in zip(places, line, strict=True) if math.isfinite(cell.mean)]
    bars = [cell.half_width if math.isfinite(cell.half_width) else 0.0 for _, cell in shown]
    return axis.errorbar(
        [place for place, _ in shown], [cell.mean for _, cell in shown], bars,
        color=colour, marker=".", capsize=2, linewidth=1.2, label=label,
    )  # fmt: skip


def _draw_updates(axis: Any, groups: Mapping[str, Sequence[Cell]]) -> None:
    rates = sorted({cell.lr for group in groups.values() for cell in group if not math.isnan(cell.relative_update)})
    middle = rates[len(rates) // 2]
    for number, (label, group) in enumerate(groups.items()):
        line = sorted((c.r, c.relative_update) for c in group if c.lr == middle and not math.isnan(c.relative_update))
        if line:
            axis.plot(*zip(*line, strict=True), marker="o", markersize=3, label=label, color=f"C{number % 10}")
    axis.set(ylabel="‖ΔW‖ / ‖W‖", title=f"size of the update, lr {middle:g}")
    _mark_ranks(axis, sorted({cell.r for group in groups.values() for cell in group}))
    axis.set_yscale("log")
