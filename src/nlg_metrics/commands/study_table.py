"""A study of many adapters as one table: mean ± standard deviation over seeds, beside the paper's figures.

Reads the folder of a sweep as scripts/study.sh leaves it: results.json, one object a member, and for each that was
decoded FOLDER/scores.json, as the scorers write it. The deviation is the sample standard deviation (n - 1).

What is beside it is of Hu et al. 2021 (https://arxiv.org/abs/2106.09685): table 18 for the rank, table
5 for the targets.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlg_metrics.commands.wrapper import run_command, say
from nlg_metrics.files import write_bytes, write_text
from nlg_metrics.report.published import COLUMNS, RANKS, TARGETS, unit
from nlg_metrics.report.studies import LOSS, Cell, best_rates, families, lowest_is_best, read_cells
from nlg_metrics.report.study_figure import study_figure

OWN = "table"
"""Records of one's own, which scripts/recipes/table.yaml has scored as E2E is; no paper has figures of them."""


@dataclass(frozen=True)
class Study:
    """How a study is shown.

    Attributes:
        title: what it asks.
        rows: cells -> (label of a group, its cells), in order.
        x: what is on the figure's axis: a field of `Cell`.
        beside: corpus -> heading and cells of columns of the paper's figures, by a cell.
    """

    title: str
    rows: Callable[[Sequence[Cell]], dict[str, list[Cell]]]
    x: str
    beside: Callable[[str], tuple[Sequence[str], Callable[[Cell], Sequence[str]]]]


def _nothing(corpus: str) -> tuple[Sequence[str], Callable[[Cell], Sequence[str]]]:
    return (), lambda cell: ()


def _ranks_beside(corpus: str) -> tuple[Sequence[str], Callable[[Cell], Sequence[str]]]:
    """The paper's table 18."""
    printed = RANKS.get(corpus)
    if printed is None:
        return _nothing(corpus)
    heads = [f"GPT-2 M: {name}" for name in ("loss", *COLUMNS[corpus])]

    def row(cell: Cell) -> Sequence[str]:
        loss, values = printed.get(cell.r, ("–", " ".join("–" * len(COLUMNS[corpus]))))
        return [loss, *values.split()]

    return heads, row


def _targets_beside(corpus: str) -> tuple[Sequence[str], Callable[[Cell], Sequence[str]]]:
    """The paper's table 5."""
    return ("GPT-3: WikiSQL", "GPT-3: MultiNLI"), lambda cell: TARGETS.get(cell.targets, ("–", "–"))


def _by_targets(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    return {"one budget": best_rates(cells)}


def _by_scale(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (cell.scaling, cell.lr)):
        found.setdefault(f"scale {cell.scaling:g}", []).append(cell)
    return found


STUDIES = {
    "rank": Study(
        "Which rank? (Hu et al. 2021, tables 6 and 18)", lambda cells: families(best_rates(cells)), "r", _ranks_beside
    ),
    "targets": Study(
        "Which weights, at one budget? (Hu et al. 2021, table 5)", _by_targets, "targets", _targets_beside
    ),
    "scale": Study("Which scale, at which rate?", _by_scale, "lr", _nothing),
    "lr": Study("Which learning rate?", _by_scale, "lr", _nothing),
}


def scored_as(corpus: str) -> str:
    """The corpus whose measures a corpus has."""
    return "e2e" if corpus == OWN else corpus


def spread(values: Sequence[float], digits: int) -> str:
    """`mean ± sample deviation`, or the value alone."""
    if not values:
        return "–"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def digits_of(column: str, scale: float) -> int:
    """Decimals: four of a loss, two of points and counts, four of fractions."""
    return 4 if column == LOSS else 2 if scale > 1 or column.startswith(("BLEU", "NIST")) else 3


def markdown(study: Study, corpus: str, cells: Sequence[Cell]) -> str:
    """The table; in each group the best mean of a column is bold."""
    beside, paper = study.beside(corpus)
    corpus = scored_as(corpus)
    columns = [LOSS, *(name for name in COLUMNS[corpus] if any(name in cell.measures for cell in cells))]
    heads = ["group", "targets", "r", "α", "scale", "lr", "seeds", *columns, "‖ΔW‖/‖W‖", *beside]
    lines = [f"## {study.title}", "", f"| {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * (len(heads) - 2)]
    for label, group in study.rows(cells).items():
        best = {name: _best(group, name) for name in columns}
        for cell in group:
            shown = [
                f"**{text}**" if cell is best[name] else text
                for name in columns
                for text in [spread(cell.measures.get(name, ()), digits_of(name, unit(corpus, name)))]
            ]
            seeds = f"{cell.seeds - cell.diverged} of {cell.seeds}" if cell.diverged else str(cell.seeds)
            setting = [
                label,
                cell.targets,
                str(cell.r),
                f"{cell.alpha:g}",
                f"{cell.scaling:.3g}",
                f"{cell.lr:g}",
                seeds,
            ]
            update = "–" if math.isnan(cell.relative_update) else f"{cell.relative_update:.3f}"
            lines.append(f"| {' | '.join([*setting, *shown, update, *paper(cell)])} |")
    return "\n".join([*lines, "", *_notes(cells, bool(beside))]) + "\n"


def _best(group: Sequence[Cell], name: str) -> Cell | None:
    scored = [cell for cell in group if cell.measures.get(name) and not cell.diverged]
    lowest = lowest_is_best(name)
    return (
        min(scored, key=lambda cell: (1 if lowest else -1) * statistics.fmean(cell.measures[name]), default=None)
        if len(group) > 1
        else None
    )


def _notes(cells: Sequence[Cell], beside: bool) -> list[str]:
    most = max(cell.seeds for cell in cells)
    notes = ["Mean ± sample standard deviation over seeds; the best mean of each group is bold."]
    if most in T_OVER_ROOT_N:
        notes.append(f"The 95% interval of a mean of {most} seeds is ± {T_OVER_ROOT_N[most]:.2f} deviations.")
    if unscored := sum(cell.unscored for cell in cells):
        notes.append(f"Trained, but without scores yet: {unscored}; their loss counts.")
    if beside:
        notes.append("The columns on the right are the paper's, of another base and another length of training.")
    return [" ".join(notes)]


T_OVER_ROOT_N = {2: 8.98, 3: 2.484, 4: 1.591, 5: 1.242, 6: 1.049}
"""Student's t at 97.5% over √n, for n values."""


def as_csv(study: Study, corpus: str, cells: Sequence[Cell]) -> str:
    """A line a group and cell: setting, then mean, deviation and number of seeds of every measure."""
    columns = [LOSS, *COLUMNS[corpus]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{name} {part}" for name in columns for part in ("mean", "sd", "n")]
    setting = ("targets", "r", "alpha", "rule", "scaling", "lr", "relative_update", "seeds", "diverged")
    writer.writerow(["group", *setting, *parts])
    for label, group in study.rows(cells).items():
        for cell in group:
            row: list[Any] = [label, *(getattr(cell, name) for name in setting)]
            for name in columns:
                values = cell.measures.get(name, ())
                row += [
                    statistics.fmean(values) if values else "",
                    statistics.stdev(values) if len(values) > 1 else "",
                    len(values),
                ]
            writer.writerow(row)
    return text.getvalue()


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else None)
    add = arguments.add_argument
    add("study", choices=list(STUDIES), help="what was varied")
    add("corpus", choices=[*COLUMNS, OWN], help="whose columns; table: records of your own")
    add("folder", type=Path, help="the folder of the sweep; study.md, study.csv and study.png are written there")
    return arguments


def run(options: argparse.Namespace) -> None:
    """Print the table, write it, the CSV and the figure."""
    study, scored = STUDIES[options.study], scored_as(options.corpus)
    cells, said = read_cells(options.folder, scored)
    for caveat in said:
        say(f"note: {caveat}")
    shown = markdown(study, options.corpus, cells)
    write_text(options.folder / "study.md", shown)
    write_text(options.folder / "study.csv", as_csv(study, scored, cells))
    print(shown)
    figure = study_figure(study.rows(cells), study.x, (LOSS, *COLUMNS[scored]))
    if figure is not None:
        write_bytes(options.folder / "study.png", figure)
        print(f"{options.folder}/study.md, study.csv, study.png")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
