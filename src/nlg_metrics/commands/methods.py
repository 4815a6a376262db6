"""Tuning methods compared: a table (Markdown, CSV) and a plot of score over parameters, from scripts/methods.sh's runs.

A row a method, mean ± standard deviation over seeds; `*` where it differs from LoRA (paired bootstrap over segments,
pooled over seeds, corrected for all comparisons of the table by Holm's method, p < 0.05). Published rows stand beneath.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

from nlg_metrics.commands.wrapper import run_command
from nlg_metrics.comparison import SIGNIFICANT
from nlg_metrics.errors import InputError
from nlg_metrics.files import read_json, read_lines, write_text
from nlg_metrics.report.methods import (
    REFERENCE,
    RESAMPLES,
    Compared,
    Score,
    best_rate,
    published_rows,
    read_methods,
    score_methods,
)
from nlg_metrics.report.methods_plot import write_plot
from nlg_metrics.report.published import COLUMNS
from nlg_metrics.significance import check_draws


def cell(score: Score | None) -> str:
    """`mean ± deviation`, and a star where it differs from the reference."""
    if score is None:
        return "–"
    digits = 1 if score.mean >= 10 else 2 if score.mean >= 1 else 3
    shown = f"{score.mean:.{digits}f}"
    if score.deviation is not None:
        shown += f" ± {score.deviation:.{digits}f}"
    return shown + (" *" if score.p is not None and score.p < SIGNIFICANT else "")


def markdown(corpus: str, base: str, methods: Sequence[Compared], columns: Sequence[str]) -> str:
    """The table, what its marks mean, and the rates tried."""
    headings = ["method", "base", "trained", "lr", *columns, "s/step", "peak MiB", "on disk", "source"]
    rows = []
    for one in methods:
        seeds = "1 seed" if len(one.runs) == 1 else f"{len(one.runs)} seeds"
        kept = "" if one.kept == one.trained else f" ({one.kept:,} kept)"
        edge = " †" if one.rate_is_at_the_edge else ""
        rows.append([
            f"**{one.title}**", base, f"{one.trained:,}{kept}", f"{one.rate:g}{edge}",
            *(cell(one.scores.get(column)) for column in columns),
            f"{one.seconds_a_step:.3f}", f"{one.peak_memory_mib:,.0f}", _size(one.bytes_on_disk), f"ours, {seeds}",
        ])  # fmt: skip
        for row in published_rows(corpus, one):
            values = dict(zip(COLUMNS[corpus], row.values, strict=True))
            shown = [values.get(column, "") for column in columns]
            rows.append([row.method, row.model, "", "", *shown, "", "", "", row.source])
    lines = [f"| {' | '.join(headings)} |", "|" + " --- |" * len(headings)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", *notes(methods), "", *rates_table(methods)]
    return "\n".join(lines) + "\n"


def notes(methods: Sequence[Compared]) -> list[str]:
    """What the marks mean, where they occur."""
    said = ["± is the standard deviation over seeds."]
    if any(one.name == REFERENCE for one in methods):
        said.append(
            f"\\* differs from LoRA, p < {SIGNIFICANT}: paired bootstrap over segments, pooled over seeds, corrected "
            "for all comparisons of the table (Holm)."
        )
    if any(one.rate_is_at_the_edge for one in methods):
        said.append("† the lowest or highest rate tried: a better one may lie beyond.")
    return [" ".join(said)]


def rates_table(methods: Sequence[Compared]) -> list[str]:
    """Every rate tried with the validation loss it led to, the chosen one bold."""
    lines = ["| method | learning rate: validation loss of a short run |", "| --- | --- |"]
    for one in methods:
        tried = [f"{rate}: {loss:.4f}" for rate, loss in one.rates.items()]
        chosen = [f"**{text}**" if float(text.split(":")[0]) == one.rate else text for text in tried]
        lines.append(f"| {one.title} | {' · '.join(chosen)} |")
    return lines


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"


def csv_text(base: str, methods: Sequence[Compared], columns: Sequence[str]) -> str:
    """The same at full precision, a line a method."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    parts = ("", " sd", " low", " high", " p")
    headings = [f"{column}{part}" for column in columns for part in parts]
    writer.writerow([
        "method", "title", "base", "trained", "kept", "lr", "seeds", *headings, "seconds_a_step", "peak_memory_mib",
        "bytes_on_disk",
    ])  # fmt: skip
    for one in methods:
        scores = [one.scores.get(column) for column in columns]
        values = [getattr(score, part, None) for score in scores for part in ("mean", "deviation", "low", "high", "p")]
        writer.writerow([
            one.name, one.title, base, one.trained, one.kept, one.rate, len(one.runs), *values,
            one.seconds_a_step, one.peak_memory_mib, one.bytes_on_disk,
        ])  # fmt: skip
    return file.getvalue()


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else None)
    add = arguments.add_argument
    add("root", type=Path, help="folder of scripts/methods.sh")
    add("--corpus", choices=list(COLUMNS), help="whose metrics and published rows")
    add("--best_rate", metavar="METHOD", help="only print the method's best learning rate")
    add("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples (default: %(default)s)")
    return arguments


def run(options: argparse.Namespace) -> None:
    """Print the table and write it beside the runs: table.md, table.csv, table.svg."""
    root: Path = options.root
    if options.best_rate:
        print(best_rate(root, options.best_rate))
        return
    if not options.corpus:
        raise InputError("give the --corpus whose metrics and published rows the table has")
    check_draws(options.resamples)
    base = str(read_json(root / "methods.json")["base"])
    methods = read_methods(root)
    columns = score_methods(methods, options.corpus, root / "data" / "test.jsonl", options.resamples)
    shown = markdown(options.corpus, base, methods, columns)
    if (root / "settings").is_file():  # what scripts/methods.sh was told
        shown += "\n" + "".join(f"    {line}\n" for line in read_lines(root / "settings"))
    write_text(root / "table.md", shown)
    write_text(root / "table.csv", csv_text(base, methods, columns))
    write_plot(root / "table.svg", methods, [column for column in columns if column in COLUMNS[options.corpus]])
    print(shown, end="")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
