"""Scores a system on E2E as the challenge's measure_scores.py does: BLEU, NIST, METEOR, ROUGE_L and CIDEr.

    python eval/e2e.py REFERENCES OUTPUTS                    the official tool's inputs: text, TSV or CSV
    python eval/e2e.py --data test.jsonl --predictions predictions.jsonl --scores scores.json
    python eval/e2e.py --data test.jsonl OUTPUTS             plain text for our data: one line a context (or entry)

It needs numpy alone; METEOR also the resources of `pip install pycocoevalcap==1.2`. No Java, no Perl.
"""

from __future__ import annotations

import argparse
import re
import sys

from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, from_statistics, segment_rows
from nlg_metrics.files import write_json, write_jsonl, write_text
from nlg_metrics.metrics import slot_error_rate
from nlg_metrics.scores_file import (
    decoding_of,
    file_record,
    plain_values,
    score_record,
    scores_record,
    write_scores,
)
from nlg_metrics.segments import UNITS, Segments, read_segments, read_segments_and_lines
from nlg_metrics.significance import RESAMPLES, SEED
from nlg_metrics.suites import e2e as e2e_suite
from nlg_metrics.suites import e2e_files


def parser() -> argparse.ArgumentParser:
    """The command line; the short flags are the official tool's."""
    arguments = argparse.ArgumentParser(
        prog="e2e.py",
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
    ours.add_argument("--data", metavar="JSONL", help="data file with references, from `lora-nlg prepare`")
    ours.add_argument("--predictions", metavar="JSONL", help="predictions file, from `lora-nlg decode`")
    ours.add_argument(
        "--segments",
        choices=UNITS,
        default="contexts",
        help="contexts: references of equal contexts pooled; entries: every record by itself (default: contexts)",
    )
    more = arguments.add_argument_group("more output")
    more.add_argument("--json", metavar="FILE", help="write {metric: value} at full precision")
    more.add_argument(
        "--scores", metavar="FILE", help="write the full record: parts, signatures, 95%% intervals, file hashes"
    )
    more.add_argument("--segment_scores", metavar="FILE", help="write every segment's scores as JSON lines")
    more.add_argument(
        "--ser",
        metavar="FILE",
        help="also give the slot error rate; write its counts by slot and the offending outputs",
    )
    more.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="bootstrap resamples; 0: no intervals (default: 1000)"
    )
    more.add_argument("--seed", type=int, default=SEED, help="seed of the bootstrap (default: 12345)")
    more.add_argument(
        "--meteor_data", metavar="DIR", help="folder with METEOR's jar and paraphrase table (default: pycocoevalcap)"
    )
    return arguments


def read(options: argparse.Namespace) -> tuple[Segments, dict[str, str]]:
    """What is scored, and the files it came from by role."""
    ours = options.data, options.predictions
    official = options.references, options.outputs
    if options.data and options.references and not (options.predictions or options.outputs):
        options.outputs = options.references  # --data holds the references
        files = {"data": options.data, "hypotheses": options.outputs}
        return read_segments_and_lines(options.data, options.outputs, options.segments), files
    if all(ours) and not any(official):
        files = {"data": options.data, "predictions": options.predictions}
        return read_segments(options.data, options.predictions, options.segments), files
    if all(official) and not any(ours):
        files = {"references": options.references, "hypotheses": options.outputs}
        return e2e_files.load(options.references, options.outputs, options.source_file), files
    raise InputError("give REFERENCES and OUTPUTS, or --data and --predictions (or OUTPUTS); see --help")


def show(outcome: e2e_suite.SuiteResult, options: argparse.Namespace) -> None:
    """Print the scores in the official tool's form."""
    values = {name: f"{result.score.value:.4f}" for name, result in outcome.results.items()}
    if options.table:
        if options.header:
            print("\t".join(["File", *e2e_suite.METRICS]))
        print("\t".join([options.outputs or options.predictions, *(values.get(m, "n/a") for m in e2e_suite.METRICS)]))
        for name, reason in outcome.unavailable.items():
            print(f"{name}: unavailable ({reason})", file=sys.stderr)
        return
    print("SCORES:\n==============")
    for name in e2e_suite.METRICS:
        print(f"{name}: {values[name]}" if name in values else f"{name}: unavailable ({outcome.unavailable[name]})")
    if "SER" in values:
        print(f"SER: {values['SER']}")
    print()


def write_segment_table(path: str, segments: Segments, outcome: e2e_suite.SuiteResult) -> None:
    """The official tool's segment-level TSV."""
    columns = e2e_suite.segment_columns(outcome)
    lines = ["\t".join(["src", "sys_out", *columns])]
    for row, (source, output) in enumerate(zip(segments.contexts, segments.hypotheses, strict=True)):
        # Texts of JSON lines may hold what would break a row; those of the official inputs cannot.
        texts = [re.sub(r"[\t\r\n]", " ", text) for text in (source, output)]
        lines.append("\t".join([*texts, *(f"{column[row]:.4f}" for column in columns.values())]))
    write_text(path, "\n".join(lines) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        segments, paths = read(options)
        bootstrap = Bootstrap(resamples=options.resamples if options.scores else 0, seed=options.seed)
        meteor: str | None = None
        try:
            loaded = e2e_suite.load_meteor(options.meteor_data)
        except InputError as error:
            loaded, meteor = None, str(error)
        errors = slot_error_rate.find_errors(segments.contexts, segments.hypotheses) if options.ser else None
        outcome = e2e_suite.run(segments.hypotheses, segments.references, bootstrap, loaded or meteor, options.perl)
        if errors is not None:
            metric = slot_error_rate.SlotErrorRate()
            outcome.results[metric.name] = from_statistics(
                metric, metric.from_errors(errors), segments.references, bootstrap
            )
        if options.segment_level:
            write_segment_table(options.segment_level, segments, outcome)
        else:
            show(outcome, options)
        if errors is not None:
            record = slot_error_rate.error_record(segments, errors)
            write_json(options.ser, {"SER": score_record(outcome.results["SER"], file_record(paths)), **record})
        if options.json:
            write_json(options.json, plain_values(outcome.results))
        if options.scores:
            decoding, note = decoding_of(options.predictions) if options.predictions else (None, "")
            if note:
                print(f"e2e.py: note: {note}", file=sys.stderr)
            scored = scores_record(
                "e2e",
                segments.unit,
                segments.references,
                outcome.results,
                file_record(paths),
                bootstrap,
                decoding=decoding,
            )
            write_scores(options.scores, scored)
        if options.segment_scores:
            write_jsonl(options.segment_scores, segment_rows(segments.ids, outcome.results))
    except InputError as error:
        print(f"e2e.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("e2e.py: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
