"""The paper's table with our row in it: mean ± standard deviation over runs, beside published results.

Reads `scores.json` files as eval/e2e.py and eval/webnlg_dart.py write them. The deviation is the sample standard
deviation (n - 1). Scores made with different settings are refused: a mean over two metrics means nothing.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlg_metrics.commands.wrapper import run_command, say
from nlg_metrics.errors import InputError
from nlg_metrics.files import write_text
from nlg_metrics.report.published import COLUMNS, PUBLISHED
from nlg_metrics.scores_file import caveats, read_scores

SUBSETS = {"U": "unseen", "S": "seen", "A": None}
KEYS = {
    "e2e": {"BLEU": "BLEU", "NIST": "NIST", "METEOR": "METEOR", "ROUGE-L": "ROUGE_L", "CIDEr": "CIDEr"},
    "webnlg": {"BLEU": "bleu", "METEOR": "meteor", "TER": "ter"},
    "dart": {"BLEU": "bleu", "METEOR": "meteor", "TER": "ter"},
}
"""Column → key in `scores.json`."""
E2E_PERCENT = ("BLEU", "METEOR", "ROUGE-L")
"""What the papers print in points where the official tool prints fractions."""
FILE_HASH = re.compile(r"\|(data|predictions|references|hypotheses):[0-9a-f]+")


def column_score(corpus: str, column: str, record: dict[str, Any]) -> dict[str, Any] | None:
    """The entry of `scores.json` a column shows, or None where the metric was not computed."""
    metric, _, subset = column.partition(" ")
    scores = record["scores"]
    if name := SUBSETS.get(subset) if subset else None:
        scores = record.get("subsets", {}).get(name, {}).get("scores", {})
    entry: dict[str, Any] | None = scores.get(KEYS[corpus][metric])
    return entry


def cell(corpus: str, column: str, records: Sequence[dict[str, Any]]) -> str:
    """`mean±deviation` over the runs, or the value of a single run, in the papers' units.

    Raises:
        InputError: the runs' scores carry different signatures.
    """
    entries = [column_score(corpus, column, record) for record in records]
    present = [entry for entry in entries if entry is not None]
    if len(present) < len(entries) or not present:
        return "–"
    signatures = {FILE_HASH.sub("", entry.get("signature", "")) for entry in present}
    if len(signatures) > 1:
        raise InputError(
            f"{column} was computed in different ways: {'; '.join(sorted(signatures))}; score all runs alike"
        )
    percent = corpus == "e2e" and column in E2E_PERCENT
    values = [entry["value"] * (100 if percent else 1) for entry in present]
    digits = 1 if percent or column.startswith("BLEU") else 2
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean}±{statistics.stdev(values):.{digits + 1}f}"


def table(corpus: str, records: Sequence[dict[str, Any]], base: str, label: str) -> str:
    """A Markdown table: our row first, then the published ones with their sources."""
    columns = COLUMNS[corpus]
    runs = "1 run" if len(records) == 1 else f"mean ± standard deviation of {len(records)} runs"
    rows = [(f"**{base}**", f"**{label}**", [cell(corpus, name, records) for name in columns], f"**ours**, {runs}")]
    rows += [(row.model, row.method, list(row.values), row.source) for row in PUBLISHED[corpus]]
    lines = [f"| base | method | {' | '.join(columns)} | source |", "|" + " --- |" * (len(columns) + 3)]
    lines += [f"| {model} | {method} | {' | '.join(values)} | {source} |" for model, method, values, source in rows]
    return "\n".join(lines)


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else None)
    add = arguments.add_argument
    add("corpus", choices=list(COLUMNS), help="which paper table")
    add("scores", nargs="+", type=Path, help="scores.json of each run (seed)")
    add("--label", default="LoRA r=4", help="how our row names the method (default: %(default)s)")
    add("--base", default="ours", help="how our row names the base model (default: %(default)s)")
    add("--out", type=Path, help="also write the table to this file")
    return arguments


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    records = [read_scores(path) for path in options.scores]
    for path, record in zip(options.scores, records, strict=True):
        for caveat in caveats(path, record):
            say(f"note: {caveat}")
    shown = table(options.corpus, records, options.base, options.label)
    if options.out:
        write_text(options.out, shown + "\n")
    print(shown)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
