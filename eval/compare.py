"""Compares two systems on the same inputs with every metric of a suite: is the difference more than chance?

    python eval/compare.py webnlg --data test.jsonl A/predictions.jsonl B/predictions.jsonl
    python eval/compare.py e2e -R refs.txt a.txt b.txt --json comparison.json

For every metric it prints both scores, the difference with its bootstrap interval, and the p-values of the paired
bootstrap test and of approximate randomisation (two-sided); see nlg_metrics/significance.py for the methods.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlg_metrics.comparison import compare_results, comparison_record, comparison_table
from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result, from_statistics
from nlg_metrics.files import write_json
from nlg_metrics.metrics import slot_error_rate
from nlg_metrics.metrics.base import VERSION
from nlg_metrics.scores_file import file_record
from nlg_metrics.segments import UNITS, Segments, read_segments
from nlg_metrics.significance import RESAMPLES, SEED, TRIALS
from nlg_metrics.suites import e2e as e2e_suite
from nlg_metrics.suites import e2e_files, webnlg_files
from nlg_metrics.suites import webnlg as webnlg_suite

Results = Mapping[str, Mapping[str, Result]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="compare.py", description="Paired significance tests of two systems' outputs for the same inputs."
    )
    add = arguments.add_argument
    add("suite", choices=("e2e", "webnlg", "dart"), help="whose metrics: e2e.py's or webnlg_dart.py's")
    add("a", metavar="A", help="system A: a predictions file (with --data) or plain text (with -R)")
    add("b", metavar="B", help="system B, alike")
    add("--data", metavar="JSONL", help="data file with references, from `lora-nlg prepare`")
    add("-R", "--reference", metavar="PATH", help="references in the form of the suite's official tool")
    add("-nr", "--num_refs", type=int, metavar="N", help="webnlg, dart: as in webnlg_dart.py")
    add("--segments", choices=UNITS, default="contexts", help="with --data: what a segment is (default contexts)")
    add("--style", choices=webnlg_suite.STYLES, help="webnlg, dart: as in webnlg_dart.py")
    add("-m", "--metrics", default=",".join(webnlg_suite.NAMES), help="webnlg, dart: metrics (default %(default)s)")
    add("--ser", action="store_true", help="e2e with --data: slot error rate too")
    add("--json", metavar="FILE", help="write the table at full precision, with signatures and file hashes")
    add("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples (default 1000)")
    add("--trials", type=int, default=TRIALS, help="swaps of approximate randomisation (default 10000)")
    add("--seed", type=int, default=SEED, help="seed of both tests (default 12345)")
    add("--meteor_data", metavar="DIR", help="METEOR's jar and paraphrase table (default: pycocoevalcap)")
    return arguments


def score_webnlg(options: argparse.Namespace, outputs: str) -> Results:
    """Subset name ("all", "seen", …) -> key -> result of one system."""
    style = options.style or ("lora" if options.data else "raw")
    if options.data:
        segments = webnlg_suite.styled(read_segments(options.data, outputs, options.segments), style, options.num_refs)
    else:
        paths = webnlg_files.reference_paths(options.reference, 4 if options.num_refs is None else options.num_refs)
        segments = webnlg_suite.styled(webnlg_files.read_files(outputs, paths), style, len(paths))
    outcome = webnlg_suite.run(
        segments,
        webnlg_suite.parse_names(options.metrics),
        Bootstrap(resamples=0),
        meteor_folder=options.meteor_data,
        labels={"segments": segments.unit, "style": style},
    )
    _warn(outcome.unavailable)
    return {"all": outcome.all_results, **outcome.subsets}


def score_e2e(options: argparse.Namespace, outputs: str) -> Results:
    """As `score_webnlg`, with the metrics of the E2E challenge."""
    segments: Segments
    if options.data:
        segments = read_segments(options.data, outputs, options.segments)
    else:
        segments = e2e_files.load(options.reference, outputs)
    try:
        meteor: Any = e2e_suite.load_meteor(options.meteor_data)
    except InputError as error:
        meteor = str(error)
    # First, since it refuses what has no E2E contexts.
    errors = slot_error_rate.find_errors(segments.contexts, segments.hypotheses) if options.ser else None
    outcome = e2e_suite.run(segments.hypotheses, segments.references, Bootstrap(resamples=0), meteor)
    _warn(outcome.unavailable)
    results = dict(outcome.results)
    if errors is not None:
        metric = slot_error_rate.SlotErrorRate()
        statistics = metric.from_errors(errors)
        results[metric.name] = from_statistics(metric, statistics, segments.references, Bootstrap(resamples=0))
    return {"all": results}


def _warn(unavailable: Mapping[str, str]) -> None:
    for key, reason in unavailable.items():
        print(f"{key}: unavailable ({reason})", file=sys.stderr)


def run(options: argparse.Namespace) -> None:
    """Score both systems, test, print and write.

    Raises:
        InputError: files that can't be used or paired, or flags that don't go together.
    """
    if bool(options.data) == bool(options.reference):
        raise InputError("give the references as --data or as -R; see --help")
    if options.ser and options.suite != "e2e":
        raise InputError(f"--ser is for the suite e2e, not {options.suite}: slots are E2E's")
    for flag, value in (("--resamples", options.resamples), ("--trials", options.trials)):
        if value < 1:
            raise InputError(f"{flag} is {value}; it must be at least 1")
    score = score_e2e if options.suite == "e2e" else score_webnlg
    first, second = score(options, options.a), score(options, options.b)
    plan = Bootstrap(options.resamples, options.seed)
    print(f"A = {options.a}\nB = {options.b}")
    record: dict[str, Any] = {}
    for name, results in first.items():
        verdicts = compare_results(results, second.get(name, {}), plan, options.trials)
        if not verdicts:
            continue
        count = len(next(iter(results.values())).statistics)
        print(f"\n{name}: {count:,} segments\n{comparison_table(verdicts)}")
        record[name] = {"segments": count, "metrics": comparison_record(verdicts)}
    if options.json:
        paths = {"a": options.a, "b": options.b, "references": options.data or options.reference}
        files = file_record({role: path for role, path in paths.items() if Path(path).is_file()})
        settings = {"resamples": plan.resamples, "trials": options.trials, "seed": plan.seed, "level": plan.level}
        write_json(options.json, {"version": VERSION, "files": files, "tests": settings, "comparison": record})


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        run(options)
    except InputError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compare.py: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
