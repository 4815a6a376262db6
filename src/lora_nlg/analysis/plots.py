"""The figures of a study: the dial, heat maps of size, spectra, amplification by layer, similarity as the paper has it.

Each takes what `analysis.json` holds, so that they can be drawn anew from the file alone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lora_nlg.analysis.results import whole_norm
from lora_nlg.analysis.tables import MEASURES
from lora_nlg.files import atomic_write
from lora_nlg.gpt2 import TARGETS

_CELL = 0.42  # inches of a heat map's cell
_COLOURS = "viridis"


def write_figures(folder: Path, study: Mapping[str, Any]) -> list[Path]:
    """Draw what a study holds.

    Args:
        folder: where to; made if absent. Figures of the study before that this one has none of are removed.
        study: the value of `analysis.json`.

    Returns:
        The PNG files written: `dial`, `size`, `spectrum`, `amplification` and `similarity-N`, as far as there is
        something to draw.
    """
    import matplotlib

    matplotlib.use("Agg")
    runs = study["runs"]
    drawn: dict[str, Callable[[], Any]] = {
        "size": partial(size_figure, runs),
        "spectrum": partial(spectrum_figure, runs),
        "amplification": partial(amplification_figure, runs),
    }
    if any(run["dial"] for run in runs):
        drawn = {"dial": partial(dial_figure, runs), **drawn}
    for number, pair in enumerate(study["similarity"], start=1):
        if pair["grids"]:
            drawn[f"similarity-{number}"] = partial(similarity_figure, pair)
    written = [_save(folder / f"{name}.png", draw()) for name, draw in drawn.items()]
    for stale in {folder / "dial.png", *folder.glob("similarity-*.png")} - set(written):  # of another study
        stale.unlink(missing_ok=True)
    return written


def _save(path: Path, figure: Any) -> Path:
    from matplotlib import pyplot

    with atomic_write(path, "wb") as file:
        figure.savefig(file, dpi=100, format="png", metadata={"Software": None})
    pyplot.close(figure)
    return path


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot

    return pyplot.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained")


def _parts_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parts that any of the runs has, in the order of the model."""
    found = {entry["part"] for run in runs for entry in run["parts"]}
    return [part for part in TARGETS if part in found]


def _colours(runs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """A run's colour is the same in every panel, whichever of the others are in it."""
    from matplotlib import pyplot

    if len(runs) <= 10:
        return [f"C{number}" for number in range(len(runs))]
    return [pyplot.get_cmap("turbo")(number / (len(runs) - 1)) for number in range(len(runs))]


def _legend(figure: Any, lines: Mapping[str, Any]) -> None:
    """Label -> its line, below all panels and as wide as they are."""
    wide = figure.get_figwidth() / (0.5 + 0.07 * max(map(len, lines)))
    columns = min(len(lines), int(wide)) or 1
    labels = [label.replace("$", r"\$") for label in lines]
    figure.legend(lines.values(), labels, loc="outside lower center", fontsize=7, ncols=columns)


def _wrapped(text: str, inches: float, size: float) -> str:
    """Text as lines of at most so many inches, in a font of so many points; none of it is a formula."""
    return textwrap.fill(text, int(inches * 72 / (0.6 * size))).replace("$", r"\$")


def dial_figure(runs: Sequence[Mapping[str, Any]]) -> Any:
    """A row a measure. Left: over the factor, 1 as trained; right, for several runs: over factor × ‖ΔW‖_F."""
    turned = [run for run in runs if run["dial"]]
    lines: dict[str, Any] = {}
    measures = [name for name in MEASURES if any(name in point for run in turned for point in run["dial"])]
    columns = 2 if len(turned) > 1 else 1
    figure, grid = _panels(len(measures), columns, 4.4, 3.0)
    for axes, name in zip(grid, measures, strict=True):
        word, _, lowest = MEASURES[name]
        for axis, by_norm in zip(axes, (False, True), strict=False):
            for run, colour in zip(turned, _colours(turned), strict=True):
                unit = whole_norm(run["parts"]) if by_norm else 1.0
                lines[run["label"]] = _draw_dial(axis, run, name, unit, colour)
            axis.set(xlabel="factor × ‖ΔW‖" if by_norm else "factor of ΔW (★ as trained)", ylabel=word)
        _end_at(axes, [point[name] for run in turned for point in run["dial"] if point.get(name) is not None], lowest)
    if len(turned) > 1:
        _legend(figure, lines)
    return figure


def _draw_dial(axis: Any, run: Mapping[str, Any], name: str, unit: float, colour: Any) -> Any:
    """One run's line of one measure, a star where the factor is 1; `unit` is what a factor of 1 is on the axis."""
    points = {point["factor"]: point[name] for point in run["dial"] if point.get(name) is not None}
    xs = [factor * unit for factor in points]
    (line,) = axis.plot(xs, list(points.values()), marker="o", markersize=3.5, linewidth=1.2, color=colour)
    if 1 in points:
        axis.plot(unit, points[1], marker="*", markersize=12, color=colour)
    return line


def _end_at(axes: Sequence[Any], values: Sequence[float], lowest: bool) -> None:
    """A loss far above the rest would flatten it: the axis ends at three times the best, where it reaches further."""
    if lowest and values and max(values) > 3 * min(values) > 0:
        for axis in axes:
            axis.set_ylim(0.95 * min(values), 3 * min(values))


def size_figure(runs: Sequence[Mapping[str, Any]]) -> Any:
    """A heat map a run, layers × parts: ‖ΔW‖_F / ‖W‖_F; one colour scale for all."""
    grids = [layers_by_parts(run["parts"], "relative") for run in runs]
    most = max((v for _, _, rows in grids for row in rows for v in row if math.isfinite(v)), default=1.0) or 1.0
    columns = min(4, len(runs))
    rows = math.ceil(len(runs) / columns)
    layers, parts = max(len(g[0]) for g in grids), max(len(g[1]) for g in grids)
    width = max(2.6, _CELL * 1.4 * parts + 1.4)
    figure, axes = _panels(rows, columns, width, max(2.0, _CELL * layers + 1.0))
    places = list(axes.flat)
    image = None
    for axis, run, (names, kinds, values) in zip(places, runs, grids, strict=False):
        image = axis.imshow(values, aspect="auto", cmap=_COLOURS, vmin=0, vmax=most)
        axis.set_xticks(range(len(kinds)), kinds)
        axis.set_yticks(range(len(names)), names)
        axis.set(ylabel="layer")
        axis.set_title(_wrapped(run["label"], width - 0.6, 9), fontsize=9)
        if len(names) * len(kinds) <= 96:
            _write_values(axis, values, most)
    for axis in places[len(runs) :]:
        axis.remove()
    figure.colorbar(image, ax=places[: len(runs)], label="‖ΔW‖ / ‖W‖")
    return figure


def _write_values(axis: Any, values: Sequence[Sequence[float]], most: float) -> None:
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if math.isfinite(value):
                colour = "black" if value > 0.6 * most else "white"
                axis.text(x, y, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour)


def layers_by_parts(entries: Sequence[Mapping[str, Any]], name: str) -> tuple[list[str], list[str], list[list[float]]]:
    """A run's numbers as a table: the layers' names (`emb` for the embedding), the parts, a row a layer.

    Parts a layer doesn't have are NaN.
    """
    layers = list(dict.fromkeys(entry["layer"] for entry in entries))
    parts = list(dict.fromkeys(entry["part"] for entry in entries))
    values = {(entry["layer"], entry["part"]): entry[name] for entry in entries}
    rows = [[_number(values.get((layer, part))) for part in parts] for layer in layers]
    return ["emb" if layer is None else str(layer) for layer in layers], parts, rows


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def spectrum_figure(runs: Sequence[Mapping[str, Any]]) -> Any:
    """A panel a part, a line a run: singular values of ΔW, mean and range over layers; dashed: the effective rank."""
    parts = _parts_of(runs)
    figure, grid = _panels(1, len(parts), 3.6, 3.0)
    drawn: dict[str, Any] = {}
    for axis, part in zip(grid[0], parts, strict=True):
        for run, colour in zip(runs, _colours(runs), strict=True):
            entries = [entry for entry in run["parts"] if entry["part"] == part]
            if not entries:
                continue
            columns = list(zip(*(entry["singular_values"] for entry in entries), strict=False))
            xs = range(1, len(columns) + 1)
            (drawn[run["label"]],) = axis.plot(xs, [sum(c) / len(c) for c in columns], marker=".", color=colour)
            axis.fill_between(xs, [min(c) for c in columns], [max(c) for c in columns], alpha=0.15, color=colour)
            spread = sum(entry["effective_rank"] for entry in entries) / len(entries)
            axis.axvline(spread, linestyle="--", linewidth=0.9, color=colour)
        axis.set(xlabel="direction", ylabel="singular value of ΔW", title=part)
        if axis.get_xlim()[1] > 12:
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:g}")
        else:
            axis.xaxis.set_major_locator(_whole_numbers())
        axis.set_ylim(bottom=0)
    _legend(figure, {run["label"]: drawn[run["label"]] for run in runs})
    return figure


def amplification_figure(runs: Sequence[Mapping[str, Any]]) -> Any:
    """A row a run, a panel a part: the four norms of the paper's table 7 over the layers; their factor in the title."""
    from matplotlib.ticker import LogLocator

    parts = _parts_of(runs)
    figure, grid = _panels(len(runs), len(parts), 3.6, 2.6)
    lines = {"update": "‖ΔW‖", "own": "‖UᵀWV‖, U, V of ΔW", "weight": "of W", "random": "random"}
    drawn: dict[str, Any] = {}
    for axes, run in zip(grid, runs, strict=True):
        for axis, part in zip(axes, parts, strict=True):
            entries = [entry for entry in run["parts"] if entry["part"] == part]
            if not entries:
                axis.set_axis_off()
                continue
            layers = [entry["layer"] or 0 for entry in entries]
            drawn_values = []
            for name, label in lines.items():
                values = [entry["amplification"][name] for entry in entries]
                (drawn[label],) = axis.plot(layers, values, marker="o", markersize=3)
                drawn_values += [value for value in values if value > 0]
            factors = [f for entry in entries if (f := entry["amplification"]["factor"]) is not None]
            told = f"\nfactor {_short(min(factors))} to {_short(max(factors))}" if factors else ""
            axis.set_yscale("log")
            decades = math.log10(max(drawn_values) / min(drawn_values)) if drawn_values else 0
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
            axis.xaxis.set_major_locator(_whole_numbers())
            axis.set_title(_wrapped(f"{run['label']}, {part}", 3.2, 8) + told, fontsize=8)
            axis.set(xlabel="layer")
    _legend(figure, drawn)
    return figure


def _short(value: float) -> str:
    """Two significant digits, and no power of ten below a million."""
    return f"{float(f'{value:.2g}'):g}"


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6, integer=True, min_n_ticks=1)


def similarity_figure(pair: Mapping[str, Any]) -> Any:
    """As the paper's figures 3 and 4: φ(i, j) of one layer, a row a matrix, a column a part."""
    grids = pair["grids"]
    parts = [part for part in TARGETS if any(grid["part"] == part for grid in grids)]
    matrices = list(dict.fromkeys(grid["matrix"] for grid in grids))
    figure, axes = _panels(len(matrices), len(parts), 3.4, 2.9)
    first, second = pair["runs"]
    image = None
    for row, matrix in zip(axes, matrices, strict=True):
        for axis, part in zip(row, parts, strict=True):
            found = [grid for grid in grids if (grid["part"], grid["matrix"]) == (part, matrix)]
            if not found:
                axis.set_axis_off()
                continue
            phi = found[0]["phi"]
            extent = (0.5, len(phi[0]) + 0.5, len(phi) + 0.5, 0.5)
            image = axis.imshow(phi, aspect="auto", cmap=_COLOURS, vmin=0, vmax=1, extent=extent)
            axis.set_title(
                f"{part}, {_MATRICES[matrix]}; φ(n, m) = {phi[-1][-1]:.2f}, chance {found[0]['chance']:.2f}", fontsize=7
            )
            axis.set(xlabel="j", ylabel="i")
            for scale in (axis.xaxis, axis.yaxis):
                scale.set_major_locator(_whole_numbers())
    named = [_wrapped(text, 3.4 * len(parts), 8) for text in (f"i of {first}", f"j of {second}")]
    figure.suptitle("\n".join([f"φ(i, j) in layer {pair['layer']}", *named]), fontsize=8)
    figure.colorbar(image, ax=list(axes.flat))
    return figure


_MATRICES = {"A": "A", "B": "B", "V": "ΔW from the right", "U": "ΔW from the left"}
