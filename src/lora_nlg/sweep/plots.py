"""The figure of a sweep: final loss over learning rate for each rank and scaling, and the update's size over rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lora_nlg.files import atomic_write
from lora_nlg.sweep.results import Result, best_rates, cells, families

FIGURE = "scaling.png"


def write_figure(path: str | Path, results: Sequence[Result]) -> Path:
    """Draw a sweep.

    A panel for each way of choosing the scaling: mean validation loss over the learning rate, a line for each rank,
    bars for the 95% interval over seeds, a star at each rank's best rate. The last panel: the relative size of the
    update over rank, at each family's median rate.

    Args:
        path: a `.png`.
        results: members of a sweep.

    Returns:
        The path.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = families(cells(results))
    columns = min(3, len(groups) + 1)
    rows = math.ceil((len(groups) + 1) / columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(3.6 * columns, 2.9 * rows), squeeze=False)
    axes = list(grid.flat)
    ranks = sorted({cell.r for group in groups.values() for cell in group})
    colour = {r: pyplot.get_cmap("viridis")(i / max(len(ranks) - 1, 1) * 0.9) for i, r in enumerate(ranks)}
    finite = [cell.mean for group in groups.values() for cell in group if math.isfinite(cell.mean)]
    low, high = min(finite), sorted(finite)[int(0.95 * (len(finite) - 1))]
    span = max(high - low, 1e-3)
    for axis, (label, group) in zip(axes, groups.items(), strict=False):
        best = best_rates(group)
        for r in sorted({cell.r for cell in group}):
            line = sorted((c for c in group if c.r == r and math.isfinite(c.mean)), key=lambda cell: cell.lr)
            bars = [cell.half_width if math.isfinite(cell.half_width) else 0.0 for cell in line]
            rates, means = [cell.lr for cell in line], [cell.mean for cell in line]
            axis.errorbar(rates, means, bars, color=colour[r], marker=".", capsize=2, linewidth=1.2, label=f"r = {r}")
            if r in best:
                axis.plot(best[r].lr, best[r].mean, marker="*", markersize=11, color=colour[r], zorder=5)
        axis.set(xscale="log", xlabel="learning rate", ylabel="validation loss", title=label)
        axis.set_ylim(low - 0.05 * span, high + 0.1 * span)
    axes[0].legend(fontsize=7)
    _draw_updates(axes[len(groups)], groups)
    for axis in axes[len(groups) + 1 :]:
        axis.remove()
    figure.tight_layout()
    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=100, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return Path(path)


def _draw_updates(axis: object, groups: dict) -> None:
    for label, group in groups.items():
        rates = sorted({cell.lr for cell in group})
        middle = rates[len(rates) // 2]
        line = sorted((c.r, c.relative_update) for c in group if c.lr == middle and not math.isnan(c.relative_update))
        axis.plot(*zip(*line, strict=True), marker="o", markersize=3, label=f"{label}; lr {middle:g}")  # type: ignore[attr-defined]
    axis.set(xscale="log", yscale="log", xlabel="rank", ylabel="‖ΔW‖ / ‖W‖", title="size of the update")  # type: ignore[attr-defined]
    axis.legend(fontsize=6)  # type: ignore[attr-defined]
