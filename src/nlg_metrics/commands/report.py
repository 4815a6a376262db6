"""Makes one HTML page of a run: scores with intervals, training curves, outputs beside their references, settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nlg_metrics.commands.wrapper import add_segments_flag, run_command
from nlg_metrics.errors import InputError
from nlg_metrics.files import write_text
from nlg_metrics.report.page import build
from nlg_metrics.report.run_files import PREDICTIONS, REPORT, read_run
from nlg_metrics.segments import read_segments


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog=prog, description="One self-contained HTML page of a run.")
    add = arguments.add_argument
    add("run", metavar="RUN", help="run directory of lora-nlg train")
    add("--data", metavar="JSONL", help="the data file that was decoded; without it the page shows no outputs")
    add("--predictions", metavar="JSONL", help="predictions file (default RUN/predictions.jsonl)")
    add("--scores", metavar="FILE", nargs="+", help="scores files (default RUN/scores*.json)")
    add_segments_flag(arguments)
    add("--examples", type=int, default=40, metavar="N", help="outputs to show: half evenly spread, half worst (40)")
    add("--out", metavar="FILE", help="the page (default RUN/report.html)")
    return arguments


def run(options: argparse.Namespace) -> None:
    """Read the run, make the page and write it."""
    if options.examples < 0:
        raise InputError(f"--examples is {options.examples}; it must be 0 or more")
    found = read_run(options.run, options.scores)
    segments = None
    if options.data:
        segments = read_segments(options.data, options.predictions or found.folder / PREDICTIONS, options.segments)
    elif options.predictions:
        raise InputError("--predictions needs --data, the file they were made from")
    out = Path(options.out) if options.out else found.folder / REPORT
    write_text(out, build(found, segments, options.examples))
    print(f"written: {out}")


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
