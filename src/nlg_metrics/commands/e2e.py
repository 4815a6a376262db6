"""Scores a system on E2E as the challenge's measure_scores.py does: BLEU, NIST, METEOR, ROUGE_L and CIDEr.

It needs numpy alone; METEOR also the resources of `pip install pycocoevalcap==1.2`. No Java, no Perl.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from nlg_metrics.commands.wrapper import (
    add_data_flags,
    add_metrics_flag,
    add_output_flags,
    bootstrap_of,
    run_command,
    say,
    say_notes,
    warn_unavailable,
    write_outputs,
)
from nlg_metrics.errors import InputError
from nlg_metrics.files import write_json, write_text
from nlg_metrics.scores_file import file_record, score_record
from nlg_metrics.segments import Segments
from nlg_metrics.suites.e2e import METRICS, add_slot_error_rate, make_suite, segment_columns
from nlg_metrics.suites.suite import Suite, SuiteResult, parse_names
from nlg_metrics.suites.suite import run as run_suite


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line; the short flags are the official tool's."""
    arguments = argparse.ArgumentParser(
        prog=prog,
        description="E2E metrics: BLEU, NIST, METEOR, ROUGE_L and CIDEr, as measure_scores.py -p computes them.",
    )
    arguments.add_argument(
        "references",
        nargs="?",
        help="references: text (a blank line between segments; none: one reference a line), or TSV/CSV with a heading",
    )
    arguments.add_argument("outputs", nargs="?", help="system outputs: text, one a line, or TSV/CSV with a heading")
    scorer = arguments.add_mutually_exclusive_group()
    scorer.add_argument(
        "-p", "--python", action="store_true", help="BLEU and NIST of the Python scorer; the default here"
    )
    scorer.add_argument(
        "--perl", action="store_true", help="BLEU and NIST of mteval-v13a.pl, which measure_scores.py runs without -p"
    )
    arguments.add_argument(
        "-l",
        "--sent-level",
        "--seg-level",
        "--sentence-level",
        "--segment-level",
        metavar="FILE",
        dest="segment_level",
        help="write segment-level scores to this TSV file instead of printing the table",
    )
    arguments.add_argument(
        "-s", "--src-file", metavar="FILE", dest="source_file", help="check the outputs' sources against this file"
    )
    arguments.add_argument("-t", "--table", action="store_true", help="print the scores as one TSV line")
    arguments.add_argument(
        "-H",
        "--header",
        action="store_true",
        help="print the TSV heading first (with -t); it takes no file: with --data, OUTPUTS stands alone",
    )
    ours = arguments.add_argument_group("our files instead of REFERENCES (and OUTPUTS)")
    add_data_flags(ours)
    more = arguments.add_argument_group("more output")
    add_metrics_flag(more, METRICS, METRICS)
    add_output_flags(more)
    more.add_argument(
        "--ser",
        metavar="FILE",
        help="also give the slot error rate; write its counts by slot and the offending outputs",
    )
    return arguments


def read(options: argparse.Namespace, suite: Suite) -> tuple[Segments, dict[str, str]]:
    """What is scored, and the files it came from by role.

    Raises:
        InputError: a file can't be used, or the arguments don't go together.
    """
    ours = options.data, options.predictions
    official = options.references, options.outputs
    if options.data and options.references and not (options.predictions or options.outputs):
        options.outputs = options.references  # --data holds the references
        files = {"data": options.data, "hypotheses": options.outputs}
        return suite.read_texts(options.data, options.outputs, options.segments), files
    if all(ours) and not any(official):
        files = {"data": options.data, "predictions": options.predictions}
        return suite.read_predictions(options.data, options.predictions, options.segments), files
    if all(official) and not any(ours):
        files = {"references": options.references, "hypotheses": options.outputs}
        return suite.read(options.references, options.outputs), files
    raise InputError("give REFERENCES and OUTPUTS, or --data and --predictions (or OUTPUTS); see --help")


def show(outcome: SuiteResult, names: Sequence[str], options: argparse.Namespace) -> None:
    """Print the scores of the metrics named, and the slot error rate, in the official tool's form."""
    values = {name: f"{result.score.value:.4f}" for name, result in outcome.results.items()}
    if options.table:
        if options.header:
            print("\t".join(["File", *names]))
        print("\t".join([options.outputs or options.predictions, *(values.get(m, "n/a") for m in names)]))
        warn_unavailable(outcome.unavailable)
        return
    print("SCORES:\n==============")
    for name in names:
        print(f"{name}: {values[name]}" if name in values else f"{name}: unavailable ({outcome.unavailable[name]})")
    if "SER" in values:
        print(f"SER: {values['SER']}")
    print()


def write_segment_table(path: str, segments: Segments, outcome: SuiteResult) -> None:
    """The official tool's segment-level TSV."""
    columns = segment_columns(segments, outcome)
    above = int(((columns["BLEU"] > 1) | (columns["sentBLEU"] > 1)).sum())
    if above:
        say(f"note: {above:,} segments of fewer than 4 words have a BLEU above 1, which means nothing")
    lines = ["\t".join(["src", "sys_out", *columns])]
    for row, (source, output) in enumerate(zip(segments.contexts, segments.hypotheses, strict=True)):
        # Texts of JSON lines may hold what would break a row; those of the official inputs cannot.
        texts = [re.sub(r"[\t\r\n]", " ", text) for text in (source, output)]
        lines.append("\t".join([*texts, *(f"{column[row]:.4f}" for column in columns.values())]))
    write_text(path, "\n".join(lines) + "\n")


def run(options: argparse.Namespace) -> None:
    """Score, print and write."""
    names = parse_names(options.metrics, METRICS)
    suite = make_suite(names, options.meteor_data, options.perl, options.source_file)
    segments, paths = read(options, suite)
    bootstrap = bootstrap_of(options)
    outcome = run_suite(suite, segments, bootstrap)
    if options.ser:
        errors = add_slot_error_rate(outcome, segments, bootstrap)
        write_json(options.ser, {"SER": score_record(outcome.results["SER"], file_record(paths)), **errors})
    say_notes(segments, outcome.results, "; --perl counts none for it")
    if options.segment_level:
        write_segment_table(options.segment_level, segments, outcome)
    else:
        show(outcome, names, options)
    write_outputs(options, suite.tool, segments, outcome, paths)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
