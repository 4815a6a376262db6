"""Scores a file of texts against references in any layout, with the metrics asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from nlg_metrics.commands.wrapper import (
    add_output_flags,
    bootstrap_of,
    run_command,
    say,
    say_notes,
    warn_unavailable,
    write_outputs,
)
from nlg_metrics.errors import InputError
from nlg_metrics.suites.suite import run as run_suite
from nlg_metrics.suites.text_files import read_any
from nlg_metrics.suites.texts import ALLOWED, NAMES, make_suite


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog=prog,
        description="Scores texts against references. References may be a file for each reference (several paths, or "
        "the PREFIX of PREFIX0, PREFIX1, …), groups of lines with blank lines between them, one a line, a TSV/CSV "
        "table, or JSON lines; which it was is printed.",
    )
    arguments.add_argument("references", metavar="REFS", nargs="+", help="reference file, prefix, or files")
    arguments.add_argument(
        "hypotheses", metavar="HYPS", help="texts to score: one a line, or JSON lines of predictions"
    )
    arguments.add_argument(
        "-m",
        "--metrics",
        default=",".join(NAMES),
        help=f"metrics, of {', '.join(ALLOWED)} (default: %(default)s)",
    )
    add_output_flags(arguments.add_argument_group("more output"))
    return arguments


def run(options: argparse.Namespace) -> None:
    """Score, print and write."""
    names = [name.strip() for name in options.metrics.lower().split(",") if name.strip()]
    if not names:
        raise InputError(f"--metrics names no metric; it takes {','.join(ALLOWED)}")
    suite = make_suite(names, options.meteor_data)
    texts = read_any(options.references, options.hypotheses)
    segments = texts.segments
    counts = [len(group) for group in segments.references]
    span = str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    print(f"references: {texts.layout}; {len(segments):,} segments, {span} references each")
    if texts.note:
        say(f"note: {texts.note}")
    outcome = run_suite(suite, segments, bootstrap_of(options))
    for result in outcome.results.values():
        print(f"{result.score.name}: {result.score.value:.4f}")
    warn_unavailable(outcome.unavailable)
    say_notes(segments, outcome.results)
    files = {f"references{number}": str(path) for number, path in enumerate(texts.paths)}
    write_outputs(options, suite.tool, segments, outcome, {**files, "hypotheses": options.hypotheses})


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
