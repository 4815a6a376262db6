"""The figure of compared methods: score over trained parameters, a panel a metric."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from nlg_metrics.files import write_text
from nlg_metrics.report.methods import Compared


def write_plot(path: Path, methods: Sequence[Compared], columns: Sequence[str]) -> None:
    """Draw the methods: a dot at the mean over seeds, a bar for the bootstrap interval of the pooled seeds.

    Args:
        path: a `.svg`.
        methods: with their scores.
        columns: a panel each.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    across = min(3, len(columns))
    down = math.ceil(len(columns) / across)
    figure, grid = pyplot.subplots(down, across, figsize=(4.4 * across, 3.4 * down), squeeze=False)
    axes = list(grid.flat)
    for axis, column in zip(axes, columns, strict=False):
        for place, one in enumerate(methods):
            score = one.scores.get(column)
            if score is None:
                continue
            bars = [[max(score.mean - score.low, 0.0)], [max(score.high - score.mean, 0.0)]]
            colour = pyplot.get_cmap("tab20")(place % 20)
            axis.errorbar([one.trained], [score.mean], bars, fmt="o", capsize=2, color=colour, label=one.title)
        axis.set(xscale="log", xlabel="trained parameters", title=column)
    for axis in axes[len(columns) :]:
        axis.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8)
    rows = math.ceil(len(methods) / 4)
    figure.tight_layout(rect=(0, 0.3 * rows / (3.4 * down), 1, 1))
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "methods"}):  # equal tables give equal files
        figure.savefig(content, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    write_text(path, content.getvalue())
