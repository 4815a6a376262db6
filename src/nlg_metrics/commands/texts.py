"""Scores one or more files of texts against references in any layout, with the metrics asked for, and compares them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from string import ascii_uppercase

from nlg_metrics.commands.wrapper import (
    add_metrics_flag,
    add_output_flags,
    bootstrap_of,
    run_command,
    say,
    say_notes,
    warn_unavailable,
    write_outputs,
)
from nlg_metrics.comparison import compare_results, comparison_record, comparison_table, systems_table
from nlg_metrics.errors import InputError
from nlg_metrics.evaluation import Bootstrap, segment_rows
from nlg_metrics.files import write_json, write_jsonl
from nlg_metrics.scores_file import file_record, plain_values, scores_record
from nlg_metrics.significance import check_draws
from nlg_metrics.suites.further import Texts as Kind
from nlg_metrics.suites.suite import Suite, SuiteResult, parse_names
from nlg_metrics.suites.suite import run as run_suite
from nlg_metrics.suites.text_files import Texts, read_any
from nlg_metrics.suites.texts import NAMES, OWN, make_suite


@dataclass(frozen=True)
class System:
    """One file of texts: its path, what was read with it, and its scores."""

    path: str
    texts: Texts
    outcome: SuiteResult

    @property
    def files(self) -> dict[str, str]:
        """Role -> file that was read."""
        references = {f"references{number}": str(path) for number, path in enumerate(self.texts.paths)}
        return {**references, "hypotheses": self.path}


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog=prog,
        description="Scores texts against references. References may be a file for each reference (the PREFIX of "
        "PREFIX0, PREFIX1, …, or a path and more after -r), groups of lines with blank lines between them, one a "
        "line, a TSV/CSV table, or JSON lines; which it was is printed. Several HYPS are compared with paired tests.",
    )
    arguments.add_argument("references", metavar="REFS", help="reference file or prefix")
    arguments.add_argument(
        "hypotheses", metavar="HYPS", nargs="+", help="texts to score: one a line, or JSON lines of predictions"
    )
    arguments.add_argument(
        "-r", "--more_references", metavar="FILE", nargs="+", default=[], help="further files of one reference a line"
    )
    add_metrics_flag(arguments, OWN, NAMES)
    arguments.add_argument(
        "--tables",
        metavar="FILE",
        help="what the texts were made from, one a line, for metrics that need it: meaning representations, linearised "
        "pairs or triples, or the table file of PARENT's program (REFS and HYPS are then that program's too)",
    )
    arguments.add_argument(
        "--lang",
        dest="language",
        default="en",
        metavar="CODE",
        help="language of the texts (default: %(default)s); ru: words by razdel. METEOR is English only",
    )
    add_output_flags(arguments.add_argument_group("more output"))
    return arguments


def read(options: argparse.Namespace) -> dict[str, Texts]:
    """Letter -> what is scored; the references are the same for all.

    Raises:
        InputError: a file can't be used, or there are more systems than letters.
    """
    if len(options.hypotheses) > len(ascii_uppercase):
        raise InputError(f"{len(options.hypotheses)} files to score; at most {len(ascii_uppercase)} are compared")
    references = [options.references, *options.more_references]
    return {
        letter: read_any(references, path, options.tables)
        for letter, path in zip(ascii_uppercase, options.hypotheses, strict=False)
    }


def say_layout(texts: Texts) -> None:
    """How the references lay there."""
    counts = [len(group) for group in texts.segments.references]
    span = str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    print(f"references: {texts.layout}; {len(counts):,} segments, {span} references each")
    if texts.note:
        say(f"note: {texts.note}")


def show_one(system: System) -> None:
    """A line a metric."""
    for result in system.outcome.results.values():
        print(f"{result.score.name}: {result.score.value:.4f}")
    warn_unavailable(system.outcome.unavailable)
    say_notes(system.texts.segments, system.outcome.results)


def show_several(systems: Mapping[str, System], bootstrap: Bootstrap) -> dict[str, object]:
    """All scores with intervals, then every pair's tests; returns the tests' record."""
    for letter, system in systems.items():
        print(f"{letter} = {system.path}")
    print(f"\n{systems_table({letter: system.outcome.results for letter, system in systems.items()})}")
    record: dict[str, object] = {}
    for first, second in combinations(systems, 2):
        verdicts = compare_results(systems[first].outcome.results, systems[second].outcome.results, bootstrap)
        if verdicts:
            print(f"\n{comparison_table(verdicts, first, second)}")
            record[f"{first}-{second}"] = comparison_record(verdicts)
    warn_unavailable({key: why for system in systems.values() for key, why in system.outcome.unavailable.items()})
    for system in systems.values():
        say_notes(system.texts.segments, system.outcome.results, f" ({system.path})")
    if len(systems) > 2:
        say(f"note: {len(systems) * (len(systems) - 1) // 2} pairs are tested; p-values are not corrected for that")
    return record


def write_several(
    options: argparse.Namespace, suite: Suite, systems: Mapping[str, System], tests: dict[str, object]
) -> None:
    """What the flags ask for, with a system's letter as the key of what one system's file has."""
    plan = several_plan(options)
    if options.json:
        write_json(options.json, {letter: plain_values(system.outcome.results) for letter, system in systems.items()})
    if options.scores:
        records = {}
        for letter, system in systems.items():
            segments, files = system.texts.segments, file_record(system.files)
            records[letter] = scores_record(
                suite.tool, segments.unit, segments.references, system.outcome.results, files, plan
            )
        write_json(options.scores, {"systems": records, "comparison": tests})
    if options.segment_scores:
        columns = {
            f"{letter}/{key}": result
            for letter, system in systems.items()
            for key, result in system.outcome.results.items()
        }
        write_jsonl(options.segment_scores, segment_rows(next(iter(systems.values())).texts.segments.ids, columns))


def several_plan(options: argparse.Namespace) -> Bootstrap:
    """How the intervals and tests of several systems are made.

    Raises:
        InputError: a number of resamples or a seed that can't be used.
    """
    check_draws(options.resamples, options.seed)
    return Bootstrap(options.resamples, options.seed)


def run(options: argparse.Namespace) -> None:
    """Score, print and write."""
    names = parse_names(options.metrics, OWN)
    read_all = read(options)
    first = next(iter(read_all.values()))
    kind = Kind("blanks" if first.tokenised else "words", language=options.language)
    suite = make_suite(names, options.meteor_data, kind)
    several = len(read_all) > 1
    plan = several_plan(options) if several else bootstrap_of(options)
    say_layout(first)
    systems = {
        letter: System(path, texts, run_suite(suite, texts.segments, plan))
        for (letter, texts), path in zip(read_all.items(), options.hypotheses, strict=True)
    }
    if several:
        write_several(options, suite, systems, show_several(systems, plan))
    else:
        system = systems["A"]
        show_one(system)
        write_outputs(options, suite.tool, system.texts.segments, system.outcome, system.files)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(parser(prog), run, argv)
