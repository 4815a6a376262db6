"""Compares two systems on the same inputs with every metric of a suite: is the difference more than chance?

For every metric it prints both scores, the difference with its bootstrap interval, and the p-values of the paired
bootstrap test and of approximate randomisation (two-sided); see nlg_metrics/significance.py for the methods.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlg_metrics.commands.webnlg import suite_of
from nlg_metrics.commands.wrapper import add_meteor_flag, add_segments_flag, run_command, say_notes, warn_unavailable
from nlg_metrics.comparison import compare_results, comparison_record, comparison_table
from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, Result
from nlg_metrics.files import write_json
from nlg_metrics.metrics.base import VERSION
from nlg_metrics.scores_file import file_record
from nlg_metrics.significance import RESAMPLES, SEED, TRIALS, check_draws
from nlg_metrics.suites import e2e
from nlg_metrics.suites.suite import Suite, parse_names
from nlg_metrics.suites.suite import run as run_suite
from nlg_metrics.suites.webnlg import NAMES, STYLES

Results = Mapping[str, Mapping[str, Result]]


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog=prog, description="Paired significance tests of two systems' outputs for the same inputs."
    )
    add = arguments.add_argument
    add("suite", choices=("e2e", "webnlg", "dart"), help="whose metrics: e2e.py's or webnlg_dart.py's")
    add("a", metavar="A", help="system A: a predictions file (with --data) or plain text (with -R)")
    add("b", metavar="B", help="system B, alike")
    add("--data", metavar="JSONL", help="data file with references, from `lora-nlg prepare`")
    add("-R", "--reference", metavar="PATH", help="references in the form of the suite's official tool")
    add("-nr", "--num_refs", type=int, metavar="N", help="webnlg, dart: as in webnlg_dart.py")
    add_segments_flag(arguments)
    add("--style", choices=STYLES, help="webnlg, dart: as in webnlg_dart.py")
    add("-m", "--metrics", metavar="NAMES", help="as in the suite's own command (default: those of its table)")
    add("-lng", "--language", default="en", help="webnlg: as in webnlg_dart.py")
    add("--ser", action="store_true", help="e2e with --data: slot error rate too")
    add("--json", metavar="FILE", help="write the table at full precision, with signatures and file hashes")
    add("--resamples", type=int, default=RESAMPLES, help="bootstrap resamples (default 1000)")
    add("--trials", type=int, default=TRIALS, help="swaps of approximate randomisation (default 10000)")
    add("--seed", type=int, default=SEED, help="seed of both tests (default 12345)")
    add_meteor_flag(arguments)
    return arguments


def score(options: argparse.Namespace, suite: Suite, outputs: str) -> tuple[Results, Mapping[str, str]]:
    """Subset name ("all", "seen", …) -> key -> result of one system; and why other metrics have none."""
    if options.data:
        segments = suite.read_predictions(options.data, outputs, options.segments)
    else:
        segments = suite.read(options.reference, outputs)
    plan = Bootstrap(resamples=0)
    outcome = run_suite(suite, segments, plan)
    if options.ser:
        e2e.add_slot_error_rate(outcome, segments, plan)
    say_notes(segments, outcome.results, f" ({outputs})")
    return {"all": outcome.all_results, **outcome.subsets}, outcome.unavailable


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
        check_draws(value, options.seed)
    if options.suite == "e2e":
        names = parse_names(options.metrics or ",".join(e2e.METRICS), e2e.METRICS)
        suite = e2e.make_suite(names, options.meteor_data)
    else:
        options.metrics = options.metrics or ",".join(NAMES)
        suite = suite_of(options)
    (first, lacking), (second, also_lacking) = (score(options, suite, system) for system in (options.a, options.b))
    warn_unavailable({**lacking, **also_lacking})
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


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
