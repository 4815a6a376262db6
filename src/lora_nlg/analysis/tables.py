"""A study as Markdown: the dial, size and amplification by part, similarity."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lora_nlg.analysis.dial import best_factor
from lora_nlg.analysis.similarity import chance

MEASURES = {"loss": ("validation loss", 4, True), "bleu": ("BLEU", 4, False)}
"""What a dial may measure: name -> what it is called, digits, whether the lowest is best."""


def markdown(study: Mapping[str, Any]) -> str:
    """The tables of a study; those it has nothing for are left out."""
    sections = [dial_table(study["runs"]), parts_table(study["runs"]), similarity_table(study["similarity"])]
    notes = [f"- {note}" for note in study["notes"]]
    return "\n\n".join([*filter(None, sections), *(["\n".join(notes)] if notes else [])]) + "\n"


def dial_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A row a factor; for each run that has a dial, its measures, the best one bold."""
    columns = [(run, name) for run in runs for name in MEASURES if run["dial"] and name in run["dial"][0]]
    if not columns:
        return ""
    factors = sorted({point["factor"] for run, _ in columns for point in run["dial"]})
    heads = [f"{run['label']}: {MEASURES[name][0]}" for run, name in columns]
    lines = [_row(["factor of ΔW", *heads]), "| ---: |" + " ---: |" * len(heads)]
    best = [best_factor(_finite(run["dial"]), name, MEASURES[name][2]) for run, name in columns]
    for factor in factors:
        cells = []
        for (run, name), at in zip(columns, best, strict=True):
            value = next((point[name] for point in run["dial"] if point["factor"] == factor), None)
            shown = "–" if value is None else f"{value:.{MEASURES[name][1]}f}"
            cells.append(f"**{shown}**" if factor == at else shown)
        lines.append(_row([f"{factor:g}", *cells]))
    return "\n".join(["## The dial", "", *lines])


def _finite(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Points with NaN again for what the file has null for."""
    return [{name: math.nan if value is None else value for name, value in point.items()} for point in points]


def parts_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """A row for each run and part: means over the layers, the norm over all of them."""
    heads = [
        *("run", "part", "‖ΔW‖", "‖ΔW‖/‖W‖", "effective rank", "of rank", "directions for 90%"),
        *("‖UᵀWV‖ of ΔW", "of W", "random", "factor"),
    ]
    lines = [_row(heads), "| --- | --- |" + " ---: |" * (len(heads) - 2)]
    for run in runs:
        for part in dict.fromkeys(entry["part"] for entry in run["parts"]):
            entries = [entry for entry in run["parts"] if entry["part"] == part]
            amplified = [entry["amplification"] for entry in entries]
            cells = [
                f"{math.sqrt(sum(entry['norm'] ** 2 for entry in entries)):.3f}",
                f"{mean(entries, 'relative'):.4f}",
                f"{mean(entries, 'effective_rank'):.2f}",
                f"{mean(entries, 'rank'):g}",
                f"{mean(entries, 'directions_90'):.1f}",
                *(f"{mean(amplified, name):.3g}" for name in ("own", "weight", "random", "factor")),
            ]
            lines.append(_row([run["label"], part, *cells]))
    note = "‖ΔW‖ is over all layers; everything else is the mean over layers."
    return "\n".join(["## Size, shape and amplification", "", *lines, "", note])


def mean(entries: Iterable[Mapping[str, Any]], name: str) -> float:
    """The mean of the values that are finite; NaN where none is."""
    values = [entry[name] for entry in entries if entry[name] is not None and math.isfinite(entry[name])]
    return sum(values) / len(values) if values else math.nan


def similarity_table(pairs: Sequence[Mapping[str, Any]]) -> str:
    """A row for each pair of runs, part and matrix: φ(1, 1) and φ(n, n), n the smaller rank, and what chance gives."""
    lines = [
        _row(["runs", "part", "matrix", "φ(1, 1)", "chance", "n", "φ(n, n)", "chance"]),
        "| --- | --- | --- |" + " ---: |" * 5,
    ]
    for pair in pairs:
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for entry in pair["diagonals"]:
            groups.setdefault((entry["part"], entry["matrix"]), []).append(entry)
        for (part, matrix), entries in groups.items():
            n, width = min(len(entry["phi"]) for entry in entries), entries[0]["width"]
            top, all_ = ([{"phi": entry["phi"][place]} for entry in entries] for place in (0, n - 1))
            cells = [
                *(f"{mean(top, 'phi'):.3f}", f"{chance(1, 1, width):.3f}", str(n)),
                *(f"{mean(all_, 'phi'):.3f}", f"{chance(n, n, width):.3f}"),
            ]
            lines.append(_row([" and ".join(pair["runs"]), part, matrix, *cells]))
    return "\n".join(["## Subspace similarity, mean over layers", "", *lines]) if len(lines) > 2 else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
